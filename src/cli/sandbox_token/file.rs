//! The sandboxes of an `egress_config.json`: finding, adding, switching off.

use jsonc_parser::cst::CstInputValue;

use crate::cli::policy_file::{Entry, PolicyFile, object};
use crate::cli::streams::Error;

/// The tier of a sandbox that names none.
pub(super) const DEFAULT_TIER: &str = "default";

/// A token to be.
pub(super) struct NewToken<'a> {
    /// `None`: the next free one of t1, t2, ...
    pub(super) id: Option<&'a str>,
    pub(super) sha256: &'a str,
    pub(super) expires_at: Option<&'a str>,
    pub(super) description: Option<&'a str>,
}

/// A token that is in the file.
pub(super) struct Added {
    pub(super) id: String,
    pub(super) place: Place,
}

/// Where its sandbox was before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where it is.
    There,
    /// Nowhere.
    Made,
    /// In `sandbox_policies`, with this tier.
    Moved(String),
}

impl NewToken<'_> {
    /// As it stands in the file.
    pub(super) fn entry(&self, id: &str) -> CstInputValue {
        let mut entry = vec![("id", id.into()), ("sha256", self.sha256.into())];
        for (field, value) in [("expires_at", self.expires_at), ("description", self.description)] {
            if let Some(value) = value {
                entry.push((field, value.into()));
            }
        }
        object(entry)
    }
}

/// A whole sandbox as it stands in the file.
pub(super) fn sandbox(tier: Option<&str>, tokens: Vec<CstInputValue>) -> CstInputValue {
    let mut entry: Vec<(&str, CstInputValue)> = Vec::new();
    if let Some(tier) = tier {
        entry.push(("policy", tier.into()));
    }
    entry.push(("tokens", CstInputValue::Array(tokens)));
    object(entry)
}

/// Adds a token, and its sandbox where there is none.
pub(super) fn add(
    file: &PolicyFile,
    name: &str,
    tier: Option<&str>,
    new: &NewToken<'_>,
) -> Result<Added, Error> {
    if let Some(tier) = tier {
        check_tier(file, tier)?;
    }
    let place = settle(file, name, tier)?;
    let sandboxes = file.object(&file.root(), "sandboxes")?;
    let found = match &sandboxes {
        Some(sandboxes) => file.object(sandboxes, name)?,
        None => None,
    };
    let Some(sandbox) = found else {
        return Err(file.error(&format!("the sandbox {name:?} cannot be added")));
    };
    let taken = ids(file, &sandbox)?;
    let id = match new.id {
        Some(id) if taken.iter().any(|taken| taken == id) => {
            let taken = taken.join(", ");
            return Err(file.error(&format!(
                "the sandbox {name:?} has a token with the id {id:?} already (taken: {taken})"
            )));
        }
        Some(id) => id.to_owned(),
        None => next_id(&taken),
    };
    if file.array(&sandbox, "tokens")?.is_none() {
        sandbox.object.append("tokens", CstInputValue::Array(Vec::new()));
    }
    if let Some(tokens) = file.array(&sandbox, "tokens")? {
        tokens.append(new.entry(&id));
    }
    Ok(Added { id, place })
}

/// Switches off one token of a sandbox, or all: their ids, and whether each was on.
pub(super) fn revoke(
    file: &PolicyFile,
    name: &str,
    id: Option<&str>,
) -> Result<Vec<(String, bool)>, Error> {
    let sandbox = find(file, name)?;
    let tokens = file.items(&sandbox, "tokens")?;
    if tokens.is_empty() {
        return Err(file.error(&format!("the sandbox {name:?} has no tokens")));
    }
    let mut revoked = Vec::new();
    for token in &tokens {
        let own = token_id(file, token)?;
        if id.is_none_or(|id| id == own) {
            revoked.push((file.disable(token)?, own));
        }
    }
    match (id, revoked.len()) {
        (Some(id), 0) => {
            let known = ids(file, &sandbox)?.join(", ");
            Err(file.error(&format!(
                "the sandbox {name:?} has no token with the id {id:?} (there are: {known})"
            )))
        }
        (Some(id), 2..) => {
            Err(file
                .error(&format!("the sandbox {name:?} has more than one token with the id {id:?}")))
        }
        _ => Ok(revoked.into_iter().map(|(changed, id)| (id, changed)).collect()),
    }
}

/// The id of a token.
pub(super) fn token_id(file: &PolicyFile, token: &Entry) -> Result<String, Error> {
    let id = file.text(token, "id")?;
    id.ok_or_else(|| file.error(&format!("{}: has no \"id\"", token.place)))
}

/// Sees to it that the sandbox stands in `sandboxes`, with the tier if one is asked for.
fn settle(file: &PolicyFile, name: &str, tier: Option<&str>) -> Result<Place, Error> {
    let root = file.root();
    let (sandboxes, policies) =
        (file.object(&root, "sandboxes")?, file.object(&root, "sandbox_policies")?);
    let entry = match &sandboxes {
        Some(sandboxes) => file.object(sandboxes, name)?,
        None => None,
    };
    let bare = match &policies {
        Some(policies) => file.field(policies, name)?.zip(file.text(policies, name)?),
        None => None,
    };
    match (entry, bare) {
        (Some(_), Some(_)) => Err(file.error(&format!(
            "the sandbox {name:?} stands in \"sandboxes\" and in \"sandbox_policies\": gatepost \
             does not load that; remove one of them"
        ))),
        (Some(entry), None) => {
            let has = file.text(&entry, "policy")?;
            refuse_another_tier(file, name, has.as_deref().unwrap_or(DEFAULT_TIER), tier)?;
            Ok(Place::There)
        }
        (None, Some((property, has))) => {
            refuse_another_tier(file, name, &has, tier)?;
            property.remove();
            append(file, name, Some(&has))?;
            Ok(Place::Moved(has))
        }
        (None, None) => {
            if tier.is_none() {
                check_tier(file, DEFAULT_TIER)?;
            }
            append(file, name, tier)?;
            Ok(Place::Made)
        }
    }
}

/// A command that makes tokens must not quietly give a sandbox more, or less, than it had.
fn refuse_another_tier(
    file: &PolicyFile,
    name: &str,
    has: &str,
    asked: Option<&str>,
) -> Result<(), Error> {
    match asked {
        Some(asked) if asked != has => Err(file.error(&format!(
            "the sandbox {name:?} has the tier {has:?}: leave --tier out, or change its \"policy\" \
             in the file first"
        ))),
        Some(_) | None => Ok(()),
    }
}

fn append(file: &PolicyFile, name: &str, tier: Option<&str>) -> Result<(), Error> {
    let root = file.root();
    if file.object(&root, "sandboxes")?.is_none() {
        root.object.append("sandboxes", object(Vec::new()));
    }
    if let Some(sandboxes) = file.object(&root, "sandboxes")? {
        sandboxes.object.append(name, sandbox(tier, Vec::new()));
    }
    Ok(())
}

/// Fails when `egress_policies` lacks the tier: the server would refuse the file.
fn check_tier(file: &PolicyFile, tier: &str) -> Result<(), Error> {
    let known = match file.object(&file.root(), "egress_policies")? {
        Some(policies) => file.names(&policies)?,
        None => Vec::new(),
    };
    if known.iter().any(|known| known == tier) {
        return Ok(());
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(file.error(&format!(
        "there is no policy {tier:?} in \"egress_policies\" (there are: {known}); --tier names one"
    )))
}

fn find(file: &PolicyFile, name: &str) -> Result<Entry, Error> {
    let root = file.root();
    let mut known = Vec::new();
    if let Some(sandboxes) = file.object(&root, "sandboxes")? {
        if let Some(found) = file.object(&sandboxes, name)? {
            return Ok(found);
        }
        known = file.names(&sandboxes)?;
    }
    if let Some(policies) = file.object(&root, "sandbox_policies")?
        && file.field(&policies, name)?.is_some()
    {
        return Err(file.error(&format!("the sandbox {name:?} has no tokens")));
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(file.error(&format!("there is no sandbox {name:?} in \"sandboxes\" (there are: {known})")))
}

fn ids(file: &PolicyFile, sandbox: &Entry) -> Result<Vec<String>, Error> {
    file.items(sandbox, "tokens")?.iter().map(|token| token_id(file, token)).collect()
}

/// One more than the highest: the id of a token that is gone may still stand in logs.
fn next_id(taken: &[String]) -> String {
    let numbers = taken.iter().filter_map(|id| id.strip_prefix('t')).flat_map(str::parse::<u32>);
    let next = u64::from(numbers.max().unwrap_or(0)).saturating_add(1);
    format!("t{next}")
}
