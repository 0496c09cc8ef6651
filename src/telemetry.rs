//! What an operator can see from outside: metrics, and diagnostics on standard error.
//!
//! Every label comes from a closed set and every series exists from the start, so that no caller
//! can grow the number of series and a rate over a counter works from its first increment. Recording
//! a decision is three relaxed atomic additions.

mod diagnostics;
mod family;
mod latency;
mod policy;
mod xds;

use std::time::Duration;

use prometheus::{
    Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::clock::Now;
use crate::denial::Denial;
use crate::side::Side;

pub use self::diagnostics::{DiagnosticsError, Format, init_tracing};
pub use self::policy::{CredentialFacts, PolicyFacts};
pub use self::xds::Xds;
pub use prometheus::Error as MetricsError;

use self::family::{Kind, single};
use self::latency::Latency;
use self::policy::Policy;

/// The media type of [`Metrics::render`]'s text.
pub const TEXT_FORMAT: &str = prometheus::TEXT_FORMAT;

/// How a decision ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The request went through.
    Allow,
    /// The request was refused.
    Deny(Denial),
    /// The request went through, and would have been refused were its rule not in shadow mode.
    Shadow(Denial),
}

/// Values that belong to other parts of the process, read at the moment of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// The decision log.
    pub log: LogReading,
    /// Subjects (callers) for which the rate limiter holds counters.
    pub limiter_subjects: u64,
}

/// The decision log's counts since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogReading {
    /// Decisions written.
    pub written: u64,
    /// Decisions dropped.
    pub dropped: u64,
    /// Failed attempts to write.
    pub errors: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: u64,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    gateway: SideMetrics,
    egress: SideMetrics,
    policy: Policy,
    xds: Xds,
}

/// One more check in flight, until it is dropped.
#[derive(Debug)]
#[must_use = "the check counts as in flight for as long as this lives"]
pub struct InFlight<'a>(&'a IntGauge);

#[derive(Debug)]
struct SideMetrics {
    allowed: IntCounter,
    denied: Vec<IntCounter>,
    shadowed: Vec<IntCounter>,
    latency: Latency,
    in_flight: IntGauge,
    failed_handshakes: IntCounter,
}

impl Outcome {
    /// The outcome's name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny(_) => "deny",
            Self::Shadow(_) => "shadow",
        }
    }

    /// Why the request was, or would have been, refused.
    pub const fn denial(self) -> Option<Denial> {
        match self {
            Self::Allow => None,
            Self::Deny(denial) | Self::Shadow(denial) => Some(denial),
        }
    }
}

impl Metrics {
    /// Creates every series, at zero. `started` is the moment the process started.
    ///
    /// Fails only on a mistake in this file: a metric with an invalid name, or with one that is
    /// taken.
    pub fn new(started: Now) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let decisions = IntCounterVec::new(
            Opts::new(
                "gatepost_decisions_total",
                "Decisions by side, outcome and cause. outcome=\"shadow\" went through and would \
                 have been denied if its rule were enforced. reason is what the caller is told, \
                 detail is what it is not told.",
            ),
            &["side", "outcome", "reason", "detail"],
        )?;
        let in_flight = IntGaugeVec::new(
            Opts::new(
                "gatepost_checks_in_flight",
                "Checks that are being decided now. A value that stays high means that decisions \
                 wait for something.",
            ),
            &["side"],
        )?;
        let failed_handshakes = IntCounterVec::new(
            Opts::new(
                "gatepost_tls_handshakes_failed_total",
                "Connections whose TLS handshake failed: no certificate or one that is not \
                 listed, no TLS at all, or too slow. With --log-level debug the log says which.",
            ),
            &["side"],
        )?;
        registry.register(Box::new(decisions.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(failed_handshakes.clone()))?;
        register_process(&registry, started)?;
        let side = |side| SideMetrics::new(side, &decisions, &in_flight, &failed_handshakes);
        Ok(Self {
            gateway: side(Side::Gateway)?,
            egress: side(Side::Egress)?,
            policy: Policy::new(&registry)?,
            xds: Xds::new(&registry)?,
            registry,
        })
    }

    /// Counts one decision. `latency` is the time inside the process, from the decoded message to
    /// the finished answer.
    pub fn decided(&self, side: Side, outcome: Outcome, latency: Duration) {
        let side = self.side(side);
        let counter = match outcome {
            Outcome::Allow => Some(&side.allowed),
            Outcome::Deny(denial) => side.denied.get(denial.index()),
            Outcome::Shadow(denial) => side.shadowed.get(denial.index()),
        };
        // There is a counter for every member of Denial::ALL (tested), hence always one here.
        if let Some(counter) = counter {
            counter.inc();
        }
        side.latency.observe(latency);
    }

    /// Counts a check as in flight until the answer is dropped.
    pub fn enter(&self, side: Side) -> InFlight<'_> {
        let gauge = &self.side(side).in_flight;
        gauge.inc();
        InFlight(gauge)
    }

    /// Counts the TLS handshakes that fail on a side's socket.
    pub fn failed_handshakes(&self, side: Side) -> IntCounter {
        self.side(side).failed_handshakes.clone()
    }

    /// Notes that a new policy holds.
    pub fn policy_loaded(&self, facts: PolicyFacts, now: Now) {
        self.policy.loaded(facts, now);
    }

    /// Notes that the same policy holds with other values of secrets.
    pub fn policy_renewed(&self, facts: PolicyFacts) {
        self.policy.renewed(facts);
    }

    /// Notes how the credentials of outside services stand.
    pub fn credentials(&self, facts: CredentialFacts) {
        self.policy.credentials(facts);
    }

    /// Notes that the files were read again, are valid, and say what already holds.
    pub fn policy_unchanged(&self, now: Now) {
        self.policy.unchanged(now);
    }

    /// Notes that the files were read and refused: what held before still holds.
    pub fn policy_refused(&self) {
        self.policy.refused();
    }

    /// The metrics of the discovery service.
    pub const fn xds(&self) -> &Xds {
        &self.xds
    }

    /// All metrics in the text format of Prometheus ([`TEXT_FORMAT`]).
    pub fn render(&self, readings: &Readings) -> Result<String, MetricsError> {
        let mut families = self.registry.gather();
        families.push(latency::family([
            (Side::Gateway.name(), &self.gateway.latency),
            (Side::Egress.name(), &self.egress.latency),
        ]));
        families.extend(self.policy.families());
        let LogReading { written, dropped, errors, queued_bytes } = readings.log;
        families.extend([
            single(
                Kind::Gauge,
                "gatepost_limiter_subjects",
                "Callers for which the rate limiter holds counters. One that stays idle for an \
                 hour is forgotten.",
                readings.limiter_subjects,
            ),
            single(
                Kind::Counter,
                "gatepost_decision_log_written_total",
                "Decisions written to the decision log.",
                written,
            ),
            single(
                Kind::Counter,
                "gatepost_decision_log_dropped_total",
                "Decisions missing from the decision log, because its queue was full. The log \
                 itself names each missing seq in a gap record. Any increase is worth an alert.",
                dropped,
            ),
            single(
                Kind::Counter,
                "gatepost_decision_log_errors_total",
                "Failed attempts to write the decision log. The lines are kept and written again; \
                 while this grows, the queue fills.",
                errors,
            ),
            single(
                Kind::Gauge,
                "gatepost_decision_log_queue_bytes",
                "Bytes of the decision log that wait to be written. At the queue's limit, lines \
                 are dropped.",
                queued_bytes,
            ),
        ]);
        TextEncoder::new().encode_to_string(&families)
    }

    const fn side(&self, side: Side) -> &SideMetrics {
        match side {
            Side::Gateway => &self.gateway,
            Side::Egress => &self.egress,
        }
    }
}

impl SideMetrics {
    fn new(
        side: Side,
        decisions: &IntCounterVec,
        in_flight: &IntGaugeVec,
        failed_handshakes: &IntCounterVec,
    ) -> Result<Self, MetricsError> {
        let counter = |outcome: Outcome| {
            let (reason, detail) = outcome.denial().map_or(("", ""), |d| (d.reason(), d.detail()));
            decisions.get_metric_with_label_values(&[side.name(), outcome.name(), reason, detail])
        };
        Ok(Self {
            allowed: counter(Outcome::Allow)?,
            denied: Denial::ALL
                .into_iter()
                .map(Outcome::Deny)
                .map(counter)
                .collect::<Result<_, _>>()?,
            shadowed: Denial::ALL
                .into_iter()
                .map(Outcome::Shadow)
                .map(counter)
                .collect::<Result<_, _>>()?,
            latency: Latency::default(),
            in_flight: in_flight.get_metric_with_label_values(&[side.name()])?,
            failed_handshakes: failed_handshakes.get_metric_with_label_values(&[side.name()])?,
        })
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn register_process(registry: &Registry, started: Now) -> Result<(), MetricsError> {
    let build = IntGaugeVec::new(
        Opts::new("gatepost_build_info", "Always 1; the label says which version runs."),
        &["version"],
    )?;
    build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
    let start = Gauge::new(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970. A change is a restart.",
    )?;
    start.set(started.unix.as_secs_f64());
    registry.register(Box::new(build))?;
    registry.register(Box::new(start))
}

#[cfg(test)]
mod tests;
