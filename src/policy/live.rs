//! The policy that holds: read by every request, replaced as a whole.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::Snapshot;

/// The snapshot that holds at this moment.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Snapshot>,
    /// Held while the next snapshot is made from the current one, so that none is lost.
    writer: Mutex<()>,
    changes: watch::Sender<u64>,
}

impl Live {
    /// The first snapshot.
    pub fn new(first: Snapshot) -> Self {
        Self {
            current: ArcSwap::from_pointee(first),
            writer: Mutex::new(()),
            changes: watch::Sender::new(0),
        }
    }

    /// The snapshot for one request: cheap, and never waits.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The snapshot, to keep.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Lets the snapshot that `next` makes of the current one hold; `None` leaves all as it is.
    /// Returns what held before. Waits for other writers, of which there are two at most.
    pub fn update(
        &self,
        next: impl FnOnce(&Snapshot) -> Option<Snapshot>,
    ) -> Option<Arc<Snapshot>> {
        let _alone = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let new = next(&self.current.load())?;
        let old = self.current.swap(Arc::new(new));
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        Some(old)
    }

    /// Is told of every change.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
