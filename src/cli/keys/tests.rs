use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use clap::Parser;
use data_encoding::BASE64URL_NOPAD;

use super::*;

const FILE: &str = r#"{
  "$schema": "kept",
  "_comment": "kept too",
  "api_keys": [

    { "id": "first",   "key": "canary-plain-key-value-0001", "enabled": true,
      "role": "admin", "rate_limit_tier": "unlimited" },
    {"id":"second","keys":[{"key_sha256":"aa","expires_at":"2026-01-01T00:00:00Z"},{"key":"canary-2"}],
     "_note": "odd \u0041 spelling", "expires_at": "2027-01-01T00:00:00Z", "tenant": "acme"}
  ],
  "rate_limit_tiers": { "default": { "requests_per_minute": 6e1 }, "unlimited": {} }
}
"#;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

struct Outcome {
    result: Result<(), Error>,
    stdout: String,
    stderr: String,
}

fn keys(stdin: &[u8], args: &[&str]) -> Outcome {
    let args = ["keys"].iter().chain(args);
    let command = Cli::try_parse_from(args).map_err(|e| e.to_string()).expect("arguments").command;
    let (mut stdin, mut stdout, mut stderr) = (stdin, Vec::new(), Vec::new());
    let mut streams = Streams { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr };
    let result = run(&command, &mut streams);
    Outcome {
        result,
        stdout: String::from_utf8(stdout).expect("UTF-8"),
        stderr: String::from_utf8(stderr).expect("UTF-8"),
    }
}

struct Policy(tempfile::TempDir);

impl Policy {
    fn with(text: &str) -> Self {
        let policy = Self(tempfile::tempdir().expect("temporary directory"));
        fs::write(policy.file(), text).expect("writes");
        policy
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("gateway_config.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).expect("reads")
    }

    /// Runs a command on this policy.
    fn keys(&self, args: &[&str]) -> Outcome {
        let directory = self.0.path().to_str().expect("UTF-8");
        keys(b"", &[args, &["--policy", directory]].concat())
    }

    fn refuses(&self, args: &[&str], word: &str) {
        let before = self.text();
        let outcome = self.keys(args);
        let error = outcome.result.expect_err(word).to_string();
        assert!(error.contains(word), "{error} in {before}");
        assert!(!error.contains("canary"), "{error}");
        assert_eq!(outcome.stdout, "");
        assert_eq!(self.text(), before);
        assert_eq!(fs::read_dir(self.0.path()).expect("lists").count(), 1, "no leftovers");
    }
}

fn parsed(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_new_key_is_shown_once_beside_the_entry_that_knows_its_hash() {
    let args = ["new", "--id", "a", "--role", "r", "--tier", "t", "--tenant", "x"];
    let more = ["--scope", "s:1", "--scope", "s:2", "--expires-at", "2027-01-31T00:00:00Z"];
    let last = ["--description", "for \"A\"\n"];
    let outcome = keys(b"", &[&args[..], &more, &last].concat());
    outcome.result.expect("makes a key");
    let (key, entry) = outcome.stdout.split_once("\n\n").expect("a key and an entry");
    let random = key.strip_prefix("gp_key_").expect("the prefix");
    assert_eq!(BASE64URL_NOPAD.decode(random.as_bytes()).expect("base64url").len(), 32);
    let expected = serde_json::json!({
        "id": "a", "key_sha256": sha256(key.as_bytes()), "enabled": true, "role": "r",
        "rate_limit_tier": "t", "tenant": "x", "expires_at": "2027-01-31T00:00:00Z",
        "description": "for \"A\"\n", "scopes": ["s:1", "s:2"],
    });
    assert_eq!(parsed(entry), expected);
    assert!(!outcome.stderr.contains(random), "{}", outcome.stderr);
    assert_ne!(keys(b"", &args).stdout, keys(b"", &args).stdout, "every key is another one");
}

#[test]
fn arguments_that_no_header_or_calendar_knows_are_refused() {
    for args in [
        ["new", "--id", ""],
        ["new", "--id", "a b"],
        ["new", "--id", "a\n"],
        ["new", "--id", "ä"],
        ["new", "--id=a", "--expires-at=2027-01-31"],
        ["new", "--id=a", "--expires-at=2027-02-30T00:00:00Z"],
        ["new", "--role", "without-an-id"],
        ["hash", "gp_key_never", "as-an-argument"],
    ] {
        assert!(Cli::try_parse_from(["keys"].iter().chain(&args)).is_err(), "{args:?}");
    }
}

#[test]
fn a_new_key_in_the_file_changes_nothing_else() {
    let policy = Policy::with(FILE);
    let outcome = policy.keys(&["new", "--id", "third", "--tier", "default"]);
    outcome.result.expect("adds it");
    let key = outcome.stdout.trim_end();
    let text = policy.text();
    assert!(!text.contains(key), "only the hash is written");
    let added = parsed(&text)["api_keys"][2].clone();
    assert_eq!(added["key_sha256"], sha256(key.as_bytes()));
    let (head, tail) = FILE.split_once("\"acme\"}").expect("the last entry");
    let (head, gap) = (head.replace("[\n\n", "[\n"), "\"acme\"}");
    let rest = text.strip_prefix(&format!("{head}{gap},\n    {{\n      \"id\": \"third\""));
    assert!(rest.is_some_and(|rest| rest.ends_with(tail)), "{text}");
}

#[test]
fn a_file_without_keys_gets_its_first() {
    for text in ["{}", "{\"api_keys\": []}", "{ \"rules\": [1, 2] }\n"] {
        let policy = Policy::with(text);
        policy.keys(&["new", "--id", "first"]).result.expect("adds it");
        assert_eq!(parsed(&policy.text())["api_keys"][0]["id"], "first", "{text}");
    }
}

#[test]
fn revoking_changes_one_word() {
    let policy = Policy::with(FILE);
    policy.keys(&["revoke", "first"]).result.expect("revokes");
    assert_eq!(policy.text(), FILE.replace("\"enabled\": true", "\"enabled\": false"));
    let once = policy.text();
    let inode = fs::metadata(policy.file()).expect("is there").ino();
    policy.keys(&["revoke", "first"]).result.expect("is no error");
    assert_eq!(policy.text(), once);
    assert_eq!(fs::metadata(policy.file()).expect("is there").ino(), inode, "not even rewritten");
}

#[test]
fn revoking_a_key_that_does_not_say_whether_it_is_enabled() {
    let policy = Policy::with(FILE);
    policy.keys(&["revoke", "second"]).result.expect("revokes");
    let mut expected = parsed(FILE);
    expected["api_keys"][1]["enabled"] = false.into();
    assert_eq!(parsed(&policy.text()), expected);
}

#[test]
fn what_cannot_be_done_is_refused_and_the_file_stays() {
    let policy = Policy::with(FILE);
    policy.refuses(&["revoke", "nobody"], "no key with the id \"nobody\"");
    policy.refuses(&["new", "--id", "first"], "already");
    policy.refuses(&["new", "--id", "x", "--tier", "gold"], "no tier \"gold\"");
    for (text, word) in [
        ("", "not valid JSON: EOF while parsing a value"),
        ("[]", "expected an object"),
        ("{\"api_keys\": [{\"id\": \"first\", \"key\": \"canary\",}]}", ":1:"),
        ("{\"api_keys\": [\n{\"id\": \"first\" \"key\": \"canary\"}]}", ":2:"),
        ("{\"api_keys\": [{'id': 'first'}]}", ":1:16: not valid JSON: key must be a string"),
        ("{\"api_keys\": [] // no\n}", ":1:17: not valid JSON: expected `,` or `}`"),
        ("{\"api_keys\": \"\u{1}\"}", ":1:15: not valid JSON: control character"),
        ("{\"api_keys\": {}}", "api_keys: expected array"),
        ("{\"api_keys\": [\"canary\"]}", "api_keys[0]: expected object"),
        ("{\"api_keys\": [{\"id\": 1}]}", "api_keys[0].id: expected string"),
        ("{\"api_keys\": [], \"api_keys\": []}", "\"api_keys\" twice"),
        ("{\"api_keys\": [{\"id\": \"a\", \"id\": \"first\"}]}", "\"id\" twice"),
    ] {
        let policy = Policy::with(text);
        policy.refuses(&["revoke", "first"], word);
        policy.refuses(&["new", "--id", "x"], word);
        policy.refuses(&["list"], word);
    }
    for (text, word) in [
        ("{\"api_keys\": [{\"id\": \"a\"}, {\"id\": \"\\u0061\"}]}", "more than one"),
        ("{\"api_keys\": [{\"id\": \"a\", \"enabled\": \"yes\"}]}", "enabled: expected boolean"),
    ] {
        Policy::with(text).refuses(&["revoke", "a"], word);
    }
}

#[test]
fn mode_and_symbolic_links_survive_an_edit() {
    let policy = Policy::with(FILE);
    fs::set_permissions(policy.file(), fs::Permissions::from_mode(0o640)).expect("sets");
    let links = tempfile::tempdir().expect("temporary directory");
    let link = links.path().join("gateway_config.json");
    symlink(policy.file(), &link).expect("links");
    let directory = links.path().to_str().expect("UTF-8");
    keys(b"", &["revoke", "first", "--policy", directory]).result.expect("revokes");
    assert!(fs::symlink_metadata(&link).expect("is there").is_symlink());
    assert!(policy.text().contains("\"enabled\": false"));
    assert_eq!(fs::metadata(policy.file()).expect("is there").mode() & 0o7777, 0o640);
}

#[test]
fn edits_at_the_same_time_are_all_kept() {
    let policy = Policy::with("{}");
    std::thread::scope(|scope| {
        for id in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let policy = &policy;
            scope.spawn(move || policy.keys(&["new", "--id", id]).result.expect("adds it"));
        }
    });
    assert_eq!(parsed(&policy.text())["api_keys"].as_array().map(Vec::len), Some(8));
}

#[test]
fn a_list_shows_everything_but_the_keys() {
    let policy = Policy::with(FILE);
    let text = policy.keys(&["list"]).stdout;
    let expected = "\
ID      ENABLED  ROLE   TIER       TENANT  EXPIRES               SLOTS
first   yes      admin  unlimited  -       -                     plain
second  -        -      -          acme    2027-01-01T00:00:00Z  sha256,plain
";
    assert_eq!(text, expected);
    let json = parsed(&policy.keys(&["list", "--format", "json"]).stdout);
    let expected = serde_json::json!([
        { "id": "first", "enabled": true, "role": "admin", "rate_limit_tier": "unlimited",
          "tenant": null, "expires_at": null, "slots": ["plain"] },
        { "id": "second", "enabled": null, "role": null, "rate_limit_tier": null,
          "tenant": "acme", "expires_at": "2027-01-01T00:00:00Z", "slots": ["sha256", "plain"] },
    ]);
    assert_eq!(json, expected);
    let nasty = Policy::with("{\"api_keys\": [{\"id\": \"\\u001b[31mred\"}]}");
    assert!(!nasty.keys(&["list"]).stdout.contains('\u{1b}'));
}

#[test]
fn a_key_is_hashed_as_it_would_arrive() {
    let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";
    for input in ["abc", "abc\n", "abc\r\n"] {
        let outcome = keys(input.as_bytes(), &["hash"]);
        outcome.result.expect("hashes");
        assert_eq!(outcome.stdout, of_abc, "{input:?}");
    }
    let long = "canary".repeat(10_000);
    for input in
        ["", "\n", "canary canary", "canary\n\n", " canary", "canary\0", "schlüssel", &long]
    {
        let outcome = keys(input.as_bytes(), &["hash"]);
        let error = outcome.result.expect_err(input).to_string();
        assert!(!error.contains("canary"), "{error}");
        assert_eq!(outcome.stdout, "");
    }
    let longest = "x".repeat(8192);
    for (input, fits) in [(longest.clone() + "\r\n", true), (longest + "x", false)] {
        assert_eq!(keys(input.as_bytes(), &["hash"]).result.is_ok(), fits);
    }
}

#[test]
fn a_missing_file_is_named() {
    let outcome = keys(b"", &["list", "--policy", "/nonexistent"]);
    let error = outcome.result.expect_err("nothing there").to_string();
    assert!(error.contains(&Path::new("/nonexistent/gateway_config.json").display().to_string()));
}
