//! What operators and their tools see: gRPC health, the admin port, the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};

use crate::drain::Health;
use crate::solo::{Solo, ask, key, launch, opens, policy};
use crate::world::POLICY_FILE;
use crate::world::answer::Request;
use crate::world::check::{check, check_bytes, check_request};
use crate::world::gatepost::{Gatepost, replace_file};
use crate::world::http1::Http1;
use crate::world::patience::eventually;

const AUTHORIZATION: &str = "envoy.service.auth.v3.Authorization";

/// For tests that change nothing.
fn shared() -> &'static Solo {
    static SOLO: OnceLock<Solo> = OnceLock::new();
    SOLO.get_or_init(|| Solo::start(&policy(0..3)))
}

/// Every series of a scrape, in the order in which it stands there.
fn series(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[test]
fn health_names_the_services_that_are_there() {
    let mut health = Health::of(&shared().gatepost);
    for service in ["", AUTHORIZATION] {
        assert_eq!(health.check(service), Ok(Serving));
        assert_eq!(health.watch(service).unwrap().next(), Some(Serving));
    }
    for service in ["envoy.service.auth.v3", "grpc.health.v1.Health", "x"] {
        assert_eq!(health.check(service), Err(Code::NotFound), "{service}");
        let watched = health.watch(service).map(|mut watch| watch.next());
        assert!(matches!(watched, Err(Code::NotFound) | Ok(None)), "{service}: {watched:?}");
    }
}

/// Asked for by a flag, and without its file: it answers, and says that it has nothing to say.
#[test]
fn without_a_policy_it_is_not_ready_and_says_so_until_the_file_is_there() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("egress_config.json"), "{}").unwrap();
    let egress = format!("unix:{}", dir.path().join("egress.sock").display());
    let args = ["--egress-listen", &*egress];
    let gatepost = Gatepost::start(&launch(dir.path().to_owned(), &args));
    let mut health = Health::of(&gatepost);
    let mut watch = health.watch(AUTHORIZATION).unwrap();
    assert_eq!(watch.next(), Some(NotServing));
    assert_eq!(health.check(""), Ok(NotServing));
    let ready = gatepost.admin("/ready");
    assert_eq!((ready.status, ready.text()), (503, "not ready: gateway_config.json\n"));
    assert_eq!(gatepost.admin("/health").status, 200);
    let mut client = gatepost.connect();
    let said = ask(&mut client, &key(0));
    assert_eq!((said.code, said.metadata["reason"].as_str()), (14, "not_configured"));

    replace_file(&dir.path().join(POLICY_FILE), &policy(0..1).to_string());
    assert_eq!(watch.next(), Some(Serving), "the stream says it when it changes");
    assert_eq!(health.check(""), Ok(Serving));
    assert_eq!(gatepost.admin("/ready").status, 200);
    assert!(opens(&mut client, 0));
}

#[test]
fn the_admin_port_answers_what_it_is_for_and_nothing_else() {
    let admin = |request: &Request| Http1::connect(shared().gatepost.admin).send(request);
    let health = admin(&Request::get("/health"));
    assert_eq!((health.status, health.text()), (200, "ok\n"));
    let ready = admin(&Request::get("/ready"));
    assert_eq!((ready.status, ready.text()), (200, "ready\n"));
    let metrics = admin(&Request::get("/metrics"));
    assert_eq!(metrics.status, 200);
    let content_type = metrics.header("content-type").unwrap();
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    for path in ["/", "/debug/pprof", "/status/x", "/config", "//status"] {
        assert_eq!(admin(&Request::get(path)).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        for path in ["/status", "/health", "/ready", "/metrics"] {
            assert_eq!(admin(&Request::new(method, path)).status, 405, "{method} {path}");
        }
    }
}

#[test]
fn the_status_tells_what_holds() {
    let status = shared().status();
    let text = |pointer: &str| status.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    for pointer in ["/started_at", "/policy/loaded_at", "/policy/checked_at"] {
        let time = text(pointer);
        assert_eq!(time.len(), "2026-01-01T00:00:00Z".len(), "{pointer}: {time}");
        assert!(time.ends_with('Z'), "{pointer}: {time}");
    }
    assert_eq!(text("/version"), env!("CARGO_PKG_VERSION"));
    let revision = text("/policy/revision");
    assert!(revision.len() == 64 && revision.bytes().all(|b| b.is_ascii_hexdigit()), "{revision}");
    assert!(status["uptime_seconds"].is_u64());
    for (pointer, wanted) in [
        ("/ready", json!(true)),
        ("/waiting_for", json!([])),
        ("/policy/generation", json!(1)),
        ("/policy/error", Value::Null),
        ("/policy/error_since", Value::Null),
        ("/policy/gateway/api_keys", json!(3)),
        ("/policy/gateway/rate_limit_tiers", json!(1)),
        ("/policy/gateway/rules", json!(4)),
        ("/policy/gateway/allow_any_key", json!(false)),
        ("/rate_limits/store", json!("memory")),
        ("/decision_log/dropped", json!(0)),
        ("/decision_log/error", Value::Null),
    ] {
        assert_eq!(status.pointer(pointer), Some(&wanted), "{pointer} in {status}");
    }
    assert!(!status.to_string().contains("test-key"), "a key is told");
    let off = Solo::with_args(&policy(0..1), &["--audit-log", "off"]);
    assert!(opens(&mut off.gatepost.connect(), 0));
    assert_eq!(off.status()["decision_log"], Value::Null);
    assert_eq!(off.gatepost.process.stdout.all(), [""; 0]);
}

#[test]
fn the_metrics_address_shows_metrics_and_health_alone() {
    let solo = Solo::with_args(&policy(0..1), &["--metrics", "127.0.0.1:0"]);
    let ready = solo.gatepost.process.stderr.wait_for("the ready line", |line| {
        line.starts_with("gatepost ready: ").then(|| line.to_owned())
    });
    let (_, address) = ready.split_once("metrics=").expect("the address in the ready line");
    let address = address.split(' ').next().unwrap().parse().unwrap();
    let get = |path: &str| Http1::connect(address).send(&Request::get(path));
    for (path, status) in
        [("/metrics", 200), ("/health", 200), ("/status", 404), ("/ready", 404), ("/", 404)]
    {
        assert_eq!(get(path).status, status, "{path}");
    }
    assert_eq!(series(get("/metrics").text()), series(solo.gatepost.admin("/metrics").text()));
}

#[test]
fn every_metric_is_there_from_the_start_and_says_what_it_is() {
    let solo = Solo::start(&policy(0..3));
    let mut client = solo.gatepost.connect();
    assert!(opens(&mut client, 0) && !opens(&mut client, 99));
    let text = solo.gatepost.admin("/metrics").text().to_owned();
    let all: BTreeMap<&str, f64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect();
    let decisions = |outcome: &str, reason: &str, detail: &str| {
        format!(
            "gatepost_decisions_total{{detail=\"{detail}\",outcome=\"{outcome}\",\
             reason=\"{reason}\",side=\"gateway\"}}"
        )
    };
    for (name, wanted) in [
        (decisions("allow", "", "").as_str(), 1.0),
        (&decisions("deny", "credential_invalid", "unknown"), 1.0),
        (&decisions("deny", "rate_limited", "minute"), 0.0),
        (&decisions("shadow", "forbidden", "role"), 0.0),
        ("gatepost_decision_duration_seconds_count{side=\"gateway\"}", 2.0),
        ("gatepost_decision_duration_seconds_bucket{side=\"gateway\",le=\"+Inf\"}", 2.0),
        ("gatepost_checks_in_flight{side=\"gateway\"}", 0.0),
        ("gatepost_policy_keys", 3.0),
        ("gatepost_policy_rules", 4.0),
        ("gatepost_policy_generation", 1.0),
        ("gatepost_policy_last_reload_successful", 1.0),
        ("gatepost_policy_reloads_total{result=\"success\"}", 1.0),
        ("gatepost_policy_reloads_total{result=\"failure\"}", 0.0),
        ("gatepost_policy_reloads_total{result=\"unchanged\"}", 0.0),
        ("gatepost_limiter_subjects", 0.0),
        ("gatepost_decision_log_dropped_total", 0.0),
        ("gatepost_decision_log_errors_total", 0.0),
        (&format!("gatepost_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(all.get(name), Some(&wanted), "{name}");
    }
    for name in ["gatepost_policy_last_success_timestamp_seconds", "process_start_time_seconds"] {
        assert!(all[name] > 1.7e9, "{name}");
    }
    assert!(all.contains_key("gatepost_decision_log_queue_bytes"));
    for name in all.keys() {
        let family = name.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| family.strip_suffix(end))
            .unwrap_or(family);
        for about in ["HELP", "TYPE"] {
            assert!(text.contains(&format!("# {about} {family} ")), "{about} {family}");
        }
    }
}

/// Whatever callers send, there are as many series as before.
#[test]
fn no_caller_can_grow_the_metrics() {
    let solo = Solo::start(&json!({
        "api_keys": [{ "id": "counted", "key": key(0) }],
        "rate_limit_tiers": { "default": { "requests_per_minute": 5 } },
    }));
    let scrape = || solo.gatepost.admin("/metrics").text().to_owned();
    let before: BTreeSet<String> = series(&scrape()).into_iter().collect();
    let mut client = solo.gatepost.connect();
    let methods = ["GET", "BREW", "", "CONNECT", "get"];
    for number in 0..1000 {
        let key = key(number / 100);
        let path = format!("/{}/{number}?q={number}", ["api/v1", "admin", "x", ".."][number % 4]);
        let host = format!("host-{number}.test");
        let headers = [("x-api-key", key.as_bytes()), ("x-canary-label", b"v")];
        let mut request = check_request(methods[number % 5], &path, &headers);
        let http = request.attributes.as_mut().unwrap().request.as_mut().unwrap();
        http.http.as_mut().unwrap().host.clone_from(&host);
        check(&mut client, &request);
    }
    check_bytes(&mut client, b"\xff\xff\xff");
    let text = scrape();
    let after: BTreeSet<String> = series(&text).into_iter().collect();
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(before.difference(&after).collect::<Vec<_>>(), Vec::<&String>::new());
    let decided: f64 = text
        .lines()
        .filter_map(|line| line.strip_prefix("gatepost_decisions_total{"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum();
    assert_eq!(decided.to_string(), "1001", "a decision without a series:\n{text}");
    for canary in ["host-", "test-key", "BREW", "canary"] {
        assert!(!text.contains(canary), "{canary} is a label");
    }
    // Callers that are not known are not counted either.
    let subjects = solo.gatepost.metric("gatepost_limiter_subjects");
    assert!(subjects <= 1.0, "{subjects} subjects for one known caller");
    eventually("the gauge", || {
        (solo.gatepost.metric("gatepost_checks_in_flight{side=\"gateway\"}") == 0.0).then_some(())
    });
}
