//! The sandboxes of a policy and their tokens, everything but the tokens' values.

use std::io::{self, Write};
use std::time::Duration;

use jsonc_parser::cst::CstInputValue;

use super::file::{DEFAULT_TIER, token_id};
use super::or_null;
use crate::cli::policy_file::{Entry, PolicyFile, object};
use crate::cli::streams::Error;
use crate::cli::table::{self, cell};
use crate::clock::{Now, rfc3339};

const HEADINGS: [&str; 5] = ["SANDBOX", "TIER", "TOKEN", "STATE", "EXPIRES"];

/// One of `sandboxes` or `sandbox_policies`.
pub(super) struct Sandbox {
    name: String,
    tier: String,
    enabled: bool,
    tokens: Vec<Token>,
}

struct Token {
    id: String,
    state: State,
    not_before: Option<String>,
    expires_at: Option<String>,
    description: Option<String>,
}

/// Whether a token is good at this moment.
#[derive(Clone, Copy)]
enum State {
    Good,
    Expired,
    Revoked,
    NotYet,
    SandboxDisabled,
}

/// All sandboxes, those with tokens first, in the order of the file.
pub(super) fn sandboxes(file: &PolicyFile, now: Now) -> Result<Vec<Sandbox>, Error> {
    let root = file.root();
    let mut found = Vec::new();
    if let Some(sandboxes) = file.object(&root, "sandboxes")? {
        for name in file.names(&sandboxes)? {
            if let Some(entry) = file.object(&sandboxes, &name)? {
                found.push(sandbox(file, name, &entry, now)?);
            }
        }
    }
    if let Some(policies) = file.object(&root, "sandbox_policies")? {
        for name in file.names(&policies)? {
            if let Some(tier) = file.text(&policies, &name)? {
                found.push(Sandbox { name, tier, enabled: true, tokens: Vec::new() });
            }
        }
    }
    Ok(found)
}

fn sandbox(file: &PolicyFile, name: String, entry: &Entry, now: Now) -> Result<Sandbox, Error> {
    let tier = file.text(entry, "policy")?.unwrap_or_else(|| DEFAULT_TIER.to_owned());
    let enabled = file.flag(entry, "enabled")?.unwrap_or(true);
    let tokens = file.items(entry, "tokens")?;
    let tokens = tokens.iter().map(|token| self::token(file, token, enabled, now));
    Ok(Sandbox { name, tier, enabled, tokens: tokens.collect::<Result<_, _>>()? })
}

fn token(
    file: &PolicyFile,
    entry: &Entry,
    sandbox_enabled: bool,
    now: Now,
) -> Result<Token, Error> {
    let moment = |field| -> Result<(Option<String>, Option<Duration>), Error> {
        let Some(text) = file.text(entry, field)? else { return Ok((None, None)) };
        let moment = rfc3339(&text).ok_or_else(|| {
            file.wrong(
                &entry.at(field),
                "a moment as RFC 3339 writes it, as in 2027-01-31T00:00:00Z",
            )
        })?;
        Ok((Some(text), Some(moment)))
    };
    let (not_before, begins) = moment("not_before")?;
    let (expires_at, ends) = moment("expires_at")?;
    let state = if !file.flag(entry, "enabled")?.unwrap_or(true) {
        State::Revoked
    } else if ends.is_some_and(|end| now.unix >= end) {
        State::Expired
    } else if !sandbox_enabled {
        State::SandboxDisabled
    } else if begins.is_some_and(|begin| now.unix < begin) {
        State::NotYet
    } else {
        State::Good
    };
    let (id, description) = (token_id(file, entry)?, file.text(entry, "description")?);
    Ok(Token { id, state, not_before, expires_at, description })
}

/// A table with one line for each token; what is not there is a dash.
pub(super) fn write_text(sandboxes: &[Sandbox], out: &mut dyn Write) -> io::Result<()> {
    let mut rows = Vec::new();
    for sandbox in sandboxes {
        let row = |token: Option<&Token>| {
            let state = token.map(|token| token.state.name().replace('_', " "));
            [
                Some(sandbox.name.as_str()),
                Some(sandbox.tier.as_str()),
                token.map(|token| token.id.as_str()),
                state.as_deref(),
                token.and_then(|token| token.expires_at.as_deref()),
            ]
            .map(cell)
        };
        if sandbox.tokens.is_empty() {
            rows.push(row(None));
        }
        rows.extend(sandbox.tokens.iter().map(|token| row(Some(token))));
    }
    table::write(HEADINGS, &rows, out)
}

/// The same for programs; what is not set is null.
pub(super) fn json(sandboxes: Vec<Sandbox>) -> CstInputValue {
    let token = |token: Token| {
        object(vec![
            ("id", token.id.into()),
            ("state", token.state.name().into()),
            ("not_before", or_null(token.not_before)),
            ("expires_at", or_null(token.expires_at)),
            ("description", or_null(token.description)),
        ])
    };
    let sandbox = |sandbox: Sandbox| {
        object(vec![
            ("sandbox", sandbox.name.into()),
            ("tier", sandbox.tier.into()),
            ("enabled", sandbox.enabled.into()),
            ("tokens", CstInputValue::Array(sandbox.tokens.into_iter().map(token).collect())),
        ])
    };
    CstInputValue::Array(sandboxes.into_iter().map(sandbox).collect())
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::NotYet => "not_yet",
            Self::SandboxDisabled => "sandbox_disabled",
        }
    }
}
