//! The keys of a policy as rows: everything about a key but its value.

use std::io::{self, Write};

use jsonc_parser::cst::{CstInputValue, CstObject};

use super::Error;
use super::file::GatewayFile;

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
pub(super) fn rows(file: &GatewayFile) -> Result<Vec<Row>, Error> {
    file.keys()?.iter().enumerate().map(|(index, entry)| row(file, entry, index)).collect()
}

fn row(file: &GatewayFile, entry: &CstObject, index: usize) -> Result<Row, Error> {
    let place = format!("api_keys[{index}]");
    let text = |field| file.text(entry, field, &place);
    let mut slots = slots(file, entry, &place)?;
    if let Some(keys) = file.field(entry, "keys", &place)? {
        let place = format!("{place}.keys");
        let keys = keys.array_value().ok_or_else(|| file.wrong(&place, "array"))?;
        for (index, slot) in keys.elements().into_iter().enumerate() {
            let place = format!("{place}[{index}]");
            let slot = slot.as_object().ok_or_else(|| file.wrong(&place, "object"))?;
            slots.extend(self::slots(file, &slot, &place)?);
        }
    }
    Ok(Row {
        id: text("id")?,
        enabled: file.flag(entry, "enabled", &place)?,
        role: text("role")?,
        tier: text("rate_limit_tier")?,
        tenant: text("tenant")?,
        expires_at: text("expires_at")?,
        slots,
    })
}

fn slots(file: &GatewayFile, of: &CstObject, place: &str) -> Result<Vec<&'static str>, Error> {
    let mut slots = Vec::new();
    for (field, name) in [("key", "plain"), ("key_sha256", "sha256")] {
        if file.field(of, field, place)?.is_some() {
            slots.push(name);
        }
    }
    Ok(slots)
}

/// A table with one line for each key; what is not set is a dash.
pub(super) fn write_text(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..HEADINGS.len()).map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// The same for programs; what is not set is null.
pub(super) fn json(rows: Vec<Row>) -> CstInputValue {
    let text = |value: Option<String>| value.map_or(CstInputValue::Null, CstInputValue::String);
    let object = |row: Row| {
        let slots = row.slots.into_iter().map(CstInputValue::from).collect();
        let fields = [
            ("id", text(row.id)),
            ("enabled", row.enabled.map_or(CstInputValue::Null, CstInputValue::Bool)),
            ("role", text(row.role)),
            ("rate_limit_tier", text(row.tier)),
            ("tenant", text(row.tenant)),
            ("expires_at", text(row.expires_at)),
            ("slots", CstInputValue::Array(slots)),
        ];
        CstInputValue::Object(fields.map(|(name, value)| (name.to_owned(), value)).into())
    };
    CstInputValue::Array(rows.into_iter().map(object).collect())
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
    .map(|cell| cell.map_or_else(|| "-".to_owned(), printable))
}

/// A file may hold anything, terminal escapes included.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}
