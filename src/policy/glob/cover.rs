//! Whether one pattern matches everything that another matches.

use super::{Glob, Segment};

impl Glob {
    /// Whether this pattern surely matches whatever `other` matches. `false` where it does not, or
    /// where that cannot be told segment by segment (`/a*` against `/ab*` is told to be unknown).
    pub fn covers(&self, other: &Self) -> bool {
        if self.separator != other.separator {
            return false;
        }
        // `below` says for every end of `other` whether the segments of this pattern after the one
        // at hand cover it; from the last segment to the first, that fills a table row by row.
        let ends = other.segments.len() + 1;
        let mut below: Vec<bool> = (1..=ends).map(|end| end == ends).collect();
        for segment in self.segments.iter().rev() {
            let mut row = vec![false; ends];
            let mut beyond = false;
            for (place, end) in row.iter_mut().enumerate().rev() {
                let next = other.segments.get(place);
                let stays = below.get(place).copied().unwrap_or(false);
                let moves = below.get(place + 1).copied().unwrap_or(false);
                *end = match segment {
                    // It takes nothing, or the other's next segment and then what it may.
                    Segment::AnyNumber => stays || beyond,
                    Segment::Literal(_) | Segment::Wild { .. } => {
                        moves && next.is_some_and(|next| segment.covers(next))
                    }
                };
                beyond = *end;
            }
            below = row;
        }
        below.first().copied().unwrap_or(false)
    }
}

impl Segment {
    /// Whether this segment, which is not `**`, matches every text that `other` matches.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::AnyNumber) => false,
            (Self::Wild { prefix, middle, suffix }, _)
                if prefix.is_empty() && middle.is_empty() && suffix.is_empty() =>
            {
                true
            }
            (_, Self::Literal(text)) => self.matches(text),
            (_, Self::Wild { .. }) => self == other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_that_cover_others() {
        let cases = [
            ("/a", "/a", true),
            ("/a", "/b", false),
            ("/a", "/a/b", false),
            ("/**", "/", true),
            ("/**", "/a/*/**", true),
            ("/a/**", "/a", true),
            ("/a/**", "/a/b/**", true),
            ("/a/**", "/**", false),
            ("/a/**", "/*/b", false),
            ("/*", "/a*", true),
            ("/*", "/**", false),
            ("/*/b", "/a/b", true),
            ("/a*", "/abc", true),
            ("/**/b", "/a/**/b", true),
            ("/**/b", "/b/**", false),
            ("/**/a/**", "/x/a/y", true),
            ("/agentd.v1.*/**", "/agentd.v1.Agents/Get", true),
            ("/a/", "/a", false),
        ];
        for (pattern, other, expected) in cases {
            let (glob, other) = (Glob::path(pattern).unwrap(), Glob::path(other).unwrap());
            assert_eq!(glob.covers(&other), expected, "{pattern} over {other}");
        }
        let hosts = ("*.example.com", "api.example.com");
        assert!(Glob::host(hosts.0).unwrap().covers(&Glob::host(hosts.1).unwrap()));
        assert!(!Glob::host("a").unwrap().covers(&Glob::path("/a").unwrap()));
    }

    fn pattern() -> impl Strategy<Value = String> {
        let segments = prop::sample::select(vec!["a", "b", "*", "a*", "**"]);
        prop::collection::vec(segments, 1..6)
            .prop_map(|segments| format!("/{}", segments.join("/")))
    }

    proptest! {
        #[test]
        fn what_is_covered_is_matched(
            one in pattern(),
            other in pattern(),
            path in prop::collection::vec(prop::sample::select(vec!["a", "b", "ab"]), 1..6),
        ) {
            let (one, other) = (Glob::path(&one).unwrap(), Glob::path(&other).unwrap());
            let path = format!("/{}", path.join("/"));
            if one.covers(&other) && other.matches_path(&path) {
                prop_assert!(one.matches_path(&path), "{} does not cover {} on {}", one, other, path);
            }
            prop_assert!(one.covers(&one), "{}", one);
        }
    }
}
