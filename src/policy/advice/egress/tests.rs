use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::denial::Unavailable;
use crate::policy::credential::Injection;
use crate::policy::destination::ServiceId;
use crate::policy::raw::{self, SecretsFile};

/// 2026-06-01T00:00:00Z
const NOW: Now = Now { unix: Duration::from_hours(494_520), monotonic: Duration::ZERO };

/// Warnings about two files; every credential is there, or is not for this reason.
fn warnings(config: &str, secrets: &str, missing: Option<Unavailable>) -> Vec<String> {
    let file = raw::parse::<EgressFile<'_>>(config).unwrap_or_else(|e| panic!("{config}: {e}"));
    let secrets = raw::parse::<SecretsFile<'_>>(secrets).unwrap();
    let map = compile::egress(&file, Some(&secrets), Strictness::Development)
        .unwrap_or_else(|faults| panic!("{config}: {faults:?}"));
    let supply = || match missing {
        None => Ok(Injection { headers: Box::default(), query: None }),
        Some(why) => Err(why),
    };
    let wanted = map.services.iter().zip((0..).map(ServiceId)).map(|(service, id)| {
        let credentials: HashMap<_, _> = map
            .credentials
            .iter()
            .filter(|known| known.service == id)
            .map(|known| (known.name.clone(), Arc::new(supply())))
            .collect();
        Arc::new(service.target(credentials))
    });
    let wanted = wanted.collect();
    let egress = Egress::new(Arc::new(map), wanted);
    let files = EgressFiles { config: &file, secrets: &secrets };
    let EgressFaults { config, secrets } = advise(files, &egress, Strictness::Development, NOW);
    let shown = |f: &Finding| format!("{}: {}", f.path, f.message);
    let secrets = secrets.iter().map(|finding| format!("secrets: {}", shown(finding)));
    config.iter().map(shown).chain(secrets).collect()
}

#[track_caller]
fn compare(config: &str, secrets: &str, missing: Option<Unavailable>, expected: &[&str]) {
    let found = warnings(config, secrets, missing);
    assert_eq!(found.len(), expected.len(), "{config}\n{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{config}\n{found}\nlacks {expected}");
    }
}

/// A file with nothing that is worth a look, and this service in it.
fn service(fields: &str) -> String {
    quiet(&format!(r#""egress_services": {{ "s": {{ {fields} }} }}"#))
}

fn quiet(rest: &str) -> String {
    format!(r#"{{ {rest}, "egress_policies": {{ "default": {{ "allowed_services": ["*"] }} }} }}"#)
}

#[test]
fn settings_tiers_and_services_that_are_worth_a_look() {
    let base = r#""base_url": "https://a.test""#;
    for (config, expected) in [
        (service(base), &[][..]),
        (
            quiet(r#""egress_config": { "sandbox_identity": ["header"], "allow_shrink": true }"#),
            &[
                "egress_config.sandbox_identity[0]: for development only: believes whatever",
                "egress_config.allow_shrink: switches off the guard",
            ],
        ),
        (
            format!(r#"{{ "egress_services": {{ "s": {{ {base} }} }} }}"#),
            &["egress_services.s: no tier has it"],
        ),
        (
            service(&format!(r#"{base}, "mode": "shadow""#)),
            &["egress_services.s.mode: only watches"],
        ),
        (
            service(&format!(r#"{base}, "headers": {{ "X-Api-Key": "k" }}"#)),
            &["egress_services.s.headers.X-Api-Key: stands here in plain text"],
        ),
        (
            format!(
                r#"{{ "egress_services": {{ "s": {{ {base} }} }}, "egress_policies": {{
                     "default": {{ "rate_limits": {{ "s": {{}}, "default": {{}} }} }},
                     "t": {{ "allowed_services": ["s"], "rate_limits": {{ "s": {{}} }} }} }} }}"#
            ),
            &[
                "egress_policies.t: no sandbox has this tier",
                "egress_policies.default.rate_limits.s: limits nothing",
            ],
        ),
    ] {
        compare(&config, "{}", None, expected);
    }
}

/// A service with a credential that is in order.
fn with_credential(fields: &str) -> String {
    let credential = r#""egress_credentials": { "s": { "type": "bearer", "source": "env:S" } }"#;
    quiet(&format!(r#""egress_services": {{ "s": {{ {fields} }} }}, {credential}"#))
}

#[test]
fn what_an_agent_can_do_with_a_credential() {
    let openai =
        |rest: &str| with_credential(&format!(r#""base_url": "https://api.openai.com", {rest}"#));
    let mints = "egress_services.s.allowed_paths: let POST /v1/realtime/client_secrets pass";
    for (config, expected) in [
        (openai(r#""allowed_paths": ["/v1/chat/**"]"#), &[][..]),
        (
            openai(r#""allowed_methods": ["GET"]"#),
            &["egress_services.s: has a credential and no allowed_paths"],
        ),
        (openai(r#""allowed_paths": ["/**"], "allowed_methods": ["GET"]"#), &[]),
        (openai(r#""allowed_paths": ["/v1/realtime/client*", "/v1/models"]"#), &[mints]),
        (
            openai(r#""allowed_paths": ["/v1/realtime/**"], "denied_paths": ["/v1/realtime/*"]"#),
            &[],
        ),
        (
            openai(r#""allowed_paths": ["/v1/models"], "mode": "shadow""#),
            &[
                "mode: only watches",
                mints,
                "realtime/sessions",
                "admin_api_keys",
                "service_accounts",
            ],
        ),
        (
            with_credential(
                r#""base_url": "https://api.openai.com/v1", "allowed_paths": ["/realtime/client_secrets", "/v1/realtime/sessions"]"#,
            ),
            &[mints],
        ),
        (
            with_credential(
                r#""base_url": "https://api.github.com", "allowed_paths": ["/app/installations/*/access_tokens"]"#,
            ),
            &["let POST /app/installations/1/access_tokens pass"],
        ),
        // Without a credential there is nothing to be had.
        (service(r#""base_url": "https://api.openai.com""#), &[]),
        (
            with_credential(r#""base_url": "https://eu.httpbin.org", "allowed_paths": ["/get"]"#),
            &["egress_services.s.base_url: eu.httpbin.org answers with what it was sent"],
        ),
        (
            with_credential(r#""base_url": "https://nothttpbin.org", "allowed_paths": ["/get"]"#),
            &[],
        ),
    ] {
        compare(&config, "{}", None, expected);
    }
}

#[test]
fn credentials_that_cannot_be_had_or_are_for_all_to_read() {
    let with = |credential: &str| {
        quiet(&format!(
            r#""egress_services": {{ "s": {{ "base_url": "https://a.test", "allowed_paths": ["/a"] }} }},
               "egress_credentials": {{ "s": {credential} }}"#
        ))
    };
    let env = r#"{ "type": "bearer", "source": "env:X" }"#;
    for (credential, secrets, missing, expected) in [
        (env, "{}", None, &[][..]),
        (
            env,
            "{}",
            Some(Unavailable::Unresolved),
            &["egress_credentials.s: env:X is not set here: the service s would answer 503"],
        ),
        (
            r#"{ "type": "bearer", "token": "${A_VARIABLE_OF_NOBODY}" }"#,
            "{}",
            Some(Unavailable::Unresolved),
            &["${A_VARIABLE_OF_NOBODY} is not set here"],
        ),
        (
            r#"{ "type": "bearer" }"#,
            "{}",
            Some(Unavailable::Unresolved),
            &["has neither a source nor a value"],
        ),
        (
            r#"{ "type": "bearer", "source": "file:/x" }"#,
            "{}",
            Some(Unavailable::Unresolved),
            &["file:/x cannot be read here"],
        ),
        (
            r#"{ "type": "headers", "headers": { "a": { "source": "env:A" }, "b": { "source": "env:B" } } }"#,
            "{}",
            Some(Unavailable::Unresolved),
            &["not all of it is here (env:A, env:B)"],
        ),
        (env, "{}", Some(Unavailable::Empty), &["env:X is empty"]),
        (env, "{}", Some(Unavailable::Malformed), &["env:X holds what no request can carry"]),
        (
            r#"{ "type": "basic", "username": "u", "password": "p" }"#,
            "{}",
            None,
            &["egress_credentials.s.password: stands here in plain text"],
        ),
        (
            r#"{ "type": "headers", "headers": { "a": { "token": "k" }, "b": { "token": "" } } }"#,
            "{}",
            None,
            &["egress_credentials.s.headers.a.token: stands here in plain text"],
        ),
        (
            env,
            r#"{ "egress_credentials": { "s": { "token": "k" }, "t": { "type": "bearer" } } }"#,
            None,
            &["secrets: egress_credentials.t: belongs to no service, and is not used"],
        ),
        (
            env,
            r#"{ "egress_credentials": { "t": { "type": "bearer", "service": "s", "source": "env:T" } } }"#,
            Some(Unavailable::Unresolved),
            &["egress_credentials.s: env:X is not", "secrets: egress_credentials.t: env:T is not"],
        ),
    ] {
        compare(&with(credential), secrets, missing, expected);
    }
}

#[test]
fn sandboxes_that_nobody_can_be_and_tokens_that_end_or_do_not() {
    let identity = |ways: &str, sandboxes: &str| {
        quiet(&format!(r#""egress_config": {{ "sandbox_identity": [{ways}] }}, {sandboxes}"#))
    };
    let token =
        |rest: &str| format!(r#""tokens": [{{ "id": "t", "sha256": "{:064x}", {rest} }}]"#, 1);
    let later = r#""expires_at": "2027-01-01T00:00:00Z""#;
    let one = |fields: &str| format!(r#""sandboxes": {{ "a": {{ {fields} }} }}"#);
    let certificate = r#""spiffe_id": "spiffe://x/y""#;
    for (config, expected) in [
        (identity(r#""token""#, &one(&token(later))), vec![]),
        (
            identity(r#""token""#, &one("")),
            vec!["sandboxes.a: has no enabled token (and sandbox_identity takes nothing else)"],
        ),
        (identity(r#""token""#, &one(r#""enabled": false"#)), vec![]),
        (
            identity(
                r#""token""#,
                &one(&format!("{}, {certificate}", token(r#""enabled": false"#))),
            ),
            vec!["sandboxes.a: has no enabled token"],
        ),
        (
            identity(r#""token""#, r#""sandbox_policies": { "b": "default" }"#),
            vec!["sandbox_policies.b: has no enabled token"],
        ),
        (identity(r#""mtls""#, &one(certificate)), vec![]),
        (identity(r#""mtls""#, &one(&token(later))), vec!["sandboxes.a: has no spiffe_id (and"]),
        (identity(r#""mtls", "token""#, &one("")), vec!["has no enabled token and no spiffe_id"]),
        (identity(r#""header""#, &one("")), vec!["for development only"]),
        (
            identity(r#""token""#, &one(&token(r#""expires_at": "2026-05-01T00:00:00Z""#))),
            vec!["sandboxes.a.tokens[0].expires_at: this token has expired"],
        ),
        (
            identity(r#""token""#, &one(&token(r#""expires_at": "2026-06-03T00:00:00Z""#))),
            vec!["sandboxes.a.tokens[0].expires_at: this token expires in 2 days"],
        ),
        (
            identity(r#""token""#, &one(&token(r#""description": "d""#))),
            vec!["sandboxes.a.tokens[0]: never expires"],
        ),
    ] {
        compare(&config, "{}", None, &expected);
    }
    let many: Vec<String> = (0..30)
        .map(|n| format!(r#""s{n}": {{ "tokens": [{{ "id": "t", "sha256": "{n:064x}" }}] }}"#))
        .collect();
    let many = identity(r#""token""#, &format!(r#""sandboxes": {{ {} }}"#, many.join(",")));
    compare(
        &many,
        "{}",
        None,
        &["sandboxes.s0.tokens[0]: the first of 30 tokens that never expire"],
    );
}
