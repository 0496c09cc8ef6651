//! `egress_config`.

use std::time::Duration;

use super::url;
use crate::policy::compile::Strictness;
use crate::policy::compile::value::Findings;
use crate::policy::egress::{Identity, Options};
use crate::policy::locate::quote;
use crate::policy::place::Place;
use crate::policy::raw::{EgressOptions, Text};

/// The names that the demo, the compose file and a port forward give the proxy.
const PROXY_HOSTS: [&str; 3] = ["egress", "egress-proxy", "localhost"];

const SECRET_GRACE: Duration = Duration::from_mins(5);
/// A secret that has been unreadable for longer is gone.
const MAX_SECRET_GRACE: Duration = Duration::from_hours(24);

pub(super) fn compile(
    written: &EgressOptions<'_>,
    place: Place<'_>,
    strictness: Strictness,
    findings: &mut Findings,
) -> Options {
    let secret_grace = match written.secret_grace.as_deref() {
        None => SECRET_GRACE,
        Some(text) => duration(text).unwrap_or_else(|| {
            findings.push(place.field("secret_grace").report(format!(
                "expected a time such as \"5m\", \"300s\" or \"1h\", at most \"24h\", found {}",
                quote(text)
            )));
            SECRET_GRACE
        }),
    };
    Options {
        identity: identity(
            written.sandbox_identity.as_deref(),
            place.field("sandbox_identity"),
            strictness,
            findings,
        ),
        proxy_hosts: proxy_hosts(
            written.proxy_hosts.as_deref(),
            place.field("proxy_hosts"),
            findings,
        ),
        secret_grace,
        allow_shrink: written.allow_shrink.unwrap_or(false),
    }
}

fn identity(
    written: Option<&[Text<'_>]>,
    place: Place<'_>,
    strictness: Strictness,
    findings: &mut Findings,
) -> Identity {
    let mut identity = Identity { token: false, mtls: false, header: false };
    let Some(written) = written else { return Identity { token: true, ..identity } };
    if written.is_empty() {
        findings.push(place.report("names nothing: no request could ever be authenticated"));
    }
    for (index, text) in written.iter().enumerate() {
        let place = place.index(index);
        let slot = match &**text {
            "token" => &mut identity.token,
            "mtls" => &mut identity.mtls,
            "header" => &mut identity.header,
            other => {
                findings.push(place.report(format!(
                    "expected \"token\", \"mtls\" or \"header\", found {}",
                    quote(other)
                )));
                continue;
            }
        };
        if std::mem::replace(slot, true) {
            findings.push(place.report(format!("{} stands here twice", quote(text))));
        }
        if &**text == "header" && strictness == Strictness::Production {
            findings.push(place.report(
                "believes whatever a caller says of itself: allowed only with \
                 GATEPOST_ENV=development",
            ));
        }
    }
    identity
}

fn proxy_hosts(
    written: Option<&[Text<'_>]>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Box<[Box<str>]> {
    let Some(written) = written else { return PROXY_HOSTS.map(Into::into).into() };
    let mut hosts: Vec<Box<str>> = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        match url::host(text).map(|host| host.to_string().into()) {
            Ok(host) if hosts.contains(&host) => {
                findings
                    .push(place.index(index).report(format!("{} stands here twice", quote(&host))));
            }
            Ok(host) => hosts.push(host),
            Err(message) => findings.push(place.index(index).report(message)),
        }
    }
    hosts.into()
}

/// `300s`, `5m`, `1h`
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = number.parse::<u64>();
    let whole =
        number.map_or(None, |number| number.checked_mul(seconds)).map(Duration::from_secs)?;
    (whole <= MAX_SECRET_GRACE).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("0s", Some(0)),
            ("300s", Some(300)),
            ("5m", Some(300)),
            ("1h", Some(3600)),
            ("24h", Some(86_400)),
            ("86401s", None),
            ("25h", None),
            ("18446744073709551615h", None),
            ("18446744073709551616s", None),
            ("", None),
            ("s", None),
            ("5", None),
            ("-5m", None),
            ("+5m", None),
            ("5 m", None),
            ("5M", None),
            ("1.5h", None),
            ("5ms", None),
            ("5é", None),
        ] {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
