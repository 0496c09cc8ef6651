//! The discovery service in this process, as `gatepost authz` serves it.

use std::sync::Arc;

use gatepost::clock::Now;
use gatepost::lifecycle::Tasks;
use gatepost::lifecycle::address::Address;
use gatepost::lifecycle::listener::{Listener, bind};
use gatepost::policy::live::Live;
use gatepost::telemetry::{Metrics, Readings};
use gatepost::xds::Xds;
use gatepost::xds::nodes::Node;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use super::side::{self, Service};
use crate::world::http2::runtime;
use crate::world::patience::{PATIENCE, eventually};

pub(super) struct Server {
    pub(super) live: Arc<Live>,
    pub(super) address: Address,
    pub(super) xds: Xds,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    _stop: DropGuard,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Server {
    pub(super) fn start(address: &str, live: Arc<Live>) -> Self {
        let _runtime = runtime().enter();
        let address: Address = address.parse().unwrap();
        let listener: Listener = runtime().block_on(bind(&address, 0o600)).unwrap();
        let address = listener.local_address().clone();
        let metrics = Arc::new(Metrics::new(Now::read()).unwrap());
        let tasks = Tasks::new();
        let stop = tasks.shutdown().clone();
        let xds = Xds::new(Arc::clone(&live), Arc::clone(&metrics), stop.clone());
        tasks.spawn("clusters", xds.clone().run());
        let router = tonic::transport::Server::builder().add_service(xds.service());
        let served = router.serve_with_incoming_shutdown(listener, stop.cancelled_owned());
        let served = runtime().spawn(served);
        let guard = tasks.shutdown().clone().drop_guard();
        Self { live, address, xds, metrics, tasks, _stop: guard, served }
    }

    /// Drains. No stream may hold it up.
    pub(super) fn stop(self) -> Arc<Live> {
        self.tasks.shutdown().cancel();
        let served = runtime().block_on(async { timeout(PATIENCE, self.served).await });
        served.expect("streams end with the process").unwrap().unwrap();
        self.live
    }

    pub(super) fn edit(&self, services: &[Service]) {
        side::edit(&self.live, services);
    }

    /// The cluster that a service's requests go to at this moment.
    pub(super) fn held(&self, service: &str) -> String {
        side::held(&self.live, service)
    }

    /// The one Envoy, once this holds of it.
    #[track_caller]
    pub(super) fn node(&self, what: &str, holds: impl Fn(&Node) -> bool) -> Node {
        eventually(what, || self.xds.nodes().into_iter().find(&holds))
    }

    /// A metric that is a whole number.
    pub(super) fn count(&self, name: &str) -> u64 {
        let text = self.metrics.render(&Readings::default()).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        value.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
    }
}
