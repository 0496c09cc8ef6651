//! What the versions of the last while contain: how a stream that is opened again goes on from where
//! the one before it ended.

use std::collections::VecDeque;
use std::sync::Arc;

/// How many versions are remembered.
const KEPT: usize = 32;

/// The names of some clusters, in order.
pub type Names = Arc<[Arc<str>]>;

/// The versions that were sent last. Shared by all streams: a version says what it contains.
#[derive(Debug, Default)]
pub struct History {
    /// The newest is the last.
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    version: Arc<str>,
    /// `None` where only the doubts are known.
    names: Option<Names>,
    /// How many Envoys were sent something while they were in this version and have not been heard
    /// to have arrived. Of a response that it refuses, Envoy keeps the good part and says the old
    /// version: what an Envoy has that comes back with this version is not known.
    doubts: usize,
}

/// What an Envoy has that says it is in a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Exactly these clusters.
    Exactly(Names),
    /// It may have others.
    Doubtful,
    /// This process has not sent the version, or too long ago.
    Unknown,
}

impl History {
    /// What an Envoy has in this version.
    pub fn contents(&self, version: &str) -> Contents {
        let entry = self.entries.iter().find(|entry| *entry.version == *version);
        match entry {
            None => Contents::Unknown,
            Some(Entry { doubts: 0, names: Some(names), .. }) => {
                Contents::Exactly(Arc::clone(names))
            }
            Some(_) => Contents::Doubtful,
        }
    }

    /// This version, which contains these clusters, is sent or was found at an Envoy.
    pub fn record(&mut self, version: &Arc<str>, names: &Names) {
        self.edit(version, |entry| entry.names = Some(Arc::clone(names)));
    }

    /// An Envoy in this version is sent another.
    pub fn leave(&mut self, version: &Arc<str>) {
        self.edit(version, |entry| entry.doubts = entry.doubts.saturating_add(1));
    }

    /// The Envoy that left this version has arrived in another.
    pub fn arrived_from(&mut self, version: &Arc<str>) {
        self.edit(version, |entry| entry.doubts = entry.doubts.saturating_sub(1));
    }

    /// Changes the entry of a version, which then is the newest.
    fn edit(&mut self, version: &Arc<str>, change: impl FnOnce(&mut Entry)) {
        let place = self.entries.iter().position(|entry| entry.version == *version);
        let found = place.and_then(|place| self.entries.remove(place));
        let mut entry =
            found.unwrap_or_else(|| Entry { version: Arc::clone(version), names: None, doubts: 0 });
        change(&mut entry);
        if self.entries.len() >= KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Names {
        of.iter().map(|&name| Arc::from(name)).collect()
    }

    #[test]
    fn a_version_is_believed_while_nobody_is_between_it_and_another() {
        let mut history = History::default();
        let (one, ab) = (Arc::from("1"), names(&["a", "b"]));
        assert_eq!(history.contents("1"), Contents::Unknown);
        history.record(&one, &ab);
        assert_eq!(history.contents("1"), Contents::Exactly(ab.clone()));
        history.leave(&one);
        history.leave(&one);
        history.arrived_from(&one);
        assert_eq!(history.contents("1"), Contents::Doubtful);
        history.record(&one, &ab);
        assert_eq!(history.contents("1"), Contents::Doubtful, "sending it again settles nothing");
        history.arrived_from(&one);
        assert_eq!(history.contents("1"), Contents::Exactly(ab));
    }

    #[test]
    fn doubts_come_before_names() {
        let mut history = History::default();
        let one = Arc::from("1");
        history.leave(&one);
        history.record(&one, &names(&["a"]));
        assert_eq!(history.contents("1"), Contents::Doubtful);
    }

    #[test]
    fn old_versions_are_forgotten() {
        let mut history = History::default();
        for number in 0..=KEPT {
            history.record(&Arc::from(number.to_string()), &names(&[]));
            history.record(&Arc::from("0"), &names(&[]));
        }
        assert_eq!(history.entries.len(), KEPT);
        assert_eq!(history.contents("1"), Contents::Unknown);
        assert_eq!(history.contents("0"), Contents::Exactly(names(&[])), "used again and again");
    }
}
