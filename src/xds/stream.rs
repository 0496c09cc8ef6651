//! One discovery stream, as a state machine without time and I/O of its own: requests, sets and
//! moments go in, responses come out.
//!
//! State of the world: each response lists every cluster that Envoy is to have, and Envoy drops what
//! it does not list. So a response always lists what Envoy has and shall keep; of what it lacks, at
//! most [`BATCH`] at a time, since more names at once overflow Envoy's resolver. Where we do not know
//! what it has, a response lists everything.
//!
//! Envoy answers once every cluster is ready for use, that is, once every name is resolved or given
//! up: what is acknowledged can be called, and one name that never answers holds the answer back. So
//! the next batch does not wait for it for long.
//!
//! An Envoy that comes back says in which version it is, and goes on from there. Of one that is in none
//! we take it that it has nothing, which is wrong where the first response of all was refused in part
//! and the connection was lost before the second: what its next response leaves out then is gone until
//! the one after it.
//!
//! A cluster that Envoy refuses is left out of later responses, so that these are acknowledged, and
//! is offered again every [`RETRY`]: what was wrong may lie with Envoy's host (a `ca_file` that is
//! not there).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::history::{Contents, History, Names};
use super::nack::{self, Refusal};
use super::set::{Resource, Set};

/// How many clusters that Envoy lacks one response may list.
pub const BATCH: usize = 200;
/// How long a response may go unanswered before the next one follows all the same: long enough for
/// the names of a batch, and short enough for 1,000 services in 3 s though names in every batch are
/// never resolved.
pub const PATIENCE: Duration = Duration::from_millis(300);
/// Versions of ours are 32 bytes long; what is longer is not worth keeping.
const VERSION_MAX: usize = 64;
/// How long after its refusal a cluster is offered again.
pub const RETRY: Duration = Duration::from_secs(10);

/// One stream. Moments are on the monotonic clock.
#[derive(Debug, Default)]
pub struct Stream {
    /// What Envoy is to have; `None` until there is something to say.
    set: Option<Arc<Set>>,
    /// Whether Envoy has asked for clusters.
    subscribed: bool,
    /// Whether `held` and `offered` are all that Envoy may have.
    known: bool,
    /// What Envoy has as of its last answer, and what has been sent since does not take away.
    held: BTreeSet<Arc<str>>,
    /// What it may have besides: listed in the last response, or in one whose refusal says too
    /// little.
    offered: BTreeSet<Arc<str>>,
    /// What it refused and does not have, and when to offer it again.
    refused: BTreeMap<Arc<str>, Duration>,
    /// The version that Envoy says it is in; `None` for a fresh one.
    version: Option<Arc<str>>,
    /// The versions that it may be in or was in since its last acknowledgement, but for the last one
    /// sent. Coming back in one of them, it may have more or less.
    left: Vec<Arc<str>>,
    /// The last response, while it is not answered.
    sent: Option<Sent>,
    /// The last version refused, until one is acknowledged, and when it may be sent again.
    rejected: Option<(Arc<str>, Duration)>,
    nonce: u64,
}

#[derive(Debug)]
struct Sent {
    nonce: String,
    version: Arc<str>,
    names: Names,
    at: Duration,
    /// What Envoy had or may have had until then.
    before: BTreeSet<Arc<str>>,
    /// The one before was not answered either.
    hurried: bool,
}

/// A request, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// The version that Envoy is in; empty for a fresh one.
    pub version: &'r str,
    /// The response that is answered; empty in the first request.
    pub nonce: &'r str,
    /// Why that response is refused.
    pub error: Option<&'r str>,
}

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The first one.
    Subscribed,
    /// The last response was taken.
    Acknowledged,
    /// The last response was refused, in part or whole.
    Refused,
    /// The answer to a response that another has followed.
    Stale,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Response {
    /// Names the state that it lists.
    pub version: Arc<str>,
    /// Names it among those of the stream.
    pub nonce: String,
    /// Every cluster that Envoy is to have.
    pub resources: Vec<Arc<Resource>>,
}

/// How it is with one cluster at one Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Envoy has it.
    Held,
    /// Envoy has refused it.
    Refused,
    /// Neither yet.
    Open,
}

impl Stream {
    /// From now on Envoy is to have this.
    pub fn offer(&mut self, set: Arc<Set>) {
        self.refused.retain(|name, _retry| set.contains(name));
        self.rejected = None;
        self.set = Some(set);
    }

    /// Takes a request.
    pub fn hear(&mut self, request: Request<'_>, history: &mut History, now: Duration) -> Heard {
        if !self.subscribed {
            self.subscribe(request.version, history);
            return Heard::Subscribed;
        }
        let Some(sent) = self.sent.take_if(|sent| sent.nonce == request.nonce) else {
            return Heard::Stale;
        };
        match request.error {
            // An Envoy that says this version has taken the response. Where it held its answers back,
            // the error is that of a response before.
            Some(text) if *request.version != *sent.version => {
                if !request.version.is_empty() && request.version.len() <= VERSION_MAX {
                    self.version = Some(request.version.into());
                }
                self.refused(&sent, text, now);
                Heard::Refused
            }
            Some(_) | None => {
                self.acknowledged(sent, history);
                Heard::Acknowledged
            }
        }
    }

    fn subscribe(&mut self, version: &str, history: &mut History) {
        self.subscribed = true;
        if version.is_empty() {
            self.known = true;
            return;
        }
        if version.len() > VERSION_MAX {
            return;
        }
        let whole = self.set.as_ref().filter(|set| **set.version() == *version);
        let names: Option<Names> = match (history.contents(version), whole) {
            (Contents::Exactly(names), _) => Some(names),
            // From before this process, and what we would send.
            (Contents::Unknown, Some(set)) => Some(set.names().cloned().collect()),
            (Contents::Unknown, None) | (Contents::Doubtful, _) => None,
        };
        let version = Arc::from(version);
        if let Some(names) = names {
            history.record(&version, &names);
            self.known = true;
            self.held = names.iter().cloned().collect();
        }
        self.version = Some(version);
    }

    fn acknowledged(&mut self, sent: Sent, history: &mut History) {
        for version in self.left.drain(..) {
            history.arrived_from(&version);
        }
        self.version = Some(sent.version);
        self.known = true;
        self.held = sent.names.iter().cloned().collect();
        self.offered.clear();
        self.rejected = None;
        let held = &self.held;
        self.refused.retain(|name, _retry| !held.contains(name));
    }

    fn refused(&mut self, sent: &Sent, text: &str, now: Duration) {
        let listed: BTreeSet<Arc<str>> = sent.names.iter().cloned().collect();
        // A cluster that Envoy has in another form it keeps in that form.
        let lacking = match nack::read(text, |name| listed.get(name).cloned()) {
            Refusal::These(named) => {
                let lacking = &named - &self.held;
                self.held = &listed - &lacking;
                self.offered.clear();
                self.known = true;
                lacking
            }
            Refusal::TheseAtLeast(named) => {
                let lacking = &named - &self.held;
                self.offered = &listed - &lacking;
                lacking
            }
            Refusal::Whole if self.known && !sent.hurried => {
                self.offered.clone_from(&sent.before);
                &listed - &sent.before
            }
            // What it had before this response it still has, and we do not know what that is.
            Refusal::Whole => {
                self.offered.extend(sent.before.iter().cloned());
                BTreeSet::new()
            }
        };
        let held = &self.held;
        self.refused.retain(|name, _retry| !held.contains(name));
        let again = now.saturating_add(RETRY);
        self.refused.extend(lacking.into_iter().map(|name| (name, again)));
        self.rejected = Some((Arc::clone(&sent.version), again));
    }

    /// What to send at this moment, if anything. To be asked after every event and at every
    /// [`Stream::deadline`].
    pub fn respond(&mut self, history: &mut History, now: Duration) -> Option<Response> {
        if !self.subscribed {
            return None;
        }
        let hurried = self.sent.is_some();
        if self.sent.as_ref().is_some_and(|sent| now < sent.at.saturating_add(PATIENCE)) {
            return None;
        }
        let set = Arc::clone(self.set.as_ref()?);
        let names = self.compose(&set, now);
        let version = set.version_of(&*names);
        let refuses =
            |(rejected, again): &(Arc<str>, Duration)| *rejected == version && now < *again;
        if self.is_said(&version, &names) || self.rejected.as_ref().is_some_and(refuses) {
            return None;
        }
        history.record(&version, &names);
        self.leave(history);
        let listed: BTreeSet<Arc<str>> = names.iter().cloned().collect();
        let before = &self.held | &self.offered;
        self.held = &self.held & &listed;
        self.offered = listed;
        self.nonce = self.nonce.saturating_add(1);
        let nonce = self.nonce.to_string();
        let resources = set.resources(&*names).cloned().collect();
        self.sent = Some(Sent {
            nonce: nonce.clone(),
            version: Arc::clone(&version),
            names,
            at: now,
            before,
            hurried,
        });
        Some(Response { version, nonce, resources })
    }

    /// Whether this is what Envoy is in, or what it was told last.
    fn is_said(&self, version: &Arc<str>, names: &Names) -> bool {
        match &self.sent {
            Some(sent) => sent.version == *version,
            // Of a response that it refused, Envoy has done what it could, and says the version
            // before it: that version alone is not enough.
            None => self.version.as_ref() == Some(version) && self.held.iter().eq(names.iter()),
        }
    }

    /// Something is about to be sent.
    fn leave(&mut self, history: &mut History) {
        let sent = self.sent.as_ref().map(|sent| &sent.version);
        for version in self.version.as_ref().into_iter().chain(sent) {
            if !self.left.contains(version) {
                history.leave(version);
                self.left.push(Arc::clone(version));
            }
        }
    }

    /// The names to list: those that Envoy has or may have, and some of the others.
    fn compose(&self, set: &Set, now: Duration) -> Names {
        let mut room = if self.known { BATCH } else { usize::MAX };
        let mut names = Vec::with_capacity(set.count());
        for name in set.names() {
            if !self.may_have(name) {
                let refused = self.refused.get(name).is_some_and(|&again| now < again);
                if refused || room == 0 {
                    continue;
                }
                room -= 1;
            }
            names.push(Arc::clone(name));
        }
        names.into()
    }

    fn may_have(&self, name: &str) -> bool {
        self.held.contains(name) || self.offered.contains(name)
    }

    /// The next moment after `now` at which there may be something to send without an event.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        let next = self.sent.as_ref().map(|sent| sent.at.saturating_add(PATIENCE));
        let again = self.rejected.as_ref().map(|(_version, again)| *again);
        let refused = self.refused.values().copied();
        refused.chain(again).chain(next).filter(|&at| now < at).min()
    }

    /// How it is with one cluster; `None` while Envoy has not asked for clusters at all.
    pub fn standing(&self, name: &str) -> Option<Standing> {
        if !self.subscribed {
            return None;
        }
        Some(if self.refused.contains_key(name) {
            Standing::Refused
        } else if self.held.contains(name) {
            Standing::Held
        } else {
            Standing::Open
        })
    }

    /// The version that Envoy says it is in; `None` for a fresh one.
    pub fn version(&self) -> Option<&Arc<str>> {
        self.version.as_ref()
    }

    /// Whether we know what Envoy has.
    pub fn knows(&self) -> bool {
        self.known
    }

    /// How many clusters of ours Envoy has.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// How many it refused.
    pub fn refused_count(&self) -> usize {
        self.refused.len()
    }

    /// How many it is yet to get: those neither held nor refused.
    pub fn waiting(&self) -> usize {
        let Some(set) = &self.set else { return 0 };
        let settled = |name: &Arc<str>| self.held.contains(name) || self.refused.contains_key(name);
        set.names().filter(|name| !settled(name)).count()
    }
}

#[cfg(test)]
mod tests;
