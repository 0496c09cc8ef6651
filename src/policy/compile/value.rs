//! Single values: names, header names, digests, limits, dates, networks.

use data_encoding::HEXLOWER_PERMISSIVE;
use ipnet::IpNet;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::policy::Limit;
use crate::policy::header::{folded, is_owned};
use crate::policy::key::{Digest, Networks, Validity};
use crate::policy::locate::{Finding, quote};
use crate::policy::place::Place;
use crate::policy::raw::Text;

/// Everything that is wrong, in the order found.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// The value, if nothing was found.
    pub(super) fn none_or<T>(self, value: T) -> Result<T, Vec<Finding>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }

    /// What was found.
    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.0
    }
}

/// The names that would have been right, as a message shows them: sorted, and not more than a person
/// reads.
pub(super) fn known<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    match names.len() {
        0 => "there is none".to_owned(),
        all @ ..=SHOWN => names.get(..all).unwrap_or(&[]).join(", "),
        all => {
            let shown = names.get(..SHOWN).unwrap_or(&[]).join(", ");
            format!("{shown} and {} more", all.saturating_sub(SHOWN))
        }
    }
}

/// Text of a key's object as a message shows it. What is as long as a key might be one that was put
/// into the wrong field, and is not shown.
pub(super) fn shown(text: &str) -> String {
    match text.chars().count() {
        length @ MIN_KEY_CHARACTERS.. => format!("a text of {length} characters"),
        _ => quote(text),
    }
}

/// 128 bits in base64.
pub(super) const MIN_KEY_CHARACTERS: usize = 22;

/// The longest name that a header value, a log line or a label carries.
pub(super) const MAX_NAME: usize = 128;

/// A name that goes into header values, logs and metadata: identifiers, roles, tiers, tenants,
/// scopes.
pub(super) fn name(text: &str) -> Result<(), String> {
    let plain = |b: u8| (0x21..0x7f).contains(&b) && !matches!(b, b'"' | b'\\' | b',');
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(plain) {
        return Err(format!(
            "expected a name of 1 to {MAX_NAME} visible ASCII characters without spaces, quotes, \
             backslashes and commas, found {}",
            shown(text)
        ));
    }
    Ok(())
}

/// The name of a header that may carry a credential (RFC 9110 section 5.1), in lower case.
pub(super) fn header_name(text: &str) -> Result<Box<str>, String> {
    // Envoy, the upstream or HTTP itself reads these, and we would remove them; and what we vouch for is no client's to send.
    const TAKEN: [&str; 15] = [
        "accept",
        "cookie",
        "grpc-timeout",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-request-id",
        "host",
        "connection",
        "content-length",
        "content-type",
        "te",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
    ];
    let name = token(text)?;
    if TAKEN.contains(&&*name) || is_owned(&folded(&name).unwrap_or_else(|| name.to_string())) {
        return Err(format!("`{name}` cannot carry a credential"));
    }
    Ok(name)
}

/// The name of any header (RFC 9110 section 5.1), in lower case.
pub(super) fn token(text: &str) -> Result<Box<str>, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(token) {
        return Err(format!("expected the name of a header, found {}", shown(text)));
    }
    Ok(text.to_ascii_lowercase().into())
}

/// 64 hexadecimal digits. What stands in their place may be the credential itself, and is not shown.
pub(super) fn sha256(text: &str, expected: &str) -> Result<Digest, String> {
    let bytes =
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_not_hex| expected.to_owned())?;
    bytes.try_into().map_err(|_wrong_length| expected.to_owned())
}

/// How many requests a window allows; absent, any number.
pub(super) fn limit(number: Option<i64>, place: Place<'_>, findings: &mut Findings) -> Limit {
    match number.map(|number| (number, u32::try_from(number))) {
        None | Some((-1, _)) => Limit::Unlimited,
        Some((_, Ok(number))) => Limit::AtMost(number),
        Some((number, Err(_))) => {
            findings.push(place.report(format!(
                "expected -1 (unlimited), 0 (denies all) or a number of requests up to {}, found {number}",
                u32::MAX
            )));
            Limit::AtMost(0)
        }
    }
}

/// `not_before` and `expires_at` of one object.
pub(super) fn validity(
    not_before: Option<&str>,
    expires_at: Option<&str>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Validity {
    let mut date = |field: &str, text: Option<&str>| {
        let text = text?;
        let date = OffsetDateTime::parse(text, &Rfc3339);
        if date.is_err() {
            findings.push(place.field(field).report(format!(
                "expected a date such as \"2027-01-31T00:00:00Z\" (RFC 3339), found {}",
                shown(text)
            )));
        }
        // An unreadable date has just been reported, so what stands in its place is never used.
        date.map_or(None, |date| Some(date.unix_timestamp()))
    };
    let validity = Validity {
        not_before: date("not_before", not_before),
        expires_at: date("expires_at", expires_at),
    };
    if let (Some(start), Some(end)) = (validity.not_before, validity.expires_at)
        && start >= end
    {
        findings.push(place.field("expires_at").report("expected a date after not_before"));
    }
    validity
}

/// `allowed_cidrs`: absent, anywhere.
pub(super) fn networks(
    written: Option<&[Text<'_>]>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Networks {
    let Some(written) = written else { return Networks::Any };
    if written.is_empty() {
        findings.push(place.report("names no network: leave it out to allow any address"));
    }
    let mut networks = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        match network(text) {
            Ok(network) => networks.push(network),
            Err(message) => findings.push(place.index(index).report(message)),
        }
    }
    Networks::Listed(networks.into())
}

/// A network such as `10.0.0.0/8`.
fn network(text: &str) -> Result<IpNet, String> {
    let expected = "expected a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
    let network: IpNet = text.parse().map_err(|_not_a_network| {
        // An address alone is the likeliest slip; its full-length network is what it means.
        let hint = match text.parse::<std::net::IpAddr>() {
            Ok(address) => format!("; for one address write \"{}\"", IpNet::from(address)),
            Err(_) => String::new(),
        };
        format!("{expected}, found {}{hint}", shown(text))
    })?;
    if network != network.trunc() {
        return Err(format!(
            "{} has bits set behind its prefix; write \"{}\"",
            shown(text),
            network.trunc()
        ));
    }
    if let IpNet::V6(v6) = network
        && v6.prefix_len() >= 96
        && v6.network().to_ipv4_mapped().is_some()
    {
        return Err(format!(
            "{expected}: an IPv4 network is compared as such, not as {}",
            shown(text)
        ));
    }
    Ok(network)
}
