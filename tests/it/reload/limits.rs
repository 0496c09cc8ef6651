//! Rate limits across a reload: what has been counted stays counted.

use serde_json::{Value, json};

use crate::solo::{Solo, ask, key};
use crate::world::http2::Http2;

fn policy(tier: &str, comment: u64) -> Value {
    json!({
        "_comment": comment,
        "api_keys": [{ "id": "counted", "key": key(1), "rate_limit_tier": tier }],
        "rate_limit_tiers": {
            "three": { "requests_per_minute": 3 },
            "five": { "requests_per_minute": 5 },
            "two": { "requests_per_minute": 2 },
            "none": { "requests_per_minute": 0 },
            "unlimited": { "requests_per_minute": -1 },
        },
    })
}

/// The codes of this many checks in a row: 0 is an allow, 8 the limit.
fn codes(client: &mut Http2, count: usize) -> Vec<i32> {
    (0..count).map(|_| ask(client, &key(1)).code).collect()
}

#[test]
fn counters_survive_a_reload() {
    let solo = Solo::start(&policy("three", 0));
    let mut client = solo.gatepost.connect();
    assert_eq!(codes(&mut client, 2), [0, 0]);
    solo.replace_and_wait(&policy("three", 1));
    assert_eq!(codes(&mut client, 2), [0, 8]);
    solo.replace_and_wait(&policy("three", 2));
    assert_eq!(codes(&mut client, 1), [8], "a reload gave the limit back");
    // The subject is the key's id: a new value of the key does not count afresh.
    let mut rotated = policy("three", 3);
    rotated["api_keys"][0]["key"] = json!(key(2));
    solo.replace_and_wait(&rotated);
    assert_eq!(ask(&mut client, &key(2)).code, 8, "rotation gave the limit back");
}

#[test]
fn another_tier_holds_at_once_over_what_is_counted() {
    let solo = Solo::start(&policy("three", 0));
    let mut client = solo.gatepost.connect();
    assert_eq!(codes(&mut client, 4), [0, 0, 0, 8]);
    solo.replace_and_wait(&policy("five", 0));
    let said = ask(&mut client, &key(1));
    assert_eq!((said.code, said.metadata["tier"].as_str()), (0, "five"));
    assert_eq!(codes(&mut client, 2), [0, 8], "three of five were used before");
    solo.replace_and_wait(&policy("two", 0));
    assert_eq!(codes(&mut client, 1), [8], "five are more than two");
    solo.replace_and_wait(&policy("none", 0));
    assert_eq!(codes(&mut client, 1), [8]);
    solo.replace_and_wait(&policy("unlimited", 0));
    assert_eq!(codes(&mut client, 3), [0, 0, 0]);
}
