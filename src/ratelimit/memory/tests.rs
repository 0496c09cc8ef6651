//! The promises of the limiter, held against a log of every admitted request.

use super::*;
use crate::ratelimit::{Exceeded, Quota};
use proptest::prelude::*;
use proptest::sample::Index;

const WINDOWS: [Window; 2] = [Window::Minute, Window::Hour];

/// Limits from numbers as the policy file has them: -1 is unlimited.
fn limits(minute: impl TryInto<u32>, hour: impl TryInto<u32>) -> Limits {
    Limits {
        minute: minute.try_into().map_or(Limit::Unlimited, Limit::AtMost),
        hour: hour.try_into().map_or(Limit::Unlimited, Limit::AtMost),
    }
}

fn at(monotonic: Duration) -> Now {
    Now { unix: Duration::ZERO, monotonic }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn subject() -> Subject {
    Subject::new("gateway", &["acme-1"])
}

/// The definition of the sliding window, with no ring and no running total: it remembers every
/// admitted request and looks through all of them for each answer.
#[derive(Default)]
struct Log {
    latest: Duration,
    minute: Vec<Duration>,
    hour: Vec<Duration>,
}

impl Log {
    fn admitted(&mut self, window: Window) -> &mut Vec<Duration> {
        match window {
            Window::Minute => &mut self.minute,
            Window::Hour => &mut self.hour,
        }
    }

    /// When a request stops counting: a window after the end of its sub-bucket.
    fn leaves(window: Window, admitted: Duration) -> Duration {
        let bucket = u64::from(window.seconds()) / 60;
        Duration::from_secs((admitted.as_secs() / bucket + 61) * bucket)
    }

    fn quota(&mut self, window: Window, limits: &Limits) -> Option<Quota> {
        let Limit::AtMost(limit) = limits.of(window) else { return None };
        let now = self.latest;
        let ends = self.admitted(window).iter().map(|&t| Log::leaves(window, t));
        let ends: Vec<Duration> = ends.filter(|&end| end > now).collect();
        let left_at = |then: Duration| {
            let used = ends.iter().filter(|&&end| end > then).count();
            limit.saturating_sub(u32::try_from(used).unwrap())
        };
        let remaining = left_at(now);
        let grows = ends.iter().filter(|&&end| left_at(end) > remaining).min();
        let reset = match grows {
            _ if limit == 0 => Duration::from_secs(u64::from(window.seconds())),
            Some(end) => end.saturating_sub(now),
            None => Duration::ZERO,
        };
        Some(Quota { window, limit, remaining, reset })
    }

    fn charge(&mut self, limits: &Limits, now: Duration) -> Verdict {
        self.latest = self.latest.max(now);
        let quotas = WINDOWS.map(|window| self.quota(window, limits));
        let used_up = quotas.into_iter().flatten().filter(|quota| quota.remaining == 0);
        // `rev`, since `max_by_key` takes the last of equals and the minute is named first.
        let outcome = match used_up.rev().max_by_key(|quota| quota.reset) {
            None => Ok(()),
            Some(quota) => Err(Exceeded { window: quota.window, retry_after: quota.reset }),
        };
        if outcome.is_ok() {
            for window in WINDOWS.into_iter().filter(|&w| limits.of(w) != Limit::Unlimited) {
                let latest = self.latest;
                self.admitted(window).push(latest);
            }
        }
        let [minute, hour] = WINDOWS.map(|window| self.quota(window, limits));
        Verdict { outcome, minute, hour }
    }
}

/// Gaps of every size that matters to a window, in milliseconds.
fn gap() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0_i64..50,
        6 => 0_i64..3_000,
        3 => 0_i64..70_000,
        1 => 0_i64..4_000_000,
        1 => Just(1_000_i64),
        1 => Just(60_000_i64),
    ]
}

/// The same, and steps back.
fn any_gap() -> impl Strategy<Value = i64> {
    prop_oneof![5 => gap(), 1 => gap().prop_map(|gap| -gap)]
}

fn any_limits() -> impl Strategy<Value = Limits> {
    (-1_i64..8, -1_i64..30).prop_map(|(minute, hour)| limits(minute, hour))
}

/// The moments that gaps lead to, from a first moment on.
fn moments(start: u64, gaps: &[i64]) -> Vec<Duration> {
    let mut now = start;
    let step = |gap: &i64| {
        now = now.saturating_add_signed(*gap);
        millis(now)
    };
    gaps.iter().map(step).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Exact agreement with the definition: outcome, remaining, reset and wait, while limits
    /// change, the clock steps back and sweeps come in between.
    #[test]
    fn every_verdict_is_that_of_the_log(
        start in 0_u64..4_000_000,
        tiers in prop::collection::vec(any_limits(), 1..4),
        steps in prop::collection::vec((any_gap(), any::<Index>(), 0..10), 1..150),
    ) {
        let (counters, mut log) = (Counters::new(), Log::default());
        let gaps: Vec<i64> = steps.iter().map(|step| step.0).collect();
        let mut tier = tiers[0];
        for (now, (_, index, dice)) in moments(start, &gaps).into_iter().zip(&steps) {
            match dice {
                0 => tier = *index.get(&tiers),
                1 => { counters.sweep(at(now)); log.latest = log.latest.max(now); }
                _ => {}
            }
            // An unlimited request touches nothing, not even the clock.
            if tier != Limits::UNLIMITED {
                prop_assert_eq!(counters.charge(subject(), &tier, at(now)), log.charge(&tier, now));
            }
        }
    }

    /// At most N in any interval of a window's length, however the clock runs. Nor is a request
    /// refused unless N were admitted in the last window and one sub-bucket.
    #[test]
    fn no_interval_holds_more_than_the_limit(
        start in 0_u64..4_000_000,
        gaps in prop::collection::vec(any_gap(), 1..400),
        (minute, hour) in (1_usize..12, 1_usize..40),
    ) {
        let counters = Counters::new();
        let tier = limits(minute, hour);
        let (mut admitted, mut latest) = (Vec::<Duration>::new(), Duration::ZERO);
        for now in moments(start, &gaps) {
            latest = latest.max(now);
            match counters.charge(subject(), &tier, at(now)).outcome {
                Ok(()) => admitted.push(latest),
                Err(exceeded) => {
                    let (n, window) = match exceeded.window {
                        Window::Minute => (minute, 61),
                        Window::Hour => (hour, 3660),
                    };
                    let recent = |t: &&Duration| **t + Duration::from_secs(window) > latest;
                    prop_assert!(admitted.iter().filter(recent).count() >= n);
                }
            }
        }
        for (n, window) in [(minute, 60), (hour, 3600)] {
            for span in admitted.windows(n + 1) {
                prop_assert!(span[n] >= span[0] + Duration::from_secs(window));
            }
        }
    }

    /// `retry_after` is neither too long nor too short, by a nanosecond.
    #[test]
    fn after_exactly_the_wait_the_caller_is_admitted(
        start in 0_u64..4_000_000,
        gaps in prop::collection::vec(gap(), 1..100),
        (minute, hour) in (1_i64..8, 1_i64..20),
        lowered in 1_i64..8,
    ) {
        let counters = Counters::new();
        let moments = moments(start, &gaps);
        let now = *moments.last().unwrap();
        for moment in &moments {
            counters.charge(subject(), &limits(minute, hour), at(*moment)).outcome.unwrap_or(());
        }
        let tier = limits(minute.min(lowered), hour);
        if let Err(Exceeded { retry_after, .. }) = counters.charge(subject(), &tier, at(now)).outcome {
            let (early, exact) = (retry_after.saturating_sub(millis(1) / 1_000_000), retry_after);
            prop_assert!(counters.charge(subject(), &tier, at(now + early)).outcome.is_err());
            prop_assert_eq!(counters.charge(subject(), &tier, at(now + exact)).outcome, Ok(()));
        }
    }

    /// Refused requests, and peeks, might as well not have happened.
    #[test]
    fn a_refusal_leaves_no_trace(
        start in 0_u64..4_000_000,
        gaps in prop::collection::vec(gap(), 1..150),
        tier in any_limits(),
    ) {
        let (all, admitted_only) = (Counters::new(), Counters::new());
        for now in moments(start, &gaps) {
            let preview = all.peek(subject(), &tier, at(now));
            let verdict = all.charge(subject(), &tier, at(now));
            prop_assert_eq!(preview.outcome, verdict.outcome);
            if verdict.outcome.is_ok() {
                prop_assert_eq!(admitted_only.charge(subject(), &tier, at(now)), verdict);
            } else {
                prop_assert_eq!(admitted_only.peek(subject(), &tier, at(now)), verdict);
            }
        }
        prop_assert_eq!(all.len(), admitted_only.len());
    }

    /// Whatever the phase: the N+1 requests of a test that takes less than a minute see one 429.
    #[test]
    fn one_request_too_many_is_one_refusal(
        start in 0_u64..10_000_000,
        mut offsets in prop::collection::vec(0_u64..60_000, 2..90),
    ) {
        offsets.sort_unstable();
        let counters = Counters::new();
        let tier = limits(offsets.len() - 1, 1000);
        let refused = |offset: &&u64| {
            counters.charge(subject(), &tier, at(millis(start + **offset))).outcome.is_err()
        };
        prop_assert_eq!(offsets.iter().filter(refused).count(), 1);
    }
}

#[test]
fn a_refusal_by_one_window_charges_neither() {
    let counters = Counters::new();
    let now = at(millis(500));
    let left = |window| counters.peek(subject(), &window, now);
    for _ in 0..5 {
        counters.charge(subject(), &limits(2, 10), now).outcome.unwrap_or(());
    }
    assert_eq!(left(limits(-1, 10)).hour.unwrap().remaining, 8);
    for _ in 0..5 {
        counters.charge(subject(), &limits(9, 3), now).outcome.unwrap_or(());
    }
    assert_eq!(left(limits(9, -1)).minute.unwrap().remaining, 6);
}

#[test]
fn the_longer_wait_is_named() {
    let counters = Counters::new();
    let refusal = |tier, now| counters.charge(subject(), &tier, at(millis(now))).outcome;
    assert_eq!(refusal(limits(1, 1), 0), Ok(()));
    let hour = Exceeded { window: Window::Hour, retry_after: millis(3_659_500) };
    assert_eq!(refusal(limits(1, 1), 500), Err(hour));
    let minute = Exceeded { window: Window::Minute, retry_after: millis(60_500) };
    assert_eq!(refusal(limits(1, 2), 500), Err(minute));
}

#[test]
fn a_limit_of_zero_refuses_for_a_finite_time_and_keeps_nothing() {
    let counters = Counters::new();
    for (tier, window) in [
        (limits(0, 5), Window::Minute),
        (limits(5, 0), Window::Hour),
        (limits(0, 0), Window::Hour),
        (limits(0, -1), Window::Minute),
    ] {
        let retry_after = Duration::from_secs(u64::from(window.seconds()));
        for now in [0, 59_999, 60_000, 4_000_000] {
            let verdict = counters.charge(subject(), &tier, at(millis(now)));
            assert_eq!(verdict.outcome, Err(Exceeded { window, retry_after }));
        }
    }
    assert!(counters.is_empty());
}

#[test]
fn a_changed_limit_holds_at_once_for_what_was_used() {
    let counters = Counters::new();
    // Each row: the new limits, and whether one more is admitted, and what the minute then leaves.
    for (tier, admitted, left) in [
        (limits(3, -1), true, Some(2)),
        (limits(3, -1), true, Some(1)),
        (limits(1, -1), false, Some(0)),
        (limits(2, -1), false, Some(0)),
        (limits(10, -1), true, Some(7)),
        (limits(-1, -1), true, None),
        (limits(-1, 100), true, None),
        (limits(4, -1), true, Some(0)),
        (limits(4, -1), false, Some(0)),
        (limits(0, -1), false, Some(0)),
        (limits(u32::MAX, -1), true, Some(u32::MAX - 5)),
    ] {
        let verdict = counters.charge(subject(), &tier, at(millis(1)));
        assert_eq!(verdict.outcome.is_ok(), admitted, "{tier:?}");
        assert_eq!(verdict.minute.map(|quota| quota.remaining), left, "{tier:?}");
    }
    let hour = counters.peek(subject(), &limits(-1, 100), at(millis(1))).hour.unwrap();
    assert_eq!(hour.remaining, 99, "the hour counts only what was made while it was limited");
}

#[test]
fn subjects_do_not_share_a_budget() {
    let counters = Counters::new();
    let now = at(millis(0));
    for n in 0..1000 {
        let one = Subject::new("egress", &["sandbox", &n.to_string()]);
        assert!(counters.charge(one, &limits(1, 1), now).outcome.is_ok(), "{n}");
        assert!(counters.charge(one, &limits(1, 1), now).outcome.is_err(), "{n}");
    }
    assert_eq!(counters.len(), 1000);
}

#[test]
fn a_sweep_drops_a_subject_when_nothing_of_it_counts_and_no_sooner() {
    let counters = Counters::new();
    let other = Subject::new("gateway", &["other"]);
    counters.charge(subject(), &limits(5, 5), at(millis(0))).outcome.unwrap();
    counters.charge(other, &limits(5, -1), at(millis(0))).outcome.unwrap();
    for (now, dropped) in [(60_999, 0), (61_000, 1), (3_659_999, 0), (3_660_000, 1)] {
        assert_eq!(counters.sweep(at(millis(now))), dropped, "at {now} ms");
    }
    assert!(counters.is_empty());
}

#[test]
fn a_request_older_than_the_sweep_finds_no_fresh_budget() {
    let counters = Counters::new();
    let tier = limits(1, -1);
    counters.charge(subject(), &tier, at(millis(0))).outcome.unwrap();
    assert_eq!(counters.sweep(at(millis(61_000))), 1);
    // It is counted at the sweep's moment, so the next one waits a minute from there.
    counters.charge(subject(), &tier, at(millis(59_000))).outcome.unwrap();
    assert!(counters.charge(subject(), &tier, at(millis(121_999))).outcome.is_err());
    assert!(counters.charge(subject(), &tier, at(millis(122_000))).outcome.is_ok());
}

#[test]
fn threads_together_are_admitted_exactly_up_to_the_limit() {
    for limit in [1, 999, 1600, 5000] {
        let counters = Counters::new();
        let admitted = |thread: u64| {
            let tier = limits(limit, -1);
            let moment = |n: u64| at(millis(n * 17 % 500 + thread));
            let charge = |&n: &u64| counters.charge(subject(), &tier, moment(n)).outcome.is_ok();
            (0..200).filter(charge).count()
        };
        let total: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || admitted(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(total, limit.min(1600));
    }
}

#[test]
fn a_lock_poisoned_by_a_panic_still_serves() {
    let counters = Counters::new();
    let tier = limits(1, 1);
    counters.charge(subject(), &tier, at(millis(0))).outcome.unwrap();
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let _guard = counters.shard(subject()).lock();
            panic!("while holding the lock, as this test wants it");
        });
        assert!(holder.join().is_err());
    });
    assert!(counters.charge(subject(), &tier, at(millis(0))).outcome.is_err());
}

#[test]
fn a_subject_takes_about_half_a_kibibyte() {
    assert_eq!(size_of::<Ring>(), 256);
    assert_eq!(size_of::<(Subject, Usage)>(), 32);
    assert_eq!(size_of::<Shard>(), 64);
}
