//! Counts kept in this process, for as long as it lives.

mod ring;
#[cfg(test)]
mod tests;

use super::{Exceeded, Quota, Subject, Verdict};
use crate::clock::Now;
use crate::denial::Window;
use crate::policy::{Limit, Limits};
use ring::{Ring, SUB_BUCKETS};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One for each value of [`Subject::shard`].
const SHARDS: usize = 64;

/// The counts of every subject that made a request lately.
///
/// A count is of admitted requests and knows neither a tier nor a limit: limits come with each
/// request, so a changed limit holds at once and for what was already used. A window that is
/// unlimited is not counted; when it becomes limited again, what still lies in it counts.
///
/// Memory: 512 bytes of counters for a subject with both windows limited, 256 with one, and 33 to
/// 76 bytes for its place in the table, from its first admitted request until a [sweep] after its
/// last one has left both windows (at most 61 minutes). A refused request never makes a new entry.
///
/// [sweep]: Counters::sweep
#[derive(Debug)]
pub struct Counters {
    shards: [Shard; SHARDS],
}

/// A part of the subjects behind its own lock, on its own cache line, so that two threads rarely
/// wait for each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// The latest moment that a request or a sweep of this shard came with. Threads read the clock
    /// before they get the lock, so an earlier moment can come after a later one. It is then
    /// treated as the later one: what has been forgotten cannot be counted any more.
    latest: Duration,
    subjects: HashMap<Subject, Usage, BuildHasherDefault<DigestHasher>>,
}

/// What one subject has used. A ring is made when its window is first charged.
#[derive(Debug, Default)]
struct Usage {
    minute: Option<Box<Ring>>,
    hour: Option<Box<Ring>>,
}

/// Passes a part of the digest through: it is a hash already.
#[derive(Debug, Default)]
struct DigestHasher(u64);

impl Counters {
    /// No counts at all.
    pub fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Shard::default()) }
    }

    /// Admits the request and counts it in both windows, or refuses it and counts it in none.
    ///
    /// Only `now.monotonic` is read. Allocates nothing for a subject that was charged before in
    /// the same windows.
    pub fn charge(&self, subject: Subject, limits: &Limits, now: Now) -> Verdict {
        if *limits == Limits::UNLIMITED {
            return Verdict::UNLIMITED;
        }
        let mut table = self.shard(subject).lock();
        let at = table.reach(now);
        match table.subjects.entry(subject) {
            Entry::Occupied(mut known) => known.get_mut().charge(limits, at),
            Entry::Vacant(unknown) => {
                let mut usage = Usage::default();
                let verdict = usage.charge(limits, at);
                if verdict.outcome.is_ok() {
                    unknown.insert(usage);
                }
                verdict
            }
        }
    }

    /// What [`Counters::charge`] would decide, with what is left before it.
    pub fn peek(&self, subject: Subject, limits: &Limits, now: Now) -> Verdict {
        if *limits == Limits::UNLIMITED {
            return Verdict::UNLIMITED;
        }
        let mut table = self.shard(subject).lock();
        let at = table.reach(now);
        match table.subjects.get_mut(&subject) {
            Some(usage) => usage.peek(limits, at),
            None => Usage::default().peek(limits, at),
        }
    }

    /// Drops every subject of which nothing counts any more, and says how many those were. Locks
    /// one shard at a time.
    pub fn sweep(&self, now: Now) -> usize {
        let mut dropped = 0;
        for shard in &self.shards {
            let mut table = shard.lock();
            let at = table.reach(now);
            let before = table.subjects.len();
            table.subjects.retain(|_, usage| usage.counts(at));
            let after = table.subjects.len();
            // A crowd that has left must not keep its seats, yet a few leaving must not cost a
            // move of all the others.
            if after < table.subjects.capacity() / 4 {
                table.subjects.shrink_to(after * 2);
            }
            dropped += before - after;
        }
        dropped
    }

    /// How many subjects are held.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().subjects.len()).sum()
    }

    /// Whether no subject is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[expect(clippy::indexing_slicing, reason = "six bits are within 64 shards")]
    fn shard(&self, subject: Subject) -> &Shard {
        &self.shards[subject.shard()]
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // What runs under the lock cannot panic between two writes that belong together: a charge
        // first makes its rings and then only adds. So even a poisoned table is a true one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The moment to decide for: `now`, or the latest one seen if that is later.
    fn reach(&mut self, now: Now) -> Duration {
        self.latest = self.latest.max(now.monotonic);
        self.latest
    }
}

impl Usage {
    fn charge(&mut self, limits: &Limits, at: Duration) -> Verdict {
        let before = self.peek(limits, at);
        if before.outcome.is_err() {
            return before;
        }
        let limited = |window| matches!(limits.of(window), Limit::AtMost(_));
        let minute = limited(Window::Minute).then(|| self.minute.get_or_insert_with(empty));
        let hour = limited(Window::Hour).then(|| self.hour.get_or_insert_with(empty));
        if let Some(minute) = minute {
            minute.add(sub_bucket(Window::Minute, at));
        }
        if let Some(hour) = hour {
            hour.add(sub_bucket(Window::Hour, at));
        }
        Verdict { outcome: Ok(()), ..self.peek(limits, at) }
    }

    fn peek(&mut self, limits: &Limits, at: Duration) -> Verdict {
        let minute = quota(self.minute.as_deref_mut(), Window::Minute, limits, at);
        let hour = quota(self.hour.as_deref_mut(), Window::Hour, limits, at);
        let outcome = match (minute.and_then(exceeded), hour.and_then(exceeded)) {
            (None, None) => Ok(()),
            (Some(one), None) | (None, Some(one)) => Err(one),
            (Some(minute), Some(hour)) => {
                Err(if hour.retry_after > minute.retry_after { hour } else { minute })
            }
        };
        Verdict { outcome, minute, hour }
    }

    /// Whether a request still counts in either window.
    fn counts(&mut self, at: Duration) -> bool {
        [(Window::Minute, &mut self.minute), (Window::Hour, &mut self.hour)]
            .into_iter()
            .any(|(window, ring)| ring.as_mut().is_some_and(|r| r.used(sub_bucket(window, at)) > 0))
    }
}

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    /// Never called for a [`Subject`], which hashes as one `u64`.
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| hash.rotate_left(8) ^ u64::from(byte));
    }
}

/// What one window allows, `None` where it is unlimited.
fn quota(ring: Option<&mut Ring>, window: Window, limits: &Limits, at: Duration) -> Option<Quota> {
    let Limit::AtMost(limit) = limits.of(window) else { return None };
    let (used, frees) = ring.map_or((0, None), |ring| {
        let used = ring.used(sub_bucket(window, at));
        // One request less makes room, unless the limit was lowered below what is used.
        (used, ring.frees(used.saturating_sub(limit).saturating_add(1)))
    });
    let reset = match (limit, used) {
        (0, _) => Duration::from_secs(u64::from(window.seconds())),
        (_, 0) => Duration::ZERO,
        _ => frees.map_or(Duration::ZERO, |number| starts(window, number).saturating_sub(at)),
    };
    Some(Quota { window, limit, remaining: limit.saturating_sub(used), reset })
}

/// The quota's denial, if nothing is left of it: room for one request is what `reset` tells of.
fn exceeded(quota: Quota) -> Option<Exceeded> {
    let Quota { window, remaining, reset, .. } = quota;
    (remaining == 0).then_some(Exceeded { window, retry_after: reset })
}

fn empty() -> Box<Ring> {
    Box::new(Ring::EMPTY)
}

/// The number of the sub-bucket that a moment is in.
fn sub_bucket(window: Window, at: Duration) -> u64 {
    at.as_secs() / sub_bucket_seconds(window)
}

/// The moment at which a sub-bucket starts.
fn starts(window: Window, number: u64) -> Duration {
    Duration::from_secs(number.saturating_mul(sub_bucket_seconds(window)))
}

/// Whole seconds in both windows: 1 and 60.
fn sub_bucket_seconds(window: Window) -> u64 {
    u64::from(window.seconds()) / SUB_BUCKETS
}
