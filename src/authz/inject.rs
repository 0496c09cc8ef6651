//! Step 5: which headers the upstream gets, and which it never sees.

mod query;
pub mod outgoing;

use std::borrow::Cow;
use std::fmt;

use super::authenticate::credential_headers;
use super::authorize::Grant;
use super::decode::Request;
use super::limit::Admitted;
use crate::policy::Gateway;
use crate::policy::header::{self, folded, is_override, is_owned};
use crate::policy::rule::Selected;

/// What Envoy is to do to the request headers. No name is in both lists: Envoy removes last, so a
/// header that is set and removed would be gone.
#[derive(Default, PartialEq, Eq)]
pub struct Mutations<'a> {
    /// Set to this value, over whatever the client sent. At the egress some values are credentials.
    pub set: Vec<(&'a str, Cow<'a, str>)>,
    /// Removed wherever it came from. Envoy takes exact names alone.
    pub remove: Vec<&'a str>,
}

/// Names alone: some values are credentials.
impl fmt::Debug for Mutations<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set: Vec<&str> = self.set.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Mutations").field("set", &set).field("remove", &self.remove).finish()
    }
}

/// The headers of an admitted request. Whatever we vouch for is set or removed, and the credential
/// goes no further, also where none was asked for.
pub fn mutations<'a>(
    gateway: &'a Gateway,
    admitted: &Admitted<Grant<'a>>,
    request: &Request<'a>,
    decision_id: &'a str,
) -> Mutations<'a> {
    let Grant { principal: caller, rule } = admitted.permit().grant();
    let ours = [
        (header::KEY_ID, caller.id()),
        (header::ROLE, caller.role()),
        (header::TIER, caller.tier().map(|tier| &*tier.name)),
        (header::TENANT, caller.tenant()),
        (header::DECISION_ID, Some(decision_id)),
    ];
    let mut mutations =
        Mutations { set: Vec::with_capacity(ours.len()), remove: Vec::with_capacity(16) };
    for (name, value) in ours {
        match value {
            Some(value) => mutations.set.push((name, Cow::Borrowed(value))),
            None => mutations.remove.push(name),
        }
    }
    let credentials = credential_headers(gateway, Selected::Rule(rule));
    let credential = |name: &str| credentials.0.iter().any(|other| **other == *name);
    // A credential under an alias of its header was not read, and goes no further either.
    let overrides = |name: &str| is_override(name, gateway.options.trusted_hops > 0);
    let aliased =
        |name: &str| folded(name).is_some_and(|name| credential(&name) || overrides(&name));
    let unwanted = |name: &&str| is_owned(name) || overrides(name) || aliased(name);
    let sent = request.headers.names().filter(unwanted);
    let names = credentials.0.iter().map(|name| &**name).chain(sent);
    for name in [header::AGENT_SECRET].into_iter().chain(names) {
        if !mutations.remove.contains(&name) && mutations.set.iter().all(|(set, _)| *set != name) {
            mutations.remove.push(name);
        }
    }
    mutations
}
