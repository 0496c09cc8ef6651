//! What must be right before anything is served, and what is said when it is not.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use gatepost::clock::Now;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::solo::{Solo, ask, key, launch, opens, policy, since};
use crate::world::POLICY_FILE;
use crate::world::envoy::root;
use crate::world::gatepost::{Gatepost, Launch, Socket, cli};
use crate::world::process::Process;

fn directory(text: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join(POLICY_FILE), text).unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}

/// Starts it where it must not start; returns its exit code and standard error.
pub(crate) fn fails(launch: &Launch) -> (Option<i32>, String) {
    let mut process = Process::start("gatepost", &mut launch.command());
    let code = process.wait().code();
    let text = process.stderr.to_the_end().join("\n");
    assert!(!text.contains("panicked"), "{text}");
    assert!(!text.contains("gatepost ready"), "{text}");
    (code, text)
}

#[test]
fn a_policy_that_does_not_load_tells_every_mistake_and_no_key() {
    let (_dir, path) = directory(
        r#"{ "api_keys": [
  { "id": "a", "key": "canary-9d41e07b55aa0c3d2f", "enabled": 1 },
  { "id": "a", "key": "canary-short", "expires_at": "soon" },
  { "key": ["canary-9d41e07b55aa0c3d2f"], "canary-field-name": 1 },
  { "id": "c", "key_sha256": "canary-9d41e07b55aa0c3d2f" } ],
  "rules": [{ "id": "r", "paths": ["no-slash"] }], "rate_limit_tiers": { "default": {} } }"#,
    );
    let (code, text) = fails(&launch(path, &[]));
    assert_eq!(code, Some(1), "{text}");
    for wanted in [
        ":2:63: api_keys[0].enabled: expected true or false",
        ":3:11: api_keys[1].id: ",
        ":3:23: api_keys[1].key: has 12 characters",
        ":3:53: api_keys[1].expires_at: ",
        ":4:12: api_keys[2].key: ",
        ":4:43: api_keys[2].canary-field-name: unknown field",
        ":5:30: api_keys[3].key_sha256: ",
        ":6:36: rules[0].paths[0]: ",
    ] {
        assert!(text.contains(&format!("{POLICY_FILE}{wanted}")), "{wanted} in\n{text}");
    }
    let told = text.replace("canary-field-name", "");
    assert!(!told.contains("canary"), "a key is told:\n{text}");
}

#[test]
fn without_a_file_there_is_nothing_to_serve() {
    let empty = TempDir::new().unwrap();
    let (code, text) = fails(&launch(empty.path().to_owned(), &[]));
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains(POLICY_FILE) && text.contains(&*empty.path().to_string_lossy()),
        "{text}"
    );

    let (code, text) = fails(&launch(empty.path().join("nowhere"), &[]));
    assert_eq!(code, Some(1));
    assert!(text.contains("nowhere") && text.contains("No such file or directory"), "{text}");

    let (_dir, path) = directory("");
    let (code, text) = fails(&launch(path.clone(), &[]));
    assert_eq!(code, Some(1));
    assert!(text.contains(POLICY_FILE) && text.contains("is empty"), "{text}");

    let (code, text) = fails(&launch(path.join(POLICY_FILE), &[]));
    assert_eq!(code, Some(1));
    assert!(text.contains("not a directory"), "{text}");
}

#[test]
fn the_environment_decides_how_much_may_be_weak() {
    let weak = json!({ "api_keys": [{ "id": "short", "key": "short" }],
                       "rate_limit_tiers": { "default": {} } });
    let (_dir, path) = directory(&weak.to_string());
    let with = |name: &str, value: &str, args: &[&str]| {
        let mut launch = launch(path.clone(), args);
        launch.env.push((name.to_owned(), value.to_owned()));
        launch
    };
    let development = with("GATEPOST_ENV", "development", &[]);
    assert_eq!(ask(&mut Gatepost::start(&development).connect(), "short").code, 0);
    let flag = with("GATEPOST_ENV", "production", &["--env", "development"]);
    assert_eq!(ask(&mut Gatepost::start(&flag).connect(), "short").code, 0);
    for strict in [
        with("GATEPOST_ENV", "production", &[]),
        with("UNRELATED", "development", &[]),
        with("GATEPOST_ENV", "development", &["--env", "production"]),
    ] {
        let (code, text) = fails(&strict);
        assert_eq!(code, Some(1));
        assert!(text.contains("api_keys[0].key: has 5 characters"), "{text}");
    }
    // Empty, as a compose file leaves it, is absent.
    assert_eq!(fails(&with("GATEPOST_ENV", "", &[])).0, Some(1));
    for other in ["staging", "Development"] {
        let (code, text) = fails(&with("GATEPOST_ENV", other, &[]));
        assert_eq!(code, Some(2), "{other:?}: {text}");
        assert!(text.contains("GATEPOST_ENV take production or development"), "{text}");
    }
}

#[test]
fn every_flag_can_be_a_variable_and_the_ready_line_names_every_address() {
    let (dir, path) = directory(&policy(0..1).to_string());
    let log = dir.path().join("decisions.jsonl");
    let sockets = ["gateway", "admin", "metrics"]
        .map(|name| format!("unix:{}", dir.path().join(format!("{name}.sock")).display()));
    let mut command = cli(&["authz"]);
    command.env("GATEPOST_POLICY", &path);
    command.env("GATEPOST_GATEWAY_LISTEN", &sockets[0]);
    command.env("GATEPOST_ADMIN", &sockets[1]);
    command.env("GATEPOST_METRICS", &sockets[2]);
    command.env("GATEPOST_SOCKET_MODE", "0660");
    command.env("GATEPOST_AUDIT_LOG", &log);
    let process = Process::start("gatepost", &mut command);
    let ready = process.stderr.wait_for("the ready line", |line| {
        line.strip_prefix("gatepost ready: ").map(str::to_owned)
    });
    let [gateway, admin, metrics] = &sockets;
    assert_eq!(ready, format!("gateway={gateway} admin={admin} metrics={metrics}"));
    for name in ["gateway", "admin", "metrics"] {
        let about = std::fs::metadata(dir.path().join(format!("{name}.sock"))).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o660, "{name}");
    }
    assert!(log.exists());
    assert_eq!(process.stdout.all(), [""; 0], "standard output is for decisions alone");
}

#[test]
fn an_address_in_use_is_named() {
    let solo = Solo::start(&policy(0..1));
    let Socket::Tcp(gateway) = solo.gatepost.socket else { unreachable!() };
    let mut second = solo.launch.clone();
    second.listen = gateway.to_string();
    let (code, text) = fails(&second);
    assert_eq!(code, Some(1));
    assert!(text.contains(&format!("cannot listen on {gateway}: Address")), "{text}");

    let mut metrics = solo.launch.clone();
    metrics.args.extend(["--metrics".to_owned(), solo.gatepost.admin.to_string()]);
    let (code, text) = fails(&metrics);
    assert_eq!(code, Some(1));
    let wanted = format!("cannot listen on {}: Address", solo.gatepost.admin);
    assert!(text.contains(&wanted), "{text}");
    assert!(opens(&mut solo.gatepost.connect(), 0), "the first one is none the worse");
}

#[test]
fn a_live_socket_is_left_alone_and_a_dead_one_is_taken() {
    let (dir, path) = directory(&policy(0..1).to_string());
    let mut launch = launch(path, &[]);
    let socket = dir.path().join("gateway.sock");
    launch.listen = format!("unix:{}", socket.display());
    let mut first = Gatepost::start(&launch);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, text) = fails(&launch);
    assert_eq!(code, Some(1));
    assert!(text.contains("in use by another process"), "{text}");
    assert!(opens(&mut first.connect(), 0), "the first one lost its socket");
    first.process.kill();
    assert!(socket.exists(), "killed, it cannot clean up");
    let second = Gatepost::start(&launch);
    assert!(opens(&mut second.connect(), 0));
    drop(second);
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "somebody's notes").unwrap();
    let (code, text) = fails(&launch);
    assert_eq!(code, Some(1));
    assert!(text.contains("not a socket"), "{text}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "somebody's notes");
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_of_the_start() {
    let (dir, path) = directory(&policy(0..1).to_string());
    let log = dir.path().join("no/such/dir/log");
    let (code, text) = fails(&launch(path, &["--audit-log", log.to_str().unwrap()]));
    assert_eq!(code, Some(1));
    assert!(text.contains("gatepost: --audit-log") && text.contains("No such file"), "{text}");
}

#[test]
fn wrong_arguments_are_a_matter_of_usage() {
    let (_dir, path) = directory(&policy(0..1).to_string());
    for args in [
        &["--admin", "nowhere"][..],
        &["--socket-mode", "0999"],
        &["--drain-grace", "soon"],
        &["--log-level", "a=b=c"],
        &["--no-such-flag"],
    ] {
        let (code, text) = fails(&launch(path.clone(), args));
        assert_eq!(code, Some(2), "{args:?}: {text}");
    }
}

/// The fastest of some starts: the others shared the machine with other tests.
#[test]
fn it_is_ready_in_a_tenth_of_a_second() {
    let sample = std::fs::read_to_string(root().join("policy/data/gateway_config.json")).unwrap();
    let (_dir, path) = directory(&sample);
    let mut launch = launch(path, &[]);
    launch.env.push(("GATEPOST_ENV".to_owned(), "development".to_owned()));
    let mut fastest = Duration::MAX;
    for _ in 0..20 {
        let start = Now::read().monotonic;
        let gatepost = Gatepost::start(&launch);
        fastest = fastest.min(since(start));
        assert_eq!(gatepost.admin("/ready").status, 200, "ready is what the line says");
        if fastest < Duration::from_millis(100) {
            return;
        }
    }
    panic!("the fastest of 20 starts took {fastest:?}");
}

#[test]
fn diagnostics_can_be_json() {
    let solo = Solo::with_args(&policy(0..1), &["--log-format", "json"]);
    std::fs::write(solo.file(), "{").unwrap();
    let line: Value = solo.gatepost.process.stderr.wait_for("a line of JSON", |line| {
        line.starts_with('{').then(|| serde_json::from_str(line).unwrap())
    });
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().unwrap().contains("gateway_config.json:1:"), "{line}");
    assert!(opens(&mut solo.gatepost.connect(), 0) && !key(0).is_empty());
}
