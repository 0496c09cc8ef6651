//! Arguments that several commands take: names and moments.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::Now;

/// Ids, roles and the like travel in headers; a new one should need no escaping there.
///
/// # Errors
/// What was expected.
pub(super) fn name(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic() && b != b',' && b != b'"') {
        return Err("expected visible ASCII without spaces, commas and quotes");
    }
    Ok(text.to_owned())
}

/// A moment to come.
///
/// # Errors
/// What was expected.
pub(super) fn moment(text: &str) -> Result<String, &'static str> {
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(end) if end.unix_timestamp() <= Now::read().unix_seconds() => {
            Err("lies in the past: it would never be good")
        }
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("expected a moment as RFC 3339 writes it, as in 2027-01-31T00:00:00Z"),
    }
}

/// The moment that lies this far ahead: `30d` from now.
///
/// # Errors
/// What was expected.
pub(super) fn moment_from_now(text: &str) -> Result<String, &'static str> {
    moment_after(text, Now::read())
}

fn moment_after(text: &str, now: Now) -> Result<String, &'static str> {
    const EXPECTED: &str = "expected a time such as 12h, 30d or 8w (units: s, m, h, d, w)";
    const TOO_FAR: &str = "ends after the year 9999";
    const UNITS: [(char, i64); 5] =
        [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];
    let (number, seconds) = UNITS
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, *seconds)))
        .ok_or(EXPECTED)?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(EXPECTED);
    }
    // All digits: what does not parse is too large.
    let number: i64 = number.parse().map_err(|_too_large| TOO_FAR)?;
    if number == 0 {
        return Err("ends at once: it would never be good");
    }
    let end = number.checked_mul(seconds).and_then(|s| s.checked_add(now.unix_seconds()));
    OffsetDateTime::from_unix_timestamp(end.ok_or(TOO_FAR)?)
        .map_err(|_too_far| TOO_FAR)?
        .format(&Rfc3339)
        .map_err(|_too_far| TOO_FAR)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_ahead_is_a_moment() {
        let now = Now { unix: Duration::from_millis(1_700_000_000_999), monotonic: Duration::ZERO };
        for (text, expected) in [
            ("1s", Ok("2023-11-14T22:13:21Z")),
            ("90m", Ok("2023-11-14T23:43:20Z")),
            ("12h", Ok("2023-11-15T10:13:20Z")),
            ("030d", Ok("2023-12-14T22:13:20Z")),
            ("8w", Ok("2024-01-09T22:13:20Z")),
            ("", Err("expected a time")),
            ("d", Err("expected a time")),
            ("30", Err("expected a time")),
            ("-1d", Err("expected a time")),
            ("+1d", Err("expected a time")),
            ("1 d", Err("expected a time")),
            ("1y", Err("expected a time")),
            ("1.5h", Err("expected a time")),
            ("0d", Err("at once")),
            ("3000000d", Err("9999")),
            ("99999999999999999w", Err("9999")),
            ("99999999999999999999s", Err("9999")),
        ] {
            match (moment_after(text, now), expected) {
                (Ok(moment), Ok(expected)) => assert_eq!(moment, expected, "{text}"),
                (Err(error), Err(piece)) => assert!(error.contains(piece), "{text}: {error}"),
                (found, expected) => panic!("{text}: {found:?}, expected {expected:?}"),
            }
        }
    }
}
