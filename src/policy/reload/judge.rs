//! Whether what the files say comes to hold, and what follows from it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::watch::{Look, Stamps, look};
use super::{Reloader, Socket, Version};
use crate::clock::Now;
use crate::denial::Unavailable;
use crate::policy::Snapshot;
use crate::policy::changes;
use crate::policy::egress::Egress;
use crate::policy::load::{EGRESS, Error, Files, GATEWAY, Guarded, SECRETS};
use crate::policy::secrets::{State, Store};
use crate::policy::stamp::Found;
use crate::side::Side;
use crate::telemetry::{CredentialFacts, PolicyFacts};

/// An edit that loses fewer of something than this is never refused for it.
const GUARDED_LOSS: usize = 20;

/// A policy that may come to hold, and the credentials that it was supplied with.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) snapshot: Snapshot,
    pub(super) secrets: Store,
}

impl Reloader {
    /// Looks at all files, of the policy and of secrets.
    pub(super) fn look(&self) -> Look {
        Look { policy: look(&self.directory), secrets: self.secrets.look() }
    }

    /// The directories in which something may change.
    pub(super) fn directories(&self) -> BTreeSet<&Path> {
        let mut directories = self.secrets.directories();
        directories.insert(&self.directory);
        directories
    }

    /// The policy that the files describe, which had these stamps; `None` where it is the one that
    /// holds.
    pub(super) fn next(
        &self,
        files: &Files,
        stamps: &Stamps,
        holds: &Version,
        now: Now,
    ) -> Result<Option<Next>, Error> {
        let old = self.policy.load_full();
        let missing = |name| Err(Error::Missing(self.directory.join(name)));
        for (side, name) in [(Side::Gateway, GATEWAY), (Side::Egress, EGRESS)] {
            if is_on(&old, side) && !has(files, side) {
                return missing(name);
            }
        }
        let had_secrets = matches!(holds.stamps.secrets, Found::File(_));
        if old.egress.is_some() && had_secrets && matches!(stamps.secrets, Found::Nothing(_)) {
            return missing(SECRETS);
        }
        if files.fingerprint() == holds.fingerprint {
            return Ok(None);
        }
        // A copy: what is refused must leave no trace in what is kept.
        let mut secrets = self.secrets.clone();
        let generation = old.generation.saturating_add(1);
        let compiled = files.compile(self.strictness, generation, &mut secrets, now)?;
        let snapshot = self.served(compiled);
        if snapshot.egress.is_none() {
            secrets = self.secrets.clone();
        }
        guard(&old, &snapshot)?;
        Ok(Some(Next { snapshot, secrets }))
    }

    /// The snapshot without the sides that nobody can ask about.
    fn served(&self, mut snapshot: Snapshot) -> Snapshot {
        for (side, name) in [(Side::Gateway, GATEWAY), (Side::Egress, EGRESS)] {
            let bound = match self.socket(side) {
                Socket::Bound(_) => true,
                Socket::Unbound => false,
            };
            if bound || !is_on(&snapshot, side) {
                continue;
            }
            let side_name = side.name();
            tracing::warn!(
                "{name} is there now, and the {side_name} has no socket: it stays off until a restart"
            );
            match side {
                Side::Gateway => snapshot.gateway = None,
                Side::Egress => snapshot.egress = None,
            }
        }
        snapshot
    }

    /// Lets the policy hold, and returns what held before.
    pub(super) fn publish(&mut self, next: Next, now: Now) -> Option<Arc<Snapshot>> {
        let Next { snapshot, secrets } = next;
        // Targets may have been promoted since the policy was judged: what holds is what counts.
        let old = self.policy.update(|old| {
            let egress = snapshot.egress.map(|egress| match &old.egress {
                Some(before) => egress.after(before),
                None => egress,
            });
            let generation = old.generation.saturating_add(1);
            Some(Snapshot { generation, egress, ..snapshot })
        });
        let new = self.policy.load_full();
        let changes = old.as_ref().map_or(String::new(), |old| changes::describe(old, &new));
        tracing::info!(revision = %new.revision, generation = new.generation, changes, "policy loaded");
        self.metrics.policy_loaded(facts(&new), now);
        self.adopt(secrets);
        for side in Side::ALL {
            // Ready, as far as this side is concerned.
            if is_on(&new, side)
                && let Socket::Bound(unready) = self.socket_mut(side)
            {
                *unready = None;
            }
        }
        let mut state = self.status.lock();
        state.loaded_at = now.unix;
        state.checked_at = now.unix;
        state.error = None;
        state.error_since = None;
        old
    }

    /// Supplies the policy that holds with the values that its sources have now. It needs no policy
    /// file. Returns what held before, if requests get anything else now.
    pub(super) fn resupply(&mut self, now: Now) -> Option<Arc<Snapshot>> {
        let map = Arc::clone(&self.policy.load().egress.as_ref()?.map);
        let mut secrets = self.secrets.clone();
        let wanted = secrets.supply(&map, now);
        let same = secrets.supplies_same(&self.secrets);
        self.adopt(secrets);
        if same {
            return None;
        }
        let old = self.policy.update(|old| {
            let egress = Egress::new(map, wanted).after(old.egress.as_ref()?);
            let generation = old.generation.saturating_add(1);
            Some(Snapshot { generation, egress: Some(egress), ..old.clone() })
        });
        let new = self.policy.load_full();
        self.metrics.policy_renewed(facts(&new));
        tracing::info!(
            revision = %new.revision,
            generation = new.generation,
            "the policy holds with the credentials as they are now"
        );
        old
    }

    /// These are the credentials that requests get from now on.
    fn adopt(&mut self, secrets: Store) {
        secrets.announce(Some(&self.secrets));
        self.secrets = secrets;
        self.show();
    }

    /// Shows how the credentials stand.
    pub(super) fn show(&self) {
        self.metrics.credentials(credential_facts(&self.secrets));
        self.status.lock().credentials = self.secrets.reports().cloned().collect();
    }

    pub(super) fn unchanged(&self, now: Now) {
        self.metrics.policy_unchanged(now);
        let mut state = self.status.lock();
        if state.error.is_some() {
            tracing::info!("the policy files say again what holds");
        }
        state.checked_at = now.unix;
        state.error = None;
        state.error_since = None;
    }

    pub(super) fn refused(&self, error: &Error, now: Now) {
        self.metrics.policy_refused();
        let text = error.to_string();
        for line in text.lines() {
            tracing::error!("policy refused: {line}");
        }
        let mut state = self.status.lock();
        state.checked_at = now.unix;
        state.error_since = state.error_since.or(Some(now.unix));
        state.error = Some(text);
    }

    const fn socket(&self, side: Side) -> &Socket {
        match side {
            Side::Gateway => &self.sockets.gateway,
            Side::Egress => &self.sockets.egress,
        }
    }

    const fn socket_mut(&mut self, side: Side) -> &mut Socket {
        match side {
            Side::Gateway => &mut self.sockets.gateway,
            Side::Egress => &mut self.sockets.egress,
        }
    }
}

/// Whether the files have one for this side.
fn has(files: &Files, side: Side) -> bool {
    match side {
        Side::Gateway => files.has_gateway(),
        Side::Egress => files.has_egress(),
    }
}

const fn is_on(snapshot: &Snapshot, side: Side) -> bool {
    match side {
        Side::Gateway => snapshot.gateway.is_some(),
        Side::Egress => snapshot.egress.is_some(),
    }
}

/// Refuses to lose most of something by an edit that does not say that this is meant.
pub(super) fn guard(old: &Snapshot, new: &Snapshot) -> Result<(), Error> {
    let mut counts = Vec::new();
    if let (Some(old), Some(new)) = (&old.gateway, &new.gateway)
        && !new.options.allow_shrink
    {
        counts.push((Guarded::Keys, old.keys.len(), new.keys.len()));
    }
    if let (Some(old), Some(new)) = (&old.egress, &new.egress)
        && !new.map.options.allow_shrink
    {
        let (old, new) = (&old.map, &new.map);
        counts.push((Guarded::Services, old.services.len(), new.services.len()));
        counts.push((Guarded::Sandboxes, old.sandboxes.len(), new.sandboxes.len()));
    }
    for (what, before, after) in counts {
        let lost = before.saturating_sub(after);
        if lost >= GUARDED_LOSS && lost > before / 2 {
            return Err(Error::Shrunk { what, before, after });
        }
    }
    Ok(())
}

/// What the metrics show of a snapshot.
pub fn facts(snapshot: &Snapshot) -> PolicyFacts {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let (gateway, egress) = (snapshot.gateway.as_ref(), snapshot.egress.as_ref());
    PolicyFacts {
        revision: snapshot.revision.to_string(),
        generation: snapshot.generation,
        keys: gateway.map_or(0, |gateway| count(gateway.keys.len())),
        rules: gateway.map_or(0, |gateway| count(gateway.rules.len())),
        services: egress.map_or(0, |egress| count(egress.map.services.len())),
        sandboxes: egress.map_or(0, |egress| count(egress.map.sandboxes.len())),
    }
}

fn credential_facts(secrets: &Store) -> CredentialFacts {
    let mut facts = CredentialFacts::default();
    for report in secrets.reports() {
        let count = match report.state {
            State::Ok => &mut facts.ok,
            State::Kept { .. } => &mut facts.kept,
            State::Unavailable(Unavailable::Unresolved) => &mut facts.unresolved,
            State::Unavailable(Unavailable::Empty) => &mut facts.empty,
            State::Unavailable(Unavailable::Malformed) => &mut facts.malformed,
            State::Unavailable(Unavailable::Stale) => &mut facts.stale,
        };
        *count = count.saturating_add(1);
    }
    facts
}
