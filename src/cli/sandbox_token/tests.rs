use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::*;

const FILE: &str = r#"{
  "_comment": "kept",
  "egress_config": {"sandbox_identity":["token"] ,  "_odd": 1e1},
  "egress_policies": {
    "_comment": "no policy", "default": { "allowed_services": [] },
    "standard":{"allowed_services":["openai"]}
  },
  "sandbox_policies": { "_warning": "legacy", "old-1": "standard",   "old-2": "default" },
  "sandboxes": {

    "agent": { "policy": "standard", "_note": "odd \u0041 spelling",
      "tokens": [
        { "id": "t1", "sha256": "aa", "enabled": true, "expires_at": "2020-01-01T00:00:00Z" },
        {"id":"t9","sha256":"canary-digest", "description": "spare"}
      ] },
    "bare": {}
  },
  "egress_credentials": { "openai": { "type": "bearer", "token": "canary-value" } }
}
"#;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug)]
struct Outcome {
    result: Result<(), Error>,
    stdout: String,
    stderr: String,
}

fn sandbox_token(args: &[&str]) -> Outcome {
    let args = ["sandbox-token"].iter().chain(args);
    let command = Cli::try_parse_from(args).map_err(|e| e.to_string()).expect("arguments").command;
    let (mut stdin, mut stdout, mut stderr) = (&b""[..], Vec::new(), Vec::new());
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

    fn file(&self) -> PathBuf {
        self.0.path().join("egress_config.json")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).expect("reads")
    }

    fn json(&self) -> Value {
        parsed(&self.text())
    }

    /// Runs a command on this policy.
    fn run(&self, args: &[&str]) -> Outcome {
        let directory = self.0.path().to_str().expect("UTF-8");
        sandbox_token(&[args, &["--policy", directory]].concat())
    }

    /// The same, for a command that must succeed. Returns what it said.
    fn does(&self, args: &[&str]) -> Outcome {
        let outcome = self.run(args);
        assert!(outcome.result.is_ok(), "{args:?}: {outcome:?}");
        assert!(!outcome.stderr.contains("canary"), "{outcome:?}");
        outcome
    }

    fn refuses(&self, args: &[&str], word: &str) {
        let before = self.text();
        let outcome = self.run(args);
        let error = outcome.result.expect_err(word).to_string();
        assert!(error.contains(word), "{args:?}: {error} in {before}");
        assert!(!error.contains("canary"), "{error}");
        assert_eq!(outcome.stdout, "");
        assert_eq!(self.text(), before);
        assert_eq!(fs::read_dir(self.0.path()).expect("lists").count(), 1, "no leftovers");
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn a_new_token_is_shown_once_beside_the_entry_that_knows_its_hash() {
    let args = ["new", "--sandbox", "a", "--tier", "gold", "--expires-at", "2999-01-31T00:00:00Z"];
    let outcome = sandbox_token(&[&args[..], &["--description", "for \"A\"\n"]].concat());
    outcome.result.expect("makes a token");
    let (token, entry) = outcome.stdout.split_once("\n\n").expect("a token and an entry");
    let random = token.strip_prefix("gp_sbx_").expect("the prefix");
    assert_eq!(BASE64URL_NOPAD.decode(random.as_bytes()).expect("base64url").len(), 32);
    let expected = json!({ "a": { "policy": "gold", "tokens": [{
        "id": "t1", "sha256": sha256(token.as_bytes()), "expires_at": "2999-01-31T00:00:00Z",
        "description": "for \"A\"\n",
    }] } });
    assert_eq!(parsed(entry), expected);
    assert!(!outcome.stderr.contains(random), "{}", outcome.stderr);
    assert_ne!(sandbox_token(&args).stdout, sandbox_token(&args).stdout, "each is another one");
}

#[test]
fn arguments_that_no_header_or_calendar_knows_are_refused() {
    for args in [
        &["new", "--id", "without-a-sandbox"][..],
        &["new", "--sandbox", ""],
        &["new", "--sandbox", "a b"],
        &["new", "--sandbox", "_comment"],
        &["new", "--sandbox", "$schema"],
        &["new", "--sandbox=a", "--id=ä"],
        &["new", "--sandbox=a", "--expires-at=2020-01-01T00:00:00Z"],
        &["new", "--sandbox=a", "--expires-at=2999-02-30T00:00:00Z"],
        &["new", "--sandbox=a", "--expires-in=30"],
        &["new", "--sandbox=a", "--expires-in=0d"],
        &["new", "--sandbox=a", "--expires-in=1d", "--expires-at=2999-01-01T00:00:00Z"],
        &["revoke", "--sandbox=a", "--policy=p"],
        &["revoke", "--sandbox=a", "--policy=p", "t1", "--all"],
        &["revoke", "t1", "--policy=p"],
    ] {
        assert!(Cli::try_parse_from(["x"].iter().chain(args)).is_err(), "{args:?}");
    }
}

#[test]
fn a_new_token_in_the_file_changes_nothing_else() {
    let policy = Policy::with(FILE);
    let outcome = policy.does(&["new", "--sandbox", "agent", "--expires-in", "30d"]);
    let token = outcome.stdout.trim_end();
    let text = policy.text();
    assert!(!text.contains(token), "only the hash is written");
    let added = parsed(&text)["sandboxes"]["agent"]["tokens"][2].clone();
    assert_eq!(added["id"], "t10", "after the highest");
    assert_eq!(added["sha256"], sha256(token.as_bytes()));
    let (head, tail) = FILE.split_once("\"spare\"}").expect("the last entry");
    let rest = text.strip_prefix(&format!("{head}\"spare\"}},\n        {{\n"));
    assert!(rest.is_some_and(|rest| rest.ends_with(tail)), "{text}");
    assert!(!outcome.stderr.contains("never expires"), "{}", outcome.stderr);
}

/// Each row: the sandbox, what else is asked, what the file then says of it, what is said on stderr.
#[test]
fn a_sandbox_is_made_or_moved_where_it_must() {
    for (sandbox, more, tier, said) in [
        ("fresh", &["--tier", "standard"][..], json!("standard"), "sandbox fresh is new"),
        ("fresh", &[], json!(null), "sandbox fresh is new"),
        ("bare", &[], json!(null), "as t1 of bare"),
        ("bare", &["--tier", "default"], json!(null), "as t1 of bare"),
        (
            "old-1",
            &[],
            json!("standard"),
            "from \"sandbox_policies\" to \"sandboxes\", with its tier standard",
        ),
        ("old-2", &["--tier", "default"], json!("default"), "with its tier default"),
    ] {
        let policy = Policy::with(FILE);
        let outcome = policy.does(&[&["new", "--sandbox", sandbox, "--id", "t1"], more].concat());
        assert!(outcome.stderr.contains(said), "{sandbox}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("It never expires"), "{}", outcome.stderr);
        let mut expected = parsed(FILE);
        expected["sandbox_policies"].as_object_mut().unwrap().remove(sandbox);
        let hash = sha256(outcome.stdout.trim_end().as_bytes());
        let mut entry = json!({ "tokens": [{ "id": "t1", "sha256": hash }] });
        if !tier.is_null() {
            entry["policy"] = tier;
        }
        expected["sandboxes"][sandbox] = entry;
        assert_eq!(policy.json(), expected, "{sandbox}");
    }
}

#[test]
fn a_file_without_sandboxes_gets_its_first() {
    for text in [
        r#"{"egress_policies":{"default":{}}}"#,
        "{\n  \"egress_policies\": { \"default\": {} },\n  \"sandboxes\": {}\n}\n",
        r#"{ "egress_policies": { "default": {} }, "sandbox_policies": { "a": "default" } }"#,
    ] {
        let policy = Policy::with(text);
        policy.does(&["new", "--sandbox", "a"]);
        assert_eq!(policy.json()["sandboxes"]["a"]["tokens"][0]["id"], "t1", "{text}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_and_the_file_stays() {
    let policy = Policy::with(FILE);
    for (args, word) in [
        (&["new", "--sandbox", "agent", "--id", "t1"][..], "already (taken: t1, t9)"),
        (&["new", "--sandbox", "agent", "--tier", "default"], "has the tier \"standard\""),
        (&["new", "--sandbox", "bare", "--tier", "standard"], "has the tier \"default\""),
        (&["new", "--sandbox", "old-1", "--tier", "default"], "has the tier \"standard\""),
        (&["new", "--sandbox", "x", "--tier", "gold"], "(there are: default, standard)"),
        (&["new", "--sandbox", "gp_sbx_canary"], "that is a token"),
        (&["new", "--sandbox", "x", "--id", "gp_sbx_canary"], "that is a token"),
        (
            &["revoke", "--sandbox", "nobody", "t1"],
            "no sandbox \"nobody\" in \"sandboxes\" (there are: agent, bare)",
        ),
        (&["revoke", "--sandbox", "old-1", "t1"], "has no tokens"),
        (&["revoke", "--sandbox", "bare", "--all"], "has no tokens"),
        (
            &["revoke", "--sandbox", "agent", "t2"],
            "no token with the id \"t2\" (there are: t1, t9)",
        ),
        (&["revoke", "--sandbox", "agent", "gp_sbx_canary"], "that is a token"),
    ] {
        policy.refuses(args, word);
    }
    let both = r#"{"sandboxes": {"a": {}}, "sandbox_policies": {"a": "default"}}"#;
    Policy::with(both).refuses(&["new", "--sandbox", "a"], "stands in \"sandboxes\" and in");
    Policy::with("{}").refuses(
        &["new", "--sandbox", "a"],
        "\"default\" in \"egress_policies\" (there are: none)",
    );
    for (sandbox, word) in [
        ("[]", "sandboxes.a: expected object"),
        (r#"{"tokens": {}}"#, "sandboxes.a.tokens: expected array"),
        (r#"{"tokens": ["canary"]}"#, "sandboxes.a.tokens[0]: expected object"),
        (r#"{"tokens": [{"sha256": "canary"}]}"#, "sandboxes.a.tokens[0]: has no \"id\""),
        (r#"{"tokens": [{"id": 7}]}"#, "sandboxes.a.tokens[0].id: expected string"),
        (r#"{"tokens": [], "tokens": []}"#, "sandboxes.a has \"tokens\" twice"),
    ] {
        let policy = Policy::with(&format!(
            r#"{{"egress_policies": {{"default": {{}}}}, "sandboxes": {{"a": {sandbox}}}}}"#
        ));
        policy.refuses(&["new", "--sandbox", "a"], word);
        policy.refuses(&["revoke", "--sandbox", "a", "t1"], word);
        policy.refuses(&["list"], word);
    }
    for (text, word) in [
        ("", "not valid JSON: EOF"),
        ("[]", "expected an object"),
        ("{\"sandboxes\": {} // no\n}", ":1:18: not valid JSON"),
        ("{\"sandboxes\": {\"canary\": {},}}", ":1:"),
    ] {
        Policy::with(text).refuses(&["new", "--sandbox", "a"], word);
    }
    let twice = r#"{"sandboxes": {"a": {"tokens": [{"id": "t"}, {"id": "t"}]}}}"#;
    Policy::with(twice).refuses(&["revoke", "--sandbox", "a", "t"], "more than one token");
    let odd = r#"{"sandboxes": {"a": {"tokens": [{"id": "t", "expires_at": "canary"}]}}}"#;
    Policy::with(odd).refuses(&["list"], "tokens[0].expires_at: expected a moment");
    let outcome = sandbox_token(&["list", "--policy", "/nonexistent"]);
    let error = outcome.result.expect_err("nothing there").to_string();
    assert!(error.contains("/nonexistent/egress_config.json"), "{error}");
}

#[test]
fn revoking_changes_one_word() {
    let policy = Policy::with(FILE);
    let outcome = policy.does(&["revoke", "--sandbox", "agent", "t1"]);
    assert_eq!(outcome.stderr, "t1 of agent is revoked.\n");
    assert_eq!(policy.text(), FILE.replace("\"enabled\": true", "\"enabled\": false"));
    let once = policy.text();
    let outcome = policy.does(&["revoke", "--sandbox", "agent", "t1"]);
    assert_eq!(outcome.stderr, "t1 of agent was revoked already.\n");
    assert_eq!(policy.text(), once);
}

#[test]
fn revoking_all_reaches_every_token() {
    let policy = Policy::with(FILE);
    policy.does(&["revoke", "--sandbox", "agent", "t1"]);
    let outcome = policy.does(&["revoke", "--sandbox", "agent", "--all"]);
    assert_eq!(outcome.stderr, "t1 of agent was revoked already.\nt9 of agent is revoked.\n");
    let mut expected = parsed(FILE);
    for token in 0..2 {
        expected["sandboxes"]["agent"]["tokens"][token]["enabled"] = false.into();
    }
    assert_eq!(policy.json(), expected);
}

#[test]
fn edits_at_the_same_time_are_all_kept() {
    let policy = Policy::with(FILE);
    std::thread::scope(|scope| {
        for sandbox in ["agent", "agent", "agent", "old-1", "old-1", "x", "x", "y"] {
            let policy = &policy;
            scope.spawn(move || policy.does(&["new", "--sandbox", sandbox]));
        }
    });
    let json = policy.json();
    for (sandbox, ids) in [
        ("agent", &["t1", "t9", "t10", "t11", "t12"][..]),
        ("old-1", &["t1", "t2"]),
        ("x", &["t1", "t2"]),
        ("y", &["t1"]),
    ] {
        let tokens = json["sandboxes"][sandbox]["tokens"].as_array().expect("tokens");
        assert_eq!(tokens.iter().map(|token| &token["id"]).collect::<Vec<_>>(), ids, "{sandbox}");
    }
}

#[test]
fn a_list_shows_everything_but_the_tokens() {
    let policy = Policy::with(
        r#"{ "sandboxes": {
  "a": { "policy": "gold", "tokens": [
    { "id": "t1", "sha256": "canary" },
    { "id": "t2", "sha256": "canary", "expires_at": "2020-01-01T00:00:00Z" },
    { "id": "t3", "sha256": "canary", "expires_at": "2020-01-01T00:00:00Z", "enabled": false },
    { "id": "t4", "sha256": "canary", "not_before": "2999-01-01T00:00:00Z", "description": "later" } ] },
  "b": { "enabled": false, "tokens": [ { "id": "\u001b[31mred", "sha256": "canary" } ] } },
  "sandbox_policies": { "_c": "comment", "c": "standard" } }"#,
    );
    let text = policy.does(&["list"]).stdout;
    let expected = "\
SANDBOX  TIER      TOKEN          STATE             EXPIRES
a        gold      t1             good              -
a        gold      t2             expired           2020-01-01T00:00:00Z
a        gold      t3             revoked           2020-01-01T00:00:00Z
a        gold      t4             not yet           -
b        default   \\u{1b}[31mred  sandbox disabled  -
c        standard  -              -                 -
";
    assert_eq!(text, expected);
    let json = parsed(&policy.does(&["list", "--format", "json"]).stdout);
    assert_eq!(
        json[0]["tokens"][3],
        json!({
            "id": "t4", "state": "not_yet", "not_before": "2999-01-01T00:00:00Z", "expires_at": null,
            "description": "later",
        })
    );
    assert_eq!(json[1]["tokens"][0]["state"], "sandbox_disabled");
    assert_eq!(
        json[2],
        json!({ "sandbox": "c", "tier": "standard", "enabled": true, "tokens": [] })
    );
    assert!(!json.to_string().contains("canary"));
}

/// Good from `not_before` on, until just before `expires_at`: as where requests are decided.
#[test]
fn a_state_changes_on_the_second() {
    let policy = Policy::with(
        r#"{ "sandboxes": { "a": { "tokens": [ { "id": "t", "not_before": "1970-01-01T00:00:10Z",
             "expires_at": "1970-01-01T00:00:20Z" } ] } } }"#,
    );
    let file = PolicyFile::open(policy.0.path(), EGRESS).expect("opens");
    for (second, state) in [(9, "not_yet"), (10, "good"), (19, "good"), (20, "expired")] {
        let now = Now { unix: Duration::from_secs(second), monotonic: Duration::ZERO };
        let json = pretty(table::json(table::sandboxes(&file, now).expect("reads")));
        assert_eq!(parsed(&json)[0]["tokens"][0]["state"], state, "{second}");
    }
}
