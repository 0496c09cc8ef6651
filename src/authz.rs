//! The decision: [`decide`] is the way of a request, one line a step.

pub mod wire;
pub mod decode;
pub mod authenticate;
pub mod authorize;
pub mod limit;
pub mod inject;
pub mod quota;
pub mod respond;
pub mod sample;
pub mod service;
pub mod health;

use crate::clock::Now;
use crate::denial::Denial;
use crate::policy::key::Key;
use crate::policy::rule::Selected;
use crate::policy::{Gateway, Snapshot};
use crate::ratelimit::Verdict;
use crate::ratelimit::memory::Counters;
use crate::side::Side;
use crate::telemetry::Outcome;
use authenticate::{Principal, Refused};
use decode::{Facts, Request};
use inject::Mutations;
use limit::Admitted;
use respond::{Metadata, Refusal};

/// Everything that one decision came to, as far as it got.
#[derive(Debug)]
pub struct Decision<'a> {
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
    /// What the rules said.
    pub selected: Selected<'a>,
    /// Who called, if that is proven.
    pub principal: Option<Principal<'a>>,
    /// The key that was presented and is not good.
    pub refused_key: Option<Key<'a>>,
    /// What is left of the caller's limits, where it was counted.
    pub verdict: Option<Verdict>,
}

/// What an allowed request goes on with.
#[derive(Debug)]
pub struct Allowed<'a> {
    /// The evidence.
    pub admitted: Admitted<'a>,
    /// What becomes of its headers.
    pub mutations: Mutations<'a>,
    gateway: &'a Gateway,
}

/// Decides about the bytes of one `CheckRequest`, under an id that the upstream is told.
pub fn decide<'a>(
    snapshot: &'a Snapshot,
    counters: &Counters,
    now: Now,
    decision_id: &'a str,
    bytes: &'a [u8],
) -> Decision<'a> {
    let mut decision = Decision {
        snapshot,
        decision_id,
        outcome: Err(Denial::NotConfigured),
        facts: Facts::default(),
        request: None,
        selected: Selected::Nothing,
        principal: None,
        refused_key: None,
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
        let gateway = self.snapshot.gateway.as_ref().ok_or(Denial::NotConfigured)?;
        read?;
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
        Ok(Allowed { admitted, mutations, gateway })
    }

    /// The bytes of the `CheckResponse`.
    pub fn response(&self) -> Vec<u8> {
        let metadata = self.metadata();
        match &self.outcome {
            Ok(Allowed { admitted: _, mutations, gateway }) => {
                let client = quota::headers(gateway, self.limits(), self.verdict.as_ref());
                respond::allow(mutations, &client.borrowed(), &metadata)
            }
            Err(denial) => self.refuse(*denial, &metadata),
        }
    }

    fn refuse(&self, denial: Denial, metadata: &Metadata<'_>) -> Vec<u8> {
        let refusal = Refusal {
            denial,
            side: Side::Gateway,
            grpc: self.facts.grpc,
            decision_id: metadata.decision_id,
        };
        let limited = matches!(denial, Denial::RateLimited(_));
        let gateway = self.snapshot.gateway.as_ref();
        let quota = match gateway {
            // A denial for another reason tells nobody what is left: it would let others probe.
            Some(gateway) if limited => {
                quota::headers(gateway, self.limits(), self.verdict.as_ref())
                    .and_retry_after(self.verdict.as_ref())
            }
            Some(_) | None => quota::Headers::default(),
        };
        let mut client = quota.borrowed();
        if let Some(gateway) = gateway {
            let headers = authenticate::credential_headers(gateway, self.selected);
            client.extend(
                respond::challenge(denial, headers).map(|value| ("www-authenticate", value)),
            );
        }
        respond::deny(refusal, &client, metadata)
    }

    /// The limits of the caller's tier, as far as it is known.
    pub fn limits(&self) -> Option<&'a crate::policy::Limits> {
        self.principal?.tier().map(|tier| &tier.limits)
    }

    fn metadata(&self) -> Metadata<'_> {
        let caller = self.caller();
        Metadata {
            decision_id: self.decision_id,
            rule: self.rule_id(),
            key_id: caller.id(),
            role: caller.role(),
            tier: caller.tier().map(|tier| &*tier.name),
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
            Ok(allowed) => allowed.admitted.shadow().map_or(Outcome::Allow, Outcome::Shadow),
            Err(denial) => Outcome::Deny(*denial),
        }
    }

    /// Why not; or, under a rule in shadow mode, why it would not have been.
    pub fn denial(&self) -> Option<Denial> {
        self.recorded().denial()
    }
}
