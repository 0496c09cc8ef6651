//! What a refusal of Envoy says.
//!
//! Envoy takes clusters one by one. It keeps those of a response that are good, removes what the
//! response leaves out, and refuses with
//! `Error adding/updating cluster(s) NAME: REASON, NAME: REASON`. A response that it cannot even
//! read it refuses whole, in other words. Texts of more than 4,096 bytes are cut.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::policy::destination::CLUSTER_PREFIX;

const BEGINNING: &str = "Error adding/updating cluster(s) ";
const CUT: &str = "...(truncated)";

/// What of a response was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// These clusters, all others being taken.
    These(BTreeSet<Arc<str>>),
    /// These, and perhaps others: the text is cut.
    TheseAtLeast(BTreeSet<Arc<str>>),
    /// All of it: nothing has changed.
    Whole,
}

/// Reads the text of a refusal. `sent` says whether a cluster was part of the response, by its own
/// copy of the name.
pub fn read(text: &str, sent: impl Fn(&str) -> Option<Arc<str>>) -> Refusal {
    let Some(list) = text.strip_prefix(BEGINNING) else { return Refusal::Whole };
    let mut named = BTreeSet::new();
    for (place, _) in list.match_indices(CLUSTER_PREFIX) {
        let (before, rest) = list.split_at(place);
        let begins = before.is_empty() || before.ends_with(", ");
        if begins
            && let Some((name, _reason)) = rest.split_once(": ")
            && let Some(name) = sent(name)
        {
            named.insert(name);
        }
    }
    match (named.is_empty(), list.ends_with(CUT)) {
        (true, _) => Refusal::Whole,
        (false, false) => Refusal::These(named),
        (false, true) => Refusal::TheseAtLeast(named),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENT: [&str; 3] = ["svc/a@1", "svc/b@2", "svc/c@3"];

    fn read_sent(text: &str) -> Refusal {
        read(text, |name| SENT.contains(&name).then(|| Arc::from(name)))
    }

    fn set(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|&name| Arc::from(name)).collect()
    }

    #[test]
    fn refusals() {
        for (text, expected) in [
            ("svc/a@1: Invalid path: /ca.pem", Refusal::These(set(&["svc/a@1"]))),
            (
                "svc/a@1: Invalid path: /ca.pem, svc/c@3: no, really: not",
                Refusal::These(set(&["svc/a@1", "svc/c@3"])),
            ),
            // A name within a reason is not a name of the list.
            ("svc/a@1: unlike 'svc/b@2: x'", Refusal::These(set(&["svc/a@1"]))),
            ("svc/a@1: unlike svc/b@2: x", Refusal::These(set(&["svc/a@1"]))),
            ("svc/a@1: x, svc/other@9: y", Refusal::These(set(&["svc/a@1"]))),
            ("svc/a@1: x, svc/b...(truncated)", Refusal::TheseAtLeast(set(&["svc/a@1"]))),
            ("svc/a@1: x, svc/b@2: Inv...(truncated)", {
                Refusal::TheseAtLeast(set(&["svc/a@1", "svc/b@2"]))
            }),
            ("svc/other@9: y", Refusal::Whole),
            ("", Refusal::Whole),
        ] {
            assert_eq!(read_sent(&format!("{BEGINNING}{text}")), expected, "{text}");
        }
        for text in ["", "svc/a@1: x", "Proto constraint validation failed (svc/a@1: x)"] {
            assert_eq!(read_sent(text), Refusal::Whole, "{text}");
        }
    }

    proptest! {
        /// Whatever stands in the text, only what was sent is named.
        #[test]
        fn only_what_was_sent_is_named(text in "(svc/|[abc]|@[123]|: |, |x|é){0,40}") {
            match read_sent(&format!("{BEGINNING}{text}")) {
                Refusal::These(named) | Refusal::TheseAtLeast(named) => {
                    prop_assert!(named.iter().all(|name| SENT.contains(&&**name)));
                }
                Refusal::Whole => {}
            }
        }
    }
}
