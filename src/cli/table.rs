//! Tables for people.

use std::io::{self, Write};

/// Writes one line for each row, under headings, in columns as wide as they must be.
///
/// # Errors
/// The output cannot be written.
pub(super) fn write<const N: usize>(
    headings: [&str; N],
    rows: &[[String; N]],
    out: &mut dyn Write,
) -> io::Result<()> {
    let headings = headings.map(str::to_owned);
    let lines: Vec<_> = [&headings].into_iter().chain(rows).collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// What is not set is a dash.
pub(super) fn cell(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), printable)
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
