use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use clap::Parser;
use rustix::process::geteuid;
use serde_json::json;

use super::*;

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

/// Runs the command in an environment of these variables.
fn secrets(environment: &[(&str, &[u8])], terminal: bool, args: &[&str]) -> Outcome {
    let args = ["secrets", "from-env"].iter().chain(args);
    let command = Cli::try_parse_from(args).map_err(|e| e.to_string()).expect("arguments").command;
    let variables: HashMap<_, _> = environment.iter().copied().collect();
    let variable = |name: &str| Some(OsStr::from_bytes(variables.get(name)?).to_owned());
    let surroundings = Surroundings { variable: &variable, terminal };
    let (mut stdin, mut stdout, mut stderr) = (&b""[..], Vec::new(), Vec::new());
    let mut streams = Streams { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr };
    let result = run(&command, &surroundings, &mut streams);
    let outcome = Outcome {
        result,
        stdout: String::from_utf8(stdout).expect("UTF-8"),
        stderr: String::from_utf8(stderr).expect("UTF-8"),
    };
    let said = format!("{}{:?}", outcome.stderr, outcome.result);
    assert!(!said.contains("canary"), "{said}");
    outcome
}

fn parsed(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

/// A directory with this `egress_config.json`.
fn policy(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("temporary directory");
    fs::write(directory.path().join(EGRESS), text).expect("writes");
    directory
}

fn path(directory: &tempfile::TempDir) -> &str {
    directory.path().to_str().expect("UTF-8")
}

/// Runs it on a policy whose `egress_credentials` are these.
fn of_credentials(credentials: &str, environment: &[(&str, &[u8])], more: &[&str]) -> Outcome {
    let policy = policy(&format!(r#"{{ "egress_credentials": {credentials} }}"#));
    let outcome =
        secrets(environment, false, &[&["--policy", path(&policy), "--out", "-"], more].concat());
    assert_eq!(fs::read_dir(policy.path()).expect("lists").count(), 1, "no leftovers");
    outcome
}

const FOUR: [(&str, &[u8]); 4] = [
    ("OPENAI_API_KEY", b"canary-1"),
    ("ANTHROPIC_API_KEY", b"canary-2"),
    ("GITHUB_TOKEN", b"canary-3"),
    ("SLACK_BOT_TOKEN", b"canary-4"),
];

#[test]
fn without_a_policy_there_are_the_original_four() {
    let outcome = secrets(&FOUR, false, &[]);
    outcome.result.expect("writes");
    assert_eq!(outcome.stderr, "");
    let expected = r#"{
  "egress_credentials": {
    "openai": {
      "type": "bearer",
      "token": "canary-1"
    },
    "anthropic": {
      "type": "api_key",
      "token": "canary-2"
    },
    "github": {
      "type": "bearer",
      "token": "canary-3"
    },
    "slack": {
      "type": "bearer",
      "token": "canary-4"
    }
  }
}
"#;
    assert_eq!(outcome.stdout, expected);
}

#[test]
fn a_policy_says_which() {
    let outcome = of_credentials(
        r#"{
  "_comment": { "source": "env:COMMENT" },
  "by-source": { "type": "bearer", "source": "env:A", "token": "${B}", "hosts": ["x"] },
  "by-token": { "type": "api_key", "header": "x", "token": "${B}" },
  "untyped": { "token": "${A}" },
  "basic": { "type": "basic", "username": "u", "password": "${B}" },
  "basic-token": { "type": "basic", "username": "u", "token": "${A}" },
  "basic-source": { "type": "basic", "username": "u", "source": "env:B" },
  "query": { "type": "query", "parameter": "key", "source": "env:A" },
  "several": { "type": "headers", "headers": { "_c": 1,
    "x-a": { "source": "env:A", "prefix": "P " }, "x-b": { "token": "${B}" },
    "x-c": { "source": "file:/c" }, "x-d": { "token": "plain" } } },
  "file": { "type": "bearer", "source": "file:/x", "token": "${A}" },
  "plain": { "type": "bearer", "token": "plain" },
  "mixed": { "type": "bearer", "token": "${A}-x" },
  "not-a-name": { "type": "bearer", "token": "${A-B}" },
  "elsewhere": { "type": "headers", "headers": { "x": { "token": "${A}x" } } },
  "nothing": {}
}"#,
        &[("A", b"canary-a"), ("B", b"canary-b")],
        &[],
    );
    assert!(outcome.result.is_ok(), "{outcome:?}");
    let expected = json!({ "egress_credentials": {
        "by-source": { "type": "bearer", "token": "canary-a" },
        "by-token": { "type": "api_key", "token": "canary-b" },
        "untyped": { "token": "canary-a" },
        "basic": { "type": "basic", "password": "canary-b" },
        "basic-token": { "type": "basic", "password": "canary-a" },
        "basic-source": { "type": "basic", "password": "canary-b" },
        "query": { "type": "query", "token": "canary-a" },
        "several": { "type": "headers", "headers": {
            "x-a": { "token": "canary-a", "prefix": "P " }, "x-b": { "token": "canary-b" },
            "x-c": { "source": "file:/c" }, "x-d": { "token": "plain" } } },
    } });
    assert_eq!(parsed(&outcome.stdout), expected);
}

#[test]
fn what_a_policy_cannot_mean_is_refused() {
    for (credentials, word) in [
        (r"{}", "there is nothing to write"),
        (r#"{ "a": { "token": "canary" } }"#, "there is nothing to write"),
        (r"[]", "egress_credentials: expected object"),
        (r#"{ "a": "canary" }"#, "egress_credentials.a: expected object"),
        (r#"{ "a": { "token": ["canary"] } }"#, "egress_credentials.a.token: expected string"),
        (r#"{ "a": { "source": "env:" } }"#, "egress_credentials.a.source: expected the name"),
        (r#"{ "a": { "source": "env:A", "source": "env:B" } }"#, "a has \"source\" twice"),
        (r#"{ "a": {}, "a": {} }"#, "egress_credentials has \"a\" twice"),
        (
            r#"{ "a": { "type": "headers", "headers": { "x": { "source": "env:A" }, "y": { "token": "canary ${A}" } } } }"#,
            "a.headers.y.token: expected one ${NAME} and nothing else",
        ),
    ] {
        let outcome = of_credentials(credentials, &[("A", b"canary")], &[]);
        let error = outcome.result.expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
        assert_eq!(outcome.stdout, "");
    }
}

/// Whatever a variable holds comes out of the file as it went in.
#[test]
fn values_survive() {
    let nasty = [
        "canary \"quoted\"",
        "canary\\n\\",
        "canary\nline\r\n",
        "cänäry ☃ 🦀",
        "${A}",
        "canary\u{0}\u{7f}",
    ];
    for value in nasty {
        let outcome =
            of_credentials(r#"{ "a": { "source": "env:A" } }"#, &[("A", value.as_bytes())], &[]);
        assert!(outcome.result.is_ok(), "{value:?}: {outcome:?}");
        assert_eq!(parsed(&outcome.stdout)["egress_credentials"]["a"]["token"], value);
    }
    let refused = of_credentials(r#"{ "a": { "source": "env:A" } }"#, &[("A", b"canary\xff")], &[]);
    let error = refused.result.expect_err("JSON has no bytes").to_string();
    assert!(error.contains("A is not UTF-8"), "{error}");
}

#[test]
fn a_value_that_no_header_can_carry_is_warned_of() {
    for (value, word) in [
        ("canary", ""),
        ("canary with\ttabs ~!", ""),
        ("canary\n", "A has white space at an end: credential \"a\" will not work"),
        (" canary", "A has white space at an end"),
        ("canäry", "A has characters that are not visible ASCII"),
        ("can\nary", "A has characters that are not visible ASCII"),
    ] {
        let outcome =
            of_credentials(r#"{ "a": { "source": "env:A" } }"#, &[("A", value.as_bytes())], &[]);
        assert!(outcome.result.is_ok(), "{value:?}: {outcome:?}");
        assert_eq!(word.is_empty(), outcome.stderr.is_empty(), "{value:?}: {outcome:?}");
        assert!(outcome.stderr.contains(word), "{value:?}: {outcome:?}");
    }
}

#[test]
fn a_missing_variable_is_named_and_nothing_is_written() {
    let credentials =
        r#"{ "a": { "source": "env:A" }, "b": { "token": "${B}" }, "c": { "token": "${C}" } }"#;
    let environment: &[(&str, &[u8])] = &[("B", b""), ("C", b"canary")];
    let outcome = of_credentials(credentials, environment, &[]);
    let error = outcome.result.expect_err("two are missing").to_string();
    assert!(error.contains("nothing is written: variables are missing"), "{error}");
    assert_eq!(outcome.stdout, "");
    let said = "gatepost: warning: A is not set: credential \"a\" needs it\n\
                gatepost: warning: B is empty: credential \"b\" needs it\n";
    assert_eq!(outcome.stderr, said);
    let allowed = of_credentials(credentials, environment, &["--allow-missing"]);
    assert!(allowed.result.is_ok(), "{allowed:?}");
    assert_eq!(allowed.stderr, said.replace("needs it", "will not work"));
    assert_eq!(
        parsed(&allowed.stdout)["egress_credentials"],
        json!({ "a": { "token": "" }, "b": { "token": "" }, "c": { "token": "canary" } })
    );
}

#[test]
fn a_file_is_its_owners_alone() {
    let policy = policy(r#"{ "egress_credentials": { "a": { "source": "env:A" } } }"#);
    let file = policy.path().join(SECRETS);
    let write = |value: &[u8]| {
        let outcome = secrets(&[("A", value)], true, &["--policy", path(&policy)]);
        assert!(outcome.result.is_ok(), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
        assert_eq!(outcome.stderr, format!("{}: 1 credential\n", file.display()));
        fs::read_to_string(&file).expect("reads")
    };
    assert!(write(b"canary-1").contains("canary-1"));
    assert_eq!(fs::metadata(&file).expect("is there").mode() & 0o7777, 0o600);
    // Whoever has the old one open does not get to read the new one.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("sets");
    let before = fs::metadata(&file).expect("is there").ino();
    assert!(write(b"canary-2").contains("canary-2"));
    let after = fs::metadata(&file).expect("is there");
    assert_eq!(after.mode() & 0o7777, 0o600);
    assert_ne!(after.ino(), before);
    assert_eq!(fs::read_dir(policy.path()).expect("lists").count(), 2, "no leftovers");
}

#[test]
fn nothing_is_written_through_what_somebody_else_put_there() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("elsewhere"), "old").expect("writes");
    symlink(at("elsewhere"), at("link")).expect("links");
    symlink(at("nowhere"), at("dangling")).expect("links");
    fs::create_dir(at("directory")).expect("makes");
    let mut rows = vec![
        (at("link"), "symbolic link"),
        (at("dangling"), "symbolic link"),
        (at("directory"), "not a regular file"),
        (at("none/file"), "No such file"),
        (at(".."), "not a regular file"),
    ];
    if geteuid().is_root() {
        fs::write(at("foreign"), "old").expect("writes");
        chown(at("foreign"), Some(65_534), None).expect("gives away");
        rows.push((at("foreign"), "belongs to another user (uid 65534)"));
    } else {
        rows.push(("/etc/passwd".into(), "belongs to another user (uid 0)"));
    }
    for (path, word) in rows {
        let outcome = secrets(&FOUR, false, &["--out", path.to_str().expect("UTF-8")]);
        let error = outcome.result.expect_err(word).to_string();
        assert!(error.contains(word), "{error}");
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert_eq!(outcome.stdout, "");
    }
    assert_eq!(fs::read_to_string(at("elsewhere")).expect("reads"), "old");
    assert!(!at("nowhere").exists());
    for entry in fs::read_dir(directory.path()).expect("lists") {
        let name = entry.expect("an entry").file_name();
        assert!(!name.as_bytes().starts_with(b"."), "{name:?} is left over");
    }
}

#[test]
fn a_terminal_gets_them_only_if_that_is_said() {
    let refused = secrets(&FOUR, true, &[]);
    let error = refused.result.expect_err("a terminal").to_string();
    assert!(error.contains("standard output is a terminal"), "{error}");
    assert_eq!(refused.stdout, "");
    let said = secrets(&FOUR, true, &["-o", "-"]);
    assert!(said.result.is_ok() && said.stdout.contains("canary-1"));
}
