//! Held against stock prost decoding of the same bytes.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::address::Address as OneAddress;
use envoy_types::pb::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request as Wire,
};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use proptest::prelude::*;
use prost::Message;

use super::*;

fn message(http: HttpRequest, peer: Option<String>, rule: Option<String>) -> CheckRequest {
    let socket = |address| SocketAddress { address, ..SocketAddress::default() };
    let source = peer.map(|address| Peer {
        address: Some(Address { address: Some(OneAddress::SocketAddress(socket(address))) }),
        labels: HashMap::from([("a".to_owned(), "b".to_owned())]),
        principal: "spiffe://example.org/x".to_owned(),
        ..Peer::default()
    });
    let extensions = rule.into_iter().map(|rule| (RULE_EXTENSION.to_owned(), rule));
    CheckRequest {
        attributes: Some(AttributeContext {
            source,
            destination: Some(Peer { service: "ours".to_owned(), ..Peer::default() }),
            request: Some(Wire { time: None, http: Some(http) }),
            context_extensions: extensions.chain([("other".to_owned(), "x".to_owned())]).collect(),
            ..AttributeContext::default()
        }),
    }
}

prop_compose! {
    fn http()(
        id in "[a-z0-9-]{0,8}", method in "[A-Z]{0,7}", host in "[a-z.:0-9]{0,12}",
        path in "/[a-z/%.?]{0,20}", size in any::<i64>(), body in "[a-z]{0,9}", raw in any::<bool>(),
        headers in prop::collection::hash_map("[a-z-]{1,12}", "[ -~]{0,16}", 0..8),
    ) -> HttpRequest {
        let map = |(key, value): (String, String)| HeaderValue {
            key, value: String::new(), raw_value: value.into_bytes(),
        };
        let (headers, header_map) = if raw {
            (HashMap::new(), Some(HeaderMap { headers: headers.into_iter().map(map).collect() }))
        } else {
            (headers, None)
        };
        HttpRequest {
            id, method, host, path, size, body, headers, header_map,
            protocol: "HTTP/2".to_owned(), scheme: "https".to_owned(), ..HttpRequest::default()
        }
    }
}

proptest! {
    #[test]
    fn facts_are_those_of_stock_decoding(
        http in http(), peer in prop::option::of("[0-9.]{0,9}"), rule in prop::option::of("[a-z]{0,6}"),
    ) {
        let wire = message(http, peer, rule);
        let bytes = wire.encode_to_vec();
        let facts = Facts::read(&bytes).unwrap();
        let attributes = wire.attributes.as_ref().unwrap();
        let http = attributes.request.as_ref().unwrap().http.as_ref().unwrap();
        prop_assert!(facts.http);
        prop_assert_eq!(facts.method, http.method.as_bytes());
        prop_assert_eq!(facts.host, http.host.as_bytes());
        prop_assert_eq!(facts.path, http.path.as_bytes());
        let address = attributes.source.as_ref().and_then(|peer| peer.address.as_ref());
        let address = match address.and_then(|address| address.address.as_ref()) {
            Some(OneAddress::SocketAddress(socket)) => socket.address.as_str(),
            _ => "",
        };
        prop_assert_eq!(facts.peer, address.as_bytes());
        let rule = attributes.context_extensions.get(RULE_EXTENSION);
        prop_assert_eq!(facts.rule, rule.map(String::as_bytes));
        let mut expected: Vec<(&[u8], &[u8])> = http
            .headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .chain(http.header_map.iter().flat_map(|map| &map.headers)
                .map(|header| (header.key.as_bytes(), header.raw_value.as_slice())))
            .collect();
        let mut found = facts.headers.clone();
        expected.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    /// What stock decoding refuses as no message at all is refused here too; what it refuses for
    /// text that is not UTF-8 may pass in a field that is never looked at.
    #[test]
    fn broken_bytes_never_panic(http in http(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = message(http, Some("192.0.2.1".to_owned()), None).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(request) = Facts::read(&bytes).and_then(|mut facts| facts.request()) {
            prop_assert!(request.path.text.starts_with('/') && !request.host.is_empty());
        }
        bytes.truncate(at);
        if let Err(error) = CheckRequest::decode(bytes.as_slice())
            && !error.to_string().contains("UTF-8")
        {
            prop_assert!(Facts::read(&bytes).is_err());
        }
    }
}

fn request(headers: &[(&str, &str)]) -> Result<Request<'static>, Denial> {
    let headers = headers.iter().map(|&(name, value)| HeaderValue {
        key: name.to_owned(),
        value: String::new(),
        raw_value: value.as_bytes().to_vec(),
    });
    let http = HttpRequest {
        method: "GET".to_owned(),
        host: "example.com".to_owned(),
        path: "/".to_owned(),
        header_map: Some(HeaderMap { headers: headers.collect() }),
        ..HttpRequest::default()
    };
    let bytes = message(http, Some("192.0.2.1".to_owned()), None).encode_to_vec();
    Facts::read(Box::leak(bytes.into_boxed_slice()))?.request()
}

#[test]
fn headers_that_could_be_taken_for_ours_are_refused() {
    let invalid = Denial::RequestMalformed(Malformed::HeaderInvalid);
    let cases = [
        ("x-user-id", true),
        ("x-tenant", true),
        ("accept", true),
        ("some_header", true),
        ("some.header", true),
        ("x_user_id", false),
        ("x-user_id", false),
        ("x.user.id", false),
        ("x_tenant", false),
        ("x_gatepost_decision_id", false),
        ("x!tenant", false),
        ("x'user'id", false),
        ("x~authenticated~role", false),
        ("x-authenticated_role", false),
        ("X-Tenant", false),
        ("x tenant", false),
        ("", false),
        ("caf\u{e9}", false),
    ];
    for (name, passes) in cases {
        let result = request(&[(name, "v")]).map(|_| ());
        assert_eq!(result, if passes { Ok(()) } else { Err(invalid) }, "{name:?}");
    }
    assert_eq!(request(&[]).map(|_| ()), Err(invalid), "Envoy always shows pseudo-headers");
}

#[test]
fn what_connection_names_is_not_ours() {
    for (value, passes) in [
        ("keep-alive", true),
        ("Upgrade, x-request-id", true),
        ("Upgrade, X-Authenticated-Role", false),
        ("x-tenant", false),
        (" X-Gatepost-Decision-Id ,close", false),
    ] {
        assert_eq!(request(&[("connection", value)]).is_ok(), passes, "{value:?}");
    }
}

#[test]
fn the_client_is_counted_from_the_right() {
    let cases = [
        (0, &["203.0.113.9"][..], Some("192.0.2.1")),
        (1, &["203.0.113.9, 192.0.2.1"], Some("203.0.113.9")),
        (1, &["evil, 203.0.113.9, 192.0.2.1"], Some("203.0.113.9")),
        (2, &["198.51.100.7,203.0.113.9, 192.0.2.1"], Some("198.51.100.7")),
        (2, &["198.51.100.7", "203.0.113.9, 192.0.2.1"], Some("198.51.100.7")),
        (1, &["::ffff:203.0.113.9,192.0.2.1"], Some("203.0.113.9")),
        (1, &["203.0.113.9:4711, 192.0.2.1"], Some("203.0.113.9")),
        (1, &["[2001:db8::9]:4711, 192.0.2.1"], Some("2001:db8::9")),
        (1, &["[2001:db8::9], 192.0.2.1"], None),
        (1, &["192.0.2.1"], None),
        (1, &[], None),
        (2, &["x, 203.0.113.9, 192.0.2.1"], None),
    ];
    for (hops, values, expected) in cases {
        let headers: Vec<_> =
            values.iter().map(|&v| ("x-forwarded-for", v)).chain([("accept", "*/*")]).collect();
        let client = request(&headers).unwrap().client(hops);
        assert_eq!(client.map(|c| c.to_string()).as_deref(), expected, "{hops} hops of {values:?}");
    }
}

#[test]
fn https_is_what_envoy_says() {
    let cases = [
        (&["https"][..], true),
        (&["HTTPS"], true),
        (&["http"], false),
        (&["https", "https"], false),
        (&["https,http"], false),
        (&[], false),
    ];
    for (values, expected) in cases {
        let headers: Vec<_> = values
            .iter()
            .map(|&v| ("x-forwarded-proto", v))
            .chain([(":scheme", "https")])
            .collect();
        assert_eq!(request(&headers).unwrap().is_https(), expected, "{values:?}");
    }
}

#[test]
fn trace_ids_are_those_of_the_specification() {
    let id = "0af7651916cd43dd8448eb211c80319c";
    let cases = [
        (format!("00-{id}-b7ad6b7169203331-01"), Some(id)),
        (format!("cc-{id}-b7ad6b7169203331-01-more"), Some(id)),
        (format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()), None),
        (format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), None),
        ("00-short-b7ad6b7169203331-01".to_owned(), None),
        (String::new(), None),
    ];
    for (value, expected) in cases {
        assert_eq!(request(&[("traceparent", &value)]).unwrap().trace_id(), expected, "{value}");
    }
}
