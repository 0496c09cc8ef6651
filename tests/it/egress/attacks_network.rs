//! Servers that are not who they should be, addresses that nobody should reach, and processes that
//! are away.

use std::time::Duration;

use serde_json::json;

use super::scene::{ask, policy, scene, service};
use crate::world::Protocol;
use crate::world::dns::Name;
use crate::world::egress::EgressWorld;
use crate::world::patience::{eventually, within};
use crate::world::upstream_tls::{Remote, Reply};

#[test]
fn row_51_only_the_right_server_gets_a_byte() {
    let Some(scene) = scene() else { return };
    for name in ["wrong-name", "self-signed", "other-ca"] {
        let answer = scene.send(&ask("row-51", name, "/row-51"));
        assert_eq!(answer.status, 503, "{name}: {answer:?}");
        assert!(!answer.text().contains(scene.canary(name)));
        let remote = scene.remote(name);
        assert!(!remote.connections().is_empty(), "{name} was never asked");
        assert_eq!(remote.received(), b"", "{name}");
    }
    let line = scene.world.envoy.access_log(0, "a bad certificate", |line| {
        line["service"] == "wrong-name" && line["upstream_failure"].is_string()
    });
    let failure = line["upstream_failure"].as_str().unwrap();
    assert!(failure.contains("CERTIFICATE_VERIFY_FAILED"), "{line}");
    for (name, sni) in [("by-address", None), ("own-ca", Some("own-ca.example.com"))] {
        let answer = scene.send(&ask("row-51", name, "/row-51"));
        assert!([200, 302].contains(&answer.status), "{name}: {answer:?}");
        for connection in scene.remote(name).connections() {
            assert_eq!(connection.sni.as_deref(), sni, "{name}");
        }
        let requests = scene.remote(name).requests();
        let sent = requests.last().unwrap().header("authorization");
        assert_eq!(sent, [format!("Bearer {}", scene.canary(name))]);
    }
}

/// Whatever name leads there: 403, and no connection.
#[test]
fn row_53_private_addresses_are_out_of_reach() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["inside.test"]);
    let addresses = [
        "127.0.0.1",
        "127.7.7.7",
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2001::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ];
    let names: Vec<_> = (0..addresses.len()).map(|number| format!("inside-{number}")).collect();
    let services: Vec<_> = names
        .iter()
        .map(|name| {
            let url = format!("https://{name}.test:{}", remote.port());
            (name.as_str(), json!({ "base_url": url }))
        })
        .collect();
    let mut config = policy(&services);
    config["egress_credentials"] = json!({ "inside-0": { "type": "bearer", "token": "a-value" } });
    let literals = [("loopback", "127.0.0.1"), ("metadata", "169.254.169.254"), ("six", "[::1]")];
    for (name, address) in literals {
        let url = format!("https://{address}:{}", remote.port());
        config["egress_services"][name] = json!({ "base_url": url });
    }
    for (name, address) in names.iter().zip(addresses) {
        builder.dns.set(&format!("{name}.test"), Name::is(&[address]));
    }
    let world = builder.start(&config);
    let mut connection = world.http1();
    for (name, address) in names.iter().map(String::as_str).zip(addresses).chain(literals) {
        let answer = connection.send(&ask("agent", name, "/"));
        assert_eq!(answer.status, 403, "{address}: {answer:?}");
        // Envoy's own words: gatepost has allowed it.
        assert_eq!(answer.text(), "RBAC: access denied", "{address}: {answer:?}");
    }
    assert_eq!(remote.connections().len(), 0);
}

#[test]
fn row_54_a_name_that_changes_its_mind_leads_nowhere_new() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["moving.test"]);
    let mut config = policy(&[("moving", service("moving.test", &remote))]);
    config["egress_services"]["moving"]["allow_private_addresses"] = json!(false);
    let world = builder.start(&config);
    let mut connection = world.http1();
    let mut becomes = |wanted: u16| {
        eventually(&format!("{wanted}"), || {
            let status = connection.send(&ask("agent", "moving", "/")).status;
            assert_ne!(status, 200);
            (status == wanted).then_some(())
        });
    };
    becomes(403);
    world.dns.set("moving.test", Name::is(&["10.0.0.1", "127.0.0.1"]));
    let before = world.dns.asked("moving.test");
    eventually("another look-up", || (world.dns.asked("moving.test") > before).then_some(()));
    for _ in 0..20 {
        becomes(403);
    }
    assert_eq!(remote.connections().len(), 0);
}

#[test]
fn row_60_without_an_answer_nothing_passes() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let mut world = builder.start(&policy(&[("api", service("api.test", &remote))]));
    let request = ask("agent", "api", "/");
    assert_eq!(world.send(Protocol::Http1, &request).status, 200);
    world.kill_gatepost();
    for protocol in Protocol::BOTH {
        let answer = world.send(protocol, &request);
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert_eq!(remote.requests().len(), 1);
    world.restart_gatepost();
    within(Duration::from_secs(5), "the recovery", || {
        (world.send(Protocol::Http1, &request).status == 200).then_some(())
    });
    world.restart_envoy();
    assert_eq!(world.send(Protocol::Http1, &request).status, 200);
    // A check that is not answered in time is no allow either.
    let dump = world.envoy.admin("/config_dump").json().to_string();
    assert!(!dump.contains(r#""failure_mode_allow":true"#));
}

#[test]
fn a_request_is_sent_once() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let world = builder.start(&policy(&[("api", service("api.test", &remote))]));
    remote.answer(|_| Reply::Hangup);
    let answer = world.send(Protocol::Http1, &ask("agent", "api", "/hangup"));
    assert!([502, 503].contains(&answer.status), "{answer:?}");
    remote.answer(|_| Reply::whole(503, &[], "busy"));
    assert_eq!(world.send(Protocol::Http1, &ask("agent", "api", "/busy")).status, 503);
    let targets: Vec<_> = remote.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/hangup", "/busy"]);
}

#[test]
fn a_name_that_nobody_answers_delays_no_other() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let config = |hole: bool| {
        let mut config = policy(&[("api", service("api.test", &remote))]);
        if hole {
            config["egress_services"]["hole"] = service("black.hole.test", &remote);
            config["egress_services"]["new"] = service("api.test", &remote);
        }
        config
    };
    let world = builder.start(&config(false));
    world.dns.set("black.hole.test", Name::Silent);
    world.replace_config(&config(true));
    within(Duration::from_secs(3), "the new service", || {
        assert_eq!(world.send(Protocol::Http1, &ask("agent", "api", "/")).status, 200);
        (world.send(Protocol::Http1, &ask("agent", "new", "/")).status == 200).then_some(())
    });
    assert_eq!(world.send(Protocol::Http1, &ask("agent", "hole", "/")).status, 503);
    assert!(world.dns.asked("black.hole.test") > 0);
}
