//! Step 3 at the egress: may this sandbox make this call, and is there a credential for it.

use crate::authz::authenticate::sandbox::{Caller, holds_token};
use crate::authz::decode::Request;
use crate::authz::decode::addressed::{Addressed, addressed};
use crate::denial::{Denial, Malformed, Outbound, Unavailable};
use crate::policy::Limits;
use crate::policy::credential::Injection;
use crate::policy::destination::ServiceId;
use crate::policy::egress::{Egress, Sandbox, Service, Target, Tier};
use crate::policy::rule::Mode;

/// A call that may go out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Who makes it.
    pub caller: Caller<'a>,
    /// To which service.
    pub service: &'a Service,
    /// Where that is at this moment.
    pub target: &'a Target,
    /// What it goes with; `None` only where the service has no credential at all.
    pub injection: Option<&'a Injection>,
    /// How often the caller may make it.
    pub limits: &'a Limits,
    /// The service's part of the path as it was sent, with the query.
    pub sent: &'a str,
}

/// What the judgement has found out, as far as it got: for the log and for `explain`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found<'a> {
    /// The service that is addressed.
    pub service: Option<&'a Service>,
    /// The caller's tier.
    pub tier: Option<&'a Tier>,
    /// Where the call goes.
    pub target: Option<&'a Target>,
    /// The name of the credential that it goes with.
    pub credential: Option<&'a str>,
}

/// Judges a call. Under a service in shadow mode a method or path that is not allowed is noted
/// instead; who calls and what its tier has always hold.
pub(super) fn judge<'a>(
    egress: &'a Egress,
    request: &Request<'a>,
    caller: Caller<'a>,
    found: &mut Found<'a>,
) -> Result<(Outgoing<'a>, Option<Denial>), Denial> {
    let denied = |outbound| Denial::EgressDenied(outbound);
    let map = &*egress.map;
    found.tier = map.tier(caller.sandbox);
    let address = addressed(request, &map.options.proxy_hosts);
    let Addressed { service, path, sent } = address.ok_or(denied(Outbound::UnknownService))?;
    let (id, service) = map.service(service).ok_or(denied(Outbound::UnknownService))?;
    found.service = Some(service);
    let tier = found.tier.filter(|tier| tier.has(id)).ok_or(denied(Outbound::Tier))?;
    if !request.path.escapes.within(service.allow_encoded) {
        return Err(Denial::RequestMalformed(Malformed::PathAmbiguous));
    }
    // A token belongs between agent and proxy, and a path can go on only as it is.
    if holds_token(request.path.sent.as_bytes()) || holds_token(path.as_bytes()) {
        return Err(denied(Outbound::Path));
    }
    let unmet = if !service.methods.contains(request.method) {
        Some(denied(Outbound::Method))
    } else if !service.allows_path(path) {
        Some(denied(Outbound::Path))
    } else {
        None
    };
    let shadow = match unmet {
        Some(denial) if service.mode == Mode::Enforce => return Err(denial),
        shadow => shadow,
    };
    // Every service has a target; one that had none could not be called.
    let target = egress.live.get(id.0).ok_or(denied(Outbound::UnknownService))?;
    found.target = Some(target);
    let injection = credential(target, id, caller.sandbox, found)?;
    let limits = tier.limits(id);
    Ok((Outgoing { caller, service, target, injection, limits, sent }, shadow))
}

/// The credential of this sandbox for this service: its own, or else the one of the service's name.
/// A service that has credentials, and none for this sandbox, is not called without one.
fn credential<'a>(
    target: &'a Target,
    id: ServiceId,
    sandbox: Option<&'a Sandbox>,
    found: &mut Found<'a>,
) -> Result<Option<&'a Injection>, Denial> {
    if target.credentials.is_empty() {
        return Ok(None);
    }
    let own = sandbox.and_then(|sandbox| sandbox.credentials.get(&id));
    let name = own.unwrap_or(&target.service);
    found.credential = Some(name);
    let unavailable = Denial::CredentialUnavailable;
    let supply = target.credentials.get(name).ok_or(unavailable(Unavailable::Unresolved))?;
    match &**supply {
        Ok(injection) => Ok(Some(injection)),
        Err(why) => Err(unavailable(*why)),
    }
}
