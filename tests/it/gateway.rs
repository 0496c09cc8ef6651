//! The gateway as a client sees it: Envoy with the shipped configuration, gatepost behind it.

use std::sync::OnceLock;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::answer::Request;
use crate::world::check::{check, check_bytes, check_request};
use crate::world::envoy::{Config, root};
use crate::world::gatepost::cli;
use crate::world::patience::eventually;
use crate::world::{Protocol, World};

/// A key of 192 bits, which loads everywhere.
const KEY: &str = "k7Jw2mQx9Zt4Vb8Rn3Lp6Yc1";

fn policy() -> Value {
    json!({
        "api_keys": [{ "id": "acme-1", "key": KEY, "enabled": true, "role": "customer",
                       "rate_limit_tier": "unlimited" }],
        "rate_limit_tiers": { "default": {}, "unlimited": {} },
    })
}

fn shared() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World::with_policy(&policy()).start())
}

#[test]
fn lets_a_known_key_through_and_keeps_it() {
    for protocol in Protocol::BOTH {
        let request = Request::get("/api/v1/agents?q=1").header("x-api-key", KEY);
        let answer = shared().send(protocol, &request);
        assert_eq!(answer.status, 200, "{protocol:?}: {answer:?}");
        assert_eq!(answer.json()["path"], "/api/v1/agents?q=1");
        assert_eq!(answer.upstream_header("x-authenticated-key-id"), ["acme-1"]);
        assert_eq!(answer.upstream_header("x-api-key"), [""; 0]);
    }
}

#[test]
fn asks_for_a_key() {
    for protocol in Protocol::BOTH {
        let answer = shared().send(protocol, &Request::get("/api/v1/agents"));
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["type"], "urn:gatepost:denial:credential_missing");
    }
}

#[test]
fn speaks_grpc_to_grpc_callers() {
    let mut client = shared().http2();
    let denied = client.send(&Request::grpc("/agentd.v1.Agents/List"));
    assert_eq!((denied.status, denied.grpc_status()), (200, Some(16)));
    let allowed = Request::grpc("/agentd.v1.Agents/List").header("x-api-key", KEY);
    let allowed = client.send(&allowed);
    assert_eq!((allowed.status, allowed.grpc_status()), (200, Some(0)), "{allowed:?}");
    assert_eq!(allowed.json()["path"], "/agentd.v1.Agents/List");
}

#[test]
fn the_same_decision_stands_in_every_log() {
    let world = shared();
    let mark = world.envoy.process.stdout.mark();
    let request = Request::get("/api/v1/logged?secret=canary").header("x-api-key", KEY);
    let answer = world.send(Protocol::Http1, &request);
    let id = answer.upstream_header("x-gatepost-decision-id").concat();
    let line = world.envoy.access_log(mark, "our request", |line| line["path"] == "/api/v1/logged");
    assert_eq!(line["decision_id"], id.as_str());
    assert_eq!(line["key_id"], "acme-1");
    let decision = world.gatepost.decision(&id);
    assert!(!decision.to_string().contains("canary"), "the query is in the log: {decision}");
    assert!(!line.to_string().contains("canary"), "the query is in the access log: {line}");
}

#[test]
fn answers_503_while_gatepost_is_away_and_recovers() {
    let mut world = World::with_policy(&policy()).start();
    let request = Request::get("/api/v1/agents").header("x-api-key", KEY);
    let status = |world: &World| world.send(Protocol::Http1, &request).status;
    assert_eq!(status(&world), 200);
    world.gatepost.process.signal(Signal::STOP);
    assert_eq!(status(&world), 503, "stopped: the check times out");
    world.gatepost.process.signal(Signal::CONT);
    assert_eq!(status(&world), 200);
    world.gatepost.process.kill();
    assert_eq!(status(&world), 503, "killed: the connection is refused");
    world.restart_gatepost();
    assert_eq!(status(&world), 200);
    assert_eq!(world.envoy.stat("http.gateway.ext_authz.error"), 2);
}

#[test]
fn needs_nothing_from_envoy_but_its_own_address() {
    for (raw_headers, normalized_paths) in [(false, false), (true, false), (false, true)] {
        let config = Config::Minimal { raw_headers, normalized_paths };
        let world = World::with_policy(&policy()).envoy(config).unix_socket().start();
        let request = Request::get("/api/v1/agents").header("x-api-key", KEY);
        let spoofed = request.header("x-authenticated-key-id", "root");
        let answer = world.send(Protocol::Http1, &spoofed);
        assert_eq!(answer.status, 200, "{config:?}: {answer:?}");
        assert_eq!(answer.upstream_header("x-authenticated-key-id"), ["acme-1"]);
        assert_eq!(world.send(Protocol::Http1, &Request::get("/api/v1/agents")).status, 401);
    }
}

#[test]
fn a_broken_check_is_never_an_allow() {
    let mut client = shared().gatepost.connect();
    let broken = check_bytes(&mut client, b"\xff\xff\xff");
    let code = broken.response.map(|response| response.status.map(|status| status.code));
    assert!(broken.code != 0 || code != Some(Some(0)) && code != Some(None), "{code:?}");
    let key = [("x-api-key", KEY.as_bytes())];
    let allowed = check(&mut client, &check_request("GET", "/api/v1/agents", &key));
    assert_eq!(allowed.code, 0);
    assert_eq!(allowed.response.unwrap().status.unwrap().code, 0);
}

#[test]
fn an_edit_holds_without_a_restart() {
    let world = World::with_policy(&policy()).start();
    let new_key = KEY.replace('k', "K");
    let request = Request::get("/api/v1/agents").header("x-api-key", &new_key);
    assert_eq!(world.send(Protocol::Http1, &request).status, 401);
    let mut policy = policy();
    policy["api_keys"][0]["key"] = json!(new_key);
    world.replace_policy(&policy);
    let mut client = world.http1();
    eventually("the new key", || (client.send(&request).status == 200).then_some(()));
    let old = Request::get("/api/v1/agents").header("x-api-key", KEY);
    assert_eq!(client.send(&old).status, 401, "both keys hold");
}

#[test]
fn ends_by_itself_when_told_to() {
    let mut world = World::with_policy(&policy()).start();
    assert_eq!(world.gatepost.admin("/ready").status, 200);
    world.gatepost.process.signal(Signal::TERM);
    let status = world.gatepost.process.wait();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_bad_edit_changes_nothing_and_is_reported() {
    let world = World::with_policy(&policy()).start();
    std::fs::write(world.policy_file(), "{ \"api_keys\": [").unwrap();
    let failures = "gatepost_policy_reloads_total{result=\"failure\"}";
    world.gatepost.wait_for_metric(failures, |count| count >= 1.0);
    let request = Request::get("/api/v1/agents").header("x-api-key", KEY);
    assert_eq!(world.send(Protocol::Http2, &request).status, 200);
    let status = world.gatepost.admin("/status");
    assert!(status.text().contains("gateway_config.json"), "{status:?}");
}

#[test]
fn a_route_can_name_its_rule() {
    let named = |rule: &str| {
        format!(
            "match: {{ prefix: \"/\" }}
                typed_per_filter_config:
                  envoy.filters.http.ext_authz:
                    \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                    check_settings: {{ context_extensions: {{ gatepost.rule: {rule} }} }}
                route:
                  cluster: agentd-http"
        )
    };
    let unnamed =
        "match: { prefix: \"/\" }\n                route:\n                  cluster: agentd-http";
    for (rule, wanted) in [("rest", 200), ("admin", 403), ("nowhere", 403)] {
        let world = World::with_policy(&policy()).edit_envoy(unnamed, &named(rule)).start();
        let request = Request::get("/api/v1/agents").header("x-api-key", KEY);
        let answer = world.send(Protocol::Http1, &request);
        assert_eq!(answer.status, wanted, "{rule}: {answer:?}");
    }
}

#[test]
fn the_sample_policy_works_in_development_and_is_refused_elsewhere() {
    let sample = std::fs::read_to_string(root().join("policy/data/gateway_config.json")).unwrap();
    let world = World::with_policy_text(&sample).env("GATEPOST_ENV", "development").start();
    let dev = Request::get("/admin/x").header("x-api-key", "dev-api-key-change-in-production");
    assert_eq!(world.send(Protocol::Http1, &dev).status, 200);
    let limited = Request::get("/api/v1/x").header("x-api-key", "demo-3-per-minute");
    let mut client = world.http1();
    let statuses: Vec<_> = (0..4).map(|_| client.send(&limited).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    let nobody = client.send(&limited.header("authorization", "Bearer other").host("UPPER.test"));
    assert_eq!(nobody.status, 400, "two different credentials");

    let directory = world.policy_file();
    let directory = directory.parent().unwrap().to_str().unwrap();
    let strict = cli(&["check", directory]).output().unwrap();
    assert_eq!(strict.status.code(), Some(1));
}

#[test]
fn idles_in_little_memory() {
    let resident = shared().gatepost.resident_bytes();
    assert!(resident < 30_000_000, "{resident} bytes");
}
