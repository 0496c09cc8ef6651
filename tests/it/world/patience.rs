//! Waiting for events, with an end to it.

use std::sync::mpsc;
use std::time::Duration;

use gatepost::clock::Now;

/// How long anything may take before the test fails. Generous: it is reached only by a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Asks until there is an answer, and panics with `what` when there is none in time.
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, ask)
}

/// The same where how long it may take is part of the promise.
pub(crate) fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Now::read().monotonic + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Now::read().monotonic < deadline, "waited {limit:?} for {what}");
        pause(Duration::from_millis(5));
    }
}

/// Lets other threads work before the next question. Never a substitute for the question.
fn pause(time: Duration) {
    let (_sender, nobody) = mpsc::channel::<()>();
    assert_eq!(nobody.recv_timeout(time), Err(mpsc::RecvTimeoutError::Timeout));
}
