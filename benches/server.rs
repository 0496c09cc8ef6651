//! A server under measurement: a child process, its address, its CPU time and its memory.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gatepost::clock::Now;
use gatepost::lifecycle::address::Address;
use gatepost::side::Side;

/// What may fail, in words.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The unit of `/proc/PID/stat`: `USER_HZ`, which is 100 on every architecture that Linux has had in
/// this century.
const TICK: Duration = Duration::from_millis(10);

/// A process that serves. It ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it answers Check calls.
    pub(crate) check: Address,
    /// Where it answers operators, if it does.
    admin: Option<SocketAddr>,
    /// From before the process was made until it said that it was ready.
    pub(crate) start_to_ready: Duration,
}

impl Server {
    /// Starts a process and waits for `… ready: gateway=ADDR …`, or `egress=ADDR`, on its standard error.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let start = Now::read().monotonic;
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let mut said = String::new();
        let mut lines = BufReader::new(stderr);
        let ready = loop {
            let from = said.len();
            if lines.read_line(&mut said)? == 0 {
                drop(child.kill());
                return Err(format!("{command:?} did not start:\n{said}").into());
            }
            let line = said.get(from..).unwrap_or_default();
            if let Some((_, ready)) = line.split_once("ready: ") {
                break ready.to_owned();
            }
        };
        let start_to_ready = Now::read().monotonic.saturating_sub(start);
        // What it still has to say goes where everybody sees it.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::stderr()));
        let address = |name: &str| {
            let mut pairs = ready.split_whitespace().filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, address)| address)
        };
        let check = address("gateway").or_else(|| address("egress"));
        let check = check.ok_or("neither gateway= nor egress= in the ready line")?;
        let check = check.parse::<Address>().map_err(|error| error.to_string())?;
        let admin = address("admin").map(str::parse).transpose()?;
        Ok(Self { child, check, admin, start_to_ready })
    }

    /// `gatepost authz` as it is shipped: metrics, decision log, limits. Of two sides, the checks go
    /// to the gateway.
    pub(crate) fn gatepost(
        binary: &Path,
        policy: &Path,
        log: &Path,
        listen: &[(Side, Address)],
    ) -> Result<Self, Failure> {
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GATEPOST_") {
                command.env_remove(name);
            }
        }
        command.args(["authz", "--admin", "127.0.0.1:0"]);
        for (side, address) in listen {
            command.arg(match side {
                Side::Gateway => "--gateway-listen",
                Side::Egress => "--egress-listen",
            });
            command.arg(address.to_string());
        }
        command.args(["--env", "development", "--log-level", "warn"]);
        command.arg("--policy").arg(policy).arg("--audit-log").arg(log);
        Self::start(&mut command)
    }

    /// CPU time used so far, in the process and in the kernel for it.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the command's name in brackets, with whatever characters.
        let (_, fields) = stat.rsplit_once(')').ok_or("no command in stat")?;
        // utime and stime are fields 14 and 15; `fields` begins with field 3.
        let mut ticks = 0;
        for field in fields.split_whitespace().skip(11).take(2) {
            ticks += field.parse::<u32>()?;
        }
        Ok(TICK * ticks)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
        Ok(kibibytes.parse::<u64>()? * 1024)
    }

    /// The sum of all series of `/metrics` that begin so: a name, or a name and its first labels.
    pub(crate) fn metric(&self, series: &str) -> Result<f64, Failure> {
        let mut connection = TcpStream::connect(self.admin.ok_or("no admin address")?)?;
        connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        let mut sum = 0.0;
        for line in text.lines().filter(|line| line.starts_with(series)) {
            let (_, value) = line.rsplit_once(' ').ok_or("no value")?;
            sum += value.parse::<f64>()?;
        }
        Ok(sum)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing that it could still write is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
