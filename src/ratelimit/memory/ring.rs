//! One window of one subject: how many requests were admitted in each of its sub-buckets.

/// Sub-buckets in one window.
pub(super) const SUB_BUCKETS: u64 = 60;

/// Counters in a ring: the sub-buckets of one window, and the one that the present is in.
const COUNTED: usize = 61;

/// A count of admitted requests that slides with time.
///
/// Time is cut into sub-buckets of a sixtieth of the window, numbered from the clock's start. The
/// ring counts the present sub-bucket and the 60 before it. Two requests less than a window apart
/// are at most 60 sub-buckets apart, so whatever the phase, all requests of the past window are
/// counted, and never more than the limit are admitted in any interval of its length. The price is
/// that a request counts for up to one sub-bucket longer than the window.
///
/// Every method takes the number of the present sub-bucket, which must not decrease from call to
/// call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    /// The sub-bucket that holds the oldest counted request. Means nothing while `total` is 0.
    oldest: u64,
    /// The sum of `counts`, so that a check need not add them up.
    total: u32,
    /// The count of sub-bucket n is at n modulo 61. All outside `oldest..=present` are 0.
    counts: [u32; COUNTED],
}

impl Ring {
    pub(super) const EMPTY: Self = Self { oldest: 0, total: 0, counts: [0; COUNTED] };

    /// How many requests count at present.
    ///
    /// Forgets what has left the window. `oldest` only ever moves forward, at most up to the
    /// present, so over many calls one costs a constant time.
    pub(super) fn used(&mut self, present: u64) -> u32 {
        while self.total > 0 {
            let expired = leaves(self.oldest) <= present;
            let count = self.slot(self.oldest);
            if *count > 0 && !expired {
                break;
            }
            let forgotten = std::mem::take(count);
            self.total = self.total.saturating_sub(forgotten);
            self.oldest += 1;
        }
        self.total
    }

    /// Counts one admitted request. The caller has checked that `used(present)` is below a limit,
    /// so the sum fits.
    pub(super) fn add(&mut self, present: u64) {
        if self.used(present) == 0 {
            self.oldest = present;
        }
        let count = self.slot(present);
        *count = count.saturating_add(1);
        self.total = self.total.saturating_add(1);
    }

    /// The first sub-bucket in which at least `freed` of the counted requests no longer count.
    /// `None` if there are fewer.
    pub(super) fn frees(&self, freed: u32) -> Option<u64> {
        let mut sum = 0_u32;
        (self.oldest..leaves(self.oldest)).find_map(|number| {
            sum = sum.saturating_add(self.counts.get(place(number)).copied().unwrap_or(0));
            (sum >= freed).then_some(leaves(number))
        })
    }

    #[expect(clippy::indexing_slicing, reason = "a number modulo 61 is within 61 counters")]
    fn slot(&mut self, number: u64) -> &mut u32 {
        &mut self.counts[place(number)]
    }
}

/// The first sub-bucket in which the requests of sub-bucket `number` no longer count.
const fn leaves(number: u64) -> u64 {
    number.saturating_add(SUB_BUCKETS + 1)
}

fn place(number: u64) -> usize {
    // Below 61, so the conversion never fails.
    usize::try_from(number % (SUB_BUCKETS + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_running_total_is_the_sum_over_the_last_61_sub_buckets(
            steps in prop::collection::vec((prop_oneof![0_u64..3, 0_u64..70, 0_u64..500], 0_u32..3), 1..200),
        ) {
            let (mut ring, mut admitted, mut present) = (Ring::EMPTY, Vec::new(), 0);
            for (gap, requests) in steps {
                present += gap;
                for _ in 0..requests {
                    ring.add(present);
                    admitted.push(present);
                }
                let naive = admitted.iter().filter(|&&number| number + 60 >= present).count();
                prop_assert_eq!(usize::try_from(ring.used(present)), Ok(naive));
                prop_assert_eq!(ring.counts.iter().sum::<u32>(), ring.total);
                prop_assert!(ring.total == 0 || *ring.slot(ring.oldest) > 0);
            }
        }
    }

    #[test]
    fn a_request_counts_for_sixty_more_sub_buckets() {
        let mut ring = Ring::EMPTY;
        ring.add(7);
        ring.add(9);
        assert_eq!((ring.used(67), ring.frees(1), ring.frees(2)), (2, Some(68), Some(70)));
        assert_eq!((ring.used(68), ring.frees(1), ring.frees(2)), (1, Some(70), None));
        assert_eq!(ring.used(70), 0);
    }
}
