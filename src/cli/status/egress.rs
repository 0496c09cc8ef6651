//! The egress part of a status: one line for the whole, one for each credential that is not well, one
//! for each Envoy. Whatever a field lacks is passed over: the other side may be of another version.

use std::io::{self, Write};

use serde_json::Value;

use super::{at, text};

/// Writes the lines; none where the status knows nothing of an egress.
pub(super) fn write(status: &Value, out: &mut dyn Write) -> io::Result<()> {
    let found = ["/egress", "/policy/egress"].into_iter().find_map(|at| status.pointer(at));
    let egress = match found {
        None => return Ok(()),
        Some(Value::Null) => return writeln!(out, "  egress   off: it has no file"),
        Some(egress) => egress,
    };
    let held =
        [("services", "service"), ("tiers", "tier"), ("sandboxes", "sandbox"), ("tokens", "token")];
    let held = held.iter().filter_map(|(field, one)| {
        let number = egress.get(field)?.as_u64()?;
        Some(if number == 1 { format!("1 {one}") } else { format!("{number} {field}") })
    });
    let held = held.collect::<Vec<_>>().join(", ");
    writeln!(out, "  egress   {}", if held.is_empty() { "on" } else { &held })?;
    let identity = names(at(egress, "/identity"));
    if !identity.is_empty() {
        writeln!(out, "           sandboxes prove themselves by {}", identity.join(" or "))?;
    }
    let pending = names(at(egress, "/pending"));
    if !pending.is_empty() {
        let pending = pending.join(", ");
        writeln!(
            out,
            "           on their old destination until Envoy has the new one: {pending}"
        )?;
    }
    credentials(at(egress, "/credentials"), out)?;
    envoys(egress, out)
}

fn credentials(credentials: &Value, out: &mut dyn Write) -> io::Result<()> {
    let Some(credentials) = credentials.as_array() else { return Ok(()) };
    let is_ok = |credential: &&Value| at(credential, "/state") == "ok";
    let ok = credentials.iter().filter(is_ok).count();
    writeln!(out, "  secrets  {ok} of {} credentials ok", credentials.len())?;
    for credential in credentials.iter().filter(|credential| !is_ok(credential)) {
        let said = |field| credential.get(field).filter(|value| !value.is_null()).map(line);
        write!(out, "           {}", said("credential").unwrap_or_else(|| "unknown".to_owned()))?;
        let whose = [("service", "for "), ("source", "from ")];
        let whose =
            whose.iter().filter_map(|(field, word)| Some(format!("{word}{}", said(field)?)));
        let whose = whose.collect::<Vec<_>>().join(", ");
        if !whose.is_empty() {
            write!(out, " ({whose})")?;
        }
        match said("state").as_deref() {
            Some("kept") => write!(out, ": its last good value is used")?,
            Some(state) => write!(out, ": {}: its service answers 503", state.to_uppercase())?,
            None => write!(out, ": UNKNOWN")?,
        }
        if let Some(since) = said("since") {
            write!(out, ", since {since}")?;
        }
        match said("error") {
            Some(error) => writeln!(out, ": {error}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

fn envoys(egress: &Value, out: &mut dyn Write) -> io::Result<()> {
    let Some(envoys) = at(egress, "/envoys").as_array() else { return Ok(()) };
    if envoys.is_empty() {
        writeln!(out, "  envoys   NONE is connected: no service can be reached")?;
    }
    for (number, envoy) in envoys.iter().enumerate() {
        let said = |field| envoy.get(field).filter(|value| !value.is_null()).map(line);
        let margin = if number == 0 { "  envoys   " } else { "           " };
        write!(out, "{margin}{}", said("node").unwrap_or_else(|| "unnamed".to_owned()))?;
        if let Some(clusters) = said("clusters") {
            write!(out, ": {clusters} {}", if clusters == "1" { "cluster" } else { "clusters" })?;
        }
        if let Some(pending) = said("pending").filter(|pending| pending != "0") {
            write!(out, ", {pending} on their way")?;
        }
        if let Some(since) = said("since") {
            write!(out, ", connected since {since}")?;
        }
        writeln!(out)?;
        let nack = at(envoy, "/nack");
        if !nack.is_null() {
            let when = nack.get("at").or_else(|| nack.get("since")).map(line);
            let why = ["text", "error", "message"].into_iter().find_map(|field| nack.get(field));
            let when = when.map_or_else(String::new, |when| format!(" at {when}"));
            writeln!(out, "           REFUSED an update{when}: {}", line(why.unwrap_or(nack)))?;
        }
    }
    Ok(())
}

/// The items of a list of names, or of objects that name a service.
fn names(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| line(item.get("service").unwrap_or(item))).collect()
}

/// In one line: Envoy's words come from outside, and may hold anything.
fn line(value: &Value) -> String {
    let text = text(value);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(status: &Value) -> String {
        let mut out = Vec::new();
        write(status, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_look_says_how_it_is() {
        let status = json!({ "egress": {
            "services": 6, "tiers": 1, "sandboxes": 2, "tokens": 1,
            "identity": ["token", "header"], "pending": ["slack", { "service": "github" }],
            "credentials": [
                { "credential": "demo", "service": "demo", "source": "a literal", "state": "ok",
                  "since": null, "error": null },
                { "credential": "openai", "service": "openai", "source": "env:OPENAI_API_KEY",
                  "state": "unresolved", "since": null, "error": null },
                { "credential": "a", "service": "anthropic", "source": "file:/run/a", "state": "kept",
                  "since": "2026-11-22T05:18:40Z", "error": "No such file" },
            ],
            "envoys": [
                { "node": "egress-1", "since": "2026-11-22T05:00:00Z", "clusters": 6, "pending": 0,
                  "nack": null },
                { "node": "egress-2\u{1b}[31m", "since": "2026-11-22T05:00:01Z", "clusters": 1,
                  "pending": 5, "nack": { "at": "2026-11-22T05:00:02Z", "text": "Error\nadding svc/x" } },
            ],
        } });
        let expected = "  egress   6 services, 1 tier, 2 sandboxes, 1 token
           sandboxes prove themselves by token or header
           on their old destination until Envoy has the new one: slack, github
  secrets  1 of 3 credentials ok
           openai (for openai, from env:OPENAI_API_KEY): UNRESOLVED: its service answers 503
           a (for anthropic, from file:/run/a): its last good value is used, since 2026-11-22T05:18:40Z: No such file
  envoys   egress-1: 6 clusters, connected since 2026-11-22T05:00:00Z
           egress-2 [31m: 1 cluster, 5 on their way, connected since 2026-11-22T05:00:01Z
           REFUSED an update at 2026-11-22T05:00:02Z: Error adding svc/x
";
        assert_eq!(written(&status), expected);
    }

    #[test]
    fn what_is_missing_is_passed_over() {
        for (status, expected) in [
            (json!({}), ""),
            (json!({ "egress": null }), "  egress   off: it has no file\n"),
            (json!({ "egress": {} }), "  egress   on\n"),
            (json!({ "policy": { "egress": { "services": 1 } } }), "  egress   1 service\n"),
            (
                json!({ "egress": { "services": "?", "identity": [], "pending": null, "credentials": [] } }),
                "  egress   on\n  secrets  0 of 0 credentials ok\n",
            ),
            (
                json!({ "egress": { "credentials": [{}, 7, { "credential": "c", "state": "new" }] } }),
                "  egress   on\n  secrets  0 of 3 credentials ok\n           unknown: UNKNOWN\n           \
                 unknown: UNKNOWN\n           c: NEW: its service answers 503\n",
            ),
            (
                json!({ "egress": { "envoys": [] } }),
                "  egress   on\n  envoys   NONE is connected: no service can be reached\n",
            ),
            (
                json!({ "egress": { "envoys": [{}, { "node": "n", "nack": "why" }] } }),
                "  egress   on\n  envoys   unnamed\n           n\n           REFUSED an update: why\n",
            ),
        ] {
            assert_eq!(written(&status), expected, "{status}");
        }
    }
}
