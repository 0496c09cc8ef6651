//! An egress side by hand.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gatepost::policy::destination::{Destination, Host, ServiceId, Tls};
use gatepost::policy::egress::{self, Egress, Identity, Options, ServiceMap};
use gatepost::policy::live::Live;
use gatepost::policy::rule::{Escapes, Methods, Mode};
use gatepost::policy::{Revision, Snapshot};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

/// A service, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) to: Destination,
}

impl Service {
    /// `https://HOST:PORT`
    pub(super) fn https(name: &str, host: &str, port: u16) -> Self {
        let host = host.parse().map_or_else(|_name| Host::Name(host.into()), Host::Address);
        let tls = Some(Tls { ca_file: None });
        let to = Destination { tls, host, port, private_addresses: false };
        Self { name: name.to_owned(), to }
    }

    /// The same without TLS, at an address that may be private.
    pub(super) fn http(name: &str, host: &str, port: u16) -> Self {
        let Self { name, to } = Self::https(name, host, port);
        Self { name, to: Destination { tls: None, private_addresses: true, ..to } }
    }

    pub(super) fn ca_file(mut self, path: &str) -> Self {
        self.to.tls = Some(Tls { ca_file: Some(path.into()) });
        self
    }

    /// The name of its cluster.
    pub(super) fn cluster(&self) -> String {
        self.to.cluster(&self.name).into()
    }
}

/// A policy with these services.
pub(super) fn live(services: &[Service]) -> Arc<Live> {
    let revision = Revision("0".into());
    let egress = Some(egress(services));
    Arc::new(Live::new(Snapshot { revision, generation: 1, gateway: None, egress }))
}

/// As a reload lets other services hold.
pub(super) fn edit(live: &Live, services: &[Service]) {
    live.update(|current| {
        let next = egress(services).after(current.egress.as_ref().unwrap());
        let generation = current.generation + 1;
        Some(Snapshot { generation, egress: Some(next), ..current.clone() })
    });
}

/// The cluster that a service's requests go to at this moment.
pub(super) fn held(live: &Live, service: &str) -> String {
    let snapshot = live.load_full();
    let egress = snapshot.egress.as_ref().unwrap();
    let target = egress.live.iter().find(|target| *target.service == *service);
    target.unwrap().cluster.to_string()
}

fn egress(services: &[Service]) -> Egress {
    let services: Vec<_> = services.iter().map(service).collect();
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
        tiers: Vec::new(),
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

fn service(service: &Service) -> egress::Service {
    egress::Service {
        name: service.name.as_str().into(),
        methods: Methods::default(),
        allowed_paths: None,
        denied_paths: Box::default(),
        mode: Mode::Enforce,
        allow_encoded: Escapes::default(),
        destination: service.to.clone(),
        base_path: Box::default(),
        headers: Box::default(),
        forward_headers: Box::default(),
    }
}

/// The certificate of some authority, PEM.
pub(super) fn authority() -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}
