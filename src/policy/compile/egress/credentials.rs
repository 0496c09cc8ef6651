//! `egress_credentials`, as both files describe them.

use std::collections::{HashMap, HashSet};

use super::services::Draft;
use super::source::{self, Said};
use super::{Both, CREDENTIALS, Known, Origin, SERVICES, ServiceIds, header, url};
use crate::policy::compile::value::{self, shown};
use crate::policy::credential::{Credential, Header, Kind, Source};
use crate::policy::destination::ServiceId;
use crate::policy::locate::{Finding, Path};
use crate::policy::place::Place;
use crate::policy::raw::{self, CredentialHeader, EgressFile, SecretsFile};

/// The header of an `api_key` that names none.
const API_KEY_HEADER: &str = "x-api-key";

/// One credential: fields of `egress_secrets.json` win over those of `egress_config.json`.
#[derive(Clone, Copy)]
struct Written<'a> {
    name: &'a str,
    config: Option<&'a raw::Credential<'a>>,
    secrets: Option<&'a raw::Credential<'a>>,
}

impl<'a> Written<'a> {
    /// What each file has, the one that wins first.
    fn each(self) -> impl Iterator<Item = (Origin, &'a raw::Credential<'a>)> {
        let secrets = self.secrets.map(|written| (Origin::Secrets, written));
        secrets.into_iter().chain(self.config.map(|written| (Origin::Config, written)))
    }

    /// The field of the file that wins.
    fn pick<T>(
        self,
        field: impl Fn(&'a raw::Credential<'a>) -> &'a Option<T>,
    ) -> Option<(Origin, &'a T)> {
        self.each().find_map(|(origin, written)| Some((origin, field(written).as_ref()?)))
    }

    /// Where a field that neither file has is missed.
    fn home(self) -> Origin {
        if self.config.is_some() { Origin::Config } else { Origin::Secrets }
    }

    /// The value that fields of the credential itself describe.
    fn said(self) -> Vec<Said<'a>> {
        let said = self.each().map(|(origin, written)| Said {
            origin,
            source: written.source.as_ref(),
            literals: [("token", written.token.as_ref()), ("password", written.password.as_ref())],
        });
        said.collect()
    }
}

pub(super) fn compile<'a>(
    file: &'a EgressFile<'a>,
    secrets: Option<&'a SecretsFile<'a>>,
    services: &[Draft],
    ids: &ServiceIds,
    both: &mut Both,
) -> Vec<Credential> {
    let in_config = file.egress_credentials.as_deref().unwrap_or(&[]);
    let in_secrets = secrets.and_then(|file| file.egress_credentials.as_deref()).unwrap_or(&[]);
    let by_name: HashMap<&str, _> = in_secrets.iter().map(|(name, raw)| (&**name, raw)).collect();
    let names: HashSet<&str> = in_config.iter().map(|(name, _)| &**name).collect();
    let mentioned = in_config.iter().map(|(name, raw)| Written {
        name,
        config: Some(raw),
        secrets: by_name.get(&**name).copied(),
    });
    let alone = in_secrets.iter().filter(|(name, _)| !names.contains(&**name));
    let alone = alone.map(|(name, raw)| Written { name, config: None, secrets: Some(raw) });
    let known = Known::new(SERVICES, ids.keys().map(|name| &**name));
    let place = Place::Root;
    let place = place.field(CREDENTIALS);
    let mut credentials = Vec::with_capacity(in_config.len());
    for written in mentioned.chain(alone) {
        let place = place.field(written.name);
        if let Err(message) = value::name(written.name) {
            both.push(written.home(), Finding::at_key(place.path(), message));
        }
        let Some(service) = owner(written, ids, &known, place, both) else { continue };
        if let Some(draft) = services.get(service.0) {
            hosts(written, draft, place, both);
        }
        let kind = kind(written, place, both);
        credentials.push(Credential { name: written.name.into(), service, kind });
    }
    credentials
}

/// The one service that a credential belongs to. `None` for one that only `egress_secrets.json` has
/// and that nothing uses: the script that writes that file knows nothing of the services.
fn owner(
    written: Written<'_>,
    ids: &ServiceIds,
    known: &Known,
    place: Place<'_>,
    both: &mut Both,
) -> Option<ServiceId> {
    let own = ids.get(written.name).copied();
    let Some((origin, name)) = written.pick(|raw| &raw.service) else {
        if own.is_none() && written.config.is_some() {
            let message = format!(
                "belongs to no service: name it after one of egress_services ({}), or say which in \
                 `service`",
                known.names
            );
            let service = Path::root().field(SERVICES).field(written.name.to_owned());
            both.push(
                Origin::Config,
                Finding::at_key(place.path(), message)
                    .given(service)
                    .given(place.field("service").path()),
            );
        }
        return own;
    };
    let Some(&service) = ids.get(&**name) else {
        both.push(origin, known.unknown(name, place.field("service")));
        return None;
    };
    if own.is_some_and(|own| own != service) {
        both.push(
            origin,
            place.field("service").report(format!(
                "expected {}: a credential with the name of a service belongs to that",
                shown(written.name)
            )),
        );
    }
    Some(service)
}

/// The hosts that the credential may reach, where it names some: its service's is one of them.
fn hosts(written: Written<'_>, draft: &Draft, place: Place<'_>, both: &mut Both) {
    let Some((origin, hosts)) = written.pick(|raw| &raw.hosts) else { return };
    let place = place.field("hosts");
    let mut reached = false;
    for (index, text) in hosts.iter().enumerate() {
        match url::host(text) {
            Ok(host) => reached |= host == draft.service.destination.host,
            Err(message) => both.push(origin, place.index(index).report(message)),
        }
    }
    if draft.located && !reached {
        both.push(
            origin,
            place.report(format!(
                "expected {} to be among them, the host of the service {}",
                draft.service.destination.host, draft.service.name
            )),
        );
    }
}

fn kind(written: Written<'_>, place: Place<'_>, both: &mut Both) -> Kind {
    const EXPECTED: &str = "\"bearer\", \"api_key\", \"basic\", \"headers\" or \"query\"";
    let at = place.field("type");
    let Some((origin, text)) = written.pick(|raw| &raw.kind) else {
        both.push(written.home(), at.report(format!("expected a field `type`: {EXPECTED}")));
        return Kind::Headers(Box::default());
    };
    let (kind, fields): (_, &[&str]) = match &**text {
        "bearer" => {
            let header = Header {
                name: "authorization".into(),
                prefix: "Bearer ".into(),
                value: source::resolve(&written.said(), place, both),
            };
            (Kind::Headers([header].into()), &["source", "token"])
        }
        "api_key" => (api_key(written, place, both), &["source", "token", "header", "prefix"]),
        "basic" => (basic(written, place, both), &["source", "token", "password", "username"]),
        "headers" => (headers(written, place, both), &["headers"]),
        "query" => (query(written, place, both), &["source", "token", "parameter"]),
        other => {
            both.push(origin, at.report(format!("expected {EXPECTED}, found {}", shown(other))));
            return Kind::Headers(Box::default());
        }
    };
    misplaced(written, text, fields, place, both);
    kind
}

/// Fields that the type has no use for: a slip, or the wrong type.
fn misplaced(written: Written<'_>, kind: &str, used: &[&str], place: Place<'_>, both: &mut Both) {
    for (origin, raw) in written.each() {
        let given = [
            ("source", raw.source.is_some()),
            ("token", raw.token.is_some()),
            ("header", raw.header.is_some()),
            ("prefix", raw.prefix.is_some()),
            ("username", raw.username.is_some()),
            ("password", raw.password.is_some()),
            ("headers", raw.headers.is_some()),
            ("parameter", raw.parameter.is_some()),
        ];
        for (field, _) in given.into_iter().filter(|(field, given)| *given && !used.contains(field))
        {
            let message =
                format!("has no meaning for the type \"{kind}\", which takes {}", used.join(", "));
            both.push(origin, Finding::at_key(place.field(field).path(), message));
        }
    }
}

fn api_key(written: Written<'_>, place: Place<'_>, both: &mut Both) -> Kind {
    let name = match written.pick(|raw| &raw.header) {
        None => API_KEY_HEADER.into(),
        Some((origin, text)) => header::name(text).unwrap_or_else(|message| {
            both.push(origin, place.field("header").report(message));
            API_KEY_HEADER.into()
        }),
    };
    let prefix = written.pick(|raw| &raw.prefix).map_or("", |(origin, text)| {
        if let Err(message) = header::prefix(text) {
            both.push(origin, place.field("prefix").report(message));
        }
        text
    });
    let value = source::resolve(&written.said(), place, both);
    Kind::Headers([Header { name, prefix: prefix.into(), value }].into())
}

fn basic(written: Written<'_>, place: Place<'_>, both: &mut Both) -> Kind {
    let at = place.field("username");
    let username = match written.pick(|raw| &raw.username) {
        None => {
            both.push(written.home(), at.report("expected a field `username`"));
            ""
        }
        Some((origin, text)) => {
            // RFC 7617 section 2: what follows the first colon is the password.
            if text.contains(|c: char| c == ':' || c.is_control()) {
                let message = "expected a name without colons and control characters";
                both.push(origin, at.report(message));
            }
            text
        }
    };
    let password = source::resolve(&written.said(), place, both);
    Kind::Basic { username: username.into(), password }
}

fn query(written: Written<'_>, place: Place<'_>, both: &mut Both) -> Kind {
    let at = place.field("parameter");
    let name = match written.pick(|raw| &raw.parameter) {
        None => {
            both.push(written.home(), at.report("expected a field `parameter`"));
            ""
        }
        Some((origin, text)) => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
            if !(1..=value::MAX_NAME).contains(&text.len()) || !text.bytes().all(plain) {
                let message = "expected a name out of letters, digits, `-`, `.`, `_` and `~`";
                both.push(origin, at.report(message));
            }
            text
        }
    };
    Kind::Query { name: name.into(), value: source::resolve(&written.said(), place, both) }
}

/// The headers of both files, those of the same name put together field by field.
fn headers(written: Written<'_>, place: Place<'_>, both: &mut Both) -> Kind {
    let place = place.field("headers");
    let mut parts: Vec<Part<'_>> = Vec::new();
    for (origin, raw) in written.each() {
        for (text, part) in raw.headers.iter().flat_map(|headers| headers.iter()) {
            let name = header::name(text).unwrap_or_else(|message| {
                both.push(origin, Finding::at_key(place.field(text).path(), message));
                text.to_ascii_lowercase().into()
            });
            let said = (origin, &**text, part);
            match parts.iter_mut().find(|part| part.name == name) {
                Some(other) if other.said.iter().any(|(before, ..)| *before == origin) => {
                    let message = format!("`{name}` stands here twice, in different letters");
                    both.push(origin, Finding::at_key(place.field(text).path(), message));
                }
                Some(other) => other.said.push(said),
                None => parts.push(Part { name, said: vec![said] }),
            }
        }
    }
    if parts.is_empty() {
        both.push(written.home(), place.report("expected at least one header"));
    }
    Kind::Headers(parts.into_iter().map(|part| part.compile(place, both)).collect())
}

/// One of `headers`: what each file says of it, the one that wins first, with its name as written.
struct Part<'a> {
    name: Box<str>,
    said: Vec<(Origin, &'a str, &'a CredentialHeader<'a>)>,
}

impl Part<'_> {
    fn compile(self, place: Place<'_>, both: &mut Both) -> Header {
        let Self { name, said } = self;
        let mut prefix = "";
        for (origin, text, part) in &said {
            if let Some(written) = &part.prefix {
                prefix = written;
                if let Err(message) = header::prefix(written) {
                    both.push(*origin, place.field(text).field("prefix").report(message));
                }
                break;
            }
        }
        let mut value = None;
        for (origin, text, part) in &said {
            if part.source.is_some() || part.token.is_some() {
                let said = Said {
                    origin: *origin,
                    source: part.source.as_ref(),
                    literals: [("token", part.token.as_ref()), ("", None)],
                };
                value = Some(source::resolve(&[said], place.field(text), both));
                break;
            }
        }
        let value = value.unwrap_or(Source::Nowhere);
        Header { name, prefix: prefix.into(), value }
    }
}
