pub(crate) mod helpers;

use super::*;
use crate::policy::credential::Header;
use helpers::{GRACE, bearer, injected, logged, map, of, write};
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const CANARY: &str = "canary-5f1d-value";

fn at(seconds: u64) -> Now {
    Now {
        unix: Duration::from_secs(1_700_000_000 + seconds),
        monotonic: Duration::from_secs(seconds),
    }
}

fn literal(text: &str) -> Source {
    Source::Literal(Arc::new(Secret::new(text)))
}

fn environment(name: &str) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt;
    match name {
        "GOOD" => Some("good".into()),
        "EMPTY" => Some("".into()),
        "LINE" => Some("good\n".into()),
        "BYTES" => Some(OsString::from_vec(vec![b'a', 0xff])),
        _ => None,
    }
}

fn store(directory: &Path) -> Store {
    Store::new(Origin::Live { directory: directory.to_owned(), environment })
}

/// One line for each credential: its state, since when it is kept, and what is wrong.
fn states(store: &Store) -> Vec<String> {
    let line = |report: &Report| {
        let since = match report.state {
            State::Kept { since } => format!(" {}", since.as_secs() - 1_700_000_000),
            State::Ok | State::Unavailable(_) => String::new(),
        };
        let error = report.error.as_deref().unwrap_or("-");
        format!("{}{since} {} {error}", report.state.name(), report.source)
    };
    store.reports().map(line).collect()
}

#[test]
fn each_kind_of_source_resolves_or_says_why_not() {
    let dir = TempDir::new().expect("a directory");
    write(&dir.path().join("there"), "file\r\n");
    let absolute = dir.path().join("there");
    let (nowhere, bad) = ("neither source nor value is given", "is not visible ASCII");
    for (source, expected, error) in [
        (Source::Environment("GOOD".into()), Ok("good"), ""),
        (
            Source::Environment("OTHER".into()),
            Err(Unavailable::Unresolved),
            "env:OTHER: is not set",
        ),
        (Source::Environment("EMPTY".into()), Err(Unavailable::Empty), "has nothing in it"),
        (Source::Environment("LINE".into()), Err(Unavailable::Malformed), bad),
        (Source::Environment("BYTES".into()), Err(Unavailable::Malformed), bad),
        (Source::File("there".into()), Ok("file"), ""),
        (Source::File(absolute), Ok("file"), ""),
        (Source::File("gone".into()), Err(Unavailable::Unresolved), "No such file"),
        (Source::File(dir.path().into()), Err(Unavailable::Unresolved), "a regular file"),
        (literal("lit"), Ok("lit"), ""),
        (literal(""), Err(Unavailable::Empty), "a literal: has nothing in it"),
        (literal("lit "), Err(Unavailable::Malformed), "begins or ends with a blank"),
        (Source::Unset("VAR".into()), Err(Unavailable::Unresolved), "${VAR}: is not set"),
        (Source::Nowhere, Err(Unavailable::Unresolved), nowhere),
    ] {
        let name = source.to_string();
        let map = map(&["one"], vec![bearer("c", source)]);
        let mut store = store(dir.path());
        let targets = store.supply(&map, at(0));
        let expected = expected.map(|value| format!("authorization: Bearer {value}"));
        assert_eq!(injected(&targets, "c"), expected, "{name}");
        let report = store.reports().next().expect("a report");
        let said = report.error.as_deref().unwrap_or_default();
        assert!(said.contains(error) && said.is_empty() == error.is_empty(), "{name}: {said}");
        let state = expected.map_or_else(Unavailable::detail, |_| "ok");
        assert_eq!((report.state.name(), &*report.service), (state, "one"), "{name}");
    }
}

#[test]
fn each_kind_of_credential_takes_its_place_in_the_request() {
    let header = |name: &str, prefix: &str, value| Header {
        name: name.into(),
        prefix: prefix.into(),
        value: literal(value),
    };
    let basic = |password| Kind::Basic { username: "x".into(), password: literal(password) };
    let query = |value| Kind::Query { name: "key".into(), value: literal(value) };
    let two = |second| Kind::Headers([header("a", "", "1"), header("b", "B ", second)].into());
    for (kind, expected) in [
        (two("2 3"), Ok("a: 1\nb: B 2 3")),
        // A part that cannot be had takes the others with it.
        (two(""), Err(Unavailable::Empty)),
        (Kind::Headers(Box::default()), Err(Unavailable::Unresolved)),
        // RFC 7617 section 2.
        (basic("open sesame"), Ok("authorization: Basic eDpvcGVuIHNlc2FtZQ==")),
        (basic("a:b"), Ok("authorization: Basic eDphOmI=")),
        (basic(" "), Err(Unavailable::Malformed)),
        (query("aZ09-._~"), Ok("key=aZ09-._~")),
        (query("a b\t&=+%/?#\"'"), Ok("key=a%20b%09%26%3D%2B%25%2F%3F%23%22%27")),
        (query(""), Err(Unavailable::Empty)),
    ] {
        let map = map(&["one"], vec![of("c", kind)]);
        let targets = Store::live(".").supply(&map, at(0));
        let expected = expected.map(str::to_owned);
        assert_eq!(injected(&targets, "c"), expected);
    }
}

#[test]
fn placeholders_name_the_credential_and_read_nothing() {
    let file = |path: &str| Source::File(path.into());
    let map = map(
        &["one"],
        vec![
            bearer("a", file("there")),
            bearer("b", Source::Nowhere),
            bearer("c", literal(CANARY)),
            of("d", Kind::Query { name: "k".into(), value: file("x") }),
        ],
    );
    let mut store = Store::placeholders();
    let targets = store.supply(&map, at(0));
    for (name, expected) in [
        ("a", "authorization: Bearer <credential a>"),
        ("b", "authorization: Bearer <credential b>"),
        ("c", "authorization: Bearer <credential c>"),
        ("d", "k=%3Ccredential%20d%3E"),
    ] {
        assert_eq!(injected(&targets, name).as_deref(), Ok(expected));
    }
    assert_eq!((store.seen(), store.look(), store.due()), (vec![], vec![], None));
}

/// Each step: what happens to the file, when, and what requests get then.
#[test]
fn a_file_is_followed_through_rotation_loss_and_mistakes() {
    type Step = (u64, fn(&Path), Result<&'static str, Unavailable>, &'static str);
    let steps: [Step; 17] = [
        (0, |at| write(at, "one\n"), Ok("one"), "ok"),
        (1, |at| write(at, "two"), Ok("two"), "ok"),
        (2, |at| fs::remove_file(at).expect("removed"), Ok("two"), "kept 2"),
        (3, |_| {}, Ok("two"), "kept 2"),
        (GRACE + 1, |_| {}, Ok("two"), "kept 2"),
        (GRACE + 2, |_| {}, Err(Unavailable::Stale), "stale"),
        (GRACE + 3, |at| write(at, "three"), Ok("three"), "ok"),
        // Whoever else can write it may have written it.
        (400, |at| chmod(at, 0o622), Ok("three"), "kept 400"),
        (401, |at| chmod(at, 0o600), Ok("three"), "ok"),
        (500, |at| write(at, ""), Err(Unavailable::Empty), "empty"),
        // The old value does not come back from a mistake by way of an error.
        (
            501,
            |at| fs::remove_file(at).expect("removed"),
            Err(Unavailable::Unresolved),
            "unresolved",
        ),
        (502, |at| write(at, "\n"), Err(Unavailable::Empty), "empty"),
        (503, |at| write(at, "four"), Ok("four"), "ok"),
        (504, |at| write(at, "four\n\n"), Err(Unavailable::Malformed), "malformed"),
        (505, |at| write(at, "five"), Ok("five"), "ok"),
        (506, |at| write(at, "x".repeat(65 * 1024)), Err(Unavailable::Malformed), "malformed"),
        (507, |at| write(at, "six"), Ok("six"), "ok"),
    ];
    let dir = TempDir::new().expect("a directory");
    let map = map(&["one"], vec![bearer("c", Source::File("secret".into()))]);
    let mut store = store(dir.path());
    for (second, happens, expected, state) in steps {
        happens(&dir.path().join("secret"));
        let targets = store.supply(&map, at(second));
        let expected = expected.map(|value| format!("authorization: Bearer {value}"));
        assert_eq!(injected(&targets, "c"), expected, "at {second}");
        let [line] = &states(&store)[..] else { panic!("one report") };
        assert!(line.starts_with(&format!("{state} file:secret ")), "at {second}: {line}");
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

#[test]
fn files_are_shared_watched_and_forgotten_with_their_last_credential() {
    let dir = TempDir::new().expect("a directory");
    write(&dir.path().join("a"), "1");
    write(&dir.path().join("b"), "2");
    let file = |path: &str| Source::File(path.into());
    let both = vec![bearer("x", file("b")), bearer("y", file("a")), bearer("z", file("a"))];
    let mut store = store(dir.path());
    store.supply(&map(&["one"], both), at(0));
    assert_eq!(store.seen().len(), 2);
    assert_eq!(store.seen(), store.look());
    assert_eq!(store.directories().into_iter().collect::<Vec<_>>(), [dir.path()]);
    write(&dir.path().join("a"), "11");
    assert_ne!(store.seen(), store.look());

    let before = store.clone();
    let one = map(&["one"], vec![bearer("x", file("b"))]);
    store.supply(&one, at(1));
    assert_eq!((store.seen().len(), before.seen().len()), (1, 2), "a copy is a copy");
    fs::remove_file(dir.path().join("a")).expect("removed");
    let targets = store.supply(&map(&["one"], vec![bearer("y", file("a"))]), at(2));
    assert_eq!(injected(&targets, "y"), Err(Unavailable::Unresolved), "its value was forgotten");
}

#[test]
fn stores_differ_where_requests_get_something_else() {
    type Step = (u64, fn(&Path), bool, &'static str);
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("secret");
    write(&path, "one");
    let map = map(&["one"], vec![bearer("c", Source::File("secret".into()))]);
    let mut store = store(dir.path());
    store.supply(&map, at(0));
    let steps: [Step; 7] = [
        (1, |_| {}, true, "nothing"),
        (2, |at| write(at, "one\n"), true, "a line break"),
        (3, |at| write(at, "two"), false, "rotated"),
        (4, |at| fs::remove_file(at).expect("removed"), true, "kept"),
        (GRACE + 4, |_| {}, false, "stale"),
        (GRACE + 5, |at| write(at, ""), false, "unavailable for another reason"),
        (GRACE + 6, |at| write(at, "two"), false, "to be had again"),
    ];
    for (second, happens, same, name) in steps {
        let old = store.clone();
        happens(&path);
        store.supply(&map, at(second));
        assert_eq!(store.supplies_same(&old), same, "{name}");
    }
}

#[test]
fn each_change_is_logged_once_and_no_value_is_ever_printed() {
    type Step = (u64, fn(&Path), &'static [&'static str]);
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("secret");
    let map = map(&["one"], vec![bearer("c", Source::File("secret".into()))]);
    let mut store = store(dir.path());
    let mut printed = Vec::new();
    let steps: [Step; 12] = [
        (0, |_| {}, &["ERROR", "one", "file:secret", "unresolved", "No such file"]),
        (1, |_| {}, &[]),
        (2, |at| write(at, CANARY), &["INFO", "again"]),
        (3, |at| write(at, format!("{CANARY}-2")), &["INFO", "a new value"]),
        (4, |at| write(at, format!("{CANARY}-2\n")), &[]),
        (5, |at| chmod(at, 0o644), &["WARN", "chmod 600"]),
        (
            6,
            |at| fs::remove_file(at).expect("removed"),
            &["WARN", "last good value", "No such file"],
        ),
        (7, |_| {}, &[]),
        (GRACE + 6, |_| {}, &["ERROR", "stale"]),
        (GRACE + 7, |at| write(at, format!("{CANARY} ")), &["ERROR", "malformed"]),
        (GRACE + 8, |at| write(at, format!("{CANARY}\u{7f}")), &[]),
        (GRACE + 9, |at| write(at, CANARY), &["INFO", "again"]),
    ];
    let mut before = None;
    for (second, happens, wanted) in steps {
        happens(&path);
        let targets = store.supply(&map, at(second));
        let lines = logged(|| store.announce(before.as_ref()));
        assert_eq!(lines.lines().count(), usize::from(!wanted.is_empty()), "{second}: {lines}");
        assert!(wanted.iter().all(|part| lines.contains(part)), "{second}: {lines}");
        printed.push(format!("{lines}{store:?}{map:?}{targets:?}{:?}", states(&store)));
        before = Some(store.clone());
    }
    let printed = printed.concat();
    assert!(printed.contains("file:secret") && !printed.contains("canary"), "{printed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn visible_text_goes_into_a_query_and_comes_out_again(text in "[!-~]([ -~\t]{0,40}[!-~])?") {
        let kind = Kind::Query { name: "k".into(), value: literal(&text) };
        let targets = Store::live(".").supply(&map(&["one"], vec![of("c", kind)]), at(0));
        let query = injected(&targets, "c").expect("a query");
        let value = query.strip_prefix("k=").expect("its name");
        prop_assert!(value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
        let decoded = percent_encoding::percent_decode_str(value).decode_utf8();
        prop_assert_eq!(decoded.expect("UTF-8"), text);
    }
}
