//! Credentials that are not there, not good, or not for everybody to see.

use std::time::Duration;

use serde_json::{Value, json};

use super::scene::{ask, policy, service};
use crate::world::Protocol;
use crate::world::egress::{Builder, EgressWorld};
use crate::world::patience::within;
use crate::world::upstream_tls::Remote;

/// A world with a service `api` whose credential is this entry.
fn with_credential(builder: Builder, remote: &Remote, credential: &Value) -> EgressWorld {
    let mut config = policy(&[("api", service("api.test", remote))]);
    config["egress_credentials"] = json!({ "api": credential });
    builder.start(&config)
}

/// Nothing goes out, and the log says why.
#[track_caller]
fn assert_unavailable(world: &EgressWorld, remote: &Remote, detail: &str) {
    let answer = world.send(Protocol::Http1, &ask("agent", "api", "/"));
    assert_eq!(answer.status, 503, "{detail}: {answer:?}");
    assert_eq!(answer.json()["type"], "urn:gatepost:denial:credential_unavailable");
    world.decision_where(detail, |line| line["detail"] == detail);
    assert_eq!(remote.requests().len(), 0, "{detail}");
}

#[test]
fn row_49_no_credential_is_no_call() {
    let remote = Remote::named(&["api.test"]);
    for (credential, detail) in [
        (json!({ "type": "bearer", "token": "${GATEPOST_TEST_UNSET}" }), "unresolved"),
        (json!({ "type": "bearer", "source": "env:NOT_SET_ANYWHERE" }), "unresolved"),
        (json!({ "type": "bearer", "source": "file:/nowhere/not-there" }), "unresolved"),
        (json!({ "type": "bearer" }), "unresolved"),
        (json!({ "type": "bearer", "source": "env:EMPTY" }), "empty"),
        (json!({ "type": "api_key", "header": "x-key", "source": "env:EMPTY" }), "empty"),
        (json!({ "type": "query", "parameter": "key", "source": "env:EMPTY" }), "empty"),
        (json!({ "type": "basic", "username": "u", "source": "env:EMPTY" }), "empty"),
        (
            json!({ "type": "headers", "headers": {
                "x-one": { "token": "good" }, "x-two": { "source": "env:EMPTY" } } }),
            "empty",
        ),
    ] {
        let Some(builder) = EgressWorld::prepare() else { return };
        let world = with_credential(builder.env("EMPTY", ""), &remote, &credential);
        assert_unavailable(&world, &remote, detail);
    }
}

#[test]
fn row_50_a_credential_is_one_line_of_text() {
    let remote = Remote::named(&["api.test"]);
    for (text, detail) in [
        ("one\ntwo", "malformed"),
        ("one\r\nx-injected: two", "malformed"),
        ("one\n\n", "malformed"),
        (" one", "malformed"),
        ("one\ttwo\u{7f}", "malformed"),
        ("zw\u{f6}lf", "malformed"),
        ("", "empty"),
        ("\n", "empty"),
    ] {
        let Some(builder) = EgressWorld::prepare() else { return };
        let source = builder.file("credential", text);
        let world =
            with_credential(builder, &remote, &json!({ "type": "bearer", "source": source }));
        assert_unavailable(&world, &remote, detail);
    }
    for text in ["good-value", "good-value\n", "good-value\r\n"] {
        let Some(builder) = EgressWorld::prepare() else { return };
        let source = builder.file("credential", text);
        let world =
            with_credential(builder, &remote, &json!({ "type": "bearer", "source": source }));
        let answer = world.send(Protocol::Http1, &ask("agent", "api", "/"));
        assert_eq!(answer.upstream_header("authorization"), ["Bearer good-value"], "{text:?}");
    }
}

#[test]
fn a_rotated_file_holds_without_a_restart_and_a_bad_one_is_not_papered_over() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let source = builder.file("credential", "first-value\n");
    let world = with_credential(builder, &remote, &json!({ "type": "bearer", "source": source }));
    let mut connection = world.http1();
    let mut becomes = |wanted: &str| {
        within(Duration::from_secs(2), wanted, || {
            let answer = connection.send(&ask("agent", "api", "/"));
            let sent = match answer.status {
                200 => answer.upstream_header("authorization").concat(),
                status => status.to_string(),
            };
            (sent == wanted).then_some(())
        });
    };
    becomes("Bearer first-value");
    world.replace_file("credential", "second-value\n");
    becomes("Bearer second-value");
    world.replace_file("credential", "\n");
    becomes("503");
    world.replace_file("credential", "third-value");
    becomes("Bearer third-value");
    // What cannot be read is kept for a while (secret_grace).
    let path = world.path("credential");
    std::fs::remove_file(&path).unwrap();
    within(Duration::from_secs(5), "the loss to be seen", || {
        let status = world.gatepost.admin("/status").text().to_owned();
        status.contains("kept").then_some(())
    });
    becomes("Bearer third-value");
    world.replace_file("credential", "fourth-value");
    becomes("Bearer fourth-value");
}

/// What `egress_secrets.json` says wins, and an edit of it holds by itself.
#[test]
fn the_secrets_file_is_followed_too() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let secrets = |value: &str| json!({ "egress_credentials": { "api": { "token": value } } });
    let builder = builder.secrets(secrets("first-value"));
    let world =
        with_credential(builder, &remote, &json!({ "type": "bearer", "token": "no-value" }));
    for value in ["first-value", "second-value"] {
        world.replace_secrets(&secrets(value));
        within(Duration::from_secs(2), value, || {
            let answer = world.send(Protocol::Http1, &ask("agent", "api", "/"));
            let sent = answer.upstream_header("authorization");
            (sent == [format!("Bearer {value}")]).then_some(())
        });
    }
}
