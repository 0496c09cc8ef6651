//! Credentials of outside services: where each comes from, whose it is, and what it becomes in a
//! request.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::destination::ServiceId;
use crate::denial::Unavailable;

/// Text that nobody may see: no `Debug`, no `Display`, no comparison. Its memory is overwritten when
/// it is given back.
#[expect(missing_debug_implementations, reason = "a credential is never printed")]
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// Keeps this text secret from now on.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for the one place where it must be: the request to its service.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// One of `egress_credentials`: the recipe, not the values.
pub struct Credential {
    /// Its name in the files.
    pub name: Box<str>,
    /// The one service that it belongs to.
    pub service: ServiceId,
    /// How it is put into a request.
    pub kind: Kind,
}

/// How a credential is put into a request, and where its parts come from.
pub enum Kind {
    /// Headers, one or several: `authorization: Bearer …`, `x-api-key: …`.
    Headers(Box<[Header]>),
    /// `authorization: Basic …` (RFC 7617).
    Basic {
        /// The user name, without a colon. Not secret.
        username: Box<str>,
        /// The password.
        password: Source,
    },
    /// A query parameter, `NAME=VALUE`.
    Query {
        /// The parameter's name.
        name: Box<str>,
        /// Its value.
        value: Source,
    },
}

/// One header of a credential.
pub struct Header {
    /// Its name, in lower case.
    pub name: Box<str>,
    /// What stands before the value, such as `Bearer `.
    pub prefix: Box<str>,
    /// The value.
    pub value: Source,
}

/// Where a value comes from.
#[derive(Clone)]
pub enum Source {
    /// A variable of the environment, as it was when the process started.
    Environment(Box<str>),
    /// A file, read again whenever it changes.
    File(PathBuf),
    /// Text in one of the two files, with every `${VARIABLE}` in it replaced.
    Literal(Arc<Secret>),
    /// Text with a `${VARIABLE}` that is not set, by the variable's name.
    Unset(Box<str>),
    /// Nothing is said: neither `source` nor a value.
    Nowhere,
}

/// A credential as it goes into requests.
pub struct Injection {
    /// Headers to set over whatever the agent sent: names in lower case, whole values.
    pub headers: Box<[(Box<str>, Secret)]>,
    /// A query parameter to append, `NAME=VALUE`, percent-encoded.
    pub query: Option<Secret>,
}

/// A credential, or why there is none.
pub type Supply = Result<Injection, Unavailable>;

impl Kind {
    /// Where its values come from.
    pub fn sources(&self) -> Vec<&Source> {
        match self {
            Self::Headers(headers) => headers.iter().map(|header| &header.value).collect(),
            Self::Basic { username: _, password: value } | Self::Query { name: _, value } => {
                vec![value]
            }
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.name)
    }
}

/// Names the place, never the value.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Literal(_) => f.write_str("a literal"),
            Self::Unset(name) => write!(f, "${{{name}}}"),
            Self::Nowhere => f.write_str("nowhere"),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Headers(_) => "Headers",
            Self::Basic { .. } => "Basic",
            Self::Query { .. } => "Query",
        })
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({}: {})", self.name, self.value)
    }
}

impl fmt::Debug for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.headers.iter().map(|(name, _)| name);
        f.debug_set().entries(names).finish()
    }
}
