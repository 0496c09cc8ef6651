//! Why a file did not load: every mistake with its file, line, column and path.
//!
//! A load reads the file once, with types and without positions. Only when that or `compile` fails
//! does the second pass here build a syntax tree with positions, hold it against the [`Shape`] of
//! the same types, and place what `compile` found:
//!
//! ```
//! use gatepost::policy::locate::{Errors, Finding, Path, decode_utf8, explain};
//! use gatepost::policy::raw::{self, GatewayFile};
//!
//! fn compile(file: &GatewayFile<'_>) -> Result<usize, Vec<Finding>> {
//!     match &file.rules {
//!         Some(rules) => Ok(rules.len()),
//!         None => Err(vec![Finding::new(Path::root().field("rules"), "there must be rules")]),
//!     }
//! }
//!
//! fn load(name: &str, bytes: &[u8]) -> Result<usize, Errors> {
//!     let text = decode_utf8(name, bytes)?;
//!     let (fast_error, findings) = match raw::parse::<GatewayFile<'_>>(text) {
//!         Ok(file) => match compile(&file) {
//!             Ok(rules) => return Ok(rules),
//!             Err(findings) => (None, findings),
//!         },
//!         Err(error) => (Some(error), Vec::new()),
//!     };
//!     let why = explain::<GatewayFile<'_>>(name, text, fast_error.as_ref());
//!     let findings = match why.salvaged::<GatewayFile<'_>>() {
//!         Some(file) => compile(&file).err().unwrap_or_default(),
//!         None => findings,
//!     };
//!     Err(why.place(&findings))
//! }
//!
//! let errors = load("gateway_config.json", b"{\n  \"ruls\": []\n}").unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "gateway_config.json:2:3: ruls: unknown field, did you mean `rules`?",
//! );
//! ```

mod quote;
mod path;
mod position;
mod walk;

use std::fmt;

use jsonc_parser::ast::Value;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::raw::{self, Document, ParseError, Shape, Shaped, check_syntax};

pub use path::{Finding, Path, Step};
pub use quote::quote;

use position::Lines;
use walk::{Mistake, Walked, walk};

/// How many errors are listed; the others are counted.
const LISTED: usize = 100;

/// How many findings are looked up in the syntax tree, which takes time for each.
const PLACED: usize = 1_000;

/// JSON as RFC 8259 has it, nearly: the parser keeps comments whatever this says, and bounds no
/// nesting. [`check_syntax`] comes first.
pub const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The file, by the name it was loaded under.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// Where in the document, such as `api_keys[3].rate_limit_tier`; `$` is the document itself.
    pub path: String,
    /// What was expected and what was found: never a key, nor the hash of one.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, path, message } = self;
        write!(f, "{file}:{line}:{column}: {path}: {message}")
    }
}

impl std::error::Error for Error {}

/// The mistakes of a file, in the order in which they stand there. `Display` gives a line to each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// The first hundred.
    pub listed: Vec<Error>,
    /// How many more there are.
    pub more: usize,
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.listed.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

impl Errors {
    /// These, and then those of another file.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.listed.extend(other.listed);
        let more = self.listed.len().saturating_sub(LISTED);
        self.listed.truncate(LISTED);
        self.more = self.more.saturating_add(other.more).saturating_add(more);
        self
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self { listed: vec![error], more: 0 }
    }
}

/// Takes the bytes of a file as text.
///
/// # Errors
/// The place of the first byte that is not UTF-8.
pub fn decode_utf8<'t>(file: &str, bytes: &'t [u8]) -> Result<&'t str, Error> {
    std::str::from_utf8(bytes).map_err(|error| {
        let (good, bad) = bytes.split_at_checked(error.valid_up_to()).unwrap_or((bytes, &[]));
        let good = String::from_utf8_lossy(good);
        let (line, column) = Lines::of(&good).position(good.len());
        let message = match bad.first() {
            Some(byte) => format!("expected UTF-8, found the byte 0x{byte:02x}"),
            None => "expected UTF-8".to_owned(),
        };
        Error { file: file.to_owned(), line, column, path: Path::root().to_string(), message }
    })
}

/// What is wrong with the shape of a file, and where its values stand.
#[derive(Debug)]
pub struct Explanation<'t> {
    file: String,
    lines: Lines<'t>,
    tree: Option<Value<'t>>,
    walked: Walked,
}

/// Explains why `text` could not be read as a `T`, or, where it could, prepares to place what
/// `compile` found. `fast_error` is what `raw::parse` said about the same text.
pub fn explain<'t, T: Shaped>(
    file: &str,
    text: &'t str,
    fast_error: Option<&ParseError>,
) -> Explanation<'t> {
    let lines = Lines::of(text);
    let (tree, walked) = match examine(&lines, &T::SHAPE, fast_error) {
        Ok((tree, walked)) => (Some(tree), walked),
        Err(mistake) => (None, Walked::stopped_by(mistake)),
    };
    Explanation { file: file.to_owned(), lines, tree, walked }
}

impl Explanation<'_> {
    /// The document without what is wrong with its shape, so that it can be read and compiled and
    /// the rest of its mistakes be found. A bad item of a list is replaced by an empty one, so that
    /// the others keep their places. `None` where the text is not JSON, or not even an object.
    pub fn pruned(&self) -> Option<&str> {
        self.walked.pruned.as_deref()
    }

    /// [`Explanation::pruned`], read.
    pub fn salvaged<'w, T: Document<'w>>(&'w self) -> Option<T> {
        match self.pruned().map(raw::parse::<T>) {
            Some(Ok(file)) => Some(file),
            Some(Err(_)) | None => None,
        }
    }

    /// All mistakes: those of the shape, and what `compile` found in the pruned document, each with
    /// its place. A finding that only follows from a mistake of the shape is left out.
    pub fn place(&self, findings: &[Finding]) -> Errors {
        let mut mistakes = self.walked.mistakes.clone();
        let mut more = self.walked.uncounted;
        let kept = findings.iter().filter(|finding| !self.follows_from_the_shape(finding));
        for (index, finding) in kept.enumerate() {
            if index < PLACED {
                let at = self.tree.as_ref().map_or(0, |tree| finding.find_in(tree));
                mistakes.push(Mistake::new(at, finding.path.to_string(), finding.message.clone()));
            } else {
                more += 1;
            }
        }
        mistakes.sort_by_key(|mistake| mistake.at);
        more += mistakes.len().saturating_sub(LISTED);
        let listed = mistakes.into_iter().take(LISTED).map(|mistake| self.error(mistake));
        Errors { listed: listed.collect(), more }
    }

    fn follows_from_the_shape(&self, finding: &Finding) -> bool {
        let mut paths = std::iter::once(&finding.path).chain(&finding.given);
        paths.any(|path| path.ancestors().any(|steps| self.walked.faulty.contains(steps)))
    }

    fn error(&self, mistake: Mistake) -> Error {
        let Mistake { at, path, mut message, first } = mistake;
        if let Some(first) = first {
            let (line, column) = self.lines.position(first);
            message = format!("{message}; the first is at {line}:{column}");
        }
        let (line, column) = self.lines.position(at);
        Error { file: self.file.clone(), line, column, path, message }
    }
}

/// The tree of a document and what is wrong with its shape, or why it is not JSON.
fn examine<'t>(
    lines: &Lines<'t>,
    shape: &Shape,
    fast_error: Option<&ParseError>,
) -> Result<(Value<'t>, Walked), Mistake> {
    // First by the parser of the fast pass: it alone is strict, and it bounds the nesting.
    check_syntax(lines.text()).map_err(|error| unreadable(lines, &error))?;
    let tree = parse_tree(lines.text())?;
    let mut walked = walk(lines.text(), &tree, shape);
    if walked.mistakes.is_empty()
        && let Some(error) = fast_error
    {
        walked.mistakes.push(unreadable(lines, error));
    }
    Ok((tree, walked))
}

fn unreadable(lines: &Lines<'_>, error: &ParseError) -> Mistake {
    let message = error.fault.to_string();
    Mistake::new(lines.offset(error.line, error.column), Path::root().to_string(), message)
}

fn parse_tree(text: &str) -> Result<Value<'_>, Mistake> {
    let mistake = |at| Mistake::new(at, Path::root().to_string(), "not valid JSON".to_owned());
    let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT)
        .map_err(|error| mistake(error.range().start))?;
    parsed.value.ok_or_else(|| mistake(0))
}

#[cfg(test)]
mod tests;
