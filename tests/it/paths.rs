//! Paths: what is judged is what the upstream sees, or it is refused.

use http::uri::PathAndQuery;
use serde_json::Value;

use crate::scene::{
    Clients, decision_id, decisions, everywhere, key, percent_decoded, resolved, shipped,
};
use crate::world::Protocol;
use crate::world::answer::{Answer, Request};
use crate::world::check::{check, check_request};

/// What a target is by itself, without anybody's normalisation: refused, or judged as this path.
const TARGETS: [(&str, Option<&str>); 95] = [
    ("/public/x", Some("/public/x")),
    ("/public/", Some("/public/")),
    ("/public/x/", Some("/public/x/")),
    ("/public/x?", Some("/public/x")),
    ("/public/x?a=/../../admin", Some("/public/x")),
    ("/public/x?//admin", Some("/public/x")),
    ("/public/x?a=b;c=%2e%2e%2f", Some("/public/x")),
    ("/public/x?a?b", Some("/public/x")),
    ("/public/...", Some("/public/...")),
    ("/public/.hidden", Some("/public/.hidden")),
    ("/public/a..b", Some("/public/a..b")),
    ("/public/..a", Some("/public/..a")),
    ("/public/%41", Some("/public/A")),
    ("/public/a%20b", Some("/public/a b")),
    ("/public/caf%C3%A9", Some("/public/café")),
    ("/public/a%3Fadmin", Some("/public/a?admin")),
    ("/public/a%23b", Some("/public/a#b")),
    ("/public/a%2Cb", Some("/public/a,b")),
    ("/public/a%3Bb", Some("/public/a;b")),
    ("/public/%7Eroot", Some("/public/~root")),
    ("/public/a+b", Some("/public/a+b")),
    ("/public/a:b@c", Some("/public/a:b@c")),
    ("/public/*", Some("/public/*")),
    ("/%70ublic/x", Some("/public/x")),
    ("/Public/x", Some("/Public/x")),
    ("/admin", Some("/admin")),
    ("/admin/x", Some("/admin/x")),
    ("/ADMIN/x", Some("/ADMIN/x")),
    ("/%61dmin/x", Some("/admin/x")),
    ("/%61%64%6d%69%6e/x", Some("/admin/x")),
    ("/admin%20/x", Some("/admin /x")),
    ("/admin.json", Some("/admin.json")),
    ("/public/../admin/x", None),
    ("/public/./../admin/x", None),
    ("/public/..", None),
    ("/public/.", None),
    ("/public/../public/x", None),
    ("/../admin/x", None),
    ("/./admin/x", None),
    ("/..", None),
    ("/.", None),
    ("//admin/x", None),
    ("//public/x", None),
    ("/public//x", None),
    ("/public///..//admin/x", None),
    ("/public/x//", None),
    ("//evil.example/admin", None),
    ("/public/..;/admin/x", None),
    ("/public/.;/x", None),
    ("/public/..;a=b/admin/x", None),
    ("/public;/../admin/x", None),
    ("/public;x=y/x", None),
    ("/public/x;y", None),
    ("/public/;/x", None),
    ("/;/admin/x", None),
    ("/admin;x=y/x", None),
    ("/public/%2e%2e/admin/x", None),
    ("/public/%2E%2E/admin/x", None),
    ("/public/.%2e/admin/x", None),
    ("/public/%2e./admin/x", None),
    ("/public/%2e/x", None),
    ("/public/a%2eb", None),
    ("/public/..%2fadmin/x", None),
    ("/public/..%2Fadmin/x", None),
    ("/public/%2e%2e%2fadmin%2fx", None),
    ("/public%2f..%2fadmin", None),
    ("/%2fadmin/x", None),
    ("/%2Fadmin%2Fx", None),
    ("/public/a%2fb", None),
    // Some decode a path and pass it on; the next then takes what follows `;` for a parameter.
    ("/public/..%3B/admin/x", None),
    ("/public/..%3bx=y/admin/x", None),
    ("/public/.%3B/x", None),
    ("/public\\..\\admin\\x", None),
    ("/public/..\\admin/x", None),
    ("/\\admin/x", None),
    ("/public/..%5cadmin/x", None),
    ("/public/..%5Cadmin/x", None),
    ("/%5cadmin/x", None),
    ("/public/%252e%252e/admin/x", None),
    ("/public/..%252fadmin/x", None),
    ("/public/%25%32%65%25%32%65/admin/x", None),
    ("/public/%25", None),
    ("/public/%00", None),
    ("/public/x%00/../admin", None),
    ("/public/x%0d%0aX-User-Id:%20root", None),
    ("/public/%7f", None),
    ("/public/%1f", None),
    ("/public/%", None),
    ("/public/%4", None),
    ("/public/%zz", None),
    ("/public/%u002e%u002e/admin/x", None),
    ("/public/%c0%ae%c0%ae/admin/x", None),
    ("/public/%c0%af../admin/x", None),
    ("/public/%e0%80%ae%e0%80%ae/admin/x", None),
    ("/public/%ff", None),
];

/// The same, with bytes that few clients send.
const ODD_TARGETS: [(&str, Option<&str>); 22] = [
    ("/public/x#/../../admin", None),
    ("/public/x#", None),
    ("/public/x?a#b", None),
    ("/public#/../admin/x", None),
    ("/public/\u{e9}", None),
    ("/public/\u{ff0e}\u{ff0e}/admin/x", None),
    ("/public/\u{2215}..\u{2215}admin", None),
    ("/public/x y", None),
    ("/public/x?a b", None),
    ("/public/\t/x", None),
    ("/public/\u{1}", None),
    ("/public/\u{7f}", None),
    ("public/x", None),
    ("*", None),
    ("?", None),
    ("http://gateway.test/public/x", Some("/public/x")),
    ("http://gateway.test:80/admin/x?y", Some("/admin/x")),
    ("http://GATEWAY.test", Some("/")),
    ("http://evil.example/public/x", None),
    ("http://gateway.test@evil.example/public/x", None),
    ("http://gateway.test/public/../admin/x", None),
    ("ftp://gateway.test/public/x", None),
];

#[test]
fn past_envoy_each_path_is_refused_or_judged_as_it_is() {
    let mut client = shipped().gatepost.connect();
    let empty = [("", None), ("\0", None), ("/\0", None), ("/public/\0/x", None)];
    for (target, wanted) in TARGETS.into_iter().chain(ODD_TARGETS).chain(empty) {
        let admin = key("admin");
        let headers = [("x-api-key", admin.as_bytes())];
        let checked = check(&mut client, &check_request("GET", target, &headers));
        let response = checked.response.unwrap_or_else(|| panic!("no answer to {target:?}"));
        let status = response.status.unwrap();
        let metadata = response.dynamic_metadata.unwrap();
        let text = |name: &str| format!("{:?}", metadata.fields.get(name));
        let Some(path) = wanted else {
            assert_eq!((status.code, &*status.message), (3, "request_malformed"), "{target:?}");
            continue;
        };
        let rule = match path {
            _ if path.starts_with("/public/") => "public",
            _ if path.starts_with("/admin/") || path == "/admin" => "admin",
            _ => "None",
        };
        let code = if rule == "None" { 7 } else { 0 };
        assert_eq!(status.code, code, "{target:?}: {}", text("reason"));
        assert!(text("rule").contains(rule), "{target:?}: {}", text("rule"));
    }
}

/// Sends a target as it is written; `None` where the client cannot say it, or nobody answers.
fn send(
    clients: &mut Clients,
    protocol: Protocol,
    target: &str,
    caller: Option<&str>,
) -> Option<Answer> {
    let mut request = Request::get(target);
    if let Some(id) = caller {
        request = request.header("x-api-key", key(id));
    }
    let sayable = target.parse::<PathAndQuery>().is_ok_and(|parsed| parsed == *target);
    if protocol == Protocol::Http2 && !(sayable && target.starts_with('/')) {
        return None;
    }
    clients.send(protocol, &request)
}

/// What must hold of any answer to any target, and of its line in the log, if gatepost was asked.
fn check_answer(told: &str, answer: &Answer, line: Option<&Value>, caller: Option<&str>) {
    let Some(line) = line else {
        // Envoy refuses some targets by itself.
        assert!(matches!(answer.status, 400 | 404), "{told}");
        return;
    };
    if answer.status != 200 {
        let wanted: &[u16] = if caller.is_some() { &[400, 403] } else { &[400, 401] };
        assert!(wanted.contains(&answer.status), "{told}");
        return;
    }
    // The path that was judged is the one that arrived, and the upstream cannot read it otherwise.
    let arrived = answer.json()["path"].as_str().unwrap().to_owned();
    let path = arrived.split('?').next().unwrap();
    let decoded = String::from_utf8(percent_decoded(path.as_bytes())).unwrap();
    // The log shows no query, not even one that only a decoded path seems to have.
    let shown = decoded.split(['?', '#']).next();
    assert_eq!(line["path"].as_str(), shown, "{told}: {line}");
    let rule = line["rule"].as_str().unwrap();
    let resolved = resolved(&arrived);
    let meant = match rule {
        "public" => resolved == "/public" || resolved.starts_with("/public/"),
        "admin" => resolved == "/admin" || resolved.starts_with("/admin/"),
        _ => false,
    };
    assert!(meant, "{told}: passed under {rule} and could be read as {resolved}");
    assert!(rule == "public" || caller == Some("admin"), "{told}: {line}");
}

#[test]
fn behind_any_envoy_what_is_judged_is_what_arrives() {
    const CALLS: [(Protocol, Option<&str>); 4] = [
        (Protocol::Http1, None),
        (Protocol::Http1, Some("admin")),
        (Protocol::Http2, None),
        (Protocol::Http2, Some("admin")),
    ];
    for (config, world) in everywhere() {
        let mark = world.gatepost.process.stdout.mark();
        let mut clients = Clients::connect(world);
        let mut answers = Vec::new();
        for (target, alone) in TARGETS.into_iter().chain(ODD_TARGETS) {
            for (protocol, caller) in CALLS {
                if let Some(answer) = send(&mut clients, protocol, target, caller) {
                    answers.push((target, alone, protocol, caller, answer));
                }
            }
        }
        let lines = decisions(world, mark, answers.iter().map(|(.., answer)| answer));
        for (target, alone, protocol, caller, answer) in &answers {
            let told = format!("{config:?} {protocol:?} {caller:?} {target:?}: {answer:?}");
            let line = decision_id(answer).map(|id| &lines[&id]);
            check_answer(&told, answer, line, *caller);
            // What nobody finds odd passes everywhere.
            let plain = alone.is_some_and(|path| path.starts_with("/public/"));
            assert!(!plain || answer.status == 200, "{told}");
        }
    }
}

#[test]
fn the_query_is_passed_on_and_never_judged() {
    let queries = ["a=1", "/../../admin", "a=%2e%2e%2f;b", "x=//", "a=b?c", "%00", "api_key=x"];
    for (config, world) in everywhere() {
        let mark = world.gatepost.process.stdout.mark();
        let calls =
            queries.iter().flat_map(|query| Protocol::BOTH.map(|protocol| (query, protocol)));
        let answers = calls.map(|(query, protocol)| {
            let target = format!("/nowhere?/public/x{query}");
            let answer = world.send(protocol, &Request::get(&target));
            assert_eq!(answer.status, 401, "{config:?} {protocol:?} {query}");
            let target = format!("/public/x?{query}");
            let answer = world.send(protocol, &Request::get(&target));
            assert_eq!(answer.json()["path"], target, "{config:?} {protocol:?}");
            answer
        });
        let answers: Vec<_> = answers.collect();
        for line in decisions(world, mark, &answers).values() {
            let line = line.to_string();
            let leaked = queries.iter().find(|query| line.contains(**query));
            assert_eq!(leaked, None, "the query is in the log: {line}");
        }
    }
}

/// A rule may say that the service behind it keeps escapes apart; dot segments it never gets.
#[test]
fn a_rule_that_allows_escapes_gets_them_as_they_came() {
    for (config, world) in everywhere() {
        for (target, passes) in [
            ("/files/a%2Fb", true),
            ("/files/a%2fb", true),
            ("/files/%40scope%2Fname", true),
            ("/files/100%25", true),
            ("/files/a%252Fb", true),
            ("/files/a%5Cb", false),
            ("/files/a%2eb", false),
            ("/files/..%2Fadmin", false),
            ("/files/a%2F..%2F..%2Fadmin", false),
            ("/files/a%2F.", false),
            ("/files/%2E%2E%2Fadmin", false),
            ("/files/a;b", false),
            ("/files/%00", false),
        ] {
            let answer = world.send(Protocol::Http1, &Request::get(target));
            let told = format!("{config:?} {target}: {answer:?}");
            match decision_id(&answer) {
                Some(_) if passes => assert_eq!(answer.json()["path"], target, "{told}"),
                // The shipped Envoy refuses some, and resolves others, before we are asked.
                _ => assert!(
                    matches!(answer.status, 400 | 401 | 404)
                        || !passes
                            && resolved(answer.json()["path"].as_str().unwrap())
                                .starts_with("/files/"),
                    "{told}"
                ),
            }
        }
    }
}
