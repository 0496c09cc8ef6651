//! `gatepost secrets`, and the script that stands for it.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{CANARY, Policy, Ran, finish};
use crate::world::envoy::root;
use crate::world::gatepost::cli;

const VARIABLES: [&str; 4] =
    ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GITHUB_TOKEN", "SLACK_BOT_TOKEN"];

/// Everything that JSON must escape, and some that it need not.
const NASTY: &str = "canary-key-9f86d081884c7d659a2f \"quoted\" \\ back\\slash\nline\ttäb ☃";

/// A command in an environment where of these variables only those given are set.
fn in_environment(mut command: Command, variables: &[(&str, &str)]) -> Command {
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command
}

/// `gatepost secrets from-env ARGS...`; no value may come out on standard error.
fn from_env(variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let command = cli(&[&["secrets", "from-env"], args].concat());
    let ran = finish(in_environment(command, variables), "");
    assert!(!ran.err.contains(CANARY), "{ran:?}");
    ran
}

fn policy() -> Policy {
    let credentials = r#"{ "egress_credentials": { "a": { "type": "bearer", "source": "env:SECRET_A" },
        "b": { "type": "basic", "username": "u", "password": "${SECRET_B}" } } }"#;
    Policy(TempDir::new().unwrap()).with("egress_config.json", credentials)
}

#[test]
fn a_value_comes_out_as_it_went_in_and_is_readable_by_its_owner_alone() {
    let policy = policy();
    let ran = from_env(&[("SECRET_A", NASTY), ("SECRET_B", CANARY)], &["--policy", policy.path()]);
    ran.is(0, &["egress_secrets.json: 2 credentials\n", "SECRET_A has characters"]);
    assert_eq!(ran.out, "");
    let file = policy.file("egress_secrets.json");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let expected = json!({ "egress_credentials": {
        "a": { "type": "bearer", "token": NASTY }, "b": { "type": "basic", "password": CANARY },
    } });
    assert_eq!(written, expected);

    let before = std::fs::read(&file).unwrap();
    let ran = from_env(&[("SECRET_A", CANARY)], &["--policy", policy.path()]);
    ran.is(
        1,
        &["SECRET_B is not set: credential \"b\" needs it", "nothing is written: a variable is"],
    );
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn nothing_is_written_through_a_link() {
    let policy = policy();
    let elsewhere = policy.file("elsewhere");
    std::fs::write(&elsewhere, "old").unwrap();
    symlink(&elsewhere, policy.file("egress_secrets.json")).unwrap();
    let variables = [("SECRET_A", CANARY), ("SECRET_B", CANARY)];
    from_env(&variables, &["--policy", policy.path()]).is(1, &["a symbolic link stands there"]);
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "old");
    let ran = from_env(&variables, &["--policy", policy.path(), "-o", "-"]);
    assert_eq!(ran.code, Some(0), "{:?}", ran.err);
    assert_eq!(ran.json()["egress_credentials"]["b"]["password"], CANARY);
}

#[test]
fn the_script_prints_all_four_whatever_is_set() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("egress_secrets.json");
    let script = root().join("scripts/generate-egress-secrets.sh");
    let mut command = in_environment(Command::new(script), &[("GITHUB_TOKEN", NASTY)]);
    command.env("GATEPOST", env!("CARGO_BIN_EXE_gatepost"));
    let output = command.stdout(File::create(&path).unwrap()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !said.contains(CANARY), "{said}");
    assert!(said.contains("OPENAI_API_KEY is not set"), "{said}");
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let expected = json!({ "egress_credentials": {
        "openai": { "type": "bearer", "token": "" },
        "anthropic": { "type": "api_key", "token": "" },
        "github": { "type": "bearer", "token": NASTY },
        "slack": { "type": "bearer", "token": "" },
    } });
    assert_eq!(written, expected);
}

#[test]
fn the_sample_names_the_four_as_well() {
    let all = VARIABLES.map(|name| (name, CANARY));
    let sample = root().join("policy/data");
    let ran = from_env(&all, &["--policy", sample.to_str().unwrap(), "--out", "-"]);
    let four = from_env(&all, &[]);
    assert_eq!((ran.code, &ran.out), (Some(0), &four.out), "{:?}", ran.err);
}
