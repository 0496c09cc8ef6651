use super::*;

fn gateway(text: &str) -> Result<GatewayFile<'_>, ParseError> {
    parse(text)
}

#[test]
fn strings_borrow_from_the_file_unless_they_hold_an_escape() {
    let text = r#"{"api_keys": [{"id": "plain", "role": "esc\u0061ped"}]}"#;
    let file = gateway(text).unwrap();
    let key = &file.api_keys.as_ref().unwrap()[0];
    let (id, role) = (key.id.as_ref().unwrap(), key.role.as_ref().unwrap());
    assert!(text.as_bytes().as_ptr_range().contains(&id.as_ptr()));
    assert_eq!((&**id, &**role), ("plain", "escaped"));
}

#[test]
fn every_field_of_the_shape_is_a_field_that_reading_knows() {
    let Shape::Object(fields) = GatewayFile::SHAPE else { panic!("an object") };
    let names: Vec<_> = fields.iter().map(|field| field.name).collect();
    assert_eq!(names, ["gateway_config", "api_keys", "rate_limit_tiers", "rules"]);
    assert!(
        gateway(r#"{"gateway_config": {}, "api_keys": [], "rate_limit_tiers": {}, "rules": []}"#)
            .is_ok()
    );
}

#[test]
fn entries_keep_the_order_of_the_file() {
    let file =
        gateway(r#"{"rate_limit_tiers": {"z": {"requests_per_minute": -1}, "_": 1, "a": {}}}"#)
            .unwrap();
    let tiers = file.rate_limit_tiers.unwrap();
    let names: Vec<_> = tiers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["z", "a"]);
    assert_eq!(tiers[0].1.requests_per_minute, Some(-1));
}

#[test]
fn a_file_is_strict_json_with_comment_keys() {
    let accepted = [
        "{}",
        " {}\n\t",
        r#"{"_note": [{"a": null}, 1.5, true, "x"], "$schema": {}, "_note": 2}"#,
        r#"{"rules": [{"\u005fnote": 1}], "rate_limit_tiers": {"$": []}}"#,
        r#"{"gateway_config": {"trusted_hops": -9223372036854775808}}"#,
    ];
    for text in accepted {
        assert!(gateway(text).is_ok(), "{text}");
    }
    let refused = [
        ("", Fault::Syntax("EOF while parsing a value".to_owned())),
        ("{} {}", Fault::Syntax("trailing characters".to_owned())),
        ("{\"rules\": [],}", Fault::Syntax("trailing comma".to_owned())),
        ("{// note\n}", Fault::Syntax("key must be a string".to_owned())),
        ("\u{feff}{}", Fault::ByteOrderMark),
        ("[]", Fault::Shape),
        (r#"{"rules": null}"#, Fault::Shape),
        (r#"{"rules": [[]]}"#, Fault::Shape),
        (r#"{"rules": [], "rules": []}"#, Fault::Shape),
        (r#"{"rate_limit_tiers": {"a": {}, "a": {}}}"#, Fault::Shape),
        (r#"{"rools": []}"#, Fault::Shape),
        (r#"{"gateway_config": {"trusted_hops": 1.0}}"#, Fault::Shape),
        (r#"{"gateway_config": {"trusted_hops": 9223372036854775808}}"#, Fault::Shape),
        (
            r#"{"gateway_config": {"trusted_hops": 1e999}}"#,
            Fault::Syntax("number out of range".to_owned()),
        ),
        (r#"{"_": 1e999}"#, Fault::Syntax("number out of range".to_owned())),
        (r#"{"_": "\ud800"}"#, Fault::Syntax("unexpected end of hex escape".to_owned())),
    ];
    for (text, fault) in refused {
        assert_eq!(gateway(text).unwrap_err().fault, fault, "{text}");
    }
}

#[test]
fn endless_nesting_is_an_error_and_not_a_stack_overflow() {
    for text in ["[".repeat(1 << 20), format!("{{\"_\": {}", "[".repeat(1 << 20))] {
        let Fault::Syntax(words) = gateway(&text).unwrap_err().fault else {
            assert!(text.starts_with('['));
            continue;
        };
        assert_eq!(words, "recursion limit exceeded");
        assert!(check_syntax(&text).is_err());
    }
}

#[test]
fn nothing_that_reading_makes_prints_a_value() {
    let canary = "canary-7e1c";
    let text = format!(r#"{{"api_keys": [{{"id": "{canary}", "key": "{canary}"}}]}}"#);
    let file = gateway(&text).unwrap();
    assert_eq!(file.api_keys.as_ref().unwrap()[0].key.as_ref().unwrap().expose(), canary);
    assert!(!format!("{file:?} {:?}", file.api_keys).contains(canary));
    for broken in [
        format!(r#"{{"api_keys": [{{"key": ["{canary}"]}}]}}"#),
        format!(r#"{{"api_keys": "{canary}"}}"#),
        format!(r#"{{"{canary}": 1}}"#),
        format!(r#"{{"api_keys": [{{"key": "{canary}"#),
    ] {
        let error = gateway(&broken).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(canary), "{error:?}");
    }
}
