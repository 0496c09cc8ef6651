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
use crate::policy::rule::Selected;
use crate::policy::{Gateway, Snapshot};
use crate::ratelimit::Verdict;
use crate::ratelimit::memory::Counters;
use authenticate::Principal;
use decode::{Facts, Request};
use limit::Admitted;
use respond::{Metadata, Refusal};

/// Everything that one decision came to, as far as it got.
#[derive(Debug)]
pub struct Decision<'a> {
    /// The policy that decided.
    pub snapshot: &'a Snapshot,
    /// The answer.
    pub outcome: Result<Admitted<'a>, Denial>,
    /// What stands in the message, judged or not.
    pub facts: Facts<'a>,
    /// The request, if it could be judged.
    pub request: Option<Request<'a>>,
    /// What the rules said.
    pub selected: Selected<'a>,
    /// Who called, if that is known.
    pub principal: Option<Principal<'a>>,
    /// What is left of the caller's limits, where it was counted.
    pub verdict: Option<Verdict>,
}

/// Decides about the bytes of one `CheckRequest`.
pub fn decide<'a>(
    snapshot: &'a Snapshot,
    counters: &Counters,
    now: Now,
    bytes: &'a [u8],
) -> Decision<'a> {
    let mut decision = Decision {
        snapshot,
        outcome: Err(Denial::NotConfigured),
        facts: Facts::default(),
        request: None,
        selected: Selected::Nothing,
        principal: None,
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
    ) -> Result<Admitted<'a>, Denial> {
        // Read first: whoever is refused for want of a policy is answered in their own protocol too.
        let read = Facts::read(bytes).map(|facts| self.facts = facts);
        let gateway = self.snapshot.gateway.as_ref().ok_or(Denial::NotConfigured)?;
        read?;
        let request = self.request.insert(self.facts.request()?);
        self.selected =
            gateway.rules.select(request.rule, &request.host, &request.path.text, request.method);
        authorize::admissible(gateway, self.selected, request)?;
        let principal = authenticate::principal(gateway, self.selected, request, now)?;
        self.principal = Some(principal);
        let permit = authorize::permit(self.selected, principal)?;
        let (admitted, verdict) = limit::admit(counters, permit, now);
        self.verdict = verdict;
        admitted
    }

    /// The bytes of the `CheckResponse`.
    pub fn response(&self, decision_id: &str) -> Vec<u8> {
        let metadata = self.metadata(decision_id);
        let Some(gateway) = &self.snapshot.gateway else {
            return self.refuse(Denial::NotConfigured, None, &metadata);
        };
        match (&self.outcome, &self.request) {
            (Ok(admitted), Some(request)) => {
                let mutations = inject::mutations(gateway, admitted, request, decision_id);
                let client = quota::headers(gateway, self.limits(), self.verdict.as_ref());
                respond::allow(&mutations, &client.borrowed(), &metadata)
            }
            (Err(denial), _) => self.refuse(*denial, Some(gateway), &metadata),
            // Nothing is admitted without a request.
            (Ok(_), None) => self.refuse(Denial::NotConfigured, None, &metadata),
        }
    }

    fn refuse(
        &self,
        denial: Denial,
        gateway: Option<&Gateway>,
        metadata: &Metadata<'_>,
    ) -> Vec<u8> {
        let refusal = Refusal { denial, grpc: self.facts.grpc, decision_id: metadata.decision_id };
        let limited = matches!(denial, Denial::RateLimited(_));
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

    fn limits(&self) -> Option<&'a crate::policy::Limits> {
        match self.principal? {
            Principal::Anonymous => None,
            Principal::Key(key) => Some(&key.tier().limits),
            Principal::AnyKey(tier) => Some(&tier.limits),
        }
    }

    fn metadata<'d>(&'d self, decision_id: &'d str) -> Metadata<'d> {
        let (key_id, role, tier, _) = self.who();
        Metadata {
            decision_id,
            rule: self.rule_id(),
            key_id,
            role,
            tier,
            outcome: self.outcome_name(),
            reason: self.denial().map(Denial::reason),
            revision: &self.snapshot.revision.0,
        }
    }

    /// Key id, role, tier and tenant of the caller, as far as they are known.
    pub fn who(&self) -> (Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>) {
        match self.principal {
            None | Some(Principal::Anonymous) => (None, None, None, None),
            Some(Principal::Key(key)) => {
                (Some(key.id()), key.role(), Some(&key.tier().name), key.tenant())
            }
            Some(Principal::AnyKey(tier)) => (Some(limit::ANY_KEY), None, Some(&tier.name), None),
        }
    }

    /// The rule that decided.
    pub fn rule_id(&self) -> Option<&'a str> {
        self.selected.rule().map(|rule| &*rule.id)
    }

    /// Why not; or, under a rule in shadow mode, why it would not have been.
    pub fn denial(&self) -> Option<Denial> {
        match &self.outcome {
            Ok(admitted) => admitted.shadow(),
            Err(denial) => Some(*denial),
        }
    }

    fn outcome_name(&self) -> &'static str {
        match &self.outcome {
            Ok(admitted) if admitted.shadow().is_some() => "shadow",
            Ok(_) => "allow",
            Err(_) => "deny",
        }
    }
}
