//! `gatepost explain`.

use super::{CANARY, Policy, run_with_stdin};

/// One key of every state, and rules of every kind.
fn policy() -> Policy {
    Policy::new(&format!(
        r#"{{
  "gateway_config": {{ "trusted_hops": 1 }},
  "api_keys": [
    {{ "id": "acme-1", "key": "{CANARY}", "role": "customer", "tenant": "acme", "scopes": ["read"],
      "rate_limit_tier": "standard" }},
    {{ "id": "off-1", "key": "{CANARY}-off", "enabled": false }},
    {{ "id": "late-1", "key": "{CANARY}-late", "expires_at": "2026-01-01T00:00:00Z" }},
    {{ "id": "office-1", "key": "{CANARY}-office", "allowed_cidrs": ["10.0.0.0/8"] }}
  ],
  "rate_limit_tiers": {{ "default": {{}}, "standard": {{ "requests_per_minute": 60, "requests_per_hour": 1000 }} }},
  "rules": [
    {{ "id": "open", "paths": ["/health"], "auth": "none" }},
    {{ "id": "hosted", "hosts": ["*.example.com"], "paths": ["/**"], "methods": ["GET"] }},
    {{ "id": "admin", "paths": ["/admin/**"], "roles": ["admin", "ops"], "tenants": ["acme"], "scopes": ["read", "write"] }},
    {{ "id": "watched", "paths": ["/watched/**"], "roles": ["admin"], "mode": "shadow" }},
    {{ "id": "hook", "paths": ["/hook"], "credential_headers": ["x-hook-key"] }},
    {{ "id": "all", "paths": ["/a/**", "/b/**"] }}
  ]
}}"#
    ))
}

/// Each row: options, standard input, and pieces of the answer.
#[test]
fn every_step_and_why() {
    let policy = policy();
    let late = format!("{CANARY}-late");
    let off = format!("{CANARY}-off");
    let office = format!("{CANARY}-office");
    let rows: [(&str, &str, &[&str]); 17] = [
        (
            "--path /a/b?key=in-the-query",
            "",
            &[
                "GET /a/b at gateway.test, from an unknown address",
                "open: no, the path matches none of /health",
                "hosted: no, the host matches none of *.example.com",
                "all: /a/** matches",
                "caller: refused\n  x-api-key: not sent\n  authorization: not sent\n  no credential is presented",
                "requirements: not reached",
                "decision: deny: credential_missing",
                "to the client: HTTP 401, gRPC 16\n  www-authenticate: Bearer realm=\"gatepost\"",
            ],
        ),
        (
            "--path /a/b --key-stdin",
            CANARY,
            &[
                "x-api-key: presents a credential",
                "it is the key acme-1: role customer, tenant acme, scopes read, tier standard",
                "tier standard: at most 60 in any minute, at most 1000 in any hour",
                "decision: allow\n",
                "  set x-authenticated-key-id: acme-1",
                "  remove x-api-key",
                "ratelimit-policy: \"minute\";q=60;w=60",
            ],
        ),
        (
            "--path /health -H x-api-key:-",
            CANARY,
            &["asks for no credential", "auth is none", "decision: allow"],
        ),
        (
            "--path /a/b -H authorization:-",
            "Bearer nobody\n",
            &["none of the 4 keys has this value", "credential_invalid, unknown"],
        ),
        (
            "--path /a/b --key-stdin",
            &off,
            &["it is the key off-1", "disabled: refused", "credential_invalid, disabled"],
        ),
        (
            "--path /a/b --key-stdin --time 2026-01-01T00:00:00Z",
            &late,
            &["the key is good from ever to 2026-01-01T00:00:00Z: expired: refused"],
        ),
        (
            "--path /a/b --key-stdin --time 2025-01-01T00:00:00Z",
            &late,
            &["good now", "decision: allow"],
        ),
        (
            "--path /a/b --key-stdin --source-ip 10.0.0.1",
            &office,
            &[
                "the client address unknown (number 2 from the right of x-forwarded-for) is not within, refused: 10.0.0.0/8",
                "credential_invalid, wrong_network",
            ],
        ),
        (
            "--path /a/b --key-stdin -H x-forwarded-for:10.1.1.1,192.0.2.1",
            &office,
            &[
                "the client address 10.1.1.1 (number 2 from the right of x-forwarded-for) is within 10.0.0.0/8",
            ],
        ),
        (
            "--path /a/b --key-stdin -H authorization:Bearer_other",
            CANARY,
            &["they differ", "credential_ambiguous"],
        ),
        (
            "--path /admin/x --key-stdin",
            CANARY,
            &[
                "not met: a role of admin, ops; the caller has customer",
                "  met: a tenant of acme; the caller has acme",
                "not met: all scopes of read, write",
                "forbidden, role",
            ],
        ),
        (
            "--path /watched/x --key-stdin",
            CANARY,
            &[
                "shadow mode",
                "requirements: passed, being only watched",
                "decision: shadow: passes; enforced it would be denied, forbidden, role",
            ],
        ),
        (
            "--path /x --host API.example.com:443 --method POST --key-stdin",
            CANARY,
            &[
                "host api.example.com",
                "POST is not among the methods of the rule hosted",
                "the rule hosted allows GET",
                "forbidden, method",
            ],
        ),
        ("--path /nowhere --key-stdin", CANARY, &["no rule covers this", "forbidden, no_rule"]),
        (
            "--path /a/../b",
            "",
            &[
                "decode: refused\n  host gateway.test\n  the path may mean one thing here",
                "request_malformed, path_ambiguous",
            ],
        ),
        (
            "--path /a --host a@b",
            "",
            &["the host is no host name", "request_malformed, host_invalid"],
        ),
        (
            "--path /a --rule nope --key-stdin",
            CANARY,
            &["the route names the rule nope", "forbidden, rule_unknown"],
        ),
    ];
    for (options, stdin, pieces) in rows {
        let mut args = vec!["explain", policy.path()];
        args.extend(options.split(' '));
        let ran = run_with_stdin(&args, stdin);
        ran.is(0, pieces);
        assert!(!ran.out.contains("in-the-query"), "the query is shown: {ran:?}");
        let json = run_with_stdin(&[&args[..], &["--format", "json"]].concat(), stdin);
        let json = json.is(0, &[]).json();
        let decision = json["decision"].as_str().unwrap();
        assert!(ran.out.contains(&format!("\ndecision: {decision}")), "{options}: {json:#}");
        assert_eq!(json["steps"].as_array().unwrap().len(), 5);
    }
}

#[test]
fn a_header_of_a_rule_and_the_others_beside_it() {
    let policy = policy();
    let args = ["explain", policy.path(), "--path", "/hook", "-H", "X-Hook-Key: -"];
    let args = [&args[..], &["-H", "authorization: Basic dTpw"]].concat();
    let ran = run_with_stdin(&args, CANARY);
    ran.is(0, &["x-hook-key: presents a credential", "remove x-hook-key", "decision: allow"]);
    assert!(!ran.out.contains("remove authorization"), "{ran:?}");
}

#[test]
fn the_key_goes_where_the_gateway_looks_first() {
    let file = |headers: &str| {
        Policy::new(&format!(
            r#"{{ "gateway_config": {{ "credential_headers": [{headers}] }}, "rate_limit_tiers": {{ "default": {{}} }},
                 "api_keys": [{{ "id": "acme-1", "key": "{CANARY}" }}] }}"#
        ))
    };
    for headers in [r#""authorization""#, r#""x-key", "authorization""#] {
        let policy = file(headers);
        let args = ["explain", policy.path(), "--path", "/api/v1/a", "--key-stdin"];
        run_with_stdin(&args, CANARY).is(0, &["it is the key acme-1", "decision: allow"]);
    }
}

/// What is mistyped is told without a piece of it, since it may be a key.
#[test]
fn wrong_input_is_told_and_not_repeated() {
    let policy = policy();
    let header = format!("x-api-key={CANARY}");
    let path = policy.path();
    let rows: [(&[&str], &str, i32, &str); 12] = [
        (&[path, "--path", "/", "-H", &header], "", 2, "-H, number 1: expected 'NAME: VALUE'"),
        (&[path, "--path", "/", "-H", CANARY], "", 2, "-H, number 1: expected 'NAME: VALUE'"),
        (&[path, "--path", "/", "-H", "x-api-key:", CANARY], "", 2, "quote a header as a whole"),
        (&[path, "--path", "/", "-H", "a: -", "-H", "b: -"], "", 2, "can be read once only"),
        (&[path, "--path", "/", "-H", "a: -", "--key-stdin"], "", 2, "can be read once only"),
        (&[path, "--path", "/", "--key-stdin"], "", 2, "found nothing"),
        (
            &[path, "--path", "/", "--key-stdin"],
            "canary-key-9f86d081884c7d659a2f\nx",
            2,
            "of one line",
        ),
        (&[path, "--path", "/", "--source-ip", "here"], "", 2, "--source-ip"),
        (&[path, "--path", "/", "--time", "noon"], "", 2, "expected a date such as"),
        (&[path], "", 2, "--path <PATH>"),
        (&["policy/none", "--path", "/"], "", 1, "policy/none: No such file or directory"),
        (&["policy/data", "--path", "/"], "", 1, "api_keys[0].key: is the development key"),
    ];
    for (args, stdin, code, piece) in rows {
        run_with_stdin(&[&["explain"], args].concat(), stdin).is(code, &[piece]);
    }
}
