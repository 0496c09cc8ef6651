//! What an agent adds to its requests, and what services add to their answers.

use data_encoding::BASE64;

use super::scene::{CREDENTIALED, Scene, ask, scene};
use crate::world::Protocol;
use crate::world::answer::{Answer, Request};
use crate::world::upstream_tls::Reply;

/// A path that each service allows.
fn path(service: &str) -> &'static str {
    if service == "openai" { "/v1/models" } else { "/x" }
}

/// What the header of each credential must be.
fn injected(scene: &Scene, service: &str) -> String {
    let canary = scene.canary(service);
    match service {
        "anthropic" | "datadog" => canary.to_owned(),
        "github" => {
            format!("Basic {}", BASE64.encode(format!("x-access-token:{canary}").as_bytes()))
        }
        _ => format!("Bearer {canary}"),
    }
}

#[track_caller]
fn sent(answer: &Answer, name: &str) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.upstream_header(name)
}

#[test]
fn row_05_the_agents_value_never_stands_beside_ours() {
    let Some(scene) = scene() else { return };
    for (service, _, header) in CREDENTIALED {
        for protocol in Protocol::BOTH {
            let request = ask("row-5", service, path(service)).header(header, "Bearer ATTACKER");
            let request = request.header(header, "Bearer ATTACKER2");
            let answer = scene.world.send(protocol, &request);
            assert_eq!(sent(&answer, header), [injected(scene, service)], "{service}");
            assert!(!answer.text().contains("ATTACKER"), "{answer:?}");
        }
    }
}

#[test]
fn row_06_what_is_set_is_not_removed() {
    let Some(scene) = scene() else { return };
    for (service, _, header) in CREDENTIALED {
        let mut request = ask("row-6", service, path(service));
        for name in ["authorization", "x-api-key", "dd-api-key", "dd-application-key", "cookie"] {
            request = request.header(name, "agent");
        }
        assert_eq!(sent(&scene.send(&request), header), [injected(scene, service)], "{service}");
    }
    let request = ask("row-6", "datadog", "/x").header("dd-application-key", "agent");
    let answer = scene.send(&request);
    let wanted = format!("app-{}", scene.canary("datadog"));
    assert_eq!(sent(&answer, "dd-application-key"), [wanted]);
    // Set where the agent has nothing to say, and left alone where it has.
    assert_eq!(
        sent(&scene.send(&ask("row-6", "anthropic", "/x")), "anthropic-version"),
        ["2023-06-01"]
    );
    let newer = ask("row-6", "anthropic", "/x").header("anthropic-version", "2030-01-01");
    assert_eq!(sent(&scene.send(&newer), "anthropic-version"), ["2030-01-01"]);
}

/// Everything with these names stays behind, for a service with a credential and for one without.
#[track_caller]
fn assert_stay_behind(sandbox: &str, headers: &[(&str, &str)]) {
    let Some(scene) = scene() else { return };
    for service in ["plain", "open", "openai"] {
        for protocol in Protocol::BOTH {
            let mut request = ask(sandbox, service, path(service));
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let answer = scene.world.send(protocol, &request);
            for (name, _) in headers {
                let sent = sent(&answer, &name.to_ascii_lowercase());
                assert_eq!(sent, Vec::<String>::new(), "{service} got {name}");
            }
        }
    }
}

#[test]
fn row_23_a_method_is_not_replaced_on_the_way() {
    assert_stay_behind(
        "row-23",
        &[
            ("X-HTTP-Method-Override", "DELETE"),
            ("X-HTTP-Method", "DELETE"),
            ("X-Method-Override", "DELETE"),
        ],
    );
}

#[test]
fn row_24_a_path_is_not_replaced_on_the_way() {
    assert_stay_behind(
        "row-24",
        &[
            ("X-Original-URL", "/admin"),
            ("X-Rewrite-URL", "/admin"),
            ("X-Forwarded-Host", "evil.example.com"),
            ("X-Forwarded-Prefix", "/admin"),
            ("X-Forwarded-Server", "evil"),
            ("Forwarded", "for=203.0.113.7"),
            ("X-Real-IP", "203.0.113.7"),
            ("X-Envoy-Original-Path", "/admin"),
            ("X-Envoy-Upstream-Rq-Timeout-Ms", "1"),
            ("X-Envoy-Max-Retries", "9"),
            ("X-Envoy-Retry-On", "5xx"),
        ],
    );
}

#[test]
fn row_30_the_connection_header_takes_no_credential_away() {
    let Some(scene) = scene() else { return };
    for (service, _, header) in CREDENTIALED {
        let request = ask("row-30", service, path(service));
        let request = request.header("connection", format!("{header}, host, x-sandbox-token"));
        let answer = scene.world.send(Protocol::Http1, &request);
        // Without its token a request is nobody's; with it, the credential is there.
        if answer.status == 200 {
            assert_eq!(sent(&answer, header), [injected(scene, service)], "{service}");
        } else {
            assert!([400, 401].contains(&answer.status), "{answer:?}");
        }
        let request = ask("row-30", service, path(service)).header("connection", header);
        let answer = scene.world.send(Protocol::Http1, &request);
        assert_eq!(sent(&answer, header), [injected(scene, service)], "{service}");
    }
}

/// An allowed host is no way out for what an agent has learned, under a key of the attacker's.
#[test]
fn row_32_no_other_credential_gets_through() {
    let Some(scene) = scene() else { return };
    let channels = [
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "x-amz-security-token",
        "x-amz-date",
        "openai-organization",
        "openai-project",
        "x-auth-token",
        "private-token",
        "anything-else",
    ];
    let attacker = "sk-attacker-attacker-attacker";
    for (service, _, header) in CREDENTIALED {
        for protocol in Protocol::BOTH {
            let mut request = ask("row-32", service, path(service));
            for name in channels.iter().filter(|name| **name != header) {
                request = request.header(name, attacker);
            }
            let answer = scene.world.send(protocol, &request);
            assert_eq!(sent(&answer, header), [injected(scene, service)], "{service}");
            assert!(!answer.text().contains("attacker"), "{service}: {answer:?}");
        }
    }
    let allowed = [
        ("accept", "text/event-stream"),
        ("content-type", "application/json"),
        ("user-agent", "agent/1"),
        ("idempotency-key", "7"),
        ("x-stainless-lang", "python"),
        ("openai-beta", "assistants=v2"),
        ("if-none-match", "\"1\""),
    ];
    let mut request = ask("row-32", "openai", "/v1/models");
    for (name, value) in allowed {
        request = request.header(name, value);
    }
    let answer = scene.send(&request);
    for (name, value) in allowed {
        assert_eq!(sent(&answer, name), [value]);
    }
}

/// Credential-like parameters are cut out; the other pairs stay byte for byte, in their order.
#[test]
fn row_32_no_other_credential_gets_through_in_the_query() {
    let Some(scene) = scene() else { return };
    for (query, wanted) in [
        ("key=attacker", ""),
        ("a=1&key=attacker&b=2", "a=1&b=2"),
        ("a=1&%6bey=attacker", "a=1"),
        ("a=1&%6B%65%79=attacker&c", "a=1&c"),
        ("KEY=attacker&z=%2F&y=+", "z=%2F&y=+"),
        ("api_key=attacker&access_token=attacker&token=attacker&sig=attacker&x", "x"),
        ("monkey=1&keys=2&a=key", "monkey=1&keys=2&a=key"),
    ] {
        let answer = scene.send(&ask("row-32", "openai", &format!("/v1/models?{query}")));
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let echo = answer.json();
        let sent = echo["path"].as_str().unwrap().split_once('?').map_or("", |(_, query)| query);
        assert_eq!(sent, wanted, "{query}");
    }
    let answer = scene.send(&ask("row-32", "maps", "/geocode?key=attacker&q=a%20b&%6bey=attacker"));
    let path = answer.json()["path"].as_str().unwrap().to_owned();
    assert!(path.ends_with(&format!("/geocode?q=a%20b&key={}", scene.canary("maps"))), "{path}");
}

#[test]
fn row_33_the_proxys_own_credential_stays_with_the_proxy() {
    assert_stay_behind("row-33", &[("Proxy-Authorization", "Basic YWdlbnQ6c2VjcmV0")]);
}

#[test]
fn row_34_nothing_of_ours_goes_out() {
    assert_stay_behind(
        "row-34",
        &[
            ("X-Request-ID", "7"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Client-Cert", "By=spiffe://x"),
            ("X-Envoy-External-Address", "10.0.0.1"),
            ("X-Envoy-Internal", "true"),
            ("X-Envoy-Expected-Rq-Timeout-Ms", "1"),
            ("X-Envoy-Attempt-Count", "1"),
            ("X-Envoy-Decorator-Operation", "x"),
            ("X-Sandbox-Policy", "all"),
            ("X-Sandbox-Anything", "x"),
            ("X-Authz-Context", "x"),
            ("X-Gatepost-Decision-Id", "x"),
            ("X-Gatepost-Anything", "x"),
        ],
    );
    let Some(scene) = scene() else { return };
    for service in ["plain", "open", "openai"] {
        let answer = scene.send(&ask("row-34", service, path(service)));
        let echo = answer.json();
        for name in echo["headers"].as_object().unwrap().keys() {
            let ours = ["x-gatepost", "x-sandbox", "x-envoy", "x-forwarded", "x-request-id", "via"];
            assert!(!ours.iter().any(|prefix| name.starts_with(prefix)), "{service} got {name}");
        }
    }
}

/// The token may be hidden where nobody looks for one.
#[test]
fn a_token_in_another_header_does_not_go_out_either() {
    let Some(scene) = scene() else { return };
    let token = super::scene::token("row-72");
    let basic = BASE64.encode(format!("git:{token}").as_bytes());
    for service in ["plain", "open"] {
        let request = ask("row-72", service, "/x").header("x-custom", &token);
        let request = request.header("x-other", format!("Bearer {token}"));
        let request = request.header("x-third", format!("Basic {basic}")).header("x-harmless", "1");
        let answer = scene.send(&request);
        assert_eq!(sent(&answer, "x-harmless"), ["1"]);
        assert!(!answer.text().contains("gp_sbx_"), "{answer:?}");
        assert!(!answer.text().contains(&basic), "{answer:?}");
    }
}

#[test]
fn trailers_do_not_go_out() {
    let Some(scene) = scene() else { return };
    let request = ask("row-73", "open", "/row-73").body("x");
    let request = Request { method: "POST".to_owned(), ..request };
    let request = request.trailer("authorization", "Bearer ATTACKER").trailer("x-anything", "x");
    assert_eq!(scene.world.send(Protocol::Http2, &request).status, 200);
    let requests = scene.reached("row-73");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].1.trailers, []);
}

#[test]
fn row_37_a_redirect_is_the_agents_to_follow_without_the_credential() {
    let Some(scene) = scene() else { return };
    let github = scene.remote("github").port();
    let location = format!("https://api.github.com:{github}/row-37");
    let open = scene.remote("own-ca");
    open.answer(move |_| Reply::whole(302, &[("location", &location)], ""));
    let answer = scene.send(&ask("row-37", "own-ca", "/start"));
    assert_eq!(answer.status, 302, "{answer:?}");
    assert!(answer.header("location").unwrap().ends_with("/row-37"));
    assert_eq!(scene.reached("row-37").len(), 0);
}

#[test]
fn row_39_a_session_of_the_credential_is_not_the_agents() {
    let Some(scene) = scene() else { return };
    let cookies = [("set-cookie", "session=1"), ("set-cookie", "other=2"), ("x-kept", "1")];
    scene.remote("by-address").answer(move |_| Reply::whole(200, &cookies, "{}"));
    for protocol in Protocol::BOTH {
        let request = ask("row-39", "by-address", "/x").header("x-gatepost-cookies", "pass");
        let answer = scene.world.send(protocol, &request);
        assert_eq!((answer.status, answer.header("x-kept")), (200, Some("1")), "{answer:?}");
        assert!(!answer.headers.iter().any(|(name, _)| name == "set-cookie"), "{answer:?}");
    }
}
