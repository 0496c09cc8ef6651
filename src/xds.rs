//! Where the egress proxy's Envoys learn of the services' clusters: ADS, state of the world.
//!
//! The [`set`] of clusters follows the policy; every [`stream`] brings its Envoy from what it has to
//! that set; and the [`handover`] lets a service go to its new destination once Envoy knows the way.
//! Only Envoys on the egress socket reach this.

pub mod clusters;
pub mod set;
pub mod history;
pub mod nack;
pub mod stream;
pub mod handover;
pub mod nodes;
pub mod service;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::handover::Handover;
use self::nodes::{Node, Nodes};
use self::service::Discovery;
use self::set::{Maker, Set};
use crate::clock::Now;
use crate::policy::Snapshot;
use crate::policy::egress::{Egress, Target};
use crate::policy::live::Live;
use crate::telemetry::Metrics;

/// The largest request taken, in bytes. Envoy's first one lists all its extensions, about 200 KiB.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// The discovery service, shared by its parts. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Xds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    policy: Arc<Live>,
    metrics: Arc<Metrics>,
    nodes: Arc<Nodes>,
    sets: watch::Sender<Option<Arc<Set>>>,
    work: Mutex<Work>,
    stop: CancellationToken,
}

/// What goes on from one step to the next.
#[derive(Debug, Default)]
struct Work {
    maker: Maker,
    handover: Handover,
}

impl Xds {
    /// The clusters of the policy that holds, for Envoys that come. `stop` ends all streams.
    pub fn new(policy: Arc<Live>, metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        let nodes = Arc::new(Nodes::new(Arc::clone(&metrics)));
        let (sets, work) = (watch::Sender::new(None), Mutex::default());
        let xds = Self(Arc::new(Shared { policy, metrics, nodes, sets, work, stop }));
        // An Envoy that comes back is told at once whether anything has changed.
        xds.0.step(Now::read());
        xds
    }

    /// The gRPC service.
    pub fn service(&self) -> AggregatedDiscoveryServiceServer<Discovery> {
        let discovery = Discovery {
            nodes: Arc::clone(&self.0.nodes),
            sets: self.0.sets.subscribe(),
            stop: self.0.stop.clone(),
        };
        AggregatedDiscoveryServiceServer::new(discovery)
            .max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    /// Follows the policy and the Envoys until it is time to stop.
    ///
    /// # Errors
    /// None.
    pub async fn run(self) -> Result<(), Infallible> {
        let Shared { policy, nodes, stop, .. } = &*self.0;
        let (mut edits, mut answers) = (policy.subscribe(), nodes.subscribe());
        loop {
            let now = Now::read();
            let deadline = self.0.step(now);
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // Neither can fail: the senders are ours.
                _edited = edits.changed() => {}
                _answered = answers.changed() => {}
                () = service::until(deadline, now) => {}
            }
        }
    }

    /// The Envoys that are connected.
    pub fn nodes(&self) -> Vec<Node> {
        self.0.nodes.list()
    }
}

impl Shared {
    /// Brings everything up to this moment. Returns when to do so again without an event.
    fn step(&self, now: Now) -> Option<Duration> {
        let now = now.monotonic;
        // A panic ends the task, and with it the process.
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Work { maker, handover } = &mut *work;
        let snapshot = self.policy.load_full();
        let egress = snapshot.egress.as_ref()?;
        if let Some(set) = maker.next(egress, now) {
            tracing::debug!(version = %set.version(), clusters = set.count(), "the clusters change");
            self.sets.send_replace(Some(set));
        }
        let pending = egress.pending().map(|(_live, wanted)| &*wanted.cluster);
        let ready = handover.ready(pending, |cluster| self.nodes.reception(cluster), now);
        let count = i64::try_from(egress.pending().count()).unwrap_or(i64::MAX);
        self.metrics.xds().pending.set(count);
        if !ready.is_empty() {
            // The change of policy brings us here again.
            promote(&self.policy, &ready.into_iter().collect());
        }
        [maker.deadline(), handover.deadline(now)].into_iter().flatten().min()
    }
}

/// Lets the targets with these clusters hold. The policy may be another one by now, so what is
/// pending is looked up anew.
fn promote(policy: &Live, ready: &BTreeSet<Box<str>>) {
    let take = |target: &Target| ready.contains(&target.cluster);
    let next = |current: &Snapshot| {
        let egress: &Egress = current.egress.as_ref()?;
        let due = egress.pending().any(|(_live, wanted)| take(wanted));
        due.then(|| Snapshot { egress: Some(egress.promote(take)), ..current.clone() })
    };
    if policy.update(next).is_some() {
        tracing::info!(services = ready.len(), "services go to their new destinations");
    }
}

#[cfg(test)]
mod tests;
