//! The keys of a `gateway_config.json`: finding, adding, switching off.

use jsonc_parser::cst::CstInputValue;

use crate::cli::policy_file::{Entry, PolicyFile};
use crate::cli::streams::Error;

/// The entries of `api_keys`; none when the field is absent.
pub(super) fn keys(file: &PolicyFile) -> Result<Vec<Entry>, Error> {
    file.items(&file.root(), "api_keys")
}

/// Fails when `rate_limit_tiers` lacks the tier: the server would refuse the file.
pub(super) fn check_tier(file: &PolicyFile, tier: &str) -> Result<(), Error> {
    let tiers = file.field(&file.root(), "rate_limit_tiers")?;
    let defined = tiers
        .and_then(|property| property.object_value())
        .is_some_and(|tiers| tiers.get(tier).is_some());
    if defined {
        return Ok(());
    }
    Err(file.error(&format!("there is no tier {tier:?} in \"rate_limit_tiers\"")))
}

/// Appends an entry to `api_keys`.
pub(super) fn add(file: &PolicyFile, id: &str, entry: CstInputValue) -> Result<(), Error> {
    let root = file.root();
    if !find(file, id)?.is_empty() {
        return Err(file.error(&format!("there is a key with the id {id:?} already")));
    }
    if file.array(&root, "api_keys")?.is_none() {
        root.object.append("api_keys", CstInputValue::Array(Vec::new()));
    }
    if let Some(keys) = file.array(&root, "api_keys")? {
        keys.append(entry);
    }
    Ok(())
}

/// Sets `enabled` to false. False when it was so already.
pub(super) fn disable(file: &PolicyFile, id: &str) -> Result<bool, Error> {
    let found = find(file, id)?;
    let [entry] = found.as_slice() else {
        let what = if found.is_empty() { "is no key" } else { "is more than one key" };
        return Err(file.error(&format!("there {what} with the id {id:?}")));
    };
    file.disable(entry)
}

fn find(file: &PolicyFile, id: &str) -> Result<Vec<Entry>, Error> {
    let mut found = Vec::new();
    for entry in keys(file)? {
        if file.text(&entry, "id")?.as_deref() == Some(id) {
            found.push(entry);
        }
    }
    Ok(found)
}
