use super::*;
use crate::policy::secrets::tests::helpers::write;
use std::fs;
use tempfile::TempDir;

/// What each attempt reads, where the file grows after each of the first `edits` attempts.
fn attempts(edits: usize) -> (io::Result<Contents>, usize) {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("secret");
    write(&path, "v");
    let mut attempts = 0;
    let outcome = settled(&path, |file, bytes| {
        file.read_to_end(bytes)?;
        attempts += 1;
        if attempts <= edits { fs::write(&path, "v".repeat(attempts + 1)) } else { Ok(()) }
    });
    (outcome, attempts)
}

#[test]
fn what_changes_while_it_is_read_is_read_again() {
    for (edits, expected) in [(0, "v"), (1, "vv"), (2, "vvv")] {
        let (outcome, attempts) = attempts(edits);
        assert_eq!(**outcome.expect("settled").bytes, *expected.as_bytes(), "{edits} edits");
        assert_eq!(attempts, edits + 1);
    }
    let (outcome, attempts) = attempts(3);
    let error = outcome.map_or_else(|error| error.to_string(), |_| "a mixture".to_owned());
    assert_eq!((error.as_str(), attempts), ("went on changing while it was read", 3));
}

#[test]
fn a_file_is_read_once_more_after_a_good_read_and_until_one_succeeds() {
    let at = |seconds| Now { unix: Duration::ZERO, monotonic: Duration::from_secs(seconds) };
    let (grace, seconds) = (Duration::from_mins(5), Duration::from_secs);
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("secret");
    write(&path, "one");
    let mut file = Watched::new(&path, at(10));
    assert_eq!(
        file.due(grace, seconds(10)),
        Some(seconds(12)),
        "the same stamp may be another edit"
    );
    file.refresh(&path, at(11));
    assert_eq!(file.due(grace, seconds(11)), Some(seconds(12)), "not yet");
    file.refresh(&path, at(12));
    assert_eq!(file.due(grace, seconds(12)), None, "settled");
    fs::remove_file(&path).expect("removed");
    file.refresh(&path, at(20));
    assert_eq!(file.due(grace, seconds(20)), Some(seconds(22)));
    file.refresh(&path, at(319));
    assert_eq!(file.due(grace, seconds(319)), Some(seconds(320)), "the grace ends before");
    file.refresh(&path, at(320));
    assert_eq!(file.due(grace, seconds(320)), Some(seconds(321)), "it has ended");
    write(&path, "two");
    file.refresh(&path, at(321));
    file.refresh(&path, at(323));
    assert_eq!(file.due(grace, seconds(323)), None);
}
