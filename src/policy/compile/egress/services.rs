//! `egress_services`.

use super::{ServiceIds, header, url};
use crate::policy::compile::rules;
use crate::policy::compile::value::{Findings, shown};
use crate::policy::credential::{Credential, Kind};
use crate::policy::destination::{Destination, Host, ServiceId, Tls};
use crate::policy::egress::Service;
use crate::policy::glob::Glob;
use crate::policy::locate::Finding;
use crate::policy::place::Place;
use crate::policy::raw::{self, Entries, Secret, Text};
use crate::policy::rule::Methods;

/// What a service allows that names no methods.
const METHODS: [&str; 2] = ["GET", "POST"];

/// A label of DNS, since a service's name is a host name.
const MAX_NAME: usize = 63;

/// Our own name, and that of the limits of all services that have none of their own.
const TAKEN: [&str; 2] = ["gatepost", "default"];

/// A service as far as it could be made.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) service: Service,
    /// Whether its `base_url` could be read: what follows from it need not be told.
    pub(super) located: bool,
}

pub(super) fn compile(
    written: &[(Text<'_>, raw::Service<'_>)],
    proxy_hosts: &[Box<str>],
    place: Place<'_>,
    findings: &mut Findings,
) -> Vec<Draft> {
    let mut drafts = Vec::with_capacity(written.len());
    for (name, raw) in written {
        let place = place.field(name);
        if let Err(message) = check_name(name, proxy_hosts) {
            findings.push(Finding::at_key(place.path(), message));
        }
        drafts.push(service(name, raw, place, findings));
    }
    drafts
}

pub(super) fn ids(drafts: &[Draft]) -> ServiceIds {
    let names = drafts.iter().map(|draft| draft.service.name.clone());
    names.zip((0..).map(ServiceId)).collect()
}

fn check_name(name: &str, proxy_hosts: &[Box<str>]) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(plain) {
        return Err(format!(
            "expected a name of 1 to {MAX_NAME} characters out of a to z, 0 to 9 and `-`, found {}",
            shown(name)
        ));
    }
    if TAKEN.contains(&name) {
        return Err(format!("`{name}` has a meaning of its own: expected another name"));
    }
    if proxy_hosts.iter().any(|host| **host == *name) {
        return Err(format!(
            "`{name}` is among the proxy_hosts, where the path names the service: expected another \
             name"
        ));
    }
    Ok(())
}

fn service(name: &str, raw: &raw::Service<'_>, place: Place<'_>, findings: &mut Findings) -> Draft {
    let (destination, base_path, located) = match location(raw, place, findings) {
        Some((destination, base_path)) => (destination, base_path, true),
        None => (nowhere(), "".into(), false),
    };
    let usual = Methods::new(METHODS.map(Into::into).into());
    let methods = raw.allowed_methods.as_deref();
    let allowed = raw.allowed_paths.as_deref();
    if allowed.is_some_and(<[_]>::is_empty) {
        findings.push(
            place
                .field("allowed_paths")
                .report("names no path: nothing could be called (leave it out to allow all)"),
        );
    }
    let mut globs =
        |field, written| rules::globs(written, Glob::path, place.field(field), findings);
    let allowed_paths = allowed.map(|written| globs("allowed_paths", written));
    let denied_paths = globs("denied_paths", raw.denied_paths.as_deref().unwrap_or(&[]));
    let service = Service {
        name: name.into(),
        methods: rules::methods(methods, usual, place.field("allowed_methods"), findings),
        allowed_paths,
        denied_paths,
        mode: rules::mode(raw.mode.as_deref(), place.field("mode"), findings),
        allow_encoded: rules::escapes(
            raw.allow_encoded.as_deref(),
            place.field("allow_encoded"),
            findings,
        ),
        destination,
        base_path,
        headers: headers(raw.headers.as_ref(), place.field("headers"), findings),
        forward_headers: forwarded(
            raw.forward_headers.as_deref().unwrap_or(&[]),
            place.field("forward_headers"),
            findings,
        ),
    };
    Draft { service, located }
}

fn location(
    raw: &raw::Service<'_>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<(Destination, Box<str>)> {
    let at = place.field("base_url");
    let Some(text) = &raw.base_url else {
        findings
            .push(at.report("expected a field `base_url`, such as \"https://api.example.com\""));
        return None;
    };
    let url = match url::parse(text) {
        Ok(url) => url,
        Err(message) => {
            findings.push(at.report(message));
            return None;
        }
    };
    let ca_file = raw.ca_file.as_deref();
    let at = place.field("ca_file");
    if ca_file.is_some() && !url.tls {
        findings.push(at.report("verifies nothing: the base_url is not https"));
    }
    if ca_file.is_some_and(|path| !path.starts_with('/') || path.contains(char::is_control)) {
        findings.push(at.report("expected the absolute path of a PEM file, as Envoy sees it"));
    }
    let destination = Destination {
        tls: url.tls.then(|| Tls { ca_file: ca_file.map(Into::into) }),
        host: url.host,
        port: url.port,
        private_addresses: raw.allow_private_addresses.unwrap_or(false),
    };
    Some((destination, url.path))
}

/// Stands where a service has no place, which has been told.
fn nowhere() -> Destination {
    Destination {
        tls: Some(Tls { ca_file: None }),
        host: Host::Name("".into()),
        port: 0,
        private_addresses: false,
    }
}

fn headers(
    written: Option<&Entries<'_, Secret<'_>>>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Box<[(Box<str>, Box<str>)]> {
    let mut headers: Vec<(Box<str>, Box<str>)> = Vec::new();
    for (text, value) in written.into_iter().flat_map(|written| written.iter()) {
        let place = place.field(text);
        match header::name(text) {
            Ok(name) if headers.iter().any(|(other, _)| *other == name) => {
                let message = format!("`{name}` stands here twice, in different letters");
                findings.push(Finding::at_key(place.path(), message));
            }
            Ok(name) => headers.push((name, value.expose().into())),
            Err(message) => findings.push(Finding::at_key(place.path(), message)),
        }
        if let Err(message) = header::value(value.expose()) {
            findings.push(place.report(message));
        }
    }
    headers.into()
}

fn forwarded(written: &[Text<'_>], place: Place<'_>, findings: &mut Findings) -> Box<[Box<str>]> {
    let mut names: Vec<Box<str>> = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        match header::name(text) {
            Ok(name) if names.contains(&name) => {
                findings.push(place.index(index).report(format!("`{name}` stands here twice")));
            }
            Ok(name) => names.push(name),
            Err(message) => findings.push(place.index(index).report(message)),
        }
    }
    names.into()
}

/// What a service must be for each of its credentials: reached over TLS, and with no header of its
/// own in the credential's place.
pub(super) fn check_credentials(
    written: &[(Text<'_>, raw::Service<'_>)],
    drafts: &[Draft],
    credentials: &[Credential],
    place: Place<'_>,
    findings: &mut Findings,
) {
    for credential in credentials {
        let id = credential.service.0;
        let (Some(draft), Some((name, raw))) = (drafts.get(id), written.get(id)) else { continue };
        let place = place.field(name);
        if draft.located && draft.service.destination.tls.is_none() {
            findings.push(place.field("base_url").report(format!(
                "expected https: the credential {} would travel in the clear",
                shown(&credential.name)
            )));
        }
        let headers: Vec<&str> = match &credential.kind {
            Kind::Headers(headers) => headers.iter().map(|header| &*header.name).collect(),
            Kind::Basic { .. } => vec!["authorization"],
            Kind::Query { .. } => Vec::new(),
        };
        let list = place.field("headers");
        for (text, _) in raw.headers.iter().flat_map(|written| written.iter()) {
            if headers.iter().any(|header| text.eq_ignore_ascii_case(header)) {
                let message =
                    format!("is set by the credential {} already", shown(&credential.name));
                findings.push(Finding::at_key(list.field(text).path(), message));
            }
        }
    }
}
