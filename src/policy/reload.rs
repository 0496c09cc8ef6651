//! Watches the policy files and those of secrets, and swaps in a new [`Snapshot`] when they say
//! something new.
//!
//! Any event means no more than "look again", and every 250 ms the files are looked at without one:
//! network file systems, bind mounts and some editors send none. What is looked at is the stamp of
//! whatever the names lead to; contents are read once they have been quiet for a moment. A version
//! of the policy that cannot be used changes nothing but [`Status`]. Secrets have a way of their own:
//! a new value reaches the policy that holds whatever the policy files say by then.

mod status;
mod watch;
mod judge;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use self::watch::{Directories, Look};
use super::Snapshot;
use super::compile::Strictness;
use super::live::Live;
use super::load::{Error, Files, Fingerprint};
use super::secrets::Store;
use crate::clock::Now;
use crate::lifecycle::readiness::Unready;
use crate::telemetry::Metrics;

pub use self::judge::facts;
pub use self::status::{State, Status};
pub use self::watch::{Stamps, look};

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
    /// The credentials that the policy was supplied with.
    pub secrets: Store,
    /// Which sides are served.
    pub sockets: Sockets,
}

/// Which sides are served.
#[derive(Debug)]
pub struct Sockets {
    /// The gateway.
    pub gateway: Socket,
    /// The egress.
    pub egress: Socket,
}

/// Whether a side is served.
#[derive(Debug)]
pub enum Socket {
    /// It has no socket, and stays off whatever files appear.
    Unbound,
    /// It has one. The guard is held while the side was asked for and has no policy.
    Bound(Option<Unready>),
}

/// One version of the policy files.
#[derive(Clone, Copy)]
pub struct Version {
    /// Their stamps, taken before they were read.
    pub stamps: Stamps,
    /// What tells their contents from others.
    pub fingerprint: Fingerprint,
}

/// The fingerprint is a hash of secrets, too.
impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").field("stamps", &self.stamps).finish_non_exhaustive()
    }
}

/// A running reloader's own state.
struct Running {
    reloader: Reloader,
    bell: Receiver<()>,
    asked: Arc<Asked>,
    directories: Directories,
    /// The version that holds.
    holds: Version,
    seen: Stamps,
    /// What was read last, good or not.
    contents: Option<Fingerprint>,
    /// When to read the files once more, on the monotonic clock.
    again_at: Option<Duration>,
    /// Until when what a load took is given back, on the monotonic clock.
    give_back_until: Duration,
    /// Snapshots that a request may still be using. They are dropped here, since whoever drops the
    /// last reference pays for freeing all of it.
    retired: Vec<Arc<Snapshot>>,
}

impl Reloader {
    /// Prepares to watch. The first policy has been loaded already, from the version `first` of the
    /// files. Returns what wakes it, and the work for its thread.
    ///
    /// A system that has no watch to give (inotify's instances are counted for each user, and hosts
    /// run out of them) keeps nobody from serving: the files are looked at every 250 ms all the same.
    pub fn prepare(self, first: Version) -> (Waker, impl FnOnce() + Send + 'static) {
        let (sender, bell) = sync_channel(1);
        let asked = Arc::new(Asked::default());
        let waker = Waker { bell: sender, asked: Arc::clone(&asked) };
        self.secrets.announce(None);
        self.show();
        let running = Running {
            directories: Directories::new(waker.clone(), &self.directory),
            reloader: self,
            bell,
            asked,
            seen: first.stamps,
            contents: Some(first.fingerprint),
            holds: first,
            // The first load may have been that soon after an edit.
            again_at: Some(Now::read().monotonic.saturating_add(COARSEST_CLOCK)),
            give_back_until: Now::read().monotonic.saturating_add(GIVE_BACK),
            retired: Vec::new(),
        };
        (waker, move || running.run())
    }
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
            let look = self.reloader.look();
            if asked {
                self.load(&look);
            } else if look != self.seen() {
                let look = self.settle(look);
                // A SIGHUP that came meanwhile asks for everything to be read.
                let asked = self.asked.reload.swap(false, Ordering::SeqCst);
                if asked || look.policy != self.seen {
                    self.load(&look);
                } else {
                    self.resupply();
                }
            } else if self.again_at.is_some_and(is_past) {
                self.again_at = None;
                self.load_again();
            } else if self.reloader.secrets.due().is_some_and(is_past) {
                self.resupply();
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

    /// Everything as it was when it was last read.
    fn seen(&self) -> Look {
        Look { policy: self.seen, secrets: self.reloader.secrets.seen() }
    }

    /// Waits until the files have been the same for a moment.
    fn settle(&self, mut found: Look) -> Look {
        let start = Now::read().monotonic;
        while Now::read().monotonic.saturating_sub(start) < PATIENCE {
            let quiet = self.bell.recv_timeout(QUIET) == Err(RecvTimeoutError::Timeout);
            if self.asked.stop.load(Ordering::SeqCst) || self.asked.reload.load(Ordering::SeqCst) {
                break;
            }
            let now = self.reloader.look();
            if quiet && now == found {
                break;
            }
            found = now;
        }
        found
    }

    /// Watches the directories that the names lead to now.
    fn follow(&mut self) {
        self.directories.follow(&self.reloader.directories());
    }

    fn load(&mut self, look: &Look) {
        // Kept from before the files were read: a change while they are read is seen as one.
        self.seen = look.policy;
        let files = Files::read(&self.reloader.directory);
        self.judge(files);
    }

    /// Reads the files once more though their stamp is what it was.
    fn load_again(&mut self) {
        // What could not be read then may be readable now, with the stamp that it had.
        if self.contents.is_none() {
            self.again_at = Some(Now::read().monotonic.saturating_add(COARSEST_CLOCK));
        }
        let glance = Files::fingerprint_in(&self.reloader.directory);
        if glance.is_ok_and(|fingerprint| self.contents == Some(fingerprint)) {
            return;
        }
        let files = Files::read(&self.reloader.directory);
        if self.contents != contents(&files) {
            self.judge(files);
        }
    }

    fn judge(&mut self, files: Result<Files, Error>) {
        let now = Now::read();
        self.contents = contents(&files);
        let next = files.and_then(|files| self.reloader.next(&files, &self.seen, &self.holds, now));
        match next {
            Ok(Some(next)) => {
                if let Some(fingerprint) = self.contents {
                    self.holds = Version { stamps: self.seen, fingerprint };
                }
                let old = self.reloader.publish(next, now);
                self.retired.extend(old);
            }
            Ok(None) => {
                self.reloader.unchanged(now);
                self.resupply();
            }
            Err(error) => {
                self.reloader.refused(&error, now);
                self.resupply();
            }
        }
        let done = Now::read().monotonic;
        self.again_at = Some(done.saturating_add(COARSEST_CLOCK));
        self.give_back_until = done.saturating_add(GIVE_BACK);
    }

    /// Looks at the secrets of the policy that holds.
    fn resupply(&mut self) {
        let old = self.reloader.resupply(Now::read());
        self.retired.extend(old);
    }
}

/// What was read; `None` where the files cannot be.
fn contents(files: &Result<Files, Error>) -> Option<Fingerprint> {
    files.as_ref().map_or(None, |files| Some(files.fingerprint()))
}

fn is_past(moment: Duration) -> bool {
    Now::read().monotonic >= moment
}

#[cfg(test)]
mod tests;
