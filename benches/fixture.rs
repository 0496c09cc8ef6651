//! The policy and the requests that every bench measures with.

use std::fmt::Write;

use envoy_types::pb::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, Metadata, SocketAddress, address, socket_address,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use envoy_types::pb::google::protobuf::Timestamp;
use prost::Message;
use sha2::{Digest, Sha256};

/// A path of the default rule `rest`, which asks for a key.
pub(crate) const PATH: &str = "/api/v1/orders/8c1f0a52/items?limit=50&cursor=b2Zmc2V0";

/// The text of a key's credential.
pub(crate) fn credential(number: u32) -> String {
    format!("gp_key_of_the_benches_{number:08}")
}

/// A `gateway_config.json` with so many keys, each by the SHA-256 of [`credential`], the default
/// rules and one tier with both windows limited, though too high to be reached. `last` is the
/// credential of the last of them.
pub(crate) fn policy(keys: u32, last: &str) -> String {
    let mut text = String::new();
    text.push_str(
        r#"{ "rate_limit_tiers": { "bench": { "requests_per_minute": 100000000, "requests_per_hour": 1000000000 } },
  "api_keys": [
"#,
    );
    let credentials = (1..keys).map(|number| credential(number - 1)).chain([last.to_owned()]);
    for (credential, number) in credentials.zip(0_u32..) {
        let comma = if number == 0 { ' ' } else { ',' };
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&credential));
        let tenant = number % 500;
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            r#"    {comma}{{ "id": "customer-{number:06}", "key_sha256": "{digest}", "enabled": true, "role": "customer", "rate_limit_tier": "bench", "tenant": "tenant-{tenant:03}" }}"#
        );
    }
    text.push_str("  ]\n}\n");
    text
}

/// The bytes of a `CheckRequest` as Envoy sends it for a browser's request, with
/// `encode_raw_headers` as in `envoy/gateway.yaml`.
pub(crate) fn check_request(path: &str, credential: Option<&str>) -> Vec<u8> {
    let headers = [
        (":authority", "api.example.com"),
        (":path", path),
        (":method", "GET"),
        (":scheme", "https"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "application/json, text/plain, */*"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("origin", "https://app.example.com"),
        ("referer", "https://app.example.com/orders/8c1f0a52"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("x-forwarded-for", "203.0.113.77"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "2f9c1f1e-3c0f-4b7e-9a43-6f1d8f4e7d21"),
    ];
    let credential = credential.map(|credential| ("x-api-key", credential));
    let headers: Vec<_> = headers.into_iter().chain(credential).collect();
    let sent = Sent { host: "api.example.com", path, scheme: "https", peer: "203.0.113.77" };
    encoded(&sent, &headers)
}

/// What stands in a `CheckRequest` beside the headers.
pub(crate) struct Sent<'a> {
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) scheme: &'a str,
    /// The address at the other end of the connection.
    pub(crate) peer: &'a str,
}

/// The bytes of a `CheckRequest` for a `GET` with these headers.
pub(crate) fn encoded(sent: &Sent<'_>, headers: &[(&str, &str)]) -> Vec<u8> {
    let headers = headers.iter().map(|&(key, value)| HeaderValue {
        key: key.to_owned(),
        value: String::new(),
        raw_value: value.to_owned().into(),
    });
    let http = HttpRequest {
        id: "2f9c1f1e-3c0f-4b7e-9a43-6f1d8f4e7d21".to_owned(),
        method: "GET".to_owned(),
        path: sent.path.to_owned(),
        host: sent.host.to_owned(),
        scheme: sent.scheme.to_owned(),
        protocol: "HTTP/2".to_owned(),
        size: -1,
        header_map: Some(HeaderMap { headers: headers.collect() }),
        ..HttpRequest::default()
    };
    let time = Timestamp { seconds: 1_790_000_000, nanos: 123_456_000 };
    let check = CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer(sent.peer, 50_412)),
            destination: Some(peer("10.0.3.17", 8080)),
            request: Some(Request { time: Some(time), http: Some(http) }),
            metadata_context: Some(Metadata::default()),
            route_metadata_context: Some(Metadata::default()),
            ..AttributeContext::default()
        }),
    };
    check.encode_to_vec()
}

fn peer(address: &str, port: u32) -> Peer {
    let socket = SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port)),
        ..SocketAddress::default()
    };
    Peer {
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        ..Peer::default()
    }
}
