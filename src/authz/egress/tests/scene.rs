//! A small policy with something of everything in it, and how it is asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::authz::decide;
use crate::authz::respond::answer::Answer;
use crate::authz::sample::Sample;
use crate::clock::Now;
use crate::denial::Unavailable;
use crate::policy::credential::{Injection, Secret, Supply};
use crate::policy::destination::{Destination, Host, ServiceId, Tls};
use crate::policy::egress::{
    Egress, Identity, Options, Reach, Sandbox, Service, ServiceMap, Tier, Token,
};
use crate::policy::glob::Glob;
use crate::policy::key::{Networks, Validity};
use crate::policy::rule::{Escapes, Methods, Mode};
use crate::policy::{Limit, Limits, Revision, Snapshot};
use crate::ratelimit::memory::Counters;
use crate::side::Side;

pub(super) const TOKEN: &str = "gp_sbx_good";
pub(super) const NOW: Now =
    Now { unix: Duration::from_secs(1_000), monotonic: Duration::from_secs(1_000) };

fn limits(minute: u32) -> Limits {
    Limits { minute: Limit::AtMost(minute), hour: Limit::Unlimited }
}

fn service(name: &str, base_path: &str) -> Service {
    let methods: Vec<Box<str>> = vec!["GET".into(), "POST".into()];
    Service {
        name: name.into(),
        methods: Methods::new(methods.into()),
        allowed_paths: None,
        denied_paths: Box::default(),
        mode: Mode::Enforce,
        allow_encoded: Escapes::default(),
        destination: Destination {
            tls: Some(Tls { ca_file: None }),
            host: Host::Name(format!("api.{name}.example").into()),
            port: 443,
            private_addresses: false,
        },
        base_path: base_path.into(),
        headers: Box::default(),
        forward_headers: Box::default(),
    }
}

fn sandbox(name: &str, tier: usize) -> Sandbox {
    Sandbox {
        name: name.into(),
        tier,
        enabled: true,
        networks: Networks::Any,
        credentials: HashMap::new(),
        fingerprint: 0,
    }
}

pub(super) fn bearer(value: &str) -> Arc<Supply> {
    let header = ("authorization".into(), Secret::new(format!("Bearer {value}")));
    Arc::new(Ok(Injection { headers: Box::new([header]), query: None }))
}

/// Services: openai (credential, paths), slack (base path, query credential), plain (no credential),
/// shadow (watched, two a minute), broken (no value). Sandboxes: one (all), own (a credential of its
/// own), off (disabled), far (elsewhere). Tiers: all, default (nothing).
pub(super) fn policy(identity: Identity) -> Snapshot {
    let glob = |text: &str| Glob::path(text).unwrap();
    let mut services = vec![
        service("openai", ""),
        service("slack", "/api"),
        service("plain", ""),
        service("shadow", ""),
        service("broken", ""),
    ];
    services[0].allowed_paths = Some(Box::new([glob("/v1/**")]));
    services[0].denied_paths = Box::new([glob("/v1/admin/**")]);
    services[0].headers = Box::new([("anthropic-version".into(), "2023-06-01".into())]);
    services[0].forward_headers = Box::new(["x-custom".into()]);
    services[3].mode = Mode::Shadow;
    services[3].allowed_paths = Some(Box::new([glob("/ok")]));
    let mut own = sandbox("own", 0);
    own.credentials.insert(ServiceId(0), "openai-b".into());
    let off = Sandbox { enabled: false, ..sandbox("off", 0) };
    let nets = Networks::Listed(Box::new(["10.0.0.0/8".parse().unwrap()]));
    let far = Sandbox { networks: nets, ..sandbox("far", 0) };
    let sandboxes = vec![sandbox("one", 0), own, off, far];
    let mut tokens = HashMap::new();
    let mut token = |text: &str, sandbox, enabled, expires_at| {
        let validity = Validity { not_before: None, expires_at };
        let token = Token { id: "t1".into(), sandbox, enabled, validity };
        tokens.insert(Sha256::digest(text).into(), token);
    };
    token(TOKEN, 0, true, None);
    token("gp_sbx_own", 1, true, None);
    token("gp_sbx_off", 2, true, None);
    token("gp_sbx_far", 3, true, None);
    token("gp_sbx_revoked", 0, false, None);
    token("gp_sbx_expired", 0, true, Some(1_000));
    let all = Tier {
        name: "all".into(),
        services: Reach::All,
        limits: HashMap::from([(ServiceId(3), limits(2))]),
        default_limits: limits(1_000),
    };
    let nothing = Tier {
        name: "default".into(),
        services: Reach::Listed(HashSet::from([ServiceId(2)])),
        limits: HashMap::new(),
        default_limits: limits(3),
    };
    let map = ServiceMap {
        options: Options {
            identity,
            proxy_hosts: Box::new(["egress".into()]),
            secret_grace: Duration::ZERO,
            allow_shrink: false,
        },
        service_ids: (0..)
            .zip(&services)
            .map(|(place, service)| (service.name.clone(), ServiceId(place)))
            .collect(),
        sandbox_places: (0..).zip(&sandboxes).map(|(n, s)| (s.name.clone(), n)).collect(),
        spiffe_ids: HashMap::from([("spiffe://test/one".into(), 0)]),
        services,
        tiers: vec![all, nothing],
        sandboxes,
        credentials: Vec::new(),
        default_tier: Some(1),
        tokens,
    };
    let query =
        Injection { headers: Box::default(), query: Some(Secret::new("appid=slack-secret")) };
    let supplies = [
        HashMap::from([
            ("openai".into(), bearer("openai-secret")),
            ("openai-b".into(), bearer("own-secret")),
        ]),
        HashMap::from([("slack".into(), Arc::new(Ok(query)))]),
        HashMap::new(),
        HashMap::from([("shadow".into(), bearer("shadow-secret"))]),
        HashMap::from([("broken".into(), Arc::new(Err(Unavailable::Empty)))]),
    ];
    let targets = map.services.iter().zip(supplies);
    let targets = targets.map(|(service, supply)| Arc::new(service.target(supply))).collect();
    Snapshot {
        revision: Revision("r".into()),
        generation: 1,
        gateway: None,
        egress: Some(Egress::new(Arc::new(map), targets)),
    }
}

pub(super) const TOKENS: Identity = Identity { token: true, mtls: false, header: false };

pub(super) fn sample(host: &str, path: &str, headers: &[(&str, &str)]) -> Sample {
    let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Sample {
        method: "GET".to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        headers: headers.collect(),
        source_ip: Some("192.0.2.7".to_owned()),
        ..Sample::default()
    }
}

/// The answer, and reason and detail of the denial, if it is one: `reason/detail`.
pub(super) fn ask(snapshot: &Snapshot, counters: &Counters, sample: &Sample) -> (Answer, String) {
    let bytes = sample.encode();
    let decision = decide(Side::Egress, snapshot, counters, NOW, "d", &bytes);
    let printed = format!("{decision:?}");
    assert!(!printed.contains("-secret"), "{printed}");
    let verdict = decision.denial().map_or(decision.recorded().name().to_owned(), |denial| {
        format!("{}/{}", denial.reason(), denial.detail())
    });
    (Answer::read(&decision.response()).unwrap(), verdict)
}

pub(super) fn verdict(snapshot: &Snapshot, sample: &Sample) -> String {
    ask(snapshot, &Counters::new(), sample).1
}
