//! Header names: those we vouch for towards the upstream, and those that would let it serve another
//! request than the one that was judged.

/// What we tell the upstream about the caller. On every allow each of these is set, or what the
/// client sent under its name is removed.
pub const KEY_ID: &str = "x-authenticated-key-id";
/// See [`KEY_ID`].
pub const ROLE: &str = "x-authenticated-role";
/// See [`KEY_ID`].
pub const TIER: &str = "x-rate-limit-tier";
/// See [`KEY_ID`].
pub const TENANT: &str = "x-tenant";
/// See [`KEY_ID`].
pub const DECISION_ID: &str = "x-gatepost-decision-id";
/// Which of the egress's clusters a request goes to. Envoy's one route asks for it.
pub const ROUTE: &str = "x-gatepost-route";
/// Says to Envoy's route that the service's cookies may reach the agent.
pub const COOKIES: &str = "x-gatepost-cookies";
/// A sandbox's token.
pub const SANDBOX_TOKEN: &str = "x-sandbox-token";
/// What a sandbox calls itself.
pub const SANDBOX_ID: &str = "x-sandbox-id";
/// A credential of agents, which is never a client's to send.
pub const AGENT_SECRET: &str = "x-agent-secret";

/// Names that no client may use towards the upstream, alone or as the beginning of a name.
const OWNED: [&str; 3] = [TIER, TENANT, AGENT_SECRET];
const OWNED_PREFIXES: [&str; 4] = ["x-authenticated-", "x-gatepost-", "x-sandbox-", "x-user-"];

/// Frameworks that honour these serve another method or path than the one in the request line.
const OVERRIDES: [&str; 5] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Only a proxy in front of Envoy has reason to send these; from a client they name another host or
/// path than the one that was judged.
const FORWARDED: [&str; 9] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-host",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-rewrite-uri",
];

/// Whether the upstream may take this name, in lower case, for one of ours.
pub fn is_owned(name: &str) -> bool {
    OWNED.contains(&name) || OWNED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the upstream may serve another request for the sake of this header, which comes from a
/// client or, where there is one, from the proxy that stands between.
pub fn is_override(name: &str, behind_proxy: bool) -> bool {
    OVERRIDES.contains(&name) || (!behind_proxy && FORWARDED.contains(&name))
}

/// Upstreams that pass headers on as environment variables (CGI, WSGI, PHP) do not tell `_` from `-`,
/// and some of them no other character that a name may hold (RFC 9110 section 5.6.2). `None` where the
/// name is its own only reading.
pub fn folded(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (!name.chars().all(plain)).then(|| name.replace(|c| !plain(c), "-"))
}
