//! Check calls past Envoy: requests that no Envoy would send, and the shape of every answer.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use prost::Message;

use crate::scene::{OURS, key, shipped};
use crate::world::check::{Checked, check, check_bytes, check_request};

/// What must be so in every answer, whatever was asked. Returns the code: 0 is an allow.
pub(crate) fn well_formed(response: &CheckResponse) -> i32 {
    // Without a status Envoy takes an answer for an allow.
    let status = response.status.as_ref().expect("a status");
    let metadata = response.dynamic_metadata.as_ref().expect("dynamic metadata");
    for name in ["decision_id", "outcome", "revision"] {
        assert!(metadata.fields.contains_key(name), "{name}: {response:?}");
    }
    match response.http_response.as_ref().expect("an answer") {
        HttpResponse::OkResponse(ok) => {
            assert_eq!(status.code, 0, "{response:?}");
            let names = overwriting(&ok.headers);
            overwriting(&ok.response_headers_to_add);
            // Envoy removes last.
            let removed: BTreeSet<&str> = ok.headers_to_remove.iter().map(String::as_str).collect();
            assert!(removed.is_disjoint(&names), "{response:?}");
            assert_eq!(removed.len(), ok.headers_to_remove.len(), "removed twice: {response:?}");
            let forbidden =
                |name: &&str| name.is_empty() || name.starts_with(':') || **name == *"host";
            assert!(!removed.iter().any(forbidden), "{response:?}");
            // Whatever we vouch for is one or the other.
            for name in OURS {
                assert!(names.contains(name) || removed.contains(name), "{name}: {response:?}");
            }
            assert!(removed.contains("x-agent-secret"), "{response:?}");
            #[expect(deprecated, reason = "it would take the place of the other metadata")]
            let older = &ok.dynamic_metadata;
            assert!(older.is_none() && ok.query_parameters_to_set.is_empty(), "{response:?}");
        }
        HttpResponse::DeniedResponse(denied) => {
            assert!((1..=16).contains(&status.code), "{response:?}");
            overwriting(&denied.headers);
            let http = denied.status.as_ref().expect("an HTTP status").code;
            assert!((400..600).contains(&http), "{response:?}");
            assert!(!denied.body.is_empty(), "{response:?}");
        }
        HttpResponse::ErrorResponse(_) => panic!("Envoy 1.36 does not know it: {response:?}"),
    }
    status.code
}

/// Every header says in both ways that it overwrites, stands there once, and is a header.
fn overwriting(headers: &[HeaderValueOption]) -> BTreeSet<&str> {
    const OVERWRITE_IF_EXISTS_OR_ADD: i32 = 2;
    let mut names = BTreeSet::new();
    for option in headers {
        #[expect(deprecated, reason = "what Envoy 1.36 reads")]
        let append = &option.append;
        assert_eq!(append.as_ref().map(|append| append.value), Some(false), "{option:?}");
        assert_eq!(option.append_action, OVERWRITE_IF_EXISTS_OR_ADD, "{option:?}");
        assert!(!option.keep_empty_value, "{option:?}");
        let HeaderValue { key, value, raw_value } = option.header.as_ref().expect("a header");
        let token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(!key.is_empty() && key.bytes().all(token), "{option:?}");
        // Envoy reads `value` alone, and sets an empty one as it is.
        assert!(raw_value.is_empty() && !value.is_empty(), "{option:?}");
        assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{option:?}");
        assert!(names.insert(&**key), "twice: {option:?}");
    }
    names
}

/// The code of a Check that must be answered, and why it was refused.
fn answered(checked: &Checked) -> (i32, String) {
    assert_eq!(checked.code, 0, "{checked:?}");
    let response = checked.response.as_ref().expect("an answer");
    let message = response.status.as_ref().expect("a status").message.clone();
    (well_formed(response), message)
}

/// The detail of the last decision that gatepost has logged about this path.
fn detail(path: &str) -> String {
    let log = &shipped().gatepost.process.stdout;
    log.wait_for(path, |line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (line["path"] == path).then(|| line["detail"].as_str().unwrap_or("").to_owned())
    })
}

fn http(request: &mut CheckRequest) -> &mut HttpRequest {
    let request = request.attributes.as_mut().unwrap().request.as_mut().unwrap();
    request.http.as_mut().unwrap()
}

type Headers<'a> = Vec<(&'a str, &'a [u8])>;

/// Envoy's other way of showing headers: a map in which duplicates are merged.
fn as_map(mut request: CheckRequest) -> CheckRequest {
    let http = http(&mut request);
    for HeaderValue { key, raw_value, .. } in http.header_map.take().unwrap().headers {
        let value = String::from_utf8(raw_value).unwrap();
        let entry = http.headers.entry(key);
        entry.and_modify(|all| *all = format!("{all},{value}")).or_insert_with(|| value.clone());
    }
    request
}

#[test]
fn what_is_no_check_request_is_refused() {
    let mut client = shipped().gatepost.connect();
    let valid = check_request("GET", "/public/x", &[]).encode_to_vec();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("nothing", vec![], "request_malformed"),
        ("no tags", vec![0xff; 3], "request_malformed"),
        ("a length without bytes", vec![0x0a, 0x05, b'a'], "request_malformed"),
        ("a group", vec![0x0b, 0x0c], "request_malformed"),
        ("half of one", valid[..valid.len() / 2].to_vec(), "request_malformed"),
        ("one and a half", [&valid[..], &valid[..9]].concat(), "request_malformed"),
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "request_malformed"),
        ("empty attributes", vec![0x0a, 0x00], "request_malformed"),
        ("another field alone", vec![0x12, 0x02, 0x0a, 0x00], "request_malformed"),
    ];
    for (name, bytes, reason) in cases {
        assert_eq!(answered(&check_bytes(&mut client, &bytes)), (3, reason.to_owned()), "{name}");
    }
    // And the process is still there.
    assert_eq!(answered(&check_bytes(&mut client, &valid)).0, 0);
}

#[test]
fn what_a_request_lacks_is_its_own_reason() {
    type Change = fn(&mut HttpRequest);
    let mut client = shipped().gatepost.connect();
    let cases: [(Change, i32, &str); 7] = [
        (|http| http.header_map = None, 3, "header_invalid"),
        (|http| http.header_map = Some(HeaderMap::default()), 3, "header_invalid"),
        (|http| http.host.clear(), 3, "host_invalid"),
        (|http| http.method.clear(), 7, "method"),
        (|http| http.method = "CONNECT".to_owned(), 7, "method"),
        (|http| http.method = "TRACE".to_owned(), 7, "method"),
        (|http| http.method = "SPLICE".to_owned(), 7, "method"),
    ];
    for (number, (change, code, why)) in cases.into_iter().enumerate() {
        let path = format!("/public/lacking-{number}");
        let mut request = check_request("GET", &path, &[]);
        change(http(&mut request));
        let reason = if code == 3 { "request_malformed" } else { "forbidden" };
        assert_eq!(answered(&check(&mut client, &request)), (code, reason.to_owned()), "{path}");
        assert_eq!(detail(&path), why, "{path}");
    }
}

#[test]
fn a_part_that_is_not_there_is_not_taken_for_anything() {
    let mut client = shipped().gatepost.connect();
    let mut request = check_request("CONNECT", "", &[]);
    assert_eq!(answered(&check(&mut client, &request)), (7, "forbidden".to_owned()));
    request = check_request("GET", "", &[]);
    let malformed = (3, "request_malformed".to_owned());
    assert_eq!(answered(&check(&mut client, &request)), malformed);
    request = check_request("GET", "/public/x", &[]);
    request.attributes.as_mut().unwrap().request.as_mut().unwrap().http = None;
    assert_eq!(answered(&check(&mut client, &request)), malformed);
    request.attributes.as_mut().unwrap().request = None;
    assert_eq!(answered(&check(&mut client, &request)), malformed);
    request.attributes = None;
    assert_eq!(answered(&check(&mut client, &request)), malformed);
}

#[test]
fn headers_without_end_are_refused() {
    let mut client = shipped().gatepost.connect();
    let (big, filler) = (vec![b'x'; 1024 * 1024], vec![b'x'; 1024]);
    let many: Vec<(&str, &[u8])> = vec![("x-filler", &filler); 1024];
    let short: Vec<(&str, &[u8])> = vec![("a", b"b"); 5000];
    for headers in [vec![("x-filler", &*big)], many, short] {
        for request in [
            check_request("GET", "/public/x", &headers),
            check_request("GET", "/api/v1/x", &headers),
        ] {
            let refused = (3, "request_malformed".to_owned());
            assert_eq!(answered(&check(&mut client, &request)), refused);
        }
    }
    // Above 4 MiB nothing is read at all; Envoy answers with its status_on_error.
    let huge = vec![b'x'; 5 * 1024 * 1024];
    let request = check_request("GET", "/public/x", &[("x-filler", &huge)]);
    let checked = check_bytes(&mut shipped().gatepost.connect(), &request.encode_to_vec());
    assert!(checked.code != 0 && checked.response.is_none(), "{:?}", checked.code);
    let long = format!("/public/{}", "a".repeat(100_000));
    assert_eq!(answered(&check(&mut client, &check_request("GET", &long, &[]))).0, 0);
}

#[test]
fn both_ways_of_showing_headers_mean_the_same() {
    let mut client = shipped().gatepost.connect();
    let (customer, admin) = (key("customer"), key("admin"));
    let (customer, admin) = (customer.as_bytes(), admin.as_bytes());
    let cases: [(Headers<'_>, i32); 7] = [
        (vec![("x-api-key", customer)], 0),
        (vec![("x-api-key", customer), ("x-api-key", customer)], 0),
        (vec![("x-api-key", customer), ("x-api-key", admin)], 3),
        (vec![], 16),
        (vec![("x_user_id", b"root"), ("x-api-key", customer)], 3),
        (vec![("X-User-Id", b"root"), ("x-api-key", customer)], 3),
        (vec![("", b"x"), ("x-api-key", customer)], 3),
    ];
    for (headers, code) in cases {
        let raw = check_request("GET", "/api/v1/x", &headers);
        assert_eq!(answered(&check(&mut client, &raw)).0, code, "{headers:?}");
        let map = as_map(raw.clone());
        assert_eq!(answered(&check(&mut client, &map)).0, code, "{headers:?}");
        // In both at once, nothing is overlooked.
        let mut both = raw;
        http(&mut both).headers.clone_from(&http(&mut map.clone()).headers);
        assert_eq!(answered(&check(&mut client, &both)).0, code, "{headers:?}");
        http(&mut both).headers.insert("x-api-key".to_owned(), key("admin"));
        let two = if headers.is_empty() { 0 } else { 3 };
        assert_eq!(answered(&check(&mut client, &both)).0, two, "{headers:?}");
    }
}

#[test]
fn a_name_that_is_no_header_name_is_refused() {
    let mut client = shipped().gatepost.connect();
    for name in
        ["X-Api-Key", "x api", "x-api-key ", "x-api\0key", "x-k\u{e9}y", "x-\u{212a}ey", "\n"]
    {
        let request = check_request("GET", "/public/x", &[(name, b"x")]);
        assert_eq!(answered(&check(&mut client, &request)).0, 3, "{name:?}");
    }
    // In the raw map names are text too, by its type; bytes that are none are no message of ours.
    let mut bytes = check_request("GET", "/public/x", &[("x-marker", b"x")]).encode_to_vec();
    let place = bytes.windows(8).position(|window| window == b"x-marker").unwrap();
    bytes[place] = 0xff;
    assert_eq!(answered(&check_bytes(&mut client, &bytes)).0, 3);
}

#[test]
fn every_kind_of_answer_is_well_formed() {
    let mut client = shipped().gatepost.connect();
    let content: [&[u8]; 3] = [b"application/json", b"application/grpc", b"application/grpc-web"];
    for content in content {
        for (path, id, code) in [
            ("/public/x", "", 0),
            ("/api/v1/x", "customer", 0),
            ("/api/v1/x", "bare", 0),
            ("/shadow/x", "bare", 0),
            ("/behind/x", "customer", 0),
            ("/api/v1/x", "", 16),
            ("/api/v1/x", "expired", 16),
            ("/admin/x", "customer", 7),
            ("/nowhere", "customer", 7),
            ("/api/v1/x", "nothing", 8),
            ("/shadow/x", "nothing", 0),
            ("/public/a;b", "", 3),
        ] {
            let key = key(id);
            let mut headers: Vec<(&str, &[u8])> = vec![("content-type", content)];
            for name in ["x-tenant", "x-user-id", "x-user-id", "x-authenticated-role"] {
                headers.push((name, b"claimed"));
            }
            if !id.is_empty() {
                headers.push(("x-api-key", key.as_bytes()));
            }
            let checked = check(&mut client, &check_request("POST", path, &headers));
            assert_eq!(answered(&checked).0, code, "{path} {id}");
        }
    }
}
