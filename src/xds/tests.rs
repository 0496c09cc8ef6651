//! What the tests of the parts are made of, and all parts together against a model of Envoy.

mod properties;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::destination::{Destination, Host, ServiceId, Tls};
use crate::policy::egress::{DEFAULT_LIMITS, Egress, Identity, Options, Reach, Service, Tier};
use crate::policy::egress::{ServiceMap, Target};
use crate::policy::rule::{Escapes, Methods, Mode};

/// `https://HOST:PORT`
pub(super) fn https(host: &str, port: u16) -> Destination {
    let host = host.parse().map_or_else(|_name| Host::Name(host.into()), Host::Address);
    Destination { tls: Some(Tls { ca_file: None }), host, port, private_addresses: false }
}

/// A service of this name that is there.
fn service(name: &str, destination: &Destination) -> Service {
    Service {
        name: name.into(),
        methods: Methods::default(),
        allowed_paths: None,
        denied_paths: Box::default(),
        mode: Mode::Enforce,
        allow_encoded: Escapes::default(),
        destination: destination.clone(),
        base_path: Box::default(),
        headers: Box::default(),
        forward_headers: Box::default(),
    }
}

/// Where a service of this name goes.
pub(super) fn target(name: &str, destination: &Destination) -> Target {
    service(name, destination).target(HashMap::new())
}

/// An egress side with these services.
pub(super) fn egress<'s>(services: impl IntoIterator<Item = (&'s str, Destination)>) -> Egress {
    let services: Vec<_> = services.into_iter().map(|(name, to)| service(name, &to)).collect();
    let ids = services.iter().enumerate();
    let service_ids = ids.map(|(id, service)| (service.name.clone(), ServiceId(id))).collect();
    let wanted = services.iter().map(|it| Arc::new(it.target(HashMap::new()))).collect();
    let map = ServiceMap {
        options: Options {
            identity: Identity { token: true, mtls: false, header: false },
            proxy_hosts: Box::default(),
            secret_grace: Duration::ZERO,
            allow_shrink: false,
        },
        services,
        tiers: vec![Tier {
            name: "all".into(),
            services: Reach::All,
            limits: HashMap::new(),
            default_limits: DEFAULT_LIMITS,
        }],
        sandboxes: Vec::new(),
        credentials: Vec::new(),
        default_tier: None,
        service_ids,
        sandbox_places: HashMap::new(),
        spiffe_ids: HashMap::new(),
        tokens: HashMap::new(),
    };
    Egress::new(Arc::new(map), wanted)
}
