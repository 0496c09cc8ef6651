//! Step 3: may it.

pub mod service;

use super::authenticate::Principal;
use super::authenticate::sandbox::Caller;
use super::decode::Request;
use crate::denial::{Denial, Forbidden, Malformed};
use crate::policy::Gateway;
use crate::policy::egress::Egress;
use crate::policy::rule::{Mode, Rule, Selected};
use service::Outgoing;

/// Evidence that a request may pass, rate limits aside. Only this module makes one. What it is
/// granted is a [`Grant`] at the gateway and an [`Outgoing`] at the egress.
#[derive(Clone, Copy, Debug)]
pub struct Permit<G> {
    grant: G,
    shadow: Option<Denial>,
}

/// Who may pass at the gateway, and the rule that lets them.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'s> {
    /// Who may pass.
    pub principal: Principal<'s>,
    /// The rule that let them.
    pub rule: &'s Rule,
}

/// What must hold before anybody asks who is calling: a connection that the policy accepts, and a
/// path that means one thing under the rule that decides about it.
///
/// # Errors
/// [`Denial::RequestMalformed`]
pub fn admissible(
    gateway: &Gateway,
    selected: Selected<'_>,
    request: &Request<'_>,
) -> Result<(), Denial> {
    if gateway.options.require_https && !request.is_https() {
        return Err(Denial::RequestMalformed(Malformed::HttpsRequired));
    }
    let allowed = selected.rule().map(|rule| rule.allow_encoded).unwrap_or_default();
    if !request.path.escapes.within(allowed) {
        return Err(Denial::RequestMalformed(Malformed::PathAmbiguous));
    }
    Ok(())
}

/// Whether this caller meets what the rule requires. Under a rule in shadow mode a requirement that
/// is not met is noted in the permit instead.
///
/// # Errors
/// [`Denial::Forbidden`]
pub fn permit<'s>(
    selected: Selected<'s>,
    principal: Principal<'s>,
) -> Result<Permit<Grant<'s>>, Denial> {
    let (rule, shadow, unmet) = match selected {
        Selected::Rule(rule) => (rule, rule.mode == Mode::Shadow, unmet(rule, principal)),
        Selected::NoMethod { rule, shadow } => (rule, shadow, Some(Forbidden::Method)),
        Selected::Nothing => return Err(Denial::Forbidden(Forbidden::NoRule)),
        Selected::Unknown => return Err(Denial::Forbidden(Forbidden::RuleUnknown)),
    };
    match unmet.map(Denial::Forbidden) {
        Some(denial) if !shadow => Err(denial),
        shadow => Ok(Permit { grant: Grant { principal, rule }, shadow }),
    }
}

fn unmet(rule: &Rule, principal: Principal<'_>) -> Option<Forbidden> {
    if !has_role(rule, principal) {
        return Some(Forbidden::Role);
    }
    if !has_tenant(rule, principal) {
        return Some(Forbidden::Tenant);
    }
    if !has_scopes(rule, principal) {
        return Some(Forbidden::Scope);
    }
    None
}

/// Whether the caller has one of the roles that the rule asks for, if it asks.
pub fn has_role(rule: &Rule, principal: Principal<'_>) -> bool {
    among(rule.roles.as_deref(), principal.role())
}

/// Whether the caller belongs to one of the tenants that the rule asks for, if it asks.
pub fn has_tenant(rule: &Rule, principal: Principal<'_>) -> bool {
    among(rule.tenants.as_deref(), principal.tenant())
}

/// Whether the caller has all scopes that the rule asks for.
pub fn has_scopes(rule: &Rule, principal: Principal<'_>) -> bool {
    rule.scopes.iter().all(|wanted| principal.scopes().contains(wanted))
}

/// Whether what is held is one of those wanted; a rule that names none wants nothing.
fn among(wanted: Option<&[Box<str>]>, held: Option<&str>) -> bool {
    match wanted {
        None => true,
        Some(wanted) => held.is_some_and(|held| wanted.iter().any(|one| **one == *held)),
    }
}

/// Whether this sandbox may make this call, and with which credential. `found` gets what was found
/// out on the way there.
///
/// # Errors
/// [`Denial::EgressDenied`], [`Denial::RequestMalformed`] or [`Denial::CredentialUnavailable`]
pub fn outgoing<'a>(
    egress: &'a Egress,
    request: &Request<'a>,
    caller: Caller<'a>,
    found: &mut service::Found<'a>,
) -> Result<Permit<Outgoing<'a>>, Denial> {
    let (grant, shadow) = service::judge(egress, request, caller, found)?;
    Ok(Permit { grant, shadow })
}

impl<G: Copy> Permit<G> {
    /// What is granted.
    pub fn grant(&self) -> G {
        self.grant
    }

    /// What would have been the answer if the rule were enforced.
    pub fn shadow(&self) -> Option<Denial> {
        self.shadow
    }
}
