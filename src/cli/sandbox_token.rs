//! `gatepost sandbox-token`: make, list and revoke the tokens by which sandboxes prove who they are.

mod file;
mod table;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jsonc_parser::cst::CstInputValue;

use self::file::{NewToken, Place};
use super::Format;
use super::policy_file::{PolicyFile, object, pretty};
use super::streams::{Error, Streams};
use super::token::{random, sha256};
use super::words::{moment, moment_from_now, name};
use crate::clock::Now;
use crate::policy::load::EGRESS;
use crate::policy::raw::is_comment;

/// What every sandbox token begins with: by it gatepost knows one wherever a client puts it, and
/// secret scanners and people do too.
const PREFIX: &str = "gp_sbx_";

/// `gatepost sandbox-token ...`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a token of 256 random bits and show it once
    New(New),
    /// List the sandboxes of a policy, their tiers, and their tokens without their values
    List(List),
    /// Switch tokens off: sets "enabled" to false in the policy
    Revoke(Revoke),
}

/// `gatepost sandbox-token new`
#[derive(Args, Debug)]
#[command(after_help = "\
Only the SHA-256 of the token is written. A sandbox that is not there yet is made; one that stands in
\"sandbox_policies\" moves to \"sandboxes\", with its tier, since only there it can have tokens.

Examples:
  gatepost sandbox-token new --sandbox agent-7 --tier standard --expires-in 30d --policy /etc/gatepost
  gatepost sandbox-token new --sandbox agent-7 --policy /etc/gatepost    a second one, to rotate
  gatepost sandbox-token new --sandbox agent-7          prints the token and the entry, writes nothing

The sandbox gives it to any SDK as the key:
  export OPENAI_API_KEY=gp_sbx_... OPENAI_BASE_URL=http://egress:8443/openai/v1")]
pub struct New {
    /// The sandbox, under whose name its requests are logged and counted
    #[arg(long, value_name = "NAME", value_parser = sandbox)]
    pub sandbox: String,
    /// The name of the token, unique within the sandbox [default: t1, t2, ...]
    #[arg(long, value_parser = name)]
    pub id: Option<String>,
    /// For a new sandbox, a name out of `egress_policies` [default: default]
    #[arg(long, value_name = "POLICY", value_parser = name)]
    pub tier: Option<String>,
    /// When the token ends, as in 2027-01-31T00:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub expires_at: Option<String>,
    /// The same as a time from now: 12h, 30d, 8w
    #[arg(long, value_name = "TIME", value_parser = moment_from_now, conflicts_with = "expires_at")]
    pub expires_in: Option<String>,
    /// For the reader of the file
    #[arg(long)]
    pub description: Option<String>,
    // No environment variable: a command that writes into a policy is told so each time.
    /// Write the entry into this policy instead of printing it
    #[arg(long, value_name = "DIR")]
    pub policy: Option<PathBuf>,
}

/// `gatepost sandbox-token list`
#[derive(Args, Debug)]
#[command(after_help = "\
States: good, expired, revoked, not yet (it begins later), sandbox disabled.

Examples:
  gatepost sandbox-token list --policy /etc/gatepost
  gatepost sandbox-token list --policy /etc/gatepost --format json | jq '.[] | select(.tokens == [])'")]
pub struct List {
    /// The directory of `egress_config.json`
    #[arg(long, value_name = "DIR", env = "GATEPOST_POLICY")]
    pub policy: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `gatepost sandbox-token revoke`
#[derive(Args, Debug)]
#[command(after_help = "\
A running gatepost refuses the token within a second. An answer that is being sent is not cut off.

Examples:
  gatepost sandbox-token revoke --sandbox agent-7 t1 --policy /etc/gatepost
  gatepost sandbox-token revoke --sandbox agent-7 --all --policy /etc/gatepost")]
pub struct Revoke {
    /// The sandbox
    #[arg(long, value_name = "NAME")]
    pub sandbox: String,
    /// The id of the token, never the token itself
    #[arg(required_unless_present = "all")]
    pub id: Option<String>,
    /// Revoke every token of the sandbox
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// The directory of `egress_config.json`
    #[arg(long, value_name = "DIR", env = "GATEPOST_POLICY")]
    pub policy: PathBuf,
}

/// Runs the command. An error means exit code 1, and that no file was changed.
pub fn run(command: &Command, streams: &mut Streams<'_>) -> Result<(), Error> {
    match command {
        Command::New(args) => new(args, streams),
        Command::List(args) => list(args, streams),
        Command::Revoke(args) => revoke(args, streams),
    }
}

fn new(args: &New, streams: &mut Streams<'_>) -> Result<(), Error> {
    let names = [Some(&args.sandbox), args.id.as_ref(), args.tier.as_ref()];
    refuse_tokens(&names)?;
    let token = random(PREFIX)?;
    let new = NewToken {
        id: args.id.as_deref(),
        sha256: &sha256(token.expose().as_bytes()),
        expires_at: args.expires_at.as_deref().or(args.expires_in.as_deref()),
        description: args.description.as_deref(),
    };
    let Some(policy) = &args.policy else {
        let entry = file::sandbox(
            args.tier.as_deref(),
            vec![new.entry(args.id.as_deref().unwrap_or("t1"))],
        );
        let entry = object(vec![(&args.sandbox, entry)]);
        writeln!(streams.stdout, "{}\n\n{}", token.expose(), pretty(entry))?;
        writeln!(
            streams.stderr,
            "Keep the token now: it is not shown again. The entry belongs into \"sandboxes\" of \
             {EGRESS}; where the sandbox is there already, its token alone."
        )?;
        return Ok(());
    };
    let file = PolicyFile::open_locked(policy, EGRESS)?;
    let added = file::add(&file, &args.sandbox, args.tier.as_deref(), &new)?;
    file.save()?;
    // Last, so that no token is handed out that the policy does not know.
    writeln!(streams.stdout, "{}", token.expose())?;
    let (sandbox, id, path) = (&args.sandbox, &added.id, file.path().display());
    match &added.place {
        Place::There => {}
        Place::Made => writeln!(streams.stderr, "The sandbox {sandbox} is new.")?,
        Place::Moved(tier) => writeln!(
            streams.stderr,
            "The sandbox {sandbox} has moved from \"sandbox_policies\" to \"sandboxes\", with its \
             tier {tier}."
        )?,
    }
    writeln!(
        streams.stderr,
        "Keep the token now: it is not shown again. {path} knows only its SHA-256, as {id} of \
         {sandbox}."
    )?;
    if new.expires_at.is_none() {
        writeln!(streams.stderr, "It never expires; --expires-in 90d would have made it.")?;
    }
    Ok(())
}

fn list(args: &List, streams: &mut Streams<'_>) -> Result<(), Error> {
    let file = PolicyFile::open(&args.policy, EGRESS)?;
    let sandboxes = table::sandboxes(&file, Now::read())?;
    match args.format {
        Format::Text => table::write_text(&sandboxes, streams.stdout)?,
        Format::Json => writeln!(streams.stdout, "{}", pretty(table::json(sandboxes)))?,
    }
    Ok(())
}

fn revoke(args: &Revoke, streams: &mut Streams<'_>) -> Result<(), Error> {
    refuse_tokens(&[Some(&args.sandbox), args.id.as_ref()])?;
    let file = PolicyFile::open_locked(&args.policy, EGRESS)?;
    let revoked = file::revoke(&file, &args.sandbox, args.id.as_deref())?;
    if revoked.iter().any(|(_, changed)| *changed) {
        file.save()?;
    }
    for (id, changed) in revoked {
        let sandbox = &args.sandbox;
        if changed {
            writeln!(streams.stderr, "{id} of {sandbox} is revoked.")?;
        } else {
            writeln!(streams.stderr, "{id} of {sandbox} was revoked already.")?;
        }
    }
    Ok(())
}

/// A token in the place of a name would be repeated by messages, and perhaps written into the file.
fn refuse_tokens(names: &[Option<&String>]) -> Result<(), Error> {
    if names.iter().flatten().any(|name| name.contains(PREFIX)) {
        return Err(Error::new(
            "that is a token, where a name was expected: names are what `gatepost sandbox-token \
             list` shows. Take the token for exposed: the shell keeps what is typed",
        ));
    }
    Ok(())
}

fn sandbox(text: &str) -> Result<String, &'static str> {
    if is_comment(text) {
        return Err("begins with _ or $, as comments do in the file");
    }
    name(text)
}

/// A string, or null.
fn or_null(text: Option<String>) -> CstInputValue {
    text.map_or(CstInputValue::Null, CstInputValue::String)
}

#[cfg(test)]
mod tests;
