//! What the client is told about its limits.

use crate::policy::{Gateway, Limits, RateLimitHeaders};
use crate::ratelimit::{Quota, Verdict, write_number, write_policy};

/// Response headers, ready to be set.
#[derive(Debug, Default)]
pub struct Headers(Vec<(&'static str, String)>);

impl Headers {
    /// The headers as the response takes them.
    pub fn borrowed(&self) -> Vec<(&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, &**value)).collect()
    }

    /// Adds `Retry-After`, which goes with every rate-limit denial, whatever the setting. A request
    /// that passes is never told to wait, also where a rule in shadow mode would have refused it.
    #[must_use]
    pub fn and_retry_after(mut self, verdict: Option<&Verdict>) -> Self {
        if let Some(Err(exceeded)) = verdict.map(|verdict| &verdict.outcome) {
            self.push("retry-after", |out| write_number(out, exceeded.retry_after_seconds()));
        }
        self
    }

    fn push(&mut self, name: &'static str, write: impl FnOnce(&mut String)) {
        let mut value = String::with_capacity(64);
        write(&mut value);
        // Where nothing is limited there is nothing to say.
        if !value.is_empty() {
            self.0.push((name, value));
        }
    }
}

/// The headers of one answer, as the gateway's `ratelimit_headers` wants them.
pub fn headers(gateway: &Gateway, limits: Option<&Limits>, verdict: Option<&Verdict>) -> Headers {
    let mut headers = Headers::default();
    let (Some(limits), Some(verdict)) = (limits, verdict) else { return headers };
    let (ietf, legacy) = match gateway.options.ratelimit_headers {
        RateLimitHeaders::Ietf => (true, false),
        RateLimitHeaders::Legacy => (false, true),
        RateLimitHeaders::Both => (true, true),
        RateLimitHeaders::Off => (false, false),
    };
    if ietf {
        headers.push("ratelimit-policy", |out| write_policy(limits, out));
        headers.push("ratelimit", |out| verdict.write_rate_limit(out));
    }
    if let (true, Some(quota)) = (legacy, verdict.most_restrictive()) {
        let Quota { window: _, limit, remaining, reset: _ } = quota;
        headers.push("x-ratelimit-limit", |out| write_number(out, limit));
        headers.push("x-ratelimit-remaining", |out| write_number(out, remaining));
        headers.push("x-ratelimit-reset", |out| write_number(out, quota.reset_seconds()));
    }
    headers
}
