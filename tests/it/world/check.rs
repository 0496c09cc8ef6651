//! A direct call of gatepost's Check, past Envoy: with any bytes, and with a well-formed request.

use envoy_types::pb::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, SocketAddress, address, socket_address,
};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use prost::Message;

use super::answer;
use super::http2::Http2;

/// The answer of a Check call.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// The gRPC status of the call itself: not 0 is an internal failure, not a denial.
    pub(crate) code: u32,
    pub(crate) response: Option<CheckResponse>,
}

/// Calls Check with these bytes as the message.
pub(crate) fn check_bytes(client: &mut Http2, message: &[u8]) -> Checked {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let request = answer::Request::grpc("/envoy.service.auth.v3.Authorization/Check");
    let answer = client.send(&request.body([&[0], &length[..], message].concat()));
    Checked {
        code: answer.grpc_status().unwrap_or_else(|| panic!("no gRPC status: {answer:?}")),
        response: answer.body.get(5..).map(|bytes| CheckResponse::decode(bytes).unwrap()),
    }
}

/// Calls Check with a request such as Envoy makes with `encode_raw_headers`.
pub(crate) fn check(client: &mut Http2, request: &CheckRequest) -> Checked {
    check_bytes(client, &request.encode_to_vec())
}

/// A request from 127.0.0.1 for a method and a path, with headers as Envoy sends them raw.
pub(crate) fn check_request(method: &str, path: &str, headers: &[(&str, &[u8])]) -> CheckRequest {
    let pseudo = [(":method", method), (":path", path), (":authority", "gateway.test")];
    let pseudo = pseudo.iter().map(|(name, value)| (*name, value.as_bytes()));
    let headers = pseudo.chain(headers.iter().copied()).map(|(key, value)| HeaderValue {
        key: key.to_owned(),
        value: String::new(),
        raw_value: value.to_vec(),
    });
    let http = HttpRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        host: "gateway.test".to_owned(),
        scheme: "http".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        header_map: Some(HeaderMap { headers: headers.collect() }),
        ..HttpRequest::default()
    };
    let peer = SocketAddress {
        address: "127.0.0.1".to_owned(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(40000)),
        ..SocketAddress::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                address: Some(Address { address: Some(address::Address::SocketAddress(peer)) }),
                ..Peer::default()
            }),
            request: Some(Request { time: None, http: Some(http) }),
            ..AttributeContext::default()
        }),
    }
}
