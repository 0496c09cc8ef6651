//! Step 6: the only code that writes a `CheckResponse`.
//!
//! A response without `status` is an allow to Envoy, and so is one whose status is OK whatever else
//! it says. So there are two ways to make one, and neither can be taken for the other: [`allow`]
//! writes status 0 and an `ok_response`, [`deny`] a code that is never 0 and a `denied_response`.

pub mod answer;

use super::inject::Mutations;
use super::wire::Writer;
use crate::denial::Denial;
use crate::policy::rule::CredentialHeaders;
use crate::side::Side;

/// Facts for Envoy's access log and rate-limit filters: dynamic metadata in the namespace
/// `envoy.filters.http.ext_authz`. Never a secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metadata<'a> {
    /// Joins Envoy's log with ours.
    pub decision_id: &'a str,
    /// The rule that decided.
    pub rule: Option<&'a str>,
    /// The key's identifier.
    pub key_id: Option<&'a str>,
    /// The key's role.
    pub role: Option<&'a str>,
    /// The caller's tier.
    pub tier: Option<&'a str>,
    /// The sandbox.
    pub sandbox: Option<&'a str>,
    /// The outside service.
    pub service: Option<&'a str>,
    /// `allow`, `deny` or `shadow`.
    pub outcome: &'a str,
    /// The public reason of a denial, or of what a shadow rule would have denied.
    pub reason: Option<&'a str>,
    /// The revision of the policy.
    pub revision: &'a str,
}

/// Response headers for the client.
pub type ClientHeaders<'a> = [(&'a str, &'a str)];

/// What a denial is rendered from.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub denial: Denial,
    /// Which proxy asked.
    pub side: Side,
    /// Whether a gRPC client reads the answer.
    pub grpc: bool,
    /// Shown to the caller, to be quoted to the operator.
    pub decision_id: &'a str,
}

// Field numbers of envoy.service.auth.v3.CheckResponse …
const STATUS: u32 = 1;
const DENIED_RESPONSE: u32 = 2;
const OK_RESPONSE: u32 = 3;
const DYNAMIC_METADATA: u32 = 4;
// … of OkHttpResponse …
const OK_HEADERS: u32 = 2;
const OK_HEADERS_TO_REMOVE: u32 = 5;
const OK_RESPONSE_HEADERS: u32 = 6;
// … and of DeniedHttpResponse.
const DENIED_STATUS: u32 = 1;
const DENIED_HEADERS: u32 = 2;
const DENIED_BODY: u32 = 3;

/// The request passes, with these changes.
pub fn allow(
    mutations: &Mutations<'_>,
    client: &ClientHeaders<'_>,
    metadata: &Metadata<'_>,
) -> Vec<u8> {
    let mut response = Writer::with_capacity(1024);
    response.message(STATUS, |_ok| {});
    response.message(OK_RESPONSE, |ok| {
        for (name, value) in &mutations.set {
            header(ok, OK_HEADERS, name, value);
        }
        for name in &mutations.remove {
            ok.text(OK_HEADERS_TO_REMOVE, name);
        }
        for (name, value) in client {
            header(ok, OK_RESPONSE_HEADERS, name, value);
        }
    });
    dynamic_metadata(&mut response, metadata);
    response.finish()
}

/// The request ends here, with this answer.
pub fn deny(refusal: Refusal<'_>, client: &ClientHeaders<'_>, metadata: &Metadata<'_>) -> Vec<u8> {
    let Refusal { denial, side, grpc, decision_id } = refusal;
    let mut response = Writer::with_capacity(1024);
    response.message(STATUS, |status| {
        status.number(1, u64::from(denial.grpc_code()));
        status.text(2, denial.reason());
    });
    response.message(DENIED_RESPONSE, |denied| {
        denied.message(DENIED_STATUS, |status| status.number(1, u64::from(denial.http_status())));
        for (name, value) in client {
            header(denied, DENIED_HEADERS, name, value);
        }
        header(denied, DENIED_HEADERS, "cache-control", "no-store");
        if grpc {
            // Envoy derives the code from the HTTP status (429 becomes UNAVAILABLE) unless told.
            header(denied, DENIED_HEADERS, "grpc-status", &denial.grpc_code().to_string());
            denied.text(DENIED_BODY, &format!("{} (decision {decision_id})", denial.title(side)));
        } else {
            header(denied, DENIED_HEADERS, "content-type", "application/problem+json");
            denied.text(DENIED_BODY, &problem(denial, side, decision_id));
        }
    });
    dynamic_metadata(&mut response, metadata);
    response.finish()
}

/// The challenge that goes with a 401 (RFC 9110 section 11.6.1, RFC 6750 section 3). Where no
/// `Authorization` is read there is no registered scheme to name, but the header is a must.
pub fn challenge(denial: Denial, headers: &CredentialHeaders) -> Option<&'static str> {
    let bearer = headers.0.iter().any(|name| &**name == "authorization");
    match denial {
        Denial::CredentialMissing if bearer => Some(r#"Bearer realm="gatepost""#),
        Denial::CredentialInvalid(_) if bearer => {
            Some(r#"Bearer realm="gatepost", error="invalid_token""#)
        }
        Denial::CredentialMissing | Denial::CredentialInvalid(_) => {
            Some(r#"ApiKey realm="gatepost""#)
        }
        Denial::CredentialAmbiguous
        | Denial::RequestMalformed(_)
        | Denial::Forbidden(_)
        | Denial::EgressDenied(_)
        | Denial::RateLimited(_)
        | Denial::DenialsLimited
        | Denial::CredentialUnavailable(_)
        | Denial::NotConfigured => None,
    }
}

/// The challenge of the egress (RFC 7617 section 2): git sends its token only after it, and to other
/// clients it says as much as any.
pub fn egress_challenge(denial: Denial) -> Option<&'static str> {
    (denial.http_status() == 401).then_some(r#"Basic realm="gatepost""#)
}

/// A problem document (RFC 9457). Every part is ours and needs no escaping.
fn problem(denial: Denial, side: Side, decision_id: &str) -> String {
    let (reason, title, status) = (denial.reason(), denial.title(side), denial.http_status());
    format!(
        r#"{{"type":"urn:gatepost:denial:{reason}","title":"{title}","status":{status},"decision_id":"{decision_id}"}}"#
    )
}

/// A `HeaderValueOption` that overwrites. Envoy 1.36 and 1.38 read `append` alone for request
/// headers, 1.37.0 reads `append_action` and takes neither as append: a client's own copy would
/// stay. Both fields say overwrite on every version.
fn header(writer: &mut Writer, field: u32, name: &str, value: &str) {
    const OVERWRITE_IF_EXISTS_OR_ADD: u64 = 2;
    writer.message(field, |option| {
        option.message(1, |header| {
            header.text(1, name);
            header.text(2, value);
        });
        option.message(2, |_append_is_false| {});
        option.number(3, OVERWRITE_IF_EXISTS_OR_ADD);
    });
}

/// `google.protobuf.Struct`: a map of names to string values. Field 4 of the response; the older
/// field inside `ok_response` would override it.
fn dynamic_metadata(response: &mut Writer, metadata: &Metadata<'_>) {
    let Metadata {
        decision_id,
        rule,
        key_id,
        role,
        tier,
        sandbox,
        service,
        outcome,
        reason,
        revision,
    } = *metadata;
    let fields = [
        ("decision_id", Some(decision_id)),
        ("rule", rule),
        ("key_id", key_id),
        ("role", role),
        ("tier", tier),
        ("sandbox", sandbox),
        ("service", service),
        ("outcome", Some(outcome)),
        ("reason", reason),
        ("revision", Some(revision)),
    ];
    response.message(DYNAMIC_METADATA, |map| {
        for (name, value) in fields {
            let Some(value) = value else { continue };
            map.message(1, |entry| {
                entry.text(1, name);
                entry.message(2, |text| text.text(3, value));
            });
        }
    });
}
