//! The process under test.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatepost::side::Side;
use serde_json::Value;

use super::answer::{Answer, Request};
use super::http1::Http1;
use super::http2::Http2;
use super::patience::eventually;
use super::process::Process;

/// Where Check calls are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Socket {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// How to start it; kept, so that it can be started again on the same addresses.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) policy: PathBuf,
    /// Which proxy it answers.
    pub(crate) side: Side,
    /// The value of `--gateway-listen` or `--egress-listen`.
    pub(crate) listen: String,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) args: Vec<String>,
}

impl Launch {
    /// For the gateway, on a port that the system picks.
    pub(crate) fn gateway(policy: PathBuf) -> Self {
        let listen = "127.0.0.1:0".to_owned();
        Self { policy, side: Side::Gateway, listen, env: Vec::new(), args: Vec::new() }
    }

    /// The command, with nothing of this process's own `GATEPOST_*` environment in it. Decision
    /// lines go to stdout unless told otherwise.
    pub(crate) fn command(&self) -> Command {
        let mut command = cli(&["authz"]);
        command.arg("--policy").arg(&self.policy);
        command.args([&format!("--{}-listen", self.side.name()), &self.listen]);
        command.args(["--admin", "127.0.0.1:0"]);
        if !self.args.iter().any(|arg| arg == "--audit-log") {
            command.args(["--audit-log", "-"]);
        }
        command.args(&self.args).envs(self.env.iter().cloned());
        command
    }
}

/// `gatepost ARGS...`, for any subcommand.
pub(crate) fn cli(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GATEPOST_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// A `gatepost authz` that is ready.
pub(crate) struct Gatepost {
    pub(crate) process: Process,
    pub(crate) socket: Socket,
    /// The same for the egress, where it is on.
    pub(crate) egress: Option<Socket>,
    pub(crate) admin: SocketAddr,
}

impl Gatepost {
    /// Starts it and waits for its ready line on stderr:
    /// `gatepost ready: gateway=127.0.0.1:41235 admin=127.0.0.1:41236`, or `egress=` instead of
    /// `gateway=` where that is the side it answers.
    pub(crate) fn start(launch: &Launch) -> Self {
        Self::spawn(&mut launch.command())
    }

    /// The same for a command that has been put together otherwise.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let process = Process::start("gatepost", command);
        let ready = process.stderr.wait_for("gatepost's ready line", |line| {
            line.split_once("gatepost ready: ").map(|(_, pairs)| pairs.to_owned())
        });
        let find = |name: &str| {
            let mut pairs = ready.split_whitespace().filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(key, value)| (key == name).then_some(value))
        };
        let missing = || panic!("an address is missing in the ready line: {ready}");
        let socket = |address: &str| match address.strip_prefix("unix:") {
            Some(path) => Socket::Unix(path.into()),
            None => Socket::Tcp(address.parse().unwrap()),
        };
        let egress = find("egress").map(socket);
        let socket = socket(find("gateway").or(find("egress")).unwrap_or_else(missing));
        let admin = find("admin").unwrap_or_else(missing).parse().unwrap();
        Self { process, socket, egress, admin }
    }

    /// A connection for Check calls past Envoy.
    pub(crate) fn connect(&self) -> Http2 {
        match &self.socket {
            Socket::Tcp(address) => Http2::connect(*address),
            Socket::Unix(path) => Http2::connect_unix(path),
        }
    }

    /// GET on the admin port.
    pub(crate) fn admin(&self, path: &str) -> Answer {
        Http1::connect(self.admin).send(&Request::get(path))
    }

    /// One series of `/metrics`, written as it stands there: `name{label="value"}`. 0 when absent,
    /// as a counter is that has never counted.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let metrics = self.admin("/metrics");
        assert_eq!(metrics.status, 200);
        let mut values = metrics.text().lines().filter_map(|line| line.strip_prefix(series));
        let value = values.find_map(|rest| rest.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a decision line with this id has been written.
    pub(crate) fn decision(&self, id: &str) -> Value {
        self.process.stdout.wait_for(&format!("the decision line of {id}"), |line| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["decision_id"] == id).then_some(line)
        })
    }

    /// Resident memory in bytes, from the kernel.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Waits until a metric has a value, for instance the one that counts reloads.
    pub(crate) fn wait_for_metric(&self, series: &str, wanted: impl Fn(f64) -> bool) {
        eventually(&format!("{series} to change"), || wanted(self.metric(series)).then_some(()));
    }
}

/// Replaces a file as an editor does: a new one beside it, and a rename.
pub(crate) fn replace_file(path: &Path, text: &str) {
    replace_with_mode(path, text, 0o644);
}

/// The same for a file that only its owner may read.
pub(crate) fn replace_secret_file(path: &Path, text: &str) {
    replace_with_mode(path, text, 0o600);
}

fn replace_with_mode(path: &Path, text: &str, mode: u32) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, Permissions::from_mode(mode)).unwrap();
    std::fs::rename(new, path).unwrap();
}
