//! `gatepost keys`: make, hash, list and revoke the API keys of `gateway_config.json`.

mod file;
mod table;

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use jsonc_parser::cst::CstInputValue;

use super::Format;
use super::policy_file::{PolicyFile, object, pretty};
use super::streams::{Error, Streams};
use super::token::{random, sha256};
use super::words::{moment, name};
use crate::policy::load::GATEWAY;

/// What every key that we make begins with, so that secret scanners and people know one when they
/// see it. It says nothing to the gateway, which accepts keys of any form.
const PREFIX: &str = "gp_key_";

/// No header that carries a key is longer than this at any proxy we know of.
const KEY_MAX: u64 = 8192;

/// `gatepost keys ...`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key of 256 random bits and show it once
    New(New),
    /// Read a key from standard input and print its SHA-256, as `key_sha256` wants it
    // Never as an argument: every user of the machine can read the arguments of a process, and the
    // shell writes them into its history.
    Hash,
    /// List the keys of a policy, without their values
    List(List),
    /// Switch a key off: sets "enabled" to false in the policy
    Revoke(Revoke),
}

/// `gatepost keys new`
#[derive(Args, Debug)]
pub struct New {
    /// The name under which the caller is logged and counted
    #[arg(long, value_parser = name)]
    pub id: String,
    /// The role that rules ask for
    #[arg(long, value_parser = name)]
    pub role: Option<String>,
    /// A name out of `rate_limit_tiers`
    #[arg(long, value_parser = name)]
    pub tier: Option<String>,
    /// The customer that the caller belongs to
    #[arg(long, value_parser = name)]
    pub tenant: Option<String>,
    /// What the caller may do, in the words of the rules; may be repeated
    #[arg(long = "scope", value_parser = name)]
    pub scopes: Vec<String>,
    /// When the key ends, as in 2027-01-31T00:00:00Z
    #[arg(long, value_parser = moment)]
    pub expires_at: Option<String>,
    /// For the reader of the file
    #[arg(long)]
    pub description: Option<String>,
    // No environment variable: a command that writes into a policy is told so each time.
    /// Write the entry into this policy instead of printing it
    #[arg(long, value_name = "DIR")]
    pub policy: Option<PathBuf>,
}

/// `gatepost keys list`
#[derive(Args, Debug)]
pub struct List {
    /// The directory of `gateway_config.json`
    #[arg(long, value_name = "DIR", env = "GATEPOST_POLICY")]
    pub policy: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `gatepost keys revoke`
#[derive(Args, Debug)]
pub struct Revoke {
    /// The id of the key
    pub id: String,
    /// The directory of `gateway_config.json`
    #[arg(long, value_name = "DIR", env = "GATEPOST_POLICY")]
    pub policy: PathBuf,
}

/// Runs the command. An error means exit code 1, and that no file was changed.
pub fn run(command: &Command, streams: &mut Streams<'_>) -> Result<(), Error> {
    match command {
        Command::New(args) => new(args, streams),
        Command::Hash => hash(streams),
        Command::List(args) => list(args, streams),
        Command::Revoke(args) => revoke(args, streams),
    }
}

fn new(args: &New, streams: &mut Streams<'_>) -> Result<(), Error> {
    let key = random(PREFIX)?;
    let key = key.expose();
    let entry = entry(args, &sha256(key.as_bytes()));
    let Some(policy) = &args.policy else {
        writeln!(streams.stdout, "{key}\n\n{}", pretty(entry))?;
        writeln!(
            streams.stderr,
            "Keep the key now: it is not shown again. The entry belongs into \"api_keys\"."
        )?;
        return Ok(());
    };
    let file = PolicyFile::open_locked(policy, GATEWAY)?;
    if let Some(tier) = &args.tier {
        file::check_tier(&file, tier)?;
    }
    file::add(&file, &args.id, entry)?;
    file.save()?;
    // Last, so that no key is handed out that the policy does not know.
    writeln!(streams.stdout, "{key}")?;
    writeln!(
        streams.stderr,
        "Keep the key now: it is not shown again. {} knows only its SHA-256.",
        file.path().display()
    )?;
    Ok(())
}

fn hash(streams: &mut Streams<'_>) -> Result<(), Error> {
    let mut input = Vec::new();
    streams.stdin.take(KEY_MAX + 2).read_to_end(&mut input)?;
    let key = input.strip_suffix(b"\n").unwrap_or(&input);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    if key.is_empty() {
        return Err(Error::new("expected a key on standard input, and found nothing"));
    }
    if !key.iter().all(u8::is_ascii_graphic) {
        return Err(Error::new(
            "a key is one line of visible ASCII: nothing else arrives in a header",
        ));
    }
    if input.len() > key.len() + 2 || u64::try_from(key.len()).is_ok_and(|len| len > KEY_MAX) {
        return Err(Error::new(format!("a key of more than {KEY_MAX} bytes fits no header")));
    }
    writeln!(streams.stdout, "{}", sha256(key))?;
    Ok(())
}

fn list(args: &List, streams: &mut Streams<'_>) -> Result<(), Error> {
    let rows = table::rows(&PolicyFile::open(&args.policy, GATEWAY)?)?;
    match args.format {
        Format::Text => table::write_text(&rows, streams.stdout)?,
        Format::Json => writeln!(streams.stdout, "{}", pretty(table::json(rows)))?,
    }
    Ok(())
}

fn revoke(args: &Revoke, streams: &mut Streams<'_>) -> Result<(), Error> {
    let file = PolicyFile::open_locked(&args.policy, GATEWAY)?;
    if file::disable(&file, &args.id)? {
        file.save()?;
        writeln!(streams.stderr, "{} is revoked.", args.id)?;
    } else {
        writeln!(streams.stderr, "{} was revoked already; nothing has changed.", args.id)?;
    }
    Ok(())
}

fn entry(args: &New, key_sha256: &str) -> CstInputValue {
    let mut entry = vec![
        ("id", CstInputValue::from(args.id.as_str())),
        ("key_sha256", key_sha256.into()),
        ("enabled", true.into()),
    ];
    let optional = [
        ("role", &args.role),
        ("rate_limit_tier", &args.tier),
        ("tenant", &args.tenant),
        ("expires_at", &args.expires_at),
        ("description", &args.description),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            entry.push((field, value.as_str().into()));
        }
    }
    if !args.scopes.is_empty() {
        let scopes = args.scopes.iter().map(|scope| scope.as_str().into()).collect();
        entry.push(("scopes", CstInputValue::Array(scopes)));
    }
    object(entry)
}

#[cfg(test)]
mod tests;
