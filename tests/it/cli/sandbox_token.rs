//! `gatepost sandbox-token`.

use std::process::Stdio;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Policy, run};
use crate::world::envoy::root;
use crate::world::gatepost::cli;

const FILE: &str =
    "{ \"egress_policies\": { \"default\": { \"allowed_services\": [] } },\n  \"_odd\":[ 1e1 ] }\n";

fn sha256(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

/// A policy directory with an egress side alone.
fn policy() -> Policy {
    Policy(tempfile::TempDir::new().unwrap()).with("egress_config.json", FILE)
}

fn json_of(policy: &Policy) -> Value {
    serde_json::from_str(&std::fs::read_to_string(policy.file("egress_config.json")).unwrap())
        .unwrap()
}

#[test]
fn scripts_get_the_token_and_nothing_else() {
    let policy = policy();
    let args = ["sandbox-token", "new", "--sandbox", "a", "--policy", policy.path()];
    let ran = run(&args);
    ran.is(0, &["The sandbox a is new.", "Keep the token now", "as t1 of a", "never expires"]);
    let token = ran.out.strip_suffix('\n').unwrap();
    assert!(token.starts_with("gp_sbx_") && !token.contains('\n'), "{token}");
    assert!(!ran.err.contains(token), "{}", ran.err);
    let tokens = json_of(&policy)["sandboxes"]["a"]["tokens"].clone();
    assert_eq!(tokens, json!([{ "id": "t1", "sha256": sha256(token) }]));
    let text = std::fs::read_to_string(policy.file("egress_config.json")).unwrap();
    assert!(text.contains("\n  \"_odd\":[ 1e1 ]"), "{text}");

    let revoke = ["sandbox-token", "revoke", "--sandbox", "a", "--policy", policy.path()];
    run(&[&revoke[..], &["t1"]].concat()).is(0, &["t1 of a is revoked."]);
    let list = ["sandbox-token", "list", "--policy", policy.path()];
    run(&list).is(0, &["a        default  t1     revoked  -\n"]);
    let json = run(&[&list[..], &["--format", "json"]].concat());
    assert_eq!(json.is(0, &[]).json()[0]["tokens"][0]["state"], "revoked");
    run(&[&revoke[..], &["t2"]].concat()).is(1, &["gatepost: ", "(there are: t1)"]);
    run(&revoke).is(2, &["Usage: gatepost sandbox-token revoke"]);
}

/// Processes, not threads: the lock is the file system's.
#[test]
fn two_at_once_lose_nothing() {
    let policy = policy();
    let spawn = |_number| {
        let mut command =
            cli(&["sandbox-token", "new", "--sandbox", "a", "--policy", policy.path()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..6).map(spawn).collect();
    let mut hashes = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        hashes.push(json!(sha256(String::from_utf8(output.stdout).unwrap().trim_end())));
    }
    let written = json_of(&policy);
    let written = written["sandboxes"]["a"]["tokens"].as_array().unwrap();
    let ids: Vec<_> = written.iter().map(|token| token["id"].clone()).collect();
    assert_eq!(ids, ["t1", "t2", "t3", "t4", "t5", "t6"]);
    assert!(hashes.iter().all(|hash| written.iter().any(|token| token["sha256"] == *hash)));
}

/// What the sample's reader and `scripts/dev.sh` are told is the token of its sandbox.
#[test]
fn the_token_of_the_sample_is_the_one_that_stands_beside_it() {
    const TOKEN: &str = "gp_sbx_demo-token-change-in-production";
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let sample: Value = serde_json::from_str(&read("policy/data/egress_config.json")).unwrap();
    let sandbox = &sample["sandboxes"]["demo-agent"];
    assert!(sandbox["description"].as_str().unwrap().contains(&format!("{TOKEN}.")));
    assert_eq!(sandbox["tokens"][0]["sha256"], sha256(TOKEN));
    assert!(read("scripts/dev.sh").contains(TOKEN));
    run(&["sandbox-token", "list", "--policy", "policy/data"])
        .is(0, &["demo-agent        demo        demo   good   -"]);
}
