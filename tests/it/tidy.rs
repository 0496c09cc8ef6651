//! The rules of the house, held against the sources.
//!
//! Each rule is a function from sources to complaints, so that it can be shown to complain.

mod rules;
mod source;
mod tests;

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use self::source::{Source, is_rust, sources};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[track_caller]
fn holds(rule: impl Fn(&[Source]) -> Vec<String>) {
    let sources = sources(Path::new(ROOT));
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "these are not our sources");
    none(&rule(&sources));
}

#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn modules_import_only_what_stands_above_them() {
    holds(rules::dependency_order);
}

#[test]
fn only_raw_modules_know_serde() {
    holds(rules::serde_at_the_border);
}

#[test]
fn check_requests_are_read_and_responses_written_in_one_place_each() {
    holds(rules::wire_in_its_place);
}

#[test]
fn permits_and_admissions_are_made_in_one_place_each() {
    holds(rules::proofs_in_their_place);
}

#[test]
fn files_say_what_they_are_for_and_stay_short() {
    holds(rules::file_shape);
}

#[test]
fn policy_code_never_turns_an_error_into_absence() {
    holds(rules::no_error_into_absence);
}

#[test]
fn nothing_is_left_for_later() {
    let mut complaints = Vec::new();
    for path in tracked().iter().filter(|path| is_rust(path)) {
        complaints.extend(rules::leftovers(path, &read(path)));
    }
    none(&complaints);
}

/// What names a directory of one machine works on that machine alone.
#[test]
fn no_file_names_a_path_of_the_machine_it_was_written_on() {
    // Put together here, so that this file does not find itself.
    let mut needles: Vec<String> =
        ["work", "tmp", "root", "home"].iter().map(|name| format!("/{name}/")).collect();
    needles.push(ROOT.to_owned());
    let mut complaints = Vec::new();
    for path in tracked() {
        complaints.extend(rules::machine_paths(&path, &read(&path), &needles));
    }
    none(&complaints);
}

/// The files that git tracks; none where there is no repository, as in an unpacked archive.
fn tracked() -> Vec<String> {
    if !Path::new(ROOT).join(".git").exists() {
        return Vec::new();
    }
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(ROOT).output();
    let listed = listed.expect("git runs");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    let names = listed.split_terminator('\0').map(str::to_owned);
    // What is deleted and not yet committed is still listed.
    names.filter(|name| Path::new(ROOT).join(name).is_file()).collect()
}

fn read(path: &str) -> String {
    let bytes = fs::read(Path::new(ROOT).join(path)).expect("readable");
    String::from_utf8_lossy(&bytes).into_owned()
}
