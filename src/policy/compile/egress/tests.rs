//! What is refused, where, and in which words; and that what is accepted means what it says.

mod accepted;
mod credentials;

use crate::policy::compile::{EgressFaults, Strictness, egress};
use crate::policy::egress::ServiceMap;
use crate::policy::locate::Finding;
use crate::policy::raw::{self, EgressFile, SecretsFile};

/// Two services, one of them over TLS, and a tier.
const BASE: &str = r#""egress_services": { "openai": { "base_url": "https://api.openai.com" },
                                               "plain": { "base_url": "http://plain.test" } },
    "egress_policies": { "default": { "allowed_services": ["openai"] } }"#;

/// The map, or what is wrong, each prefixed with its place; `secrets:` before those of that file.
fn compile(text: &str, secrets: &str, strictness: Strictness) -> Result<ServiceMap, Vec<String>> {
    let file: EgressFile<'_> = raw::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let secrets: SecretsFile<'_> =
        raw::parse(secrets).unwrap_or_else(|error| panic!("{secrets}: {error:?}"));
    egress(&file, Some(&secrets), strictness).map_err(|EgressFaults { config, secrets }| {
        let shown = |f: &Finding| format!("{}: {}", f.path, f.message);
        let secrets = secrets.iter().map(|finding| format!("secrets: {}", shown(finding)));
        config.iter().map(shown).chain(secrets).collect()
    })
}

/// Every row has one fault, which begins so. BASE is put before what the row has.
#[track_caller]
fn refused(rows: &[(&str, &str)]) {
    for (row, expected) in rows {
        one(&format!("{{ {BASE}, {row} }}"), "{}", expected);
    }
}

/// The same for files without BASE.
#[track_caller]
fn refused_alone(rows: &[(&str, &str)]) {
    for (row, expected) in rows {
        one(&format!("{{ {row} }}"), "{}", expected);
    }
}

#[track_caller]
fn one(text: &str, secrets: &str, expected: &str) {
    let faults = compile(text, secrets, Strictness::Production).map(|_| ()).unwrap_err();
    assert_eq!(faults.len(), 1, "{text}\n{faults:#?}");
    let found = &faults[0];
    assert!(found.starts_with(expected), "{text}\n  expected {expected}\n  found    {found}");
}

#[test]
fn options_that_are_refused() {
    refused(&[
        (
            r#""egress_config": { "sandbox_identity": [] }"#,
            "egress_config.sandbox_identity: names nothing",
        ),
        (
            r#""egress_config": { "sandbox_identity": ["tokens"] }"#,
            "egress_config.sandbox_identity[0]: expected \"token\", \"mtls\" or \"header\", found \"tokens\"",
        ),
        (
            r#""egress_config": { "sandbox_identity": ["token", "token"] }"#,
            "egress_config.sandbox_identity[1]: \"token\" stands here twice",
        ),
        (
            r#""egress_config": { "sandbox_identity": ["token", "header"] }"#,
            "egress_config.sandbox_identity[1]: believes whatever",
        ),
        (
            r#""egress_config": { "proxy_hosts": ["a", "A."] }"#,
            "egress_config.proxy_hosts[1]: \"a\" stands here twice",
        ),
        (
            r#""egress_config": { "proxy_hosts": ["a:80"] }"#,
            "egress_config.proxy_hosts[0]: expected the name",
        ),
        (
            r#""egress_config": { "secret_grace": "soon" }"#,
            "egress_config.secret_grace: expected a time such as \"5m\"",
        ),
        (
            r#""egress_config": { "proxy_hosts": ["OpenAI"] }"#,
            "egress_services.openai: `openai` is among the proxy_hosts",
        ),
    ]);
}

#[test]
fn services_that_are_refused() {
    let rows = [
        ("{}", "base_url: expected a field `base_url`"),
        (r#"{ "base_url": "ftp://a" }"#, "base_url: expected a URL that begins with"),
        (r#"{ "base_url": "https://a/../b" }"#, "base_url: has `//` or a dot segment"),
        (
            r#"{ "base_url": "https://a", "ca_file": "ca.pem" }"#,
            "ca_file: expected the absolute path",
        ),
        (r#"{ "base_url": "http://a", "ca_file": "/ca.pem" }"#, "ca_file: verifies nothing"),
        (r#"{ "base_url": "https://a", "allowed_methods": [] }"#, "allowed_methods: is empty"),
        (
            r#"{ "base_url": "https://a", "allowed_methods": ["GET", "CONNECT"] }"#,
            "allowed_methods[1]: CONNECT is never allowed",
        ),
        (r#"{ "base_url": "https://a", "allowed_paths": [] }"#, "allowed_paths: names no path"),
        (
            r#"{ "base_url": "https://a", "allowed_paths": ["v1"] }"#,
            "allowed_paths[0]: expected a path pattern that begins with `/`",
        ),
        (
            r#"{ "base_url": "https://a", "denied_paths": ["/a", "/a?b"] }"#,
            "denied_paths[1]: `?` never stands",
        ),
        (r#"{ "base_url": "https://a", "mode": "watch" }"#, "mode: expected \"enforce\" or"),
        (
            r#"{ "base_url": "https://a", "allow_encoded": ["."] }"#,
            "allow_encoded[0]: expected \"/\" or \"%\"",
        ),
        (
            r#"{ "base_url": "https://a", "headers": { "Host": "b" } }"#,
            "headers.Host: `host` belongs to HTTP",
        ),
        (
            r#"{ "base_url": "https://a", "headers": { ":path": "b" } }"#,
            "headers[\":path\"]: is a pseudo-header",
        ),
        (
            r#"{ "base_url": "https://a", "headers": { "X-A": "b", "x-a": "c" } }"#,
            "headers.x-a: `x-a` stands here twice",
        ),
        (
            r#"{ "base_url": "https://a", "headers": { "x-a": "b\r\nc: d" } }"#,
            "headers.x-a: expected a text of printable ASCII",
        ),
        (
            r#"{ "base_url": "https://a", "forward_headers": ["x-envoy-upstream-rq-timeout-ms"] }"#,
            "forward_headers[0]: `x-envoy-upstream-rq-timeout-ms` belongs to HTTP",
        ),
        (
            r#"{ "base_url": "https://a", "forward_headers": ["X-A", "x-a"] }"#,
            "forward_headers[1]: `x-a` stands here twice",
        ),
    ];
    for (service, expected) in rows {
        let text = format!(r#"{{ "egress_services": {{ "s": {service} }} }}"#);
        one(&text, "{}", &format!("egress_services.s.{expected}"));
    }
    for (name, expected) in [
        ("", "[\"\"]: expected a name of 1 to 63 characters"),
        ("OpenAI", ".OpenAI: expected a name of 1 to 63 characters"),
        ("a.b", "[\"a.b\"]: expected a name of 1 to 63 characters"),
        ("gatepost", ".gatepost: `gatepost` has a meaning of its own"),
        ("default", ".default: `default` has a meaning of its own"),
        ("egress-proxy", ".egress-proxy: `egress-proxy` is among the proxy_hosts"),
    ] {
        let text =
            format!(r#"{{ "egress_services": {{ "{name}": {{ "base_url": "https://a" }} }} }}"#);
        one(&text, "{}", &format!("egress_services{expected}"));
    }
}

#[test]
fn tiers_that_are_refused() {
    let rows = [
        (
            r#""allowed_services": ["open-ai"]"#,
            "allowed_services[0]: expected a name out of egress_services (openai), found \"open-ai\"",
        ),
        (r#""allowed_services": ["openai", "*"]"#, "allowed_services[1]: `*` is every service"),
        (
            r#""allowed_services": ["openai", "openai"]"#,
            "allowed_services[1]: `openai` stands here twice",
        ),
        (
            r#""rate_limits": { "slack": {} }"#,
            "rate_limits.slack: expected a name out of egress_services (openai), found \"slack\"",
        ),
        (
            r#""rate_limits": { "openai": { "tokens_per_minute": 1, "requests_per_minute": 1 } }"#,
            "rate_limits.openai.tokens_per_minute: is the older name of `requests_per_minute`",
        ),
        (
            r#""rate_limits": { "openai": { "tokens_per_hour": 1, "requests_per_hour": 1 } }"#,
            "rate_limits.openai.tokens_per_hour: is the older name of `requests_per_hour`",
        ),
        (
            r#""rate_limits": { "default": { "tokens_per_minute": -2 } }"#,
            "rate_limits.default.tokens_per_minute: expected -1 (unlimited)",
        ),
        (
            r#""rate_limits": { "default": { "requests_per_hour": 4294967296 } }"#,
            "rate_limits.default.requests_per_hour: expected -1 (unlimited)",
        ),
    ];
    for (tier, expected) in rows {
        let text = format!(
            r#"{{ "egress_services": {{ "openai": {{ "base_url": "https://a" }} }},
                 "egress_policies": {{ "t": {{ {tier} }} }} }}"#
        );
        one(&text, "{}", &format!("egress_policies.t.{expected}"));
    }
}

/// HASH stands for the SHA-256 of a token.
const SANDBOXES: &[(&str, &str)] = &[
    (
        r#"{ "policy": "gold" }"#,
        "policy: expected a name out of egress_policies (default), found \"gold\"",
    ),
    (r#"{ "allowed_cidrs": [] }"#, "allowed_cidrs: names no network"),
    (r#"{ "allowed_cidrs": ["10.0.0.1"] }"#, "allowed_cidrs[0]: expected a network"),
    (r#"{ "spiffe_id": "example.org/a" }"#, "spiffe_id: expected a SPIFFE ID"),
    (r#"{ "spiffe_id": "spiffe://example.org/a/" }"#, "spiffe_id: expected a SPIFFE ID"),
    (r#"{ "spiffe_id": "spiffe://Example.org/a" }"#, "spiffe_id: expected a SPIFFE ID"),
    (r#"{ "spiffe_id": "spiffe:///a" }"#, "spiffe_id: expected a SPIFFE ID"),
    (r#"{ "spiffe_id": "spiffe://a/../b" }"#, "spiffe_id: expected a SPIFFE ID"),
    (r#"{ "tokens": [{ "sha256": "HASH" }] }"#, "tokens[0].id: expected a field `id`"),
    (r#"{ "tokens": [{ "id": "t" }] }"#, "tokens[0].sha256: expected a field `sha256`"),
    (r#"{ "tokens": [{ "id": "a b", "sha256": "HASH" }] }"#, "tokens[0].id: expected a name"),
    (
        r#"{ "tokens": [{ "id": "t", "sha256": "gp_sbx_0123456789" }] }"#,
        "tokens[0].sha256: expected the SHA-256 of a token, 64 hexadecimal digits (`gatepost sandbox-token new` writes it)",
    ),
    (
        r#"{ "tokens": [{ "id": "t", "sha256": "HASH", "expires_at": "soon" }] }"#,
        "tokens[0].expires_at: expected a date",
    ),
    (
        r#"{ "credentials": { "slack": "openai" } }"#,
        "credentials.slack: expected a name out of egress_services (openai, plain), found \"slack\"",
    ),
    (
        r#"{ "credentials": { "openai": "openai-b" } }"#,
        "credentials.openai: expected a name out of egress_credentials (openai), found \"openai-b\"",
    ),
    (
        r#"{ "credentials": { "plain": "openai" } }"#,
        "credentials.plain: \"openai\" belongs to another service",
    ),
];

#[test]
fn sandboxes_that_are_refused() {
    let hash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let credential = r#", "egress_credentials": { "openai": { "type": "bearer" } }"#;
    for (sandbox, expected) in SANDBOXES {
        let sandbox = sandbox.replace("HASH", hash);
        let text = format!(r#"{{ {BASE}, "sandboxes": {{ "s": {sandbox} }}{credential} }}"#);
        one(&text, "{}", &format!("sandboxes.s.{expected}"));
    }
    let two = |one: &str, other: &str| {
        format!(r#""sandboxes": {{ "a": {{ {one} }}, "b": {{ {other} }} }}"#).replace("HASH", hash)
    };
    refused(&[
        (
            &two(
                r#""tokens": [{ "id": "t", "sha256": "HASH" }]"#,
                &format!(r#""tokens": [{{ "id": "u", "sha256": "{}" }}]"#, hash.to_uppercase()),
            ),
            "sandboxes.b.tokens[0].sha256: expected a token of its own: \"t\" of sandbox \"a\" is the same",
        ),
        (
            &two(r#""spiffe_id": "spiffe://x/y""#, r#""spiffe_id": "spiffe://x/y""#),
            "sandboxes.b.spiffe_id: expected an ID of its own: sandbox \"a\" has the same",
        ),
        (
            r#""sandboxes": { "s": {} }, "sandbox_policies": { "s": "default" }"#,
            "sandbox_policies.s: stands in `sandboxes` too",
        ),
        (
            r#""sandbox_policies": { "s": "gold" }"#,
            "sandbox_policies.s: expected a name out of egress_policies (default), found \"gold\"",
        ),
        (r#""sandboxes": { "a b": {} }"#, "sandboxes[\"a b\"]: expected a name"),
        (r#""sandbox_policies": { "": "default" }"#, "sandbox_policies[\"\"]: expected a name"),
    ]);
    refused_alone(&[(
        r#""sandboxes": { "s": {} }"#,
        "sandboxes.s: names no policy, and egress_policies has no `default`",
    )]);
}

#[test]
fn all_faults_are_found_at_once() {
    let text = r#"{
        "egress_config": { "sandbox_identity": ["x"], "secret_grace": "1", "proxy_hosts": ["a b"] },
        "egress_services": { "A": { "base_url": "nowhere", "allowed_paths": ["x"], "mode": "y" } },
        "egress_policies": { "t": { "allowed_services": ["b"], "rate_limits": { "c": { "requests_per_hour": -9 } } } },
        "sandboxes": { "s": { "policy": "u", "tokens": [{ "id": "", "sha256": "x", "expires_at": "y" }] } },
        "egress_credentials": { "d": { "type": "bearer" }, "A": { "type": "bearer", "source": "x", "hosts": ["a/b"] } }
    }"#;
    let secrets = r#"{ "egress_credentials": { "A": { "username": "x" } } }"#;
    let faults = compile(text, secrets, Strictness::Production).map(|_| ()).unwrap_err();
    assert_eq!(faults.len(), 18, "{faults:#?}");
}

/// A message is short however many names there are.
#[test]
fn known_names_are_few() {
    let services: Vec<String> =
        (0..500).map(|n| format!(r#""s{n:03}": {{ "base_url": "https://a" }}"#)).collect();
    let text = format!(
        r#"{{ "egress_services": {{ {} }}, "egress_policies": {{ "t": {{ "allowed_services": ["x"] }} }} }}"#,
        services.join(",")
    );
    let faults = compile(&text, "{}", Strictness::Production).map(|_| ()).unwrap_err();
    assert!(faults[0].contains("s018, s019 and 480 more)"), "{faults:?}");
}
