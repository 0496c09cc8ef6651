use super::*;
use crate::policy::raw::Fault;
use crate::policy::raw::{self, GatewayFile};

mod properties;

const FILE: &str = "g.json";

/// Long enough to be a key, and nowhere in the code.
const CANARY: &str = "canary-9d41e07b55aa0c3d2f";

const VALID: &str = r#"{
  "_note": ["free", {"x": null}], "$schema": 1.5e3,
  "gateway_config": {"allow_any_key": false, "trusted_hops": 2, "credential_headers": ["x-api-key"]},
  "api_keys": [
    {"id": "a", "key": "canary-9d41e07b55aa0c3d2f", "enabled": true, "scopes": ["s", "t"]},
    {"id": "b", "keys": [{"key_sha256": "canary-9d41e07b55aa0c3d2f", "_": 1}, {"key": "canary-9d41e07b55aa0c3d2f"}]}
  ],
  "rate_limit_tiers": {"default": {"requests_per_minute": 60}, "t\u0069er": {"requests_per_hour": -1}},
  "rules": [{"id": "r", "paths": ["/x/**"], "auth": "none"}]
}"#;

/// As a load does it, with a `compile` that finds nothing.
fn errors(text: &str) -> Errors {
    match raw::parse::<GatewayFile<'_>>(text) {
        Ok(_) => Errors::default(),
        Err(error) => explain::<GatewayFile<'_>>(FILE, text, Some(&error)).place(&[]),
    }
}

fn lines(text: &str) -> Vec<String> {
    let strip = |error: &Error| error.to_string().replacen("g.json:", "", 1);
    errors(text).listed.iter().map(strip).collect()
}

#[test]
fn every_mistake_of_shape_has_its_place_and_what_was_expected() {
    let tiers = |rest: &str| format!(r#"{{"rate_limit_tiers": {rest}}}"#);
    let cases: Vec<(String, &[&str])> = vec![
        (
            tiers(r#"{"t": {"requests_per_minute": "60"}}"#),
            &[
                r#"1:52: rate_limit_tiers.t.requests_per_minute: expected a whole number, found the text "60""#,
            ],
        ),
        (
            tiers("{\"é🦀\":\n {\"x y\": {}, \"requests_per_hour\": 1.5}}"),
            &[
                r#"2:3: rate_limit_tiers["é🦀"]["x y"]: unknown field, expected one of requests_per_minute, requests_per_hour, description"#,
                r#"2:35: rate_limit_tiers["é🦀"].requests_per_hour: expected a whole number, found the number 1.5"#,
            ],
        ),
        (
            tiers(r#"{"é": {}, "é": 5}"#),
            &[
                r#"1:32: rate_limit_tiers["é"]: this name stands here for the second time; the first is at 1:23"#,
            ],
        ),
        (
            tiers(
                r#"{"t": {"requests_per_minute": 9223372036854775808, "requests_per_hour": -0}}"#,
            ),
            &[
                "1:52: rate_limit_tiers.t.requests_per_minute: expected a whole number that fits 64 bits, found the number 9223372036854775808",
                "1:94: rate_limit_tiers.t.requests_per_hour: expected a whole number, found the number -0",
            ],
        ),
        (
            tiers(r#"{"t": {"requests_per_minute": 1e999}}"#),
            &["1:56: $: not valid JSON: number out of range"],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(lines(&text), expected, "{text}");
    }
}

#[test]
fn mistakes_are_found_in_every_kind_of_object() {
    let cases: Vec<(&str, &[&str])> = vec![
        (
            r#"{"rules": [{"idd": "x"}, null, {"paths": ["/", {}, [1]]}], "api_keys": {}}"#,
            &[
                "1:13: rules[0].idd: unknown field, did you mean `id`?",
                "1:26: rules[1]: expected an object, found null",
                "1:48: rules[2].paths[1]: expected a text, found an object",
                "1:52: rules[2].paths[2]: expected a text, found a list",
                "1:72: api_keys: expected a list, found an object",
            ],
        ),
        (
            r#"{"gateway_config": {"allow_any_key": "yes", "trusted_hops": true}}"#,
            &[
                r#"1:38: gateway_config.allow_any_key: expected true or false, found the text "yes""#,
                "1:61: gateway_config.trusted_hops: expected a whole number, found true",
            ],
        ),
        ("  [1]", &["1:3: $: expected an object, found a list"]),
        // Among keys a text of the length of a key is not shown; elsewhere it is.
        (
            r#"{"api_keys": [{"enabled": "no longer than it takes"}], "rules": "no longer than it takes"}"#,
            &[
                "1:27: api_keys[0].enabled: expected true or false, found a text",
                r#"1:65: rules: expected a list, found the text "no longer than it takes""#,
            ],
        ),
        // The value of an unknown field is not looked into.
        (r#"{"rulez": [{"a": 1, "a": 2}]}"#, &["1:2: rulez: unknown field, did you mean `rules`?"]),
    ];
    for (text, expected) in cases {
        assert_eq!(lines(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_json_has_one_error_where_it_stops_being_json() {
    let deep = "[".repeat(1 << 20);
    let deep_comment = format!("{{\"_\": {deep}");
    let deep_behind_a_fault = format!("{{\"_\": 1e999, \"$\": {deep}");
    for (text, expected) in [
        ("", "1:1: $: not valid JSON: EOF while parsing a value"),
        (
            "\u{feff}{}",
            "1:1: $: the file begins with a byte order mark; save it as UTF-8 without one",
        ),
        ("{\"é\" 1}", "1:6: $: not valid JSON: expected `:`"),
        ("{\n  \"rules\": [],\n}", "3:1: $: not valid JSON: trailing comma"),
        ("{} // note", "1:4: $: not valid JSON: trailing characters"),
        ("{\"_\": \"\\ud800\"}", "1:14: $: not valid JSON: unexpected end of hex escape"),
        ("{\u{b}}", "1:2: $: not valid JSON: key must be a string"),
        (&deep, "1:128: $: not valid JSON: recursion limit exceeded"),
        (&deep_comment, "1:133: $: not valid JSON: recursion limit exceeded"),
        ("{\"_\": 1e999}", "1:11: $: not valid JSON: number out of range"),
        (&deep_behind_a_fault, "1:11: $: not valid JSON: number out of range"),
    ] {
        let short: String = text.chars().take(40).collect();
        assert_eq!(lines(text), [expected], "{short}");
        let why = explain::<GatewayFile<'_>>(FILE, text, None);
        let finding = Finding::new(Path::root().field("rules"), "nothing can follow");
        assert_eq!(why.place(&[finding]).listed.len(), 1, "{short}");
    }
}

#[test]
fn bytes_that_are_no_text_have_a_place_too() {
    assert_eq!(decode_utf8(FILE, "é".as_bytes()), Ok("é"));
    let error = decode_utf8(FILE, b"{\n\xc3\xa9 \xff}").unwrap_err();
    assert_eq!(error.to_string(), "g.json:2:3: $: expected UTF-8, found the byte 0xff");
    let error = decode_utf8(FILE, b"\xc3").unwrap_err();
    assert_eq!(error.to_string(), "g.json:1:1: $: expected UTF-8, found the byte 0xc3");
}

#[test]
fn a_failure_that_the_second_pass_cannot_explain_is_still_an_error() {
    let unexplained = ParseError { line: 2, column: 3, fault: Fault::Shape };
    let why = explain::<GatewayFile<'_>>(FILE, "{\n  }", Some(&unexplained));
    assert_eq!(why.place(&[]).to_string(), "g.json:2:3: $: does not have the expected shape");
}

fn at(text: &str, finding: Finding) -> Vec<String> {
    let why = explain::<GatewayFile<'_>>(FILE, text, None);
    let place = |error: Error| format!("{}:{} {}", error.line, error.column, error.path);
    why.place(&[finding]).listed.into_iter().map(place).collect()
}

#[test]
fn findings_are_placed_at_values_at_keys_and_at_what_lacks_them() {
    let text = "{\"api_keys\":\n [{\"id\": \"a\"},\n  {\"id\":\n \"b\"}]}";
    let second = Path::root().field("api_keys").index(1);
    for (finding, expected) in [
        (Finding::new(second.field("id"), ""), "4:2 api_keys[1].id"),
        (Finding::at_key(second.field("id"), ""), "3:4 api_keys[1].id"),
        (Finding::at_key(second.clone(), ""), "3:3 api_keys[1]"),
        (Finding::new(second.field("role"), ""), "3:3 api_keys[1].role"),
        (Finding::new(second.field("id").index(0).field("x"), ""), "4:2 api_keys[1].id[0].x"),
        (Finding::new(Path::root().index(7), ""), "1:1 $[7]"),
        (Finding::new(Path::root(), ""), "1:1 $"),
    ] {
        assert_eq!(at(text, finding), [expected]);
    }
}

#[test]
fn what_follows_from_a_mistake_of_shape_is_left_out() {
    let text =
        r#"{"api_keys": [{"idd": "a", "role": 5, "scopes": ["s", 1]}], "rate_limit_tiers": 5}"#;
    let shape = [
        "1:16 api_keys[0].idd",
        "1:36 api_keys[0].role",
        "1:55 api_keys[0].scopes[1]",
        "1:81 rate_limit_tiers",
    ];
    let key = Path::root().field("api_keys").index(0);
    let tier = Path::root().field("rate_limit_tiers").field("gold");
    for dropped in [
        Finding::new(key.field("id"), "misspelt"),
        Finding::new(key.field("role").field("below"), "at a value of the wrong type"),
        Finding::new(key.field("scopes").index(1), "an empty text that we put there"),
        Finding::new(key.field("rate_limit_tier"), "unknown tier").given(tier),
    ] {
        assert_eq!(at(text, dropped), shape);
    }
    for kept in [key.clone(), key.field("tenant"), key.field("scopes").index(0)] {
        assert_eq!(at(text, Finding::new(kept, "its own")).len(), shape.len() + 1);
    }
}

#[test]
fn the_pruned_document_is_what_is_right_of_it() {
    let text = r#"{"_": [1], "rules": [5, {"id": "r", "id": "s", "auth": 1, "pathz": [], "paths": ["/\u0061", 7]}],
                   "api_keys": {}, "rate_limit_tiers": {"\u0074": {"requests_per_hour": 1}, "u": 2}}"#;
    let why = explain::<GatewayFile<'_>>(FILE, text, None);
    assert_eq!(
        why.pruned(),
        Some(
            r#"{"rules":[{},{"id":"r","paths":["/\u0061",""]}],"rate_limit_tiers":{"\u0074":{"requests_per_hour":1}}}"#
        )
    );
    assert_eq!(explain::<GatewayFile<'_>>(FILE, "[]", None).pruned(), None);
}

#[test]
fn a_hundred_errors_are_listed_in_order_and_the_rest_is_counted() {
    let text = format!("{{\"rules\": [{}\n{{\"id\": \"x\"}}]}}", "5,\n".repeat(2_000));
    let last = Path::root().field("rules").index(2_000).field("id");
    let first = Path::root().field("gateway_config");
    let why = explain::<GatewayFile<'_>>(FILE, &text, None);
    let errors = why.place(&[Finding::new(last, "last"), Finding::new(first, "first")]);
    assert_eq!((errors.listed.len(), errors.more), (100, 1_902));
    assert_eq!(errors.listed[0].message, "first");
    assert!(errors.listed.is_sorted_by_key(|error| error.line));
    assert!(errors.to_string().ends_with("\nand 1902 more"));
}

fn assert_no_canary(text: &str) {
    let Err(error) = raw::parse::<GatewayFile<'_>>(text) else { return };
    let errors = errors(text);
    assert!(!errors.listed.is_empty());
    let shown = format!("{errors} {errors:?} {error} {error:?}");
    assert!(!shown.contains(&CANARY[..12]), "{text}\n{errors}");
}

#[test]
fn no_error_ever_shows_a_key() {
    let key = |object: &str| format!(r#"{{"api_keys": [{}]}}"#, object.replace('K', CANARY));
    for object in [
        r#""K""#,
        r#"["K"]"#,
        r#"{"key": ["K"]}"#,
        r#"{"key": {"K": "K"}}"#,
        r#"{"key": "K", "key": "K"}"#,
        r#"{"kye": "K"}"#,
        r#"{"K": "K"}"#,
        r#"{"keys": "K"}"#,
        r#"{"keys": ["K"]}"#,
        r#"{"keys": {"K": "K"}}"#,
        r#"{"keys": [{"K": 1}]}"#,
        r#"{"key_sha256": ["K"]}"#,
        r#"{"enabled": "K"}"#,
        r#"{"scopes": "K"}"#,
        r#"{"key": "K}"#,
        r#"{"key": K}"#,
        r#"{"key": 'K'}"#,
        r#"{"key": "K" "id": 1}"#,
        r#"{"key": "K\q"}"#,
    ] {
        assert_no_canary(&key(object));
    }
    assert_no_canary(&format!(r#"{{"api_keys": {{"{CANARY}": {{}}}}}}"#));
    assert_no_canary(&format!(r#"{{"api_keys": "{CANARY}"}}"#));
    let secret_number = r#"{"api_keys": [{"key": 123412341234}]}"#;
    assert_eq!(lines(secret_number), ["1:23: api_keys[0].key: expected a text, found a number"]);
    // Cut off anywhere.
    for end in 0..VALID.len() {
        assert_no_canary(&VALID[..end]);
    }
}
