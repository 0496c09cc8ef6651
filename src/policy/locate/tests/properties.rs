use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

fn shape_errors(text: &str) -> Errors {
    explain::<GatewayFile<'_>>(FILE, text, None).place(&[])
}

/// The pieces that a document is made of, and some that do not belong in one.
const PIECES: [&str; 28] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "null",
    "true",
    "5",
    "-0",
    "1.5",
    "1e999",
    "9223372036854775808",
    "\"\"",
    "\"id\"",
    "\"key\"",
    "\"rules\"",
    "\"_c\"",
    "\"enabled\"",
    "\"\\ud800\"",
    "\"\u{1}\"",
    "\"\\u0069d\"",
    "\u{b}",
    "//",
    "'",
    "é",
    "{\"id\":1}",
];

/// `VALID` in its pieces: texts, words and marks.
fn pieces() -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut in_text = false;
    for c in VALID.chars() {
        let joins = in_text || (c.is_alphanumeric() || "-.".contains(c));
        let last_joins = |last: &str| last.chars().all(|c| c.is_alphanumeric() || "-.".contains(c));
        match pieces.last_mut() {
            Some(last) if joins && (in_text || last_joins(last)) => last.push(c),
            Some(_) | None => pieces.push(c.to_string()),
        }
        if c == '"' {
            in_text = !in_text;
        }
    }
    assert_eq!(pieces.concat(), VALID);
    pieces
}

#[derive(Clone, Debug)]
enum Edit {
    Replace(Index, String),
    Insert(Index, String),
    Remove(Index),
    Copy(Index, Index),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let piece = || select(&PIECES[..]).prop_map(str::to_owned);
    let edit = prop_oneof![
        (any::<Index>(), piece()).prop_map(|(at, piece)| Edit::Replace(at, piece)),
        (any::<Index>(), piece()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        any::<Index>().prop_map(Edit::Remove),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Edit::Copy(from, to)),
    ];
    prop::collection::vec(edit, 0..4)
}

fn edited(edits: &[Edit]) -> String {
    let mut pieces = pieces();
    for edit in edits {
        let length = pieces.len();
        match edit {
            Edit::Replace(at, piece) => pieces[at.index(length)].clone_from(piece),
            Edit::Insert(at, piece) => pieces.insert(at.index(length), piece.clone()),
            Edit::Remove(at) => drop(pieces.remove(at.index(length))),
            Edit::Copy(from, to) => pieces[to.index(length)] = pieces[from.index(length)].clone(),
        }
    }
    pieces.concat()
}

/// Documents of a shape, with now and then something else in a place, an unknown name, or a name
/// twice: four in ten are right.
fn documents(shape: &'static Shape) -> BoxedStrategy<String> {
    let texts = |texts: &'static [&'static str]| select(texts).prop_map(str::to_owned).boxed();
    let right = match shape {
        Shape::Text | Shape::Secret | Shape::Digest => texts(&["\"a\"", "\"\\u0061\\n\"", "\"\""]),
        Shape::Integer => texts(&["0", "-1", "9223372036854775807", "-9223372036854775808"]),
        Shape::Boolean => texts(&["true", "false"]),
        Shape::List(item) => joined(documents(item), 0..4, "[", "]"),
        Shape::Entries(entry) => {
            let names = texts(&["\"a\"", "\"\\u0062\"", "\"c d\"", "\"_\"", "\"\""]);
            joined(property(names, documents(entry)), 0..3, "{", "}")
        }
        Shape::Object(fields) => {
            let known = select(*fields).prop_flat_map(|field| {
                property(Just(format!("{:?}", field.name)).boxed(), documents(field.shape))
            });
            let comment = property(texts(&["\"$c\"", "\"\\u005f\""]), texts(&PIECES));
            let unknown = property(texts(&["\"idd\"", "\"\""]), texts(&PIECES));
            let any = prop_oneof![60 => known, 4 => comment, 1 => unknown].boxed();
            joined(any, 0..5, "{", "}")
        }
    };
    prop_oneof![60 => right, 1 => texts(&PIECES)].boxed()
}

fn property(name: BoxedStrategy<String>, value: BoxedStrategy<String>) -> BoxedStrategy<String> {
    (name, value).prop_map(|(name, value)| format!("{name}: {value}")).boxed()
}

fn joined(
    items: BoxedStrategy<String>,
    count: std::ops::Range<usize>,
    open: &'static str,
    close: &'static str,
) -> BoxedStrategy<String> {
    let items = prop::collection::vec(items, count);
    items.prop_map(move |items| format!("{open}{}{close}", items.join(",\n"))).boxed()
}

/// What must hold of every text.
fn check(text: &str) -> Result<(), TestCaseError> {
    let fast = raw::parse::<GatewayFile<'_>>(text);
    let shape = shape_errors(text);
    prop_assert_eq!(fast.is_ok(), shape.listed.is_empty(), "{}\n{:?}", shape, fast.err());
    let line_count = text.split('\n').count();
    for error in &shape.listed {
        let line = usize::try_from(error.line).unwrap();
        let column = usize::try_from(error.column).unwrap();
        prop_assert!((1..=line_count).contains(&line));
        let width = text.split('\n').nth(line - 1).unwrap().chars().count();
        prop_assert!((1..=width + 1).contains(&column), "{}", error);
    }
    if let Some(pruned) = explain::<GatewayFile<'_>>(FILE, text, None).pruned() {
        prop_assert!(raw::parse::<GatewayFile<'_>>(pruned).is_ok(), "{}", pruned);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_passes_agree_on_what_is_right(edits in edits()) {
        check(&edited(&edits))?;
    }

    #[test]
    fn and_on_documents_of_the_shape(text in documents(&GatewayFile::SHAPE)) {
        check(&text)?;
    }

    #[test]
    fn any_bytes_end_in_errors_and_not_in_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        match decode_utf8(FILE, &bytes) {
            Ok(text) => check(text)?,
            Err(error) => prop_assert!(error.line >= 1 && error.column >= 1),
        }
    }

    #[test]
    fn any_text_of_json_pieces_too(pieces in prop::collection::vec(select(&PIECES[..]), 0..30)) {
        check(&pieces.concat())?;
    }

    #[test]
    fn one_edit_shows_no_key(at: Index, piece in select(&PIECES[..])) {
        let mut pieces = pieces();
        let length = pieces.len();
        piece.clone_into(&mut pieces[at.index(length)]);
        assert_no_canary(&pieces.concat());
    }
}
