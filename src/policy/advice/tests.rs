use std::time::Duration;

use super::*;
use crate::policy::raw;

/// 2026-06-01T00:00:00Z
const NOW: Now = Now { unix: Duration::from_hours(494_520), monotonic: Duration::ZERO };

fn advise(text: &str, strictness: Strictness) -> Vec<String> {
    let file = raw::parse::<GatewayFile<'_>>(text).unwrap();
    let compiled = compile::gateway(&file, strictness).unwrap();
    let advice = gateway(&file, &compiled, strictness, NOW);
    advice.iter().map(|finding| format!("{}: {}", finding.path, finding.message)).collect()
}

/// A key's value that loads everywhere and is warned of nowhere.
fn hash(number: usize) -> String {
    format!("\"key_sha256\": \"{number:064x}\"")
}

/// A file with these keys, and with nothing else that is worth a look.
fn keys(keys: &str) -> String {
    format!(
        r#"{{"api_keys": [{keys}], "rate_limit_tiers": {{"default": {{"requests_per_minute": 1}}}}}}"#
    )
}

/// A key with these fields.
fn key(rest: &str) -> String {
    keys(&format!(r#"{{"id": "a", {}, {rest}}}"#, hash(1)))
}

/// A file with this in it and nothing else that is worth a look.
fn quiet(rest: &str) -> String {
    let key = key(r#""role": "admin", "tenant": "acme", "scopes": ["s"]"#);
    key.replacen('{', &format!("{{{rest}, "), 1)
}

fn rules(rules: &str) -> String {
    quiet(&format!(r#""rules": [{rules}]"#))
}

#[track_caller]
fn found(cases: Vec<(String, Vec<&str>)>) {
    for (file, expected) in cases {
        let found = advise(&file, Strictness::Development);
        assert_eq!(found.len(), expected.len(), "{file}\n{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{file}\n{found}\nlacks {expected}");
        }
    }
}

#[test]
fn settings_that_are_worth_a_look() {
    found(vec![
        (quiet(r#""_": 0"#), vec![]),
        (quiet(r#""gateway_config": {"require_https": false}"#), vec![]),
        (
            quiet(r#""gateway_config": {"max_request_body_bytes": 8192}"#),
            vec!["gateway_config.max_request_body_bytes: is accepted and not used"],
        ),
        (
            quiet(r#""gateway_config": {"allow_shrink": true}"#),
            vec!["gateway_config.allow_shrink: switches off the guard"],
        ),
        (r#"{"api_keys": []}"#.to_owned(), vec!["api_keys: there is none: every request"]),
        ("{}".to_owned(), vec!["api_keys: there is none: every request"]),
        (r#"{"rules": [{"id": "a", "paths": ["/a"], "auth": "none"}]}"#.to_owned(), vec![]),
        (
            keys(
                r#"{"id": "a", "key": "short"}, {"id": "b", "key": "dev-api-key-change-in-production"}"#,
            ),
            vec![
                "api_keys[0].key: for development only: has 5 characters",
                "api_keys[1].key: for development only: is the development key",
                "api_keys[0].key: the first of 2 keys in plain text",
            ],
        ),
        (
            r#"{"gateway_config": {"allow_any_key": true}, "rate_limit_tiers": {"default": {}}}"#
                .to_owned(),
            vec![
                "gateway_config.allow_any_key: for development only: lets anybody in",
                "api_keys: there is none: whoever sends any key passes, as tier default",
            ],
        ),
    ]);
}

#[test]
fn keys_and_tiers_that_are_worth_a_look() {
    found(vec![
        (
            keys(r#"{"id": "a", "key": "k7Jw2mQx9Zt4Vb8Rn3Lp6Yc1"}"#),
            vec!["api_keys[0].key: stands here in plain text"],
        ),
        (
            keys(
                r#"{"id": "a", "keys": [{"key": "k7Jw2mQx9Zt4Vb8Rn3Lp6Yc1"}, {"key": "k7Jw2mQx9Zt4Vb8Rn3Lp6Yc2"}]}"#,
            ),
            vec!["api_keys[0].keys[0].key: the first of 2 keys in plain text"],
        ),
        (
            key(r#""enabled": false"#),
            vec![r#"api_keys[0].enabled: "a" is the one disabled key of 1 key"#],
        ),
        (
            key(r#""allowed_cidrs": ["10.0.0.0/8"]"#),
            vec![r#"api_keys[0].allowed_cidrs: for "a", compared with the TCP peer"#],
        ),
        (
            key(r#""allowed_cidrs": ["10.0.0.0/8"]"#)
                .replace("{\"api", r#"{"gateway_config": {"trusted_hops": 2}, "api"#),
            vec!["compared with address 3 from the right of x-forwarded-for"],
        ),
        (key(r#""expires_at": "2026-06-01T00:00:01Z""#), vec!["expires in less than a day"]),
        (
            key(r#""expires_at": "2026-06-01T02:00:00+02:00""#),
            vec![r#""a" has expired: since 2026"#],
        ),
        (
            key(r#""expires_at": "2026-07-01T00:00:00Z""#),
            vec![r#"expires_at: "a" expires in 30 days"#],
        ),
        (key(r#""expires_at": "2026-07-01T00:00:01Z""#), vec![]),
        (
            key(r#""expires_at": "2026-01-01T00:00:00Z", "enabled": false"#),
            vec!["the one disabled key"],
        ),
        (
            keys(&format!(
                r#"{{"id": "a", "keys": [{{{}, "expires_at": "2026-01-01T00:00:00Z"}}, {{{}}}]}}"#,
                hash(1),
                hash(2)
            )),
            vec![r#"api_keys[0].keys[0].expires_at: this value of "a" has expired"#],
        ),
        (
            format!(
                r#"{{"api_keys": [{{"id": "a", {}}}], "rate_limit_tiers": {{"default": {{}}, "x": {{"requests_per_hour": 1}}}}}}"#,
                hash(1)
            ),
            vec![
                "rate_limit_tiers.x: no key has this",
                "rate_limit_tiers.default: sets no limit at all, for 1 key",
            ],
        ),
        (
            format!(
                r#"{{"api_keys": [{{"id": "a", {}}}], "rate_limit_tiers": {{"default": {{"requests_per_hour": 0}}}}}}"#,
                hash(1)
            ),
            vec!["rate_limit_tiers.default: denies every request of 1 key"],
        ),
    ]);
}

#[test]
fn rules_that_are_worth_a_look() {
    found(vec![
        (
            rules(r#"{"id": "a", "paths": ["/a"], "mode": "shadow"}"#),
            vec!["rules[0].mode: only watches"],
        ),
        (
            rules(r#"{"id": "a", "paths": ["/x", "/**"], "auth": "none"}"#),
            vec!["rules[0].auth: lets everybody in on every path"],
        ),
        (
            rules(r#"{"id": "a", "paths": ["/a/**"]}, {"id": "b", "paths": ["/a/b", "/a"]}"#),
            vec![r#"rules[1]: never decides: rule "a" stands before it"#],
        ),
        (
            rules(
                r#"{"id": "a", "paths": ["/**"], "hosts": ["x.test"]}, {"id": "b", "paths": ["/a"]},
                   {"id": "c", "paths": ["/a"], "methods": ["HEAD"]}, {"id": "d", "hosts": ["x.test"], "paths": ["/b"]}"#,
            ),
            vec![r#"rules[3]: never decides: rule "a" stands"#],
        ),
        (
            rules(r#"{"id": "a", "paths": ["/a/b"]}, {"id": "b", "paths": ["/a/b", "/a/c"]}"#),
            vec![],
        ),
        (
            rules(
                r#"{"id": "a", "paths": ["/a"], "roles": ["admin", "ops"], "tenants": ["other"], "scopes": ["s", "t"]}"#,
            ),
            vec![
                r#"rules[0].roles[1]: no enabled key has the role "ops""#,
                r#"rules[0].tenants[0]: no enabled key has the tenant "other""#,
                r#"rules[0].scopes[1]: no enabled key has the scope "t""#,
            ],
        ),
        (
            key(r#""role": "admin", "enabled": false"#).replacen(
                '{',
                r#"{"rules": [{"id": "r", "paths": ["/"], "roles": ["admin"]}], "#,
                1,
            ),
            vec![
                "the one disabled key",
                "rules[0].roles[0]: no enabled key has the role \"admin\"",
            ],
        ),
    ]);
}

#[test]
fn warnings_of_one_kind_are_few_and_repeat_no_long_text() {
    let keys: Vec<String> = (0..500)
        .map(|n| format!(r#"{{"id": "id-that-may-be-a-key-{n}", {}, "expires_at": "2026-01-01T00:00:00Z", "allowed_cidrs": ["10.0.0.0/8"]}}"#, hash(n)))
        .collect();
    let file = format!(
        r#"{{"api_keys": [{}], "rate_limit_tiers": {{"default": {{"requests_per_hour": 9}}}}}}"#,
        keys.join(", ")
    );
    let found = advise(&file, Strictness::Production);
    assert_eq!(found.len(), 11, "{found:#?}");
    assert!(found[10].ends_with("(and 490 more like this)"), "{}", found[10]);
    assert!(found[0].contains("api_keys[9] and 490 more"), "{}", found[0]);
    assert!(found.iter().all(|line| !line.contains("id-that")), "{found:#?}");
}
