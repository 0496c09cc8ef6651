//! What was expected against what came.

use crate::authz::Decision;
use crate::authz::respond::answer::{Answer, find};
use crate::authz::sample::Sample;
use crate::denial::Denial;
use crate::policy::locate::{Finding, quote};
use crate::policy::place::Place;
use crate::policy::raw::{Expectation, Text};

/// What came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Got<'g> {
    pub(super) decision: &'g Decision<'g>,
    pub(super) answer: &'g Answer,
    pub(super) sample: &'g Sample,
}

/// Every difference, at its place in the case.
pub(super) fn differences(
    expect: &Expectation<'_>,
    got: &Got<'_>,
    place: Place<'_>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    texts(expect, got, place, &mut found);
    numbers(expect, got, place, &mut found);
    headers(expect, got, place, &mut found);
    found
}

fn texts(expect: &Expectation<'_>, got: &Got<'_>, place: Place<'_>, found: &mut Vec<Finding>) {
    let Got { decision, answer, .. } = got;
    let request = decision.request.as_ref();
    let detail = decision.denial().map(Denial::detail).filter(|text| !text.is_empty());
    let rows: [(_, &Option<Text<'_>>, Option<&str>); 13] = [
        ("decision", &expect.decision, answer.metadata("outcome")),
        ("reason", &expect.reason, answer.metadata("reason")),
        ("detail", &expect.detail, detail),
        ("rule", &expect.rule, answer.metadata("rule")),
        ("key_id", &expect.key_id, answer.metadata("key_id")),
        ("role", &expect.role, answer.metadata("role")),
        ("tier", &expect.tier, answer.metadata("tier")),
        ("tenant", &expect.tenant, decision.caller().tenant()),
        ("sandbox", &expect.sandbox, answer.metadata("sandbox")),
        ("service", &expect.service, answer.metadata("service")),
        ("credential", &expect.credential, decision.call.found.credential),
        ("host", &expect.host, request.map(|request| &*request.host)),
        ("path", &expect.path, request.map(|request| &*request.path.text)),
    ];
    for (field, expected, came) in rows {
        let Some(expected) = expected.as_deref() else { continue };
        if expected != came.unwrap_or("") {
            let mut message = format!("expected {}, got {}", shown(expected), maybe(came));
            if let ("decision", Some(denial)) = (field, decision.denial()) {
                let detail = detail.map(|detail| format!(", {detail}")).unwrap_or_default();
                message = format!("{message} ({}{detail})", denial.reason());
            }
            found.push(place.field(field).report(message));
        }
    }
}

fn numbers(expect: &Expectation<'_>, got: &Got<'_>, place: Place<'_>, found: &mut Vec<Finding>) {
    let rows = [
        ("status", expect.status, got.answer.status),
        ("grpc_status", expect.grpc_status, Some(got.answer.code)),
    ];
    for (field, expected, came) in rows {
        let Some(expected) = expected else { continue };
        if came.map(i64::try_from) != Some(Ok(expected)) {
            let came = came.map_or("none: the upstream answers".to_owned(), |n| n.to_string());
            found.push(place.field(field).report(format!("expected {expected}, got {came}")));
        }
    }
}

fn headers(expect: &Expectation<'_>, got: &Got<'_>, place: Place<'_>, found: &mut Vec<Finding>) {
    let Got { answer, sample, .. } = got;
    let lists = [
        ("set_headers", &expect.set_headers, &answer.set),
        ("response_headers", &expect.response_headers, &answer.client),
    ];
    for (field, expected, came) in lists {
        let place = place.field(field);
        for (name, expected) in expected.iter().flat_map(|headers| headers.iter()) {
            let came = find(came, name);
            if came.unwrap_or("") != &**expected {
                let message = format!("expected {}, got {}", shown(expected), maybe(came));
                found.push(place.field(name).report(message));
            }
        }
    }
    let changed = |name: &str| {
        if find(&answer.set, name).is_some() {
            Some("set")
        } else if answer.removed.iter().any(|other| other == name) {
            Some("removed")
        } else {
            None
        }
    };
    let list = place.field("removed_headers");
    for (index, name) in expect.removed_headers.iter().flatten().enumerate() {
        if changed(name) != Some("removed") {
            let came = changed(name).unwrap_or("left as it was");
            let message = format!("expected {} to be removed, it is {came}", quote(name));
            found.push(list.index(index).report(message));
        }
    }
    let list = place.field("kept_headers");
    for (index, name) in expect.kept_headers.iter().flatten().enumerate() {
        let sent = find(&sample.headers, name).is_some();
        let came = changed(name).or((answer.code != 0).then_some("refused with the request"));
        if let Some(came) = came.or((!sent).then_some("not sent")) {
            let message = format!("expected {} to be kept, it is {came}", quote(name));
            found.push(list.index(index).report(message));
        }
    }
}

fn shown(expected: &str) -> String {
    if expected.is_empty() { "none".to_owned() } else { quote(expected) }
}

fn maybe(came: Option<&str>) -> String {
    came.map_or("none".to_owned(), quote)
}
