//! The decision log as its reader sees it: complete, in order, and without a secret.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::solo::{Solo, ask, key, opens, policy};
use crate::world::answer::Request;
use crate::world::check::{check, check_bytes, check_request};
use crate::world::http2::Http2;
use crate::world::patience::eventually;
use crate::world::{Protocol, World};

/// Stands in requests where a secret may stand. A path is logged; everything else here is not.
const CANARY: &str = "canary9d41e07b55aa0c3d2f";

/// The lines of a log file.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn detailed() -> Value {
    json!({
        "api_keys": [{ "id": "acme-1", "key": key(1), "role": "admin", "tenant": "acme",
                       "rate_limit_tier": "counted", "scopes": ["s"] }],
        "rate_limit_tiers": { "counted": { "requests_per_minute": 2, "requests_per_hour": 10 } },
        "rules": [{ "id": "all", "paths": ["/**"] },
                  { "id": "never", "paths": ["/never"], "roles": ["nobody"] }],
    })
}

/// Two checks within the limit, one over it, and one that cannot be read.
fn four_decisions(solo: &Solo) -> Vec<Value> {
    let mut client = solo.gatepost.connect();
    let key = key(1);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers: [(&str, &[u8]); 3] = [
        ("x-api-key", key.as_bytes()),
        ("traceparent", trace.as_bytes()),
        ("x-request-id", b"request-7"),
    ];
    let request = check_request("GET", "/api/x?token=canary", &headers);
    for _ in 0..3 {
        check(&mut client, &request);
    }
    check_bytes(&mut client, b"\xff\xff\xff");
    solo.decisions(4)
}

#[test]
fn a_line_has_every_field_and_no_more() {
    let solo = Solo::start(&detailed());
    let mut line = four_decisions(&solo).remove(0);
    let line = line.as_object_mut().unwrap();
    let mut take = |field: &str| line.remove(field).unwrap_or_else(|| panic!("no {field}"));
    let latency = take("latency_us").as_f64().unwrap();
    assert!((0.1..1e6).contains(&latency), "{latency} µs");
    let ts = take("ts").as_str().unwrap().to_owned();
    assert!(ts.len() == "2026-01-01T00:00:00.000000Z".len() && ts.ends_with('Z'), "{ts}");
    assert_eq!(take("decision_id").as_str().unwrap().len(), 32);
    assert_eq!(take("revision"), solo.status()["policy"]["revision"]);
    let rest = json!({
        "v": 1,
        "seq": 1,
        "type": "decision",
        "side": "gateway",
        "outcome": "allow",
        "rule": "all",
        "key_id": "acme-1",
        "role": "admin",
        "tier": "counted",
        "tenant": "acme",
        "method": "GET",
        "host": "gateway.test",
        "path": "/api/x",
        "client": "127.0.0.1",
        "generation": 1,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "request_id": "request-7",
        "limits": { "minute": { "limit": 2, "remaining": 1 },
                    "hour": { "limit": 10, "remaining": 9 } },
    });
    assert_eq!(json!(line), rest);
}

#[test]
fn a_denial_has_its_reason_and_what_is_behind_it() {
    let solo = Solo::start(&detailed());
    let decisions = four_decisions(&solo);
    let why = |line: &Value| [&line["outcome"], &line["reason"], &line["detail"]].map(Value::clone);
    let [_, _, limited, broken] = &decisions[..] else { panic!("{decisions:?}") };
    assert_eq!(why(limited), ["deny", "rate_limited", "minute"]);
    assert_eq!(limited["limits"]["minute"]["remaining"], 0);
    assert_eq!(limited["limits"]["hour"]["remaining"], 8, "a denied request is not charged");
    assert_eq!(why(broken), ["deny", "request_malformed", "undecodable"]);
    let ids: BTreeSet<_> = decisions.iter().map(|line| line["decision_id"].as_str()).collect();
    assert_eq!(ids.len(), 4);
}

/// Whatever a caller writes stays inside its own field of its own line.
#[test]
fn no_caller_can_forge_a_line() {
    let solo = Solo::start(&policy(0..1));
    let mut client = solo.gatepost.connect();
    let forged = "/api/v1/x\n{\"v\":1,\"seq\":2,\"type\":\"decision\",\"outcome\":\"allow\"}";
    let long = format!("/api/v1/{}", "x".repeat(100_000));
    let key = key(0);
    for path in [forged, "/api/v1/\"}\u{2028}\u{1b}[31m", "/api/v1/\0", &long] {
        let headers: [(&str, &[u8]); 3] = [
            ("x-api-key", key.as_bytes()),
            ("traceparent", b"00-\"}\n-x-01"),
            ("x-request-id", b"id\n\"}"),
        ];
        check(&mut client, &check_request("GET", path, &headers));
    }
    let mut request = check_request("GET\n", "/api/v1/x", &[]);
    let http = request.attributes.as_mut().unwrap().request.as_mut().unwrap();
    http.http.as_mut().unwrap().host = "a\nb".repeat(100_000);
    check(&mut client, &request);
    let decisions = solo.decisions(5);
    assert_eq!(decisions.len(), 5);
    for line in solo.gatepost.process.stdout.all() {
        assert!(line.len() < 4096, "{} bytes", line.len());
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    assert!(decisions.iter().all(|line| line["trace_id"].is_null()), "{decisions:?}");
}

/// Every place in which a caller may put a secret, through Envoy.
fn with_canaries() -> Vec<Request> {
    let basic = format!("Basic {CANARY}");
    let bearer = format!("Bearer {CANARY}");
    let known = || Request::get("/api/v1/x").header("x-api-key", key(0));
    let upper = CANARY.to_uppercase();
    vec![
        Request::get("/api/v1/x").header("x-api-key", CANARY),
        Request::get("/api/v1/x").header("authorization", &bearer),
        Request::get("/api/v1/x").header("authorization", &basic),
        Request::get("/api/v1/x").header("authorization", format!("Digest username={CANARY}")),
        known().header("authorization", &basic),
        known().header("authorization", &bearer),
        known().header("cookie", format!("session={CANARY}")),
        known().header("proxy-authorization", &basic),
        known().header("x-agent-secret", CANARY),
        known().header("x-gatepost-decision-id", CANARY),
        known().header("x-authenticated-key-id", CANARY),
        known().header("traceparent", format!("00-{CANARY}-{CANARY}-01")),
        known().header("x-request-id", CANARY),
        known().header("referer", format!("https://x.test/?k={CANARY}")),
        known().header("user-agent", CANARY),
        known().header("x-api-key", CANARY),
        known().body(CANARY),
        Request::get(&format!("/api/v1/x?api_key={CANARY}")).header("x-api-key", key(0)),
        Request::get(&format!("/api/v1/x?api_key={CANARY}")),
        Request::get(&format!("/nowhere?{upper}&{CANARY}")),
        Request::get(&format!("/api/v1/%2e%2e/x?{CANARY}")).header("x-api-key", key(0)),
        Request::get(&format!("/api/v1/x?a=%3F{CANARY}?{CANARY}")).header("x-api-key", "a,b"),
        Request::grpc("/agentd.v1.Agents/List").header("x-api-key", CANARY),
        Request::grpc(&format!("/agentd.v1.Agents/List?{CANARY}")).header("authorization", &bearer),
    ]
}

#[test]
fn no_secret_of_a_caller_is_told_anywhere() {
    let world = World::with_policy(&policy(0..1)).args(&["--log-level", "debug"]).start();
    let mut decided = 0;
    for protocol in Protocol::BOTH {
        for request in with_canaries() {
            let answer = world.send(protocol, &request);
            // The upstream echoes what it got; what gatepost itself says has no part of the request.
            if answer.status != 200 {
                let text = format!("{answer:?}").to_lowercase();
                assert!(!text.contains(CANARY), "{request:?}\n{text}");
            }
            decided += 1;
        }
    }
    // Past Envoy it is gatepost alone that keeps the secret.
    let mut client = world.gatepost.connect();
    for (headers, path) in [
        (vec![("x-api-key", CANARY)], "/api/v1/x".to_owned()),
        (vec![("X-API-KEY", CANARY)], format!("/api/v1/x#{CANARY}")),
        (vec![("authorization", CANARY)], format!("/api/v1/x?{CANARY}#{CANARY}?{CANARY}")),
        (vec![("x_api_key", CANARY)], format!("/../?{CANARY}")),
        (vec![], format!("http://gateway.test/x?{CANARY}")),
        (vec![], format!("?{CANARY}")),
        (vec![(CANARY, CANARY)], "/api/v1/x".to_owned()),
    ] {
        let headers: Vec<_> = headers.iter().map(|&(name, v)| (name, v.as_bytes())).collect();
        check(&mut client, &check_request("GET", &path, &headers));
        decided += 1;
    }
    check_bytes(&mut client, CANARY.as_bytes());
    std::fs::write(world.policy_file(), format!("{{\"api_keys\":[{{\"key\":\"{CANARY}\",\"key\""))
        .unwrap();
    eventually("the refusal", || {
        world.gatepost.admin("/status").json()["policy"]["error"].as_str().map(|_| ())
    });
    world.gatepost.process.signal(Signal::HUP);
    // Envoy itself refuses some of them.
    let refused = |line: &str| line.contains("\"decision_id\":null");
    let through_envoy = Protocol::BOTH.len() * with_canaries().len();
    eventually("the last access log line", || {
        (world.envoy.process.stdout.mark() >= through_envoy).then_some(())
    });
    let unasked = world.envoy.process.stdout.all().iter().filter(|line| refused(line)).count();
    crate::solo::decisions(&world.gatepost.process, decided + 1 - u64::try_from(unasked).unwrap());

    let everything = [
        ("decision log", world.gatepost.process.stdout.all().join("\n")),
        ("diagnostics", world.gatepost.process.stderr.all().join("\n")),
        ("access log", world.envoy.process.stdout.all().join("\n")),
        ("status", world.gatepost.admin("/status").text().to_owned()),
        ("metrics", world.gatepost.admin("/metrics").text().to_owned()),
    ];
    for (place, text) in everything {
        assert!(!text.is_empty(), "{place}");
        for secret in [CANARY, &key(0)] {
            let found = text.lines().find(|line| line.to_lowercase().contains(secret));
            assert_eq!(found, None, "{secret} in the {place}");
        }
    }
}

#[test]
fn to_a_file_it_is_appended_and_brought_to_an_end() {
    let dir = tempfile::TempDir::new().unwrap();
    let log = dir.path().join("decisions.jsonl");
    let arguments = ["--audit-log", log.to_str().unwrap()];
    for run in 1..3 {
        let mut solo = Solo::with_args(&policy(0..1), &arguments);
        let mut client = solo.gatepost.connect();
        assert!(opens(&mut client, 0) && !opens(&mut client, 1));
        eventually("the lines", || (lines(&log).len() >= run * 4 - 1).then_some(()));
        assert_eq!(solo.gatepost.process.stdout.all(), [""; 0]);
        solo.gatepost.process.signal(Signal::TERM);
        assert_eq!(solo.gatepost.process.wait().code(), Some(0));
        let all = lines(&log);
        assert_eq!(all.len(), run * 4);
        let last = &all[run * 4 - 4..];
        let types: Vec<_> = last.iter().map(|line| line["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["start", "decision", "decision", "end"]);
        assert_eq!((&last[1]["seq"], &last[3]["last_seq"]), (&json!(1), &json!(2)));
        assert_eq!(last[0]["boot"], last[3]["boot"]);
    }
    let boots: BTreeSet<_> = lines(&log).iter().map(|line| line["boot"].to_string()).collect();
    assert_eq!(boots.len(), 3, "two runs, and null for decisions: {boots:?}");
}

#[test]
fn a_full_disk_is_seen_by_operators_and_not_by_callers() {
    let arguments = ["--audit-log", "/dev/full", "--drain-grace", "200", "--audit-queue", "16384"];
    let mut solo = Solo::with_args(&policy(0..1), &arguments);
    let mut client = solo.gatepost.connect();
    for _ in 0..100 {
        assert!(opens(&mut client, 0));
    }
    eventually("the error in /status", || {
        let error = solo.status()["decision_log"]["error"].as_str()?.to_owned();
        error.contains("No space left").then_some(())
    });
    solo.gatepost.wait_for_metric("gatepost_decision_log_errors_total", |errors| errors >= 1.0);
    // 100 lines are more than 16 KiB.
    let dropped = solo.gatepost.metric("gatepost_decision_log_dropped_total");
    assert!((1.0..100.0).contains(&dropped), "{dropped}");
    assert_eq!(solo.status()["decision_log"]["written"], 0);
    assert_eq!(solo.gatepost.admin("/ready").status, 200);
    solo.gatepost.process.stderr.wait_for("the error", |line| {
        (line.contains("ERROR") && line.contains("No space left")).then_some(())
    });
    assert_eq!(ask(&mut client, &key(0)).code, 0);
    solo.gatepost.process.signal(Signal::TERM);
    assert_eq!(solo.gatepost.process.wait().code(), Some(1), "lines are lost, and it says so");
    solo.gatepost.process.stderr.wait_for("what is lost", |line| {
        (line.starts_with("gatepost: the last ") && line.contains("not written")).then_some(())
    });
}

#[test]
fn numbers_have_no_gap_whoever_asks_at_once() {
    let mut solo = Solo::start(&policy(0..8));
    thread::scope(|scope| {
        for number in 0..8 {
            let mut client: Http2 = solo.gatepost.connect();
            scope.spawn(move || {
                for _ in 0..100 {
                    assert!(opens(&mut client, number));
                }
            });
        }
    });
    let decisions = solo.decisions(800);
    for number in 0..8 {
        let id = format!("key-{number}");
        let count = decisions.iter().filter(|line| line["key_id"] == id.as_str()).count();
        assert_eq!(count, 100, "{id}");
    }
    solo.gatepost.process.signal(Signal::TERM);
    assert_eq!(solo.gatepost.process.wait().code(), Some(0));
    let last = solo.gatepost.process.stdout.wait_for("the end", |line| {
        line.contains("\"type\":\"end\"").then(|| serde_json::from_str::<Value>(line).unwrap())
    });
    assert_eq!(last["last_seq"], 800);
}
