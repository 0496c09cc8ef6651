//! The one place that reads a clock. Everything else takes a [`Now`].

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The moment that an RFC 3339 date names, since 1970. `None` for what is no date, or lies before.
pub fn rfc3339(text: &str) -> Option<Duration> {
    let date = OffsetDateTime::parse(text, &Rfc3339);
    let seconds = date.map_or(None, |date| Some(date.unix_timestamp()))?;
    u64::try_from(seconds).map_or(None, |seconds| Some(Duration::from_secs(seconds)))
}

/// 9999-12-31T23:59:59Z, the last moment that RFC 3339 can write.
const END_OF_TIME: Duration = Duration::from_secs(253_402_300_799);

/// One moment, on both clocks, read once for each decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall time since 1970-01-01T00:00:00Z: what dates in the policy are compared with, and what
    /// the log shows. It may step.
    pub unix: Duration,
    /// Time since the process first asked, on a clock that never goes back: what limits and
    /// durations are counted in.
    pub monotonic: Duration,
}

impl Now {
    /// Reads both clocks.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn read() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        // A clock that stands before 1970 is wrong, and a wrong clock must not revive an expired
        // key: it reads as a day on which every key has expired.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(END_OF_TIME);
        Self { unix, monotonic: START.get_or_init(Instant::now).elapsed() }
    }

    /// Whole seconds since 1970, rounded down.
    pub fn unix_seconds(&self) -> i64 {
        // Past the year 292,000,000,000 every key has expired.
        i64::try_from(self.unix.as_secs()).unwrap_or(i64::MAX)
    }
}
