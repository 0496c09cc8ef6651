mod scene;

use std::collections::HashMap;
use std::sync::Arc;

use scene::{TOKEN, TOKENS, ask, bearer, policy, sample, verdict};

use crate::authz::respond::answer::find;
use crate::authz::sample::Sample;
use crate::policy::Snapshot;
use crate::policy::egress::{Egress, Identity};
use crate::ratelimit::memory::Counters;

#[test]
fn who_is_calling() {
    let basic = |pair: &str| format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()));
    let good = basic("x:gp_sbx_good");
    let user = basic("gp_sbx_good:");
    let other = basic("x:hunter2");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "credential_missing/"),
        (&[("x-sandbox-token", TOKEN)], "allow"),
        (&[("authorization", "Bearer gp_sbx_good")], "allow"),
        (&[("authorization", "bearer  gp_sbx_good ")], "allow"),
        (&[("x-api-key", TOKEN)], "allow"),
        (&[("api-key", TOKEN)], "allow"),
        (&[("x-goog-api-key", TOKEN)], "allow"),
        (&[("authorization", &good)], "allow"),
        (&[("authorization", &user)], "allow"),
        (&[("authorization", &other)], "credential_missing/"),
        (&[("authorization", "Bearer sk-own")], "credential_missing/"),
        (&[("x-api-key", "gp_sbx_bad")], "credential_invalid/unknown"),
        (&[("x-sandbox-token", "anything")], "credential_invalid/unknown"),
        (&[("x-sandbox-token", TOKEN), ("x-api-key", TOKEN)], "allow"),
        (&[("x-sandbox-token", TOKEN), ("x-api-key", "sk-own")], "allow"),
        (&[("x-sandbox-token", TOKEN), ("x-api-key", "gp_sbx_own")], "credential_ambiguous/"),
        (&[("x-sandbox-token", "gp_sbx_good, gp_sbx_own")], "credential_ambiguous/"),
        (&[("x-sandbox-token", "gp_sbx_revoked")], "credential_invalid/disabled"),
        (&[("x-sandbox-token", "gp_sbx_off")], "credential_invalid/disabled"),
        (&[("x-sandbox-token", "gp_sbx_expired")], "credential_invalid/expired"),
        (&[("x-sandbox-token", "gp_sbx_far")], "credential_invalid/wrong_network"),
        (&[("x-sandbox-token", TOKEN), ("x-sandbox-id", "one")], "allow"),
        (&[("x-sandbox-token", TOKEN), ("x-sandbox-id", "own")], "egress_denied/identity"),
        (&[("x-sandbox-token", TOKEN), ("x-sandbox-id", "one, own")], "egress_denied/identity"),
        (&[("x-sandbox-id", "one")], "credential_missing/"),
        (&[("x-sandbox-policy", "admin"), ("x-authz-context", "gateway")], "credential_missing/"),
    ];
    let snapshot = policy(TOKENS);
    for (headers, expected) in cases {
        assert_eq!(verdict(&snapshot, &sample("plain", "/", headers)), *expected, "{headers:?}");
    }
    let (answer, _) = ask(&snapshot, &Counters::new(), &sample("plain", "/", &[]));
    assert_eq!(answer.status, Some(401));
    assert_eq!(find(&answer.client, "www-authenticate"), Some(r#"Basic realm="gatepost""#));
}

#[test]
fn a_certificate_or_a_bare_word_where_they_count() {
    let mtls = policy(Identity { token: true, mtls: true, header: false });
    let with = |principal: &str, headers: &[(&str, &str)]| Sample {
        principal: Some(principal.to_owned()),
        ..sample("openai", "/v1/x", headers)
    };
    for (principal, headers, expected) in [
        ("spiffe://test/one", vec![], "allow"),
        ("spiffe://test/one", vec![("x-sandbox-token", TOKEN)], "allow"),
        ("spiffe://test/one", vec![("x-sandbox-token", "gp_sbx_own")], "egress_denied/identity"),
        ("spiffe://test/one", vec![("x-sandbox-id", "own")], "egress_denied/identity"),
        ("spiffe://test/other", vec![], "egress_denied/tier"),
        ("one", vec![], "credential_missing/"),
        ("", vec![], "credential_missing/"),
    ] {
        assert_eq!(verdict(&mtls, &with(principal, &headers)), expected, "{principal} {headers:?}");
    }
    assert_eq!(verdict(&policy(TOKENS), &with("spiffe://test/one", &[])), "credential_missing/");

    let header = policy(Identity { token: true, mtls: false, header: true });
    for (host, id, expected) in [
        ("openai", "one", "allow"),
        ("openai", "nobody", "egress_denied/tier"),
        ("plain", "nobody", "allow"),
        ("plain", "off", "credential_invalid/disabled"),
        ("plain", "far", "credential_invalid/wrong_network"),
        ("plain", "one,two", "credential_ambiguous/"),
    ] {
        let sample = sample(host, "/v1/x", &[("x-sandbox-id", id)]);
        assert_eq!(verdict(&header, &sample), expected, "{host} {id}");
    }
}

#[test]
fn what_may_be_called() {
    let snapshot = policy(TOKENS);
    for (method, host, path, expected) in [
        ("GET", "openai", "/v1/models", "allow"),
        ("POST", "OPENAI.:8443", "/v1/chat?x=1", "allow"),
        ("GET", "egress", "/openai/v1/models", "allow"),
        ("DELETE", "openai", "/v1/models", "egress_denied/method"),
        ("TRACE", "openai", "/v1/models", "egress_denied/method"),
        ("GET", "openai", "/v2", "egress_denied/path"),
        ("GET", "openai", "/v1/admin/keys", "egress_denied/path"),
        ("GET", "openai", "/v1/%61dmin/keys", "egress_denied/path"),
        ("GET", "openai", "/v1/a%2Fb", "request_malformed/path_ambiguous"),
        ("GET", "openai", "/v1/../v2", "request_malformed/path_ambiguous"),
        ("GET", "api.openai.example", "/v1/models", "egress_denied/unknown_service"),
        ("GET", "openai.egress", "/v1/models", "egress_denied/unknown_service"),
        ("GET", "egress", "/", "egress_denied/unknown_service"),
        ("GET", "egress", "/%6fpenai/v1", "egress_denied/unknown_service"),
        ("GET", "plain", "/x/gp_sbx_good", "egress_denied/path"),
        ("GET", "plain", "/x/gp%5Fsbx_good", "egress_denied/path"),
        ("GET", "shadow", "/gp_sbx_good", "egress_denied/path"),
        ("GET", "broken", "/", "credential_unavailable/empty"),
        ("GET", "shadow", "/ok", "allow"),
        ("GET", "shadow", "/other", "egress_denied/path"),
    ] {
        let sample = Sample {
            method: method.to_owned(),
            ..sample(host, path, &[("x-sandbox-token", TOKEN)])
        };
        let (answer, got) = ask(&snapshot, &Counters::new(), &sample);
        assert_eq!(got, expected, "{method} {host} {path}");
        assert_eq!(answer.code == 0, got == "allow" || path == "/other", "{method} {host} {path}");
    }
}

/// What goes out, and what does not.
#[test]
fn the_request_that_the_service_gets() {
    let snapshot = policy(TOKENS);
    let headers = [
        ("authorization", "Bearer gp_sbx_good"),
        ("cookie", "s=1"),
        ("x-forwarded-proto", "http"),
        ("x-sandbox-id", "one"),
        ("accept", "*/*"),
        ("user-agent", "sdk"),
        ("grpc-metadata-authorization", "evil"),
        ("x-custom", "kept"),
        ("x-api-key", "sk-own"),
        ("content-type", "gp_sbx_good"),
    ];
    let (answer, _) =
        ask(&snapshot, &Counters::new(), &sample("egress", "/openai/v1/%61?a=%20&key=e", &headers));
    let cluster = &*snapshot.egress.as_ref().unwrap().live[0].cluster;
    for (name, value) in [
        (":authority", "api.openai.example"),
        (":path", "/v1/%61?a=%20"),
        ("x-gatepost-route", cluster),
        ("authorization", "Bearer openai-secret"),
        ("anthropic-version", "2023-06-01"),
    ] {
        assert_eq!(find(&answer.set, name), Some(value), "{name}");
    }
    assert_eq!(answer.set.len(), 5, "{:?}", answer.set);
    let mut removed = answer.removed.clone();
    removed.sort();
    let expected =
        ["content-type", "cookie", "grpc-metadata-authorization", "x-api-key", "x-sandbox-id"];
    assert_eq!(removed, expected);
    assert!(answer.client.is_empty());

    let own =
        sample("openai", "/v1/x", &[("x-sandbox-token", "gp_sbx_own"), ("anthropic-version", "9")]);
    let (answer, _) = ask(&snapshot, &Counters::new(), &own);
    assert_eq!(find(&answer.set, "authorization"), Some("Bearer own-secret"));
    assert_eq!(find(&answer.set, "anthropic-version"), None, "the agent's own passes");
    assert_eq!(answer.removed, ["x-sandbox-token"]);

    let slack = sample("slack", "/chat.post?appid=e&a=1", &[("x-sandbox-token", TOKEN)]);
    let (answer, _) = ask(&snapshot, &Counters::new(), &slack);
    assert_eq!(find(&answer.set, ":path"), Some("/api/chat.post?a=1&appid=slack-secret"));
    for (path, expected) in [("/slack", "/api"), ("/slack/", "/api/"), ("/plain?q", "/?q")] {
        let (answer, _) = ask(
            &snapshot,
            &Counters::new(),
            &sample("egress", path, &[("x-sandbox-token", TOKEN)]),
        );
        let got = find(&answer.set, ":path").unwrap();
        assert_eq!(got.split("?appid").next(), Some(expected), "{path}");
    }
}

#[test]
fn a_service_without_credential_gets_everything_but_what_is_ours() {
    let headers = [
        ("x-api-key", TOKEN),
        ("authorization", "Bearer sk-own"),
        ("cookie", "s=1"),
        ("proxy-authorization", "Basic x"),
        ("x-note", "see gp_sbx_good"),
        ("x-http-method-override", "DELETE"),
        ("x-authz-context", "gateway"),
    ];
    let (answer, _) = ask(&policy(TOKENS), &Counters::new(), &sample("plain", "/?key=1", &headers));
    let mut removed = answer.removed.clone();
    removed.sort();
    let expected =
        ["proxy-authorization", "x-api-key", "x-authz-context", "x-http-method-override", "x-note"];
    assert_eq!(removed, expected);
    assert_eq!(find(&answer.set, ":path"), Some("/?key=1"));
    assert_eq!(find(&answer.set, "x-gatepost-cookies"), Some("pass"));
}

#[test]
fn limits_and_too_many_denials() {
    let snapshot = policy(Identity { token: true, mtls: false, header: true });
    let counters = Counters::new();
    let limited = |host: &str, headers: &[(&str, &str)], times: usize| {
        let sample = sample(host, "/ok", headers);
        (0..times).map(|_| ask(&snapshot, &counters, &sample)).last().unwrap()
    };
    assert_eq!(limited("shadow", &[("x-sandbox-token", TOKEN)], 2).1, "allow");
    let (answer, verdict) = limited("shadow", &[("x-sandbox-token", TOKEN)], 1);
    assert_eq!((answer.code, &*verdict), (0, "rate_limited/minute"), "only watched");
    // Another sandbox has a count of its own; unknown ones share one for their peer.
    assert_eq!(limited("shadow", &[("x-sandbox-token", "gp_sbx_own")], 2).1, "allow");
    assert_eq!(limited("plain", &[("x-sandbox-id", "a")], 2).1, "allow");
    assert_eq!(limited("plain", &[("x-sandbox-id", "b")], 1).1, "allow");
    let (answer, verdict) = limited("plain", &[("x-sandbox-id", "c")], 1);
    assert_eq!(verdict, "rate_limited/minute");
    assert_eq!(answer.status, Some(429));
    assert!(find(&answer.client, "retry-after").is_some());

    assert_eq!(
        limited("nowhere", &[("x-sandbox-token", TOKEN)], 60).1,
        "egress_denied/unknown_service"
    );
    let (answer, verdict) = limited("nowhere", &[("x-sandbox-token", TOKEN)], 1);
    assert_eq!(verdict, "rate_limited/denials");
    assert!(find(&answer.client, "retry-after").is_some());
    assert_eq!(limited("openai", &[("x-sandbox-token", "gp_sbx_own")], 1).1, "egress_denied/path");
    assert_eq!(
        limited("plain", &[("x-sandbox-token", TOKEN)], 1).1,
        "allow",
        "never an allow less"
    );
}

/// A destination that was edited: the old target holds, whole, until it is promoted.
#[test]
fn a_pending_service_keeps_its_old_destination_and_credential() {
    let old = policy(TOKENS).egress.unwrap();
    let mut snapshot = policy(TOKENS);
    let fresh = snapshot.egress.take().unwrap();
    let mut moved = Arc::try_unwrap(fresh.map).unwrap_or_else(|_| panic!("shared"));
    moved.services[0].destination.port = 444;
    let supply = HashMap::from([("openai".into(), bearer("next-secret"))]);
    let mut targets: Vec<_> = fresh.wanted.iter().cloned().collect();
    targets[0] = Arc::new(moved.services[0].target(supply));
    let next = Egress::new(Arc::new(moved), targets.into()).after(&old);
    assert_eq!(next.pending().count(), 1);
    let sent = |egress: &Egress| {
        let snapshot = Snapshot { egress: Some(egress.clone()), ..policy(TOKENS) };
        let sample = sample("openai", "/v1/x", &[("x-sandbox-token", TOKEN)]);
        let (answer, _) = ask(&snapshot, &Counters::new(), &sample);
        let one = |name| find(&answer.set, name).unwrap().to_owned();
        (one(":authority"), one("authorization"), one("x-gatepost-route"))
    };
    let (authority, credential, cluster) = sent(&next);
    assert_eq!((&*authority, &*credential), ("api.openai.example", "Bearer openai-secret"));
    assert_eq!(*cluster, *old.live[0].cluster);
    let done = next.promote(|target| &*target.service == "openai");
    let (authority, credential, cluster) = sent(&done);
    assert_eq!((&*authority, &*credential), ("api.openai.example:444", "Bearer next-secret"));
    assert_eq!(*cluster, *done.wanted[0].cluster);
    assert_eq!(done.pending().count(), 0);
    // Taken back before anybody knew: nothing is pending, and the new values hold.
    assert_eq!(policy(TOKENS).egress.unwrap().after(&next).pending().count(), 0);
}
