//! Step 4: how often.

use super::authenticate::Principal;
use super::authorize::Permit;
use crate::clock::Now;
use crate::denial::Denial;
use crate::policy::Limits;
use crate::policy::rule::Mode;
use crate::ratelimit::memory::Counters;
use crate::ratelimit::{Subject, Verdict};

/// Evidence that a permitted request is within its limits, and has been counted. Only this module
/// makes one.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'s> {
    permit: Permit<'s>,
    shadow: Option<Denial>,
}

/// Counts the request against its caller's tier. The verdict is there for an anonymous caller too,
/// whose every window is unlimited: the client is told of limits on a denial as well.
///
/// # Errors
/// [`Denial::RateLimited`], which a rule in shadow mode only notes.
pub fn admit<'s>(
    counters: &Counters,
    permit: Permit<'s>,
    now: Now,
) -> (Result<Admitted<'s>, Denial>, Option<Verdict>) {
    let Some((subject, limits)) = account(permit.principal()) else {
        return (Ok(Admitted { permit, shadow: permit.shadow() }), None);
    };
    let verdict = counters.charge(subject, limits, now);
    let exceeded = verdict.outcome.err().map(|exceeded| Denial::RateLimited(exceeded.window));
    let result = match exceeded {
        Some(denial) if permit.rule().mode == Mode::Enforce => Err(denial),
        shadow => Ok(Admitted { permit, shadow: permit.shadow().or(shadow) }),
    };
    (result, Some(verdict))
}

/// Who is charged, and what they may use; `None` where nothing is counted.
fn account(principal: Principal<'_>) -> Option<(Subject, &Limits)> {
    let (id, tier) = (principal.id()?, principal.tier()?);
    if tier.limits == Limits::UNLIMITED {
        return None;
    }
    Some((Subject::new("gateway", &[id]), &tier.limits))
}

impl<'s> Admitted<'s> {
    /// What let it pass.
    pub fn permit(&self) -> Permit<'s> {
        self.permit
    }

    /// What would have been the answer if the rule were enforced.
    pub fn shadow(&self) -> Option<Denial> {
        self.shadow
    }
}
