//! How Envoys take the clusters that we send them.

use prometheus::{IntCounter, IntGauge, Registry};

use super::MetricsError;

/// The discovery service's metrics.
#[derive(Debug)]
pub struct Xds {
    /// Envoys that are connected.
    pub(crate) streams: IntGauge,
    /// Responses sent.
    pub(crate) responses: IntCounter,
    /// Responses taken.
    pub(crate) acks: IntCounter,
    /// Responses refused, in part or whole.
    pub(crate) nacks: IntCounter,
    /// Services on their old destination.
    pub(crate) pending: IntGauge,
}

impl Xds {
    /// Creates all of them, at zero.
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, MetricsError> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, MetricsError> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Self {
            streams: gauge(
                "gatepost_xds_streams",
                "Envoys that are connected for their clusters. At 0, no egress proxy learns of an \
                 edit.",
            )?,
            responses: counter(
                "gatepost_xds_responses_total",
                "Lists of clusters sent to Envoys.",
            )?,
            acks: counter("gatepost_xds_acks_total", "Lists of clusters that an Envoy took.")?,
            nacks: counter(
                "gatepost_xds_nacks_total",
                "Lists of clusters that an Envoy refused, in part or whole. The log and /status \
                 say why. A refused cluster is offered again every 10 s. Any increase is worth an \
                 alert.",
            )?,
            pending: gauge(
                "gatepost_xds_pending",
                "Services that still go to their old destination, because an Envoy has not taken \
                 the new one. A value that stays above 0 means that one refuses it.",
            )?,
        })
    }
}
