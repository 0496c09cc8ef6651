//! The latency histogram: two relaxed additions per decision.
//!
//! The histogram of the metrics library keeps its sum as a floating-point number in a
//! compare-and-swap loop, between two more atomic operations. That is a good part of a decision of
//! one or two microseconds. This one counts nanoseconds in integers; its count is the sum of its
//! buckets, so that a scrape is never inconsistent in itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};

use super::family::{family as new_family, float, label};

/// Upper bounds in nanoseconds. A decision takes 1 to 20 µs, so the buckets are finest there; those
/// above show a machine without enough CPU, and the last ones what Envoy's time limit cuts off.
const BOUNDS: [u64; 20] = [
    1_000,
    2_000,
    3_000,
    5_000,
    7_500,
    10_000,
    15_000,
    20_000,
    30_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub(super) struct Latency {
    buckets: [AtomicU64; BOUNDS.len()],
    beyond: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Latency {
    /// Adds one duration.
    pub(super) fn observe(&self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|&bound| bound < nanoseconds);
        self.buckets.get(place).unwrap_or(&self.beyond).fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn metric(&self, side: &str) -> Metric {
        let mut count = 0;
        let buckets = BOUNDS
            .iter()
            .zip(&self.buckets)
            .map(|(&bound, bucket)| {
                count += bucket.load(Ordering::Relaxed);
                let mut cumulative = Bucket::default();
                cumulative.set_upper_bound(Duration::from_nanos(bound).as_secs_f64());
                cumulative.set_cumulative_count(count);
                cumulative
            })
            .collect();
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count + self.beyond.load(Ordering::Relaxed));
        histogram.set_sample_sum(float(self.nanoseconds.load(Ordering::Relaxed)) / 1e9);
        let mut metric = Metric::from_label(vec![label("side", side)]);
        metric.set_histogram(histogram);
        metric
    }
}

/// The histograms of all sides as one family.
pub(super) fn family<const N: usize>(sides: [(&str, &Latency); N]) -> MetricFamily {
    new_family(
        MetricType::HISTOGRAM,
        "gatepost_decision_duration_seconds",
        "Time from a decoded check to its finished answer, without the network and Envoy. Much \
         above 20 microseconds means that the process lacks CPU.",
        sides.into_iter().map(|(side, latency)| latency.metric(side)).collect(),
    )
}
