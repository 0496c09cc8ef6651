//! The clusters that every Envoy is to have, and how they follow the policy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use envoy_types::pb::google::protobuf::Any;
use sha2::{Digest, Sha256};

use super::clusters;
use crate::policy::egress::{Egress, Target};

/// How long a cluster that nothing names any more is kept: a check may just have named it, and its
/// request is then still on the way.
pub const RETIREMENT: Duration = Duration::from_secs(5);

/// Clusters by name, in one state. Immutable.
#[derive(Clone, Debug)]
pub struct Set {
    clusters: BTreeMap<Arc<str>, Arc<Resource>>,
    version: Arc<str>,
}

/// One cluster, encoded.
#[derive(Debug)]
pub struct Resource {
    /// The message.
    pub any: Any,
    /// SHA-256 of the message, its name included.
    digest: [u8; 32],
}

impl Resource {
    fn new(target: &Target) -> Self {
        let any = clusters::cluster(target);
        let digest = Sha256::digest(&any.value).into();
        Self { any, digest }
    }
}

impl Set {
    fn new(clusters: BTreeMap<Arc<str>, Arc<Resource>>) -> Self {
        let version = version(clusters.values().map(|resource| &**resource));
        Self { clusters, version }
    }

    /// The version of the whole set.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The version of these clusters of the set alone.
    pub fn version_of<'n>(&self, names: impl IntoIterator<Item = &'n Arc<str>>) -> Arc<str> {
        version(self.resources(names).map(|resource| &**resource))
    }

    /// These clusters of the set; a name that is not in it is passed over.
    pub fn resources<'n>(
        &self,
        names: impl IntoIterator<Item = &'n Arc<str>>,
    ) -> impl Iterator<Item = &Arc<Resource>> {
        names.into_iter().filter_map(|name| self.clusters.get(name))
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.clusters.keys()
    }

    /// Whether there is a cluster of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.clusters.contains_key(name)
    }

    /// How many clusters there are.
    pub fn count(&self) -> usize {
        self.clusters.len()
    }
}

/// Names a state of Envoy's clusters: 32 hexadecimal digits of a SHA-256 of all of them. The same
/// clusters have the same version whichever process sends them.
fn version<'r>(resources: impl Iterator<Item = &'r Resource>) -> Arc<str> {
    let mut hasher = Sha256::new();
    for resource in resources {
        hasher.update(resource.digest);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    HEXLOWER.encode(digest.first_chunk::<16>().map_or(&[], |start| start)).into()
}

/// The targets of one moment.
type Source = [Arc<[Arc<Target>]>; 2];

/// Makes one set after the other.
#[derive(Debug, Default)]
pub struct Maker {
    /// The last one; `None` before the first.
    current: Option<Arc<Set>>,
    /// What it was made from.
    source: Option<Source>,
    /// Clusters that nothing names any more, and until when they are kept.
    retired: BTreeMap<Arc<str>, Duration>,
}

impl Maker {
    /// The set for this moment (`now` on the monotonic clock); `None` when it is the last one still.
    pub fn next(&mut self, egress: &Egress, now: Duration) -> Option<Arc<Set>> {
        let source = [Arc::clone(&egress.wanted), Arc::clone(&egress.live)];
        let untouched = self
            .source
            .as_ref()
            .is_some_and(|old| old.iter().zip(&source).all(|(old, new)| Arc::ptr_eq(old, new)));
        if untouched && self.deadline().is_none_or(|at| now < at) {
            return None;
        }
        self.source = Some(source);
        let none = BTreeMap::new();
        let old = self.current.as_ref().map_or(&none, |set| &set.clusters);
        let mut clusters = BTreeMap::new();
        for target in egress.wanted.iter().chain(&*egress.live) {
            if clusters.contains_key(&*target.cluster) {
                continue;
            }
            let (name, resource) = match old.get_key_value(&*target.cluster) {
                Some((name, resource)) => (Arc::clone(name), Arc::clone(resource)),
                None => (Arc::from(&*target.cluster), Arc::new(Resource::new(target))),
            };
            clusters.insert(name, resource);
        }
        self.retired.retain(|name, _until| !clusters.contains_key(name));
        for (name, resource) in old {
            if clusters.contains_key(name) {
                continue;
            }
            let until = now.saturating_add(RETIREMENT);
            let until = *self.retired.entry(Arc::clone(name)).or_insert(until);
            if now < until {
                clusters.insert(Arc::clone(name), Arc::clone(resource));
            } else {
                self.retired.remove(name);
            }
        }
        if self.current.is_some() && clusters.keys().eq(old.keys()) {
            return None;
        }
        let set = Arc::new(Set::new(clusters));
        self.current = Some(Arc::clone(&set));
        Some(set)
    }

    /// When the next cluster has been kept for long enough.
    pub fn deadline(&self) -> Option<Duration> {
        self.retired.values().min().copied()
    }
}

#[cfg(test)]
mod tests;
