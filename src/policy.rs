//! The compiled policy: immutable, complete, and all that one request sees.
//!
//! A [`Snapshot`] is built once for each version of the files and swapped as a whole, so that no
//! request ever sees half an edit. What is compiled needs no validation: `compile` makes it, or says
//! why not. The types of this file, [`key`], [`rule`] and [`glob`] are what requests see, without
//! serde and without I/O; the modules below them are how files become that.

pub mod glob;
pub mod header;
pub mod key;
pub mod rule;
pub mod destination;
pub mod credential;
pub mod egress;
pub mod exposure;
pub mod stamp;
pub mod secrets;
pub mod live;
pub mod raw;
pub mod locate;
pub mod place;
pub mod compile;
pub mod advice;
pub mod load;
pub mod changes;
pub mod reload;

use std::fmt;
use std::sync::Arc;

use crate::denial::Window;
use key::Keys;
use rule::{CredentialHeaders, Rules};

/// One version of the whole policy.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Names the contents: the same files give the same revision on every host.
    pub revision: Revision,
    /// Counts the versions that this process has used, from 1.
    pub generation: u64,
    /// `None` where the side has no file: it is off.
    pub gateway: Option<Arc<Gateway>>,
    /// The same.
    pub egress: Option<egress::Egress>,
}

/// SHA-256 of the policy files, secrets aside, as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Revision(pub Box<str>);

/// The gateway side: who may call us.
#[derive(Debug)]
pub struct Gateway {
    /// Settings of the whole side.
    pub options: Options,
    /// The API keys.
    pub keys: Keys,
    /// The tiers, in file order.
    pub tiers: Vec<Tier>,
    /// The tier of anyone with any credential at all: `allow_any_key`, which counts only while
    /// there are no keys.
    pub any_key: Option<Tier>,
    /// The rules.
    pub rules: Rules,
}

/// `gateway_config`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Refuse what did not come over TLS.
    pub require_https: bool,
    /// How many proxies stand between the client and Envoy.
    pub trusted_hops: usize,
    /// Where a credential may stand, unless the rule says otherwise.
    pub credential_headers: CredentialHeaders,
    /// Which rate-limit headers the client gets.
    pub ratelimit_headers: RateLimitHeaders,
    /// The file says that losing most of its keys is meant.
    pub allow_shrink: bool,
}

/// Which rate-limit headers the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitHeaders {
    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    Ietf,
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`.
    Legacy,
    /// All of them.
    Both,
    /// None; a denial still has `Retry-After`.
    Off,
}

/// A rate-limit tier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tier {
    /// Its name in the file.
    pub name: Box<str>,
    /// What it allows.
    pub limits: Limits,
}

/// How many requests one caller may make in each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// In any 60 seconds.
    pub minute: Limit,
    /// In any 3,600 seconds.
    pub hour: Limit,
}

/// How many requests one window allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Not counted at all (-1 in the file, or the window left out).
    Unlimited,
    /// At most this many; 0 denies all.
    AtMost(u32),
}

impl Limits {
    /// No limit in either window.
    pub const UNLIMITED: Self = Self { minute: Limit::Unlimited, hour: Limit::Unlimited };

    /// The limit of one window.
    pub const fn of(&self, window: Window) -> Limit {
        match window {
            Window::Minute => self.minute,
            Window::Hour => self.hour,
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
