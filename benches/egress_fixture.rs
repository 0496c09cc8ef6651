//! The egress policy whose loading is measured.

use sha2::{Digest, Sha256};

/// An `egress_config.json` with so many services, each with a credential, a tenth as many tiers of a
/// hundred services each, and so many sandboxes with a token each.
pub(crate) fn egress(services: u32, sandboxes: u32) -> String {
    let entries = |number: u32, entry: &dyn Fn(u32) -> String| {
        (0..number).map(entry).collect::<Vec<_>>().join(",\n")
    };
    let tiers = services / 10;
    let services_text = entries(services, &|n| {
        format!(
            r#""service-{n}": {{ "base_url": "https://api-{n}.example.com/v1", "allowed_methods": ["GET", "POST"], "allowed_paths": ["/chat/completions", "/models/*", "/files/**"] }}"#
        )
    });
    let tiers_text = entries(tiers, &|n| {
        let names = (0..100).map(|m| format!("\"service-{}\"", (n * 7 + m) % services));
        let names = names.collect::<Vec<_>>().join(", ");
        format!(
            r#""tier-{n}": {{ "allowed_services": [{names}], "rate_limits": {{ "default": {{ "requests_per_minute": 600 }} }} }}"#
        )
    });
    let sandboxes_text = entries(sandboxes, &|n| {
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(n.to_be_bytes()));
        format!(
            r#""sandbox-{n}": {{ "policy": "tier-{}", "allowed_cidrs": ["10.1.0.0/16"], "tokens": [{{ "id": "t", "sha256": "{digest}", "expires_at": "2030-01-01T00:00:00Z" }}] }}"#,
            n % tiers
        )
    });
    let credentials_text = entries(services, &|n| {
        format!(r#""service-{n}": {{ "type": "bearer", "source": "env:KEY_{n}" }}"#)
    });
    format!(
        "{{ \"egress_services\": {{ {services_text} }},\n\"egress_policies\": {{ {tiers_text} }},\n\"sandboxes\": {{ {sandboxes_text} }},\n\"egress_credentials\": {{ {credentials_text} }} }}\n"
    )
}
