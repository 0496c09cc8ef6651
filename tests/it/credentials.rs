//! Credentials: which of what callers may send counts as a key, and that none of it goes further.

use serde_json::json;

use crate::scene::{CONFIGS, Clients, builder, decision, everywhere, key, shipped};
use crate::world::answer::{Answer, Request};
use crate::world::check::{check, check_request};
use crate::world::envoy::Config;
use crate::world::{Protocol, World};

/// What a request's headers come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The key of `customer`.
    Known,
    Missing,
    Invalid,
    Ambiguous,
}

use Outcome::{Ambiguous, Invalid, Known, Missing};

type Headers = Vec<(&'static str, Vec<u8>)>;

/// Headers that HTTP can carry, and what they come to.
fn cases() -> Vec<(&'static str, Headers, Outcome)> {
    let (k, other) = (key("customer"), key("admin"));
    let own = |value: String| vec![("x-api-key", value.into_bytes())];
    let authorization = |value: String| vec![("authorization", value.into_bytes())];
    let both = |one: Headers, two: Headers| [one, two].concat();
    vec![
        ("as it is", own(k.clone()), Known),
        ("the name in capitals", vec![("X-API-KEY", k.clone().into())], Known),
        ("in capitals", own(k.to_uppercase()), Invalid),
        ("in lower case", own(k.to_lowercase()), Invalid),
        ("the beginning of it", own(k[..k.len() - 1].to_owned()), Invalid),
        ("with one more", own(format!("{k}x")), Invalid),
        ("quoted", own(format!("\"{k}\"")), Invalid),
        ("parameters after it", own(format!("{k};v=1")), Invalid),
        ("a space in it", own(k.replace('.', " ")), Invalid),
        ("a word after it", own(format!("{k} x")), Invalid),
        ("percent-encoded", own(k.replace('.', "%2E")), Invalid),
        ("a Cyrillic letter", own(k.replace('c', "\u{441}")), Invalid),
        ("full-width letters", own(k.replace('c', "\u{ff43}")), Invalid),
        ("a zero-width space", own(format!("{k}\u{200b}")), Invalid),
        ("no-break space at the end", own(format!("{k}\u{a0}")), Invalid),
        ("not UTF-8", vec![("x-api-key", [k.as_bytes(), b"\xff"].concat())], Invalid),
        ("8 KiB", own("k".repeat(8192)), Invalid),
        ("it and 8 KiB", own(k.clone() + &"k".repeat(8192)), Invalid),
        ("another's form", own(format!("Bearer {k}")), Invalid),
        ("empty", own(String::new()), Missing),
        ("a comma", own(",".to_owned()), Missing),
        ("bearer", authorization(format!("Bearer {k}")), Known),
        ("bearer in lower case", authorization(format!("bearer {k}")), Known),
        ("bearer in capitals", authorization(format!("BEARER {k}")), Known),
        ("two spaces", authorization(format!("Bearer  {k}")), Known),
        ("no space", authorization(format!("Bearer{k}")), Invalid),
        ("no scheme", authorization(k.clone()), Invalid),
        ("twice bearer", authorization(format!("Bearer Bearer {k}")), Invalid),
        ("another scheme", authorization(format!("Token {k}")), Invalid),
        ("basic", authorization("Basic Y3VzdG9tZXI6Y3VzdG9tZXI=".to_owned()), Invalid),
        ("a scheme alone", authorization("Bearer".to_owned()), Missing),
        ("the same twice", both(own(k.clone()), own(k.clone())), Known),
        ("the same twice in one", own(format!("{k},{k}")), Known),
        ("the same in both", both(own(k.clone()), authorization(format!("Bearer {k}"))), Known),
        ("one empty", both(own(String::new()), own(k.clone())), Known),
        ("two", both(own(k.clone()), own(other.clone())), Ambiguous),
        ("two in one", own(format!("{k}, {other}")), Ambiguous),
        ("a good one and noise", own(format!("{k},x")), Ambiguous),
        ("noise and a good one", both(own("x".to_owned()), own(k.clone())), Ambiguous),
        ("one in each", both(own(k.clone()), authorization(format!("Bearer {other}"))), Ambiguous),
        ("two bearers", authorization(format!("Bearer {k}, Bearer {other}")), Ambiguous),
        ("a bearer and more", authorization(format!("Bearer {k}, {other}")), Ambiguous),
        (
            "basic beside it",
            both(own(k.clone()), authorization("Basic eDp4".to_owned())),
            Ambiguous,
        ),
        ("a cookie", vec![("cookie", format!("x-api-key={k}").into())], Missing),
        ("another header", vec![("x-api-token", k.clone().into())], Missing),
        ("for the proxy", vec![("proxy-authorization", format!("Bearer {k}").into())], Missing),
    ]
}

/// The same question, past Envoy: bytes that no HTTP/1.1 or HTTP/2 connection would carry.
fn raw_cases() -> Vec<(&'static str, Headers, Outcome)> {
    let k = key("customer");
    let own = |value: String| vec![("x-api-key", value.into_bytes())];
    vec![
        ("a newline after it", own(format!("{k}\n")), Invalid),
        ("a line end after it", own(format!("{k}\r\n")), Invalid),
        ("NUL after it", own(format!("{k}\0")), Invalid),
        ("NUL before it", own(format!("\0{k}")), Invalid),
        ("NUL alone", own("\0".to_owned()), Invalid),
        ("a form feed", own(format!("{k}\u{c}")), Invalid),
        ("spaces around it", own(format!("  {k} ")), Known),
        ("tabs around it", own(format!("\t{k}\t")), Known),
        ("a tab after the scheme", vec![("authorization", format!("Bearer\t{k}").into())], Known),
        ("space after the scheme", vec![("authorization", b"Bearer ".to_vec())], Missing),
        ("a newline for a space", vec![("authorization", format!("Bearer\n{k}").into())], Invalid),
        ("1 MB", own("k".repeat(200_000)), Invalid),
    ]
}

fn outcome(answer: &Answer) -> Outcome {
    match answer.status {
        200 => {
            assert_eq!(answer.upstream_header("x-authenticated-key-id"), ["customer"]);
            Known
        }
        400 | 401 => by_type(answer.json()["type"].as_str().unwrap_or_default()),
        _ => panic!("{answer:?}"),
    }
}

fn by_type(kind: &str) -> Outcome {
    match kind {
        "urn:gatepost:denial:credential_missing" => Missing,
        "urn:gatepost:denial:credential_invalid" => Invalid,
        "urn:gatepost:denial:credential_ambiguous" => Ambiguous,
        other => panic!("{other:?}"),
    }
}

fn with(mut request: Request, headers: &Headers) -> Request {
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

#[test]
fn only_exactly_the_key_is_the_key() {
    for (config, world) in everywhere() {
        let mut clients = Clients::connect(world);
        for (name, headers, wanted) in cases() {
            let request = with(Request::get("/api/v1/x"), &headers);
            for protocol in Protocol::BOTH {
                let answer = clients.send(protocol, &request).expect("an answer");
                let told = format!("{config:?} {protocol:?} {name}: {answer:?}");
                assert_eq!(outcome(&answer), wanted, "{told}");
                // Whatever was in them, our headers go no further.
                if wanted == Known {
                    assert!(!answer.text().contains(&key("customer")), "{told}");
                }
            }
        }
    }
}

#[test]
fn only_exactly_the_key_is_the_key_past_envoy_too() {
    let mut client = shipped().gatepost.connect();
    for (name, headers, wanted) in cases().into_iter().chain(raw_cases()) {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (&**name, value.as_slice())).collect();
        let checked = check(&mut client, &check_request("GET", "/api/v1/x", &headers));
        let status = checked.response.unwrap().status.unwrap();
        let got = match status.message.as_str() {
            "" => Known,
            reason => by_type(&format!("urn:gatepost:denial:{reason}")),
        };
        assert_eq!(got, wanted, "{name}");
    }
}

#[test]
fn a_key_is_never_read_from_the_query() {
    let k = key("customer");
    let targets = [
        format!("/api/v1/x?x-api-key={k}"),
        format!("/api/v1/x?api_key={k}&key={k}"),
        format!("/api/v1/x?a=b;x-api-key={k}"),
        format!("/api/v1/x?access_token={k}"),
        format!("/api/v1/{k}"),
    ];
    for target in &targets {
        for protocol in Protocol::BOTH {
            let answer = shipped().send(protocol, &Request::get(target));
            assert_eq!(outcome(&answer), Missing, "{target}");
            let line = decision(shipped(), &answer);
            assert!(
                target.ends_with(line["path"].as_str().unwrap()) || !line.to_string().contains(&k)
            );
        }
    }
}

/// An alias is not read as a key; where it could be taken for one behind us, it is gone.
#[test]
fn an_alias_of_the_credential_header_is_no_credential() {
    let k = key("customer");
    for (config, world) in everywhere() {
        for alias in ["x.api.key", "X_Api_Key", "x_api-key", "x-api.key"] {
            for target in ["/api/v1/x", "/public/x", "/behind/x"] {
                let request = Request::get(target).header(alias, &k);
                let answer = world.send(Protocol::Http1, &request);
                let wanted = match target {
                    _ if config == Config::Shipped && alias.contains('_') => 400,
                    "/public/x" => 200,
                    _ => 401,
                };
                assert_eq!(answer.status, wanted, "{config:?} {alias} {target}: {answer:?}");
                assert!(!answer.text().contains(&k), "{config:?} {alias} {target}: {answer:?}");
            }
            let request = Request::get("/api/v1/x").header(alias, key("admin"));
            let answer = world.send(Protocol::Http1, &request.header("x-api-key", &k));
            assert!(!answer.text().contains(&key("admin")), "{config:?} {alias}: {answer:?}");
        }
    }
}

#[test]
fn no_key_goes_upstream_whatever_the_rule_asks() {
    let k = key("customer");
    for (config, world) in everywhere() {
        for target in ["/api/v1/x", "/public/x", "/shadow/x", "/files/x"] {
            for protocol in Protocol::BOTH {
                let request = Request::get(target).header("x-api-key", &k);
                let request = request.header("authorization", format!("Bearer {k}"));
                let answer = world.send(protocol, &request);
                assert_eq!(answer.status, 200, "{config:?} {target}: {answer:?}");
                assert!(!answer.text().contains(&k), "{config:?} {target}: {answer:?}");
                assert_eq!(answer.upstream_header("authorization"), [""; 0]);
            }
        }
    }
    // Where nothing is asked for nothing is read, so that nothing can be wrong with it.
    let noise = Request::get("/public/x").header("x-api-key", "a").header("x-api-key", "b");
    let answer = shipped().send(Protocol::Http1, &noise);
    assert_eq!((answer.status, answer.upstream_header("x-api-key")), (200, vec![]));
    let grpc = Request::grpc("/agentd.v1.Agents/List").header("x-api-key", &k);
    let answer = shipped().http2().send(&grpc);
    assert!(answer.grpc_status() == Some(0) && !answer.json().to_string().contains(&k));
}

#[test]
fn a_header_that_a_rule_does_not_name_belongs_to_the_service_behind() {
    let k = key("customer");
    for (config, world) in everywhere() {
        let request = Request::get("/behind/x").header("authorization", "Basic dTpw");
        let answer = world.send(Protocol::Http1, &request.clone().header("x-api-key", &k));
        assert_eq!(answer.status, 200, "{config:?}: {answer:?}");
        assert_eq!(answer.upstream_header("authorization"), ["Basic dTpw"]);
        assert_eq!(answer.upstream_header("x-api-key"), [""; 0]);
        let answer = world.send(Protocol::Http2, &request);
        assert_eq!(outcome(&answer), Missing, "{config:?}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("ApiKey realm=\"gatepost\""));
    }
}

#[test]
fn the_gateway_can_name_its_credential_headers() {
    let policy = json!({
        "gateway_config": { "credential_headers": ["X-Gate-Key"] },
        "api_keys": [{ "id": "customer", "key": key("customer"), "role": "customer" }],
        "rate_limit_tiers": { "default": {} },
        "rules": [
            { "id": "own", "paths": ["/own/**"], "credential_headers": ["authorization"] },
            { "id": "all", "paths": ["/**"] },
        ],
    });
    let k = key("customer");
    let bearer = format!("Bearer {k}");
    for config in [CONFIGS[0], CONFIGS[4]] {
        let world = builder(&policy, config).start();
        for (target, name, value, wanted) in [
            ("/x", "x-gate-key", &k, Known),
            ("/x", "x-gate-key", &bearer, Invalid),
            ("/x", "x-api-key", &k, Missing),
            ("/x", "authorization", &bearer, Missing),
            ("/own/x", "authorization", &bearer, Known),
            ("/own/x", "x-gate-key", &k, Missing),
        ] {
            let request = Request::get(target).header(name, value).header("x-api-key", "untouched");
            let answer = world.send(Protocol::Http1, &request);
            assert_eq!(outcome(&answer), wanted, "{config:?} {target} {name}: {answer:?}");
            if wanted == Known {
                assert_eq!(answer.upstream_header("x-api-key"), ["untouched"]);
                assert_eq!(answer.upstream_header(name), [""; 0]);
                assert_eq!(answer.upstream_header("x-authenticated-role"), ["customer"]);
            }
        }
    }
}

#[test]
fn plain_hashed_and_rotated_keys_work_alike() {
    for (sent, id) in [
        ("customer", "customer"),
        ("hashed", "hashed"),
        ("rotated-new", "rotated"),
        ("local", "local"),
    ] {
        let request = Request::get("/api/v1/x").header("x-api-key", key(sent));
        let answer = shipped().send(Protocol::Http2, &request);
        assert_eq!(answer.upstream_header("x-authenticated-key-id"), [id]);
    }
}

#[test]
fn both_values_of_a_key_draw_on_one_budget() {
    let send = |name: &str, value: String| {
        let request = Request::get("/api/v1/x").header(name, value);
        shipped().send(Protocol::Http1, &request).status
    };
    assert_eq!(send("x-api-key", key("rotating-old")), 200);
    assert_eq!(send("authorization", format!("Bearer {}", key("rotating-new"))), 200);
    assert_eq!(send("x-api-key", key("rotating-new")), 429);
    assert_eq!(send("x-api-key", key("rotating-old")), 429);
}

#[test]
fn any_key_will_do_in_development_while_there_is_none() {
    let any = |keys| {
        let policy = json!({ "gateway_config": { "allow_any_key": true }, "api_keys": keys,
                             "rate_limit_tiers": { "default": { "requests_per_minute": 2 } } });
        builder(&policy, Config::Shipped).env("GATEPOST_ENV", "development").start()
    };
    let send = |world: &World, value: &str| {
        let request = Request::get("/api/v1/x").header("x-api-key", value);
        world.send(Protocol::Http1, &request)
    };
    let world = any(json!([]));
    assert_eq!(world.send(Protocol::Http1, &Request::get("/api/v1/x")).status, 401);
    let answer = send(&world, "whatever");
    assert_eq!(answer.upstream_header("x-authenticated-key-id"), ["any"]);
    assert_eq!(answer.upstream_header("x-api-key"), [""; 0]);
    // They all are one.
    assert_eq!(send(&world, "something-else").status, 200);
    assert_eq!(send(&world, "a-third").status, 429);
    let world = any(json!([{ "id": "one", "key": "one" }]));
    assert_eq!(outcome(&send(&world, "whatever")), Invalid);
    assert_eq!(send(&world, "one").status, 200);
}
