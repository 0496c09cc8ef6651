//! Mix-ups in the policy itself, and what an edit may not do.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use serde_json::{Value, json};

use super::scene::{
    METHOD, NO_SERVICE, PATH, TIER, ask, policy, sandbox, scene, service, unlimited,
};
use crate::solo::Over;
use crate::world::Protocol;
use crate::world::answer::Request;
use crate::world::egress::{Builder, CONFIG_FILE, EgressWorld};
use crate::world::gatepost::{cli, replace_file};
use crate::world::http1::Http1;
use crate::world::patience::eventually;
use crate::world::upstream_tls::Remote;

/// What `gatepost check` says of this policy, and whether it accepts it.
fn checked(builder: &Builder, config: &Value) -> (bool, String) {
    let directory = builder.path("check");
    std::fs::create_dir_all(&directory).unwrap();
    replace_file(&directory.join(CONFIG_FILE), &config.to_string());
    let output = cli(&["check", directory.to_str().unwrap()]).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// A credential belongs to one service; every mix-up is an error when the file is loaded.
#[test]
fn row_40_a_credential_has_one_service() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let (one, two) = (Remote::named(&["one.test"]), Remote::named(&["two.test"]));
    let services = [("one", service("one.test", &one)), ("two", service("two.test", &two))];
    let base = || {
        let mut config = policy(&services);
        config["egress_credentials"] = json!({
            "one": { "type": "bearer", "token": "value-of-one" },
            "one-b": { "service": "one", "type": "bearer", "token": "value-of-b", "hosts": ["one.test"] },
        });
        config
    };
    let (good, text) = checked(&builder, &base());
    assert!(good, "{text}");
    assert!(text.contains("one.test"), "the hosts of a credential are told: {text}");
    for (name, place, value) in [
        ("another service's", "/sandboxes/agent", json!({ "credentials": { "two": "one-b" } })),
        (
            "one that is not there",
            "/sandboxes/agent",
            json!({ "credentials": { "one": "nothing" } }),
        ),
        ("of no service", "/egress_credentials/one-b/service", json!("nowhere")),
        ("for another host", "/egress_credentials/one-b/hosts", json!(["two.test"])),
        ("without TLS", "/egress_services/one/base_url", json!("http://one.test")),
    ] {
        let mut config = base();
        *config.pointer_mut(place).unwrap() = value;
        let (good, text) = checked(&builder, &config);
        assert!(!good, "{name}: {text}");
        assert!(!text.contains("value-of"), "{name}: {text}");
    }
}

#[test]
fn row_40_each_sandbox_has_its_own_credential() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let (one, two) = (Remote::named(&["one.test"]), Remote::named(&["two.test"]));
    let mut config =
        policy(&[("one", service("one.test", &one)), ("two", service("two.test", &two))]);
    config["egress_credentials"] = json!({
        "one": { "type": "bearer", "token": "common-value" },
        "one-b": { "service": "one", "type": "bearer", "token": "value-of-b" },
    });
    config["sandboxes"]["b"] = sandbox("b", "all");
    config["sandboxes"]["b"]["credentials"] = json!({ "one": "one-b" });
    let world = builder.start(&config);
    for (who, wanted) in [("agent", "Bearer common-value"), ("b", "Bearer value-of-b")] {
        let answer = world.send(Protocol::Http1, &ask(who, "one", "/"));
        assert_eq!(answer.upstream_header("authorization"), [wanted]);
        let answer = world.send(Protocol::Http1, &ask(who, "two", "/"));
        assert_eq!(answer.upstream_header("authorization"), Vec::<String>::new());
    }
}

#[test]
fn row_46_a_stream_ends_with_the_stated_duration() {
    let Some(scene) = scene() else { return };
    let dump = scene.world.envoy.admin("/config_dump?resource=static_listeners");
    let dump = dump.json().to_string();
    // On the two routes to services, and on the connection manager.
    let route = r#""max_stream_duration":{"grpc_timeout_header_max":"3600s","max_stream_duration":"3600s"}"#;
    assert_eq!(dump.matches(route).count(), 2);
    assert_eq!(dump.matches(r#""max_stream_duration":"3600s""#).count(), 3);
}

#[test]
fn row_47_half_an_edit_changes_nothing() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let config = policy(&[("api", service("api.test", &remote))]);
    let world = builder.start(&config);
    let whole = config.to_string();
    let before = world.generation();
    for text in [&whole[..whole.len() / 2], "", "{}}", "[]"] {
        std::fs::write(world.policy_file(CONFIG_FILE), text).unwrap();
        let status = eventually("the error in /status", || {
            let status = world.gatepost.admin("/status").json();
            status["policy"]["error"].is_string().then_some(status)
        });
        assert!(status.to_string().contains(CONFIG_FILE), "{status}");
        assert_eq!(world.generation(), before, "{text:?}");
        assert_eq!(world.send(Protocol::Http1, &ask("agent", "api", "/")).status, 200);
        world.replace_config(&config);
        eventually("the mended file", || {
            let status = world.gatepost.admin("/status").json();
            status["policy"]["error"].is_null().then_some(())
        });
    }
}

/// Destination and credential change together, again and again, under load: neither is ever seen with
/// the other's, and who is not edited notices nothing.
#[test]
fn row_48_no_request_takes_a_new_credential_to_an_old_destination() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remotes = [Remote::named(&["a.test"]), Remote::named(&["b.test"])];
    let other = Remote::named(&["other.test"]);
    let config = |side: usize| {
        let host = ["a.test", "b.test"][side];
        let mut config = policy(&[
            ("moving", service(host, &remotes[side])),
            ("still", service("other.test", &other)),
        ]);
        config["egress_credentials"] = json!({
            "moving": { "type": "bearer", "token": format!("value-of-{side}") },
            "still": { "type": "bearer", "token": "value-of-still" } });
        config
    };
    let world = builder.start(&config(0));
    let (over, statuses) = (Over::default(), Mutex::new(BTreeSet::new()));
    let proxy = world.envoy.gateway;
    thread::scope(|scope| {
        for service in ["moving", "still"] {
            let (over, statuses) = (&over, &statuses);
            scope.spawn(move || {
                let mut connection = Http1::connect(proxy);
                while !over.is_it() {
                    let status = connection.send(&ask("agent", service, "/")).status;
                    statuses.lock().unwrap().insert((service, status));
                }
            });
        }
        let _ending = over.when_dropped();
        for edit in 1..=20 {
            let before = remotes[edit % 2].requests().len();
            world.replace_config(&config(edit % 2));
            eventually("the other destination", || {
                (remotes[edit % 2].requests().len() > before).then_some(())
            });
        }
    });
    for (side, remote) in remotes.iter().enumerate() {
        for request in remote.requests() {
            assert_eq!(request.header("authorization"), [format!("Bearer value-of-{side}")]);
        }
    }
    let statuses = statuses.into_inner().unwrap();
    assert_eq!(statuses, BTreeSet::from([("moving", 200), ("still", 200)]));
}

#[test]
fn row_64_a_denial_does_not_tell_what_there_is() {
    let Some(scene) = scene() else { return };
    let delete = Request::new("DELETE", "/v1/models").host("openai");
    let delete = delete.header("x-sandbox-token", super::scene::token("row-64"));
    let mut told = BTreeSet::new();
    for (request, wanted) in [
        (ask("row-64", "nowhere", "/v1/models"), NO_SERVICE),
        (ask("narrow-64", "openai", "/v1/models"), TIER),
        (ask("narrow-64", "nowhere", "/v1/models"), NO_SERVICE),
        (ask("row-64", "openai", "/admin"), PATH),
        (ask("row-64", "egress", "/nowhere/x"), NO_SERVICE),
        (delete, METHOD),
    ] {
        let mut answer = scene.send(&request);
        scene.assert_denied(&answer, wanted);
        let mut document = answer.json();
        let id = document["decision_id"].take().as_str().unwrap().to_owned();
        let hide = |text: &mut String| *text = text.replace(&id, "ID");
        answer.headers.retain(|(name, _)| name != "date");
        answer.headers.iter_mut().for_each(|(_, value)| hide(value));
        let mut document = document.to_string();
        hide(&mut document);
        told.insert(format!("{} {:?} {document}", answer.status, answer.headers));
    }
    assert_eq!(told.len(), 1, "{told:#?}");
}

#[test]
fn the_header_alone_is_an_identity_in_development_only() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let mut config = policy(&[("api", service("api.test", &remote))]);
    config["egress_config"] = json!({ "sandbox_identity": ["token", "header"] });
    config["egress_policies"]["default"] =
        json!({ "allowed_services": [], "rate_limits": unlimited() });
    let (good, text) = checked(&builder, &config);
    assert!(!good && text.contains("sandbox_identity"), "{text}");
    let world = builder.env("GATEPOST_ENV", "development").start(&config);
    let request = |id: &str| super::scene::bare("api", "/").header("x-sandbox-id", id);
    for (id, wanted) in [("agent", 200), ("unknown", 403), ("", 401)] {
        let answer = world.send(Protocol::Http1, &request(id));
        assert_eq!(answer.status, wanted, "{id:?}: {answer:?}");
    }
}
