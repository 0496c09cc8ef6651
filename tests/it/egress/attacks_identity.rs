//! Claims to be somebody else, and tokens that are no longer good.

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::json;

use super::scene::{
    AMBIGUOUS, CONTRADICTED, MISSING, TIER, UNKNOWN, ask, bare, policy, sandbox, scene, service,
    token,
};
use crate::world::Protocol;
use crate::world::answer::Request;
use crate::world::egress::EgressWorld;
use crate::world::patience::within;
use crate::world::upstream_tls::Remote;

const MODELS: &str = "/v1/models";

#[test]
fn row_01_another_sandboxs_id_proves_nothing() {
    let Some(scene) = scene() else { return };
    let narrow = token("narrow-1");
    for (request, wanted) in [
        (bare("openai", MODELS), MISSING),
        (bare("openai", MODELS).header("x-sandbox-id", "row-1"), MISSING),
        (bare("openai", MODELS).header("x-sandbox-token", "gp_sbx_nobody-has-this-one"), UNKNOWN),
        (bare("openai", MODELS).header("x-sandbox-token", &narrow), TIER),
        (ask("narrow-1", "openai", MODELS).header("x-sandbox-id", "row-1"), CONTRADICTED),
        (ask("row-1", "openai", MODELS).header("x-sandbox-id", "narrow-1"), CONTRADICTED),
        (ask("row-1", "openai", MODELS).header("x-sandbox-id", "ROW-1"), CONTRADICTED),
    ] {
        let answer = scene.send(&request);
        scene.assert_denied(&answer, wanted);
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, (wanted.0 == 401).then_some("Basic realm=\"gatepost\""));
    }
    let answer = scene.send(&ask("row-1", "openai", MODELS).header("x-sandbox-id", "row-1"));
    assert_eq!(answer.status, 200, "{answer:?}");
    scene.world.decision_where("the call", |line| {
        line["sandbox"] == "row-1" && line["outcome"] == "allow"
    });
}

/// Each slot in which an SDK, git or pip puts its key is a place for the token.
#[test]
fn the_token_is_found_in_every_slot_and_never_goes_on() {
    let Some(scene) = scene() else { return };
    let token = token("row-70");
    let basic = BASE64.encode(format!("x:{token}").as_bytes());
    for (name, value) in [
        ("x-sandbox-token", token.clone()),
        ("authorization", format!("Bearer {token}")),
        ("authorization", format!("bearer {token}")),
        ("authorization", format!("Basic {basic}")),
        ("x-api-key", token.clone()),
        ("api-key", token.clone()),
        ("x-goog-api-key", token.clone()),
    ] {
        for service in ["openai", "anthropic", "open"] {
            let answer = scene.send(&bare(service, MODELS).header(name, &value));
            assert_eq!(answer.status, 200, "{name}, {service}: {answer:?}");
            scene.world.decision_where("the call", |line| {
                line["sandbox"] == "row-70" && line["service"] == service
            });
            let sent = answer.text();
            assert!(!sent.contains("gp_sbx_") && !sent.contains(&basic), "{name}: {sent}");
        }
    }
}

#[test]
fn row_02_a_stolen_token_is_worth_nothing_elsewhere() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let mut config = policy(&[("api", service("api.test", &remote))]);
    let sandboxes = config["sandboxes"].as_object_mut().unwrap();
    for (name, networks) in [("here", ["127.0.0.0/8"]), ("there", ["203.0.113.0/24"])] {
        let mut entry = sandbox(name, "all");
        entry["allowed_cidrs"] = json!(networks);
        sandboxes.insert(name.to_owned(), entry);
    }
    let world = builder.start(&config);
    assert_eq!(world.send(Protocol::Http1, &ask("here", "api", "/")).status, 200);
    for spoof in ["x-forwarded-for", "x-real-ip", "x-envoy-external-address", "forwarded"] {
        let request = ask("there", "api", "/").header(spoof, "203.0.113.7");
        let answer = world.send(Protocol::Http1, &request);
        assert_eq!(answer.status, 401, "{spoof}: {answer:?}");
        assert_eq!(answer.json()["type"], "urn:gatepost:denial:credential_invalid");
    }
    world.decision_where("the wrong network", |line| line["detail"] == "wrong_network");
    assert_eq!(remote.requests().len(), 1);
}

#[test]
fn row_03_a_tier_or_a_context_cannot_be_claimed() {
    let Some(scene) = scene() else { return };
    for (name, value) in [
        ("x-sandbox-policy", "all"),
        ("x-authz-context", "gateway"),
        ("x-authz-context", "egress"),
        ("x-gatepost-tier", "all"),
        ("x-rate-limit-tier", "all"),
    ] {
        let answer = scene.send(&ask("narrow-3", "openai", MODELS).header(name, value));
        scene.assert_denied(&answer, TIER);
        let answer = scene.send(&bare("openai", "/health").header(name, value));
        scene.assert_denied(&answer, MISSING);
        let answer = scene.send(&ask("narrow-3", "plain", "/row-3").header(name, value));
        assert_eq!(answer.status, 200, "{answer:?}");
        if name != "x-rate-limit-tier" {
            assert_eq!(answer.upstream_header(name), Vec::<String>::new(), "{name}");
        }
    }
}

#[test]
fn row_28_an_underscore_is_no_hyphen() {
    let Some(scene) = scene() else { return };
    let token = token("row-28");
    for (name, value) in [("X_Sandbox_Token", token.as_str()), ("X_Sandbox_ID", "row-28")] {
        let bytes = format!("GET /row-28 HTTP/1.1\r\nhost: plain\r\n{name}: {value}\r\n\r\n");
        assert_eq!(scene.send_bytes(bytes).unwrap().status, 400, "{name}");
        let request = ask("row-28", "plain", "/row-28").header(name, value);
        let answer = scene.world.http2().try_send(&request);
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 400), "{name}");
    }
    assert_eq!(scene.reached("row-28").len(), 0);
}

#[test]
fn row_29_two_identities_are_none() {
    let Some(scene) = scene() else { return };
    let other = token("narrow-29");
    let twice = ask("row-29", "openai", MODELS);
    for (request, wanted) in [
        (twice.clone().header("x-sandbox-token", &other), AMBIGUOUS),
        (twice.clone().header("authorization", format!("Bearer {other}")), AMBIGUOUS),
        (twice.clone().header("x-api-key", &other), AMBIGUOUS),
        (twice.clone().header("x-sandbox-token", "gp_sbx_nobody-has-this-one"), AMBIGUOUS),
        (
            twice.clone().header("x-sandbox-id", "row-29").header("x-sandbox-id", "narrow-29"),
            CONTRADICTED,
        ),
    ] {
        for protocol in Protocol::BOTH {
            scene.assert_denied(&scene.world.send(protocol, &request), wanted);
        }
    }
    // The same one twice is one.
    let same = twice.header("x-sandbox-token", token("row-29"));
    let same = same.header("authorization", format!("Bearer {}", token("row-29")));
    assert_eq!(scene.send(&same).status, 200);
}

#[test]
fn row_31_bytes_that_are_no_text_prove_nothing() {
    let Some(scene) = scene() else { return };
    for bytes in [&b"\xff\xfe"[..], b"\xc3\x28", b"\xed\xa0\x80", b"row\xa031"] {
        let token = [token("row-31").as_bytes(), bytes].concat();
        for name in ["x-sandbox-token", "x-api-key", "x-sandbox-id"] {
            let request = bare("plain", "/row-31").header(name, &token);
            let answer = scene.send(&request);
            assert!([400, 401].contains(&answer.status), "{name}: {answer:?}");
        }
        let answer = scene.send(&ask("row-31", "plain", "/row-31").header("x-sandbox-id", bytes));
        assert!([400, 403].contains(&answer.status), "{answer:?}");
    }
    assert_eq!(scene.reached("row-31").len(), 0);
}

#[test]
fn row_45_a_revoked_token_holds_for_a_second_at_most() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let mut config = policy(&[("api", service("api.test", &remote))]);
    config["sandboxes"]["other"] = sandbox("other", "all");
    let world = builder.start(&config);
    let (request, other): (Request, Request) = (ask("agent", "api", "/"), ask("other", "api", "/"));
    let mut connection = world.http1();
    assert_eq!(connection.send(&request).status, 200);
    config["sandboxes"]["agent"]["tokens"][0]["enabled"] = json!(false);
    world.replace_config(&config);
    // On the very connection that was good a moment ago.
    within(Duration::from_secs(1), "the revocation", || {
        (connection.send(&request).status == 401).then_some(())
    });
    assert_eq!(connection.send(&other).status, 200);
    config["sandboxes"]["other"]["tokens"][0]["expires_at"] = json!("2020-01-01T00:00:00Z");
    world.replace_config(&config);
    within(Duration::from_secs(1), "the expiry", || {
        (connection.send(&other).status == 401).then_some(())
    });
    for detail in ["disabled", "expired"] {
        world.decision_where(detail, |line| line["detail"] == detail);
    }
}
