//! Watches the policy files, and swaps in a new [`Snapshot`] when they say something new.
//!
//! Any event means no more than "look again", and every 250 ms the files are looked at without one:
//! network file systems, bind mounts and some editors send none. What is looked at is the stamp of
//! whatever the names lead to; contents are read once they have been quiet for a moment. A version
//! that cannot be used changes nothing but [`Status`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::changes;
use super::compile::Strictness;
use super::live::Live;
use super::load::{Error, Files, GATEWAY};
use super::secrets::Store;
use super::stamp::Found;
use super::{Revision, Snapshot};
use crate::clock::Now;
use crate::lifecycle::readiness::Unready;
use crate::telemetry::{Metrics, PolicyFacts};

/// How often the files are looked at when nothing says that they changed.
const TICK: Duration = Duration::from_millis(250);
/// How long they must have been quiet before they are read …
const QUIET: Duration = Duration::from_millis(100);
/// … unless they never are.
const PATIENCE: Duration = Duration::from_millis(500);

/// A second edit within one tick of the file system's clock, to the same size, leaves the stamp as
/// it was. Two seconds are the coarsest tick there is (FAT, some NFS servers): after that long the
/// contents are read once more.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

/// How long after a load its memory is given back; see [`give_back`].
const GIVE_BACK: Duration = Duration::from_secs(5);

/// An edit that loses fewer keys than this is never refused for it.
const GUARDED_LOSS: usize = 20;

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

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update replaces whole values, so a panic elsewhere leaves none half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the reloader.
#[derive(Clone, Debug)]
pub struct Waker {
    bell: SyncSender<()>,
    asked: Arc<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    reload: AtomicBool,
    stop: AtomicBool,
}

impl Waker {
    /// Read the files now (`SIGHUP`).
    pub fn reload(&self) {
        self.asked.reload.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// End.
    pub fn stop(&self) {
        self.asked.stop.store(true, Ordering::SeqCst);
        self.ring();
    }

    fn ring(&self) {
        match self.bell.try_send(()) {
            // A full bell has been rung and not yet been heard; a closed one no longer matters.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// Everything that a reload needs and touches.
#[derive(Debug)]
pub struct Reloader {
    /// Where the files are.
    pub directory: PathBuf,
    /// How much they may get away with.
    pub strictness: Strictness,
    /// What requests see.
    pub policy: Arc<Live>,
    /// What people see.
    pub status: Arc<Status>,
    /// What Prometheus sees.
    pub metrics: Arc<Metrics>,
    /// Held while a side that was asked for has no policy.
    pub unconfigured: Option<Unready>,
}

/// A running reloader's own state.
#[derive(Debug)]
struct Running {
    reloader: Reloader,
    bell: Receiver<()>,
    asked: Arc<Asked>,
    watcher: Option<RecommendedWatcher>,
    /// The directory that the watcher watches: another of the same name needs a new one.
    watched: Option<(u64, u64)>,
    seen: Found,
    /// What was read last, good or not.
    contents: Option<Revision>,
    /// When to read the files once more, on the monotonic clock.
    again_at: Option<Duration>,
    /// Until when what a load took is given back, on the monotonic clock.
    give_back_until: Duration,
    /// Snapshots that a request may still be using. They are dropped here, since whoever drops the
    /// last reference pays for freeing all of it.
    retired: Vec<Arc<Snapshot>>,
}

impl Reloader {
    /// Prepares to watch. The first policy has been loaded already, from files with the stamp
    /// `seen`, taken before they were read. Returns what wakes it, and the work for its thread.
    ///
    /// A system that has no watch to give (inotify's instances are counted for each user, and hosts
    /// run out of them) keeps nobody from serving: the files are looked at every 250 ms all the same.
    pub fn prepare(self, seen: Found) -> (Waker, impl FnOnce() + Send + 'static) {
        let (sender, bell) = sync_channel(1);
        let asked = Arc::new(Asked::default());
        let waker = Waker { bell: sender, asked: Arc::clone(&asked) };
        let ring = waker.clone();
        let watcher = match notify::recommended_watcher(move |_event| ring.ring()) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                unwatched(&self.directory, &error);
                None
            }
        };
        let contents = Some(self.policy.load().revision.clone());
        let running = Running {
            reloader: self,
            bell,
            asked,
            watcher,
            watched: None,
            seen,
            contents,
            // The first load may have been that soon after an edit.
            again_at: Some(Now::read().monotonic.saturating_add(COARSEST_CLOCK)),
            give_back_until: Now::read().monotonic.saturating_add(GIVE_BACK),
            retired: Vec::new(),
        };
        (waker, move || running.run())
    }
}

fn unwatched(directory: &Path, error: &notify::Error) {
    tracing::warn!(%error, directory = %directory.display(), "not watched, looked at every 250 ms");
}

/// The stamp of the files in a directory.
pub fn look(directory: &Path) -> Found {
    Found::at(&directory.join(GATEWAY))
}

/// Loading takes several times the memory of what it makes. The allocator (mimalloc) gives that back
/// to the system a second after it was freed, but looks at its clock only when something large is
/// freed: a process that idles after a load would keep all of it. The block is hardly touched, so it
/// costs little memory, and some microseconds.
fn give_back() {
    const LARGE: usize = 1024 * 1024;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}

impl Running {
    fn run(mut self) {
        self.follow();
        // What changed between the first load and the watch is found by the first look.
        loop {
            if self.asked.stop.load(Ordering::SeqCst) {
                return;
            }
            let asked = self.asked.reload.swap(false, Ordering::SeqCst);
            let found = look(&self.reloader.directory);
            if asked {
                self.load(found);
            } else if found != self.seen {
                let found = self.settle(found);
                // A SIGHUP that came meanwhile asks for the very load that follows.
                self.asked.reload.store(false, Ordering::SeqCst);
                self.load(found);
            } else if self.again_at.is_some_and(|at| Now::read().monotonic >= at) {
                self.again_at = None;
                self.load_again();
            }
            self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
            if Now::read().monotonic < self.give_back_until {
                give_back();
            }
            self.follow();
            if self.bell.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Waits until the files have been the same for a moment.
    fn settle(&self, mut found: Found) -> Found {
        let start = Now::read().monotonic;
        while Now::read().monotonic.saturating_sub(start) < PATIENCE {
            let quiet = self.bell.recv_timeout(QUIET) == Err(RecvTimeoutError::Timeout);
            if self.asked.stop.load(Ordering::SeqCst) || self.asked.reload.load(Ordering::SeqCst) {
                break;
            }
            let now = look(&self.reloader.directory);
            if quiet && now == found {
                break;
            }
            found = now;
        }
        found
    }

    /// Watches the directory that the name leads to now.
    fn follow(&mut self) {
        let directory = &self.reloader.directory;
        let identity = match Found::at(directory) {
            Found::File(stamp) => Some(stamp.identity()),
            Found::Nothing(_) => None,
        };
        if identity == self.watched {
            return;
        }
        if let Some(watcher) = &mut self.watcher {
            // Of a directory that is gone, the watch is gone as well; that is no news.
            drop(watcher.unwatch(directory));
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                unwatched(directory, &error);
            }
        }
        self.watched = identity;
    }

    fn load(&mut self, found: Found) {
        // Kept from before the files were read: a change while they are read is seen as one.
        self.seen = found;
        let files = Files::read(&self.reloader.directory);
        self.judge(files);
    }

    /// Reads the files once more though their stamp is what it was.
    fn load_again(&mut self) {
        // What could not be read then may be readable now, with the stamp that it had.
        if self.contents.is_none() {
            self.again_at = Some(Now::read().monotonic.saturating_add(COARSEST_CLOCK));
        }
        let glance = Files::revision_in(&self.reloader.directory);
        if glance.is_ok_and(|revision| self.contents.as_ref() == Some(&revision)) {
            return;
        }
        let files = Files::read(&self.reloader.directory);
        if self.contents != revision(&files) {
            self.judge(files);
        }
    }

    fn judge(&mut self, files: Result<Files, Error>) {
        let now = Now::read();
        self.contents = revision(&files);
        match files.and_then(|files| self.reloader.next(&files)) {
            Ok(Some(snapshot)) => {
                let old = self.reloader.swap(snapshot, now);
                self.retired.push(old);
            }
            Ok(None) => self.reloader.unchanged(now),
            Err(error) => self.reloader.refused(&error, now),
        }
        let done = Now::read().monotonic;
        self.again_at = Some(done.saturating_add(COARSEST_CLOCK));
        self.give_back_until = done.saturating_add(GIVE_BACK);
    }
}

/// `None` where the files cannot be read.
fn revision(files: &Result<Files, Error>) -> Option<Revision> {
    files.as_ref().map_or(None, |files| Some(files.revision().clone()))
}

impl Reloader {
    /// The snapshot that the files describe; `None` where it is the one that holds.
    fn next(&self, files: &Files) -> Result<Option<Snapshot>, Error> {
        let old = self.policy.load_full();
        if old.gateway.is_some() && !files.has_gateway() {
            return Err(Error::Missing(self.directory.join(GATEWAY)));
        }
        if *files.revision() == old.revision {
            return Ok(None);
        }
        let generation = old.generation.saturating_add(1);
        let new = files.compile(self.strictness, generation, &mut Store::live(), Now::read())?;
        if let (Some(before), Some(after)) = (&old.gateway, &new.gateway) {
            let (before, after, allowed) =
                (before.keys.len(), after.keys.len(), after.options.allow_shrink);
            let lost = before.saturating_sub(after);
            if lost >= GUARDED_LOSS && lost > before / 2 && !allowed {
                return Err(Error::Shrunk { before, after });
            }
        }
        Ok(Some(new))
    }

    /// Lets the new snapshot hold, and returns the old one.
    fn swap(&mut self, new: Snapshot, now: Now) -> Arc<Snapshot> {
        let old = self.policy.load_full();
        let changes = changes::describe(&old, &new);
        tracing::info!(revision = %new.revision, generation = new.generation, changes, "policy loaded");
        self.metrics.policy_loaded(facts(&new), now);
        if new.gateway.is_some() {
            self.unconfigured = None;
        }
        self.policy.update(|_old| Some(new));
        *self.status.lock() =
            State { loaded_at: now.unix, checked_at: now.unix, error: None, error_since: None };
        old
    }

    fn unchanged(&self, now: Now) {
        self.metrics.policy_unchanged(now);
        let mut state = self.status.lock();
        if state.error.is_some() {
            tracing::info!("the policy files say again what holds");
        }
        state.checked_at = now.unix;
        state.error = None;
        state.error_since = None;
    }

    fn refused(&self, error: &Error, now: Now) {
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
}

/// What the metrics show of a snapshot.
pub fn facts(snapshot: &Snapshot) -> PolicyFacts {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    PolicyFacts {
        revision: snapshot.revision.to_string(),
        generation: snapshot.generation,
        keys: snapshot.gateway.as_ref().map_or(0, |gateway| count(gateway.keys.len())),
        rules: snapshot.gateway.as_ref().map_or(0, |gateway| count(gateway.rules.len())),
    }
}

#[cfg(test)]
mod tests;
