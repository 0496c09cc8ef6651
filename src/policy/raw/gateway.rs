//! `gateway_config.json`.

use super::object::object;
use super::text::{Digest, Entries, Secret, Text};

object! {
    /// The whole of `gateway_config.json`.
    pub struct GatewayFile<'a> {
        /// Settings of the gateway as a whole.
        gateway_config: Options<'a>,
        /// Who may call.
        api_keys: Vec<ApiKey<'a>>,
        /// How often, by the name of the tier.
        rate_limit_tiers: Entries<'a, Tier<'a>>,
        /// What may be called, in the order in which it is tried.
        rules: Vec<Rule<'a>>,
    }
}

object! {
    /// `gateway_config`: settings of the gateway as a whole.
    pub struct Options<'a> {
        /// Whether any key is accepted while `api_keys` is empty.
        allow_any_key: bool,
        /// Whether a request that came without TLS is refused.
        require_https: bool,
        /// Accepted for the sake of older files; no body is read.
        max_request_body_bytes: i64,
        /// How many proxies in front of Envoy may be believed about the client's address.
        trusted_hops: i64,
        /// The request headers that may carry a key.
        credential_headers: Vec<Text<'a>>,
        /// Which headers tell the client its limits.
        ratelimit_headers: Text<'a>,
        /// Whether an edit may lose more than half of the keys.
        allow_shrink: bool,
        /// For the reader of the file.
        description: Text<'a>,
    }
}

object! {
    /// One of `api_keys`: one caller.
    pub struct ApiKey<'a> {
        /// The name under which the caller is logged and counted.
        id: Text<'a>,
        /// The key itself.
        key: Secret<'a>,
        /// The SHA-256 of the key, as 64 hexadecimal digits.
        key_sha256: Digest<'a>,
        /// Up to two keys with lifetimes of their own, for rotation.
        keys: Vec<KeySlot<'a>>,
        /// Whether it may be used.
        enabled: bool,
        /// What rules call it.
        role: Text<'a>,
        /// A name out of `rate_limit_tiers`.
        rate_limit_tier: Text<'a>,
        /// For the reader of the file.
        description: Text<'a>,
        /// The customer that the caller belongs to.
        tenant: Text<'a>,
        /// What it may do, in the words of the rules.
        scopes: Vec<Text<'a>>,
        /// RFC 3339; before it the key is refused.
        not_before: Text<'a>,
        /// RFC 3339; from then on the key is refused.
        expires_at: Text<'a>,
        /// The networks it may call from.
        allowed_cidrs: Vec<Text<'a>>,
    }
}

object! {
    /// One of an [`ApiKey`]'s `keys`.
    pub struct KeySlot<'a> {
        /// The key itself.
        key: Secret<'a>,
        /// The SHA-256 of the key, as 64 hexadecimal digits.
        key_sha256: Digest<'a>,
        /// RFC 3339; before it the key is refused.
        not_before: Text<'a>,
        /// RFC 3339; from then on the key is refused.
        expires_at: Text<'a>,
        /// For the reader of the file.
        description: Text<'a>,
    }
}

object! {
    /// One of `rate_limit_tiers`. -1 is unlimited, 0 denies all.
    pub struct Tier<'a> {
        /// Requests in any 60 seconds.
        requests_per_minute: i64,
        /// Requests in any 3,600 seconds.
        requests_per_hour: i64,
        /// For the reader of the file.
        description: Text<'a>,
    }
}

object! {
    /// One of `rules`.
    pub struct Rule<'a> {
        /// The name under which it is logged.
        id: Text<'a>,
        /// For the reader of the file.
        description: Text<'a>,
        /// The hosts it is for, as patterns.
        hosts: Vec<Text<'a>>,
        /// The paths it is for, as patterns.
        paths: Vec<Text<'a>>,
        /// The methods it allows.
        methods: Vec<Text<'a>>,
        /// `none` where no key is asked for.
        auth: Text<'a>,
        /// The roles of which the caller needs one.
        roles: Vec<Text<'a>>,
        /// The tenants of which the caller needs one.
        tenants: Vec<Text<'a>>,
        /// The scopes of which the caller needs all.
        scopes: Vec<Text<'a>>,
        /// `shadow` where denials are only logged.
        mode: Text<'a>,
        /// The request headers that may carry a key, instead of the gateway's own.
        credential_headers: Vec<Text<'a>>,
        /// The encoded characters that its paths may hold.
        allow_encoded: Vec<Text<'a>>,
    }
}
