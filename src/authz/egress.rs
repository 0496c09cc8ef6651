//! The way of a request at the egress, one line a step.

use super::Allowed;
use super::authenticate::sandbox::{self, Caller, Proof, Refused};
use super::authorize;
use super::authorize::service::Found;
use super::decode::Request;
use super::inject::outgoing;
use super::limit;
use crate::clock::Now;
use crate::denial::{Denial, Outbound};
use crate::policy::Limits;
use crate::policy::egress::Egress;
use crate::ratelimit::Verdict;
use crate::ratelimit::memory::Counters;

/// What the steps saw of a call, as far as they got.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// Who calls, as far as that is known: also by a token that is not good.
    pub caller: Option<Caller<'a>>,
    /// What was judged.
    pub found: Found<'a>,
    /// How often the caller may make such a call.
    pub limits: Option<&'a Limits>,
    /// What is left of a limit, where it was counted.
    pub verdict: Option<Verdict>,
}

/// A denial of decoding in the words of this side: a method that no proxy may be asked for is one
/// more thing that a sandbox may not do.
pub(super) fn denial(decoding: Denial) -> Denial {
    if matches!(decoding, Denial::Forbidden(_)) {
        Denial::EgressDenied(Outbound::Method)
    } else {
        decoding
    }
}

impl<'a> Call<'a> {
    /// Takes the steps.
    ///
    /// # Errors
    /// Every denial but those of the gateway alone.
    pub(super) fn steps(
        &mut self,
        egress: &'a Egress,
        counters: &Counters,
        now: Now,
        request: &Request<'a>,
    ) -> Result<Allowed<'a>, Denial> {
        let result = self.judged(egress, counters, now, request);
        if matches!(result, Err(Denial::EgressDenied(_))) {
            // Whoever is refused too often is no longer told why: it would be probing.
            let verdict = limit::charge_denial(counters, self.caller, request.peer, now);
            if verdict.outcome.is_err() {
                self.verdict = Some(verdict);
                return Err(Denial::DenialsLimited);
            }
        }
        result
    }

    fn judged(
        &mut self,
        egress: &'a Egress,
        counters: &Counters,
        now: Now,
        request: &Request<'a>,
    ) -> Result<Allowed<'a>, Denial> {
        let caller = match sandbox::caller(&egress.map, request, now) {
            Ok(caller) => caller,
            Err(Refused { denial, caller }) => {
                self.caller = caller;
                return Err(denial);
            }
        };
        self.caller = Some(caller);
        let permit = authorize::outgoing(egress, request, caller, &mut self.found)?;
        self.limits = Some(permit.grant().limits);
        let (admitted, verdict) = limit::admit_call(counters, permit, request.peer, now);
        self.verdict = verdict;
        let admitted = admitted?;
        let mutations = outgoing::mutations(&admitted, request);
        Ok(Allowed { shadow: admitted.shadow(), mutations })
    }

    /// The id of the token that proved, or failed to prove, who calls.
    pub fn token_id(&self) -> Option<&'a str> {
        match self.caller?.proof {
            Proof::Token(token) => Some(&token.id),
            Proof::Certificate | Proof::Word => None,
        }
    }
}

#[cfg(test)]
mod tests;
