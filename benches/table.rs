//! What was measured, as a table.

use std::io::{self, Write};

/// The middle of some values, and how far they lie apart.
#[derive(Clone, Copy, Debug)]
struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        // Of an even number of values, the mean of the two in the middle.
        let lower = if sorted.len().is_multiple_of(2) { *sorted.get(middle - 1)? } else { upper };
        let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
        Some(Self { median: f64::midpoint(lower, upper), lowest, highest })
    }
}

/// Names the columns.
pub(crate) fn head(title: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n{title:<46} {:>9} {:>9} {:>9}   goal", "median", "lowest", "highest")
}

/// One quantity, measured once or more often. A goal is printed, not judged.
pub(crate) fn row(name: &str, values: &[f64], goal: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match Spread::of(values) {
        Some(Spread { median, lowest, highest }) => {
            let line = format!("{name:<46} {median:>9.2} {lowest:>9.2} {highest:>9.2}   {goal}");
            writeln!(out, "{}", line.trim_end())
        }
        None => writeln!(out, "{name:<46} not measured"),
    }
}
