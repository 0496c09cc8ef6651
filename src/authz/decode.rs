//! Step 1: the bytes of a `CheckRequest`, read in place, into a [`Request`] that has one method,
//! one host and one path.
//!
//! What is judged here is what Envoy sends on, so whatever the upstream might read differently is
//! refused instead of repaired: see [`path`] and [`host`].

pub mod headers;
pub mod host;
pub mod path;
pub mod addressed;

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use super::wire::{Reader, Undecodable, Value};
use crate::denial::{Denial, Forbidden, Malformed};
use headers::Headers;
use path::Path;

/// What a decision is made from. Borrows from the bytes of the `CheckRequest`.
#[derive(Debug)]
pub struct Request<'a> {
    /// The HTTP method, as sent.
    pub method: &'a str,
    /// Lower case, without port and final dot.
    pub host: Cow<'a, str>,
    /// The canonical path.
    pub path: Path<'a>,
    /// The headers that Envoy shows.
    pub headers: Headers<'a>,
    /// The address at the other end of the TCP connection to Envoy.
    pub peer: Option<IpAddr>,
    /// The name in the certificate that the client has shown and Envoy has verified.
    pub principal: Option<&'a str>,
    /// The rule that the route names in `context_extensions`.
    pub rule: Option<&'a str>,
}

/// The fields as they stand in the message, before any is judged. All of them may be absent.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// `attributes.request.http` is there.
    pub http: bool,
    /// `attributes.request.http.method`
    pub method: &'a [u8],
    /// `attributes.request.http.host`
    pub host: &'a [u8],
    /// `attributes.request.http.path`: with the query, not decoded.
    pub path: &'a [u8],
    /// `attributes.source.address.socket_address.address`
    pub peer: &'a [u8],
    /// `attributes.source.principal`: of the client's certificate, the first URI among its
    /// alternative names, or else the first DNS name, or else the subject. Empty without one.
    pub principal: &'a [u8],
    /// `attributes.context_extensions["gatepost.rule"]`
    pub rule: Option<&'a [u8]>,
    /// A gRPC client is waiting for the answer: the content type begins with `application/grpc`.
    pub grpc: bool,
    /// `attributes.request.http.headers` and `.header_map`, names unchecked.
    headers: Vec<(&'a [u8], &'a [u8])>,
}

/// The key in a route's `context_extensions` that names its rule.
pub const RULE_EXTENSION: &str = "gatepost.rule";

impl<'a> Facts<'a> {
    /// Reads the message, whole.
    ///
    /// # Errors
    /// [`Malformed::Undecodable`] where the bytes are not a `CheckRequest`.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Denial> {
        let mut facts = Self { headers: Vec::with_capacity(32), ..Self::default() };
        match facts.check_request(bytes) {
            Ok(()) => Ok(facts),
            Err(Undecodable) => Err(Denial::RequestMalformed(Malformed::Undecodable)),
        }
    }

    /// `envoy.service.auth.v3.CheckRequest` and its `AttributeContext`.
    fn check_request(&mut self, bytes: &'a [u8]) -> Result<(), Undecodable> {
        messages(bytes, |field, attributes| match field {
            1 => messages(attributes, |field, message| match field {
                1 => self.peer(message),
                4 => messages(message, |field, http| match field {
                    2 => self.http(http),
                    _ => Ok(()),
                }),
                10 => self.context_extension(message),
                _ => Ok(()),
            }),
            _ => Ok(()),
        })
    }

    /// `AttributeContext.Peer`: address (1), socket address (1), address (2); principal (4).
    fn peer(&mut self, bytes: &'a [u8]) -> Result<(), Undecodable> {
        messages(bytes, |field, value| match field {
            1 => messages(value, |field, socket| match field {
                1 => messages(socket, |field, text| {
                    if field == 2 {
                        self.peer = text;
                    }
                    Ok(())
                }),
                _ => Ok(()),
            }),
            4 => {
                self.principal = value;
                Ok(())
            }
            _ => Ok(()),
        })
    }

    /// `AttributeContext.HttpRequest`
    fn http(&mut self, bytes: &'a [u8]) -> Result<(), Undecodable> {
        self.http = true;
        messages(bytes, |field, value| {
            match field {
                2 => self.method = value,
                3 => self.header(entry(value, 2, 2)?),
                4 => self.path = value,
                5 => self.host = value,
                // `encode_raw_headers: true`: a HeaderMap of HeaderValue, with `raw_value` (3).
                13 => messages(value, |field, header| {
                    if field == 1 {
                        self.header(entry(header, 2, 3)?);
                    }
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })
    }

    fn header(&mut self, (name, value): (&'a [u8], &'a [u8])) {
        const GRPC: &[u8] = b"application/grpc";
        if name == b"content-type" {
            self.grpc =
                value.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC));
        }
        // One too many is enough to refuse the request.
        if self.headers.len() <= headers::MAX_HEADERS {
            self.headers.push((name, value));
        }
    }

    fn context_extension(&mut self, bytes: &'a [u8]) -> Result<(), Undecodable> {
        let (key, value) = entry(bytes, 2, 2)?;
        if key == RULE_EXTENSION.as_bytes() {
            self.rule = Some(value);
        }
        Ok(())
    }

    /// Judges the facts. The headers move into the request.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn request(&mut self) -> Result<Request<'a>, Denial> {
        if !self.http {
            return Err(Denial::RequestMalformed(Malformed::NoHttp));
        }
        let method = text(self.method, Malformed::NoHttp)?;
        // Before the path, which CONNECT does not have.
        if matches!(method, "CONNECT" | "TRACE") {
            return Err(Denial::Forbidden(Forbidden::Method));
        }
        let host = host::canonical(text(self.host, Malformed::HostInvalid)?)?;
        let path = path::canonical(text(self.path, Malformed::PathAmbiguous)?, &host)?;
        let headers = Headers::judge(std::mem::take(&mut self.headers))?;
        // What is no text is no rule's id; neither is the empty one.
        let rule = self.rule.map(|rule| std::str::from_utf8(rule).unwrap_or(""));
        // What is no text names nobody.
        let principal = std::str::from_utf8(self.principal).unwrap_or("");
        let principal = Some(principal).filter(|name| !name.is_empty());
        Ok(Request { method, host, path, headers, peer: address(self.peer), principal, rule })
    }
}

impl Request<'_> {
    /// The client's address behind `hops` trusted proxies: the TCP peer for 0, and for N the
    /// (N+1)-th address from the right of the `x-forwarded-for` to which Envoy has appended the
    /// peer. `None` where there are too few, or the entry is no address.
    pub fn client(&self, hops: usize) -> Option<IpAddr> {
        if hops == 0 {
            return self.peer;
        }
        let values: Vec<&[u8]> = self.headers.all("x-forwarded-for").collect();
        let mut entries = values.iter().rev().flat_map(|value| value.rsplit(|&b| b == b','));
        entries.nth(hops).and_then(forwarded)
    }

    /// Whether the client reached Envoy over TLS: `x-forwarded-proto`, which Envoy sets. `:scheme`
    /// is the client's to choose.
    pub fn is_https(&self) -> bool {
        self.headers
            .one("x-forwarded-proto")
            .is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
    }

    /// Envoy's `x-request-id`, which its access log has too. (`http.id` is the number of the stream,
    /// which nothing else shows.)
    pub fn id(&self) -> Option<&str> {
        let id = self.headers.one("x-request-id")?;
        Some(std::str::from_utf8(id).unwrap_or("")).filter(|id| !id.is_empty())
    }

    /// The trace id of the `traceparent` (W3C Trace Context: `00-<32 hex>-<16 hex>-<2 hex>`).
    pub fn trace_id(&self) -> Option<&str> {
        let value = std::str::from_utf8(self.headers.one("traceparent")?).unwrap_or("");
        let mut parts = value.split('-');
        let (_version, id) = (parts.next()?, parts.next()?);
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (id.len() == 32 && id.bytes().all(lower_hex) && id.bytes().any(|b| b != b'0')).then_some(id)
    }
}

pub(super) fn text(bytes: &[u8], otherwise: Malformed) -> Result<&str, Denial> {
    std::str::from_utf8(bytes).map_err(|_not_text| Denial::RequestMalformed(otherwise))
}

/// An IPv4 address that came in an IPv6 socket counts as IPv4.
fn address(text: &[u8]) -> Option<IpAddr> {
    let address: Result<IpAddr, _> = std::str::from_utf8(text).unwrap_or("").parse();
    address.map_or(None, |address| Some(address.to_canonical()))
}

/// An entry of `x-forwarded-for`, with or without the port that some balancers append.
fn forwarded(entry: &[u8]) -> Option<IpAddr> {
    let entry = entry.trim_ascii();
    address(entry).or_else(|| {
        let socket: Result<SocketAddr, _> = std::str::from_utf8(entry).unwrap_or("").parse();
        socket.map_or(None, |socket| Some(socket.ip().to_canonical()))
    })
}

/// Calls `each` with every length-delimited field of a message; numbers are passed over.
fn messages<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(u32, &'a [u8]) -> Result<(), Undecodable>,
) -> Result<(), Undecodable> {
    let mut reader = Reader::new(bytes);
    while let Some((field, value)) = reader.field()? {
        match value {
            Value::Bytes(value) => each(field, value)?,
            Value::Varint(_) | Value::Fixed => {}
        }
    }
    Ok(())
}

/// A map entry or a `HeaderValue`: the key is field 1, the value the later of `value` and `raw`.
fn entry(bytes: &[u8], value: u32, raw: u32) -> Result<(&[u8], &[u8]), Undecodable> {
    let (mut name, mut content): (&[u8], &[u8]) = (&[], &[]);
    messages(bytes, |field, bytes| {
        if field == 1 {
            name = bytes;
        } else if (field == value || field == raw) && !bytes.is_empty() {
            content = bytes;
        }
        Ok(())
    })?;
    Ok((name, content))
}

#[cfg(test)]
mod tests;
