//! `sandboxes` and `sandbox_policies`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{CREDENTIALS, Known, ServiceIds, TIERS};
use crate::policy::compile::DEFAULT_TIER;
use crate::policy::compile::value::{self, Findings, shown};
use crate::policy::credential::Credential;
use crate::policy::destination::ServiceId;
use crate::policy::egress::{Sandbox, Tier, Token};
use crate::policy::key::{Digest, Networks};
use crate::policy::locate::Finding;
use crate::policy::place::Place;
use crate::policy::raw::{self, EgressFile, Entries, SandboxToken, Text};

/// SPIFFE allows no longer one.
const MAX_SPIFFE_ID: usize = 2048;

/// What sandboxes refer to.
pub(super) struct Around<'a> {
    pub(super) services: &'a ServiceIds,
    pub(super) known_services: &'a Known,
    pub(super) credentials: &'a [Credential],
    pub(super) tiers: &'a [Tier],
}

/// The sandboxes, and all that leads to one.
#[derive(Debug, Default)]
pub(super) struct Sandboxes {
    pub(super) all: Vec<Sandbox>,
    pub(super) places: HashMap<Box<str>, usize>,
    pub(super) spiffe_ids: HashMap<Box<str>, usize>,
    pub(super) tokens: HashMap<Digest, Token>,
}

/// [`Around`], for looking things up.
struct Context<'a> {
    around: &'a Around<'a>,
    credentials: HashMap<&'a str, ServiceId>,
    known_credentials: Known,
    tiers: HashMap<&'a str, usize>,
    known_tiers: Known,
}

pub(super) fn compile(
    file: &EgressFile<'_>,
    around: &Around<'_>,
    root: Place<'_>,
    findings: &mut Findings,
) -> Sandboxes {
    let credentials: HashMap<&str, ServiceId> =
        around.credentials.iter().map(|known| (&*known.name, known.service)).collect();
    let tiers: HashMap<&str, usize> =
        around.tiers.iter().enumerate().map(|(place, tier)| (&*tier.name, place)).collect();
    let context = Context {
        around,
        known_credentials: Known::new(CREDENTIALS, credentials.keys().copied()),
        credentials,
        known_tiers: Known::new(TIERS, tiers.keys().copied()),
        tiers,
    };
    let whole = file.sandboxes.as_deref().unwrap_or(&[]);
    let short = file.sandbox_policies.as_deref().unwrap_or(&[]);
    let number = whole.len().saturating_add(short.len());
    let mut found = Sandboxes {
        all: Vec::with_capacity(number),
        places: HashMap::with_capacity(number),
        ..Sandboxes::default()
    };
    let place = root.field("sandboxes");
    for (name, raw) in whole {
        found.add(name, raw, &context, place.field(name), findings);
    }
    let place = root.field("sandbox_policies");
    for (name, tier) in short {
        found.add_short(name, tier, &context, place.field(name), findings);
    }
    found
}

impl Sandboxes {
    fn add(
        &mut self,
        name: &str,
        raw: &raw::Sandbox<'_>,
        context: &Context<'_>,
        place: Place<'_>,
        findings: &mut Findings,
    ) {
        let number = self.all.len();
        if let Err(message) = value::name(name) {
            findings.push(Finding::at_key(place.path(), message));
        }
        let networks = raw.allowed_cidrs.as_deref();
        let networks = value::networks(networks, place.field("allowed_cidrs"), findings);
        let (tier_name, tier) = context.tier(raw, place, findings);
        let credentials = context.credentials(raw.credentials.as_ref(), place, findings);
        let mut hasher = DefaultHasher::new();
        // By name: the number of a service is another one after an edit of others.
        let named: Option<BTreeMap<&str, &str>> = raw
            .credentials
            .as_ref()
            .map(|written| written.iter().map(|(service, name)| (&**service, &**name)).collect());
        let enabled = raw.enabled.unwrap_or(true);
        (tier_name, enabled, &networks, named, raw.spiffe_id.as_deref()).hash(&mut hasher);
        self.tokens(raw.tokens.as_deref().unwrap_or(&[]), name, place, &mut hasher, findings);
        self.spiffe_id(raw.spiffe_id.as_deref(), place.field("spiffe_id"), findings);
        self.places.insert(name.into(), number);
        self.all.push(Sandbox {
            name: name.into(),
            tier,
            enabled,
            networks,
            credentials,
            fingerprint: hasher.finish(),
        });
    }

    /// A sandbox of which nothing but the tier is said.
    fn add_short(
        &mut self,
        name: &str,
        tier: &Text<'_>,
        context: &Context<'_>,
        place: Place<'_>,
        findings: &mut Findings,
    ) {
        if let Err(message) = value::name(name) {
            findings.push(Finding::at_key(place.path(), message));
        }
        if self.places.contains_key(name) {
            let message = "stands in `sandboxes` too: expected it in one of the two";
            findings.push(Finding::at_key(place.path(), message));
            return;
        }
        let found = context.tiers.get(&**tier).copied();
        if found.is_none() {
            findings.push(context.known_tiers.unknown(tier, place));
        }
        let mut hasher = DefaultHasher::new();
        (**tier).hash(&mut hasher);
        self.places.insert(name.into(), self.all.len());
        self.all.push(Sandbox {
            name: name.into(),
            tier: found.unwrap_or(usize::MAX),
            enabled: true,
            networks: Networks::Any,
            credentials: HashMap::new(),
            fingerprint: hasher.finish(),
        });
    }

    /// The tokens of the sandbox that comes next.
    fn tokens(
        &mut self,
        written: &[SandboxToken<'_>],
        sandbox: &str,
        place: Place<'_>,
        hasher: &mut DefaultHasher,
        findings: &mut Findings,
    ) {
        let place = place.field("tokens");
        let mut ids: HashSet<&str> = HashSet::with_capacity(written.len());
        for (index, raw) in written.iter().enumerate() {
            let place = place.index(index);
            let id = raw.id.as_deref().unwrap_or("");
            if raw.id.is_none() {
                findings.push(place.field("id").report("expected a field `id`"));
            } else if let Err(message) = value::name(id) {
                findings.push(place.field("id").report(message));
            } else if !ids.insert(id) {
                let message = format!(
                    "expected an id of its own: another token of this sandbox has {} too",
                    shown(id)
                );
                findings.push(place.field("id").report(message));
            }
            let token = Token {
                id: id.into(),
                sandbox: self.all.len(),
                enabled: raw.enabled.unwrap_or(true),
                validity: value::validity(
                    raw.not_before.as_deref(),
                    raw.expires_at.as_deref(),
                    place,
                    findings,
                ),
            };
            let at = place.field("sha256");
            let digest = match &raw.sha256 {
                None => Err("expected a field `sha256`".to_owned()),
                Some(text) => value::sha256(
                    text.expose(),
                    "expected the SHA-256 of a token, 64 hexadecimal digits (`gatepost \
                     sandbox-token new` writes it)",
                ),
            };
            match digest {
                Err(message) => findings.push(at.report(message)),
                Ok(digest) => {
                    (digest, id, token.enabled, token.validity).hash(hasher);
                    if let Some(first) = self.tokens.insert(digest, token) {
                        findings.push(at.report(self.taken(&first, sandbox)));
                    }
                }
            }
        }
    }

    fn taken(&self, first: &Token, sandbox: &str) -> String {
        let name = self.all.get(first.sandbox).map_or(sandbox, |other| &other.name);
        format!(
            "expected a token of its own: {} of sandbox {} is the same",
            shown(&first.id),
            shown(name)
        )
    }

    /// The SPIFFE ID of the sandbox that comes next.
    fn spiffe_id(&mut self, written: Option<&str>, place: Place<'_>, findings: &mut Findings) {
        let Some(id) = written else { return };
        if !is_spiffe_id(id) {
            findings.push(place.report(format!(
                "expected a SPIFFE ID such as \"spiffe://example.org/sandbox/a\", found {}",
                shown(id)
            )));
        } else if let Some(first) = self.spiffe_ids.insert(id.into(), self.all.len()) {
            let other = self.all.get(first).map_or("", |other| &other.name);
            findings.push(place.report(format!(
                "expected an ID of its own: sandbox {} has the same",
                shown(other)
            )));
        }
    }
}

impl Context<'_> {
    /// The tier's name and place.
    fn tier<'r>(
        &self,
        raw: &'r raw::Sandbox<'_>,
        place: Place<'_>,
        findings: &mut Findings,
    ) -> (&'r str, usize) {
        let name = raw.policy.as_deref().unwrap_or(DEFAULT_TIER);
        if let Some(&tier) = self.tiers.get(name) {
            return (name, tier);
        }
        let finding = self.known_tiers.unknown(name, place.field("policy"));
        findings.push(if raw.policy.is_some() {
            finding
        } else {
            let message = format!("names no policy, and egress_policies has no `{DEFAULT_TIER}`");
            Finding { message, path: place.path(), ..finding }.given(place.field("policy").path())
        });
        (name, usize::MAX)
    }

    /// Credentials of the sandbox's own, by service.
    fn credentials(
        &self,
        written: Option<&Entries<'_, Text<'_>>>,
        place: Place<'_>,
        findings: &mut Findings,
    ) -> HashMap<ServiceId, Box<str>> {
        let place = place.field("credentials");
        let mut own = HashMap::new();
        for (service, name) in written.into_iter().flat_map(|written| written.iter()) {
            let place = place.field(service);
            let Some(&id) = self.around.services.get(&**service) else {
                let finding = self.around.known_services.unknown(service, place);
                findings.push(Finding { at_key: true, ..finding });
                continue;
            };
            match self.credentials.get(&**name) {
                Some(&of) if of == id => {
                    own.insert(id, (**name).into());
                }
                Some(_) => findings.push(place.report(format!(
                    "{} belongs to another service: it never goes to {}",
                    shown(name),
                    &**service
                ))),
                None => findings.push(self.known_credentials.unknown(name, place)),
            }
        }
        own
    }
}

/// `spiffe://TRUST-DOMAIN/PATH`, in the characters that the standard allows.
fn is_spiffe_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else { return false };
    let (domain, path) = match rest.split_once('/') {
        Some((domain, path)) => (domain, Some(path)),
        None => (rest, None),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let domain_plain = |b: u8| plain(b) && !b.is_ascii_uppercase();
    let segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain);
    text.len() <= MAX_SPIFFE_ID
        && !domain.is_empty()
        && domain.bytes().all(domain_plain)
        && path.is_none_or(|path| path.split('/').all(segment))
}
