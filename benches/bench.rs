//! The driver of `scripts/bench.sh`: what a check costs beside an empty server, and what a policy of
//! many keys costs in memory and time. Prints a table and judges nothing, but fails if a single
//! check is not allowed, or not counted, or not written to the decision log.

mod client;
mod egress_fixture;
mod fixture;
mod server;
mod table;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use client::{Client, framed};
use gatepost::clock::Now;
use gatepost::lifecycle::address::Address;
use gatepost::side::Side;
use server::{Failure, Server};
use tempfile::TempDir;

/// The load, for all servers the same: connections, and calls in flight on each.
const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 16;
/// Callers that take turns.
const CALLERS: u32 = 1_000;
/// The egress's services, and its sandboxes, which are its callers.
const SERVICES: u32 = 1_000;
/// The decision log is written some milliseconds after the answer, and belongs to its price.
const AFTERMATH: Duration = Duration::from_millis(50);

#[derive(Debug, Parser)]
struct Options {
    /// The `gatepost` to measure.
    #[arg(long)]
    gatepost: PathBuf,
    /// The directory of the other examples.
    #[arg(long)]
    examples: PathBuf,
    /// The directory of the sample policy.
    #[arg(long)]
    sample: PathBuf,
    /// Where gatepost writes decisions: a file, emptied after each turn, or a device.
    #[arg(long)]
    log: PathBuf,
    #[arg(long, default_value_t = 5)]
    turns: u32,
    /// In each turn, to each server.
    #[arg(long, default_value_t = 200_000)]
    checks: u32,
    #[arg(long, default_value_t = 100_000)]
    keys: u32,
    /// Between the start of a process and a look at its memory.
    #[arg(long, default_value_t = 2_000)]
    settle_ms: u64,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    // One thread: the servers keep the rest of the machine.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        cpu(&options).await?;
        rest(&options).await
    })
}

/// One of those that take turns.
struct Contender {
    name: &'static str,
    server: Server,
    client: Client,
    /// What its callers send.
    bodies: Vec<Bytes>,
    /// CPU time for each check, in microseconds, turn by turn.
    micros: Vec<f64>,
}

impl Contender {
    async fn new(name: &'static str, server: Server, bodies: Vec<Bytes>) -> Result<Self, Failure> {
        let client = Client::connect(&server.check, CONNECTIONS).await?;
        Ok(Self { name, server, client, bodies, micros: Vec::new() })
    }

    async fn turn(&mut self, checks: u32) -> Result<(), Failure> {
        let before = self.server.cpu()?;
        self.client.load(&self.bodies, usize::try_from(checks)?, IN_FLIGHT).await?;
        tokio::time::sleep(AFTERMATH).await;
        let used = self.server.cpu()?.saturating_sub(before);
        self.micros.push(used.as_secs_f64() * 1e6 / f64::from(checks));
        Ok(())
    }

    /// Fails unless this gatepost says that it allowed, and logged, so many checks.
    fn counted(&self, checks: u32) -> Result<(), Failure> {
        for series in [
            "gatepost_decisions_total{detail=\"\",outcome=\"allow\"",
            "gatepost_decision_log_written_total",
        ] {
            let counted = self.server.metric(series)?;
            if (counted - f64::from(checks)).abs() > 0.5 {
                return Err(format!("{}: {series}: {counted} of {checks}", self.name).into());
            }
        }
        Ok(())
    }

    /// What a check costs here, in parts of what it costs there, turn by turn.
    fn ratios(&self, other: &Self) -> Vec<f64> {
        self.micros.iter().zip(&other.micros).map(|(ours, theirs)| ours / theirs).collect()
    }

    async fn answer_bytes(&self) -> Result<f64, Failure> {
        let answer = self.client.answer(self.bodies.first().ok_or("nobody calls")?).await?;
        Ok(u32::try_from(answer.len())?.into())
    }
}

/// CPU time for each check, of servers that take turns.
async fn cpu(options: &Options) -> Result<(), Failure> {
    let Options { gatepost, examples, log, turns, checks, keys, .. } = options;
    let policy = written(*keys, "the-last-key-of-all-of-them")?;
    let (egress_policy, sockets) = (egress_written()?, TempDir::new()?);
    let empty = |name: &str| Server::start(&mut Command::new(examples.join(name)));
    let unix = |name: &str| Address::Unix(sockets.path().join(name));
    let ours = |policy: &TempDir, side, address| {
        Server::gatepost(gatepost, policy.path(), log, &[(side, address)])
    };
    let on_tcp = ours(&policy, Side::Gateway, tcp())?;
    let gateway = ours(&policy, Side::Gateway, unix("gateway.sock"))?;
    let egress = ours(&egress_policy, Side::Egress, unix("egress.sock"))?;
    let bodies = bodies(*keys)?;
    let mut contenders = [
        Contender::new("empty server, system allocator", empty("empty-system")?, bodies.clone())
            .await?,
        Contender::new("empty server, mimalloc", empty("empty-mimalloc")?, bodies.clone()).await?,
        Contender::new("gatepost", on_tcp, bodies.clone()).await?,
        Contender::new("gatepost, Unix socket", gateway, bodies).await?,
        Contender::new("gatepost, Unix socket, egress", egress, egress_bodies()?).await?,
    ];
    let warm_up = checks / 10;
    for turn in 0..=*turns {
        for contender in &mut contenders {
            contender.turn(if turn == 0 { warm_up } else { *checks }).await?;
            emptied(log)?;
        }
    }
    for contender in &mut contenders {
        contender.micros.remove(0);
    }
    let [system, mimalloc, gatepost, gateway, egress] = &contenders;
    for contender in [gatepost, gateway, egress] {
        contender.counted(warm_up + turns * checks)?;
    }

    writeln!(
        io::stdout(),
        "{turns} turns of {checks} checks on {CONNECTIONS} connections x {IN_FLIGHT} in flight; \
         {keys} keys, {CALLERS} callers; egress: {SERVICES} services and sandboxes; \
         decision log to {}",
        log.display()
    )?;
    table::head("CPU time for each check, us")?;
    for contender in &contenders {
        table::row(contender.name, &contender.micros, "")?;
    }
    table::row("bytes of gatepost's answer", &[gatepost.answer_bytes().await?], "< 1024")?;
    table::row("the same at the egress", &[egress.answer_bytes().await?], "< 1024")?;
    table::head("ratio in the same turn")?;
    for (name, ours, other, goal) in [
        ("gatepost / empty server, system allocator", gatepost, system, "0.75, then 0.6"),
        ("gatepost / empty server, mimalloc", gatepost, mimalloc, ""),
        ("egress / gateway, both on Unix sockets", egress, gateway, "<= 1.3"),
    ] {
        table::row(name, &ours.ratios(other), goal)?;
    }
    Ok(())
}

/// Start, memory and reload.
async fn rest(options: &Options) -> Result<(), Failure> {
    const STARTS: usize = 5;
    const EDITS: usize = 3;
    let Options { gatepost, sample, log, keys, settle_ms, .. } = options;
    let settle = || tokio::time::sleep(Duration::from_millis(*settle_ms));
    let start = |policy: &Path| Server::gatepost(gatepost, policy, log, &[(Side::Gateway, tcp())]);
    // The sample has both sides.
    let socket = TempDir::new()?;
    let both = || {
        let egress = Address::Unix(socket.path().join("egress.sock"));
        Server::gatepost(gatepost, sample, log, &[(Side::Gateway, tcp()), (Side::Egress, egress)])
    };
    let millis = |time: Duration| time.as_secs_f64() * 1e3;

    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(millis(both()?.start_to_ready));
    }
    let (few, policy) =
        (written(1, &fixture::credential(0))?, written(*keys, "the-last-key-of-all-of-them")?);
    let servers = [both()?, start(few.path())?, start(policy.path())?];
    settle().await;
    let [idle, one, many] = &servers;
    let bytes = |server: &Server| {
        server.resident()?.try_into().map(|n: u32| f64::from(n)).map_err(Failure::from)
    };
    let (idle, one, loaded) = (bytes(idle)?, bytes(one)?, bytes(many)?);
    let each = |resident: f64| (resident - one) / f64::from(*keys);

    let client = Client::connect(&many.check, 1).await?;
    let mut edits = Vec::new();
    for edit in 0..EDITS {
        edits.push(millis(
            visible(&client, &policy, *keys, &format!("the-last-key-of-edit-{edit:03}")).await?,
        ));
    }
    settle().await;
    let reloaded = bytes(many)?;

    table::head("gatepost, otherwise")?;
    table::row("start to ready, sample policy, ms", &starts, "< 100")?;
    table::row(&format!("start to ready, {keys} keys, ms"), &[millis(many.start_to_ready)], "")?;
    table::row("resident when idle, sample policy, MB", &[idle / 1e6], "< 30")?;
    table::row("resident for each key, bytes", &[each(loaded)], "<= 200")?;
    table::row(&format!("the same after {EDITS} reloads"), &[each(reloaded)], "")?;
    table::row(&format!("edit of {keys} keys to decision, ms"), &edits, "< 1000")?;
    Ok(())
}

/// Replaces the last of all keys, and returns how long it takes until the new one is let in.
async fn visible(
    client: &Client,
    policy: &TempDir,
    keys: u32,
    last: &str,
) -> Result<Duration, Failure> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let body = framed(&fixture::check_request(fixture::PATH, Some(last)))?;
    if client.allows(&body).await? {
        return Err("the new key was let in before it was written".into());
    }
    let (name, draft) = (policy.path().join("gateway_config.json"), policy.path().join("draft"));
    fs::write(&draft, fixture::policy(keys, last))?;
    fs::rename(draft, name)?;
    let start = Now::read().monotonic;
    while !client.allows(&body).await? {
        if Now::read().monotonic.saturating_sub(start) > PATIENCE {
            return Err("an edit was never seen".into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(Now::read().monotonic.saturating_sub(start))
}

/// A policy directory.
fn written(keys: u32, last: &str) -> Result<TempDir, Failure> {
    let directory = TempDir::new()?;
    fs::write(directory.path().join("gateway_config.json"), fixture::policy(keys, last))?;
    Ok(directory)
}

/// A policy directory of the egress, with the secrets as only their owner may read them.
fn egress_written() -> Result<TempDir, Failure> {
    let directory = TempDir::new()?;
    let config = egress_fixture::config(SERVICES, SERVICES);
    fs::write(directory.path().join("egress_config.json"), config)?;
    let mut private = File::options();
    private.write(true).create_new(true).mode(0o600);
    private
        .open(directory.path().join("egress_secrets.json"))?
        .write_all(egress_fixture::secrets(SERVICES).as_bytes())?;
    Ok(directory)
}

/// A free port on loopback.
fn tcp() -> Address {
    Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 }
}

/// What the sandboxes send, each to a service of its own tier.
fn egress_bodies() -> Result<Vec<Bytes>, Failure> {
    let requests = (0..SERVICES).map(|sandbox| egress_fixture::check_request(SERVICES, sandbox));
    requests.map(|request| framed(&request)).collect()
}

/// What the callers send, from keys all over the table.
fn bodies(keys: u32) -> Result<Vec<Bytes>, Failure> {
    let callers = CALLERS.min(keys - 1);
    (0..callers)
        .map(|caller| fixture::credential(caller * (keys - 1) / callers))
        .map(|credential| framed(&fixture::check_request(fixture::PATH, Some(&credential))))
        .collect()
}

/// Empties the decision log, if it is a file.
fn emptied(log: &Path) -> io::Result<()> {
    if fs::metadata(log)?.is_file() {
        File::options().write(true).open(log)?.set_len(0)?;
    }
    Ok(())
}
