//! Table cases: a file of requests and the decisions expected about them.
//!
//! Each case goes the way of a real check, from the bytes of a `CheckRequest` to those of the
//! response, with nothing counted before it. A case that fails is reported where it stands in its
//! file, so that an editor can jump there.

mod expect;

use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::load_policy;
use crate::authz::decide;
use crate::authz::respond::answer::Answer;
use crate::authz::sample::Sample;
use crate::clock::{Now, rfc3339};
use crate::policy::compile::{self, Strictness};
use crate::policy::egress::Egress;
use crate::policy::load;
use crate::policy::locate::{Errors, Finding, decode_utf8, explain, quote};
use crate::policy::place::Place;
use crate::policy::raw::{self, CaseFile, CaseRequest, Text};
use crate::policy::secrets::Store;
use crate::policy::{Revision, Snapshot};
use crate::ratelimit::memory::Counters;
use crate::side::Side;

/// The decision id of every case.
const DECISION_ID: &str = "decision-id";

/// A case may be sent this often.
const MAX_REPEAT: u32 = 100_000;

/// How the cases of a file went.
#[derive(Debug, Default)]
pub struct Tally {
    /// Cases that came out as expected.
    pub passed: usize,
    /// Cases that did not.
    pub failed: usize,
    /// Every difference between what was expected and what came.
    pub failures: Errors,
}

/// Why the cases of a file could not be run.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// It is no case file.
    Invalid(Errors),
    /// The policy directory that it names does not load.
    Policy(PathBuf, load::Error),
}

/// A case that can be run.
#[derive(Debug)]
struct Ready {
    side: Side,
    sample: Sample,
    now: Now,
    repeat: u32,
}

/// Runs the cases of a file against its own policy, or else against this one. A policy of its own is
/// loaded as the file says, or else with this strictness.
///
/// # Errors
/// Nothing was run.
pub fn run(
    path: &Path,
    policy: &Snapshot,
    strictness: Strictness,
    now: Now,
) -> Result<Tally, Error> {
    let bytes = fs::read(path).map_err(|error| Error::Unreadable(path.to_owned(), error))?;
    let name = path.display().to_string();
    let text = decode_utf8(&name, &bytes).map_err(|error| Error::Invalid(error.into()))?;
    let file = raw::parse::<CaseFile<'_>>(text).map_err(|error| {
        Error::Invalid(explain::<CaseFile<'_>>(&name, text, Some(&error)).place(&[]))
    })?;
    let mut findings = Vec::new();
    let own = own_policy(&file, path, strictness, &mut findings)?;
    let cases = file.cases.as_deref().unwrap_or(&[]);
    let root = Place::Root;
    let place = root.field("cases");
    if cases.is_empty() {
        findings.push(place.report("expected at least one case"));
    }
    let ready: Vec<Ready> = cases
        .iter()
        .enumerate()
        .filter_map(|(index, case)| prepare(case, place.index(index), now, &mut findings))
        .collect();
    let located = |findings: &[Finding]| explain::<CaseFile<'_>>(&name, text, None).place(findings);
    if !findings.is_empty() {
        return Err(Error::Invalid(located(&findings)));
    }
    let policy = own.as_ref().unwrap_or(policy);
    let mut tally = Tally::default();
    for (index, (case, ready)) in cases.iter().zip(&ready).enumerate() {
        let before = findings.len();
        compare(policy, case, ready, place.index(index), &mut findings);
        if findings.len() == before {
            tally.passed += 1;
        } else {
            tally.failed += 1;
        }
    }
    if !findings.is_empty() {
        tally.failures = located(&findings);
    }
    Ok(tally)
}

/// The policy that the file names or holds.
fn own_policy(
    file: &CaseFile<'_>,
    path: &Path,
    strictness: Strictness,
    findings: &mut Vec<Finding>,
) -> Result<Option<Snapshot>, Error> {
    let root = Place::Root;
    let strictness = match file.env.as_deref() {
        None => strictness,
        Some("production") => Strictness::Production,
        Some("development") => Strictness::Development,
        Some(other) => {
            let message =
                format!("expected \"production\" or \"development\", found {}", quote(other));
            findings.push(root.field("env").report(message));
            strictness
        }
    };
    let inline = file.gateway.is_some() || file.egress.is_some();
    let Some(directory) = &file.policy else {
        return Ok(inline.then(|| inline_policy(file, strictness, findings)));
    };
    if inline {
        let field = if file.gateway.is_some() { "gateway" } else { "egress" };
        let message = format!("expected `policy` or `{field}`, not both");
        findings.push(root.field(field).report(message));
        return Ok(None);
    }
    let directory = path.parent().unwrap_or(Path::new("")).join(&**directory);
    match load_policy(&directory, strictness, &mut Store::placeholders()) {
        Ok((_files, snapshot)) => Ok(Some(snapshot)),
        Err(error) => Err(Error::Policy(directory, error)),
    }
}

/// The policy that the file holds. What is wrong with it is found, and then nothing is run.
fn inline_policy(
    file: &CaseFile<'_>,
    strictness: Strictness,
    findings: &mut Vec<Finding>,
) -> Snapshot {
    let root = Place::Root;
    let mut found = |field, found: Vec<Finding>| {
        let prefix = root.field(field).path();
        findings.extend(found.into_iter().map(|finding| finding.within(&prefix)));
    };
    let mut gateway = None;
    if let Some(written) = &file.gateway {
        match compile::gateway(written, strictness) {
            Ok(compiled) => gateway = Some(Arc::new(compiled)),
            Err(faults) => found("gateway", faults),
        }
    }
    let mut egress = None;
    if let Some(written) = &file.egress {
        match compile::egress(written, None, strictness) {
            Ok(map) => {
                let map = Arc::new(map);
                let wanted = Store::placeholders().supply(&map, Now::read());
                egress = Some(Egress::new(map, wanted));
            }
            Err(faults) => found("egress", faults.config),
        }
    }
    Snapshot { revision: Revision("inline".into()), generation: 1, gateway, egress }
}

/// Judges a case as it is written.
fn prepare(
    case: &raw::Case<'_>,
    place: Place<'_>,
    now: Now,
    findings: &mut Vec<Finding>,
) -> Option<Ready> {
    let before = findings.len();
    if case.name.is_none() {
        findings.push(place.field("name").report("expected a field `name`: what the case shows"));
    }
    let side = match case.side.as_deref() {
        None | Some("gateway") => Side::Gateway,
        Some("egress") => Side::Egress,
        Some(other) => {
            let message = format!("expected \"gateway\" or \"egress\", found {}", quote(other));
            findings.push(place.field("side").report(message));
            Side::Gateway
        }
    };
    let repeat = match case.repeat.map(u32::try_from) {
        None => 1,
        Some(Ok(number @ 1..=MAX_REPEAT)) => number,
        Some(Ok(_) | Err(_)) => {
            let message = format!("expected a number from 1 to {MAX_REPEAT}");
            findings.push(place.field("repeat").report(message));
            1
        }
    };
    match case.expect.as_ref().map(|expect| expect.decision.as_deref()) {
        Some(Some("allow" | "deny" | "shadow")) => {}
        Some(Some(other)) => {
            let message =
                format!("expected \"allow\", \"deny\" or \"shadow\", found {}", quote(other));
            findings.push(place.field("expect").field("decision").report(message));
        }
        Some(None) | None => {
            let place = place.field("expect");
            findings.push(place.field("decision").report("expected a field `decision`"));
        }
    }
    let ready = case.request.as_ref().map(|request| {
        let place = place.field("request");
        let now = moment(request, place, now, findings);
        Ready { side, sample: sample(request, place, findings), now, repeat }
    });
    if ready.is_none() {
        findings.push(place.field("request").report("expected a field `request`"));
    }
    ready.filter(|_| findings.len() == before)
}

fn moment(
    request: &CaseRequest<'_>,
    place: Place<'_>,
    now: Now,
    findings: &mut Vec<Finding>,
) -> Now {
    let Some(written) = &request.time else { return now };
    if let Some(unix) = rfc3339(written) {
        return Now { unix, ..now };
    }
    findings.push(place.field("time").report(format!(
        "expected a date such as \"2027-01-31T00:00:00Z\" (RFC 3339), found {}",
        quote(written)
    )));
    now
}

fn sample(request: &CaseRequest<'_>, place: Place<'_>, findings: &mut Vec<Finding>) -> Sample {
    if request.path.is_none() {
        findings.push(place.field("path").report("expected a field `path`"));
    }
    let mut headers = Vec::new();
    let list = place.field("headers");
    for (index, line) in request.headers.iter().flatten().enumerate() {
        match Sample::header(line.expose()) {
            Some(header) => headers.push(header),
            None => findings.push(list.index(index).report("expected `name: value`")),
        }
    }
    if let Some(address) = &request.source_ip
        && address.parse::<IpAddr>().is_err()
    {
        findings.push(place.field("source_ip").report("expected an IPv4 or IPv6 address"));
    }
    let text = |text: &Option<Text<'_>>, absent: &str| text.as_deref().unwrap_or(absent).to_owned();
    Sample {
        method: text(&request.method, "GET"),
        host: text(&request.host, "gateway.test"),
        path: text(&request.path, ""),
        headers,
        source_ip: request.source_ip.as_deref().map(str::to_owned),
        principal: request.spiffe_id.as_deref().map(str::to_owned),
        rule: request.rule.as_deref().map(str::to_owned),
        raw_headers: false,
    }
}

/// Sends a case and notes every difference.
fn compare(
    policy: &Snapshot,
    case: &raw::Case<'_>,
    ready: &Ready,
    place: Place<'_>,
    findings: &mut Vec<Finding>,
) {
    let bytes = ready.sample.encode();
    let counters = Counters::new();
    for _ in 1..ready.repeat {
        drop(decide(ready.side, policy, &counters, ready.now, DECISION_ID, &bytes));
    }
    let decision = decide(ready.side, policy, &counters, ready.now, DECISION_ID, &bytes);
    let name = quote(case.name.as_deref().unwrap_or(""));
    let Ok(answer) = Answer::read(&decision.response()) else {
        findings.push(place.report(format!("{name}: the response cannot be read")));
        return;
    };
    if let Some(expect) = &case.expect {
        let got = expect::Got { decision: &decision, answer: &answer, sample: &ready.sample };
        for difference in expect::differences(expect, &got, place.field("expect")) {
            let message = format!("{name}: {}", difference.message);
            findings.push(Finding { message, ..difference });
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Invalid(errors) => errors.fmt(f),
            Self::Policy(directory, error) => write!(f, "{}: {error}", directory.display()),
        }
    }
}

impl std::error::Error for Error {}
