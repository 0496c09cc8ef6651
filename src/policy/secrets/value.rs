//! What may be a credential's value, and in which words one is refused. A value itself is in none
//! of them.

use std::sync::Arc;

use crate::denial::Unavailable;
use crate::policy::credential::Secret;

/// A longer value is none: servers take headers of about this size at most.
const MAX_BYTES: usize = 16 * 1024;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) why: Unavailable,
    /// The same for people. Never holds a value.
    pub(super) error: String,
}

impl Fault {
    pub(super) fn new(why: Unavailable, error: impl Into<String>) -> Self {
        Self { why, error: error.into() }
    }
}

/// Takes visible ASCII with blanks inside: what a header can carry, unchanged, to any server.
///
/// # Errors
/// It is empty or malformed.
pub(super) fn judge(bytes: &[u8]) -> Result<Arc<Secret>, Fault> {
    let malformed = |error: &str| Fault::new(Unavailable::Malformed, error);
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    if bytes.is_empty() {
        return Err(Fault::new(Unavailable::Empty, "has nothing in it"));
    }
    if bytes.len() > MAX_BYTES {
        return Err(Fault::new(Unavailable::Malformed, format!("is over {MAX_BYTES} bytes")));
    }
    if bytes.first().is_some_and(blank) || bytes.last().is_some_and(blank) {
        return Err(malformed("begins or ends with a blank"));
    }
    let text = std::str::from_utf8(bytes);
    match text {
        Ok(text) if bytes.iter().all(|byte| byte.is_ascii_graphic() || blank(byte)) => {
            Ok(Arc::new(Secret::new(text)))
        }
        Ok(_) | Err(_) => {
            Err(malformed("has a line break or another character that is not visible ASCII"))
        }
    }
}

/// Without one line break at the end, which editors and `echo` leave there.
pub(super) fn trimmed(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_suffix(b"\n");
    line.map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests;
