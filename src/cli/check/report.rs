//! What `check` found, as text and as JSON.

mod egress;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::policy::locate;
use crate::policy::{Gateway, Snapshot};
use egress::Outside;

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    directory: PathBuf,
    loaded: Option<Loaded>,
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) cases: Option<Cases>,
}

/// What the policy holds.
#[derive(Debug)]
struct Loaded {
    revision: String,
    gateway: Option<Inside>,
    egress: Option<Outside>,
}

/// What the gateway holds.
#[derive(Debug)]
struct Inside {
    keys: usize,
    enabled: usize,
    tiers: Vec<String>,
    rules: Vec<String>,
}

/// How the cases of all files went.
#[derive(Debug, Default)]
pub(super) struct Cases {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) failures: Vec<Problem>,
}

/// One line of what is wrong.
#[derive(Debug)]
pub(super) struct Problem {
    place: Option<locate::Error>,
    message: String,
    /// How many it stands for.
    count: usize,
}

impl Problem {
    /// Something that has no place in a file, or says it itself.
    pub(super) fn unplaced(message: String) -> Self {
        Self { place: None, message, count: 1 }
    }

    /// What is not listed.
    pub(super) fn more(count: usize) -> Self {
        Self { place: None, message: format!("and {count} more"), count }
    }

    /// The same, in a directory that nobody named on the command line.
    pub(super) fn within(mut self, directory: &str) -> Self {
        if let Some(place) = &mut self.place {
            place.file = format!("{directory}/{}", place.file);
            self.message = place.to_string();
        }
        self
    }

    fn json(&self) -> Value {
        match &self.place {
            Some(locate::Error { file, line, column, path, message }) => json!({
                "file": file, "line": line, "column": column, "path": path, "message": message,
            }),
            None => json!({
                "file": null, "line": null, "column": null, "path": null, "message": self.message,
            }),
        }
    }
}

impl From<locate::Error> for Problem {
    fn from(error: locate::Error) -> Self {
        Self { message: error.to_string(), place: Some(error), count: 1 }
    }
}

impl Report {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), ..Self::default() }
    }

    /// The policy loads, and is this.
    pub(super) fn loaded(&mut self, snapshot: &Snapshot) {
        self.loaded = Some(Loaded {
            revision: snapshot.revision.to_string(),
            gateway: snapshot.gateway.as_deref().map(Inside::of),
            egress: snapshot.egress.as_ref().map(Outside::of),
        });
    }

    /// Nothing is wrong; warnings aside.
    pub(super) fn ok(&self) -> bool {
        self.errors.is_empty() && self.cases.as_ref().is_none_or(|cases| cases.failed == 0)
    }

    pub(super) fn write_text(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
        for problem in &self.errors {
            writeln!(err, "{}", problem.message)?;
        }
        for problem in &self.warnings {
            writeln!(err, "warning: {}", problem.message)?;
        }
        let cases = self.cases.iter();
        for problem in cases.flat_map(|cases| &cases.failures) {
            writeln!(err, "{}", problem.message)?;
        }
        if let Some(loaded) = &self.loaded {
            loaded.write_text(&self.directory, out)?;
        }
        if let Some(Cases { passed, failed, .. }) = &self.cases {
            writeln!(out, "  cases: {passed} passed, {failed} failed")?;
        }
        let total = |problems: &[Problem]| problems.iter().map(|problem| problem.count).sum();
        let errors = counted(total(&self.errors), "error");
        let warnings = counted(total(&self.warnings), "warning");
        if self.ok() {
            return writeln!(out, "ok: {warnings}");
        }
        match &self.cases {
            Some(Cases { failed, .. }) if self.loaded.is_some() => {
                let failed = counted(*failed, "failed case");
                writeln!(err, "failed: {errors}, {failed}, {warnings}")
            }
            Some(_) | None => writeln!(err, "failed: {errors}"),
        }
    }

    pub(super) fn json(&self) -> Value {
        let all = |problems: &[Problem]| problems.iter().map(Problem::json).collect::<Vec<_>>();
        let loaded = self.loaded.as_ref();
        json!({
            "ok": self.ok(),
            "revision": loaded.map(|loaded| &loaded.revision),
            "gateway": loaded.and_then(|loaded| loaded.gateway.as_ref()).map(Inside::json),
            "egress": loaded.and_then(|loaded| loaded.egress.as_ref()).map(Outside::json),
            "errors": all(&self.errors),
            "warnings": all(&self.warnings),
            "cases": self.cases.as_ref().map(|Cases { passed, failed, failures }| json!({
                "passed": passed, "failed": failed, "failures": all(failures),
            })),
        })
    }
}

impl Loaded {
    fn write_text(&self, directory: &Path, out: &mut dyn Write) -> io::Result<()> {
        let Self { revision, gateway, egress } = self;
        let counts = gateway.iter().flat_map(Inside::counts);
        let counts = counts.chain(egress.iter().flat_map(Outside::counts)).collect::<Vec<_>>();
        writeln!(out, "{}: {}, revision {revision}", directory.display(), counts.join(", "))?;
        if let Some(Inside { keys, enabled, tiers, rules }) = gateway {
            writeln!(out, "  keys:  {keys}, {enabled} of them enabled")?;
            writeln!(out, "  tiers: {}", listed(tiers))?;
            writeln!(out, "  rules: {}", listed(rules))?;
        }
        egress.as_ref().map_or(Ok(()), |egress| egress.write_text(out))
    }
}

impl Inside {
    fn of(gateway: &Gateway) -> Self {
        Self {
            keys: gateway.keys.len(),
            enabled: gateway.keys.iter().filter(crate::policy::key::Key::enabled).count(),
            tiers: gateway.tiers.iter().map(|tier| tier.name.clone().into()).collect(),
            rules: rules(gateway),
        }
    }

    fn counts(&self) -> [String; 2] {
        [counted(self.keys, "key"), counted(self.rules.len(), "rule")]
    }

    fn json(&self) -> Value {
        let Self { keys, enabled, tiers, rules } = self;
        json!({ "api_keys": keys, "enabled": enabled, "rate_limit_tiers": tiers, "rules": rules })
    }
}

fn rules(gateway: &Gateway) -> Vec<String> {
    let rules = gateway.rules.selectors().iter().flat_map(|selector| &selector.rules);
    rules.map(|rule| rule.id.clone().into()).collect()
}

fn listed(names: &[String]) -> String {
    /// As many as a person reads.
    const SHOWN: usize = 12;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len() {
        0 => "none".to_owned(),
        length if length > SHOWN => format!("{} and {} more", shown.join(", "), length - SHOWN),
        _ => shown.join(", "),
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
