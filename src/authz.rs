//! The decision: [`decide`] is the way of a request, one line a step.

pub mod wire;
pub mod decode;
pub mod authenticate;
pub mod authorize;
pub mod limit;
pub mod inject;
pub mod quota;
pub mod respond;
pub mod egress;
pub mod sample;
pub mod service;
pub mod health;

use authenticate::{Principal, Refused};
use decode::{Facts, Request};
use egress::Call;
use inject::Mutations;
use respond::{Metadata, Refusal};

use crate::clock::Now;
use crate::denial::Denial;
use crate::policy::key::Key;
use crate::policy::rule::Selected;
use crate::policy::{Gateway, Limits, Snapshot};
use crate::ratelimit::Verdict;
use crate::ratelimit::memory::Counters;
use crate::side::Side;
use crate::telemetry::Outcome;

/// Everything that one decision came to, as far as it got.
#[derive(Debug)]
pub struct Decision<'a> {
    /// Which proxy asked.
    pub side: Side,
    /// The policy that decided.
    pub snapshot: &'a Snapshot,
    /// Its id, in the log, in the metadata and in the answer.
    pub decision_id: &'a str,
    /// The answer.
    pub outcome: Result<Allowed<'a>, Denial>,
    /// What stands in the message, judged or not.
    pub facts: Facts<'a>,
    /// The request, if it could be judged.
    pub request: Option<Request<'a>>,
    /// What the gateway's rules said.
    pub selected: Selected<'a>,
    /// Who called the gateway, if that is proven.
    pub principal: Option<Principal<'a>>,
    /// The key that was presented and is not good.
    pub refused_key: Option<Key<'a>>,
    /// What the egress found.
    pub call: Call<'a>,
    /// What is left of the caller's limits, where it was counted.
    pub verdict: Option<Verdict>,
}

/// What an allowed request goes on with.
#[derive(Debug)]
pub struct Allowed<'a> {
    /// What would have been the answer, were the rule or service not in shadow mode.
    pub shadow: Option<Denial>,
    /// What becomes of its headers.
    pub mutations: Mutations<'a>,
}

/// Decides about the bytes of one `CheckRequest` that came from this proxy, under an id that logs
/// and answer carry.
pub fn decide<'a>(
    side: Side,
    snapshot: &'a Snapshot,
    counters: &Counters,
    now: Now,
    decision_id: &'a str,
    bytes: &'a [u8],
) -> Decision<'a> {
    let mut decision = Decision {
        side,
        snapshot,
        decision_id,
        outcome: Err(Denial::NotConfigured),
        facts: Facts::default(),
        request: None,
        selected: Selected::Nothing,
        principal: None,
        refused_key: None,
        call: Call::default(),
        verdict: None,
    };
    decision.outcome = decision.steps(counters, now, bytes);
    decision
}

impl<'a> Decision<'a> {
    fn steps(
        &mut self,
        counters: &Counters,
        now: Now,
        bytes: &'a [u8],
    ) -> Result<Allowed<'a>, Denial> {
        // Read first: whoever is refused for want of a policy is answered in their own protocol too.
        let read = Facts::read(bytes).map(|facts| self.facts = facts);
        match self.side {
            Side::Gateway => {
                let gateway = self.snapshot.gateway.as_deref().ok_or(Denial::NotConfigured)?;
                read?;
                self.gateway_steps(gateway, counters, now)
            }
            Side::Egress => {
                let egress = self.snapshot.egress.as_ref().ok_or(Denial::NotConfigured)?;
                read?;
                let request = self.facts.request().map_err(egress::denial)?;
                let request = self.request.insert(request);
                let outcome = self.call.steps(egress, counters, now, request);
                self.verdict = self.call.verdict;
                outcome
            }
        }
    }

    fn gateway_steps(
        &mut self,
        gateway: &'a Gateway,
        counters: &Counters,
        now: Now,
    ) -> Result<Allowed<'a>, Denial> {
        let request = self.request.insert(self.facts.request()?);
        self.selected =
            gateway.rules.select(request.rule, &request.host, &request.path.text, request.method);
        authorize::admissible(gateway, self.selected, request)?;
        let principal = match authenticate::principal(gateway, self.selected, request, now) {
            Ok(principal) => principal,
            Err(Refused { denial, key }) => {
                self.refused_key = key;
                return Err(denial);
            }
        };
        self.principal = Some(principal);
        let permit = authorize::permit(self.selected, principal)?;
        let (admitted, verdict) = limit::admit(counters, permit, now);
        self.verdict = verdict;
        let admitted = admitted?;
        let mutations = inject::mutations(gateway, &admitted, request, self.decision_id);
        Ok(Allowed { shadow: admitted.shadow(), mutations })
    }

    /// The bytes of the `CheckResponse`.
    pub fn response(&self) -> Vec<u8> {
        let metadata = self.metadata();
        match &self.outcome {
            Ok(Allowed { shadow: _, mutations }) => {
                let client = match (self.side, &self.snapshot.gateway) {
                    (Side::Gateway, Some(gateway)) => {
                        quota::headers(gateway, self.limits(), self.verdict.as_ref())
                    }
                    // What is left of the service's own limits is for the service to tell.
                    (Side::Gateway, None) | (Side::Egress, _) => quota::Headers::default(),
                };
                respond::allow(mutations, &client.borrowed(), &metadata)
            }
            Err(denial) => self.refuse(*denial, &metadata),
        }
    }

    fn refuse(&self, denial: Denial, metadata: &Metadata<'_>) -> Vec<u8> {
        let refusal = Refusal {
            denial,
            side: self.side,
            grpc: self.facts.grpc,
            decision_id: metadata.decision_id,
        };
        // A denial for another reason tells nobody what is left: it would let others probe.
        let limited = matches!(denial, Denial::RateLimited(_) | Denial::DenialsLimited);
        let verdict = self.verdict.as_ref();
        let quota = match (self.side, self.snapshot.gateway.as_deref()) {
            (Side::Gateway, Some(gateway)) if limited => {
                quota::headers(gateway, self.limits(), verdict).and_retry_after(verdict)
            }
            (Side::Egress, _) if limited => quota::Headers::default().and_retry_after(verdict),
            (Side::Gateway | Side::Egress, _) => quota::Headers::default(),
        };
        let mut client = quota.borrowed();
        let challenge = match (self.side, self.snapshot.gateway.as_deref()) {
            (Side::Gateway, Some(gateway)) => {
                let headers = authenticate::credential_headers(gateway, self.selected);
                respond::challenge(denial, headers)
            }
            (Side::Gateway, None) => None,
            (Side::Egress, _) => respond::egress_challenge(denial),
        };
        client.extend(challenge.map(|value| ("www-authenticate", value)));
        respond::deny(refusal, &client, metadata)
    }

    /// The limits of the caller, as far as they are known.
    pub fn limits(&self) -> Option<&'a Limits> {
        match self.side {
            Side::Gateway => self.principal?.tier().map(|tier| &tier.limits),
            Side::Egress => self.call.limits,
        }
    }

    /// The name of the caller's tier, as far as it is known.
    pub fn tier(&self) -> Option<&'a str> {
        match self.side {
            Side::Gateway => self.caller().tier().map(|tier| &*tier.name),
            Side::Egress => self.call.found.tier.map(|tier| &*tier.name),
        }
    }

    fn metadata(&self) -> Metadata<'_> {
        let caller = self.caller();
        Metadata {
            decision_id: self.decision_id,
            rule: self.rule_id(),
            key_id: caller.id(),
            role: caller.role(),
            tier: self.tier(),
            sandbox: self.call.caller.map(|caller| caller.name),
            service: self.call.found.service.map(|service| &*service.name),
            outcome: self.recorded().name(),
            reason: self.denial().map(Denial::reason),
            revision: &self.snapshot.revision.0,
        }
    }

    /// Who called, as far as that is known: also by a key that is not good.
    pub fn caller(&self) -> Principal<'a> {
        match (self.principal, self.refused_key) {
            (Some(principal), _) => principal,
            (None, Some(key)) => Principal::Key(key),
            (None, None) => Principal::Anonymous,
        }
    }

    /// The rule that decided.
    pub fn rule_id(&self) -> Option<&'a str> {
        self.selected.rule().map(|rule| &*rule.id)
    }

    /// How it ended, as logs, metrics and metadata name it.
    pub fn recorded(&self) -> Outcome {
        match &self.outcome {
            Ok(allowed) => allowed.shadow.map_or(Outcome::Allow, Outcome::Shadow),
            Err(denial) => Outcome::Deny(*denial),
        }
    }

    /// Why not; or, under a rule in shadow mode, why it would not have been.
    pub fn denial(&self) -> Option<Denial> {
        self.recorded().denial()
    }
}
