//! `egress_config.json` and `egress_secrets.json`.

use super::object::object;
use super::text::{Digest, Entries, Secret, Text};

object! {
    /// The whole of `egress_config.json`.
    pub struct EgressFile<'a> {
        /// Settings of the egress as a whole.
        egress_config: EgressOptions<'a>,
        /// What may be called, by the name under which sandboxes call it.
        egress_services: Entries<'a, Service<'a>>,
        /// Who may call what how often, by the name of the tier.
        egress_policies: Entries<'a, EgressTier<'a>>,
        /// Sandboxes of which nothing but the tier is said.
        sandbox_policies: Entries<'a, Text<'a>>,
        /// Who calls.
        sandboxes: Entries<'a, Sandbox<'a>>,
        /// What services ask for, by name.
        egress_credentials: Entries<'a, Credential<'a>>,
    }
}

object! {
    /// The whole of `egress_secrets.json`.
    pub struct SecretsFile<'a> {
        /// Fields that win over those of the same name in `egress_config.json`.
        egress_credentials: Entries<'a, Credential<'a>>,
    }
}

object! {
    /// `egress_config`: settings of the egress as a whole.
    pub struct EgressOptions<'a> {
        /// What proves who is calling: `token`, `mtls`, `header`.
        sandbox_identity: Vec<Text<'a>>,
        /// Hosts under which the first segment of the path names the service.
        proxy_hosts: Vec<Text<'a>>,
        /// How long a secret that cannot be read any more is used, such as `5m`.
        secret_grace: Text<'a>,
        /// Whether an edit may lose more than half of the sandboxes or services.
        allow_shrink: bool,
        /// For the reader of the file.
        description: Text<'a>,
    }
}

object! {
    /// One of `egress_services`.
    pub struct Service<'a> {
        /// For the reader of the file.
        display_name: Text<'a>,
        /// For the reader of the file.
        description: Text<'a>,
        /// Scheme, host, port and what stands before each path.
        base_url: Text<'a>,
        /// The methods it allows.
        allowed_methods: Vec<Text<'a>>,
        /// The paths it allows, as patterns.
        allowed_paths: Vec<Text<'a>>,
        /// The paths it refuses, whatever is allowed.
        denied_paths: Vec<Text<'a>>,
        /// `shadow` where methods, paths and limits are only watched.
        mode: Text<'a>,
        /// The encoded characters that its paths may hold.
        allow_encoded: Vec<Text<'a>>,
        /// Headers that are set where they are absent. A credential is the likeliest mistake.
        headers: Entries<'a, Secret<'a>>,
        /// Further headers of the agent that pass beside a credential.
        forward_headers: Vec<Text<'a>>,
        /// Whether addresses of private networks may be dialled.
        allow_private_addresses: bool,
        /// The authorities that sign its certificate, a PEM file.
        ca_file: Text<'a>,
    }
}

object! {
    /// One of `egress_policies`: a tier.
    pub struct EgressTier<'a> {
        /// The services it has; `*` alone for all.
        allowed_services: Vec<Text<'a>>,
        /// How often, by service or `default`.
        rate_limits: Entries<'a, RateLimit<'a>>,
        /// For the reader of the file.
        description: Text<'a>,
    }
}

object! {
    /// One of `rate_limits`.
    pub struct RateLimit<'a> {
        /// Requests in any 60 seconds.
        requests_per_minute: i64,
        /// The same, by its older name.
        tokens_per_minute: i64,
        /// Requests in any 3,600 seconds.
        requests_per_hour: i64,
        /// The same, by its older name.
        tokens_per_hour: i64,
        /// For the reader of the file.
        description: Text<'a>,
    }
}

object! {
    /// One of `sandboxes`.
    pub struct Sandbox<'a> {
        /// A name out of `egress_policies`.
        policy: Text<'a>,
        /// Whether it may call at all.
        enabled: bool,
        /// What proves that it is this one.
        tokens: Vec<SandboxToken<'a>>,
        /// Where it calls from.
        allowed_cidrs: Vec<Text<'a>>,
        /// The URI in its certificate.
        spiffe_id: Text<'a>,
        /// Credentials of its own, by service.
        credentials: Entries<'a, Text<'a>>,
        /// For the reader of the file.
        description: Text<'a>,
    }
}

object! {
    /// One of a sandbox's `tokens`.
    pub struct SandboxToken<'a> {
        /// Its name within the sandbox.
        id: Text<'a>,
        /// The SHA-256 of the token, as 64 hexadecimal digits.
        sha256: Digest<'a>,
        /// Whether it may be used.
        enabled: bool,
        /// RFC 3339: from when.
        not_before: Text<'a>,
        /// RFC 3339: until when.
        expires_at: Text<'a>,
        /// For the reader of the file.
        description: Text<'a>,
    }
}

object! {
    /// One of `egress_credentials`, in either file.
    pub struct Credential<'a> {
        /// `bearer`, `api_key`, `basic`, `headers` or `query`.
        kind ("type"): Text<'a>,
        /// The service it belongs to, if that is not the one of its own name.
        service: Text<'a>,
        /// The hosts it may reach; the service's must be among them.
        hosts: Vec<Text<'a>>,
        /// Where the value comes from: `env:NAME`, `file:PATH`.
        source: Text<'a>,
        /// The value itself.
        token: Secret<'a>,
        /// `api_key`: the header that carries it.
        header: Text<'a>,
        /// `api_key`: what stands before the value.
        prefix: Text<'a>,
        /// `basic`: the user's name.
        username: Text<'a>,
        /// `basic`: the password itself.
        password: Secret<'a>,
        /// `headers`: each header with its value.
        headers: Entries<'a, CredentialHeader<'a>>,
        /// `query`: the name of the parameter.
        parameter: Text<'a>,
        /// For the reader of the file.
        description: Text<'a>,
    }
}

object! {
    /// One of a credential's `headers`.
    pub struct CredentialHeader<'a> {
        /// Where the value comes from.
        source: Text<'a>,
        /// The value itself.
        token: Secret<'a>,
        /// What stands before the value.
        prefix: Text<'a>,
    }
}
