//! The policy files as they are written: text, numbers and lists, nothing judged yet.
//!
//! Every object is declared once, through the macro in `raw/object.rs`, which makes the type, its
//! deserialisation and its [`Shape`]. The fast pass reads with the first two, the second pass
//! explains with the third (`locate`), so the two cannot drift apart.
//!
//! A file is strict JSON: no comments, no trailing commas, no byte order mark. A key that begins
//! with `_` or `$` is a comment, in every object. An unknown key, a key that stands twice, and a
//! `null` are errors. Every field is optional here; `compile` decides what must be there.

mod shape;
mod syntax;
mod text;
mod object;
mod gateway;
mod egress;
mod cases;

pub use cases::{Case, CaseFile, CaseRequest, Expectation};
pub use egress::{
    Credential, CredentialHeader, EgressFile, EgressOptions, EgressTier, RateLimit, Sandbox,
    SandboxToken, SecretsFile, Service,
};
pub use gateway::{ApiKey, GatewayFile, KeySlot, Options, Rule, Tier};
pub use shape::{Field, Shape, Shaped, is_comment};
pub use syntax::{Fault, ParseError, check_syntax};
pub use text::{Digest, Entries, Secret, Text};

use serde::Deserialize;

/// A file, or a part of one, whose strings borrow from a text that lives for `'a`.
pub trait Document<'a>: Deserialize<'a> + Shaped {}

impl<'a, T: Deserialize<'a> + Shaped> Document<'a> for T {}

/// What editors on Windows put before the first character.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reads one file. Strings are borrowed from `text` wherever they hold no escape.
///
/// # Errors
/// The first thing that is wrong, with no more than its place: `locate::explain` says the rest.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ParseError> {
    if text.starts_with(BYTE_ORDER_MARK) {
        return Err(ParseError::byte_order_mark());
    }
    serde_json::from_str(text).map_err(|error| ParseError::from_serde(&error))
}

#[cfg(test)]
mod tests;
