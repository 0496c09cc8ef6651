use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::denial::Unavailable;
use crate::policy::credential::{Credential, Header, Kind, Source};
use crate::policy::destination::{Destination, Host, ServiceId, Tls};
use crate::policy::egress::{Identity, Options, Service, ServiceMap, Target};
use crate::policy::rule::{Escapes, Methods, Mode};

/// `secret_grace` of [`map`], in seconds.
pub(crate) const GRACE: u64 = 300;

/// A map of services at `NAME.test`, with these credentials.
pub(crate) fn map(services: &[&str], credentials: Vec<Credential>) -> ServiceMap {
    let destination = |name: &str| Destination {
        tls: Some(Tls { ca_file: None }),
        host: Host::Name(format!("{name}.test").into()),
        port: 443,
        private_addresses: false,
    };
    let service = |name: &&str| Service {
        name: (*name).into(),
        methods: Methods::new(["GET".into()].into()),
        allowed_paths: None,
        denied_paths: Box::default(),
        mode: Mode::Enforce,
        allow_encoded: Escapes::default(),
        destination: destination(name),
        base_path: "".into(),
        headers: Box::default(),
        forward_headers: Box::default(),
    };
    let names = services.iter().enumerate();
    ServiceMap {
        options: Options {
            identity: Identity { token: true, mtls: false, header: false },
            proxy_hosts: Box::default(),
            secret_grace: Duration::from_secs(GRACE),
            allow_shrink: false,
        },
        services: services.iter().map(service).collect(),
        tiers: Vec::new(),
        sandboxes: Vec::new(),
        credentials,
        default_tier: None,
        service_ids: names.map(|(place, &name)| (name.into(), ServiceId(place))).collect(),
        sandbox_places: HashMap::new(),
        spiffe_ids: HashMap::new(),
        tokens: HashMap::new(),
    }
}

/// A bearer token of the first service.
pub(crate) fn bearer(name: &str, value: Source) -> Credential {
    let header = Header { name: "authorization".into(), prefix: "Bearer ".into(), value };
    of(name, Kind::Headers([header].into()))
}

/// A credential of the first service.
pub(crate) fn of(name: &str, kind: Kind) -> Credential {
    Credential { name: name.into(), service: ServiceId(0), kind }
}

/// Writes a file that is its owner's alone.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// What a request to the first service gets of a credential: lines of `NAME: VALUE`, or the query.
pub(crate) fn injected(targets: &[Arc<Target>], name: &str) -> Result<String, Unavailable> {
    let supply = targets[0].credentials.get(name).expect("a supply");
    let injection = supply.as_ref().as_ref().map_err(|why| *why)?;
    let headers = injection.headers.iter();
    let lines = headers.map(|(name, value)| format!("{name}: {}", value.expose()));
    let query = injection.query.iter().map(|query| query.expose().to_owned());
    Ok(lines.chain(query).collect::<Vec<_>>().join("\n"))
}

/// What is logged meanwhile.
pub(crate) fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().expect("no panic").clone();
    String::from_utf8(bytes).expect("text")
}
