use super::*;
use std::os::unix::fs::symlink;
use std::process::Command;
use tempfile::TempDir;

mod egress;

fn read(contents: &str) -> Result<Files, Error> {
    let dir = TempDir::new().expect("a directory");
    fs::write(dir.path().join(GATEWAY), contents).expect("writable");
    Files::read(dir.path())
}

fn compile(files: &Files, generation: u64) -> Result<Snapshot, Error> {
    files.compile(Strictness::Production, generation, &mut Store::live("."), Now::read())
}

#[test]
fn what_cannot_be_read_is_an_error_and_what_is_not_there_is_nothing() {
    type Make = fn(&Path);
    let cases: [(&str, Make, &str); 10] = [
        ("no file", |_| {}, ""),
        ("a link to nowhere", |at| symlink("nowhere", at).expect("linked"), ""),
        ("no bytes", |at| fs::write(at, "").expect("written"), "is empty"),
        ("blanks", |at| fs::write(at, " \n\t\r\n").expect("written"), "is empty"),
        ("a directory", |at| fs::create_dir(at).expect("made"), "expected a regular file"),
        ("a device", |at| symlink("/dev/zero", at).expect("linked"), "expected a regular file"),
        (
            // Reading it would wait for a writer for ever.
            "a named pipe",
            |at| assert!(Command::new("mkfifo").arg(at).status().expect("runs").success()),
            "expected a regular file",
        ),
        ("a link to itself", |at| symlink(GATEWAY, at).expect("linked"), "symbolic links"),
        (
            "too large",
            |at| File::create(at).expect("made").set_len(MAX_FILE_BYTES + 1).expect("sparse"),
            "is larger than 536870912 bytes",
        ),
        (
            "a file for a directory",
            |at| {
                let directory = at.parent().expect("a parent");
                fs::remove_dir(directory).expect("removed");
                fs::write(directory, "").expect("written");
            },
            "not a directory",
        ),
    ];
    for (name, make, wanted) in cases {
        let dir = TempDir::new().expect("a directory");
        let directory = dir.path().join("policy");
        fs::create_dir(&directory).expect("made");
        make(&directory.join(GATEWAY));
        match Files::read(&directory) {
            Ok(files) => {
                assert!(!files.has_gateway() && wanted.is_empty(), "{name}: a file");
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(wanted) && !wanted.is_empty(), "{name}: {error}");
                assert!(error.contains(&*directory.to_string_lossy()), "{name}: {error}");
            }
        }
    }
}

#[test]
fn a_revision_is_of_the_contents_alone() {
    let revision = |contents| read(contents).expect("readable").revision().clone();
    assert_eq!(revision("{}"), revision("{}"), "two directories");
    assert_ne!(revision("{}"), revision("{} "));
    assert_eq!(revision("{}").0.len(), 64);
    let nothing = TempDir::new().expect("a directory");
    let nothing = Files::read(nothing.path()).expect("readable");
    assert_ne!(*nothing.revision(), revision("{}"));
    let snapshot = compile(&nothing, 7).expect("nothing is wrong");
    assert!(snapshot.gateway.is_none());
    assert_eq!((&snapshot.revision, snapshot.generation), (nothing.revision(), 7));
}

#[test]
fn a_revision_read_piece_by_piece_is_the_same() {
    let dir = TempDir::new().expect("a directory");
    let both = || {
        let whole = Files::read(dir.path()).expect("readable").revision().clone();
        (Files::revision_in(dir.path()).expect("readable"), whole)
    };
    let (pieces, nothing) = both();
    assert_eq!(pieces, nothing, "no file");
    for length in [1, 65_535, 65_536, 200_001] {
        fs::write(dir.path().join(GATEWAY), "{".repeat(length)).expect("written");
        let (pieces, whole) = both();
        assert_eq!(pieces, whole, "{length} bytes");
        assert_ne!(whole, nothing);
    }
}

/// The fast pass, and on failure the second one: both must agree on whether there is a mistake.
#[test]
fn mistakes_of_shape_and_of_sense_are_told_together() {
    for (contents, wanted) in [
        (r#"{"rate_limit_tiers": {"t": {}}}"#, &[][..]),
        (r#"{"rate_limit_tiers": {"t": {"requests_per_minute": -2}}}"#, &["requests_per_minute"]),
        (
            r#"{"rate_limit_tiers": {"t": {"requests_per_minute": -2, "colour": 1}}, "rules": 7}"#,
            &["requests_per_minute", "colour", "rules"],
        ),
        ("{", &["1:"]),
        ("[]", &["1:1"]),
    ] {
        let outcome = compile(&read(contents).expect("readable"), 1);
        match outcome {
            Ok(snapshot) => assert!(wanted.is_empty() && snapshot.gateway.is_some(), "{contents}"),
            Err(error) => {
                let error = error.to_string();
                assert_eq!(error.lines().count(), wanted.len(), "{contents}: {error}");
                for part in wanted {
                    let line = error.lines().find(|line| line.contains(part));
                    let line = line.unwrap_or_else(|| panic!("{part} in {error}"));
                    assert!(line.starts_with("gateway_config.json:1:"), "{line}");
                }
            }
        }
    }
}
