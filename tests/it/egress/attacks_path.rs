//! Paths that mean one thing to the policy and another to the service.

use super::scene::{METHOD, PATH, PATH_AMBIGUOUS, Scene, ask, scene, token};
use crate::world::Protocol;
use crate::world::answer::{Answer, Request};

/// The answer says what openai received: this target and nothing else.
#[track_caller]
fn assert_sent(answer: &Answer, target: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(path_of(answer), target);
}

/// The path and the query of the request that the answer echoes.
fn path_of(answer: &Answer) -> String {
    let echo = answer.json();
    let path = echo["path"].as_str().unwrap();
    path.split_once("://").map_or(path.to_owned(), |(_, rest)| {
        rest.split_once('/').map_or("/".to_owned(), |(_, path)| format!("/{path}"))
    })
}

/// A request line as it is, however odd.
fn raw(scene: &Scene, sandbox: &str, line: &[u8]) -> Option<Answer> {
    let token = token(sandbox);
    let rest = format!(" HTTP/1.1\r\nhost: openai\r\nx-sandbox-token: {token}\r\n\r\n");
    scene.send_bytes([line, rest.as_bytes()].concat())
}

#[test]
fn row_15_dot_segments_lead_nowhere_else() {
    let Some(scene) = scene() else { return };
    for target in [
        "/v1/rows/x/../secret/row-15",
        "/v1/rows/x/%2e%2e/secret/row-15",
        "/v1/rows/x/.%2E/secret/row-15",
        "/v1/rows/./secret/row-15",
        "/v1/rows/../../v1/rows/secret/row-15",
        "/v1/rows/../admin/row-15",
    ] {
        let answer = scene.send(&ask("row-15", "openai", target));
        assert!([400, 403].contains(&answer.status), "{target}: {answer:?}");
    }
    // Out of one service and into another: what is judged is the other.
    let answer = scene.send(&ask("narrow-15", "egress", "/plain/../openai/v1/models?row-15"));
    assert!([400, 403].contains(&answer.status), "{answer:?}");
    assert_eq!(scene.reached("row-15").len(), 0);
}

#[test]
fn row_16_parameters_hide_no_segments() {
    let Some(scene) = scene() else { return };
    for target in [
        "/v1/rows/..;/secret/row-16",
        "/v1/rows/x/..;a=b/secret/row-16",
        "/v1/;x/models?row-16",
        "/v1/models;row-16",
        "/v1/rows/%3b/row-16%3Bx/..%3b/secret",
    ] {
        let answer = scene.send(&ask("row-16", "openai", target));
        let folded = answer.status == 403;
        assert!(folded || answer.status == 400, "{target}: {answer:?}");
    }
    assert_eq!(scene.reached("row-16").len(), 0);
}

#[test]
fn row_17_encoded_slashes_are_for_who_asked_for_them() {
    let Some(scene) = scene() else { return };
    for target in ["/v1/rows/a%2Fb", "/v1/rows/a%2fb", "/v1/rows%2Fsecret/x", "/v1/rows/a%5Cb"] {
        scene.assert_denied(&scene.send(&ask("row-17", "openai", target)), PATH_AMBIGUOUS);
    }
    let answer = raw(scene, "row-17", b"GET /v1/rows/x\\..\\secret/row-17").unwrap();
    assert!([400, 403].contains(&answer.status), "{answer:?}");
    assert_eq!(scene.reached("row-17").len(), 0);
    // As they came, byte for byte.
    for target in
        ["/packages/@scope%2Fname", "/packages/@scope%2fname", "/a%25b", "/a%2Fb?c%2Fd=%2F"]
    {
        let answer = scene.send(&ask("row-17", "wide", target));
        assert_sent(&answer, target);
    }
    let answer = scene.send(&ask("row-17", "wide", "/a%5Cb"));
    scene.assert_denied(&answer, PATH_AMBIGUOUS);
}

#[test]
fn row_18_nothing_is_encoded_twice() {
    let Some(scene) = scene() else { return };
    for target in [
        "/v1/rows/%252e%252e/secret/row-18",
        "/v1/rows/a%252fb/row-18",
        "/v1/rows/%25%32%65/row-18",
        "/v1/rows/100%25/row-18",
    ] {
        scene.assert_denied(&scene.send(&ask("row-18", "openai", target)), PATH_AMBIGUOUS);
    }
    assert_eq!(scene.reached("row-18").len(), 0);
}

#[test]
fn row_19_one_spelling_is_judged_for_all() {
    let Some(scene) = scene() else { return };
    for target in ["//v1/models?row-19", "/v1//models?row-19", "/v1/rows//secret/row-19"] {
        scene.assert_denied(&scene.send(&ask("row-19", "openai", target)), PATH_AMBIGUOUS);
    }
    assert_eq!(scene.reached("row-19").len(), 0);
    for target in ["/v1/%72ows/%73ecret/x", "/v1/rows/secre%74/x"] {
        scene.assert_denied(&scene.send(&ask("row-19", "openai", target)), PATH);
    }
    for target in ["/v1/%6dodels", "/v1/mode%6Cs"] {
        assert_eq!(scene.send(&ask("row-19", "openai", target)).status, 200, "{target}");
    }
}

#[test]
fn row_20_a_query_is_no_path() {
    let Some(scene) = scene() else { return };
    for target in [
        "/v1/rows/secret/x?/v1/models",
        "/v1/admin?x=/v1/models",
        "/admin?/../v1/models",
        "/v1/models/a/b?",
    ] {
        scene.assert_denied(&scene.send(&ask("row-20", "openai", target)), PATH);
    }
    for target in [
        "/v1/models?a=1&b=%2F..%2f&c",
        "/v1/models?",
        "/v1/models?/../secret?x=?&&=;a",
        "/v1/models?z=1&a=2&z=3&%61=%zz+",
    ] {
        let answer = scene.send(&ask("row-20", "openai", target));
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        let sent = path_of(&answer);
        assert_eq!(sent.trim_end_matches('?'), target.trim_end_matches('?'));
    }
}

#[test]
fn row_21_what_no_path_holds_is_refused() {
    let Some(scene) = scene() else { return };
    for line in [
        &b"GET /v1/models#row-21"[..],
        b"GET /v1/models\0row-21",
        b"GET /v1/models\xc3\xa9row-21",
        b"GET /v1/models\xffrow-21",
        b"GET /v1/models row-21",
        b"GET /v1/models\trow-21",
        b"GET v1/models?row-21",
        b"GET /v1/rows/%00row-21",
        b"GET /v1/rows/%0d%0ax-a:%20b/row-21",
        b"GET /v1/rows/%ffrow-21",
        b"GET /v1/rows/%c0%ae%c0%ae/secret/row-21",
        b"GET /v1/rows/%zzrow-21",
    ] {
        let shown = String::from_utf8_lossy(line).into_owned();
        // A request line that is none may also cost the connection.
        let status = raw(scene, "row-21", line).map(|answer| answer.status);
        assert!([None, Some(400)].contains(&status), "{shown:?}: {status:?}");
    }
    assert_eq!(scene.reached("row-21").len(), 0);
}

#[test]
fn row_22_a_path_matches_whole_segments_from_end_to_end() {
    let Some(scene) = scene() else { return };
    for target in [
        "/v1/models-admin",
        "/v1/modelsx/a",
        "/v1/models/a/b",
        "/xv1/models",
        "/x/v1/models",
        "/V1/models",
        "/v1",
        "/",
    ] {
        scene.assert_denied(&scene.send(&ask("row-22", "openai", target)), PATH);
    }
    for target in ["/v1/models", "/v1/models/a", "/v1/rows/a/b/c"] {
        assert_sent(&scene.send(&ask("row-22", "openai", target)), target);
    }
}

#[test]
fn row_25_methods_are_those_of_the_list() {
    let Some(scene) = scene() else { return };
    let refused = ["TRACE", "DELETE", "PUT", "PATCH", "OPTIONS", "PROPFIND", "get", "TRACK"];
    for method in refused {
        let mut request = ask("row-25", "openai", "/v1/models?row-25");
        method.clone_into(&mut request.method);
        let answer = scene.send(&request);
        if answer.status != 400 {
            scene.assert_denied(&answer, METHOD);
        }
    }
    let head = format!(
        "HEAD /v1/models?row-25 HTTP/1.1\r\nhost: openai\r\nx-sandbox-token: {}\r\n\r\n",
        token("row-25")
    );
    assert_eq!(scene.send_bytes(head).unwrap().status, 403);
    assert_eq!(scene.reached("row-25").len(), 0);
    let post = Request { method: "POST".to_owned(), ..ask("row-25", "openai", "/v1/models") };
    assert_eq!(scene.send(&post.body("x")).status, 200);
}

#[test]
fn row_27_a_request_ends_in_one_place() {
    let Some(scene) = scene() else { return };
    let token = token("row-27");
    for framing in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "content-length: 4\r\ncontent-length: 5\r\n",
        "content-length: 4, 4\r\n",
        "content-length: +4\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\x0bchunked\r\n",
        "content-length : 4\r\n",
    ] {
        let bytes = format!(
            "POST /row-27 HTTP/1.1\r\nhost: plain\r\nx-sandbox-token: {token}\r\n{framing}\r\n0\r\n\r\n"
        );
        let status = scene.send_bytes(bytes).map(|answer| answer.status);
        assert!([None, Some(400), Some(501)].contains(&status), "{framing:?}: {status:?}");
    }
    assert_eq!(scene.reached("row-27").len(), 0);
    // One after the other on one connection, with a body that looks like a request.
    let inner = "GET /row-27-inner HTTP/1.1\r\nhost: plain\r\n\r\n";
    let request = ask("row-27", "plain", "/row-27-outer").body(inner);
    let request = Request { method: "POST".to_owned(), ..request };
    for protocol in Protocol::BOTH {
        assert_eq!(scene.world.send(protocol, &request).status, 200);
    }
    assert_eq!(scene.reached("row-27-inner").len(), 0);
    assert_eq!(scene.reached("row-27-outer").len(), 2);
}
