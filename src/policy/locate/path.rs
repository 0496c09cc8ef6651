//! Places in a document, and what `compile` finds wrong there.

use std::borrow::Cow;
use std::fmt;

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use super::quote::quote;

/// The longest name that a path shows whole. What is longer may be a credential in the wrong place.
const PLAIN: usize = 31;

/// How much of a longer one it shows.
const BEGINNING: usize = 6;

/// One step down into a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// To the value of a key of an object.
    Field(Cow<'static, str>),
    /// To an item of a list, counted from 0.
    Index(usize),
}

/// A place in a document. `Display` writes it as `api_keys[3].rate_limit_tier`, a name that is no
/// plain word as `rate_limit_tiers["two words"]`, and the document itself as `$`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(Vec<Step>);

impl Path {
    /// The document itself.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The value of a key of the object here.
    #[must_use]
    pub fn field(&self, name: impl Into<Cow<'static, str>>) -> Self {
        self.then(Step::Field(name.into()))
    }

    /// An item of the list here, counted from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    fn then(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// The steps to the root, to its child on the way here, and so on to this place itself.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = &[Step]> {
        (0..=self.0.len()).filter_map(|length| self.0.get(..length))
    }
}

impl From<Vec<Step>> for Path {
    fn from(steps: Vec<Step>) -> Self {
        Self(steps)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut root = true;
        for step in &self.0 {
            match step {
                Step::Field(name) if is_plain(name) => {
                    write!(f, "{}{name}", if root { "" } else { "." })?;
                }
                Step::Field(name) => {
                    write!(f, "{}[{}]", if root { "$" } else { "" }, quote(&shown(name)))?;
                }
                Step::Index(index) => write!(f, "{}[{index}]", if root { "$" } else { "" })?,
            }
            root = false;
        }
        if root { f.write_str("$") } else { Ok(()) }
    }
}

/// A name, or the beginning of one that may be a credential.
fn shown(name: &str) -> Cow<'_, str> {
    if name.chars().count() <= PLAIN {
        return Cow::Borrowed(name);
    }
    let beginning: String = name.chars().take(BEGINNING).collect();
    Cow::Owned(format!("{beginning}…"))
}

fn is_plain(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=PLAIN).contains(&name.len()) && name.bytes().all(word)
}

/// One thing that `compile` found wrong in a document of the right shape.
///
/// A field that is missing is a finding at the path of that field: it is then placed at the object
/// that lacks it, and left out where the field is there with a value of the wrong type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it is.
    pub path: Path,
    /// What was expected and what was found; `quote` shortens and escapes texts for it. Never a
    /// key, nor the hash of one.
    pub message: String,
    /// Whether it is the key that is wrong and not its value.
    pub at_key: bool,
    /// The places without which it would not have been found: a tier is only unknown if the place
    /// of its definition is free of mistakes.
    pub given: Vec<Path>,
}

impl Finding {
    /// Something wrong with the value at `path`.
    pub fn new(path: Path, message: impl Into<String>) -> Self {
        Self { path, message: message.into(), at_key: false, given: Vec::new() }
    }

    /// Something wrong with the key that `path` ends in.
    pub fn at_key(path: Path, message: impl Into<String>) -> Self {
        Self { at_key: true, ..Self::new(path, message) }
    }

    /// The same, to be left out if the file has a mistake of shape at `path` or above it.
    #[must_use]
    pub fn given(mut self, path: Path) -> Self {
        self.given.push(path);
        self
    }

    /// The same, for a document of which the one that was compiled is the part at `prefix`.
    #[must_use]
    pub fn within(mut self, prefix: &Path) -> Self {
        for path in std::iter::once(&mut self.path).chain(&mut self.given) {
            path.0.splice(..0, prefix.0.iter().cloned());
        }
        self
    }

    /// Where it stands in the document: the nearest object or list around it where it is missing.
    pub(super) fn find_in(&self, tree: &Value<'_>) -> usize {
        let mut value = tree;
        let mut key = None;
        for step in &self.path.0 {
            let next = match (step, value) {
                (Step::Field(name), Value::Object(object)) => {
                    object.get(name).map(|property| (Some(property.start()), &property.value))
                }
                (Step::Index(index), Value::Array(list)) => {
                    list.elements.get(*index).map(|item| (None, item))
                }
                (Step::Field(_) | Step::Index(_), _) => None,
            };
            let Some((next_key, next_value)) = next else { return value.start() };
            (key, value) = (next_key, next_value);
        }
        key.filter(|_| self.at_key).unwrap_or_else(|| value.start())
    }
}
