//! Whether a text is JSON at all, and how the reading of it failed.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

/// Why a file could not be read. It holds a place and a kind, never a piece of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The bytes of the line up to and with the one at fault; 0 before the first.
    pub column: usize,
    /// What kind of fault it is.
    pub fault: Fault,
}

/// The kinds of fault that reading finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file begins with U+FEFF.
    ByteOrderMark,
    /// It is not JSON, in the words of the parser, which quote nothing of the file.
    Syntax(String),
    /// It is JSON, but not what this file must hold.
    Shape,
}

impl ParseError {
    pub(super) fn byte_order_mark() -> Self {
        Self { line: 1, column: 1, fault: Fault::ByteOrderMark }
    }

    pub(super) fn from_serde(error: &serde_json::Error) -> Self {
        let fault = match error.classify() {
            // The words of a data error may repeat the value, and that may be a key.
            Category::Data => Fault::Shape,
            Category::Syntax | Category::Eof | Category::Io => {
                let words = error.to_string();
                let words = words.split(" at line ").next().unwrap_or_default();
                Fault::Syntax(words.to_owned())
            }
        };
        Self { line: error.line(), column: error.column(), fault }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, fault } = self;
        write!(f, "{line}:{column}: {fault}")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByteOrderMark => {
                f.write_str("the file begins with a byte order mark; save it as UTF-8 without one")
            }
            Self::Syntax(words) => write!(f, "not valid JSON: {words}"),
            Self::Shape => f.write_str("does not have the expected shape"),
        }
    }
}

impl std::error::Error for ParseError {}

/// Whether `text` is JSON, nested no deeper than 127 levels.
///
/// # Errors
/// The place where it stops being JSON.
pub fn check_syntax(text: &str) -> Result<(), ParseError> {
    super::parse::<Anything>(text).map(|Anything| ())
}

/// Any JSON value: checked to its end, then forgotten. serde's `IgnoredAny` is no substitute,
/// since it lets lone surrogates and endless nesting pass, at which the second pass would stop.
pub(super) struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Anything {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self, S::Error> {
        while let Some(Self) = seq.next_element()? {}
        Ok(Self)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self, M::Error> {
        while let Some((Self, Self)) = map.next_entry()? {}
        Ok(Self)
    }
}
