//! The header texts, and who is the same subject.

use super::*;
use proptest::prelude::*;

fn quota(window: Window, limit: u32, remaining: u32, millis: u64) -> Quota {
    Quota { window, limit, remaining, reset: Duration::from_millis(millis) }
}

fn rate_limit(minute: Option<Quota>, hour: Option<Quota>) -> String {
    let mut out = String::new();
    Verdict { outcome: Ok(()), minute, hour }.write_rate_limit(&mut out);
    out
}

#[test]
fn rate_limit_tells_what_is_left_and_rounds_times_up() {
    let minute = Some(quota(Window::Minute, 60, 0, 11_001));
    let hour = Some(quota(Window::Hour, 1000, 412, 1_804_000));
    assert_eq!(rate_limit(minute, hour), r#""minute";r=0;t=12, "hour";r=412;t=1804"#);
    assert_eq!(rate_limit(None, hour), r#""hour";r=412;t=1804"#);
    assert_eq!(rate_limit(minute, None), r#""minute";r=0;t=12"#);
    assert_eq!(rate_limit(None, None), "");
}

#[test]
fn policy_leaves_unlimited_windows_out() {
    let cases = [
        (Limit::AtMost(60), Limit::AtMost(1000), r#""minute";q=60;w=60, "hour";q=1000;w=3600"#),
        (Limit::AtMost(0), Limit::Unlimited, r#""minute";q=0;w=60"#),
        (Limit::Unlimited, Limit::AtMost(u32::MAX), r#""hour";q=4294967295;w=3600"#),
        (Limit::Unlimited, Limit::Unlimited, ""),
    ];
    for (minute, hour, expected) in cases {
        let mut out = String::new();
        write_policy(&Limits { minute, hour }, &mut out);
        assert_eq!(out, expected);
    }
}

#[test]
fn retry_after_is_never_early_and_never_zero() {
    for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (61_000, 61)] {
        let retry_after = Duration::from_millis(millis);
        let exceeded = Exceeded { window: Window::Minute, retry_after };
        assert_eq!(exceeded.retry_after_seconds(), seconds, "{millis} ms");
    }
    assert_eq!(seconds_up(Duration::MAX), u32::MAX);
}

#[test]
fn the_most_restrictive_window_has_the_least_left() {
    let minute = |left, reset| Some(quota(Window::Minute, 60, left, reset));
    let hour = |left, reset| Some(quota(Window::Hour, 1000, left, reset));
    let cases = [
        (minute(3, 900), hour(4, 9000), minute(3, 900)),
        (minute(4, 900), hour(3, 9000), hour(3, 9000)),
        (minute(0, 900), hour(0, 9000), hour(0, 9000)),
        (minute(0, 900), hour(0, 800), minute(0, 900)),
        (None, hour(5, 1), hour(5, 1)),
        (minute(5, 1), None, minute(5, 1)),
        (None, None, None),
    ];
    for (minute, hour, expected) in cases {
        assert_eq!(Verdict { outcome: Ok(()), minute, hour }.most_restrictive(), expected);
    }
}

#[test]
fn names_that_run_together_are_different_subjects() {
    let long = "x".repeat(65_536);
    let lists: [(&str, &[&str]); 14] = [
        ("gateway", &["a_b", "c"]),
        ("gateway", &["a", "b_c"]),
        ("gateway", &["a", "b", "c"]),
        ("gateway", &["abc"]),
        ("gateway", &["ab", "c"]),
        ("gateway", &["a:b", "{c}"]),
        ("gateway", &["a", ":b{c}"]),
        ("gateway", &["a\0", "b"]),
        ("gateway", &["a", "\0b"]),
        ("gateway", &[]),
        ("gateway", &[""]),
        ("gateway", &["", ""]),
        ("egress", &["abc"]),
        ("gateway", &[&long]),
    ];
    for (i, one) in lists.iter().enumerate() {
        for (j, other) in lists.iter().enumerate() {
            let same = Subject::new(one.0, one.1) == Subject::new(other.0, other.1);
            assert_eq!(same, i == j, "{i} and {j}");
        }
    }
}

proptest! {
    #[test]
    fn numbers_are_written_in_decimal(number: u32) {
        let mut out = String::from("=");
        write_number(&mut out, number);
        prop_assert_eq!(out, format!("={number}"));
    }

    // A small alphabet, so that concatenations of different lists often agree.
    #[test]
    fn subjects_are_equal_only_for_equal_lists(
        one in prop::collection::vec("[a:\0]{0,3}", 1..4),
        other in prop::collection::vec("[a:\0]{0,3}", 1..4),
    ) {
        let subject = |list: &[String]| {
            let parts: Vec<&str> = list.iter().skip(1).map(String::as_str).collect();
            Subject::new(&list[0], &parts)
        };
        prop_assert_eq!(subject(&one) == subject(&other), one == other);
    }
}
