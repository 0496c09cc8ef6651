//! The operator's commands, through the binary: what goes in, what comes out, and the exit code.

mod cases;
mod check;
mod explain;
mod sandbox_token;
mod secrets;
mod status;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::world::envoy::root;
use crate::world::gatepost::cli;

/// Stands in tests wherever somebody may have put a key. It never comes out again.
const CANARY: &str = "canary-key-9f86d081884c7d659a2f";

/// What a command came to.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts the exit code, and that the output, both streams together, has these pieces.
    #[track_caller]
    fn is(&self, code: i32, pieces: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for piece in pieces {
            assert!(self.out.contains(piece) || self.err.contains(piece), "{piece:?} in {self:?}");
        }
        assert!(!self.out.contains(CANARY) && !self.err.contains(CANARY), "{self:?}");
        self
    }
}

/// `gatepost ARGS...` in the repository's root.
fn run(args: &[&str]) -> Ran {
    run_with_stdin(args, "")
}

fn run_with_stdin(args: &[&str], stdin: &str) -> Ran {
    finish(cli(args), stdin)
}

fn finish(mut command: Command, stdin: &str) -> Ran {
    command.current_dir(root());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that fails before it reads has closed the pipe; that is its right.
    let _closed = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A policy directory with this `gateway_config.json`, and perhaps other files.
struct Policy(TempDir);

impl Policy {
    fn new(gateway_config: &str) -> Self {
        Self::bare().with("gateway_config.json", gateway_config)
    }

    /// A directory with nothing in it.
    fn bare() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn with(self, name: &str, text: &str) -> Self {
        std::fs::write(self.0.path().join(name), text).unwrap();
        self
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path())
    }
}

#[test]
fn every_help_teaches_with_an_example() {
    for command in [
        &["check"][..],
        &["explain"],
        &["status"],
        &["sandbox-token", "new"],
        &["sandbox-token", "list"],
        &["sandbox-token", "revoke"],
        &["secrets", "from-env"],
    ] {
        let itself = format!("gatepost {} ", command.join(" "));
        run(&[command, &["--help"]].concat()).is(0, &["Examples:", &itself]);
    }
    let all = ["check", "explain", "status", "keys", "sandbox-token", "secrets", "Exit codes"];
    run(&["--help"]).is(0, &all);
}
