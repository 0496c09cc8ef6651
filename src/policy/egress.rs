//! The egress side: which sandbox may call which service, and what goes out for it.
//!
//! Three things, since they change at different times: the [`ServiceMap`] is what the files say; a
//! [`Target`] is where one service's requests go and with which credential, always of one version of
//! the files; and [`Egress::live`] says which target holds at this moment. A service whose
//! destination was edited keeps its whole old target, credential included, until Envoy knows the new
//! one: no request ever takes a new credential to an old destination, or the reverse.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::credential::{Credential, Supply};
use super::destination::{Destination, ServiceId};
use super::glob::Glob;
use super::key::{Digest, Networks, Validity};
use super::rule::{Escapes, Methods, Mode};
use super::{Limit, Limits};

/// The egress side of a snapshot.
#[derive(Clone, Debug)]
pub struct Egress {
    /// What the files say.
    pub map: Arc<ServiceMap>,
    /// Where requests are to go, by the service's number: what the files and the secrets say now.
    pub wanted: Arc<[Arc<Target>]>,
    /// Where they go at this moment, by the service's number.
    pub live: Arc<[Arc<Target>]>,
}

/// Everything that `egress_config.json` and `egress_secrets.json` say, but for secret values.
#[derive(Debug)]
pub struct ServiceMap {
    /// Settings of the whole side.
    pub options: Options,
    /// The services, in file order; their place is their [`ServiceId`].
    pub services: Vec<Service>,
    /// The tiers, in file order.
    pub tiers: Vec<Tier>,
    /// The sandboxes, in file order.
    pub sandboxes: Vec<Sandbox>,
    /// The credentials, in file order.
    pub credentials: Vec<Credential>,
    /// The place of the tier `default`, which unknown sandboxes have.
    pub default_tier: Option<usize>,
    /// Services by name.
    pub service_ids: HashMap<Box<str>, ServiceId>,
    /// Places of sandboxes by name.
    pub sandbox_places: HashMap<Box<str>, usize>,
    /// Places of sandboxes by SPIFFE ID.
    pub spiffe_ids: HashMap<Box<str>, usize>,
    /// Tokens by the SHA-256 of their text.
    pub tokens: HashMap<Digest, Token>,
}

/// `egress_config`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What proves who is calling.
    pub identity: Identity,
    /// Hosts under which a service is named by the first segment of the path.
    pub proxy_hosts: Box<[Box<str>]>,
    /// For how long the last good value of a secret file that cannot be read is used.
    pub secret_grace: Duration,
    /// The file says that losing most of its sandboxes or services is meant.
    pub allow_shrink: bool,
}

/// `sandbox_identity`: what proves who is calling. At least one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A sandbox token.
    pub token: bool,
    /// The SPIFFE ID of a certificate that Envoy has verified.
    pub mtls: bool,
    /// The bare word of the caller, `X-Sandbox-ID`: for development only.
    pub header: bool,
}

/// One of `egress_services`: what may be asked of it, and where it is.
#[derive(Debug)]
pub struct Service {
    /// `[a-z0-9-]+`
    pub name: Box<str>,
    /// The methods allowed.
    pub methods: Methods,
    /// The paths allowed; `None` for all.
    pub allowed_paths: Option<Box<[Glob]>>,
    /// The paths refused, whatever is allowed.
    pub denied_paths: Box<[Glob]>,
    /// Whether method, path and limits are only watched.
    pub mode: Mode,
    /// Which otherwise ambiguous escapes a path may carry.
    pub allow_encoded: Escapes,
    /// Where it is.
    pub destination: Destination,
    /// What stands before each path: empty, or with a leading and without a trailing slash.
    pub base_path: Box<str>,
    /// Headers that are set where the agent has not sent them.
    pub headers: Box<[(Box<str>, Box<str>)]>,
    /// Further headers, in lower case, that pass to a service with a credential.
    pub forward_headers: Box<[Box<str>]>,
}

/// One of `egress_policies`.
#[derive(Debug)]
pub struct Tier {
    /// Its name.
    pub name: Box<str>,
    /// The services that it has.
    pub services: Reach,
    /// The limits of single services.
    pub limits: HashMap<ServiceId, Limits>,
    /// The limits of the others.
    pub default_limits: Limits,
}

/// The services that a tier has.
#[derive(Debug)]
pub enum Reach {
    /// `*`
    All,
    /// These.
    Listed(std::collections::HashSet<ServiceId>),
}

/// One of `sandboxes` or `sandbox_policies`.
#[derive(Debug)]
pub struct Sandbox {
    /// Its name.
    pub name: Box<str>,
    /// The place of its tier.
    pub tier: usize,
    /// Whether it may call at all.
    pub enabled: bool,
    /// Where it calls from: the address at the other end of the TCP connection.
    pub networks: Networks,
    /// The credentials that are its own, by service. Others have the credential of the service's
    /// name.
    pub credentials: HashMap<ServiceId, Box<str>>,
    /// Everything that the file says about it, to tell what an edit changed.
    pub fingerprint: u64,
}

/// One of a sandbox's `tokens`.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its name, unique within the sandbox.
    pub id: Box<str>,
    /// The place of its sandbox.
    pub sandbox: usize,
    /// Whether it has not been revoked.
    pub enabled: bool,
    /// When it is good.
    pub validity: Validity,
}

/// Where one service's requests go, and with what: of one version of the files, whole.
#[derive(Debug)]
pub struct Target {
    /// The service's name.
    pub service: Box<str>,
    /// Where it is.
    pub destination: Destination,
    /// The cluster that Envoy has for it: [`Destination::cluster`].
    pub cluster: Box<str>,
    /// [`Destination::authority`]
    pub authority: Box<str>,
    /// See [`Service::base_path`].
    pub base_path: Box<str>,
    /// See [`Service::headers`].
    pub headers: Box<[(Box<str>, Box<str>)]>,
    /// See [`Service::forward_headers`].
    pub forward_headers: Box<[Box<str>]>,
    /// Its credentials by name. Where there is one, no request goes out without one.
    pub credentials: HashMap<Box<str>, Arc<Supply>>,
}

/// What a sandbox may call of a service for which its tier sets no limit.
pub const DEFAULT_LIMITS: Limits = Limits { minute: Limit::AtMost(60), hour: Limit::Unlimited };

impl Egress {
    /// A side whose targets all hold at once: there is no older one that Envoy might still know.
    pub fn new(map: Arc<ServiceMap>, wanted: Arc<[Arc<Target>]>) -> Self {
        Self { map, live: Arc::clone(&wanted), wanted }
    }

    /// The same side, entered from `old`: a service that goes elsewhere now keeps its old target
    /// until [`Egress::promote`]. What is new, and what changes no destination, holds at once.
    #[must_use]
    pub fn after(self, old: &Self) -> Self {
        let live = self.map.services.iter().zip(&*self.wanted).map(|(service, wanted)| {
            let before = old.map.service(&service.name).and_then(|(id, _)| old.live.get(id.0));
            match before {
                Some(before) if before.cluster != wanted.cluster => Arc::clone(before),
                Some(_) | None => Arc::clone(wanted),
            }
        });
        let live = live.collect();
        Self { live, ..self }
    }

    /// The same side, where the services that `take` says so of go where they are to go.
    #[must_use]
    pub fn promote(&self, take: impl Fn(&Target) -> bool) -> Self {
        let both = self.live.iter().zip(&*self.wanted);
        let live = both.map(|(live, wanted)| Arc::clone(if take(wanted) { wanted } else { live }));
        Self { map: Arc::clone(&self.map), wanted: Arc::clone(&self.wanted), live: live.collect() }
    }

    /// The targets that are not yet where they are to be: those that hold, and those that wait.
    pub fn pending(&self) -> impl Iterator<Item = (&Arc<Target>, &Arc<Target>)> {
        self.live.iter().zip(&*self.wanted).filter(|(live, wanted)| live.cluster != wanted.cluster)
    }
}

impl ServiceMap {
    /// The service of this name, in lower case.
    pub fn service(&self, name: &str) -> Option<(ServiceId, &Service)> {
        let id = *self.service_ids.get(name)?;
        Some((id, self.services.get(id.0)?))
    }

    /// The token with this digest, and its sandbox.
    pub fn token(&self, digest: &Digest) -> Option<(&Token, &Sandbox)> {
        let token = self.tokens.get(digest)?;
        Some((token, self.sandboxes.get(token.sandbox)?))
    }

    /// The sandbox of this name.
    pub fn sandbox(&self, name: &str) -> Option<&Sandbox> {
        self.sandboxes.get(*self.sandbox_places.get(name)?)
    }

    /// The sandbox with this SPIFFE ID.
    pub fn spiffe(&self, id: &str) -> Option<&Sandbox> {
        self.sandboxes.get(*self.spiffe_ids.get(id)?)
    }

    /// The tier of a sandbox; of an unknown one the tier `default`, if there is one.
    pub fn tier(&self, sandbox: Option<&Sandbox>) -> Option<&Tier> {
        let place = sandbox.map_or(self.default_tier, |sandbox| Some(sandbox.tier))?;
        self.tiers.get(place)
    }
}

impl Tier {
    /// Whether it has the service.
    pub fn has(&self, service: ServiceId) -> bool {
        match &self.services {
            Reach::All => true,
            Reach::Listed(services) => services.contains(&service),
        }
    }

    /// How often one sandbox may call the service.
    pub fn limits(&self, service: ServiceId) -> &Limits {
        self.limits.get(&service).unwrap_or(&self.default_limits)
    }
}

impl Service {
    /// Where its requests go, with these credentials.
    pub fn target(&self, credentials: HashMap<Box<str>, Arc<Supply>>) -> Target {
        Target {
            service: self.name.clone(),
            destination: self.destination.clone(),
            cluster: self.destination.cluster(&self.name),
            authority: self.destination.authority(),
            base_path: self.base_path.clone(),
            headers: self.headers.clone(),
            forward_headers: self.forward_headers.clone(),
            credentials,
        }
    }

    /// Whether the path is allowed, in its canonical form.
    pub fn allows_path(&self, path: &str) -> bool {
        let among = |globs: &[Glob]| globs.iter().any(|glob| glob.matches_path(path));
        !among(&self.denied_paths) && self.allowed_paths.as_deref().is_none_or(among)
    }
}
