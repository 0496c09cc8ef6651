//! What the commands of operators have in common: where they read and write, and how they fail.

use std::fmt;
use std::io::{self, Read, Write};

/// Where a command reads and writes.
pub struct Streams<'a> {
    /// Where secrets are read: never from arguments.
    pub stdin: &'a mut dyn Read,
    /// What was asked for and nothing else, so that scripts can use it.
    pub stdout: &'a mut dyn Write,
    /// Remarks for people.
    pub stderr: &'a mut dyn Write,
}

/// Why a command did nothing. Its text is complete and holds no secret.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    /// An error with this text.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Streams")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self(format!("cannot read or write: {error}"))
    }
}
