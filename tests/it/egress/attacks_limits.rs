//! How often is too often, and for whom it counts.

use serde_json::{Value, json};

use super::scene::{ask, bare, policy, sandbox, service};
use crate::world::Protocol;
use crate::world::egress::EgressWorld;
use crate::world::upstream_tls::Remote;

/// A policy in which `agent` may call `api` twice a minute.
fn twice_a_minute(remote: &Remote) -> Value {
    let mut config = policy(&[("api", service("api.test", remote))]);
    config["egress_services"]["api"]["denied_paths"] = json!(["/denied/**"]);
    config["egress_policies"]["all"]["rate_limits"] = json!({ "api": { "tokens_per_minute": 2 } });
    config
}

#[test]
fn a_limit_is_a_429_that_says_when_to_come_again() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let world = builder.start(&twice_a_minute(&remote));
    let statuses = [200, 200, 429, 429];
    for status in statuses {
        let answer = world.send(Protocol::Http1, &ask("agent", "api", "/"));
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 429 {
            let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
            // The window moves in steps of a second, and what remains is rounded up.
            assert!((1..=61).contains(&seconds), "{seconds}");
            assert_eq!(answer.json()["type"], "urn:gatepost:denial:rate_limited");
        }
    }
    assert_eq!(remote.requests().len(), 2);
}

/// `a` with `b-c` is not `a-b` with `c`; nor does a name that is none fill any memory.
#[test]
fn row_43_each_sandbox_and_service_counts_for_itself() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let names = ["c", "b-c", "a-b-c"];
    let services: Vec<_> = names.iter().map(|&name| (name, service("api.test", &remote))).collect();
    let mut config = policy(&services);
    config["egress_policies"]["all"]["rate_limits"] =
        json!({ "default": { "requests_per_minute": 1 } });
    for name in ["a", "a-b"] {
        config["sandboxes"][name] = sandbox(name, "all");
    }
    let world = builder.start(&config);
    for status in [200, 429] {
        for who in ["a", "a-b", "agent"] {
            for service in names {
                let answer = world.send(Protocol::Http1, &ask(who, service, "/"));
                assert_eq!(answer.status, status, "{who} {service}: {answer:?}");
            }
        }
    }
    let before = world.gatepost.resident_bytes();
    let mut connection = world.http1();
    for number in 0..2000 {
        let request =
            bare("c", "/").header("x-sandbox-token", format!("gp_sbx_unknown-{number:0>40}"));
        assert_ne!(
            connection.send(&request.header("x-sandbox-id", format!("{number}"))).status,
            200
        );
    }
    let after = world.gatepost.resident_bytes();
    assert!(after < before + 4_000_000, "{before} bytes before, {after} after");
}

#[test]
fn row_59_a_refused_request_costs_nothing_and_probing_ends() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let mut config = twice_a_minute(&remote);
    config["sandboxes"]["prober"] = sandbox("prober", "all");
    let world = builder.start(&config);
    let mut connection = world.http1();
    assert_eq!(connection.send(&ask("agent", "api", "/")).status, 200);
    for _ in 0..5 {
        assert_eq!(connection.send(&ask("agent", "api", "/denied/x")).status, 403);
    }
    assert_eq!(connection.send(&ask("agent", "api", "/")).status, 200, "denials were charged");
    assert_eq!(connection.send(&ask("agent", "api", "/")).status, 429);
    // Who only asks to learn what there is, is told less and less, and never more.
    let statuses: Vec<_> = (0..1000)
        .map(|number| connection.send(&ask("prober", "api", &format!("/denied/{number}"))).status)
        .collect();
    let first = statuses.iter().position(|status| *status == 429).expect("an end to it");
    assert!(statuses[..first].iter().all(|status| *status == 403));
    assert!(first >= 5, "{first}");
    assert!(statuses[first..].iter().all(|status| [403, 429].contains(status)));
    world.decision_where("an end to it", |line| line["detail"] == "denials");
    assert_eq!(connection.send(&ask("prober", "api", "/")).status, 200, "a good request");
    assert_eq!(connection.send(&ask("agent", "api", "/denied/x")).status, 403, "another sandbox");
}
