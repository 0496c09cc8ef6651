//! `gatepost check --cases`.

use super::{CANARY, Policy, run};
use crate::world::envoy::root;

const SAMPLE: [&str; 4] = ["check", "policy/data", "--env", "development"];

#[test]
fn every_shipped_case_passes() {
    let directory = root().join("policy/cases");
    let mut files = 0;
    let mut passed = 0;
    for entry in directory.read_dir().unwrap() {
        let file = entry.unwrap().path();
        if file.is_dir() {
            continue;
        }
        let file = file.to_str().unwrap();
        let json = run(&[&SAMPLE[..], &["--format", "json", "--cases", file]].concat());
        let json = json.is(0, &[]).json();
        assert_eq!(json["cases"]["failed"], 0, "{file}: {json:#}");
        passed += json["cases"]["passed"].as_u64().unwrap();
        files += 1;
    }
    assert!(files >= 10 && passed >= 200, "{passed} cases in {files} files");
    let all = run(&[&SAMPLE[..], &["--cases", "policy/cases"]].concat());
    all.is(0, &[&format!("cases: {passed} passed, 0 failed")]);
}

/// A case file beside a policy of its own, with this as its cases.
fn with_cases(cases: &str) -> Policy {
    let policy = std::fs::read_to_string(root().join("policy/data/gateway_config.json")).unwrap();
    Policy::new(&policy).with("cases.json", &format!("{{ \"cases\": [\n{cases}\n] }}"))
}

#[test]
fn a_failing_case_says_what_was_expected_and_what_came() {
    let policy = with_cases(
        r#"{ "name": "one", "request": { "path": "/api/v1/x" }, "expect": { "decision": "deny" } },
{ "name": "two", "request": { "path": "/health" },
  "expect": { "decision": "deny", "rule": "rest", "status": 401, "removed_headers": ["accept"],
              "set_headers": { "x-tenant": "acme" }, "response_headers": { "ratelimit": "x" } } },
{ "name": "three", "request": { "path": "/api/v1/x", "headers": ["x-api-key: wrong"] },
  "expect": { "decision": "allow", "detail": "expired", "kept_headers": ["x-api-key"] } }"#,
    );
    let cases = policy.file("cases.json");
    let args = ["check", policy.path(), "--env", "development", "--cases", &cases];
    let at = |place: &str| format!("{cases}:{place}");
    run(&args).is(
        1,
        &[
            &at(r#"4:27: cases[1].expect.decision: "two": expected "deny", got "allow""#),
            &at(r#"4:43: cases[1].expect.rule: "two": expected "rest", got "health""#),
            &at(r#"4:61: cases[1].expect.status: "two": expected 401, got none"#),
            r#""two": expected "accept" to be removed, it is left as it was"#,
            r#"cases[1].expect.set_headers.x-tenant: "two": expected "acme", got none"#,
            r#"cases[1].expect.response_headers.ratelimit: "two": expected "x", got none"#,
            &at(
                r#"7:27: cases[2].expect.decision: "three": expected "allow", got "deny" (credential_invalid, unknown)"#,
            ),
            r#""three": expected "expired", got "unknown""#,
            r#""three": expected "x-api-key" to be kept, it is refused with the request"#,
            "cases: 1 passed, 2 failed",
            "failed: 0 errors, 2 failed cases, 5 warnings",
        ],
    );
    let json = run(&[&args[..], &["--format", "json"]].concat());
    let json = json.is(1, &[]).json();
    assert_eq!((&json["ok"], &json["errors"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(json["cases"]["passed"], 1);
    assert_eq!(json["cases"]["failed"], 2);
    assert_eq!(json["cases"]["failures"][0]["line"], 4);
}

#[test]
fn a_mistake_in_a_case_file_has_its_place() {
    let good = r#""request": { "path": "/" }, "expect": { "decision": "deny" }"#;
    let rows: [(&str, &str); 13] = [
        (r#"{ "name": "a", "requst": {} }"#, "2:16: cases[0].requst: unknown field"),
        (r#"{ "request": { "path": "/" }, "expect": { "decision": "deny" } }"#, "cases[0].name"),
        (r#"{ "name": "a", "expect": { "decision": "deny" } }"#, "cases[0].request: expected"),
        (
            r#"{ "name": "a", "request": {}, "expect": { "decision": "deny" } }"#,
            "cases[0].request.path: expected a field `path`",
        ),
        (
            r#"{ "name": "a", "request": { "path": "/" } }"#,
            "cases[0].expect.decision: expected a field `decision`",
        ),
        (
            r#"{ "name": "a", "request": { "path": "/" }, "expect": { "decision": "denied" } }"#,
            r#"2:68: cases[0].expect.decision: expected "allow", "deny" or "shadow", found "denied""#,
        ),
        (
            r#"{ "name": "a", "request": { "path": "/" }, "expect": { "decision": "deny", "staus": 4 } }"#,
            "did you mean `status`?",
        ),
        (
            r#"{ "name": "a", "request": { "path": "/", "time": "noon" }, "expect": { "decision": "deny" } }"#,
            "cases[0].request.time: expected a date",
        ),
        (
            r#"{ "name": "a", "request": { "path": "/", "headers": ["CANARY"] }, "expect": { "decision": "deny" } }"#,
            "cases[0].request.headers[0]: expected `name: value`",
        ),
        (
            r#"{ "name": "a", "request": { "path": "/", "headers": { "x-api-key": "CANARY" } }, "expect": { "decision": "deny" } }"#,
            "cases[0].request.headers: expected a list, found an object",
        ),
        (r#"{ "name": "a", "repeat": 0, GOOD }"#, "cases[0].repeat: expected a number from 1"),
        ("", "cases: expected at least one case"),
        ("{", "not valid JSON"),
    ];
    for (case, piece) in rows {
        let policy = with_cases(&case.replace("GOOD", good).replace("CANARY", CANARY));
        let cases = policy.file("cases.json");
        let args = ["check", policy.path(), "--env", "development", "--cases", &cases];
        run(&args).is(1, &[piece, &format!("{cases}:"), "failed: 1 error"]);
    }
}

#[test]
fn a_case_file_may_bring_its_own_policy() {
    let case = r#""cases": [{ "name": "a", "request": { "path": "/x" }, "expect": { "decision": "allow" } }]"#;
    let open = r#""gateway": { "rules": [{ "id": "all", "paths": ["/**"], "auth": "none" }] }"#;
    for (head, code, piece) in [
        (open.to_owned(), 0, "cases: 1 passed, 0 failed"),
        (r#""policy": ".""#.to_owned(), 1, "expected \"allow\", got \"deny\""),
        (
            r#""policy": ".", "env": "production""#.to_owned(),
            1,
            "gateway_config.json:12:14: api_keys[0].key: is the development key",
        ),
        (format!(r#""policy": ".", {open}"#), 1, "expected `policy` or `gateway`, not both"),
        (r#""policy": "nowhere""#.to_owned(), 1, "nowhere: No such file or directory"),
        (r#""env": "test""#.to_owned(), 1, "expected \"production\" or \"development\""),
        (
            r#""gateway": { "rules": [{ "id": "all", "paths": ["x"] }] }"#.to_owned(),
            1,
            "cases.json:1:51: gateway.rules[0].paths[0]: expected a path pattern",
        ),
    ] {
        let policy = with_cases("").with("cases.json", &format!("{{ {head}, {case} }}"));
        let cases = policy.file("cases.json");
        let args = ["check", policy.path(), "--env", "development", "--cases", &cases];
        run(&args).is(code, &[piece]);
    }
}

#[test]
fn case_files_that_are_not_there_are_findings() {
    let empty = tempfile::TempDir::new().unwrap();
    for (cases, piece) in [
        ("policy/cases/none.json", "policy/cases/none.json: No such file or directory"),
        (empty.path().to_str().unwrap(), "has no *.json file"),
    ] {
        run(&[&SAMPLE[..], &["--cases", cases]].concat()).is(1, &[piece, "failed: 1 error"]);
    }
}

/// The policy of a case file may have both sides, each judged in its place.
#[test]
fn a_case_file_may_hold_an_egress() {
    let file = |egress: &str, side: &str| {
        format!(
            r#"{{ "egress": {{ {egress} }}, "gateway": {{ "rate_limit_tiers": {{ "default": {{}} }} }},
  "cases": [ {{ "name": "n", {side} "request": {{ "path": "/health" }}, "expect": {{ "decision": "allow" }} }} ] }}"#
        )
    };
    let service = r#""egress_services": { "a": { "base_url": "https://a.test" } }"#;
    for (egress, side, code, piece) in [
        (service, "", 0, "cases: 1 passed, 0 failed"),
        (service, r#""side": "gateway","#, 0, "cases: 1 passed, 0 failed"),
        (
            service,
            r#""side": "egress","#,
            1,
            r#"cases[0].expect.decision: "n": expected "allow", got "deny" (credential_missing)"#,
        ),
        (
            service,
            r#""side": "both","#,
            1,
            "2:37: cases[0].side: expected \"gateway\" or \"egress\"",
        ),
        (
            r#""egress_services": { "a": {} }"#,
            "",
            1,
            "1:41: egress.egress_services.a.base_url: expected a field `base_url`",
        ),
    ] {
        let policy = Policy::new("{}").with("cases.json", &file(egress, side));
        let cases = policy.file("cases.json");
        run(&["check", policy.path(), "--cases", &cases]).is(code, &[piece]);
    }
    let policy =
        Policy::new("{}").with("cases.json", r#"{ "policy": ".", "egress": {}, "cases": [] }"#);
    run(&["check", policy.path(), "--cases", &policy.file("cases.json")])
        .is(1, &["egress: expected `policy` or `egress`, not both"]);
}
