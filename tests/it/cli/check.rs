//! `gatepost check`.

use serde_json::json;

use super::{CANARY, Policy, run};
use crate::world::envoy::root;

/// A key of 64 hexadecimal digits that nobody has.
const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn tells_what_is_loaded() {
    let sample = std::fs::read_to_string(root().join("policy/data/gateway_config.json")).unwrap();
    let policy = Policy::new(&sample);
    run(&["check", policy.path(), "--env", "development"]).is(
        0,
        &[
            ": 2 keys, 4 rules, revision ",
            "tiers: default, standard, unlimited, demo",
            "rules: health, grpc, rest, admin",
            "warning: gateway_config.json:12:14: api_keys[0].key: for development only",
            "ok: 5 warnings",
        ],
    );
}

#[test]
fn the_original_file_is_refused_in_production_for_the_development_key_alone() {
    run(&["check", "policy/cases/original", "--env", "development"]).is(
        0,
        &[
            "gateway_config.max_request_body_bytes: is accepted and not used",
            "rules: health, grpc, rest, admin",
        ],
    );
    let refused = run(&["check", "policy/cases/original"]);
    refused.is(1, &["api_keys[0].key: is the development key", "failed: 1 error"]);
    let lines: Vec<_> = refused.err.lines().collect();
    assert_eq!(lines.len(), 2, "{refused:?}");
    assert_eq!(refused.out, "");
}

#[test]
fn every_mistake_has_its_place() {
    let policy = Policy::new(
        r#"{
  "gateway_config": { "trusted_hops": "one", "colour": 1 },
  "api_keys": [
    { "id": "a", "key_sha256": "xyz", "rate_limit_tier": "gold", "expires_at": "soon" },
    { "id": "a", "key": "k7Jw2mQx9Zt4Vb8Rn3Lp6Yc1", "allowed_cidrs": ["10.0.0.0/99"] }
  ],
  "rate_limit_tiers": { "default": {} },
  "rules": [{ "id": "r", "paths": ["no-slash"] }]
}"#,
    );
    run(&["check", policy.path()]).is(
        1,
        &[
            "gateway_config.json:2:39: gateway_config.trusted_hops: expected a whole number",
            "gateway_config.json:2:46: gateway_config.colour: unknown field",
            "gateway_config.json:4:32: api_keys[0].key_sha256: ",
            "gateway_config.json:4:58: api_keys[0].rate_limit_tier: ",
            "gateway_config.json:4:80: api_keys[0].expires_at: ",
            "gateway_config.json:5:13: api_keys[1].id: ",
            "gateway_config.json:5:71: api_keys[1].allowed_cidrs[0]: ",
            "gateway_config.json:8:36: rules[0].paths[0]: ",
            "\nfailed: 8 errors\n",
        ],
    );
    let json = run(&["check", policy.path(), "--format", "json"]);
    let json = json.is(1, &[]).json();
    assert_eq!(json["ok"], false);
    assert_eq!(json["revision"], json!(null));
    assert_eq!(json["errors"].as_array().unwrap().len(), 8);
    assert_eq!(json["errors"][1]["line"], 2);
    assert_eq!(json["errors"][1]["column"], 46);
    assert_eq!(json["errors"][1]["path"], "gateway_config.colour");
    assert_eq!(json["errors"][1]["file"], "gateway_config.json");
    assert_eq!(json["cases"], json!(null));
}

#[test]
fn what_does_not_load_is_said_in_a_line() {
    let empty = Policy::new(" \n");
    let nothing = tempfile::TempDir::new().unwrap();
    let nothing = nothing.path().to_str().unwrap();
    let broken = Policy::new("{ \"rules\": [ }");
    for (directory, piece) in [
        (empty.path(), "gateway_config.json: is empty"),
        (nothing, "expected gateway_config.json or egress_config.json there"),
        ("policy/none", "policy/none: No such file or directory"),
        ("Cargo.toml", "Cargo.toml: not a directory"),
        (broken.path(), "gateway_config.json:1:14: $: not valid JSON"),
    ] {
        run(&["check", directory]).is(1, &[piece, "failed: 1 error"]);
        let json = run(&["check", directory, "--format", "json"]);
        let json = json.is(1, &[]).json();
        assert_eq!(json["errors"].as_array().unwrap().len(), 1, "{json}");
    }
}

#[test]
fn usage_is_another_exit_code() {
    for args in [
        &["check"][..],
        &["check", "policy/data", "--format", "yaml"],
        &["check", "policy/data", "--cases"],
        &["check", "policy/data", "--env", "test"],
    ] {
        run(args).is(2, &["Usage: gatepost check", "--help"][1..]);
    }
}

/// Warnings are for people and change no exit code; each has a place.
#[test]
fn warns_of_what_loads_and_is_worth_a_look() {
    let policy = Policy::new(&format!(
        r#"{{ "gateway_config": {{ "trusted_hops": 1 }},
  "api_keys": [ {{ "id": "a", "key_sha256": "{SHA256}", "allowed_cidrs": ["10.0.0.0/8"],
                  "expires_at": "2020-01-01T00:00:00Z" }} ],
  "rate_limit_tiers": {{ "default": {{ "requests_per_minute": 9 }}, "gold": {{ "requests_per_minute": 9 }} }},
  "rules": [ {{ "id": "r", "paths": ["/**"], "mode": "shadow", "roles": ["admin"] }},
             {{ "id": "s", "paths": ["/s"] }} ] }}"#
    ));
    let pieces = [
        "warning: gateway_config.json:2:129: api_keys[0].allowed_cidrs: for \"a\", compared with address 2 from the right of x-forwarded-for",
        "warning: gateway_config.json:3:33: api_keys[0].expires_at: \"a\" has expired",
        "warning: gateway_config.json:4:66: rate_limit_tiers.gold: no key has this tier",
        "warning: gateway_config.json:5:53: rules[0].mode: only watches",
        "warning: gateway_config.json:5:73: rules[0].roles[0]: no enabled key has the role \"admin\"",
        "warning: gateway_config.json:6:14: rules[1]: never decides: rule \"r\" stands before it",
        "ok: 6 warnings",
    ];
    run(&["check", policy.path()]).is(0, &pieces);
    let json = run(&["check", policy.path(), "--format", "json"]);
    let json = json.is(0, &[]).json();
    assert_eq!(json["ok"], true);
    assert_eq!(json["revision"].as_str().unwrap().len(), 64);
    assert_eq!(json["gateway"]["api_keys"], 1);
    assert_eq!(json["warnings"].as_array().unwrap().len(), 6, "{json:#}");
}

/// A directory of the egress alone, with its secrets.
fn egress(config: &str, secrets: &str) -> Policy {
    let policy = Policy::bare().with("egress_config.json", config);
    let policy = policy.with("egress_secrets.json", secrets);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(policy.file("egress_secrets.json"), mode).unwrap();
    policy
}

#[test]
fn tells_which_credential_reaches_which_host() {
    let policy = egress(
        r#"{ "egress_services": { "a": { "base_url": "https://api.a.test", "allowed_paths": ["/x"] },
                             "b": { "base_url": "http://b.test" } },
  "egress_policies": { "default": {}, "all": { "allowed_services": ["*"] }, "one": { "allowed_services": ["b"] } },
  "sandbox_policies": { "s": "all", "t": "one" },
  "egress_credentials": { "a": { "type": "bearer", "source": "env:A_VARIABLE_OF_NOBODY" },
                          "a-2": { "type": "query", "parameter": "key", "service": "a" } } }"#,
        &format!(
            r#"{{ "egress_credentials": {{ "a-2": {{ "token": "{CANARY}" }}, "z": {{}} }} }}"#
        ),
    );
    run(&["check", policy.path()]).is(
        0,
        &[
            ": 2 services, 2 sandboxes, 2 credentials, revision ",
            "\n  services:  a, b\n",
            "\n  sandboxes: 2, 2 of them enabled, with 0 tokens\n",
            "\n  tier default: none\n  tier all: every service\n  tier one: b\n",
            "\n  credential a: reaches api.a.test:443 (service a), from env:A_VARIABLE_OF_NOBODY, not here (unresolved)\n",
            "\n  credential a-2: reaches api.a.test:443 (service a), from a literal, ",
            "warning: egress_config.json:4:25: sandbox_policies.s: has no enabled token",
            "warning: egress_config.json:5:32: egress_credentials.a: env:A_VARIABLE_OF_NOBODY is not set here: the service a would answer 503",
            "warning: egress_secrets.json:1:82: egress_credentials.z: belongs to no service",
        ],
    );
    let json = run(&["check", policy.path(), "--format", "json"]);
    let json = json.is(0, &[]).json();
    assert_eq!(json["gateway"], json!(null));
    assert_eq!(json["egress"]["services"], json!(["a", "b"]));
    assert_eq!(json["egress"]["tiers"][1], json!({ "name": "all", "services": ["*"] }));
    assert_eq!(
        json["egress"]["credentials"][0],
        json!({
            "name": "a", "service": "a", "hosts": ["api.a.test:443"],
            "sources": ["env:A_VARIABLE_OF_NOBODY"], "resolved": false, "missing": "unresolved",
        })
    );
}

#[test]
fn secrets_that_others_may_write_are_refused() {
    let policy = egress("{}", "{}");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o620);
    std::fs::set_permissions(policy.file("egress_secrets.json"), mode).unwrap();
    run(&["check", policy.path()]).is(1, &["egress_secrets.json: others", "chmod 600"]);
}

/// Wherever a key is put by mistake, no message repeats it.
#[test]
fn never_shows_a_key() {
    let key = |fields: &str| format!(r#"{{ "api_keys": [{{ {fields} }}] }}"#);
    let files = [
        key(&format!(r#""id": "a", "key": "{CANARY} ""#)),
        key(&format!(r#""id": "a", "key": ["{CANARY}"]"#)),
        key(&format!(r#""id": "a", "keys": "{CANARY}""#)),
        key(&format!(r#""id": "a", "keys": [ "{CANARY}" ]"#)),
        key(&format!(r#""id": "a", "key_sha256": "{CANARY}""#)),
        key(&format!(r#""id": "a", "key": "{CANARY}", "key_sha256": "{SHA256}""#)),
        key(&format!(r#""id": "a", "kye": "{CANARY}""#)),
        key(&format!(r#""id": "a", "{CANARY}": "key""#)),
        key(&format!(r#""id": "{CANARY} {CANARY}""#)),
        key(&format!(r#""id": "{CANARY}", "key": "x""#)),
        key(&format!(r#""id": "a", "key_sha256": "{SHA256}", "rate_limit_tier": "{CANARY}""#)),
        key(&format!(r#""id": "a", "key_sha256": "{SHA256}", "expires_at": "{CANARY}""#)),
        key(&format!(r#""id": "a", "key": "{CANARY}"#)),
        // These two load; what they are warned of does not repeat the key either.
        format!(
            r#"{{ "rate_limit_tiers": {{ "default": {{}} }}, "api_keys": [{{ "id": "a", "key": "{CANARY}" }}] }}"#
        ),
        format!(
            r#"{{ "rate_limit_tiers": {{ "default": {{}} }}, "api_keys": [{{ "id": "{CANARY}", "key_sha256": "{SHA256}", "enabled": false, "allowed_cidrs": ["10.0.0.0/8"] }}] }}"#
        ),
    ];
    for (number, file) in files.iter().enumerate() {
        let policy = Policy::new(file);
        let code = i32::from(number < 13);
        for format in ["text", "json"] {
            let ran = run(&["check", policy.path(), "--env", "development", "--format", format]);
            assert_eq!(ran.code, Some(code), "{file}: {ran:?}");
            assert!(!ran.out.contains(CANARY) && !ran.err.contains(CANARY), "{file}: {ran:?}");
        }
    }
}
