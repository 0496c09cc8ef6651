//! Where the value of a credential comes from, as either file says it.

use std::env::{self, VarError};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Both, Origin};
use crate::policy::credential::{self, Source};
use crate::policy::place::Place;
use crate::policy::raw::{Secret, Text};

/// What one file says about one value.
pub(super) struct Said<'a> {
    pub(super) origin: Origin,
    pub(super) source: Option<&'a Text<'a>>,
    /// Each under the name of its field.
    pub(super) literals: [(&'static str, Option<&'a Secret<'a>>); 2],
}

/// The source of a value: what the first file says that says anything. Within one file `source` wins,
/// since older files have a `${VARIABLE}` beside it.
pub(super) fn resolve(said: &[Said<'_>], place: Place<'_>, both: &mut Both) -> Source {
    for Said { origin, source, literals } in said {
        if let Some(source) = source {
            return parse(source).unwrap_or_else(|message| {
                both.push(*origin, place.field("source").report(message));
                Source::Nowhere
            });
        }
        let mut given = literals.iter().filter_map(|(field, text)| Some((*field, (*text)?)));
        let Some((field, text)) = given.next() else { continue };
        if let Some((other, _)) = given.next() {
            let message = format!("expected one of `{field}` and `{other}`, not both");
            both.push(*origin, place.field(other).report(message));
        }
        return expand(text.expose()).unwrap_or_else(|message| {
            both.push(*origin, place.field(field).report(message));
            Source::Nowhere
        });
    }
    Source::Nowhere
}

/// `env:NAME`, `file:PATH`. Anything else may be the credential itself, and is not shown.
fn parse(text: &str) -> Result<Source, &'static str> {
    match text.split_once(':') {
        Some(("env", name)) if is_variable(name) => Ok(Source::Environment(name.into())),
        Some(("file", path)) if path.starts_with('/') && !path.contains(char::is_control) => {
            Ok(Source::File(PathBuf::from(path)))
        }
        Some(_) | None => Err("expected `env:NAME` or `file:/ABSOLUTE/PATH`"),
    }
}

fn is_variable(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(plain) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// The text with every `${VARIABLE}` replaced. What looks like one and is none would go out as it
/// stands, and is refused.
fn expand(text: &str) -> Result<Source, &'static str> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        whole.push_str(before);
        let (name, tail) = after.split_once('}').filter(|(name, _)| is_variable(name)).ok_or(
            "expected the name of a variable and `}` after each `${`; a value that holds `${` \
                 itself must come from a file (`source`)",
        )?;
        match env::var(name) {
            Ok(value) => whole.push_str(&value),
            Err(VarError::NotPresent | VarError::NotUnicode(_)) => {
                return Ok(Source::Unset(name.into()));
            }
        }
        rest = tail;
    }
    whole.push_str(rest);
    Ok(Source::Literal(Arc::new(credential::Secret::new(whole))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(result: Result<Source, &'static str>) -> String {
        match result {
            Ok(Source::Literal(text)) => format!("={}", text.expose()),
            Ok(source) => source.to_string(),
            Err(message) => message.to_owned(),
        }
    }

    #[test]
    fn variables_are_replaced() {
        // Cargo sets it for every test.
        let name = env::var("CARGO_PKG_NAME").unwrap();
        for (text, expected) in [
            ("", "=".to_owned()),
            ("plain $ {x} $x", "=plain $ {x} $x".to_owned()),
            ("${CARGO_PKG_NAME}", format!("={name}")),
            ("a ${CARGO_PKG_NAME}-${CARGO_PKG_NAME} b", format!("=a {name}-{name} b")),
            ("${CARGO_PKG_NAME}${NOT_SET_ANYWHERE_1}", "${NOT_SET_ANYWHERE_1}".to_owned()),
        ] {
            assert_eq!(shown(expand(text)), expected, "{text}");
        }
        for text in ["${", "${}", "${1x}", "${A-B}", "${A", "${A:-x}", "${ A }", "${${A}}"] {
            assert!(expand(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sources() {
        for (text, expected) in [
            ("env:OPENAI_API_KEY", "env:OPENAI_API_KEY"),
            ("env:_x9", "env:_x9"),
            ("file:/run/secrets/a b", "file:/run/secrets/a b"),
        ] {
            assert_eq!(shown(parse(text)), expected, "{text}");
        }
        for text in [
            "",
            "env",
            "env:",
            "env:9",
            "env:A B",
            "file:",
            "file:a",
            "file:/a\n",
            "vault:x",
            "sk-live",
        ] {
            assert!(shown(parse(text)).starts_with("expected `env:NAME`"), "{text}");
        }
    }
}
