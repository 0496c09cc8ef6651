//! Credentials that are refused.

use super::{BASE, one, refused};

/// Of the service `openai`, in either file.
const ALONE: &[(&str, &str)] = &[
    ("{}", ".type: expected a field `type`"),
    (r#"{ "type": "token" }"#, ".type: expected \"bearer\""),
    (r#"{ "type": "bearer", "header": "x-a" }"#, ".header: has no meaning for the type \"bearer\""),
    (
        r#"{ "type": "query", "parameter": "k", "username": "u" }"#,
        ".username: has no meaning for the type \"query\", which takes source, token, parameter",
    ),
    (r#"{ "type": "bearer", "source": "sk-live" }"#, ".source: expected `env:NAME` or"),
    (r#"{ "type": "bearer", "source": "file:relative" }"#, ".source: expected `env:NAME` or"),
    (r#"{ "type": "bearer", "token": "${A" }"#, ".token: expected the name of a variable"),
    (r#"{ "type": "api_key", "header": "host" }"#, ".header: `host` belongs to HTTP"),
    (r#"{ "type": "api_key", "prefix": "a\n" }"#, ".prefix: expected a text of printable"),
    (r#"{ "type": "basic" }"#, ".username: expected a field `username`"),
    (r#"{ "type": "basic", "username": "a:b" }"#, ".username: expected a name without colons"),
    (
        r#"{ "type": "basic", "username": "a", "token": "b", "password": "c" }"#,
        ".password: expected one of `token` and `password`",
    ),
    (r#"{ "type": "headers" }"#, ".headers: expected at least one header"),
    (r#"{ "type": "headers", "headers": { "te": {} } }"#, ".headers.te: `te` belongs to HTTP"),
    (
        r#"{ "type": "headers", "headers": { "a": {}, "A": {} } }"#,
        ".headers.A: `a` stands here twice",
    ),
    (
        r#"{ "type": "headers", "headers": { "a": { "source": "x" } } }"#,
        ".headers.a.source: expected `env:NAME` or",
    ),
    (
        r#"{ "type": "headers", "headers": { "a": { "prefix": " x" } } }"#,
        ".headers.a.prefix: expected a text of printable",
    ),
    (r#"{ "type": "query" }"#, ".parameter: expected a field `parameter`"),
    (r#"{ "type": "query", "parameter": "a=b" }"#, ".parameter: expected a name out of letters"),
    (r#"{ "type": "bearer", "hosts": [] }"#, ".hosts: expected api.openai.com to be among them"),
    (
        r#"{ "type": "bearer", "hosts": ["openai.com", "api.openai.com.evil.test"] }"#,
        ".hosts: expected api.openai.com to be among them, the host of the service openai",
    ),
    (
        r#"{ "type": "bearer", "hosts": ["api.openai.com", "*.openai.com"] }"#,
        ".hosts[1]: expected the name or the address of a host",
    ),
    (
        r#"{ "type": "bearer", "service": "slack" }"#,
        ".service: expected a name out of egress_services (openai, plain), found \"slack\"",
    ),
    (
        r#"{ "type": "bearer", "service": "openai2" }"#,
        ".service: expected a name out of egress_services",
    ),
];

#[test]
fn credentials_that_are_refused_in_either_file() {
    for (credential, expected) in ALONE {
        let text = format!(r#"{{ {BASE}, "egress_credentials": {{ "openai": {credential} }} }}"#);
        one(&text, "{}", &format!("egress_credentials.openai{expected}"));
        // The same in the other file, where it is told of that one.
        let text = format!("{{ {BASE} }}");
        let secrets = format!(r#"{{ "egress_credentials": {{ "openai": {credential} }} }}"#);
        one(&text, &secrets, &format!("secrets: egress_credentials.openai{expected}"));
    }
}

#[test]
fn credentials_that_do_not_fit_their_service_are_refused() {
    refused(&[
        (
            r#""egress_credentials": { "openai-b": { "type": "bearer" } }"#,
            "egress_credentials.openai-b: belongs to no service: name it after one of egress_services (openai, plain)",
        ),
        (
            r#""egress_credentials": { "plain": { "type": "bearer" } }"#,
            "egress_services.plain.base_url: expected https: the credential \"plain\" would travel",
        ),
        (
            r#""egress_credentials": { "a": { "type": "query", "parameter": "k", "service": "plain" } }"#,
            "egress_services.plain.base_url: expected https: the credential \"a\" would travel",
        ),
        (
            r#""egress_credentials": { "a b": { "type": "bearer", "service": "openai" } }"#,
            "egress_credentials[\"a b\"]: expected a name",
        ),
    ]);
    let other = r#""egress_services": { "a": { "base_url": "https://a", "headers": { "Authorization": "x", "x-b": "y" } },
                                        "b": { "base_url": "https://b" } }, "#;
    let with = |credentials| format!(r#"{{ {other} "egress_credentials": {credentials} }}"#);
    for (credentials, expected) in [
        (
            r#"{ "a": { "type": "basic", "username": "u" } }"#,
            "egress_services.a.headers.Authorization: is set by the credential \"a\" already",
        ),
        (
            r#"{ "c": { "type": "headers", "service": "a", "headers": { "X-B": {}, "x-c": {} } } }"#,
            "egress_services.a.headers.x-b: is set by the credential \"c\" already",
        ),
        (
            r#"{ "b": { "type": "api_key", "service": "a" } }"#,
            "egress_credentials.b.service: expected \"b\": a credential with the name of a service",
        ),
    ] {
        one(&with(credentials), "{}", expected);
    }
}
