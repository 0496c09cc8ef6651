//! What is accepted, and what it becomes.

use std::time::Duration;

use super::{BASE, compile};
use crate::policy::compile::Strictness;
use crate::policy::credential::{Credential, Kind, Source};
use crate::policy::egress::{DEFAULT_LIMITS, Identity, ServiceMap};
use crate::policy::rule::Mode;
use crate::policy::{Limit, Limits};

fn map(text: &str) -> ServiceMap {
    with_secrets(text, "{}")
}

fn with_secrets(text: &str, secrets: &str) -> ServiceMap {
    compile(text, secrets, Strictness::Production).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// Every value of a credential, with what stands before it.
fn shown(credential: &Credential) -> Vec<String> {
    let value = |source: &Source| match source {
        Source::Literal(text) => format!("={}", text.expose()),
        Source::Environment(_) | Source::File(_) | Source::Unset(_) | Source::Nowhere => {
            source.to_string()
        }
    };
    match &credential.kind {
        Kind::Headers(headers) => headers
            .iter()
            .map(|header| format!("{}: {}{}", header.name, header.prefix, value(&header.value)))
            .collect(),
        Kind::Basic { username, password } => vec![format!("basic {username}:{}", value(password))],
        Kind::Query { name, value: from } => vec![format!("?{name}={}", value(from))],
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let map = map(&format!("{{ {BASE} }}"));
    assert_eq!(map.options.identity, Identity { token: true, mtls: false, header: false });
    let hosts: Vec<&str> = map.options.proxy_hosts.iter().map(|host| &**host).collect();
    assert_eq!(hosts, ["egress", "egress-proxy", "localhost"]);
    assert_eq!(map.options.secret_grace, Duration::from_mins(5));
    let (id, openai) = map.service("openai").unwrap();
    assert_eq!(openai.methods.iter().collect::<Vec<_>>(), ["GET", "POST"]);
    assert!(openai.allows_path("/") && openai.allows_path("/any/thing"));
    assert_eq!(openai.mode, Mode::Enforce);
    assert!(!openai.destination.private_addresses && openai.base_path.is_empty());
    assert_eq!(*map.tier(None).unwrap().limits(id), DEFAULT_LIMITS);
    assert!(map.tier(None).unwrap().has(id));
    let nothing = map_of_nothing();
    assert!(nothing.services.is_empty() && nothing.tier(None).is_none());
}

fn map_of_nothing() -> ServiceMap {
    map("{}")
}

#[test]
fn everything_can_be_said() {
    let hash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let map = map(&r#"{ "_comment": "as documented",
        "egress_config": { "sandbox_identity": ["mtls", "token"], "proxy_hosts": ["Proxy."], "secret_grace": "0s",
                           "allow_shrink": true, "description": "d" },
        "egress_services": {
            "egress": { "display_name": "E", "description": "d", "base_url": "https://E.test:8443/api/",
                        "allowed_methods": ["DELETE"], "allowed_paths": ["/a/**"], "denied_paths": ["/a/b"],
                        "mode": "shadow", "allow_encoded": ["/", "%"], "headers": { "X-A": "b" },
                        "forward_headers": ["X-C"], "allow_private_addresses": true, "ca_file": "/ca.pem" },
            "other": { "base_url": "http://192.0.2.1:81" } },
        "egress_policies": {
            "all": { "allowed_services": ["*"], "rate_limits": { "default": { "tokens_per_minute": -1, "tokens_per_hour": 0 },
                                                               "egress": { "requests_per_minute": 5 } } },
            "none": {} },
        "sandbox_policies": { "short": "none" },
        "sandboxes": { "long": { "policy": "all", "enabled": false, "allowed_cidrs": ["10.0.0.0/8"], "description": "d",
                                 "spiffe_id": "spiffe://example.org/ns/a_b.c/sa-d", "credentials": { "egress": "two" },
                                 "tokens": [{ "id": "t", "sha256": "HASH", "enabled": false, "description": "d",
                                              "not_before": "2026-01-01T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z" }] } },
        "egress_credentials": { "two": { "service": "egress", "type": "bearer", "hosts": ["x", "e.TEST"], "description": "d" } }
    }"#.replace("HASH", hash));
    assert_eq!(map.options.identity, Identity { token: true, mtls: true, header: false });
    assert_eq!(*map.options.proxy_hosts[0], *"proxy");
    assert_eq!((map.options.secret_grace, map.options.allow_shrink), (Duration::ZERO, true));
    let (id, service) = map.service("egress").unwrap();
    assert_eq!(&*service.destination.authority(), "e.test:8443");
    assert_eq!(&*service.base_path, "/api");
    assert!(service.methods.contains("DELETE") && !service.methods.contains("GET"));
    assert!(
        service.allows_path("/a/c") && !service.allows_path("/a/b") && !service.allows_path("/")
    );
    assert_eq!(service.mode, Mode::Shadow);
    assert!(service.allow_encoded.slash && service.allow_encoded.percent);
    assert_eq!(*service.headers, [("x-a".into(), "b".into())]);
    assert_eq!(*service.forward_headers, ["x-c".into()]);
    let tls = service.destination.tls.as_ref().unwrap();
    assert_eq!(tls.ca_file.as_deref(), Some("/ca.pem"));
    assert!(service.destination.private_addresses);
    let (other, plain) = map.service("other").unwrap();
    assert!(plain.destination.tls.is_none() && plain.destination.port == 81);
    let long = map.sandbox("long").unwrap();
    let tier = map.tier(Some(long)).unwrap();
    assert!(tier.has(id) && tier.has(other));
    let limits = Limits { minute: Limit::AtMost(5), hour: Limit::Unlimited };
    assert_eq!(*tier.limits(id), limits);
    let limits = Limits { minute: Limit::Unlimited, hour: Limit::AtMost(0) };
    assert_eq!(*tier.limits(other), limits);
    assert!(!long.enabled && long.credentials.get(&id).map(|name| &**name) == Some("two"));
    let short = map.sandbox("short").unwrap();
    assert!(short.enabled && !map.tier(Some(short)).unwrap().has(id));
    assert_eq!(map.spiffe("spiffe://example.org/ns/a_b.c/sa-d").map(|s| &*s.name), Some("long"));
    let digest = data_encoding::HEXLOWER.decode(hash.as_bytes()).unwrap().try_into().unwrap();
    let (token, of) = map.token(&digest).unwrap();
    assert!(&*of.name == "long" && &*token.id == "t" && !token.enabled);
    assert_eq!(token.validity.expires_at, Some(1_798_761_600));
    assert!(map.tier(None).is_none(), "there is no tier `default`");
}

#[test]
fn a_bare_header_proves_who_it_is_in_development_alone() {
    let text = r#"{ "egress_config": { "sandbox_identity": ["token", "header"] } }"#;
    let map = compile(text, "{}", Strictness::Development).unwrap();
    assert_eq!(map.options.identity, Identity { token: true, mtls: false, header: true });
    assert!(compile(text, "{}", Strictness::Production).is_err());
}

/// (config, secrets, what is injected)
#[test]
fn credentials_become_what_is_said_and_the_secrets_win() {
    for (config, secrets, expected) in [
        (r#""type": "bearer", "token": "a""#, "", "authorization: Bearer =a"),
        (r#""type": "bearer", "source": "env:A""#, "", "authorization: Bearer env:A"),
        (r#""type": "bearer""#, "", "authorization: Bearer nowhere"),
        (r#""type": "bearer", "token": """#, "", "authorization: Bearer ="),
        (r#""type": "api_key", "token": "a""#, "", "x-api-key: =a"),
        (
            r#""type": "api_key", "header": "Authorization", "prefix": "Key ", "source": "file:/a""#,
            "",
            "authorization: Key file:/a",
        ),
        (r#""type": "basic", "username": "u", "password": "a""#, "", "basic u:=a"),
        (r#""type": "basic", "username": "", "token": "a""#, "", "basic :=a"),
        (r#""type": "basic", "username": "u", "source": "env:A""#, "", "basic u:env:A"),
        (r#""type": "query", "parameter": "key", "token": "a""#, "", "?key==a"),
        (
            r#""type": "headers", "headers": { "A": { "token": "a", "prefix": "p " }, "b": { "source": "env:B" }, "c": {} }"#,
            "",
            "a: p =a, b: env:B, c: nowhere",
        ),
        // Within one file the source wins, as in the original's own.
        (
            r#""type": "bearer", "token": "${A_VARIABLE_OF_NOBODY}", "source": "env:A""#,
            "",
            "authorization: Bearer env:A",
        ),
        (
            r#""type": "bearer", "token": "x ${A_VARIABLE_OF_NOBODY}""#,
            "",
            "authorization: Bearer ${A_VARIABLE_OF_NOBODY}",
        ),
        // Between the files, the secrets.
        (
            r#""type": "bearer", "source": "env:A""#,
            r#""type": "bearer", "token": "s""#,
            "authorization: Bearer =s",
        ),
        (r#""type": "bearer", "source": "env:A""#, r#""token": """#, "authorization: Bearer ="),
        (
            r#""type": "bearer", "token": "a""#,
            r#""source": "env:B""#,
            "authorization: Bearer env:B",
        ),
        (r#""type": "bearer", "token": "a""#, r#""description": "d""#, "authorization: Bearer =a"),
        (r#""type": "api_key", "header": "x-a""#, r#""token": "s""#, "x-a: =s"),
        (r#""type": "api_key", "header": "x-a""#, r#""header": "x-b", "token": "s""#, "x-b: =s"),
        (r#""type": "basic", "username": "u", "token": "a""#, r#""password": "s""#, "basic u:=s"),
        (r#""type": "bearer""#, r#""type": "api_key", "token": "s""#, "x-api-key: =s"),
        (
            r#""type": "headers", "headers": { "a": { "source": "env:A", "prefix": "p " }, "b": { "token": "b" } }"#,
            r#""headers": { "A": { "token": "s" }, "c": { "token": "c" } }"#,
            "a: p =s, c: =c, b: =b",
        ),
        ("", r#""type": "bearer", "token": "s""#, "authorization: Bearer =s"),
    ] {
        let whole = |fields: &str| match fields {
            "" => String::new(),
            fields => format!(r#""egress_credentials": {{ "openai": {{ {fields} }} }}"#),
        };
        let comma = if config.is_empty() { "" } else { "," };
        let text = format!("{{ {BASE}{comma} {} }}", whole(config));
        let map = with_secrets(&text, &format!("{{ {} }}", whole(secrets)));
        assert_eq!(map.credentials.len(), 1, "{config} | {secrets}");
        let found = shown(&map.credentials[0]).join(", ");
        assert_eq!(found, expected, "{config} | {secrets}");
    }
}

/// The file that the original's own script writes always has four, whatever services there are.
#[test]
fn what_only_the_secrets_have_and_no_service_uses_is_left_out() {
    let secrets = r#"{ "_comment": "generated", "egress_credentials": {
        "openai": { "type": "bearer", "token": "sk-o" }, "anthropic": { "type": "api_key", "token": "sk-a" },
        "github": { "type": "bearer", "token": "${GITHUB_TOKEN}" }, "slack": {} } }"#;
    let map = with_secrets(&format!("{{ {BASE} }}"), secrets);
    let names: Vec<_> = map.credentials.iter().map(|known| &*known.name).collect();
    assert_eq!(names, ["openai"]);
}
