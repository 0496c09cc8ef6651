//! Where credential values come from: the environment, files, literals.
//!
//! A [`Store`] is a value: whoever tries a policy that may be refused tries it with a copy, and keeps
//! the one with which the policy came to hold. So it also logs nothing by itself, before
//! [`Store::announce`].

mod value;
mod file;
mod inject;
mod standing;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::file::{Value, Watched};
use self::standing::Standing;
use self::value::Fault;
use super::credential::{Credential, Kind, Secret, Source, Supply};
use super::egress::{ServiceMap, Target};
use super::stamp::Found;
use crate::clock::Now;
use crate::denial::Unavailable;

pub use self::standing::{Report, State};

/// The values of all sources, and the last good ones of those that cannot be read any more.
#[derive(Clone)]
pub struct Store {
    origin: Origin,
    /// The files that the last map names, by their whole path.
    files: BTreeMap<PathBuf, Watched>,
    /// How the credentials of the last map stand, in its order.
    standings: Vec<Standing>,
    /// `secret_grace` of the last map.
    grace: Duration,
    /// When it was last asked for targets, on the monotonic clock.
    supplied_at: Duration,
}

#[derive(Clone)]
enum Origin {
    Placeholders,
    Live {
        /// What relative paths are relative to.
        directory: PathBuf,
        /// Looks a variable up. Nothing in the process sets one, so that it stays as it was at the
        /// start.
        environment: fn(&str) -> Option<OsString>,
    },
}

impl Store {
    /// Reads the real sources. Relative paths are relative to `directory`, that of the policy.
    pub fn live(directory: impl Into<PathBuf>) -> Self {
        let environment = |name: &str| std::env::var_os(name);
        Self::new(Origin::Live { directory: directory.into(), environment })
    }

    /// Reads nothing: every value is `<credential NAME>`. For `explain` and for table cases, which
    /// must come out alike wherever they are run.
    pub fn placeholders() -> Self {
        Self::new(Origin::Placeholders)
    }

    fn new(origin: Origin) -> Self {
        Self {
            origin,
            files: BTreeMap::new(),
            standings: Vec::new(),
            grace: Duration::ZERO,
            supplied_at: Duration::ZERO,
        }
    }

    /// The targets of a map with the values of this moment, by the service's number.
    pub fn supply(&mut self, map: &ServiceMap, now: Now) -> Arc<[Arc<Target>]> {
        self.grace = map.options.secret_grace;
        self.supplied_at = now.monotonic;
        self.read(map, now);
        let mut credentials: Vec<HashMap<Box<str>, Arc<Supply>>> =
            map.services.iter().map(|_| HashMap::new()).collect();
        self.standings.clear();
        for credential in &map.credentials {
            let (supply, standing) = self.stand(credential, map, now);
            self.standings.push(standing);
            if let Some(of_service) = credentials.get_mut(credential.service.0) {
                of_service.insert(credential.name.clone(), Arc::new(supply));
            }
        }
        let targets = map.services.iter().zip(credentials);
        targets.map(|(service, credentials)| Arc::new(service.target(credentials))).collect()
    }

    /// How the credentials of the last map stand, in its order.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.standings.iter().map(|standing| &standing.report)
    }

    /// Whether requests get the same from both, where both were asked for the same map.
    pub fn supplies_same(&self, old: &Self) -> bool {
        standing::supplies_same(&old.standings, &self.standings)
    }

    /// Logs what stands otherwise than in `old`: a credential that is not to be had any more, or
    /// again, or has a new value.
    pub fn announce(&self, old: Option<&Self>) {
        standing::announce(old.map_or(&[], |old| &old.standings), &self.standings);
        for (path, file) in &self.files {
            let known = old.and_then(|old| old.files.get(path)).is_some_and(|old| old.exposed);
            if file.exposed && !known {
                let path = path.display();
                tracing::warn!(%path, "a secret file that its group or others may read: chmod 600");
            }
        }
    }

    /// The stamps of the secret files as they were when they were last read.
    pub fn seen(&self) -> Vec<Found> {
        self.files.values().map(|file| file.seen).collect()
    }

    /// The stamps of the same files as they are now, in the same order.
    pub fn look(&self) -> Vec<Found> {
        self.files.keys().map(|path| Found::at(path)).collect()
    }

    /// The directories in which a secret file may be put in another's place.
    pub fn directories(&self) -> BTreeSet<&Path> {
        self.files.keys().filter_map(|path| path.parent()).collect()
    }

    /// When to ask for targets again though no stamp has changed, on the monotonic clock: a last
    /// good value is then too old, or a file is to be read once more.
    pub fn due(&self) -> Option<Duration> {
        self.files.values().filter_map(|file| file.due(self.grace, self.supplied_at)).min()
    }

    /// Reads the files that the map names, where they have changed, and forgets all others.
    fn read(&mut self, map: &ServiceMap, now: Now) {
        let Origin::Live { directory, .. } = &self.origin else { return };
        let mut old = std::mem::take(&mut self.files);
        for source in map.credentials.iter().flat_map(sources) {
            let Source::File(path) = source else { continue };
            let path = directory.join(path);
            if self.files.contains_key(&path) {
                continue;
            }
            let file = match old.remove(&path) {
                Some(mut file) => {
                    file.refresh(&path, now);
                    file
                }
                None => Watched::new(&path, now),
            };
            self.files.insert(path, file);
        }
    }

    fn stand(&self, credential: &Credential, map: &ServiceMap, now: Now) -> (Supply, Standing) {
        let mut kept = None;
        let supply = inject::build(&credential.kind, |source| {
            let named = |error: &str| match self.origin {
                Origin::Live { .. } => format!("{source}: {error}"),
                Origin::Placeholders => error.to_owned(),
            };
            match self.value(source, credential, now) {
                Ok(Value { secret, kept: None }) => Ok(secret),
                Ok(Value { secret, kept: Some((since, error)) }) => {
                    kept.get_or_insert((since, named(&error)));
                    Ok(secret)
                }
                Err(Fault { why, error }) => Err(Fault::new(why, named(&error))),
            }
        });
        let (state, error) = match (&supply, kept) {
            (Ok(_), None) => (State::Ok, None),
            (Ok(_), Some((since, error))) => (State::Kept { since }, Some(error)),
            (Err(Fault { why, error }), _) => (State::Unavailable(*why), Some(error.clone())),
        };
        let service = map.services.get(credential.service.0);
        let mut named: Vec<String> = sources(credential).iter().map(ToString::to_string).collect();
        named.dedup();
        let report = Report {
            credential: credential.name.clone(),
            service: service.map_or_else(Box::default, |service| service.name.clone()),
            source: named.join(", "),
            state,
            error,
        };
        let digest = supply.as_ref().map_or(None, |injection| Some(standing::digest(injection)));
        (supply.map_err(|fault| fault.why), Standing { report, digest })
    }

    fn value(&self, source: &Source, of: &Credential, now: Now) -> Result<Value, Fault> {
        let fresh = |secret| Value { secret, kept: None };
        let Origin::Live { directory, environment } = &self.origin else {
            return Ok(fresh(Arc::new(Secret::new(format!("<credential {}>", of.name)))));
        };
        match source {
            Source::Environment(name) => match environment(name) {
                Some(value) => value::judge(value.as_encoded_bytes()).map(fresh),
                None => Err(Fault::new(Unavailable::Unresolved, "is not set")),
            },
            Source::File(path) => match self.files.get(&directory.join(path)) {
                Some(file) => file.value(self.grace, now),
                None => Err(Fault::new(Unavailable::Unresolved, "has not been read")),
            },
            Source::Literal(secret) => value::judge(secret.expose().as_bytes()).map(fresh),
            Source::Unset(_) => Err(Fault::new(Unavailable::Unresolved, "is not set")),
            Source::Nowhere => {
                Err(Fault::new(Unavailable::Unresolved, "neither source nor value is given"))
            }
        }
    }
}

/// The sources of a credential's parts.
fn sources(credential: &Credential) -> Vec<&Source> {
    match &credential.kind {
        Kind::Headers(headers) => headers.iter().map(|header| &header.value).collect(),
        Kind::Basic { password: source, .. } | Kind::Query { value: source, .. } => vec![source],
    }
}

/// Without values.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.reports()).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests;
