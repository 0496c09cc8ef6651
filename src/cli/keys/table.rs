//! The keys of a policy as rows: everything about a key but its value.

use std::io::{self, Write};

use jsonc_parser::cst::CstInputValue;

use super::file;
use crate::cli::policy_file::{Entry, PolicyFile, object};
use crate::cli::streams::Error;
use crate::cli::table::{self, cell};

const HEADINGS: [&str; 7] = ["ID", "ENABLED", "ROLE", "TIER", "TENANT", "EXPIRES", "SLOTS"];

/// One key.
pub(super) struct Row {
    id: Option<String>,
    enabled: Option<bool>,
    role: Option<String>,
    tier: Option<String>,
    tenant: Option<String>,
    expires_at: Option<String>,
    /// How each of its values is written: `plain` or `sha256`.
    slots: Vec<&'static str>,
}

/// All keys in the order of the file.
pub(super) fn rows(file: &PolicyFile) -> Result<Vec<Row>, Error> {
    file::keys(file)?.iter().map(|entry| row(file, entry)).collect()
}

fn row(file: &PolicyFile, entry: &Entry) -> Result<Row, Error> {
    let text = |field| file.text(entry, field);
    let mut slots = slots(file, entry)?;
    for slot in file.items(entry, "keys")? {
        slots.extend(self::slots(file, &slot)?);
    }
    Ok(Row {
        id: text("id")?,
        enabled: file.flag(entry, "enabled")?,
        role: text("role")?,
        tier: text("rate_limit_tier")?,
        tenant: text("tenant")?,
        expires_at: text("expires_at")?,
        slots,
    })
}

fn slots(file: &PolicyFile, of: &Entry) -> Result<Vec<&'static str>, Error> {
    let mut slots = Vec::new();
    for (field, name) in [("key", "plain"), ("key_sha256", "sha256")] {
        if file.field(of, field)?.is_some() {
            slots.push(name);
        }
    }
    Ok(slots)
}

/// A table with one line for each key; what is not set is a dash.
pub(super) fn write_text(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    table::write(HEADINGS, &rows.iter().map(cells).collect::<Vec<_>>(), out)
}

/// The same for programs; what is not set is null.
pub(super) fn json(rows: Vec<Row>) -> CstInputValue {
    let text = |value: Option<String>| value.map_or(CstInputValue::Null, CstInputValue::String);
    let row = |row: Row| {
        let slots = row.slots.into_iter().map(CstInputValue::from).collect();
        object(vec![
            ("id", text(row.id)),
            ("enabled", row.enabled.map_or(CstInputValue::Null, CstInputValue::Bool)),
            ("role", text(row.role)),
            ("rate_limit_tier", text(row.tier)),
            ("tenant", text(row.tenant)),
            ("expires_at", text(row.expires_at)),
            ("slots", CstInputValue::Array(slots)),
        ])
    };
    CstInputValue::Array(rows.into_iter().map(row).collect())
}

fn cells(row: &Row) -> [String; HEADINGS.len()] {
    let enabled = row.enabled.map(|enabled| if enabled { "yes" } else { "no" });
    let slots = row.slots.join(",");
    let slots = Some(slots.as_str()).filter(|slots| !slots.is_empty());
    [
        row.id.as_deref(),
        enabled,
        row.role.as_deref(),
        row.tier.as_deref(),
        row.tenant.as_deref(),
        row.expires_at.as_deref(),
        slots,
    ]
    .map(cell)
}
