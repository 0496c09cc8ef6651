//! The command line: one file for each subcommand.

pub mod streams;
mod words;
mod token;
mod table;
mod whole_file;
mod policy_file;
pub mod authz;
pub mod cases;
pub mod check;
pub mod demo_upstream;
pub mod explain;
pub mod keys;
pub mod sandbox_token;
pub mod secrets;
pub mod status;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::streams::{Error, Streams};
use crate::clock::Now;
use crate::policy::Snapshot;
use crate::policy::compile::Strictness;
use crate::policy::load::{self, Files};
use crate::policy::secrets::Store;

/// What the process tells its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Done,
    /// There are findings, or the policy does not load, or the service failed.
    Failed,
    /// The command line makes no sense.
    Usage,
}

/// External authorization for Envoy: who may call us, decided from JSON that you edit while it runs.
#[derive(Debug, Parser)]
#[command(name = "gatepost", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done; 1 findings, or a policy that does not load; 2 usage.\n\
    Start here: gatepost check DIR, then gatepost authz --policy DIR."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer Envoy's external authorization checks, and follow the policy while it is edited
    Authz(Box<authz::Options>),
    /// Validate a policy exactly as the server loads it, and run table cases against it
    Check(check::Options),
    /// Say what would be decided about one request, every step and why
    Explain(Box<explain::Options>),
    /// Ask a running gatepost what is live, since when, and how the last reload went
    Status(status::Options),
    /// Make, hash, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make, list and revoke the tokens by which sandboxes prove who they are
    #[command(subcommand)]
    SandboxToken(sandbox_token::Command),
    /// Write the credentials of the egress from the environment
    #[command(subcommand)]
    Secrets(secrets::Command),
    /// A small echo service for the demo and for tests
    DemoUpstream(demo_upstream::Options),
}

/// Runs the command line.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let mut out = io::stdout().lock();
    let mut err = io::stderr();
    let exit = match cli.command {
        Command::Authz(options) => {
            // Decision lines are written to standard output by a thread of their own.
            drop(out);
            authz::run(*options, &mut err)
        }
        Command::Check(options) => check::run(&options, &mut out, &mut err),
        Command::Explain(options) => explain::run(&options, &mut io::stdin(), &mut out, &mut err),
        Command::Status(options) => status::run(&options, &mut out, &mut err),
        Command::Keys(command) => {
            with_streams(&mut out, &mut err, |streams| keys::run(&command, streams))
        }
        Command::SandboxToken(command) => {
            with_streams(&mut out, &mut err, |streams| sandbox_token::run(&command, streams))
        }
        Command::Secrets(command) => {
            let surroundings = secrets::Surroundings {
                variable: &|name| std::env::var_os(name),
                terminal: out.is_terminal(),
            };
            with_streams(&mut out, &mut err, |streams| {
                secrets::run(&command, &surroundings, streams)
            })
        }
        Command::DemoUpstream(options) => demo_upstream::run(&options, &mut err),
    };
    match exit {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        // Whoever read our output has gone: there is nobody left to tell.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(Exit::Failed) | Err(_) => ExitCode::from(1),
        Ok(Exit::Usage) => ExitCode::from(2),
    }
}

/// Runs a command of those that read, write, and fail with a line for people.
fn with_streams(
    out: &mut dyn Write,
    err: &mut dyn Write,
    command: impl FnOnce(&mut Streams<'_>) -> Result<(), Error>,
) -> io::Result<Exit> {
    match command(&mut Streams { stdin: &mut io::stdin(), stdout: out, stderr: &mut *err }) {
        Ok(()) => Ok(Exit::Done),
        Err(error) => writeln!(err, "gatepost: {error}").map(|()| Exit::Failed),
    }
}

/// `--env` and `GATEPOST_ENV`. An empty variable, as a compose file may leave it, is an absent one.
fn environment(text: &str) -> Result<Environment, String> {
    match text {
        "" | "production" => Ok(Environment::Production),
        "development" => Ok(Environment::Development),
        _ => Err("--env and GATEPOST_ENV take production or development".to_owned()),
    }
}

/// `GATEPOST_ENV`: how much a policy may get away with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// Weak settings are errors.
    #[default]
    Production,
    /// Weak settings load: for the demo, never where anybody else can call.
    Development,
}

/// How a command that people and scripts read prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts: JSON.
    Json,
}

/// The policy of a directory, loaded as the server loads it, with credentials out of `secrets`.
fn load_policy(
    directory: &Path,
    strictness: Strictness,
    secrets: &mut Store,
) -> Result<(Files, Snapshot), load::Error> {
    let files = Files::read(directory)?;
    if !files.has_gateway() && !files.has_egress() {
        return Err(load::Error::Nothing(directory.to_owned()));
    }
    let snapshot = files.compile(strictness, 1, secrets, Now::read())?;
    Ok((files, snapshot))
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Production => "production",
            Self::Development => "development",
        })
    }
}

impl From<Environment> for Strictness {
    fn from(environment: Environment) -> Self {
        match environment {
            Environment::Production => Self::Production,
            Environment::Development => Self::Development,
        }
    }
}
