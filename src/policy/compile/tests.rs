//! What is refused, where, and in which words; and that what is accepted means what it says.

use super::*;
use crate::policy::raw::GatewayFile;

const TIERS: &str = r#""rate_limit_tiers": { "default": { "requests_per_minute": 60 } }"#;
const KEY: &str = "0123456789abcdef0123456789abcdef";

fn compile(text: &str, strictness: Strictness) -> Result<Gateway, Vec<String>> {
    let file: GatewayFile<'_> =
        raw::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    gateway(&file, strictness).map_err(|findings| {
        findings.iter().map(|finding| format!("{}: {}", finding.path, finding.message)).collect()
    })
}

/// The one thing wrong with a document.
fn fault(text: &str) -> String {
    let mut faults = compile(text, Strictness::Production).map(|_| ()).unwrap_err();
    assert_eq!(faults.len(), 1, "{text}: {faults:#?}");
    faults.remove(0)
}

/// KEY stands for a key that is long enough.
const REFUSED_KEYS: &[(&str, &str)] = &[
    (r#"{ "key": "KEY" }"#, "api_keys[0].id: expected a field `id`"),
    (r#"{ "id": "a b", "key": "KEY" }"#, "api_keys[0].id: expected a name"),
    (r#"{ "id": "a" }"#, "api_keys[0]: expected exactly one of `key`, `key_sha256` and `keys`"),
    (
        r#"{ "id": "a", "key": "KEY", "keys": [{ "key": "KEY" }] }"#,
        "api_keys[0]: expected exactly one",
    ),
    (r#"{ "id": "a", "keys": [] }"#, "api_keys[0].keys: expected one or two keys, found 0"),
    (
        r#"{ "id": "a", "keys": [{ "key": "KEY" }, { "key": "KEY1" }, { "key": "KEY2" }] }"#,
        "api_keys[0].keys: expected one or two keys, found 3",
    ),
    (r#"{ "id": "a", "keys": [{}] }"#, "api_keys[0].keys[0]: expected exactly one of `key`"),
    (
        r#"{ "id": "a", "keys": [{ "key": "KEY" }, { "key": "KEY" }] }"#,
        "api_keys[0].keys[1]: expected two different values",
    ),
    (r#"{ "id": "a", "key": "short" }"#, "api_keys[0].key: has 5 characters, which can be guessed"),
    (r#"{ "id": "a", "key": "with a space KEY" }"#, "api_keys[0].key: expected 1 to 1024 visible"),
    (r#"{ "id": "a", "key": "comma,KEY" }"#, "api_keys[0].key: expected 1 to 1024 visible"),
    (r#"{ "id": "a", "key": "" }"#, "api_keys[0].key: expected 1 to 1024 visible"),
    (
        r#"{ "id": "a", "key": "dev-api-key-change-in-production" }"#,
        "api_keys[0].key: is the development key",
    ),
    (r#"{ "id": "a", "key_sha256": "KEY" }"#, "api_keys[0].key_sha256: expected the SHA-256"),
    (r#"{ "id": "a", "key_sha256": "zz" }"#, "api_keys[0].key_sha256: expected the SHA-256"),
    (
        r#"{ "id": "a", "key": "KEY", "rate_limit_tier": "gold" }"#,
        "api_keys[0].rate_limit_tier: expected a tier of rate_limit_tiers (default), found \"gold\"",
    ),
    (
        r#"{ "id": "a", "key": "KEY", "expires_at": "tomorrow" }"#,
        "api_keys[0].expires_at: expected a date such as",
    ),
    (
        r#"{ "id": "a", "key": "KEY", "not_before": "2027-01-01T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z" }"#,
        "api_keys[0].expires_at: expected a date after not_before",
    ),
    (
        r#"{ "id": "a", "keys": [{ "key": "KEY", "expires_at": "2027-02-30T00:00:00Z" }] }"#,
        "api_keys[0].keys[0].expires_at: expected a date such as",
    ),
    (
        r#"{ "id": "a", "key": "KEY", "allowed_cidrs": [] }"#,
        "api_keys[0].allowed_cidrs: names no network",
    ),
    (
        r#"{ "id": "a", "key": "KEY", "allowed_cidrs": ["10.0.0.1"] }"#,
        "api_keys[0].allowed_cidrs[0]: expected a network such as",
    ),
    (
        r#"{ "id": "a", "key": "KEY", "allowed_cidrs": ["10.0.0.1/8"] }"#,
        "api_keys[0].allowed_cidrs[0]: \"10.0.0.1/8\" has bits set behind its prefix; write \"10.0.0.0/8\"",
    ),
    (
        r#"{ "id": "a", "key": "KEY", "allowed_cidrs": ["::ffff:10.0.0.0/104"] }"#,
        "api_keys[0].allowed_cidrs[0]: expected a network such as",
    ),
    (r#"{ "id": "a", "key": "KEY", "role": "x,y" }"#, "api_keys[0].role: expected a name"),
    (
        r#"{ "id": "a", "key": "KEY", "scopes": ["ok", ""] }"#,
        "api_keys[0].scopes[1]: expected a name",
    ),
    (
        r#"{ "id": "a", "key": "KEY" }, { "id": "a", "key": "KEY2" }"#,
        "api_keys[1].id: expected an id of its own: api_keys[0] has \"a\" too",
    ),
    (
        r#"{ "id": "a", "key": "KEY" }, { "id": "b", "key": "KEY" }"#,
        "api_keys[1].key: expected a key of its own: \"a\" has the same",
    ),
];

#[test]
fn keys_that_are_refused() {
    for (keys, expected) in REFUSED_KEYS {
        let text = format!(r#"{{ "api_keys": [{}], {TIERS} }}"#, keys.replace("KEY", KEY));
        let found = fault(&text);
        assert!(found.starts_with(expected), "{keys}\n  expected {expected}\n  found    {found}");
        assert!(!found.contains(KEY), "{found}");
    }
}

const REFUSED: &[(&str, &str)] = &[
    (r#""gateway_config": { "trusted_hops": -1 }"#, "gateway_config.trusted_hops: expected"),
    (r#""gateway_config": { "trusted_hops": 33 }"#, "gateway_config.trusted_hops: expected"),
    (
        r#""gateway_config": { "max_request_body_bytes": -1 }"#,
        "gateway_config.max_request_body_bytes: expected",
    ),
    (
        r#""gateway_config": { "credential_headers": [] }"#,
        "gateway_config.credential_headers: names no header",
    ),
    (
        r#""gateway_config": { "credential_headers": ["Host"] }"#,
        "gateway_config.credential_headers[0]: `host` cannot carry a credential",
    ),
    (
        r#""gateway_config": { "credential_headers": ["x-key", "X_User_Id"] }"#,
        "gateway_config.credential_headers[1]: `x_user_id` cannot carry a credential",
    ),
    (
        r#""gateway_config": { "credential_headers": ["X-Key", "x-key"] }"#,
        "gateway_config.credential_headers[1]: `x-key` stands here twice",
    ),
    (
        r#""gateway_config": { "ratelimit_headers": "some" }"#,
        "gateway_config.ratelimit_headers: expected \"ietf\", \"legacy\", \"both\" or \"off\", found \"some\"",
    ),
    (
        r#""gateway_config": { "allow_any_key": true }, "rate_limit_tiers": { "default": {} }"#,
        "gateway_config.allow_any_key: lets anybody in",
    ),
    (
        r#""rate_limit_tiers": { "x": { "requests_per_minute": -2 } }"#,
        "rate_limit_tiers.x.requests_per_minute: expected -1 (unlimited)",
    ),
    (
        r#""rate_limit_tiers": { "x": { "requests_per_hour": 4294967296 } }"#,
        "rate_limit_tiers.x.requests_per_hour: expected -1 (unlimited)",
    ),
    (r#""rules": []"#, "rules: names no rule"),
    (r#""rules": [{ "paths": ["/a"] }]"#, "rules[0].id: expected a field `id`"),
    (r#""rules": [{ "id": "r" }]"#, "rules[0].paths: expected a field `paths`"),
    (r#""rules": [{ "id": "r", "paths": [] }]"#, "rules[0].paths: names no path"),
    (
        r#""rules": [{ "id": "r", "paths": ["a"] }]"#,
        "rules[0].paths[0]: expected a path pattern that begins with `/`, found \"a\"",
    ),
    (r#""rules": [{ "id": "r", "paths": ["/a"], "hosts": [] }]"#, "rules[0].hosts: names no host"),
    (
        r#""rules": [{ "id": "r", "paths": ["/a"], "hosts": ["a:80"] }]"#,
        "rules[0].hosts[0]: `:` never stands in a host",
    ),
    (r#""rules": [{ "id": "r", "paths": ["/a"], "methods": [] }]"#, "rules[0].methods: is empty"),
    (
        r#""rules": [{ "id": "r", "paths": ["/a"], "methods": ["get"] }]"#,
        "rules[0].methods[0]: expected an HTTP method in capital letters",
    ),
    (
        r#""rules": [{ "id": "r", "paths": ["/a"], "methods": ["TRACE"] }]"#,
        "rules[0].methods[0]: TRACE is never allowed",
    ),
    (
        r#""rules": [{ "id": "r", "paths": ["/a"], "methods": ["CONNECT"] }]"#,
        "rules[0].methods[0]: CONNECT is never allowed",
    ),
    (
        r#""rules": [{ "id": "r", "paths": ["/a"], "methods": ["GET", "GET"] }]"#,
        "rules[0].methods[1]: GET stands here twice",
    ),
    (r#""rules": [{ "id": "r", "paths": ["/a"], "roles": [] }]"#, "rules[0].roles: is empty"),
    (
        r#""rules": [{ "id": "r", "paths": ["/a"], "auth": "maybe" }]"#,
        "rules[0].auth: expected \"api_key\" or \"none\", found \"maybe\"",
    ),
    (
        r#""rules": [{ "id": "r", "paths": ["/a"], "auth": "none", "roles": ["x"] }]"#,
        "rules[0].roles: asks something of a caller",
    ),
    (
        r#""rules": [{ "id": "r", "paths": ["/a"], "mode": "off" }]"#,
        "rules[0].mode: expected \"enforce\" or \"shadow\", found \"off\"",
    ),
    (
        r#""rules": [{ "id": "r", "paths": ["/a"], "allow_encoded": ["."] }]"#,
        "rules[0].allow_encoded[0]: expected \"/\" or \"%\", found \".\"",
    ),
    (
        r#""rules": [{ "id": "r", "paths": ["/a"] }, { "id": "r", "paths": ["/b"] }]"#,
        "rules[1].id: expected an id of its own: rules[0] has \"r\" too",
    ),
    (
        r#""rules": [{ "id": "r", "paths": ["/a", "/b"] }, { "id": "s", "paths": ["/b", "/a"], "methods": ["GET"] }]"#,
        "rules[1].methods: rule \"r\" has the same hosts and paths and answers for GET already",
    ),
];

#[test]
fn options_tiers_and_rules_that_are_refused() {
    for (text, expected) in REFUSED {
        let found = fault(&format!("{{ {text} }}"));
        assert!(found.starts_with(expected), "{text}\n  expected {expected}\n  found    {found}");
    }
}

#[test]
fn all_faults_are_found_at_once() {
    let text = r#"{
        "gateway_config": { "trusted_hops": -1, "allow_any_key": true },
        "api_keys": [{ "id": "", "key": "short", "rate_limit_tier": "gold", "expires_at": "x" }],
        "rate_limit_tiers": { "a b": { "requests_per_minute": -5 } },
        "rules": [{ "id": "r", "paths": ["x", "/a//b"], "methods": ["get", "TRACE"] }]
    }"#;
    let faults = compile(text, Strictness::Production).map(|_| ()).unwrap_err();
    assert_eq!(faults.len(), 12, "{faults:#?}");
}

#[test]
fn development_lets_weak_settings_load() {
    let text = format!(
        r#"{{ "gateway_config": {{ "allow_any_key": true }},
             "api_keys": [{{ "id": "a", "key": "short" }}, {{ "id": "b", "key": "dev-api-key-change-in-production" }}],
             {TIERS} }}"#
    );
    assert!(compile(&text, Strictness::Development).is_ok());
    assert_eq!(compile(&text, Strictness::Production).map(|_| ()).unwrap_err().len(), 3);
    let hashed = format!(
        r#"{{ "api_keys": [{{ "id": "b",
             "key_sha256": "{}" }}], {TIERS} }}"#,
        data_encoding::HEXUPPER
            .encode(&<sha2::Sha256 as sha2::Digest>::digest("dev-api-key-change-in-production"))
    );
    assert!(fault(&hashed).contains("is the development key"));
}

#[test]
fn any_key_counts_only_while_there_are_none() {
    let any = r#""gateway_config": { "allow_any_key": true }"#;
    let none = compile(&format!("{{ {any}, {TIERS} }}"), Strictness::Development).unwrap();
    assert_eq!(none.any_key.map(|tier| tier.name), Some("default".into()));
    let text = format!(r#"{{ {any}, "api_keys": [{{ "id": "a", "key": "x" }}], {TIERS} }}"#);
    assert_eq!(compile(&text, Strictness::Development).unwrap().any_key, None);
    let faults = compile(&format!("{{ {any} }}"), Strictness::Development).map(|_| ()).unwrap_err();
    assert_eq!(
        faults,
        ["gateway_config.allow_any_key: needs a tier `default` in rate_limit_tiers"]
    );
}

#[test]
fn a_key_is_found_by_each_of_its_values_and_by_nothing_else() {
    let text = format!(
        r#"{{ "api_keys": [
            {{ "id": "old", "key": "{KEY}", "role": "admin", "tenant": "acme", "scopes": ["a", "b"] }},
            {{ "id": "two", "keys": [{{ "key": "{KEY}1", "expires_at": "2027-01-01T00:00:00Z" }}, {{ "key": "{KEY}2" }}],
               "enabled": false, "allowed_cidrs": ["10.0.0.0/8"], "not_before": "2026-01-01T00:00:00Z" }}
        ], {TIERS} }}"#
    );
    let keys = compile(&text, Strictness::Production).unwrap().keys;
    let find = |text: &str| keys.find(&<sha2::Sha256 as sha2::Digest>::digest(text).into());
    let (old, validity) = find(KEY).unwrap();
    assert_eq!(
        (old.id(), old.role(), old.tenant(), old.enabled()),
        ("old", Some("admin"), Some("acme"), true)
    );
    assert_eq!(old.scopes().join(" "), "a b");
    assert_eq!((validity, old.validity()), Default::default());
    assert!(old.allows(None));
    for (value, expires_at) in [("1", Some(1_798_761_600)), ("2", None)] {
        let (two, validity) = find(&format!("{KEY}{value}")).unwrap();
        assert_eq!(
            (two.id(), two.role(), two.enabled(), validity.expires_at),
            ("two", None, false, expires_at)
        );
        assert_eq!(two.validity().not_before, Some(1_767_225_600));
        assert!(
            two.allows(Some([10, 9, 9, 9].into()))
                && !two.allows(Some([11, 0, 0, 1].into()))
                && !two.allows(None)
        );
    }
    assert!(find(&KEY[1..]).is_none() && find(&format!("{KEY} ")).is_none() && find("").is_none());
}
