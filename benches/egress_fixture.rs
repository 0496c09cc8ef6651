//! The egress policy and the requests that the benches measure with.

use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};

use crate::fixture::{Sent, encoded};

/// How many services each tier has, where there are as many.
const REACH: u32 = 100;

/// The text of a sandbox's token.
pub(crate) fn token(sandbox: u32) -> String {
    format!("gp_sbx_token_of_the_benches_{sandbox:08}_0123456789abcd")
}

/// An `egress_config.json` with so many services, each with a credential, tiers of a hundred services
/// each whose limits are too high to be reached, and so many sandboxes with a token each.
pub(crate) fn config(services: u32, sandboxes: u32) -> String {
    let tiers = tiers(services);
    let services_text = entries(services, &|n| {
        format!(
            r#""service-{n}": {{ "base_url": "https://api-{n}.example.com/v1", "allowed_methods": ["GET", "POST"], "allowed_paths": ["/chat/completions", "/models/*", "/files/**"] }}"#
        )
    });
    let tiers_text = entries(tiers, &|n| {
        let names =
            (0..REACH.min(services)).map(|m| format!("\"service-{}\"", service(services, n, m)));
        let names = names.collect::<Vec<_>>().join(", ");
        format!(
            r#""tier-{n}": {{ "allowed_services": [{names}], "rate_limits": {{ "default": {{ "requests_per_minute": 100000000, "requests_per_hour": 1000000000 }} }} }}"#
        )
    });
    let sandboxes_text = entries(sandboxes, &|n| {
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(token(n)));
        format!(
            r#""sandbox-{n}": {{ "policy": "tier-{}", "allowed_cidrs": ["10.1.0.0/16"], "tokens": [{{ "id": "t", "sha256": "{digest}", "expires_at": "2099-01-01T00:00:00Z" }}] }}"#,
            n % tiers
        )
    });
    let credentials_text =
        entries(services, &|n| format!(r#""service-{n}": {{ "type": "bearer" }}"#));
    format!(
        "{{ \"egress_services\": {{ {services_text} }},\n\"egress_policies\": {{ {tiers_text} }},\n\"sandboxes\": {{ {sandboxes_text} }},\n\"egress_credentials\": {{ {credentials_text} }} }}\n"
    )
}

/// The `egress_secrets.json` beside it: a value for each credential.
pub(crate) fn secrets(services: u32) -> String {
    let values = entries(services, &|n| {
        format!(r#""service-{n}": {{ "token": "value-of-the-benches-{n:08}-0123456789abcdef" }}"#)
    });
    format!("{{ \"egress_credentials\": {{ {values} }} }}\n")
}

/// The bytes of a `CheckRequest` as Envoy sends it for a sandbox's call by an SDK: as many headers as
/// the browser's request of the gateway, and about as many bytes.
pub(crate) fn check_request(services: u32, sandbox: u32) -> Vec<u8> {
    // The sandboxes of one tier call different ones of its services (Knuth's multiplicative hash).
    let which = sandbox.wrapping_mul(2_654_435_761) >> 16;
    let host = format!("service-{}", service(services, sandbox % tiers(services), which));
    let path = "/files/8c1f0a52/content?limit=50&cursor=b2Zmc2V0";
    let authorization = format!("Bearer {}", token(sandbox));
    let headers = [
        (":authority", host.as_str()),
        (":path", path),
        (":method", "GET"),
        (":scheme", "http"),
        ("user-agent", "OpenAI/Python 2.8.1"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("authorization", &authorization),
        ("x-stainless-lang", "python"),
        ("x-stainless-package-version", "2.8.1"),
        ("x-stainless-os", "Linux"),
        ("x-stainless-runtime-version", "3.14.0"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "2f9c1f1e-3c0f-4b7e-9a43-6f1d8f4e7d21"),
    ];
    let peer = Ipv4Addr::from(0x0a01_0000 | (sandbox & 0xffff)).to_string();
    encoded(&Sent { host: &host, path, scheme: "http", peer: &peer }, &headers)
}

/// The number of one of the services that a tier has.
fn service(services: u32, tier: u32, which: u32) -> u32 {
    (tier * 10 + which % REACH) % services
}

fn tiers(services: u32) -> u32 {
    (services / 10).max(1)
}

fn entries(number: u32, entry: &dyn Fn(u32) -> String) -> String {
    (0..number).map(entry).collect::<Vec<_>>().join(",\n")
}
