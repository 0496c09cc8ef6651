//! `gatepost status`: what a running gatepost says of itself.

mod ask;
mod egress;

use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;

use super::{Exit, Format};
use crate::lifecycle::address::Address;

/// `gatepost status`
#[expect(
    clippy::doc_markdown,
    reason = "these comments are the help text, where backticks are noise"
)]
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gatepost status
  gatepost status --admin unix:/run/gatepost/admin.sock
  gatepost status --format json | jq -r .policy.revision

Exit codes: 0 it is ready and the files on disk are what holds; 1 it is not ready, the last reload
was refused, or nobody answers in time; 2 usage.")]
pub struct Options {
    /// Where its operators ask: host:port or unix:/path
    #[arg(long, value_name = "ADDR", env = "GATEPOST_ADMIN", default_value = "127.0.0.1:8181")]
    admin: Address,

    /// How long to wait for the whole answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    timeout: u64,

    /// How to print it; json is the answer as it came
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Asks and prints.
///
/// # Errors
/// The output cannot be written.
pub fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let status = match ask::ask(&options.admin, "/status", Duration::from_millis(options.timeout)) {
        Ok(status) => status,
        Err(error) => {
            writeln!(err, "gatepost: {}: {error}", options.admin)?;
            return Ok(Exit::Failed);
        }
    };
    if !at(&status, "/policy/revision").is_string() {
        writeln!(err, "gatepost: {}: {}", options.admin, ask::Error::NotStatus)?;
        return Ok(Exit::Failed);
    }
    match options.format {
        Format::Text => write_text(&status, &options.admin, out)?,
        Format::Json => writeln!(out, "{status:#}")?,
    }
    let mut exit = Exit::Done;
    if at(&status, "/ready").as_bool() != Some(true) {
        writeln!(err, "gatepost: not ready: {}", list(at(&status, "/waiting_for")))?;
        exit = Exit::Failed;
    }
    if let Some(error) = at(&status, "/policy/error").as_str() {
        let since = text(at(&status, "/policy/error_since"));
        writeln!(err, "gatepost: the last reload was refused, since {since}:\n{error}")?;
        exit = Exit::Failed;
    }
    Ok(exit)
}

fn write_text(status: &Value, admin: &Address, out: &mut dyn Write) -> io::Result<()> {
    let said = |pointer: &str| text(at(status, pointer));
    let ready = if at(status, "/ready").as_bool() == Some(true) { "ready" } else { "not ready" };
    writeln!(out, "gatepost {} at {admin}: {ready}", said("/version"))?;
    let up = duration(at(status, "/uptime_seconds").as_u64().unwrap_or(0));
    writeln!(out, "  up       {up}, since {}", said("/started_at"))?;
    writeln!(out, "  policy   revision {}", said("/policy/revision"))?;
    let (generation, loaded) = (said("/policy/generation"), said("/policy/loaded_at"));
    writeln!(out, "           number {generation} of this process, live since {loaded}")?;
    if at(status, "/policy/gateway").is_object() {
        let held = [("api_keys", "key"), ("rate_limit_tiers", "tier"), ("rules", "rule")];
        let held = held.map(|(name, what)| match &*said(&format!("/policy/gateway/{name}")) {
            "1" => format!("1 {what}"),
            number => format!("{number} {what}s"),
        });
        writeln!(out, "  gateway  {}", held.join(", "))?;
        if at(status, "/policy/gateway/allow_any_key").as_bool() == Some(true) {
            writeln!(out, "           lets anybody in with any key (allow_any_key)")?;
        }
    } else {
        writeln!(out, "  gateway  off: it has no file")?;
    }
    egress::write(status, out)?;
    let checked = said("/policy/checked_at");
    let reload = if at(status, "/policy/error").is_null() { "no error" } else { "REFUSED" };
    writeln!(out, "  reload   {reload}; the files were last read {checked}")?;
    writeln!(
        out,
        "  limits   {} callers counted, store {}",
        said("/rate_limits/subjects"),
        said("/rate_limits/store")
    )?;
    if at(status, "/decision_log").is_object() {
        let (written, dropped) = (said("/decision_log/written"), said("/decision_log/dropped"));
        writeln!(out, "  log      {written} decisions written, {dropped} dropped")?;
        if let Some(error) = at(status, "/decision_log/error").as_str() {
            writeln!(out, "           cannot be written: {error}")?;
        }
    } else {
        writeln!(out, "  log      off")?;
    }
    Ok(())
}

fn at<'v>(status: &'v Value, pointer: &str) -> &'v Value {
    status.pointer(pointer).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn list(value: &Value) -> String {
    let items: Vec<String> = value.as_array().into_iter().flatten().map(text).collect();
    if items.is_empty() { "it does not say why".to_owned() } else { items.join(", ") }
}

/// The two largest units of a time.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3599, "59 min 59 s"),
            (3600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }
}
