//! A rule that cannot complain is no rule: each is shown a house with one thing wrong.

use super::rules;
use super::source::Source;

fn house(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(path, text)| Source::new(path, text)).collect()
}

#[test]
fn only_code_is_looked_at() {
    let text = r##"
        // crate::comment
        /* crate::block /* nested */ crate::still */
        const A: &str = "crate::text \" crate::more";
        const B: &str = r#"crate::raw " crate::more"#;
        const C: &[u8] = br"crate::bytes";
        const D: char = '"'; const E: char = '\''; const F: char = '\u{22}';
        fn g<'a>(x: &'a str) -> crate::seen::One { crate::seen::two() }
        #[cfg(test)]
        mod tests { fn t() { crate::hidden::f(); } }
        #[cfg(test)]
        use crate::hidden;
        use crate::{last::{self, A as B, b::C}, seen};
    "##;
    let source = Source::new("src/x.rs", text);
    let found: Vec<_> = source.references().iter().map(|path| path.join("::")).collect();
    assert_eq!(
        found,
        ["seen::One", "seen::two", "last", "last::A", "last::b::C", "seen"],
        "{}",
        source.code
    );
    assert_eq!(source.code.matches('\n').count() + 2, text.matches('\n').count());
}

#[test]
fn paths_are_found_from_where_they_are_named() {
    for (path, code, expected) in [
        ("src/a/b.rs", "use super::c::D;", "a::c::D"),
        ("src/a/b.rs", "use super::super::c::D;", "c::D"),
        ("src/a/b.rs", "use self::c::D;", "a::b::c::D"),
        ("src/a/b.rs", "use super::*;", "a::*"),
        ("src/a.rs", "super::c::d()", "c::d"),
        ("src/a.rs", "fn f(&self) { other::crate_thing() }", ""),
        ("src/a.rs", "pub(super) fn f() {}", ""),
    ] {
        let found = Source::new(path, code).references().concat().join("::");
        assert_eq!(found, expected, "{path}: {code}");
    }
}

#[test]
fn a_module_that_looks_down_is_found() {
    let lib = ("src/lib.rs", "//! x\npub mod low;\npub mod high;\n");
    for (files, complaints) in [
        (vec![("src/low.rs", ""), ("src/high.rs", "use crate::low::X;")], 0),
        (vec![("src/low.rs", "use crate::high::X;"), ("src/high.rs", "")], 1),
        (vec![("src/low.rs", "use crate::{high::{X, Y}};"), ("src/high.rs", "")], 2),
        (
            vec![("src/low.rs", "#[cfg(test)] mod t { use crate::high::X; }"), ("src/high.rs", "")],
            0,
        ),
        (vec![("src/low.rs", ""), ("src/high.rs", ""), ("src/dead.rs", "")], 1),
        (
            vec![
                ("src/low.rs", "mod a; mod b; use self::b::X; struct Y;"),
                ("src/low/a.rs", "use super::Y;"),
                ("src/low/b.rs", "use super::a::Z;"),
                ("src/high.rs", ""),
            ],
            0,
        ),
        (
            vec![
                ("src/low.rs", "mod a; mod b;"),
                ("src/low/a.rs", "use super::b::X; fn f() { crate::low::b::g() }"),
                ("src/low/b.rs", "fn f() { super::super::high::g() }"),
                ("src/high.rs", ""),
            ],
            3,
        ),
    ] {
        let found = rules::dependency_order(&house(&[&[lib], files.as_slice()].concat()));
        assert_eq!(found.len(), complaints, "{files:?}: {found:?}");
    }
}

#[test]
fn each_rule_complains() {
    type Rule = fn(&[Source]) -> Vec<String>;
    let long = format!("//! x\n{}", "\n".repeat(400));
    let cases: &[(Rule, &str, &str, usize)] = &[
        (rules::serde_at_the_border, "src/policy/raw.rs", "use serde::Deserialize;", 0),
        (rules::serde_at_the_border, "src/policy/raw/x.rs", "use serde::Deserialize;", 0),
        (rules::serde_at_the_border, "src/policy/rule.rs", "use serde::Deserialize;", 1),
        (rules::serde_at_the_border, "src/policy/rule.rs", "serde_json::json!()", 0),
        (rules::wire_in_its_place, "src/authz/decode.rs", "use super::wire::Reader;", 0),
        (rules::wire_in_its_place, "src/authz/decode/x.rs", "use crate::authz::wire::Reader;", 0),
        (rules::wire_in_its_place, "src/authz/decode.rs", "use super::wire::Writer;", 1),
        (rules::wire_in_its_place, "src/authz/limit.rs", "use super::wire::{Reader, Writer};", 2),
        (
            rules::wire_in_its_place,
            "src/authz/limit.rs",
            "use super::wire; fn f(_: wire::Writer)",
            1,
        ),
        (rules::wire_in_its_place, "src/authz/sample.rs", "use super::wire::Writer;", 0),
        (rules::wire_in_its_place, "src/admin.rs", "use envoy_types::X;", 1),
        (rules::wire_in_its_place, "src/authz.rs", "use prost::Message;", 1),
        (rules::wire_in_its_place, "src/xds.rs", "use envoy_types::X;", 0),
        (rules::wire_in_its_place, "src/xds/x.rs", "use prost::Message;", 0),
        (rules::proofs_in_their_place, "src/authz/authorize.rs", "struct Permit { x: X }", 0),
        (rules::proofs_in_their_place, "src/authz/inject.rs", "fn f() -> Permit { g() }", 0),
        (rules::proofs_in_their_place, "src/authz/inject.rs", "fn f(p: &Permit) {}", 0),
        (rules::proofs_in_their_place, "src/authz/inject.rs", "g(Permit { x })", 1),
        (rules::proofs_in_their_place, "src/authz/authorize.rs", "g(limit::Admitted { x })", 1),
        (rules::proofs_in_their_place, "src/authz/inject.rs", "impl Default for Permit {}", 1),
        (rules::file_shape, "src/x.rs", "//! Why.\n", 0),
        (rules::file_shape, "src/x.rs", "// Why.\n", 1),
        (rules::file_shape, "src/x/tests.rs", "use super::*;\n", 0),
        (rules::file_shape, "src/x/tests.rs", &long, 1),
        (rules::no_error_into_absence, "src/policy/x.rs", "let x = f().ok();", 1),
        (rules::no_error_into_absence, "src/policy/x.rs", "let x = f().ok_or(1);", 0),
        (rules::no_error_into_absence, "src/authz.rs", "x.filter_map(Result::ok)", 1),
        (rules::no_error_into_absence, "src/authz.rs", "match x { Err(_) => None, }", 1),
        (rules::no_error_into_absence, "src/authz.rs", "options.filter_map(|x| x)", 0),
        (rules::no_error_into_absence, "src/authz.rs", "let y = x as u16;", 1),
        (rules::no_error_into_absence, "src/authz.rs", "use x as y; <A as B>::c()", 0),
        (rules::no_error_into_absence, "src/authz.rs", "#[cfg(test)] mod t { f().ok(); }", 0),
        (rules::no_error_into_absence, "src/admin.rs", "f().ok()", 0),
    ];
    for (rule, path, text, complaints) in cases {
        let found = rule(&house(&[(path, text)]));
        assert_eq!(found.len(), *complaints, "{path}: {text}: {found:?}");
    }
}

#[test]
fn words_and_paths_in_any_file_are_found() {
    let left =
        format!("// {}: later\nfn f() {{ {}(x) }}\n", ["TO", "DO"].concat(), ["dbg", "!"].concat());
    assert_eq!(rules::leftovers("x.rs", &left).len(), 2);
    let needles = ["/a/".to_owned()];
    for (text, complaints) in [
        ("cat /a/b", 1),
        ("\"/a/b\"", 1),
        ("/a/b", 1),
        ("x=/a/b:/a/c", 1),
        ("src/a/b", 0),
        ("./a/b ../a/b ${x}/a/b", 0),
        ("/ab/c", 0),
    ] {
        assert_eq!(rules::machine_paths("x", text, &needles).len(), complaints, "{text}");
    }
}
