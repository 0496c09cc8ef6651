//! Where a credential must never be found.

use serde_json::Value;

use super::scene::{CREDENTIALED, ask, bare, scene, token};
use crate::world::Protocol;
use crate::world::answer::Request;

/// Every credential goes to its own service, and a search for it everywhere else finds nothing.
#[test]
fn row_61_a_credential_is_in_no_log_page_or_other_service() {
    let Some(scene) = scene() else { return };
    let all = ["wrong-name", "self-signed", "other-ca", "own-ca", "by-address", "maps", "inside"];
    for name in CREDENTIALED.iter().map(|(name, _, _)| *name).chain(all) {
        let path = if name == "openai" { "/v1/rows/row-61" } else { "/row-61" };
        for request in [
            ask("row-61", name, path),
            ask("row-61", "egress", &format!("/{name}{path}")),
            ask("row-61", name, "/%2e%2e%2f"),
            ask("narrow-61", name, path),
            bare(name, path),
        ] {
            let answer = scene.send(&request);
            if answer.status != 200 {
                let text = format!("{answer:?}");
                assert!(!text.contains(scene.canary(name)), "{name}: {text}");
            }
        }
    }
    // The last line of each log is there when this one is.
    let last = scene.send(&bare("nowhere", "/row-61-last"));
    scene.decision(&last);
    scene.world.envoy.access_log(0, "the last", |line| line["path"] == "/row-61-last");
    for name in CREDENTIALED.iter().map(|(name, _, _)| *name).chain(all) {
        let elsewhere: Vec<_> = scene
            .remotes
            .iter()
            .filter(|(other, _)| **other != name)
            .map(|(_, remote)| remote)
            .collect();
        let found = scene.world.leaks(scene.canary(name), &elsewhere);
        assert_eq!(found, Vec::<String>::new(), "the credential of {name}");
    }
    let found = scene.world.leaks(&token("row-61"), &scene.remotes.values().collect::<Vec<_>>());
    assert_eq!(found, Vec::<String>::new(), "the token");
    // The search finds what is there to be found.
    for name in ["openai", "github", "maps"] {
        let own = [scene.remote(name)];
        assert_eq!(scene.world.leaks(scene.canary(name), &own), ["service number 0"], "{name}");
    }
}

#[test]
fn row_62_a_query_is_in_no_log() {
    let Some(scene) = scene() else { return };
    let secret = "canarysecretofaquery62";
    for service in ["openai", "maps", "plain", "nowhere"] {
        let target = format!("/v1/rows/row-62-{service}?q={secret}&key={secret}&token={secret}");
        scene.send(&ask("row-62", service, &target));
        let path = format!("/v1/rows/row-62-{service}");
        let line = scene.world.envoy.access_log(0, service, |line| {
            line["path"].as_str().is_some_and(|logged| logged.ends_with(&path))
        });
        assert!(line["decision_id"].is_string(), "{line}");
        let decision = scene.world.gatepost.decision(line["decision_id"].as_str().unwrap());
        assert_eq!(decision["sandbox"], "row-62");
        assert_eq!(line["sandbox"], "row-62");
        if service != "nowhere" {
            assert_eq!((&line["service"], &line["tier"]), (&service.into(), &"all".into()));
            assert_eq!(line["outcome"], "allow");
        }
    }
    assert_eq!(scene.world.leaks(secret, &[]), Vec::<String>::new());
    assert_eq!(scene.world.leaks(scene.canary("maps"), &[]), Vec::<String>::new());
}

#[test]
fn row_63_no_line_of_a_log_is_forged() {
    let Some(scene) = scene() else { return };
    let evil = "\",\"outcome\":\"allow\",\"x\":\"";
    let mark = scene.world.envoy.process.stdout.mark();
    for request in [
        ask("row-63", "plain", "/row-63/%0a%7b%22outcome%22:%22allow%22%7d"),
        ask("row-63", "plain", "/row-63/\"},{\"outcome\":\"allow\"}"),
        ask("row-63", "plain", "/row-63").header("user-agent", evil),
        ask("row-63", "plain", "/row-63").header("x-sandbox-id", evil),
        ask("row-63", "plain", "/row-63").header("x-request-id", evil),
        ask("row-63", "plain", "/row-63").header("traceparent", evil),
        ask("row-63", evil, "/row-63"),
        ask("row-63", &"x".repeat(250), &format!("/{}", "row-63".repeat(1000))),
        Request { method: "X\"X".to_owned(), ..ask("row-63", "plain", "/row-63") },
    ] {
        scene.world.http1().try_send(&request);
    }
    let last = scene.world.send(Protocol::Http1, &bare("nowhere", "/row-63-last"));
    let id = scene.decision(&last)["decision_id"].clone();
    scene.world.envoy.access_log(mark, "the last", |line| line["decision_id"] == id);
    // Each line is one object, and none has a field that gatepost and Envoy do not write.
    for line in scene.world.envoy.process.stdout.all() {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["x"], Value::Null, "{line}");
    }
    for line in scene.world.gatepost.process.stdout.all() {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["x"].is_null() && (line["seq"].is_u64() || line["type"] == "start"), "{line}");
    }
}
