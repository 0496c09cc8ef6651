//! `gatepost status`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::json;

use super::{Policy, run};
use crate::world::gatepost::{Gatepost, Launch, cli, replace_file};
use crate::world::patience::eventually;
use crate::world::process::Process;

const GOOD: &str = r#"{ "rules": [{ "id": "all", "paths": ["/**"], "auth": "none" }] }"#;

fn launch(policy: &Policy) -> Launch {
    Launch::gateway(policy.path().into())
}

#[test]
fn tells_what_is_live_and_how_the_last_reload_went() {
    let policy = Policy::new(GOOD);
    let gatepost = Gatepost::start(&launch(&policy));
    let admin = gatepost.admin.to_string();
    let status = || run(&["status", "--admin", &admin]);
    let good = status();
    good.is(0, &[": ready", "0 keys, 0 tiers, 1 rule\n", "no error", "0 decisions written"]);
    let revision = run(&["check", policy.path(), "--format", "json"]).json()["revision"].clone();
    good.is(0, &[revision.as_str().unwrap()]);

    replace_file(policy.0.path().join("gateway_config.json").as_path(), r#"{ "ruls": [] }"#);
    let bad = eventually("the bad edit to be noticed", || {
        Some(status()).filter(|ran| ran.code != Some(0))
    });
    bad.is(
        1,
        &[
            "reload   REFUSED",
            revision.as_str().unwrap(),
            "gateway_config.json:1:3: ruls: unknown field, did you mean `rules`?",
        ],
    );
    let json = run(&["status", "--admin", &admin, "--format", "json"]);
    assert_eq!(json.is(1, &[]).json()["policy"]["revision"], revision);
    // The exit code comes from what was printed, whatever the format.
    replace_file(policy.0.path().join("gateway_config.json").as_path(), GOOD);
    eventually("the mended edit to be noticed", || {
        Some(status()).filter(|ran| ran.code == Some(0))
    });
}

#[test]
fn asks_over_a_unix_socket_too() {
    let policy = Policy::new(GOOD);
    let admin = format!("unix:{}", policy.file("admin.sock"));
    let mut command = cli(&["authz", "--policy", policy.path(), "--gateway-listen", "127.0.0.1:0"]);
    let process = Process::start("gatepost", command.args(["--admin", &admin]));
    process.stderr.wait_for("the ready line", |line| line.contains("ready:").then_some(()));
    run(&["status", "--admin", &admin]).is(0, &[&admin, ": ready"]);
}

/// The credential of another service being out of order is no reason to call the process unwell.
#[test]
fn shows_the_egress_where_there_is_one() {
    let status = json!({
        "ready": true,
        "policy": { "revision": "r", "error": null, "gateway": null },
        "egress": { "services": 2, "tokens": 1, "envoys": [],
                    "credentials": [{ "credential": "openai", "state": "empty" }] },
    });
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = server.local_addr().unwrap().to_string();
    let answering = thread::spawn(move || {
        let (mut client, _) = server.accept().unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            asked.extend(byte);
        }
        let body = status.to_string();
        write!(client, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    run(&["status", "--admin", &admin]).is(
        0,
        &[
            "  gateway  off: it has no file\n  egress   2 services, 1 token\n",
            "  secrets  0 of 1 credentials ok\n           openai: EMPTY: its service answers 503\n",
            "  envoys   NONE is connected",
        ],
    );
    answering.join().unwrap();
}

#[test]
fn says_who_did_not_answer() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let deaf = deaf.local_addr().unwrap().to_string();
    // Free a moment ago, and nobody else's business since.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let other = Process::start("upstream", &mut cli(&["demo-upstream", "--listen", "127.0.0.1:0"]));
    let other = other.stderr.wait_for("the upstream's address", |line| {
        line.split_once("listen=").map(|(_, address)| address.to_owned())
    });
    for (admin, code, piece) in [
        (closed.as_str(), 1, "cannot connect: Connection refused"),
        ("unix:/nowhere/admin.sock", 1, "cannot connect: No such file or directory"),
        (&deaf, 1, "no answer within 300 ms"),
        (&other, 1, "no status of gatepost's"),
        ("9191", 2, "expected host:port or unix:/path"),
    ] {
        run(&["status", "--admin", admin, "--timeout", "300"]).is(code, &[piece]);
    }
}
