//! When a service whose destination was edited goes where it is to go.
//!
//! As soon as every Envoy has the new cluster, or after [`PATIENCE`]; never to a cluster that an
//! Envoy has refused, for as long as not all of them have it. What waits keeps its old target.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long Envoys are waited for.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How it is with one cluster at all Envoys together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reception {
    /// No Envoy is there.
    Nobody,
    /// Every one has it.
    Held,
    /// One of them has refused it.
    Refused,
    /// One of them has neither yet.
    Open,
}

/// The clusters that are waited for.
#[derive(Debug, Default)]
pub struct Handover {
    waiting: BTreeMap<Box<str>, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Duration,
    /// An Envoy has refused it at some time. That Envoy may be gone and come back, and nothing has
    /// got better by waiting.
    refused: bool,
}

impl Handover {
    /// Which of the pending clusters are to hold now. `now` is on the monotonic clock.
    pub fn ready<'c>(
        &mut self,
        pending: impl Iterator<Item = &'c str>,
        reception: impl Fn(&str) -> Reception,
        now: Duration,
    ) -> Vec<Box<str>> {
        let mut waiting = BTreeMap::new();
        let mut ready = Vec::new();
        for cluster in pending {
            let entry = self.waiting.remove(cluster);
            let mut entry = entry.unwrap_or(Waiting { since: now, refused: false });
            let take = match reception(cluster) {
                Reception::Held => true,
                Reception::Nobody => !entry.refused,
                Reception::Open => !entry.refused && now >= entry.due(),
                Reception::Refused => {
                    entry.refused = true;
                    false
                }
            };
            if take {
                ready.push(cluster.into());
            } else {
                waiting.insert(cluster.into(), entry);
            }
        }
        self.waiting = waiting;
        ready
    }

    /// The next moment after `now` at which waiting is over.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        let waiting = self.waiting.values().filter(|waiting| !waiting.refused);
        waiting.map(Waiting::due).filter(|&due| now < due).min()
    }
}

impl Waiting {
    fn due(&self) -> Duration {
        self.since.saturating_add(PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Reception::{Held, Nobody, Open, Refused};

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// What happens to one pending cluster: moments, what Envoys say of it then, and whether it is
    /// to hold.
    #[test]
    fn hand_overs() {
        type Steps = &'static [(u64, Reception, bool)];
        let cases: &[(&str, Steps)] = &[
            ("no Envoy", &[(0, Nobody, true)]),
            ("acknowledged at once", &[(0, Held, true)]),
            ("acknowledged later", &[(0, Open, false), (50, Held, true)]),
            ("never answered", &[(0, Open, false), (1_999, Open, false), (2_000, Open, true)]),
            ("the last Envoy goes", &[(0, Open, false), (10, Nobody, true)]),
            ("refused", &[(0, Open, false), (5, Refused, false), (9_999, Refused, false)]),
            ("refused and offered again", &[(0, Refused, false), (10_000, Open, false)]),
            ("refused, then taken", &[(0, Refused, false), (10_000, Held, true)]),
            ("refused, and Envoy goes", &[(0, Refused, false), (1, Nobody, false)]),
            (
                "refused, and Envoy comes back",
                &[(0, Refused, false), (1, Nobody, false), (2, Open, false), (9_000, Open, false)],
            ),
        ];
        for (what, steps) in cases {
            let mut handover = Handover::default();
            for &(at, reception, expected) in *steps {
                let ready = handover.ready(["c"].into_iter(), |_| reception, ms(at));
                assert_eq!(!ready.is_empty(), expected, "{what} at {at}");
            }
        }
    }

    #[test]
    fn one_that_is_refused_holds_up_no_other() {
        let mut handover = Handover::default();
        let reception = |cluster: &str| if cluster == "bad" { Refused } else { Held };
        let ready = handover.ready(["bad", "good"].into_iter(), reception, ms(0));
        assert_eq!(ready, ["good".into()]);
        assert_eq!(handover.deadline(ms(0)), None, "nothing gets better by waiting");
    }

    #[test]
    fn the_time_begins_anew_with_another_destination() {
        let mut handover = Handover::default();
        let open = |_: &str| Open;
        assert!(handover.ready(["c@1"].into_iter(), open, ms(0)).is_empty());
        assert!(handover.ready(["c@2"].into_iter(), open, ms(1_500)).is_empty());
        assert_eq!(handover.deadline(ms(1_500)), Some(ms(3_500)));
        assert!(handover.ready(["c@2"].into_iter(), open, ms(2_500)).is_empty());
        assert_eq!(handover.ready(["c@2"].into_iter(), open, ms(3_500)), ["c@2".into()]);
    }
}
