//! `gatepost check`: validate a policy exactly as the server loads it.

use std::io::{self, Write};
use std::path::PathBuf;

use super::{Environment, Exit};
use crate::policy::load::{self, Files};

/// `gatepost check`
#[expect(
    clippy::doc_markdown,
    reason = "these comments are the help text, where backticks are noise"
)]
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The directory of gateway_config.json
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// development lets weak settings load
    #[arg(long = "env", value_enum, env = "GATEPOST_ENV", default_value_t = Environment::Production)]
    environment: Environment,
}

/// Checks the policy and says what it found.
///
/// # Errors
/// The output cannot be written.
pub fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let snapshot = Files::read(&options.directory).and_then(|files| {
        if files.has_gateway() {
            files.compile(options.environment.into(), 1)
        } else {
            Err(load::Error::Nothing(options.directory.clone()))
        }
    });
    match snapshot {
        Ok(snapshot) => {
            let gateway = snapshot.gateway.as_ref();
            let keys = gateway.map_or(0, |gateway| gateway.keys.len());
            let rules = gateway.map_or(0, |gateway| gateway.rules.len());
            writeln!(out, "ok: {keys} keys, {rules} rules, revision {}", snapshot.revision)?;
            Ok(Exit::Done)
        }
        Err(error) => {
            writeln!(err, "{error}")?;
            Ok(Exit::Failed)
        }
    }
}
