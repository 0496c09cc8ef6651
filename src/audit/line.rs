//! One JSON object, written field by field into a buffer that is used again.
//!
//! Text comes from callers. What could end a line, hide a part of it or move a terminal's cursor is
//! escaped, and every text is cut at a limit that counts the bytes written, so that the length of a
//! line is bounded whatever it holds.

use std::net::IpAddr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use time::OffsetDateTime;

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const LAST_SECOND: u64 = 253_402_300_799;

/// An object under construction: everything after its opening brace.
pub(super) struct Line<'a> {
    out: &'a mut Vec<u8>,
    truncated: bool,
}

impl<'a> Line<'a> {
    /// Empties the buffer and begins with the record's type.
    pub(super) fn new(out: &'a mut Vec<u8>, kind: &str) -> Self {
        out.clear();
        out.extend_from_slice(b"\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.push(b'"');
        Self { out, truncated: false }
    }

    /// A text, cut before the first character with which it would take more than `limit` bytes.
    pub(super) fn text(&mut self, name: &str, value: &str, limit: usize) {
        self.name(name);
        self.out.push(b'"');
        if value.len() <= limit && is_plain(value) {
            self.out.extend_from_slice(value.as_bytes());
        } else {
            self.escape(value, limit);
        }
        self.out.push(b'"');
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        push_number(self.out, value);
    }

    /// A duration in microseconds, with one digit after the point.
    pub(super) fn microseconds(&mut self, name: &str, value: Duration) {
        let tenths = u64::try_from(value.as_nanos() / 100).unwrap_or(u64::MAX);
        self.name(name);
        push_number(self.out, tenths / 10);
        self.out.push(b'.');
        push_number(self.out, tenths % 10);
    }

    /// A moment: RFC 3339, UTC, microseconds.
    pub(super) fn timestamp(&mut self, name: &str, unix: Duration) {
        self.name(name);
        self.out.push(b'"');
        push_timestamp(self.out, unix);
        self.out.push(b'"');
    }

    /// An IP address.
    pub(super) fn address(&mut self, name: &str, value: IpAddr) {
        self.name(name);
        self.out.push(b'"');
        match value {
            IpAddr::V4(address) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    if place > 0 {
                        self.out.push(b'.');
                    }
                    push_number(self.out, u64::from(octet));
                }
            }
            IpAddr::V6(address) => self.out.extend_from_slice(address.to_string().as_bytes()),
        }
        self.out.push(b'"');
    }

    /// Opens an object inside this one.
    pub(super) fn open(&mut self, name: &str) {
        self.name(name);
        self.out.push(b'{');
    }

    /// Closes the object opened last.
    pub(super) fn close(&mut self) {
        self.out.push(b'}');
    }

    /// Ends the line, and says so if a text in it was cut.
    pub(super) fn end(mut self) {
        if self.truncated {
            self.name("truncated");
            self.out.extend_from_slice(b"true");
        }
        self.out.extend_from_slice(b"}\n");
    }

    fn name(&mut self, name: &str) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn escape(&mut self, value: &str, limit: usize) {
        let end = self.out.len().saturating_add(limit);
        for character in value.chars() {
            let start = self.out.len();
            push_escaped(self.out, character);
            if self.out.len() > end {
                self.out.truncate(start);
                self.truncated = true;
                return;
            }
        }
    }
}

/// Digits of a number.
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        // The remainder of a division by ten fits a byte.
        *digit += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.last_chunk::<20>().map_or(&[], |all| all.split_at(20 - used).1));
}

fn push_timestamp(out: &mut Vec<u8>, unix: Duration) {
    let seconds = i64::try_from(unix.as_secs().min(LAST_SECOND)).unwrap_or(0);
    // Every second up to the last is valid.
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second) = moment.to_hms();
    push_padded(out, u32::try_from(year).unwrap_or(0), 1_000);
    out.push(b'-');
    push_padded(out, u32::from(u8::from(month)), 10);
    out.push(b'-');
    push_padded(out, u32::from(day), 10);
    out.push(b'T');
    push_padded(out, u32::from(hour), 10);
    out.push(b':');
    push_padded(out, u32::from(minute), 10);
    out.push(b':');
    push_padded(out, u32::from(second), 10);
    out.push(b'.');
    push_padded(out, unix.subsec_micros(), 100_000);
    out.push(b'Z');
}

/// Digits from the place of `unit` (a power of ten) down, leading zeros included.
fn push_padded(out: &mut Vec<u8>, number: u32, mut unit: u32) {
    while unit > 0 {
        out.push(b'0' + u8::try_from(number / unit % 10).unwrap_or(0));
        unit /= 10;
    }
}

/// Whether the text can stand in a JSON string as it is. Without an early exit, so that the
/// compiler can look at many bytes at once.
fn is_plain(text: &str) -> bool {
    let odd = text.bytes().fold(0, |odd, byte| {
        odd | u8::from(!(b' '..=b'~').contains(&byte))
            | u8::from(byte == b'"')
            | u8::from(byte == b'\\')
    });
    odd == 0
}

fn push_escaped(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        hidden if is_hidden(hidden) => {
            // All of them lie below U+10000, hence one UTF-16 unit each.
            for unit in hidden.encode_utf16(&mut [0; 2]) {
                let mut digits = [0; 4];
                HEXLOWER.encode_mut(&unit.to_be_bytes(), &mut digits);
                out.extend_from_slice(b"\\u");
                out.extend_from_slice(&digits);
            }
        }
        shown => out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Control characters, which JSON forbids below U+0020 and terminals obey above; line and paragraph
/// separators, at which some tools split lines; and the marks that turn the direction of text, with
/// which a line can be made to read as something else.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(value: u64) -> String {
        let mut out = Vec::new();
        push_number(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn timestamp(unix: Duration) -> String {
        let mut out = Vec::new();
        push_timestamp(&mut out, unix);
        String::from_utf8(out).unwrap()
    }

    fn written(text: &str, limit: usize) -> (String, serde_json::Value) {
        let mut out = Vec::new();
        let mut line = Line::new(&mut out, "t");
        line.text("x", text, limit);
        line.end();
        let line = format!("{{{}", String::from_utf8(out).unwrap());
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        let value = serde_json::from_str(&line).unwrap();
        (line, value)
    }

    #[test]
    fn moments_are_written_to_the_microsecond() {
        for (seconds, nanoseconds, expected) in [
            (0, 0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, 1_999, "2000-02-29T00:00:00.000001Z"),
            (1_772_323_199, 999_999_999, "2026-02-28T23:59:59.999999Z"),
            (LAST_SECOND, 0, "9999-12-31T23:59:59.000000Z"),
            (u64::MAX, 0, "9999-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(timestamp(Duration::new(seconds, nanoseconds)), expected);
        }
    }

    #[test]
    fn a_cut_falls_between_characters_and_counts_what_is_written() {
        for (text, limit, kept) in [
            ("abcd", 4, None),
            ("abcde", 4, Some("abcd")),
            ("aé€", 6, None),
            ("aé€", 5, Some("aé")),
            ("\"\"\"", 5, Some("\"\"")),
            ("\u{1}\u{1}", 11, Some("\u{1}")),
        ] {
            let (_, value) = written(text, limit);
            assert_eq!(value["x"], kept.unwrap_or(text));
            assert_eq!(value.get("truncated").is_some(), kept.is_some(), "{text:?}");
        }
    }

    #[test]
    fn nothing_that_moves_the_eye_or_the_cursor_is_written_raw() {
        let (line, value) = written("a\u{1b}[2J\u{9b}\u{7f}\u{85}\u{2028}\u{202e}\u{2066}z", 200);
        assert!(line.trim_end().chars().all(|c| (' '..='~').contains(&c)), "{line:?}");
        assert_eq!(value["x"], "a\u{1b}[2J\u{9b}\u{7f}\u{85}\u{2028}\u{202e}\u{2066}z");
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_does(value: u64) {
            prop_assert_eq!(number(value), value.to_string());
            prop_assert_eq!(number(value % 1_000), (value % 1_000).to_string());
        }

        #[test]
        fn any_text_reads_back_as_itself_or_as_its_beginning(text in any::<String>(), limit in 0..80_usize) {
            let (line, value) = written(&text, limit);
            let read = value["x"].as_str().unwrap();
            prop_assert!(text.starts_with(read));
            prop_assert_eq!(value.get("truncated").is_none(), read == text);
            prop_assert!(line.len() <= limit + 40);
        }
    }
}
