//! The headers that tell the upstream who is calling come from nobody but us.

use serde_json::Value;

use crate::scene::{
    Clients, OURS, decision, decision_id, decisions, everywhere, is_shipped, key, shipped,
};
use crate::world::answer::{Answer, Request};
use crate::world::envoy::Config;
use crate::world::{Protocol, World};

/// What clients claim in these tests. It must not arrive anywhere.
const CLAIM: &str = "claimed-by-the-client";

/// Names that are ours, and names that begin as ours do.
const OWNED: [&str; 15] = [
    "x-authenticated-key-id",
    "x-authenticated-role",
    "x-authenticated-user",
    "x-rate-limit-tier",
    "x-tenant",
    "x-gatepost-decision-id",
    "x-gatepost-route",
    "x-gatepost-",
    "x-sandbox-id",
    "x-sandbox-policy",
    "x-sandbox-token",
    "x-agent-secret",
    "x-user-id",
    "x-user-email",
    "x-user-x-tenant",
];

/// Who is said to be calling: key id, role, tier, tenant.
type Identity = [Option<&'static str>; 4];

/// Requests that pass, by target and caller, and what they are said to be.
const PASSING: [(&str, Option<&str>, Identity); 5] = [
    (
        "/api/v1/x",
        Some("customer"),
        [Some("customer"), Some("customer"), Some("unlimited"), Some("acme")],
    ),
    // A key without role and tenant: theirs must not be left standing.
    ("/api/v1/x", Some("bare"), [Some("bare"), None, Some("unlimited"), None]),
    ("/public/x", None, [None; 4]),
    ("/public/x", Some("customer"), [None; 4]),
    ("/shadow/x", Some("bare"), [Some("bare"), None, Some("unlimited"), None]),
];

/// Ours, with exactly one value each, and nothing of the client's.
fn check_upstream(told: &str, answer: &Answer, caller: Identity) {
    let id = decision_id(answer).unwrap_or_else(|| panic!("no decision: {told}"));
    let caller = caller.into_iter().chain([Some(&*id)]);
    for (name, value) in OURS.into_iter().zip(caller) {
        assert_eq!(answer.upstream_header(name), Vec::from_iter(value), "{name}: {told}");
    }
    let echo = answer.json();
    for name in echo["headers"].as_object().unwrap().keys() {
        let name = name.replace(['_', '.'], "-").to_lowercase();
        let prefixes = ["x-authenticated-", "x-gatepost-", "x-sandbox-", "x-user-"];
        let owned = prefixes.iter().any(|prefix| name.starts_with(prefix))
            || ["x-rate-limit-tier", "x-tenant", "x-agent-secret"].contains(&&*name);
        assert!(!owned || OURS.contains(&&*name), "{name}: {told}");
    }
    assert!(!echo.to_string().contains(CLAIM), "{told}");
}

fn request(target: &str, caller: Option<&str>) -> Request {
    let request = Request::get(target);
    match caller {
        Some(id) => request.header("x-api-key", key(id)),
        None => request,
    }
}

#[test]
fn what_a_client_claims_never_arrives() {
    for (config, world) in everywhere() {
        let mut clients = Clients::connect(world);
        for (target, caller, identity) in PASSING {
            // Each by itself, and all at once: once, twice, empty, and one of each.
            let one = OWNED.map(|name| vec![(name, CLAIM)]);
            let all = |values: &[&'static str]| -> Vec<_> {
                OWNED.iter().flat_map(|name| values.iter().map(|value| (*name, *value))).collect()
            };
            let together = [all(&[CLAIM]), all(&[CLAIM, CLAIM]), all(&[""]), all(&["", CLAIM])];
            for claims in one.into_iter().chain(together) {
                let mut request = request(target, caller);
                for (name, value) in &claims {
                    request = request.header(name, value);
                }
                for protocol in Protocol::BOTH {
                    let answer = clients.send(protocol, &request).expect("an answer");
                    let told = format!("{config:?} {protocol:?} {target} {claims:?}: {answer:?}");
                    assert_eq!(answer.status, 200, "{told}");
                    check_upstream(&told, &answer, identity);
                }
            }
        }
    }
}

#[test]
fn letter_case_makes_no_other_header() {
    for (config, world) in everywhere() {
        let mut client = world.http1();
        for (target, caller, identity) in PASSING {
            let mut request = request(target, caller);
            for name in OWNED {
                request = request.header(&name.to_uppercase(), CLAIM).header(name, CLAIM);
            }
            let answer = client.send(&request);
            assert_eq!(answer.status, 200, "{config:?} {target}: {answer:?}");
            check_upstream(&format!("{config:?} {target}"), &answer, identity);
        }
    }
}

#[test]
fn grpc_calls_carry_ours_alone() {
    let mut client = shipped().http2();
    for caller in ["customer", "bare"] {
        let mut request = Request::grpc("/agentd.v1.Agents/List").header("x-api-key", key(caller));
        for name in OWNED {
            request = request.header(name, CLAIM).header(name, CLAIM);
        }
        let answer = client.send(&request);
        assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
        let (_, _, identity) = PASSING[usize::from(caller == "bare")];
        check_upstream(caller, &answer, identity);
    }
}

/// Services that get headers as variables take `_` and `.` for `-`: what folds to a name of ours is
/// refused, by Envoy where it is told to, else by us.
#[test]
fn an_alias_of_our_headers_is_refused() {
    let aliases = |name: &str| {
        let capital = name
            .split('-')
            .map(|part| part[..part.len().min(1)].to_uppercase() + part.get(1..).unwrap_or(""));
        let capital: Vec<_> = capital.collect();
        [
            name.replace('-', "_"),
            name.replace('-', "."),
            name.replacen('-', "_", 1),
            name.replacen('-', ".", 1),
            capital.join("_"),
            capital.join("."),
        ]
    };
    for (config, world) in everywhere() {
        let mark = world.gatepost.process.stdout.mark();
        let mut answers = Vec::new();
        for alias in OWNED.iter().flat_map(|name| aliases(name)) {
            for (target, caller) in [("/api/v1/x", Some("customer")), ("/public/x", None)] {
                let request = request(target, caller).header(&alias, CLAIM);
                let answer = world.send(Protocol::Http1, &request);
                assert_eq!(answer.status, 400, "{config:?} {target} {alias}: {answer:?}");
                answers.push((alias.clone(), answer));
            }
        }
        let lines = decisions(world, mark, answers.iter().map(|(_, answer)| answer));
        for (alias, answer) in &answers {
            if !(is_shipped(config) && alias.contains('_')) {
                let line = &lines[&decision_id(answer).unwrap()];
                assert_eq!(line["detail"], "header_invalid", "{config:?} {alias}: {line}");
            }
        }
    }
}

#[test]
fn a_header_that_only_resembles_ours_passes() {
    for (config, world) in everywhere() {
        let names =
            ["x-tenants", "x-users", "x-user", "x-gateposts", "authenticated", "user.agent"];
        let mut request = request("/api/v1/x", Some("customer"));
        for name in names {
            request = request.header(name, "theirs");
        }
        let answer = world.send(Protocol::Http2, &request);
        for name in names {
            assert_eq!(answer.upstream_header(name), ["theirs"], "{config:?} {name}: {answer:?}");
        }
    }
}

/// A `Connection` header can tell a proxy to drop headers (RFC 9110 section 7.6.1): not ours.
#[test]
fn a_client_cannot_have_our_headers_dropped() {
    for (config, world) in everywhere() {
        let request = request("/api/v1/x", Some("customer"));
        let names = OURS.join(", ");
        for connection in
            [names.clone(), format!("close, {names}"), format!("keep-alive, te, {names}")]
        {
            let request = request.clone().header("connection", &connection);
            let answer = world.send(Protocol::Http1, &request);
            let told = format!("{config:?} {connection}: {answer:?}");
            if answer.status == 200 {
                check_upstream(&told, &answer, PASSING[0].2);
            } else {
                assert_eq!(answer.status, 400, "{told}");
            }
        }
    }
}

#[test]
fn the_decision_id_is_the_one_in_the_log() {
    let send = |world: &World, protocol| {
        let request = request("/api/v1/x", Some("customer"));
        let answer = world.send(protocol, &request.header("x-gatepost-decision-id", CLAIM));
        decision(world, &answer)["decision_id"].clone()
    };
    let ids = everywhere()
        .flat_map(|(_, world): (Config, _)| Protocol::BOTH.map(|protocol| send(world, protocol)));
    let ids: std::collections::HashSet<Value> = ids.collect();
    assert_eq!(ids.len(), 10, "an id stands for one decision");
}

/// gatepost never sees trailers, which come after the answer. The shipped Envoy takes ours, and the
/// credential, away; a trailer of the caller's own arrives.
#[test]
fn trailers_tell_nothing_in_our_name() {
    let world = shipped();
    let secret = key("customer");
    let mut request = Request::grpc("/agentd.v1.Agents/Get").header("x-api-key", &secret);
    for name in [
        "x-authenticated-role",
        "x-authenticated-key-id",
        "x-gatepost-decision-id",
        "x-sandbox-id",
        "x-user-id",
        "x-rate-limit-tier",
        "x-tenant",
        "x-agent-secret",
        "x-api-key",
        "authorization",
    ] {
        request = request.trailer(name, &secret);
    }
    let answer = world.send(Protocol::Http2, &request.trailer("x-checksum", "42"));
    assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");
    let trailers = &answer.json()["trailers"];
    assert_eq!(trailers, &serde_json::json!({ "x-checksum": ["42"] }), "{answer:?}");
}
