//! How credentials stand, for people: in `/status`, in the metrics, and in the log when it changes.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::denial::Unavailable;
use crate::policy::credential::Injection;
use crate::policy::key::Digest;

/// How one credential stands. Holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub credential: Box<str>,
    /// The service that it belongs to.
    pub service: Box<str>,
    /// Where its values come from, as in `env:NAME`, several with commas between them.
    pub source: String,
    /// Whether it can be had.
    pub state: State,
    /// What was wrong when its sources were last looked at.
    pub error: Option<String>,
}

/// Whether a credential can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can.
    Ok,
    /// Its source cannot be read, and its last good value is used.
    Kept {
        /// Since when, counted from 1970.
        since: Duration,
    },
    /// Its service answers 503.
    Unavailable(Unavailable),
}

impl State {
    /// The name in logs, metrics and `/status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Kept { .. } => "kept",
            Self::Unavailable(why) => why.detail(),
        }
    }
}

/// A report, and what tells one value from another without keeping or comparing either.
#[derive(Clone)]
pub(super) struct Standing {
    pub(super) report: Report,
    /// Of what goes into requests; `None` where nothing does.
    pub(super) digest: Option<Digest>,
}

/// SHA-256 of what goes into requests.
pub(super) fn digest(injection: &Injection) -> Digest {
    let mut hasher = Sha256::new();
    let mut add = |text: &str| {
        hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(text);
    };
    for (name, value) in &injection.headers {
        add(name);
        add(value.expose());
    }
    if let Some(query) = &injection.query {
        add(query.expose());
    }
    hasher.finalize().into()
}

/// Whether requests get the same with both.
pub(super) fn supplies_same(old: &[Standing], new: &[Standing]) -> bool {
    let supplied = |standing: &Standing| {
        let why = match standing.report.state {
            State::Ok | State::Kept { .. } => None,
            State::Unavailable(why) => Some(why),
        };
        (standing.digest, why)
    };
    old.len() == new.len()
        && old.iter().zip(new).all(|(old, new)| {
            old.report.credential == new.report.credential && supplied(old) == supplied(new)
        })
}

/// Logs each credential that stands otherwise than before.
pub(super) fn announce(old: &[Standing], new: &[Standing]) {
    let old: HashMap<&str, &Standing> =
        old.iter().map(|standing| (&*standing.report.credential, standing)).collect();
    for new in new {
        let Report { credential, service, source, state, error } = &new.report;
        let before = old.get(&**credential);
        let was = before.map(|before| before.report.state);
        let error = error.as_deref().unwrap_or_default();
        match (was, state) {
            (Some(State::Unavailable(was)), State::Unavailable(why)) if was == *why => {}
            (_, State::Unavailable(why)) => tracing::error!(
                service,
                credential,
                source,
                reason = why.detail(),
                error,
                "a credential cannot be had: its service answers 503"
            ),
            (Some(State::Kept { .. }), State::Kept { .. }) | (None, State::Ok) => {}
            (_, State::Kept { .. }) => tracing::warn!(
                service,
                credential,
                source,
                error,
                "a credential cannot be read: its last good value is used for now"
            ),
            (Some(State::Unavailable(_) | State::Kept { .. }), State::Ok) => {
                tracing::info!(service, credential, source, "a credential can be had again");
            }
            (Some(State::Ok), State::Ok) => {
                if before.is_some_and(|before| before.digest != new.digest) {
                    tracing::info!(service, credential, source, "a credential has a new value");
                }
            }
        }
    }
}
