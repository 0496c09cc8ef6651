//! Whether this process may be sent requests, and if not, what it is still waiting for.

use std::sync::Arc;

use tokio::sync::watch;

/// What [`Readiness::why_not`] says from the moment the process was asked to stop.
const DRAINING: &str = "draining";

/// Ready as soon as nothing holds it back. Clones share one state.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// The names of what holds readiness back; ready means that the list is empty.
    waiting_for: Arc<watch::Sender<Vec<&'static str>>>,
}

/// Holds readiness back until it is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it holds nothing back"]
pub struct Unready {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// A readiness that its first guard holds back from the start: there is no moment at which a
    /// probe could find a process ready that has not yet said what it waits for.
    pub fn new(first: &'static str) -> (Self, Unready) {
        let readiness = Self { waiting_for: Arc::new(watch::Sender::new(Vec::new())) };
        let guard = readiness.wait_for(first);
        (readiness, guard)
    }

    /// Not ready until the guard is dropped. `name` is what [`Readiness::why_not`] shows.
    pub fn wait_for(&self, name: &'static str) -> Unready {
        self.waiting_for.send_modify(|names| names.push(name));
        Unready { name, readiness: self.clone() }
    }

    /// Not ready from now on, whatever the guards do: the process is about to stop.
    pub fn drain(&self) {
        self.waiting_for.send_modify(|names| names.push(DRAINING));
    }

    /// Whether requests may be sent here.
    pub fn is_ready(&self) -> bool {
        self.waiting_for.borrow().is_empty()
    }

    /// What holds readiness back, oldest first; empty when ready.
    pub fn why_not(&self) -> Vec<&'static str> {
        self.waiting_for.borrow().clone()
    }

    /// The same list as a value to watch, for those who must tell others of each change.
    pub fn subscribe(&self) -> watch::Receiver<Vec<&'static str>> {
        self.waiting_for.subscribe()
    }
}

impl Drop for Unready {
    fn drop(&mut self) {
        self.readiness.waiting_for.send_modify(|names| {
            if let Some(place) = names.iter().position(|&name| name == self.name) {
                names.remove(place);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_the_last_guard_is_gone() {
        let (readiness, policy) = Readiness::new("policy");
        let listeners = readiness.clone().wait_for("listener");
        let one_more = readiness.wait_for("listener");
        assert_eq!(readiness.why_not(), ["policy", "listener", "listener"]);
        drop(listeners);
        assert_eq!(readiness.why_not(), ["policy", "listener"]);
        drop(policy);
        assert!(!readiness.is_ready());
        drop(one_more);
        assert!(readiness.is_ready());
        let again = readiness.wait_for("policy");
        assert!(!readiness.is_ready());
        drop(again);
        assert!(readiness.is_ready());
    }

    #[test]
    fn draining_is_final() {
        let (readiness, guard) = Readiness::new("policy");
        readiness.drain();
        drop(guard);
        assert_eq!(readiness.why_not(), ["draining"]);
    }

    #[tokio::test]
    async fn a_change_is_seen_by_those_who_watch() {
        let (readiness, guard) = Readiness::new("policy");
        let mut watch = readiness.subscribe();
        drop(guard);
        watch.changed().await.expect("the sender lives");
        assert!(watch.borrow_and_update().is_empty());
        readiness.drain();
        watch.changed().await.expect("the sender lives");
        assert_eq!(*watch.borrow(), ["draining"]);
    }
}
