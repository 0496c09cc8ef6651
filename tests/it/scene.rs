//! One policy with something of everything in it, and the worlds that share it: the shipped Envoy
//! and every minimal one. Tests that only send requests share these.

use std::collections::HashMap;
use std::sync::OnceLock;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::world::answer::{Answer, Request};
use crate::world::envoy::Config;
use crate::world::http1::Http1;
use crate::world::http2::Http2;
use crate::world::{Builder, Protocol, World};

/// The key of an id: 192 bits or more, as text.
pub(crate) fn key(id: &str) -> String {
    format!("{id}.Zt4Vb8Rn3Lp6Yc1k7Jw2mQx9")
}

/// The names that tell the upstream who is calling, and the decision.
pub(crate) const OURS: [&str; 5] = [
    "x-authenticated-key-id",
    "x-authenticated-role",
    "x-rate-limit-tier",
    "x-tenant",
    "x-gatepost-decision-id",
];

/// How many callers there are that may call once, for tests that use them up: `once-0` and so on.
const ONCE: usize = 12;

/// Callers by name, and rules for each thing that a rule can ask for.
pub(crate) fn policy() -> Value {
    let sha256 = |text: &str| HEXLOWER.encode(&Sha256::digest(text));
    let mut keys = vec![
        json!({ "id": "customer", "key": key("customer"), "role": "customer", "tenant": "acme",
                "scopes": ["agents:read"], "rate_limit_tier": "unlimited" }),
        json!({ "id": "admin", "key": key("admin"), "role": "admin", "tenant": "acme",
                "rate_limit_tier": "unlimited" }),
        json!({ "id": "bare", "key": key("bare"), "rate_limit_tier": "unlimited" }),
        json!({ "id": "hashed", "key_sha256": sha256(&key("hashed")), "rate_limit_tier": "unlimited" }),
        json!({ "id": "disabled", "key": key("disabled"), "enabled": false, "rate_limit_tier": "unlimited" }),
        json!({ "id": "expired", "key": key("expired"), "expires_at": "2020-01-01T00:00:00Z",
                "rate_limit_tier": "unlimited" }),
        json!({ "id": "early", "key": key("early"), "not_before": "9000-01-01T00:00:00Z",
                "rate_limit_tier": "unlimited" }),
        json!({ "id": "elsewhere", "key": key("elsewhere"), "allowed_cidrs": ["203.0.113.0/24", "::1/128"],
                "rate_limit_tier": "unlimited" }),
        json!({ "id": "local", "key": key("local"), "allowed_cidrs": ["127.0.0.0/8"],
                "rate_limit_tier": "unlimited" }),
        json!({ "id": "rotating", "rate_limit_tier": "twice", "keys": [
            { "key": key("rotating-old"), "expires_at": "9000-01-01T00:00:00Z" },
            { "key_sha256": sha256(&key("rotating-new")) } ] }),
        json!({ "id": "rotated", "rate_limit_tier": "unlimited", "keys": [
            { "key": key("rotated-old"), "expires_at": "2020-01-01T00:00:00Z" },
            { "key": key("rotated-new") } ] }),
        json!({ "id": "nothing", "key": key("nothing"), "rate_limit_tier": "nothing" }),
        json!({ "id": "hourly", "key": key("hourly"), "rate_limit_tier": "hourly" }),
        json!({ "id": "twice", "key": key("twice"), "rate_limit_tier": "twice" }),
    ];
    for number in 0..ONCE {
        let id = format!("once-{number}");
        keys.push(json!({ "id": id, "key": key(&id), "rate_limit_tier": "once" }));
    }
    json!({
        "api_keys": keys,
        "rate_limit_tiers": {
            "default": {}, "unlimited": { "requests_per_minute": -1, "requests_per_hour": -1 },
            "once": { "requests_per_minute": 1, "requests_per_hour": 5 },
            "twice": { "requests_per_minute": 2, "requests_per_hour": 10 },
            "hourly": { "requests_per_hour": 1 },
            "nothing": { "requests_per_minute": 0 },
        },
        "rules": [
            { "id": "public", "paths": ["/public/**"], "auth": "none" },
            { "id": "strict", "paths": ["/public/strict/**"] },
            { "id": "rest", "paths": ["/api/v1/**"] },
            { "id": "grpc", "paths": ["/agentd.v1.*/**"] },
            { "id": "admin", "paths": ["/admin/**"], "roles": ["admin"] },
            { "id": "reads", "paths": ["/reads/**"], "methods": ["GET"] },
            { "id": "scoped", "paths": ["/scoped/**"], "scopes": ["agents:read", "agents:write"] },
            { "id": "tenant", "paths": ["/tenant/**"], "tenants": ["globex"] },
            { "id": "shadow", "paths": ["/shadow/**"], "mode": "shadow", "roles": ["nobody"] },
            { "id": "behind", "paths": ["/behind/**"], "credential_headers": ["X-API-Key"] },
            { "id": "files", "paths": ["/files/**"], "auth": "none", "allow_encoded": ["/", "%"] },
            { "id": "host", "hosts": ["api.example.com", "xn--bcher-kva.example", "[2001:db8::1]"],
              "paths": ["/host/**"], "auth": "none" },
        ],
    })
}

/// Every configuration that an operator may run.
pub(crate) const CONFIGS: [Config; 5] = [
    Config::Shipped,
    Config::Minimal { raw_headers: true, normalized_paths: true },
    Config::Minimal { raw_headers: true, normalized_paths: false },
    Config::Minimal { raw_headers: false, normalized_paths: true },
    Config::Minimal { raw_headers: false, normalized_paths: false },
];

/// Whether Envoy runs the shipped file.
pub(crate) fn is_shipped(config: Config) -> bool {
    config == Config::Shipped
}

/// The world with the shipped Envoy, and routes that name their rules.
pub(crate) fn shipped() -> &'static World {
    world(0)
}

/// Every world, with what its Envoy runs.
pub(crate) fn everywhere() -> impl Iterator<Item = (Config, &'static World)> {
    CONFIGS.into_iter().zip((0..CONFIGS.len()).map(world))
}

/// A world in which a check may take its time: how long Envoy waits is not what these tests are
/// about, and a busy machine makes it matter.
pub(crate) fn builder(policy: &Value, config: Config) -> Builder {
    let builder = World::with_policy(policy).envoy(config);
    let service = "envoy_grpc: { cluster_name: gatepost }";
    let patient = format!("{service}, timeout: 15s }}");
    if is_shipped(config) {
        builder.edit_envoy(&format!("{service}, timeout: 0.5s }}"), &patient)
    } else {
        builder.edit_envoy(&format!("{service} }}"), &patient)
    }
}

fn world(number: usize) -> &'static World {
    static WORLDS: [OnceLock<World>; CONFIGS.len()] = [const { OnceLock::new() }; CONFIGS.len()];
    WORLDS[number].get_or_init(|| {
        let builder = builder(&policy(), CONFIGS[number]);
        if is_shipped(CONFIGS[number]) {
            let named = [
                ("/named/nowhere", "nowhere"),
                ("/named/rest", "rest"),
                ("/public/strict", "strict"),
            ];
            let routes = named.map(|(prefix, rule)| route_naming(prefix, rule));
            builder.edit_envoy(FIRST_ROUTE, &(routes.concat() + FIRST_ROUTE)).start()
        } else {
            builder.start()
        }
    })
}

/// What stands before the first route of the shipped file.
pub(crate) const FIRST_ROUTE: &str = "              - name: grpc\n                match:\n";

/// A route of the shipped file for a prefix, whose rule is named.
pub(crate) fn route_naming(prefix: &str, rule: &str) -> String {
    format!(
        "              - match: {{ prefix: \"{prefix}\" }}
                typed_per_filter_config:
                  envoy.filters.http.ext_authz:
                    \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                    check_settings: {{ context_extensions: {{ gatepost.rule: {rule} }} }}
                route: {{ cluster: agentd-http }}
"
    )
}

/// A connection of each kind to one world. Envoy closes some after an answer, and some without one.
pub(crate) struct Clients {
    world: &'static World,
    http1: Option<Http1>,
    http2: Http2,
}

impl Clients {
    pub(crate) fn connect(world: &'static World) -> Self {
        Self { world, http1: None, http2: world.http2() }
    }

    /// `None` where the connection was closed without a word.
    pub(crate) fn send(&mut self, protocol: Protocol, request: &Request) -> Option<Answer> {
        if protocol == Protocol::Http2 {
            if let Ok(answer) = self.http2.try_send(request) {
                return Some(answer);
            }
            self.http2 = self.world.http2();
            return None;
        }
        let mut connection = self.http1.take().unwrap_or_else(|| self.world.http1());
        let answer = connection.try_send(request)?;
        self.http1 = Some(connection).filter(|_| answer.header("connection").is_none());
        Some(answer)
    }
}

/// The id under which an answer was decided: from the problem document, from the gRPC message, or
/// from what the upstream got. `None` where gatepost was not asked.
pub(crate) fn decision_id(answer: &Answer) -> Option<String> {
    if let Some(message) = answer.header("grpc-message") {
        let (_, id) = message.split_once("(decision ")?;
        return Some(id.trim_end_matches(')').to_owned());
    }
    let json: Value = match answer.header("content-type") {
        Some("application/problem+json" | "application/json" | "application/grpc") => answer.json(),
        Some(_) | None => return None,
    };
    let echoed = &json["headers"]["x-gatepost-decision-id"][0];
    json["decision_id"].as_str().or(echoed.as_str()).map(str::to_owned)
}

/// The decision line behind an answer.
pub(crate) fn decision(world: &World, answer: &Answer) -> Value {
    let id = decision_id(answer).unwrap_or_else(|| panic!("no decision: {answer:?}"));
    world.gatepost.process.stdout.wait_for(&format!("the decision line of {id}"), |line| {
        line.contains(&id).then(|| serde_json::from_str(line).unwrap())
    })
}

/// The decision lines of many answers, the newest of which is the last, from `mark` on. Lines come a
/// little after their answers: whoever sends much asks for them once.
pub(crate) fn decisions<'a>(
    world: &World,
    mark: usize,
    answers: impl IntoIterator<Item = &'a Answer>,
) -> HashMap<String, Value> {
    let Some(last) = answers.into_iter().filter_map(decision_id).last() else {
        return HashMap::new();
    };
    let log = &world.gatepost.process.stdout;
    log.wait_from(mark, "the last decision line", |line| line.contains(&last).then_some(()));
    let lines = log.all();
    let lines = lines[mark..].iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (line["decision_id"].as_str().unwrap_or("").to_owned(), line)).collect()
}

/// A path as the most forgiving upstream would resolve it: decoded until nothing changes, `\` taken
/// for `/`, parameters and fragments cut, slashes merged, dot segments followed.
pub(crate) fn resolved(target: &str) -> String {
    let mut path = target.split(['?', '#']).next().unwrap_or("").as_bytes().to_vec();
    loop {
        let decoded = percent_decoded(&path);
        if decoded == path {
            break;
        }
        path = decoded;
    }
    let text = String::from_utf8_lossy(&path).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/').map(|segment| segment.split(';').next().unwrap_or("")) {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Every escape decoded, once.
pub(crate) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let escape = tail.get(..2).filter(|_| *first == b'%');
        let byte = escape.and_then(|digits| HEXLOWER_PERMISSIVE.decode(digits).into_iter().next());
        let (next, length) = byte.map_or((*first, 1), |byte| (byte[0], 3));
        decoded.push(next);
        rest = &rest[length..];
    }
    decoded
}
