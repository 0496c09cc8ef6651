//! What tells that something changed: stamps, and the system's word on directories.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::Waker;
use crate::policy::load::{EGRESS, GATEWAY, SECRETS};
use crate::policy::stamp::Found;

/// The stamps of the policy files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    pub(super) gateway: Found,
    pub(super) egress: Found,
    pub(super) secrets: Found,
}

/// The stamps of the policy files in a directory.
pub fn look(directory: &Path) -> Stamps {
    let at = |name| Found::at(&directory.join(name));
    Stamps { gateway: at(GATEWAY), egress: at(EGRESS), secrets: at(SECRETS) }
}

/// Everything that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) policy: Stamps,
    /// Of the secret files, in the order of the store.
    pub(super) secrets: Vec<Found>,
}

/// Directories of which the system says when something happens in them.
#[derive(Debug)]
pub(super) struct Directories {
    /// `None` on a system that has no watch to give.
    watcher: Option<RecommendedWatcher>,
    /// Which directory each name led to when its watch began: another of the same name needs a new
    /// one.
    watched: BTreeMap<PathBuf, Option<(u64, u64)>>,
}

impl Directories {
    /// None yet; `waker` is rung for whatever happens. `directory` is named where there is no watch
    /// to be had.
    pub(super) fn new(waker: Waker, directory: &Path) -> Self {
        let watcher = match notify::recommended_watcher(move |_event| waker.ring()) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                unwatched(directory, &error);
                None
            }
        };
        Self { watcher, watched: BTreeMap::new() }
    }

    /// Watches these directories and no others, each as what its name leads to now.
    pub(super) fn follow(&mut self, directories: &BTreeSet<&Path>) {
        let Self { watcher, watched } = self;
        let Some(watcher) = watcher else { return };
        watched.retain(|directory, _| {
            let wanted = directories.contains(&**directory);
            if !wanted {
                // Of a directory that is gone, the watch is gone as well; that is no news.
                drop(watcher.unwatch(directory));
            }
            wanted
        });
        for &directory in directories {
            let identity = match Found::at(directory) {
                Found::File(stamp) => Some(stamp.identity()),
                Found::Nothing(_) => None,
            };
            let before = watched.get(directory).copied().flatten();
            if identity == before {
                continue;
            }
            drop(watcher.unwatch(directory));
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                unwatched(directory, &error);
            }
            watched.insert(directory.to_owned(), identity);
        }
    }
}

fn unwatched(directory: &Path, error: &notify::Error) {
    tracing::warn!(%error, directory = %directory.display(), "not watched, looked at every 250 ms");
}
