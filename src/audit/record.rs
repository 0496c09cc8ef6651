//! The facts of one decision, and their line in the log.

use std::net::IpAddr;
use std::time::Duration;

use super::id::{Boot, DecisionId};
use super::line::Line;
use crate::clock::Now;
use crate::denial::Window;
use crate::side::Side;
use crate::telemetry::Outcome;

/// The longest line, its newline included, in bytes.
pub const MAX_LINE: usize = 4096;

/// Limits of the texts, in bytes as written. Their sum leaves room below [`MAX_LINE`] for all names
/// and numbers, so that no line has to be cut as a whole (tested).
const PATH: usize = 1024;
const HOST: usize = 264; // 253 for a name, its port, and some
const NAME: usize = 256;
const LABEL: usize = 128;
const METHOD: usize = 32;
const HASH: usize = 64;
const REQUEST_ID: usize = 64;
const WINDOWS: usize = 4;

/// One decision. What is absent is left out of the line.
///
/// There is no place here for a key or a query string, nor for a header's value but the two ids that
/// join this log with others, and none may be added.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When it was decided.
    pub now: Now,
    /// Its id, which the answer carries too.
    pub decision_id: DecisionId,
    /// Which proxy asked.
    pub side: Side,
    /// How it ended.
    pub outcome: Outcome,
    /// From the check's arrival to its answer.
    pub latency: Duration,
    /// The rule that covered the request.
    pub rule: Option<&'a str>,
    /// The id of the key (never the key).
    pub key_id: Option<&'a str>,
    /// The role of the caller.
    pub role: Option<&'a str>,
    /// The tier whose limits were applied.
    pub tier: Option<&'a str>,
    /// The tenant of the caller.
    pub tenant: Option<&'a str>,
    /// The sandbox: proven, or as it calls itself.
    pub sandbox: Option<&'a str>,
    /// The id of the sandbox's token (never the token).
    pub token_id: Option<&'a str>,
    /// The outside service.
    pub service: Option<&'a str>,
    /// The name of the credential that the call goes with (never its value).
    pub credential: Option<&'a str>,
    /// The HTTP method.
    pub method: Option<&'a str>,
    /// The host as it was matched.
    pub host: Option<&'a str>,
    /// The path as it was matched. A query string, should there be one, is not written.
    pub path: Option<&'a str>,
    /// The address of the client, behind trusted proxies.
    pub client: Option<IpAddr>,
    /// The limits after this decision, at most one for each window.
    pub limits: &'a [Limit],
    /// The revision of the policy that decided.
    pub revision: Option<&'a str>,
    /// The number of that policy since the start.
    pub generation: Option<u64>,
    /// The trace id of the request's `traceparent` (W3C Trace Context).
    pub trace_id: Option<&'a str>,
    /// The `x-request-id`. A client may have chosen it, so it is written only where it looks like one.
    pub request_id: Option<&'a str>,
}

/// The state of one rate-limit window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Which window.
    pub window: Window,
    /// Requests that are left in it.
    pub remaining: u64,
    /// Requests that it allows.
    pub limit: u64,
}

impl Record<'_> {
    /// A record of what every decision has; the rest is absent.
    pub const fn new(now: Now, decision_id: DecisionId, side: Side, outcome: Outcome) -> Self {
        Self {
            now,
            decision_id,
            side,
            outcome,
            latency: Duration::ZERO,
            rule: None,
            key_id: None,
            role: None,
            tier: None,
            tenant: None,
            sandbox: None,
            token_id: None,
            service: None,
            credential: None,
            method: None,
            host: None,
            path: None,
            client: None,
            limits: &[],
            revision: None,
            generation: None,
            trace_id: None,
            request_id: None,
        }
    }

    /// Writes everything but the opening brace, the version and the sequence number, which the queue
    /// puts before it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut line = Line::new(out, "decision");
        line.timestamp("ts", self.now.unix);
        line.text("decision_id", self.decision_id.as_str(), HASH);
        line.text("side", self.side.name(), LABEL);
        line.text("outcome", self.outcome.name(), LABEL);
        if let Some(denial) = self.outcome.denial() {
            line.text("reason", denial.reason(), LABEL);
            if !denial.detail().is_empty() {
                line.text("detail", denial.detail(), LABEL);
            }
        }
        // A malformed authority may hold a password before its `@`.
        let host = self.host.and_then(|host| host.rsplit('@').next());
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let request_id =
            self.request_id.filter(|id| id.len() <= REQUEST_ID && id.bytes().all(plain));
        let path = self.path.and_then(|path| path.split(['?', '#']).next());
        for (name, value, limit) in [
            ("rule", self.rule, NAME),
            ("key_id", self.key_id, NAME),
            ("role", self.role, LABEL),
            ("tier", self.tier, LABEL),
            ("tenant", self.tenant, NAME),
            ("sandbox", self.sandbox, NAME),
            ("token_id", self.token_id, LABEL),
            ("service", self.service, LABEL),
            ("credential", self.credential, LABEL),
            ("method", self.method, METHOD),
            ("host", host, HOST),
            ("path", path, PATH),
            ("revision", self.revision, HASH),
            ("trace_id", self.trace_id, HASH),
            ("request_id", request_id, LABEL),
        ] {
            if let Some(value) = value {
                line.text(name, value, limit);
            }
        }
        if let Some(client) = self.client {
            line.address("client", client);
        }
        if !self.limits.is_empty() {
            line.open("limits");
            for limit in self.limits.iter().take(WINDOWS) {
                line.open(limit.window.name());
                line.number("remaining", limit.remaining);
                line.number("limit", limit.limit);
                line.close();
            }
            line.close();
        }
        if let Some(generation) = self.generation {
            line.number("generation", generation);
        }
        line.microseconds("latency_us", self.latency);
        line.end();
    }
}

/// The first line of a run.
pub(super) fn start(out: &mut Vec<u8>, now: Now, boot: Boot) {
    let mut line = Line::new(out, "start");
    line.timestamp("ts", now.unix);
    line.text("boot", boot.as_str(), HASH);
    line.text("version", env!("CARGO_PKG_VERSION"), LABEL);
    line.end();
}

/// Stands where the decisions `from` to `to` (both included) are missing.
pub(super) fn gap(out: &mut Vec<u8>, now: Now, from: u64, to: u64) {
    let mut line = Line::new(out, "gap");
    line.timestamp("ts", now.unix);
    line.number("from", from);
    line.number("to", to);
    line.text("cause", "queue_full", LABEL);
    line.end();
}

/// The last line of a run that ended in good order.
pub(super) fn end(out: &mut Vec<u8>, now: Now, boot: Boot, last_seq: u64) {
    let mut line = Line::new(out, "end");
    line.timestamp("ts", now.unix);
    line.text("boot", boot.as_str(), HASH);
    line.number("last_seq", last_seq);
    line.end();
}

#[cfg(test)]
pub(super) mod tests;
