//! One policy with something of everything in it, the services that it names, and the world that the
//! tests share that only send requests. Each test has sandboxes of its own, so that none uses up what
//! another may call.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::scene::decision_id;
use crate::world::Protocol;
use crate::world::answer::{Answer, Request};
use crate::world::certificates::{Authority, Certificate};
use crate::world::egress::{Builder, EgressWorld, canary};
use crate::world::upstream_tls::{Recorded, Remote};

/// Sandboxes are called `row-1` and so on, those of another tier `narrow-1`: one for each attack.
const ROWS: usize = 75;

/// The services with a credential, the host of each, and which header its credential is in.
pub(crate) const CREDENTIALED: [(&str, &str, &str); 6] = [
    ("openai", "api.openai.com", "authorization"),
    ("anthropic", "api.anthropic.com", "x-api-key"),
    ("github", "api.github.com", "authorization"),
    ("datadog", "api.datadoghq.com", "dd-api-key"),
    ("slack", "slack.com", "authorization"),
    ("wide", "wide.example.com", "authorization"),
];

/// The token of a sandbox: as long as one that gatepost makes.
pub(crate) fn token(sandbox: &str) -> String {
    format!("gp_sbx_{}", &HEXLOWER.encode(&Sha256::digest(sandbox))[..43])
}

/// One of `sandboxes`, with the token of its name.
pub(crate) fn sandbox(name: &str, policy: &str) -> Value {
    let sha256 = HEXLOWER.encode(&Sha256::digest(token(name)));
    json!({ "policy": policy,
            "tokens": [ { "id": "t1", "sha256": sha256, "expires_at": "9000-01-01T00:00:00Z" } ] })
}

/// A service behind TLS on this machine.
pub(crate) fn service(host: &str, remote: &Remote) -> Value {
    json!({ "base_url": format!("https://{host}:{}", remote.port()), "allow_private_addresses": true })
}

/// The policy that most worlds of their own begin with: these services, and a sandbox `agent` that
/// may call all of them as often as it likes.
pub(crate) fn policy(services: &[(&str, Value)]) -> Value {
    let services: BTreeMap<_, _> = services.iter().cloned().collect();
    json!({
        "egress_services": services,
        "egress_policies": { "all": { "allowed_services": ["*"], "rate_limits": unlimited() } },
        "sandboxes": { "agent": sandbox("agent", "all") },
    })
}

pub(crate) fn unlimited() -> Value {
    json!({ "default": { "requests_per_minute": -1, "requests_per_hour": -1 } })
}

/// A request of a sandbox for a service, by the name of its host.
pub(crate) fn ask(sandbox: &str, service: &str, target: &str) -> Request {
    bare(service, target).header("x-sandbox-token", token(sandbox))
}

/// The same without a token.
pub(crate) fn bare(service: &str, target: &str) -> Request {
    Request::get(target).host(service)
}

/// The shared world.
pub(crate) struct Scene {
    pub(crate) world: EgressWorld,
    pub(crate) remotes: BTreeMap<&'static str, Remote>,
    canaries: BTreeMap<&'static str, String>,
}

/// `None` where this Envoy cannot be an egress proxy.
pub(crate) fn scene() -> Option<&'static Scene> {
    static SCENE: OnceLock<Option<Scene>> = OnceLock::new();
    SCENE.get_or_init(|| EgressWorld::prepare().map(Scene::start)).as_ref()
}

impl Scene {
    fn start(builder: Builder) -> Self {
        let mut remotes: BTreeMap<_, _> =
            CREDENTIALED.iter().map(|&(name, host, _)| (name, Remote::named(&[host]))).collect();
        let other = Authority::new("one that nobody trusts");
        remotes.extend([
            ("maps", Remote::named(&["maps.example.com"])),
            ("open", Remote::named(&["open.example.com"])),
            ("plain", Remote::plain()),
            ("wrong-name", Remote::named(&["elsewhere.example.com"])),
            ("self-signed", Remote::tls(&Certificate::self_signed(&["self-signed.example.com"]))),
            ("other-ca", Remote::tls(&other.certificate(&["other-ca.example.com"]))),
            ("own-ca", Remote::tls(&other.certificate(&["own-ca.example.com"]))),
            ("by-address", Remote::named(&["127.0.0.1"])),
            ("inside", Remote::named(&["inside.example.com"])),
        ]);
        let canaries: BTreeMap<_, _> =
            remotes.keys().map(|&name| (name, canary(&name.replace('-', "")))).collect();
        let authority = builder.path("other-ca.pem");
        std::fs::write(&authority, other.pem()).unwrap();
        let mut config = rows_policy(&remotes);
        config["egress_services"]["own-ca"]["ca_file"] = json!(authority);
        let anthropic = builder.file("anthropic", &format!("{}\n", canaries["anthropic"]));
        config["egress_credentials"] = credentials(&canaries, &anthropic);
        let world = builder
            .env("OPENAI_API_KEY", &canaries["openai"])
            .secrets(json!({ "egress_credentials": {
                "slack": { "type": "bearer", "token": canaries["slack"] } } }))
            .start(&config);
        Self { world, remotes, canaries }
    }

    /// The credential of a service.
    pub(crate) fn canary(&self, service: &str) -> &str {
        &self.canaries[service]
    }

    pub(crate) fn remote(&self, service: &str) -> &Remote {
        &self.remotes[service]
    }

    pub(crate) fn send(&self, request: &Request) -> Answer {
        self.world.send(Protocol::Http1, request)
    }

    /// Sends exactly these bytes; `None` when the connection is closed without a word.
    pub(crate) fn send_bytes(&self, bytes: impl AsRef<[u8]>) -> Option<Answer> {
        self.world.http1().send_bytes(bytes.as_ref())
    }

    /// The requests whose path or query holds this text, and the services that got them.
    pub(crate) fn reached(&self, marker: &str) -> Vec<(&'static str, Recorded)> {
        let all = self.remotes.iter().flat_map(|(&name, remote)| {
            remote.requests().into_iter().map(move |request| (name, request))
        });
        all.filter(|(_, request)| request.target.contains(marker)).collect()
    }

    /// The decision line behind an answer.
    pub(crate) fn decision(&self, answer: &Answer) -> Value {
        let id = decision_id(answer).unwrap_or_else(|| panic!("no decision: {answer:?}"));
        self.world.gatepost.decision(&id)
    }

    /// The answer is a denial of gatepost's with this status, reason and reason behind the reason.
    #[track_caller]
    pub(crate) fn assert_denied(&self, answer: &Answer, wanted: (u16, &str, &str)) {
        let (status, reason, detail) = wanted;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.json()["type"], format!("urn:gatepost:denial:{reason}"), "{answer:?}");
        let decision = self.decision(answer);
        assert_eq!(decision["outcome"], "deny", "{decision}");
        assert_eq!(decision["reason"], reason, "{decision}");
        assert_eq!(decision["detail"].as_str().unwrap_or(""), detail, "{decision}");
    }
}

/// The denials of the egress side that tests meet most: status, reason, reason behind the reason.
pub(crate) const MISSING: (u16, &str, &str) = (401, "credential_missing", "");
pub(crate) const UNKNOWN: (u16, &str, &str) = (401, "credential_invalid", "unknown");
pub(crate) const AMBIGUOUS: (u16, &str, &str) = (400, "credential_ambiguous", "");
pub(crate) const CONTRADICTED: (u16, &str, &str) = (403, "egress_denied", "identity");
pub(crate) const TIER: (u16, &str, &str) = (403, "egress_denied", "tier");
pub(crate) const NO_SERVICE: (u16, &str, &str) = (403, "egress_denied", "unknown_service");
pub(crate) const METHOD: (u16, &str, &str) = (403, "egress_denied", "method");
pub(crate) const PATH: (u16, &str, &str) = (403, "egress_denied", "path");
pub(crate) const PATH_AMBIGUOUS: (u16, &str, &str) = (400, "request_malformed", "path_ambiguous");
pub(crate) const HOST_INVALID: (u16, &str, &str) = (400, "request_malformed", "host_invalid");

/// Everything but the credentials.
fn rows_policy(remotes: &BTreeMap<&str, Remote>) -> Value {
    let host = |name: &str| {
        let known = CREDENTIALED.iter().find(|(service, _, _)| *service == name);
        known.map_or(format!("{name}.example.com"), |(_, host, _)| (*host).to_owned())
    };
    let mut services: BTreeMap<_, _> =
        remotes.iter().map(|(&name, remote)| (name, service(&host(name), remote))).collect();
    let mut edit = |name: &str, changes: Value| {
        let service = services.get_mut(name).unwrap().as_object_mut().unwrap();
        service.extend(changes.as_object().unwrap().clone());
    };
    let port = |name: &str| remotes[name].port();
    edit(
        "openai",
        json!({ "allowed_paths": ["/v1/chat/completions", "/v1/models", "/v1/models/*", "/v1/rows/**"],
                "denied_paths": ["/v1/rows/secret/**"] }),
    );
    edit("anthropic", json!({ "headers": { "anthropic-version": "2023-06-01" } }));
    edit("slack", json!({ "base_url": format!("https://slack.com:{}/api/", port("slack")) }));
    edit("wide", json!({ "allow_encoded": ["/", "%"] }));
    edit("plain", json!({ "base_url": format!("http://plain.example.com:{}", port("plain")) }));
    edit("by-address", json!({ "base_url": format!("https://127.0.0.1:{}", port("by-address")) }));
    edit("inside", json!({ "allow_private_addresses": false }));
    let mut sandboxes: BTreeMap<String, Value> = BTreeMap::new();
    for row in 1..=ROWS {
        for (kind, policy) in [("row", "all"), ("narrow", "narrow")] {
            let name = format!("{kind}-{row}");
            sandboxes.insert(name.clone(), sandbox(&name, policy));
        }
    }
    json!({
        "egress_services": services,
        "egress_policies": {
            "all": { "allowed_services": ["*"], "rate_limits": unlimited() },
            "narrow": { "allowed_services": ["plain"], "rate_limits": unlimited() },
        },
        "sandboxes": sandboxes,
    })
}

/// A credential of each type, from each kind of source.
fn credentials(canaries: &BTreeMap<&str, String>, anthropic: &str) -> Value {
    let bearer = |name: &str| json!({ "type": "bearer", "token": canaries[name] });
    json!({
        "openai": { "type": "bearer", "source": "env:OPENAI_API_KEY" },
        "anthropic": { "type": "api_key", "source": anthropic },
        "github": { "type": "basic", "username": "x-access-token", "password": canaries["github"] },
        "datadog": { "type": "headers", "headers": {
            "dd-api-key": { "token": canaries["datadog"] },
            "dd-application-key": { "token": canaries["datadog"], "prefix": "app-" } } },
        "maps": { "type": "query", "parameter": "key", "token": canaries["maps"] },
        "slack": { "type": "bearer" },
        "wide": bearer("wide"),
        "wrong-name": bearer("wrong-name"),
        "self-signed": bearer("self-signed"),
        "other-ca": bearer("other-ca"),
        "own-ca": bearer("own-ca"),
        "by-address": bearer("by-address"),
        "inside": bearer("inside"),
    })
}
