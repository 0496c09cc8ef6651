//! The metrics as a scraper reads them.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::denial::{Forbidden, Window};

/// Series (name with labels) to value, both as written; panics on anything that is not the format.
fn scrape(metrics: &Metrics, readings: &Readings) -> BTreeMap<String, String> {
    let mut series = BTreeMap::new();
    let mut typed = BTreeSet::new();
    for line in metrics.render(readings).unwrap().lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(typed.insert(rest.split(' ').next().unwrap().to_owned()), "twice: {rest}");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.len() > 20 && help.ends_with('.'), "{name} does not explain itself");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "no number: {line}");
            let old = series.insert(name.to_owned(), value.to_owned());
            assert!(old.is_none(), "twice: {name}");
        }
    }
    for name in series.keys() {
        let family = name.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end));
        assert!(typed.contains(family) || typed.contains(base.unwrap_or("")), "no type: {name}");
    }
    series
}

fn metrics() -> Metrics {
    Metrics::new(Now { unix: Duration::from_millis(1_700_000_000_250), monotonic: Duration::ZERO })
        .unwrap()
}

fn decisions(side: &str, outcome: Outcome) -> String {
    let (reason, detail) = outcome.denial().map_or(("", ""), |d| (d.reason(), d.detail()));
    format!(
        "gatepost_decisions_total{{detail=\"{detail}\",outcome=\"{}\",reason=\"{reason}\",side=\"{side}\"}}",
        outcome.name()
    )
}

#[test]
fn every_outcome_has_its_series_from_the_start_and_counts_alone() {
    let metrics = metrics();
    let outcomes: Vec<Outcome> = [Outcome::Allow]
        .into_iter()
        .chain(Denial::ALL.into_iter().map(Outcome::Deny))
        .chain(Denial::ALL.into_iter().map(Outcome::Shadow))
        .collect();
    let mut expected: BTreeMap<String, String> = Side::ALL
        .into_iter()
        .flat_map(|side| {
            outcomes.iter().map(move |&outcome| (decisions(side.name(), outcome), "0".to_owned()))
        })
        .collect();
    let counted = |metrics: &Metrics| -> BTreeMap<String, String> {
        let mut series = scrape(metrics, &Readings::default());
        series.retain(|name, _| name.starts_with("gatepost_decisions_total"));
        series
    };
    assert_eq!(counted(&metrics), expected);
    for (times, &outcome) in outcomes.iter().enumerate() {
        for _ in 0..times {
            metrics.decided(Side::Gateway, outcome, Duration::ZERO);
        }
        expected.insert(decisions("gateway", outcome), times.to_string());
    }
    assert_eq!(counted(&metrics), expected);
}

#[test]
fn only_the_revision_is_an_open_label_and_it_has_one_value() {
    let metrics = metrics();
    let before = scrape(&metrics, &Readings::default());
    for generation in 1..=3 {
        let revision = format!("r{generation}");
        let facts = PolicyFacts { revision, generation, keys: 7, ..PolicyFacts::default() };
        metrics.policy_loaded(facts, Now::read());
    }
    for denial in Denial::ALL {
        metrics.decided(Side::Egress, Outcome::Deny(denial), Duration::from_secs(9));
    }
    let after = scrape(&metrics, &Readings::default());
    let new: Vec<&String> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert_eq!(new, ["gatepost_policy_info{revision=\"r3\"}"]);
}

#[test]
fn the_policy_gauges_follow_loads_refusals_and_their_repair() {
    let metrics = metrics();
    let at = |seconds| Now { unix: Duration::from_secs(seconds), monotonic: Duration::ZERO };
    let state = || {
        let series = scrape(&metrics, &Readings::default());
        [
            "gatepost_policy_keys",
            "gatepost_policy_rules",
            "gatepost_policy_services",
            "gatepost_policy_sandboxes",
            "gatepost_policy_generation",
            "gatepost_policy_last_success_timestamp_seconds",
            "gatepost_policy_last_reload_successful",
            "gatepost_policy_reloads_total{result=\"success\"}",
            "gatepost_policy_reloads_total{result=\"failure\"}",
            "gatepost_policy_reloads_total{result=\"unchanged\"}",
        ]
        .map(|name| series[name].clone())
        .join(" ")
    };
    assert_eq!(state(), "0 0 0 0 0 0 0 0 0 0");
    let facts = |generation| PolicyFacts {
        revision: "a".to_owned(),
        generation,
        keys: 5,
        rules: 3,
        services: 7,
        sandboxes: 8,
    };
    metrics.policy_loaded(facts(1), at(100));
    assert_eq!(state(), "5 3 7 8 1 100 1 1 0 0");
    metrics.policy_refused();
    assert_eq!(state(), "5 3 7 8 1 100 0 1 1 0");
    metrics.policy_renewed(facts(2));
    assert_eq!(state(), "5 3 7 8 2 100 0 1 1 0", "other secrets mend no policy");
    metrics.policy_unchanged(at(200));
    assert_eq!(state(), "5 3 7 8 2 200 1 1 1 1");
}

#[test]
fn every_state_of_a_credential_has_its_series_from_the_start() {
    let metrics = metrics();
    let counted = || {
        let series = scrape(&metrics, &Readings::default());
        ["ok", "kept", "unresolved", "empty", "malformed", "stale"]
            .map(|state| {
                series[&format!("gatepost_egress_credentials{{state=\"{state}\"}}")].clone()
            })
            .join(" ")
    };
    assert_eq!(counted(), "0 0 0 0 0 0");
    let facts = CredentialFacts { ok: 1, kept: 2, unresolved: 3, empty: 4, malformed: 5, stale: 6 };
    metrics.credentials(facts);
    metrics.policy_loaded(PolicyFacts::default(), Now::read());
    assert_eq!(counted(), "1 2 3 4 5 6", "a load leaves them as they are");
}

#[test]
fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
    let metrics = metrics();
    for nanoseconds in [0, 1_000, 1_001, 2_000, 100_000_000, 100_000_001, 2_000_000_000] {
        let denial = Denial::RateLimited(Window::Hour);
        metrics.decided(Side::Egress, Outcome::Deny(denial), Duration::from_nanos(nanoseconds));
    }
    let series = scrape(&metrics, &Readings::default());
    let name = |end: &str| format!("gatepost_decision_duration_seconds{end}");
    for (bound, count) in
        [("0.000001", "2"), ("0.000002", "4"), ("0.05", "4"), ("0.1", "5"), ("+Inf", "7")]
    {
        let bucket = name(&format!("_bucket{{side=\"egress\",le=\"{bound}\"}}"));
        assert_eq!(series[&bucket], count, "{bucket}");
    }
    assert_eq!(series[&name("_count{side=\"egress\"}")], "7");
    assert_eq!(series[&name("_sum{side=\"egress\"}")], "2.200004002");
    assert_eq!(series[&name("_count{side=\"gateway\"}")], "0");
}

#[test]
fn a_check_is_in_flight_until_its_guard_is_dropped() {
    let metrics = metrics();
    let gauge = |side| {
        scrape(&metrics, &Readings::default())
            [&format!("gatepost_checks_in_flight{{side=\"{side}\"}}")]
            .clone()
    };
    let first = metrics.enter(Side::Gateway);
    let second = metrics.enter(Side::Gateway);
    assert_eq!(gauge("gateway") + &gauge("egress"), "20");
    drop(first);
    drop(second);
    assert_eq!(gauge("gateway"), "0");
}

#[test]
fn readings_and_process_facts_are_shown() {
    let metrics = metrics();
    metrics.decided(
        Side::Gateway,
        Outcome::Shadow(Denial::Forbidden(Forbidden::Role)),
        Duration::ZERO,
    );
    let log = LogReading { written: 11, dropped: 12, errors: 13, queued_bytes: 14 };
    let series = scrape(&metrics, &Readings { log, limiter_subjects: 15 });
    for (name, value) in [
        ("gatepost_decision_log_written_total", "11"),
        ("gatepost_decision_log_dropped_total", "12"),
        ("gatepost_decision_log_errors_total", "13"),
        ("gatepost_decision_log_queue_bytes", "14"),
        ("gatepost_limiter_subjects", "15"),
        ("process_start_time_seconds", "1700000000.25"),
        (concat!("gatepost_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), "1"),
    ] {
        assert_eq!(series[name], value, "{name}");
    }
}
