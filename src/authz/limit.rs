//! Step 4: how often.

use std::net::{IpAddr, Ipv6Addr};

use super::authenticate::Principal;
use super::authenticate::sandbox::Caller;
use super::authorize::service::Outgoing;
use super::authorize::{Grant, Permit};
use crate::clock::Now;
use crate::denial::Denial;
use crate::policy::rule::Mode;
use crate::policy::{Limit, Limits};
use crate::ratelimit::memory::Counters;
use crate::ratelimit::{Subject, Verdict};

/// Evidence that a permitted request is within its limits, and has been counted. Only this module
/// makes one.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<G> {
    permit: Permit<G>,
    shadow: Option<Denial>,
}

/// Counts the request against its caller's tier. The verdict is there for an anonymous caller too,
/// whose every window is unlimited: the client is told of limits on a denial as well.
///
/// # Errors
/// [`Denial::RateLimited`], which a rule in shadow mode only notes.
pub fn admit<'s>(
    counters: &Counters,
    permit: Permit<Grant<'s>>,
    now: Now,
) -> (Result<Admitted<Grant<'s>>, Denial>, Option<Verdict>) {
    let Grant { principal, rule } = permit.grant();
    let Some((subject, limits)) = account(principal) else {
        return (Ok(Admitted { permit, shadow: permit.shadow() }), None);
    };
    let verdict = counters.charge(subject, limits, now);
    (within(permit, rule.mode, &verdict), Some(verdict))
}

/// Counts a call against what its sandbox may make of this service.
///
/// # Errors
/// [`Denial::RateLimited`], which a service in shadow mode only notes.
pub fn admit_call<'a>(
    counters: &Counters,
    permit: Permit<Outgoing<'a>>,
    peer: Option<IpAddr>,
    now: Now,
) -> (Result<Admitted<Outgoing<'a>>, Denial>, Option<Verdict>) {
    let Outgoing { caller, service, limits, .. } = permit.grant();
    if *limits == Limits::UNLIMITED {
        return (Ok(Admitted { permit, shadow: permit.shadow() }), None);
    }
    let subject = match caller.sandbox {
        Some(sandbox) => Subject::new("egress", &[&sandbox.name, &service.name]),
        // Whoever may call itself what it likes would otherwise have as many counters as names.
        None => Subject::new("egress peer", &[&network(peer)]),
    };
    let verdict = counters.charge(subject, limits, now);
    (within(permit, service.mode, &verdict), Some(verdict))
}

/// How many denials of one caller are answered with their reason.
const DENIALS: Limits = Limits { minute: Limit::AtMost(60), hour: Limit::Unlimited };

/// Counts a denial against whoever caused it: the sandbox, where it is proven and configured, or
/// else the peer.
pub fn charge_denial(
    counters: &Counters,
    caller: Option<Caller<'_>>,
    peer: Option<IpAddr>,
    now: Now,
) -> Verdict {
    let subject = match caller.and_then(|caller| caller.sandbox) {
        Some(sandbox) => Subject::new("egress denials", &[&sandbox.name]),
        None => Subject::new("egress peer denials", &[&network(peer)]),
    };
    counters.charge(subject, &DENIALS, now)
}

/// An address as it is counted: one host has a whole /64 of IPv6 addresses to choose from.
fn network(peer: Option<IpAddr>) -> String {
    match peer {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_string()
        }
        None => String::new(),
    }
}

fn within<G: Copy>(
    permit: Permit<G>,
    mode: Mode,
    verdict: &Verdict,
) -> Result<Admitted<G>, Denial> {
    let exceeded = verdict.outcome.err().map(|exceeded| Denial::RateLimited(exceeded.window));
    match exceeded {
        Some(denial) if mode == Mode::Enforce => Err(denial),
        shadow => Ok(Admitted { permit, shadow: permit.shadow().or(shadow) }),
    }
}

/// Who is charged, and what they may use; `None` where nothing is counted.
fn account(principal: Principal<'_>) -> Option<(Subject, &Limits)> {
    let (id, tier) = (principal.id()?, principal.tier()?);
    if tier.limits == Limits::UNLIMITED {
        return None;
    }
    Some((Subject::new("gateway", &[id]), &tier.limits))
}

impl<G: Copy> Admitted<G> {
    /// What let it pass.
    pub fn permit(&self) -> Permit<G> {
        self.permit
    }

    /// What would have been the answer if the rule were enforced.
    pub fn shadow(&self) -> Option<Denial> {
        self.shadow
    }
}
