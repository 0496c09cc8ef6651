//! How the policy stands, for people.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Now;
use crate::policy::secrets::Report;

/// How the policy stands: what is live, since when, and what is wrong with the last edit.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// When the policy that holds was loaded, since 1970.
    pub loaded_at: Duration,
    /// When the files were last read, since 1970.
    pub checked_at: Duration,
    /// Why the files as they are now are not what holds.
    pub error: Option<String>,
    /// Since when that is so.
    pub error_since: Option<Duration>,
    /// How the credentials of the policy that holds stand, in file order.
    pub credentials: Arc<[Report]>,
}

/// The state, shared with those who show it.
#[derive(Debug, Default)]
pub struct Status(Mutex<State>);

impl Status {
    /// The first policy has just been loaded.
    pub fn loaded(now: Now) -> Self {
        let state = State { loaded_at: now.unix, checked_at: now.unix, ..State::default() };
        Self(Mutex::new(state))
    }

    /// The state at this moment.
    pub fn get(&self) -> State {
        self.lock().clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Every update replaces whole values, so a panic elsewhere leaves none half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
