//! An explanation as text and as JSON.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::trace::Step;
use crate::authz::Decision;
use crate::authz::respond::answer::{Answer, Header};
use crate::authz::sample::Sample;
use crate::denial::Denial;

/// All there is to tell.
#[derive(Debug)]
pub(super) struct Explanation<'e> {
    pub(super) sample: &'e Sample,
    pub(super) decision: &'e Decision<'e>,
    pub(super) answer: &'e Answer,
    pub(super) steps: Vec<Step>,
}

impl Explanation<'_> {
    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Sample { method, host, source_ip, .. } = self.sample;
        let peer = source_ip.as_deref().unwrap_or("an unknown address");
        writeln!(out, "{method} {} at {host}, from {peer}", self.path())?;
        for Step { stage, passage, notes } in &self.steps {
            writeln!(out, "\n{}: {}", stage, passage.name())?;
            for note in notes {
                writeln!(out, "  {note}")?;
            }
        }
        writeln!(out, "\ndecision: {}", self.verdict())?;
        let Answer { code, status, set, removed, client, body, metadata: _ } = self.answer;
        if *code == 0 {
            writeln!(out, "\nto the upstream:")?;
            for (name, value) in set {
                writeln!(out, "  set {name}: {}", shown(name, value))?;
            }
            for name in removed {
                writeln!(out, "  remove {name}")?;
            }
        }
        match status {
            Some(status) => writeln!(out, "\nto the client: HTTP {status}, gRPC {code}")?,
            None if client.is_empty() => {}
            None => writeln!(out, "\nto the client, with the answer of the upstream:")?,
        }
        for (name, value) in client {
            writeln!(out, "  {name}: {value}")?;
        }
        if !body.is_empty() {
            writeln!(out, "  {body}")?;
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        let caller = self.decision.caller();
        let denial = self.decision.denial();
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|Step { stage, passage, notes }| {
                json!({ "step": stage, "result": passage.name(), "notes": notes })
            })
            .collect();
        let Answer { code, status, set, removed, client, body, metadata: _ } = self.answer;
        json!({
            "request": {
                "method": self.sample.method, "host": self.sample.host, "path": self.path(),
                "source_ip": self.sample.source_ip, "rule": self.sample.rule,
            },
            "decision": self.answer.metadata("outcome"),
            "reason": denial.map(Denial::reason),
            "detail": denial.map(Denial::detail).filter(|text| !text.is_empty()),
            "rule": self.decision.rule_id(),
            "key_id": caller.id(),
            "role": caller.role(),
            "tier": self.decision.tier(),
            "tenant": caller.tenant(),
            "sandbox": self.decision.call.caller.map(|caller| caller.name),
            "service": self.decision.call.found.service.map(|service| &*service.name),
            "credential": self.decision.call.found.credential,
            "revision": self.decision.snapshot.revision.to_string(),
            "steps": steps,
            "upstream": (*code == 0).then(|| json!({
                "set_headers": object(&shown_all(set)), "removed_headers": removed,
            })),
            "client": {
                "status": status, "grpc_status": code, "headers": object(client),
                "body": Some(body).filter(|body| !body.is_empty()),
            },
        })
    }

    /// What was asked for, without its query: that is never matched, and may hold anything.
    fn path(&self) -> &str {
        let path = &self.sample.path;
        path.split_once('?').map_or(path, |(path, _query)| path)
    }

    fn verdict(&self) -> String {
        let outcome = self.answer.metadata("outcome").unwrap_or("none");
        let Some(denial) = self.decision.denial() else { return outcome.to_owned() };
        let reason = match denial.detail() {
            "" => denial.reason().to_owned(),
            detail => format!("{}, {detail}", denial.reason()),
        };
        match &self.decision.outcome {
            Ok(_admitted) => format!("{outcome}: passes; enforced it would be denied, {reason}"),
            Err(_) => format!("{outcome}: {reason}"),
        }
    }
}

/// A path goes on without its query here too.
fn shown<'v>(name: &str, value: &'v str) -> &'v str {
    match value.split_once('?') {
        Some((path, _query)) if name == ":path" => path,
        Some(_) | None => value,
    }
}

fn shown_all(headers: &[Header]) -> Vec<Header> {
    headers.iter().map(|(name, value)| (name.clone(), shown(name, value).to_owned())).collect()
}

fn object(headers: &[Header]) -> Value {
    let headers = headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    Value::Object(headers.collect::<Map<_, _>>())
}
