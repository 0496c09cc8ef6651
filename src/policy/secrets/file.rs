//! One secret file: what it said when it could last be read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::value::{self, Fault};
use crate::clock::Now;
use crate::denial::Unavailable;
use crate::open;
use crate::policy::credential::Secret;
use crate::policy::exposure::{self, Exposure};
use crate::policy::stamp::{Found, Stamp};

/// A larger file holds no credential.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// When a file is read once more though its stamp is what it was. After a good read: a second edit
/// within one tick of the file system's clock, two seconds at its coarsest, leaves the stamp as it
/// is. After a failed one: the cause may have been elsewhere, and have gone.
const ONCE_MORE: Duration = Duration::from_secs(2);

/// A secret file.
#[derive(Clone)]
pub(super) struct Watched {
    /// What the name led to just before it was last read.
    pub(super) seen: Found,
    /// When to read it once more, on the monotonic clock.
    again_at: Option<Duration>,
    /// What it said last; `None` before it was ever read.
    said: Option<Result<Arc<Secret>, Fault>>,
    /// What has kept it from being read since then.
    failing: Option<Failing>,
    /// Others may read it too.
    pub(super) exposed: bool,
}

#[derive(Clone)]
struct Failing {
    since: Now,
    error: String,
}

/// A value that is good to use.
pub(super) struct Value {
    pub(super) secret: Arc<Secret>,
    /// Since when it is the last good one, on the wall clock, and why.
    pub(super) kept: Option<(Duration, String)>,
}

struct Contents {
    bytes: Zeroizing<Vec<u8>>,
    exposed: bool,
}

impl Watched {
    /// Reads a file for the first time.
    pub(super) fn new(path: &Path, now: Now) -> Self {
        let seen = Found::at(path);
        let mut new = Self { seen, again_at: None, said: None, failing: None, exposed: false };
        new.read(path, now);
        new
    }

    /// Reads it again where there is a reason to.
    pub(super) fn refresh(&mut self, path: &Path, now: Now) {
        let found = Found::at(path);
        let changed = found != self.seen;
        // Kept from before it is read: a change while it is read is seen as one.
        self.seen = found;
        if changed || self.again_at.is_some_and(|at| now.monotonic >= at) {
            let settled = !changed && self.failing.is_none();
            self.read(path, now);
            if settled && self.failing.is_none() {
                self.again_at = None;
            }
        }
    }

    fn read(&mut self, path: &Path, now: Now) {
        self.again_at = Some(now.monotonic.saturating_add(ONCE_MORE));
        let said = match contents(path) {
            Ok(Contents { bytes, exposed }) => {
                self.exposed = exposed;
                value::judge(value::trimmed(&bytes))
            }
            // That much is a mistake in what it says, and nothing that passes.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(Fault::new(
                Unavailable::Malformed,
                format!("is larger than {MAX_FILE_BYTES} bytes"),
            )),
            Err(error) => {
                let since = self.failing.as_ref().map_or(now, |failing| failing.since);
                self.failing = Some(Failing { since, error: error.to_string() });
                return;
            }
        };
        self.said = Some(said);
        self.failing = None;
    }

    /// The value at this moment.
    pub(super) fn value(&self, grace: Duration, now: Now) -> Result<Value, Fault> {
        match (&self.said, &self.failing) {
            (Some(Ok(secret)), None) => Ok(Value { secret: Arc::clone(secret), kept: None }),
            (Some(Ok(secret)), Some(failing)) => {
                let error = failing.error.clone();
                if now.monotonic < failing.since.monotonic.saturating_add(grace) {
                    let kept = Some((failing.since.unix, error));
                    Ok(Value { secret: Arc::clone(secret), kept })
                } else {
                    Err(Fault { why: Unavailable::Stale, error })
                }
            }
            (Some(Err(fault)), None) => Err(fault.clone()),
            (Some(Err(_)) | None, Some(Failing { error, .. })) => {
                Err(Fault::new(Unavailable::Unresolved, error))
            }
            (None, None) => Err(Fault::new(Unavailable::Unresolved, "has not been read")),
        }
    }

    /// When it is to be looked at though nothing tells of a change, on the monotonic clock: to be
    /// read once more, or since the last good value ends after `then`.
    pub(super) fn due(&self, grace: Duration, then: Duration) -> Option<Duration> {
        let ends = match (&self.said, &self.failing) {
            (Some(Ok(_)), Some(failing)) => Some(failing.since.monotonic.saturating_add(grace)),
            (Some(Ok(_) | Err(_)) | None, _) => None,
        };
        ends.filter(|&ends| ends > then).into_iter().chain(self.again_at).min()
    }
}

fn contents(path: &Path) -> io::Result<Contents> {
    settled(path, |file, bytes| {
        file.take(MAX_FILE_BYTES).read_to_end(bytes)?;
        Ok(())
    })
}

/// What `read` takes from a file that stays the same meanwhile.
fn settled(
    path: &Path,
    mut read: impl FnMut(&mut File, &mut Vec<u8>) -> io::Result<()>,
) -> io::Result<Contents> {
    const ATTEMPTS: usize = 3;
    for _ in 0..ATTEMPTS {
        let mut file = open::regular(path, MAX_FILE_BYTES)?;
        let exposure = exposure::of(&file)?;
        if exposure == Exposure::Writable {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "not read, since its group or others may write to it: chmod 600",
            ));
        }
        let before = file.metadata()?;
        // As large as it can become: what grows leaves copies behind.
        let capacity = usize::try_from(MAX_FILE_BYTES).unwrap_or(0).saturating_add(1);
        let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
        read(&mut file, &mut bytes)?;
        // An edit in place while we read gives a mixture of both versions.
        if Stamp::of(&before) == Stamp::of(&file.metadata()?) {
            return Ok(Contents { bytes, exposed: exposure == Exposure::Readable });
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "went on changing while it was read"))
}

#[cfg(test)]
mod tests;
