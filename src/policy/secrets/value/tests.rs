use super::*;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is taken can stand in a header, and is what was there.
    #[test]
    fn a_value_is_taken_unchanged_or_not_at_all(bytes in any::<Vec<u8>>()) {
        let trimmed = trimmed(&bytes);
        match judge(trimmed) {
            Ok(secret) => {
                prop_assert_eq!(secret.expose().as_bytes(), trimmed);
                prop_assert_eq!(secret.expose().trim(), secret.expose());
                prop_assert!(http::HeaderValue::from_bytes(trimmed).is_ok());
                prop_assert!(trimmed.is_ascii() && !trimmed.is_empty());
            }
            Err(fault) => {
                let empty = fault.why == Unavailable::Empty;
                prop_assert_eq!(empty, trimmed.is_empty());
            }
        }
    }
}

#[test]
fn the_largest_value_is_16_kib() {
    for (length, good) in [(1, true), (16 * 1024, true), (16 * 1024 + 1, false)] {
        let judged = judge("x".repeat(length).as_bytes());
        assert_eq!(judged.is_ok(), good, "{length}");
    }
}

#[test]
fn one_line_break_is_trimmed() {
    for (text, expected) in [
        ("", ""),
        ("\n", ""),
        ("\r\n", ""),
        ("a\n", "a"),
        ("a\r\n", "a"),
        ("a\n\n", "a\n"),
        ("a\r", "a\r"),
        ("a", "a"),
        ("\na", "\na"),
    ] {
        assert_eq!(trimmed(text.as_bytes()), expected.as_bytes(), "{text:?}");
    }
}
