//! Which policy holds, and how the last attempts to change it went.
//!
//! The facts of one policy change together, under one lock, so that a scrape never shows the
//! revision of one policy with the counts of another.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::proto::{Gauge, Metric, MetricFamily, MetricType};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::MetricsError;
use super::family::{Kind, family, float, label, single, single_float};
use crate::clock::Now;

/// What the metrics show of the policy that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFacts {
    /// The revision: the hash of the files' content, as it stands in each decision.
    pub revision: String,
    /// How many policies have held since the start, this one included.
    pub generation: u64,
    /// Keys.
    pub keys: u64,
    /// Rules.
    pub rules: u64,
    /// Services of the egress.
    pub services: u64,
    /// Sandboxes.
    pub sandboxes: u64,
}

/// How many credentials of outside services stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CredentialFacts {
    /// They can be had.
    pub ok: u64,
    /// Their sources cannot be read, and their last good values are used.
    pub kept: u64,
    /// The others: why they cannot be had.
    pub unresolved: u64,
    /// The same.
    pub empty: u64,
    /// The same.
    pub malformed: u64,
    /// The same.
    pub stale: u64,
}

/// The policy's metrics.
#[derive(Debug)]
pub(super) struct Policy {
    loaded: IntCounter,
    refused: IntCounter,
    unchanged: IntCounter,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    facts: Option<PolicyFacts>,
    credentials: CredentialFacts,
    last_success: Duration,
    last_successful: bool,
}

impl CredentialFacts {
    /// Each number under its label: a closed set.
    const fn by_state(&self) -> [(&'static str, u64); 6] {
        let Self { ok, kept, unresolved, empty, malformed, stale } = *self;
        [
            ("ok", ok),
            ("kept", kept),
            ("unresolved", unresolved),
            ("empty", empty),
            ("malformed", malformed),
            ("stale", stale),
        ]
    }
}

impl Policy {
    /// Creates the counters.
    pub(super) fn new(registry: &Registry) -> Result<Self, MetricsError> {
        let reloads = IntCounterVec::new(
            Opts::new(
                "gatepost_policy_reloads_total",
                "Times the policy was read, the first included. success: a new policy holds. \
                 failure: the files were refused and the policy before still holds. unchanged: \
                 the files say what already holds.",
            ),
            &["result"],
        )?;
        let policy = Self {
            loaded: reloads.get_metric_with_label_values(&["success"])?,
            refused: reloads.get_metric_with_label_values(&["failure"])?,
            unchanged: reloads.get_metric_with_label_values(&["unchanged"])?,
            state: Mutex::default(),
        };
        registry.register(Box::new(reloads))?;
        Ok(policy)
    }

    /// A new policy holds.
    pub(super) fn loaded(&self, facts: PolicyFacts, now: Now) {
        self.loaded.inc();
        let mut state = self.state();
        state.facts = Some(facts);
        state.last_success = now.unix;
        state.last_successful = true;
    }

    /// The same files hold, in another generation: with other values of secrets.
    pub(super) fn renewed(&self, facts: PolicyFacts) {
        self.state().facts = Some(facts);
    }

    /// How the credentials stand now.
    pub(super) fn credentials(&self, credentials: CredentialFacts) {
        self.state().credentials = credentials;
    }

    /// The files are valid and say what already holds. After a refused edit that was taken back,
    /// this is what ends the alert.
    pub(super) fn unchanged(&self, now: Now) {
        self.unchanged.inc();
        let mut state = self.state();
        state.last_success = now.unix;
        state.last_successful = true;
    }

    /// The files were refused.
    pub(super) fn refused(&self) {
        self.refused.inc();
        self.state().last_successful = false;
    }

    /// The gauges of this moment.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let state = self.state();
        let facts = state.facts.clone().unwrap_or_default();
        let mut families = vec![
            single(
                Kind::Gauge,
                "gatepost_policy_keys",
                "API keys in the policy that holds, the disabled ones included.",
                facts.keys,
            ),
            single(
                Kind::Gauge,
                "gatepost_policy_rules",
                "Rules in the policy that holds.",
                facts.rules,
            ),
            single(
                Kind::Gauge,
                "gatepost_policy_services",
                "Services of the egress in the policy that holds.",
                facts.services,
            ),
            single(
                Kind::Gauge,
                "gatepost_policy_sandboxes",
                "Sandboxes in the policy that holds, the disabled ones included.",
                facts.sandboxes,
            ),
            single(
                Kind::Gauge,
                "gatepost_policy_generation",
                "How many policies have held since the start. 0: none yet, everything is denied.",
                facts.generation,
            ),
            single_float(
                Kind::Gauge,
                "gatepost_policy_last_success_timestamp_seconds",
                "When the policy files were last read and found valid, in seconds since 1970. 0: \
                 never.",
                state.last_success.as_secs_f64(),
            ),
            single(
                Kind::Gauge,
                "gatepost_policy_last_reload_successful",
                "1 if the policy files were valid when last read, 0 if they were refused. At 0 \
                 the last good policy holds, and an edit waits to be corrected.",
                u64::from(state.last_successful),
            ),
        ];
        families.push(credentials(&state.credentials));
        if state.facts.is_some() {
            let mut gauge = Gauge::default();
            gauge.set_value(1.0);
            let mut info = Metric::from_label(vec![label("revision", &facts.revision)]);
            info.set_gauge(gauge);
            families.push(family(
                MetricType::GAUGE,
                "gatepost_policy_info",
                "Always 1; the label is the revision that holds. Replicas with the same files \
                 show the same one.",
                vec![info],
            ));
        }
        families
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave these plain values half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn credentials(facts: &CredentialFacts) -> MetricFamily {
    let metrics = facts.by_state().map(|(state, count)| {
        let mut gauge = Gauge::default();
        gauge.set_value(float(count));
        let mut metric = Metric::from_label(vec![label("state", state)]);
        metric.set_gauge(gauge);
        metric
    });
    family(
        MetricType::GAUGE,
        "gatepost_egress_credentials",
        "Credentials of outside services by state. ok: to be had. kept: its file cannot be read and \
         the last good value is used, for now. All others: the service answers 503.",
        metrics.into(),
    )
}
