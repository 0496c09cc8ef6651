//! What clients are told about their limits.

use serde_json::json;

use crate::scene::{builder, key, policy, shipped};
use crate::world::answer::{Answer, Request};
use crate::world::envoy::Config;
use crate::world::{Protocol, World};

const NAMES: [&str; 6] = [
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "retry-after",
];

/// Those of the headers that are there.
fn told(answer: &Answer) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| answer.header(name).is_some()).collect()
}

fn ask(world: &World, id: &str) -> Answer {
    world.send(Protocol::Http1, &Request::get("/api/v1/x").header("x-api-key", key(id)))
}

/// `"minute";r=1;t=60, "hour";r=9;t=3600` as (window, remaining, seconds).
fn quotas(answer: &Answer) -> Vec<(String, u32, u32)> {
    let value = answer.header("ratelimit").unwrap_or_else(|| panic!("no RateLimit: {answer:?}"));
    let items = value.split(", ").map(|item| {
        let parts: Vec<&str> = item.split(';').collect();
        let [name, remaining, seconds] = parts[..] else { panic!("{value:?}") };
        let number = |text: &str, prefix| text.strip_prefix(prefix).unwrap().parse().unwrap();
        (name.trim_matches('"').to_owned(), number(remaining, "r="), number(seconds, "t="))
    });
    items.collect()
}

#[test]
fn a_client_sees_what_is_left_and_when_to_come_back() {
    let world = shipped();
    let policy = r#""minute";q=2;w=60, "hour";q=10;w=3600"#;
    for (status, minute, hour) in [(200, 1, 9), (200, 0, 8), (429, 0, 8), (429, 0, 8)] {
        let answer = ask(world, "twice");
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("ratelimit-policy"), Some(policy));
        let quotas = quotas(&answer);
        let left: Vec<_> = quotas.iter().map(|(name, left, _)| (&**name, *left)).collect();
        assert_eq!(left, [("minute", minute), ("hour", hour)], "{answer:?}");
        assert!((1..=61).contains(&quotas[0].2), "{answer:?}");
        assert!((1..=3660).contains(&quotas[1].2), "{answer:?}");
        let retry = answer.header("retry-after").map(|value| value.parse::<u32>().unwrap());
        assert_eq!(retry.is_some(), status == 429, "{answer:?}");
        assert!(retry.is_none_or(|seconds| (1..=61).contains(&seconds)), "{answer:?}");
    }
}

#[test]
fn grpc_clients_are_told_as_well() {
    let world = shipped();
    let request = Request::grpc("/agentd.v1.Agents/List").header("x-api-key", key("once-0"));
    let mut client = world.http2();
    let allowed = client.send(&request);
    assert_eq!(allowed.grpc_status(), Some(0));
    assert_eq!(told(&allowed), ["ratelimit", "ratelimit-policy"]);
    let denied = client.send(&request);
    assert_eq!((denied.status, denied.grpc_status()), (200, Some(8)), "{denied:?}");
    assert_eq!(told(&denied), ["ratelimit", "ratelimit-policy", "retry-after"]);
}

#[test]
fn nothing_is_told_where_nothing_is_limited() {
    let world = shipped();
    assert_eq!(told(&ask(world, "customer")), [""; 0]);
    let public = world.send(Protocol::Http2, &Request::get("/public/x"));
    assert_eq!((public.status, told(&public)), (200, vec![]));
}

#[test]
fn the_older_headers_are_an_option() {
    let legacy = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    for (option, wanted) in [
        ("ietf", vec!["ratelimit", "ratelimit-policy"]),
        ("legacy", legacy.to_vec()),
        ("both", ["ratelimit", "ratelimit-policy"].into_iter().chain(legacy).collect()),
        ("off", vec![]),
    ] {
        let mut policy = policy();
        policy["gateway_config"] = json!({ "ratelimit_headers": option });
        let world = builder(&policy, Config::Shipped).start();
        let allowed = ask(&world, "once-1");
        assert_eq!((allowed.status, told(&allowed)), (200, wanted.clone()), "{option}");
        let denied = ask(&world, "once-1");
        let after: Vec<_> = wanted.iter().copied().chain(["retry-after"]).collect();
        assert_eq!((denied.status, told(&denied)), (429, after), "{option}");
        if let Some(limit) = denied.header("x-ratelimit-limit") {
            assert_eq!((limit, denied.header("x-ratelimit-remaining")), ("1", Some("0")));
            let reset = denied.header("x-ratelimit-reset").unwrap().parse::<u32>().unwrap();
            assert!((1..=61).contains(&reset), "{denied:?}");
        }
    }
}

/// What a rule in shadow mode would do is between the operator and the log.
#[test]
fn a_client_under_a_watched_limit_is_not_asked_to_wait() {
    let world = shipped();
    let request = Request::get("/shadow/x").header("x-api-key", key("once-2"));
    for _ in 0..3 {
        let answer = world.send(Protocol::Http1, &request);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("retry-after"), None, "{answer:?}");
    }
}
