//! Rate limits: who is counted, what is left, and how callers are told.
//!
//! "N a minute" means at most N in *any* 60 seconds, not in each minute of the wall clock. This
//! module is the vocabulary that every store of counts shares; [`memory`] counts in this process.

pub mod memory;
#[cfg(test)]
mod tests;

use crate::denial::Window;
use crate::policy::{Limit, Limits};
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// Who is counted: 128 bits of a SHA-256 digest.
///
/// A digest, and not the names themselves, so that a caller's name can be of any length and hold
/// any byte, yet costs the same to keep and to compare. A tier is no part of it: a caller that
/// changes its tier keeps its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject(u128);

/// What one window still allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Which window.
    pub window: Window,
    /// How many requests the window allows.
    pub limit: u32,
    /// How many of them are left; 0 too when the limit was lowered below what is already used.
    pub remaining: u32,
    /// Time until `remaining` grows if the caller makes no more requests. Zero while nothing is
    /// used; the whole window for a limit of 0, which never grows.
    pub reset: Duration,
}

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether both windows allow the request.
    pub outcome: Result<(), Exceeded>,
    /// What the minute allows after this request, `None` where it is unlimited.
    pub minute: Option<Quota>,
    /// What the hour allows after this request, `None` where it is unlimited.
    pub hour: Option<Quota>,
}

/// A limit that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The window with the longer wait, where both are used up.
    pub window: Window,
    /// After exactly this time a caller that made no other request is admitted. For a limit of 0,
    /// which admits nobody, the length of the window.
    pub retry_after: Duration,
}

impl Subject {
    /// The subject that `parts` name on one side (gateway or egress).
    ///
    /// Each name goes into the digest after its length, so that no two lists of names can run
    /// together into the same bytes: `["a", "bc"]` is not `["ab", "c"]`.
    pub fn new(side: &str, parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for name in std::iter::once(&side).chain(parts) {
            // 64 bits on every machine: stores may be shared.
            let length = u64::try_from(name.len()).unwrap_or(u64::MAX);
            hasher.update(length.to_be_bytes());
            hasher.update(name.as_bytes());
        }
        let digest = hasher.finalize();
        Self(digest.iter().take(16).fold(0, |bits, &byte| (bits << 8) | u128::from(byte)))
    }

    /// Six bits of the digest, which the hash does not use.
    fn shard(self) -> usize {
        let [first, ..] = self.0.to_be_bytes();
        usize::from(first >> 2)
    }
}

impl Hash for Subject {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The low half alone: a digest is uniform, and equality still compares all of it.
        state.write_u64(u64::try_from(self.0 & u128::from(u64::MAX)).unwrap_or(0));
    }
}

impl Quota {
    /// `reset` in whole seconds, rounded up.
    pub fn reset_seconds(&self) -> u32 {
        seconds_up(self.reset)
    }
}

impl Exceeded {
    /// The value of `Retry-After` (RFC 9110, section 10.2.3): whole seconds, rounded up, at least
    /// 1, so that a client that obeys it never comes back too early.
    pub fn retry_after_seconds(&self) -> u32 {
        seconds_up(self.retry_after).max(1)
    }
}

impl Verdict {
    /// The verdict where nothing is limited.
    pub const UNLIMITED: Self = Self { outcome: Ok(()), minute: None, hour: None };

    /// The window with the least left, and of two with the same, the one that takes longer to
    /// grow: what `X-RateLimit-Limit`, `-Remaining` and `-Reset` can tell of. `None` where both
    /// windows are unlimited.
    pub fn most_restrictive(&self) -> Option<Quota> {
        match (self.minute, self.hour) {
            (Some(minute), Some(hour)) => {
                let hour_first = hour.remaining < minute.remaining
                    || (hour.remaining == minute.remaining && hour.reset > minute.reset);
                Some(if hour_first { hour } else { minute })
            }
            (minute, hour) => minute.or(hour),
        }
    }

    /// Appends the value of the `RateLimit` header (draft-ietf-httpapi-ratelimit-headers), such as
    /// `"minute";r=0;t=12, "hour";r=412;t=1804`. Appends nothing where both windows are unlimited:
    /// then there is no header.
    pub fn write_rate_limit(&self, out: &mut String) {
        let mut separator = "";
        for quota in [self.minute, self.hour].into_iter().flatten() {
            out.push_str(separator);
            write_item(out, quota.window, (";r=", quota.remaining), (";t=", quota.reset_seconds()));
            separator = ", ";
        }
    }
}

/// Appends the value of the `RateLimit-Policy` header (draft-ietf-httpapi-ratelimit-headers), such
/// as `"minute";q=60;w=60, "hour";q=1000;w=3600`. The draft has no word for "unlimited": such a
/// window is left out, and with both left out there is no header.
pub fn write_policy(limits: &Limits, out: &mut String) {
    let mut separator = "";
    for window in [Window::Minute, Window::Hour] {
        if let Limit::AtMost(limit) = limits.of(window) {
            out.push_str(separator);
            write_item(out, window, (";q=", limit), (";w=", window.seconds()));
            separator = ", ";
        }
    }
}

/// Appends a number in decimal: for header values, without an allocation or a formatter.
pub fn write_number(out: &mut String, number: u32) {
    let mut place = 1;
    while number / place >= 10 {
        place *= 10;
    }
    while place > 0 {
        // A remainder of a division by ten is always a digit.
        out.push(char::from_digit(number / place % 10, 10).unwrap_or('0'));
        place /= 10;
    }
}

fn write_item(out: &mut String, window: Window, first: (&str, u32), second: (&str, u32)) {
    out.push('"');
    out.push_str(window.name());
    out.push('"');
    for (name, number) in [first, second] {
        out.push_str(name);
        write_number(out, number);
    }
}

fn seconds_up(duration: Duration) -> u32 {
    let whole = u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    whole.saturating_add(u32::from(duration.subsec_nanos() > 0))
}
