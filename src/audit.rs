//! The decision log: one line of JSON for each decision.
//!
//! Those who decide put their line into a queue and go on; one thread writes. A log that is slow or
//! broken never holds up or changes a decision. What it costs is said: lines that found no room are
//! counted and named in the log itself (`"type":"gap"`), and lines that cannot be written are kept
//! and tried again while [`Log::health`] shows why.
//!
//! | type | when | its own fields |
//! |---|---|---|
//! | `start` | first line of a run | `boot`, `version` |
//! | `decision` | for each decision | `seq` (from 1, without a gap), and those of [`Record`] |
//! | `gap` | in place of decisions that were dropped | `from`, `to` (both included), `cause` |
//! | `end` | last line of a run that was shut down | `boot`, `last_seq` |
//!
//! Every line has `v` (1), `type` and `ts`. A reader who counts `seq` and the gaps and finds one
//! missing knows that the log was edited. Lines are written some milliseconds after the decision; a
//! process that is killed loses those, and its log has no `end`.

mod id;
mod line;
mod record;
mod queue;
mod writer;

use std::cell::RefCell;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Now;
use crate::telemetry::LogReading;

pub use self::id::{Boot, DecisionId, Ids};
pub use self::record::{Limit, MAX_LINE, Record};

use self::queue::{LastLine, Queue};

/// How much may wait to be written if nothing else is said, in bytes.
pub const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// A file, made with mode 0600 if it does not exist, and always appended to. A named pipe or a
    /// device will do too.
    Path(PathBuf),
    /// Standard output.
    Stdout,
}

/// The log. Clones are handles to the same one.
///
/// When the last handle is dropped, what is queued is still written, but nobody waits for it; use
/// [`Log::shutdown`].
#[derive(Clone, Debug)]
pub struct Log(Arc<Running>);

/// How the log does at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Decisions written since the start.
    pub written: u64,
    /// Decisions dropped since the start.
    pub dropped: u64,
    /// Failed attempts to write since the start.
    pub errors: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: usize,
    /// Why nothing can be written at this moment; absent while all is well.
    pub error: Option<String>,
}

/// The log could not be brought to its end in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwritten {
    /// Bytes that are lost.
    pub bytes: usize,
    /// Why, if a write failed. Otherwise the reader was too slow.
    pub cause: Option<String>,
}

#[derive(Debug)]
struct Running {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

thread_local! {
    /// Lines are written here first, so that the queue is locked for no more than a copy.
    static LINE: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(MAX_LINE));
}

impl Log {
    /// Opens the sink and begins a run. At most `queue_bytes` (see [`QUEUE_BYTES`]; 16 KiB at least)
    /// wait to be written.
    ///
    /// A file whose last line was not finished, because the process or the machine died, gets the
    /// newline it lacks. Fails if the sink cannot be opened or the thread cannot be made.
    /// `alive` is dropped when the thread ends, whatever the reason: how others learn of it.
    pub fn open(
        sink: &Sink,
        queue_bytes: usize,
        boot: Boot,
        alive: impl Send + 'static,
    ) -> io::Result<Self> {
        let (sink, last_line) = match sink {
            // Not `io::stdout()` itself, which has a buffer of its own and hides where a failed
            // write stopped.
            Sink::Stdout => {
                (File::from(io::stdout().as_fd().try_clone_to_owned()?), LastLine::Finished)
            }
            Sink::Path(path) => {
                // Readable too, for the last byte; and because a named pipe then neither holds up
                // the start until it has a reader nor breaks when the reader is replaced.
                let mut options = OpenOptions::new();
                let file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
                let last_line = last_line(&file)?;
                (file, last_line)
            }
        };
        Self::start((sink, alive), last_line, queue_bytes, boot)
    }

    /// Adds one decision. Never waits for the sink, and never fails.
    pub fn append(&self, record: &Record<'_>) {
        LINE.with_borrow_mut(|line| {
            record.write(line);
            self.0.queue.append(line, record.now);
        });
    }

    /// How the log does.
    pub fn health(&self) -> Health {
        self.0.queue.health()
    }

    /// Writes all that is queued and an end record, and waits for that, blocking the thread, for as
    /// long as `patience`. What other handles append from now on is dropped.
    pub fn shutdown(self, patience: Duration) -> Result<(), Unwritten> {
        self.0.queue.close(Now::read());
        if self.0.queue.wait(patience) {
            let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            // The thread has nothing to tell that the queue does not show.
            drop(thread.map(JoinHandle::join));
        }
        match self.health() {
            Health { queued_bytes: 0, .. } => Ok(()),
            Health { queued_bytes: bytes, error: cause, .. } => Err(Unwritten { bytes, cause }),
        }
    }

    fn start(
        (mut sink, alive): (impl Write + Send + 'static, impl Send + 'static),
        last_line: LastLine,
        capacity: usize,
        boot: Boot,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(capacity, last_line, boot, Now::read()));
        let writer = Arc::clone(&queue);
        let thread = thread::Builder::new().name("decision-log".to_owned()).spawn(move || {
            let _alive = alive;
            writer::run(&writer, &mut sink);
        })?;
        Ok(Self(Arc::new(Running { queue, thread: Mutex::new(Some(thread)) })))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queue.close(Now::read());
    }
}

impl From<&Health> for LogReading {
    fn from(health: &Health) -> Self {
        Self {
            written: health.written,
            dropped: health.dropped,
            errors: health.errors,
            queued_bytes: u64::try_from(health.queued_bytes).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = self.cause.as_deref().unwrap_or("its reader is too slow");
        write!(f, "the last {} bytes of the decision log are not written: {cause}", self.bytes)
    }
}

impl std::error::Error for Unwritten {}

fn last_line(file: &File) -> io::Result<LastLine> {
    let about = file.metadata()?;
    let mut last = *b"\n";
    if about.is_file() && about.len() > 0 {
        file.read_exact_at(&mut last, about.len() - 1)?;
    }
    // The newline itself is left to the writer, which is patient with a full disk.
    Ok(if last == *b"\n" { LastLine::Finished } else { LastLine::Unfinished })
}

#[cfg(test)]
mod tests;
