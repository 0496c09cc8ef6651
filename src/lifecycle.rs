//! From start to stop: sockets, signals, readiness, and all that works in the background.
//!
//! [`Tasks`] is the only place that spawns. A task or thread that ends before anybody asked it to
//! takes the process down with it: a gateway whose reloader or log writer has quietly died looks
//! healthy and is not.

pub mod address;
pub mod connection;
pub mod greeting;
pub mod socket_file;
pub mod tls;
mod handshakes;
pub mod listener;
pub mod readiness;
pub mod signals;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::readiness::Readiness;
use self::signals::Signals;

/// Signals that come this close together are one request. Ctrl-C reaches a whole process group, so
/// that who passes it on to children sends it twice; `timeout` does so by design.
const TOGETHER: Duration = Duration::from_millis(250);

/// The background tasks and threads of the process. Clones share one list.
#[derive(Clone, Debug)]
pub struct Tasks {
    state: watch::Sender<State>,
    shutdown: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    alive: BTreeMap<u64, Task>,
    /// The first one.
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Task {
    name: &'static str,
    /// None for a thread, which nobody can stop from outside.
    abort: Option<AbortHandle>,
}

/// Stands for one task or thread for as long as it works. Dropping it says that the work has ended,
/// or that it panicked when the drop is part of a panic.
#[derive(Debug)]
#[must_use = "dropped at once, it says that the work has ended"]
pub struct Alive {
    id: u64,
    name: &'static str,
    tasks: Tasks,
    error: Option<String>,
}

/// How long stopping may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// From "not ready" to the end of accepting: the time that Envoy's health checks need to notice,
    /// so that it stops sending before we stop answering.
    pub notice: Duration,
    /// From there until what still works is aborted.
    pub grace: Duration,
}

/// Why the process must end with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A task ended, without an error, before it was asked to.
    Ended(&'static str),
    /// A task panicked; the panic itself is on stderr.
    Panicked(&'static str),
    /// A task ended with an error.
    Failed {
        /// Its name.
        task: &'static str,
        /// The error and its sources in one line.
        error: String,
    },
    /// These were still working when the patience was over.
    Aborted {
        /// Their names, in the order in which they were started.
        tasks: Vec<&'static str>,
        /// Whose patience it was.
        cause: Abort,
    },
}

/// Why a drain was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// [`Drain::grace`] was over.
    Deadline,
    /// Somebody asked a second time.
    SecondSignal,
}

impl Tasks {
    /// No tasks yet.
    #[expect(clippy::new_without_default, reason = "an empty default would hide the one instance")]
    pub fn new() -> Self {
        Self { state: watch::Sender::new(State::default()), shutdown: CancellationToken::new() }
    }

    /// Cancelled when it is time to stop: each task must then end by itself. Whoever cancels it
    /// stops the process as `SIGTERM` does, only without the notice.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Runs a task that works until [`Tasks::shutdown`]. Ending earlier, with or without an error,
    /// ends the process.
    ///
    /// Needs a Tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let alive = self.watch(name);
        let id = alive.id;
        let handle = tokio::spawn(async move {
            let alive = alive;
            alive.end(work.await);
        });
        self.state.send_modify(|state| {
            if let Some(task) = state.alive.get_mut(&id) {
                task.abort = Some(handle.abort_handle());
            }
        });
    }

    /// The same for a thread of its own, for work that blocks. It cannot be aborted.
    ///
    /// Fails when the system has no thread left.
    pub fn spawn_thread<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> io::Result<()> {
        let alive = self.watch(name);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let alive = alive;
            alive.end(work());
        })?;
        Ok(())
    }

    /// For work that somebody else started: they keep the returned value for as long as it lasts.
    pub fn watch(&self, name: &'static str) -> Alive {
        let mut id = 0;
        self.state.send_modify(|state| {
            id = state.next_id;
            state.next_id += 1;
            state.alive.insert(id, Task { name, abort: None });
        });
        Alive { id, name, tasks: self.clone(), error: None }
    }

    /// Waits until it is time to stop, and stops: on a signal, on a cancelled [`Tasks::shutdown`],
    /// or on the failure of a task. Then readiness goes, after [`Drain::notice`] the tasks are told,
    /// and after [`Drain::grace`], or on a second signal, what still works is aborted.
    ///
    /// Ok only when all tasks ended as they were asked to.
    pub async fn run(
        &self,
        stop: &mut Signals,
        readiness: &Readiness,
        drain: Drain,
    ) -> Result<(), Failure> {
        let mut notice = Duration::ZERO;
        tokio::select! {
            biased;
            () = self.reached(|state| state.failure.is_some()) => {}
            () = self.shutdown.cancelled() => {}
            signal = stop.next() => {
                tracing::info!(signal, "stopping");
                notice = drain.notice;
            }
        }
        let asked = Instant::now();
        readiness.drain();
        let impatient = tokio::select! {
            biased;
            () = self.reached(|state| state.failure.is_some()), if !notice.is_zero() => false,
            () = self.shutdown.cancelled() => false,
            () = again(stop, asked) => true,
            () = tokio::time::sleep(notice) => false,
        };
        self.shutdown.cancel();
        if impatient {
            return self.verdict(Some(Abort::SecondSignal));
        }
        let cut_short = tokio::select! {
            biased;
            () = self.reached(|state| state.alive.is_empty()) => None,
            () = again(stop, asked) => Some(Abort::SecondSignal),
            () = tokio::time::sleep(drain.grace) => Some(Abort::Deadline),
        };
        self.verdict(cut_short)
    }

    async fn reached(&self, condition: impl Fn(&State) -> bool) {
        // An error would mean that the sender is gone, and `self` is the sender.
        drop(self.state.subscribe().wait_for(condition).await);
    }

    fn verdict(&self, cut_short: Option<Abort>) -> Result<(), Failure> {
        let state = self.state.borrow();
        let tasks: Vec<_> = state.alive.values().map(|task| task.name).collect();
        for abort in state.alive.values().filter_map(|task| task.abort.as_ref()) {
            abort.abort();
        }
        let aborted = cut_short.filter(|_| !tasks.is_empty());
        match (&state.failure, aborted) {
            (None, None) => Ok(()),
            (None, Some(cause)) => Err(Failure::Aborted { tasks, cause }),
            (Some(failure), None) => Err(failure.clone()),
            (Some(failure), Some(cause)) => {
                // The failure is what to look into; that the rest hung too is for the log.
                tracing::error!(aborted = %Failure::Aborted { tasks, cause });
                Err(failure.clone())
            }
        }
    }
}

impl Alive {
    /// Ends with a result. An error always counts as a failure, an end without one only when nobody
    /// had asked for it.
    pub fn end<E: Into<Box<dyn Error + Send + Sync>>>(mut self, result: Result<(), E>) {
        self.error = result.err().map(|error| in_one_line(&*error.into()));
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let task = self.name;
        let failure = match self.error.take() {
            Some(error) => Some(Failure::Failed { task, error }),
            None if std::thread::panicking() => Some(Failure::Panicked(task)),
            None if self.tasks.shutdown.is_cancelled() => None,
            None => Some(Failure::Ended(task)),
        };
        if let Some(failure) = &failure {
            tracing::error!(%failure);
        }
        self.tasks.state.send_modify(|state| {
            state.alive.remove(&self.id);
            if state.failure.is_none() {
                state.failure = failure;
            }
        });
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(task) => write!(f, "{task} ended before it was asked to"),
            Self::Panicked(task) => write!(f, "{task} panicked"),
            Self::Failed { task, error } => write!(f, "{task} failed: {error}"),
            Self::Aborted { tasks, cause } => {
                let cause = match cause {
                    Abort::Deadline => "at the deadline",
                    Abort::SecondSignal => "on a second signal",
                };
                write!(f, "aborted {cause}, still at work: {}", tasks.join(", "))
            }
        }
    }
}

impl Error for Failure {}

/// Waits for a signal that is another request to stop, and not the first one over again.
async fn again(stop: &mut Signals, asked: Instant) {
    loop {
        let signal = stop.next().await;
        if asked.elapsed() >= TOGETHER {
            return;
        }
        tracing::debug!(signal, "taken for the same request to stop");
    }
}

fn in_one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        line.push_str(": ");
        line.push_str(&source.to_string());
        next = source.source();
    }
    line
}

#[cfg(test)]
mod tests;
