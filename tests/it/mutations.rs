//! Check requests that something has gone wrong with, by the thousand: nothing makes gatepost panic,
//! and nothing passes that the reference decoder reads as another request.

use std::sync::OnceLock;

use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use gatepost::authz::decide;
use gatepost::clock::Now;
use gatepost::policy::Snapshot;
use gatepost::policy::compile::Strictness;
use gatepost::policy::load::Files;
use gatepost::policy::secrets::Store;
use gatepost::ratelimit::memory::Counters;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

use crate::raw_check::well_formed;
use crate::scene::{key, percent_decoded, policy, resolved};
use crate::world::check::check_request;

fn snapshot() -> &'static Snapshot {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("gateway_config.json"), policy().to_string()).unwrap();
        Files::read(dir.path())
            .unwrap()
            .compile(Strictness::Production, 1, &mut Store::live("."), Now::read())
            .unwrap()
    })
}

/// Requests that pass, in both of Envoy's encodings.
fn samples() -> Vec<CheckRequest> {
    let customer = key("customer");
    let headers: [(&str, &[u8]); 4] = [
        ("x-api-key", customer.as_bytes()),
        ("content-type", b"application/json"),
        ("x-forwarded-for", b"198.51.100.7, 127.0.0.1"),
        ("accept", b"*/*"),
    ];
    let raw = ["/api/v1/agents?q=1", "/public/a%20b", "/shadow/x"];
    let raw = raw.map(|path| check_request("GET", path, &headers));
    let mut map = raw[0].clone();
    let http = http(&mut map).unwrap();
    let headers = http.header_map.take().unwrap().headers;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    http.headers = headers.into_iter().map(|one| (one.key, text(one.raw_value))).collect();
    raw.into_iter().chain([map]).collect()
}

fn http(request: &mut CheckRequest) -> Option<&mut HttpRequest> {
    request.attributes.as_mut()?.request.as_mut()?.http.as_mut()
}

/// Decides about a message, and holds an allow against what the reference decoder reads in it.
/// Whether it was one, and whether there was a reference.
fn judge(bytes: &[u8]) -> (bool, bool) {
    let counters = Counters::new();
    let id = "0123456789abcdef0123456789abcdef";
    let decision =
        decide(gatepost::side::Side::Gateway, snapshot(), &counters, Now::read(), id, bytes);
    let response = decision.response();
    let response = CheckResponse::decode(&*response).expect("a CheckResponse");
    let allowed = well_formed(&response) == 0;
    assert_eq!(allowed, decision.outcome.is_ok());
    let Ok(mut reference) = CheckRequest::decode(bytes) else { return (allowed, false) };
    if !allowed {
        return (false, true);
    }
    let judged = decision.request.as_ref().expect("a request");
    let reference = http(&mut reference).expect("HTTP attributes in what has passed");
    assert_eq!(judged.method, reference.method);
    let path = reference.path.split('?').next().unwrap();
    // An absolute form is judged by its path.
    let path = path
        .split_once("://")
        .map_or(path, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    // `%2F` and `%25` stay as they are where a rule lets them pass.
    let kept = path.replace("%25", "%2525").replace("%2f", "%252F").replace("%2F", "%252F");
    assert_eq!(judged.path.text.as_bytes(), percent_decoded(kept.as_bytes()));
    let host = reference.host.to_lowercase();
    assert!(host.starts_with(judged.host.trim_end_matches('.')) || host.starts_with('['), "{host}");
    let rule = decision.rule_id().expect("a rule");
    if rule != "files" {
        let beginning = judged.path.text.split('/').nth(1).unwrap();
        let resolved = resolved(path);
        assert_eq!(resolved.split('/').nth(1), Some(beginning), "{path} could be {resolved}");
    }
    // Whoever passes with a name has sent that name's key.
    if let Some(id) = decision.caller().id() {
        let raw = reference.header_map.iter().flat_map(|map| &map.headers);
        let values = raw
            .map(|HeaderValue { value, raw_value, .. }| (value.as_bytes(), raw_value.as_slice()));
        let plain = reference.headers.values().map(|value| (value.as_bytes(), &[][..]));
        let key = key(id);
        let sent = |value: &[u8]| value.windows(key.len()).any(|window| window == key.as_bytes());
        assert!(
            values.chain(plain).any(|(text, raw)| sent(text) || sent(raw)),
            "{id} has sent no key"
        );
    }
    (true, true)
}

/// What goes wrong with bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index, usize),
    Repeat(Index, usize),
    Truncate(Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len().max(1);
        let span = |at: &Index, count: usize, bytes: &Vec<u8>| {
            let start = at.index(length).min(bytes.len());
            start..(start + count).min(bytes.len())
        };
        match self {
            Self::Flip(at, bit) => {
                let span = span(at, 1, bytes);
                for byte in &mut bytes[span] {
                    *byte ^= 1 << bit;
                }
            }
            Self::Set(at, value) => {
                let span = span(at, 1, bytes);
                bytes.splice(span, [*value]);
            }
            Self::Insert(at, new) => {
                let span = span(at, 0, bytes);
                bytes.splice(span, new.iter().copied());
            }
            Self::Delete(at, count) => {
                let span = span(at, *count, bytes);
                bytes.drain(span);
            }
            Self::Repeat(at, count) => {
                let span = span(at, *count, bytes);
                let copy = bytes[span.clone()].to_vec();
                bytes.splice(span.start..span.start, copy);
            }
            Self::Truncate(at) => bytes.truncate(at.index(length)),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..8),
        prop::sample::select(vec![
            &b"%2f"[..],
            b"%2e%2e",
            b"/../",
            b"//",
            b";",
            b"?",
            b"#",
            b"\\",
            b"\0",
            b"\x0a\x00",
            b"\x6a\x00",
            b"\x22\x06/admin",
            b"\x2a\x01x",
            b"x-api-key",
            b"\x12\x03PUT",
            b"\xff\xff\xff\xff\x0f",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    prop_oneof![
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        4 => (at(), any::<u8>()).prop_map(|(at, value)| Change::Set(at, value)),
        3 => (at(), piece).prop_map(|(at, new)| Change::Insert(at, new)),
        2 => (at(), 1..16_usize).prop_map(|(at, count)| Change::Delete(at, count)),
        2 => (at(), 1..64_usize).prop_map(|(at, count)| Change::Repeat(at, count)),
        1 => at().prop_map(Change::Truncate),
    ]
}

/// Text that is nearly a part of a good request.
fn nearly(parts: &'static [&'static str]) -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => prop::sample::select(parts).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| text.chars().take(3).collect()),
    ];
    prop::collection::vec(part, 1..6).prop_map(|parts| parts.concat())
}

const STARTS: [&str; 6] = ["/public/x", "/public/", "/api/v1/", "/admin/", "/shadow/", "/files/"];
const PATHS: [&str; 24] = [
    "x", "a", "b", "..", ".", "/", "/admin/", "%2f", "%2F", "%2e", "%25", "%5c", "\\", ";", "%3b",
    "?", "#", "%41", "%C3%A9", "%c0%ae", "//", "/../", "://", " ",
];
const HOSTS: [&str; 12] =
    ["gateway.test", "api.example.com", "GATEWAY", ".", ":80", ":", "@", "[", "::1", "]", "*", ","];
const METHODS: [&str; 9] = ["GET", "POST", "PUT", "HEAD", "TRACE", "CONNECT", "get", " ", ""];
const NAMES: [&str; 12] = [
    "x-api-key",
    "authorization",
    "x-user-",
    "id",
    "_",
    ".",
    "-",
    "x_api_key",
    "x-tenant",
    "X-",
    "content-type",
    ":path",
];

fn value() -> impl Strategy<Value = String> {
    let keys = ["customer", "admin", "bare", "expired", "nothing"].map(key);
    let mut parts: Vec<String> = [",", " ", "Bearer ", "bearer", "\0", "x", "", "application/grpc"]
        .map(str::to_owned)
        .to_vec();
    parts.extend(keys);
    prop::collection::vec(prop::sample::select(parts), 0..4).prop_map(|parts| parts.concat())
}

fn constructed() -> impl Strategy<Value = CheckRequest> {
    let headers = prop::collection::vec((nearly(&NAMES), value(), any::<bool>()), 0..3);
    let method = prop_oneof![3 => Just("GET".to_owned()), 1 => nearly(&METHODS)];
    let path = (prop::sample::select(&STARTS), prop::option::of(nearly(&PATHS)));
    let path = path.prop_map(|(start, rest)| start.to_owned() + &rest.unwrap_or_default());
    let rule = prop::option::weighted(0.2, nearly(&["rest", "admin", "public", "x", ""]));
    let known =
        prop::option::weighted(0.5, prop::sample::select(vec!["customer", "admin", "bare"]));
    (method, path, nearly(&HOSTS), headers, rule, known).prop_map(
        |(method, path, host, headers, rule, known)| {
            let key = key(known.unwrap_or(""));
            let own: &[(&str, &[u8])] = &[("x-api-key", key.as_bytes())];
            let mut request =
                check_request(&method, &path, if known.is_some() { own } else { &[] });
            let attributes = request.attributes.as_mut().unwrap();
            attributes
                .context_extensions
                .extend(rule.map(|rule| ("gatepost.rule".to_owned(), rule)));
            let http = http(&mut request).unwrap();
            if host.len() % 3 == 0 {
                http.host = host;
            }
            for (key, value, raw) in headers {
                if raw {
                    let raw_value = value.into_bytes();
                    let header = HeaderValue { key, value: String::new(), raw_value };
                    http.header_map.as_mut().unwrap().headers.push(header);
                } else {
                    http.headers.insert(key, value);
                }
            }
            request
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_bytes_never_pass_as_another_request(
        sample in any::<Index>(), changes in prop::collection::vec(change(), 1..4)
    ) {
        let samples = samples();
        let mut bytes = sample.get(&samples).encode_to_vec();
        for change in &changes {
            change.apply(&mut bytes);
        }
        judge(&bytes);
    }

    #[test]
    fn strange_requests_never_pass_as_another_request(request in constructed()) {
        let (_, known) = judge(&request.encode_to_vec());
        prop_assert!(known);
    }
}

/// The properties above say little if nothing passes.
#[test]
fn the_samples_pass_and_so_do_some_of_the_strange() {
    for sample in samples() {
        assert_eq!(judge(&sample.encode_to_vec()), (true, true));
    }
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strange = constructed();
    let passed = (0..300).filter(|_| {
        let tree = strange.new_tree(&mut runner).unwrap();
        judge(&proptest::strategy::ValueTree::current(&tree).encode_to_vec()).0
    });
    let passed = passed.count();
    assert!(passed > 30, "only {passed} of 300 pass");
}
