//! A child process whose output can be waited for, and which never outlives the tests.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::patience::{PATIENCE, eventually};

/// The lines that a process has written so far on one stream.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Reads a stream to its end on a thread of its own.
    fn follow(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                writer.update(|written| written.lines.push(text));
                line.clear();
            }
            writer.update(|written| written.ended = true);
        });
        lines
    }

    fn update(&self, change: impl FnOnce(&mut Written)) {
        let (written, changed) = &*self.0;
        change(&mut written.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }

    /// Everything so far.
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// Everything, once the process has closed the stream.
    pub(crate) fn to_the_end(&self) -> Vec<String> {
        let (written, changed) = &*self.0;
        let written = written.lock().unwrap_or_else(PoisonError::into_inner);
        let (written, waited) = changed
            .wait_timeout_while(written, PATIENCE, |written| !written.ended)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "the stream does not end");
        written.lines.clone()
    }

    /// How many lines there are so far: a place to wait from.
    pub(crate) fn mark(&self) -> usize {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).lines.len()
    }

    /// The first line, old or new, for which `find` has an answer.
    pub(crate) fn wait_for<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.wait_from(0, what, find)
    }

    /// The first line from `mark` on for which `find` has an answer.
    pub(crate) fn wait_from<T>(
        &self,
        mark: usize,
        what: &str,
        find: impl Fn(&str) -> Option<T>,
    ) -> T {
        let (written, changed) = &*self.0;
        let mut found = None;
        let mut seen = mark;
        let written = written.lock().unwrap_or_else(PoisonError::into_inner);
        let (written, _) = changed
            .wait_timeout_while(written, PATIENCE, |written| {
                found = written.lines.iter().skip(seen).find_map(|line| find(line));
                seen = written.lines.len().max(mark);
                found.is_none() && !written.ended
            })
            .unwrap_or_else(PoisonError::into_inner);
        found.unwrap_or_else(|| {
            let why = if written.ended { "the process has ended" } else { "it did not come" };
            let text = written.lines.join("\n");
            drop(written);
            panic!("waited for {what}, and {why}. Its output:\n{text}")
        })
    }
}

/// A running child. Dropped, it is killed; and when the test process dies, so does it.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    _guard: Guard,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Process {
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let guard = Guard::new("kill -9 \"$1\"", &child.id().to_string());
        let stdout = Lines::follow(child.stdout.take().unwrap());
        let stderr = Lines::follow(child.stderr.take().unwrap());
        Self { name, child, _guard: guard, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. After STOP every thread has stopped when this returns: the kernel gets round
    /// to them one by one.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .unwrap_or_else(|error| panic!("{}: {signal:?}: {error}", self.name));
        if signal == Signal::STOP {
            eventually(&format!("{} to stop", self.name), || self.is_stopped().then_some(()));
        }
    }

    fn is_stopped(&self) -> bool {
        let mut threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        let state = |thread: PathBuf| std::fs::read_to_string(thread.join("stat")).unwrap();
        threads.all(|thread| state(thread.unwrap().path()).contains(") T "))
    }

    /// Kills it and waits until it is gone: its sockets are closed when this returns.
    pub(crate) fn kill(&mut self) {
        // Already gone is as good.
        let _gone = self.child.kill().and_then(|()| self.child.wait());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let name = self.name;
        eventually(&format!("{name} to end"), || self.child.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            for (stream, lines) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
                eprintln!("--- {} {stream}:\n{}", self.name, lines.all().join("\n"));
            }
        }
    }
}

/// A shell that waits for the end of its input, which comes when this process ends, however it
/// ends, and then cleans up. Worlds that several tests share are never dropped. Dropped itself, it
/// does nothing: then there is nothing left to clean up.
pub(crate) struct Guard(Child);

impl Guard {
    /// `$1` in the script is the argument.
    pub(crate) fn new(script: &str, argument: &str) -> Self {
        let script = format!("read -r _; {script}");
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &script, "guard", argument]);
        let shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(shell.spawn().unwrap())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The input is open until this is done, so the script does not run.
        let _gone = self.0.kill().and_then(|()| self.0.wait());
    }
}
