//! Pieces of a file in a message: short, harmless to a terminal, and what was probably meant.

/// How many characters of a text a message shows.
const SHOWN: usize = 40;

/// The longest name that is compared with the known ones.
const COMPARED: usize = 64;

/// A text in quotes, cut after 40 characters, its control and other invisible characters escaped.
pub fn quote(text: &str) -> String {
    format!("{:?}", shorten(text))
}

/// The first 40 characters, with an ellipsis where that is not all.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The known name that `name` was probably meant to be: at most a third of it differs, apart from
/// case.
pub(super) fn suggest(
    name: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    if name.len() > COMPARED {
        return None;
    }
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(name.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters must be put in, taken out, replaced or swapped with their neighbour to make
/// one name of the other (Damerau and Levenshtein's optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    let mut row_before = row.clone();
    let mut previous = None;
    for (done, from) in one.chars().enumerate() {
        let mut next = vec![done + 1];
        for (column, to) in other.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
            let replaced = at(&row, column) + usize::from(!from.eq_ignore_ascii_case(to));
            let mut best = replaced.min(at(&row, column + 1) + 1).min(at(&next, column) + 1);
            let left = column.checked_sub(1);
            if previous == Some(*to) && left.and_then(|left| other.get(left)) == Some(&from) {
                best = best.min(left.map_or(usize::MAX, |left| at(&row_before, left) + 1));
            }
            next.push(best);
        }
        row_before = std::mem::replace(&mut row, next);
        previous = Some(from);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_short_and_hold_nothing_that_moves_the_cursor() {
        for (text, quoted) in [
            ("60", r#""60""#),
            ("a\n\u{1b}[31m\"\\\u{202e}\u{7f}", r#""a\n\u{1b}[31m\"\\\u{202e}\u{7f}""#),
            ("é🦀", "\"é🦀\""),
        ] {
            assert_eq!(quote(text), quoted);
        }
        assert_eq!(quote(&"é".repeat(40)), format!("\"{}\"", "é".repeat(40)));
        assert_eq!(quote(&"é".repeat(41)), format!("\"{}…\"", "é".repeat(40)));
    }

    #[test]
    fn suggestions_are_near() {
        let known =
            || ["id", "key", "key_sha256", "keys", "enabled", "rate_limit_tier"].into_iter();
        for (name, suggestion) in [
            ("rate_limit_teir", Some("rate_limit_tier")),
            ("ratelimittier", Some("rate_limit_tier")),
            ("Enabled", Some("enabled")),
            ("enable", Some("enabled")),
            ("kye", Some("key")),
            ("idd", Some("id")),
            ("key_sha265", Some("key_sha256")),
            ("colour", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(suggest(name, known()), suggestion, "{name}");
        }
        assert_eq!(suggest(&"k".repeat(1 << 20), known()), None);
    }

    #[test]
    fn distances_are_the_known_ones() {
        for (one, other, expected) in [
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("a", "a", 0),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }
}
