//! One service is judged, another is meant.

use serde_json::json;

use super::scene::{
    CREDENTIALED, HOST_INVALID, MISSING, NO_SERVICE, PATH_AMBIGUOUS, TIER, ask, bare, policy,
    scene, service, token,
};
use crate::world::Protocol;
use crate::world::answer::{Answer, Request};
use crate::world::egress::{CONFIG_FILE, EgressWorld};
use crate::world::gatepost::{cli, replace_file};
use crate::world::upstream_tls::Remote;

/// The answer is that of this service, with its credential.
#[track_caller]
fn assert_from(scene: &super::scene::Scene, answer: &Answer, service: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let host = answer.upstream_header("host").concat();
    let (_, wanted, header) = CREDENTIALED.iter().find(|(name, _, _)| *name == service).unwrap();
    assert_eq!(host, format!("{wanted}:{}", scene.remote(service).port()));
    assert_eq!(answer.upstream_header(header).len(), 1, "{answer:?}");
}

#[test]
fn row_04_the_route_cannot_be_chosen() {
    let Some(scene) = scene() else { return };
    let clusters = scene.world.envoy.admin("/clusters?format=json").json();
    let github = clusters["cluster_statuses"].as_array().unwrap().iter().find_map(|cluster| {
        cluster["name"].as_str().filter(|name| name.starts_with("svc/github@"))
    });
    let github = github.expect("github's cluster");
    for protocol in Protocol::BOTH {
        for name in ["x-gatepost-route", "X-Gatepost-Route"] {
            let claimed = |request: Request| request.header(name, github);
            let answer = scene.world.send(protocol, &claimed(ask("row-4", "openai", "/v1/models")));
            assert_from(scene, &answer, "openai");
            let answer = scene.world.send(protocol, &claimed(bare("openai", "/v1/models")));
            scene.assert_denied(&answer, MISSING);
            let answer = scene.world.send(protocol, &claimed(ask("narrow-4", "github", "/row-4")));
            scene.assert_denied(&answer, TIER);
        }
    }
    let cookies = ask("row-4", "openai", "/v1/models").header("x-gatepost-cookies", "pass");
    assert_eq!(scene.send(&cookies).upstream_header("x-gatepost-cookies"), Vec::<String>::new());
    assert_eq!(scene.reached("row-4").len(), 0);
}

#[test]
fn row_07_a_host_has_one_meaning_however_it_is_written() {
    let Some(scene) = scene() else { return };
    for host in ["openai", "OPENAI", "openai:443", "OpenAI:8443", "openai.", "openai.:80"] {
        for protocol in Protocol::BOTH {
            let answer = scene.world.send(protocol, &ask("row-7", "", "/v1/models").host(host));
            assert_from(scene, &answer, "openai");
        }
    }
    for host in
        ["openai..", ".openai", "openai:", "openai:x", "openai:99999", "[openai]", "open%61i"]
    {
        let answer = scene.send(&ask("row-7", "", "/v1/models").host(host));
        assert_eq!(answer.status, 400, "{host}: {answer:?}");
    }
    // Not a suffix, not a prefix, not the real name.
    for host in
        ["openai.local", "x.openai", "api.openai.com", "openai-", "openai_", "0", "127.0.0.1"]
    {
        let answer = scene.send(&ask("narrow-7", "", "/v1/models").host(host));
        scene.assert_denied(&answer, NO_SERVICE);
    }
}

#[test]
fn row_08_a_host_is_one_name_and_nothing_else() {
    let Some(scene) = scene() else { return };
    for host in ["openai@evil", "openai,evil", "user:password@openai", "openai/evil", "openai evil"]
    {
        let answer = scene.send(&ask("row-8", "", "/v1/models?row-8").host(host));
        assert_eq!(answer.status, 400, "{host}: {answer:?}");
    }
    let token = token("row-8");
    let two = format!(
        "GET /v1/models?row-8 HTTP/1.1\r\nhost: openai\r\nhost: github\r\nx-sandbox-token: {token}\r\n\r\n"
    );
    let answer = scene.send_bytes(two).unwrap();
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(scene.reached("row-8").len(), 0);
    let answer = scene.send(&ask("row-8", "", "/").host("openai,evil"));
    scene.assert_denied(&answer, HOST_INVALID);
}

#[test]
fn row_09_an_absolute_uri_names_the_host_that_is_judged() {
    let Some(scene) = scene() else { return };
    let token = token("row-9");
    for (target, host) in [
        ("http://openai/v1/models?row-9", "github"),
        ("http://openai/v1/models?row-9", "nowhere"),
        ("https://openai/v1/models?row-9", "github"),
        ("https://openai:443/v1/models?row-9", "evil.example.com"),
    ] {
        let bytes =
            format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nx-sandbox-token: {token}\r\n\r\n");
        let answer = scene.send_bytes(bytes).unwrap();
        if target.starts_with("https") {
            // On a connection without TLS Envoy takes no such request.
            assert_eq!(answer.status, 403, "{answer:?}");
        } else {
            assert_from(scene, &answer, "openai");
        }
    }
    let bytes = format!(
        "GET http://evil.example.com/v1/models?row-9 HTTP/1.1\r\nhost: openai\r\nx-sandbox-token: {token}\r\n\r\n"
    );
    scene.assert_denied(&scene.send_bytes(bytes).unwrap(), NO_SERVICE);
    assert!(scene.reached("row-9").iter().all(|(name, _)| *name == "openai"));
}

#[test]
fn row_10_under_http2_a_host_header_beside_the_authority_says_nothing() {
    let Some(scene) = scene() else { return };
    let request = ask("row-10", "openai", "/v1/models?row-10").header("host", "github");
    let answer = scene.world.send(Protocol::Http2, &request);
    assert_from(scene, &answer, "openai");
    assert!(scene.reached("row-10").iter().all(|(name, _)| *name == "openai"));
}

/// Each service gets its own requests with its own credential, and those of no other.
#[test]
fn row_12_what_is_judged_is_where_it_goes() {
    let Some(scene) = scene() else { return };
    for (name, host, header) in CREDENTIALED {
        let path = if name == "openai" { "/v1/rows/row-12" } else { "/row-12" };
        for proxy in ["egress", "egress-proxy", "localhost", "EGRESS:8443"] {
            let request = ask("row-12", proxy, &format!("/{name}{path}"));
            for request in [request, ask("row-12", name, path)] {
                for protocol in Protocol::BOTH {
                    let answer = scene.world.send(protocol, &request);
                    assert_from(scene, &answer, name);
                    scene.world.decision_where("the call", |line| {
                        line["service"] == name && line["sandbox"] == "row-12"
                    });
                }
            }
        }
        let requests = scene.remote(name).requests();
        let mine: Vec<_> =
            requests.iter().filter(|request| request.target.contains("row-12")).collect();
        assert_eq!(mine.len(), 16, "{name}");
        for request in mine {
            let base = if name == "slack" { "/api" } else { "" };
            assert_eq!(request.target, format!("{base}{path}"));
            assert_eq!(request.host, format!("{host}:{}", scene.remote(name).port()));
            assert_eq!(request.header(header).len(), 1, "{request:?}");
        }
        let names = scene.remote(name).connections();
        assert!(names.iter().all(|connection| connection.sni.as_deref() == Some(host)));
    }
}

/// The prefix names a service only on a host of the proxy, and only as a whole segment.
#[test]
fn a_path_prefix_names_a_service_on_the_proxys_own_hosts_only() {
    let Some(scene) = scene() else { return };
    for (host, path) in [
        ("nowhere", "/openai/v1/models"),
        ("egress", "/nowhere/v1/models"),
        ("egress", "/OPENAI/v1/models"),
        ("egress", "/openaix/v1/models"),
        ("egress", "/"),
        ("egress", "/openai@0/v1/models"),
        ("egress", "/api.openai.com/v1/models"),
    ] {
        let answer = scene.send(&ask("row-71", host, path));
        scene.assert_denied(&answer, NO_SERVICE);
    }
    // Envoy decodes the o and leaves the slash: all of it is one segment, which names nothing.
    let answer = scene.send(&ask("narrow-71", "egress", "/%6fpenai%2fv1/models"));
    scene.assert_denied(&answer, NO_SERVICE);
    for path in ["//openai/v1/models", "/openai//v1/models"] {
        scene.assert_denied(&scene.send(&ask("narrow-71", "egress", path)), PATH_AMBIGUOUS);
    }
}

#[test]
fn row_13_no_request_gets_by_without_a_decision() {
    let Some(scene) = scene() else { return };
    for (host, target) in [
        ("nowhere", "/"),
        ("nowhere.example.com", "/nowhere"),
        ("egress", "/"),
        ("127.0.0.1", "/"),
        ("[::1]", "/ready"),
        ("x", "/health"),
    ] {
        for protocol in Protocol::BOTH {
            let answer = scene.world.send(protocol, &bare(host, target));
            scene.assert_denied(&answer, MISSING);
        }
    }
    let rejected = scene.send(&Request::new("PROPFIND", "/").host("nowhere"));
    scene.assert_denied(&rejected, MISSING);
}

#[test]
fn row_26_no_tunnel_is_dug() {
    let Some(scene) = scene() else { return };
    let token = token("row-26");
    for request in [
        "CONNECT openai:443 HTTP/1.1\r\nhost: openai:443\r\n",
        "CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n",
        "GET /v1/models?row-26 HTTP/1.1\r\nhost: openai\r\nconnection: upgrade\r\nupgrade: websocket\r\n",
        "GET /v1/models?row-26 HTTP/1.1\r\nhost: openai\r\nconnection: upgrade\r\nupgrade: h2c\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: openai\r\n",
    ] {
        let bytes = format!("{request}x-sandbox-token: {token}\r\n\r\n");
        let answer = scene.send_bytes(&bytes).unwrap();
        // An upgrade to cleartext HTTP/2 may also be ignored, as RFC 9110 has it.
        let ignored = request.contains("h2c") && answer.status == 200;
        assert!(answer.status == 403 || ignored, "{bytes:?}: {answer:?}");
    }
    let connect = Request::new("CONNECT", "").host("openai:443").header("x-sandbox-token", &token);
    let answer = scene.world.http2().try_send(&connect);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 403));
    for (_, request) in scene.reached("row-26") {
        assert_eq!(request.header("upgrade"), Vec::<String>::new(), "{request:?}");
    }
}

#[test]
fn row_42_no_service_can_be_named_like_another_thing() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let directory = builder.path("check");
    std::fs::create_dir(&directory).unwrap();
    for name in ["OpenAI", "api.test", "egress", "localhost", "gatepost", "a b", "a@b", "", "a/b"] {
        let config = policy(&[(name, service("api.test", &remote))]);
        replace_file(&directory.join(CONFIG_FILE), &config.to_string());
        let output = cli(&["check", directory.to_str().unwrap()]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name:?}: {output:?}");
    }
    let mut config = policy(&[("api", service("api.test", &remote))]);
    config["egress_config"] = json!({ "proxy_hosts": ["api"] });
    replace_file(&directory.join(CONFIG_FILE), &config.to_string());
    let output = cli(&["check", directory.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "a proxy host: {output:?}");
}
