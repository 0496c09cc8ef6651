//! One record as its line.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::audit::Ids;
use crate::denial::{Denial, Invalid};

/// A record without anything that may be absent.
pub(in crate::audit) fn bare(ids: &Ids) -> Record<'static> {
    let outcome = Outcome::Deny(Denial::CredentialInvalid(Invalid::Expired));
    Record::new(Now::read(), ids.next(), Side::Gateway, outcome)
}

/// A record of everyday length.
pub(in crate::audit) fn typical(ids: &Ids) -> Record<'static> {
    const LIMITS: &[Limit] = &[
        Limit { window: Window::Minute, remaining: 59, limit: 60 },
        Limit { window: Window::Hour, remaining: 999, limit: 1_000 },
    ];
    Record {
        latency: Duration::from_nanos(1_849),
        rule: Some("orders-read"),
        key_id: Some("acme-production"),
        role: Some("user"),
        tier: Some("standard"),
        tenant: Some("acme"),
        method: Some("GET"),
        host: Some("api.example.com"),
        path: Some("/v1/orders/8812/items"),
        client: Some("203.0.113.9".parse().unwrap()),
        limits: LIMITS,
        revision: Some("9f86d081884c7d65"),
        generation: Some(3),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        request_id: Some("8b7f6e5d-4c3b-4a29-9817-060504030201"),
        ..Record::new(Now::read(), ids.next(), Side::Gateway, Outcome::Allow)
    }
}

/// The line read back, after a check that it is one line without control characters.
fn written(record: &Record<'_>) -> Value {
    let mut body = Vec::new();
    record.write(&mut body);
    let line = format!("{{{}", str::from_utf8(&body).unwrap());
    let text = line.strip_suffix('\n').unwrap();
    assert!(!text.contains(char::is_control), "{line:?}");
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_line_says_what_was_decided_and_leaves_out_what_is_absent() {
    let ids = Ids::new().unwrap();
    let now = Now { unix: Duration::new(1_772_323_199, 1_000), monotonic: Duration::ZERO };
    let full = Record { now, path: Some("/a?token=canary"), ..typical(&ids) };
    let bare = Record { now, ..self::bare(&ids) };
    let shadow = Record { outcome: Outcome::Shadow(Denial::RateLimited(Window::Hour)), ..bare };
    assert_eq!(
        written(&full),
        serde_json::json!({
            "type": "decision", "ts": "2026-02-28T23:59:59.000001Z",
            "decision_id": full.decision_id.as_str(), "side": "gateway", "outcome": "allow",
            "rule": "orders-read", "key_id": "acme-production", "role": "user",
            "tier": "standard", "tenant": "acme", "method": "GET", "host": "api.example.com",
            "path": "/a", "client": "203.0.113.9", "revision": "9f86d081884c7d65",
            "limits": {
                "minute": {"remaining": 59, "limit": 60},
                "hour": {"remaining": 999, "limit": 1000},
            },
            "generation": 3, "latency_us": 1.8, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "request_id": "8b7f6e5d-4c3b-4a29-9817-060504030201",
        })
    );
    assert_eq!(
        written(&bare),
        serde_json::json!({
            "type": "decision", "ts": "2026-02-28T23:59:59.000001Z",
            "decision_id": bare.decision_id.as_str(), "side": "gateway", "outcome": "deny",
            "reason": "credential_invalid", "detail": "expired", "latency_us": 0.0,
        })
    );
    let shadow = written(&shadow);
    assert_eq!((&shadow["outcome"], &shadow["detail"]), (&"shadow".into(), &"hour".into()));
}

/// A record with this text in every field that takes one.
fn filled<'a>(ids: &Ids, text: &'a str, limits: &'a [Limit]) -> Record<'a> {
    let some = Some(text);
    Record {
        latency: Duration::MAX,
        rule: some,
        key_id: some,
        role: some,
        tier: some,
        tenant: some,
        method: some,
        host: some,
        path: some,
        client: Some("2001:db8:ffff:ffff:ffff:ffff:255.255.255.255".parse().unwrap()),
        limits,
        revision: some,
        generation: Some(u64::MAX),
        trace_id: some,
        request_id: some,
        ..bare(ids)
    }
}

#[test]
fn the_longest_line_keeps_its_bound() {
    let ids = Ids::new().unwrap();
    let limits = [Limit { window: Window::Minute, remaining: u64::MAX, limit: u64::MAX }; 9];
    for text in ["x", "\"", "\u{1}", "é", "€", "\u{10348}", "\u{202e}"] {
        let text = text.repeat(MAX_LINE);
        let mut body = Vec::new();
        let record = filled(&ids, &text, &limits);
        record.write(&mut body);
        let head = "{\"v\":1,\"seq\":18446744073709551615,".len();
        assert!(body.len() + head <= MAX_LINE, "{} bytes", body.len() + head);
        assert_eq!(written(&record)["truncated"], true);
    }
}

#[test]
fn of_what_a_client_writes_no_secret_is_kept() {
    let ids = Ids::new().unwrap();
    for (host, kept) in [("user:secret@h", "h"), ("a@b@h:80", "h:80"), ("h", "h")] {
        assert_eq!(written(&Record { host: Some(host), ..bare(&ids) })["host"], kept);
    }
    for (id, kept) in [
        ("2c9a1a3e-58a1-4d0f-9f0e-1d6c8f0b7a11", true),
        ("request_7.a", true),
        (&*"a".repeat(65), false),
        ("Bearer secret", false),
        ("a=b", false),
    ] {
        let line = written(&Record { request_id: Some(id), ..bare(&ids) });
        assert_eq!(line["request_id"] == id, kept, "{id}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_out_of_its_field(text in "[\\PC\\x00-\\x1f\"\\\\,:{}\u{7f}-\u{9f}\u{2028}]{0,5}") {
        let ids = Ids::new().unwrap();
        let line = written(&filled(&ids, &text, &[]));
        let names: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let fields = [
            "rule", "key_id", "role", "tier", "tenant", "method", "revision", "trace_id",
        ];
        for name in fields {
            prop_assert_eq!(&line[name], &text);
        }
        prop_assert_eq!(&line["host"], text.rsplit('@').next().unwrap());
        let others = [
            "type", "ts", "decision_id", "side", "outcome", "reason", "detail", "path", "client",
            "generation", "latency_us", "host",
        ];
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let id = text.chars().all(plain).then_some("request_id");
        prop_assert_eq!(names, fields.into_iter().chain(others).chain(id).collect::<BTreeSet<_>>());
    }
}
