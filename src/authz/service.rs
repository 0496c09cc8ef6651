//! The tonic service around [`decide`]: raw bytes in, raw bytes out.
//!
//! `Check` is served by a codec that hands the message over as it came, so that nothing is decoded
//! twice. A decision never waits for anything.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

use super::authenticate::sandbox::holds_token;
use super::{Decision, decide};
use crate::audit::{self, Ids, Log, Record};
use crate::clock::Now;
use crate::denial::Window;
use crate::policy::live::Live;
use crate::ratelimit::Quota;
use crate::ratelimit::memory::Counters;
use crate::side::Side;
use crate::telemetry::Metrics;

/// `envoy.service.auth.v3.Authorization`
pub const SERVICE: &str = "envoy.service.auth.v3.Authorization";
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The largest `CheckRequest` taken, in bytes. Envoy sends 60 KiB of headers unless told otherwise,
/// and no body unless `with_request_body` is set; what is larger gets `OUT_OF_RANGE`, which
/// Envoy answers as `status_on_error` says.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// All that a decision needs, shared by every connection.
#[derive(Debug)]
pub struct Authorizer {
    /// Which proxy asks here. The socket fixes it; nothing that a caller writes can.
    pub side: Side,
    /// The policy that holds.
    pub policy: Arc<Live>,
    /// What has been counted.
    pub counters: Arc<Counters>,
    /// Where decisions are counted.
    pub metrics: Arc<Metrics>,
    /// Where decisions are written; `None` where nobody wants them.
    pub log: Option<Log>,
    /// Where decision ids come from.
    pub ids: Arc<Ids>,
}

impl Authorizer {
    /// Decides, records and answers.
    pub fn check(&self, bytes: &[u8]) -> Vec<u8> {
        let _in_flight = self.metrics.enter(self.side);
        let start = Now::read();
        let snapshot = self.policy.load();
        let decision_id = self.ids.next();
        let decision =
            decide(self.side, &snapshot, &self.counters, start, decision_id.as_str(), bytes);
        let response = decision.response();
        let outcome = decision.recorded();
        let latency = Now::read().monotonic.saturating_sub(start.monotonic);
        self.metrics.decided(self.side, outcome, latency);
        if let Some(log) = &self.log {
            let record = Record { latency, ..Record::new(start, decision_id, self.side, outcome) };
            append(log, &decision, &record);
        }
        response
    }
}

fn append(log: &Log, decision: &Decision<'_>, record: &Record<'_>) {
    let caller = decision.caller();
    let call = &decision.call;
    let request = decision.request.as_ref();
    let shown = shown(decision);
    // A sandbox token in the wrong place is still one.
    let harmless = |text: &&str| !text.is_empty() && !holds_token(text.as_bytes());
    let [method, host, path] = shown.each_ref().map(|text| Some(&**text).filter(harmless));
    let limits: Vec<audit::Limit> = decision.verdict.iter().flat_map(limits).collect();
    log.append(&Record {
        rule: decision.rule_id(),
        key_id: caller.id(),
        role: caller.role(),
        tier: decision.tier(),
        tenant: caller.tenant(),
        sandbox: call.caller.map(|caller| caller.name),
        token_id: call.token_id(),
        service: call.found.service.map(|service| &*service.name),
        credential: call.found.credential,
        method,
        host,
        path,
        client: client(decision),
        limits: &limits,
        revision: Some(&decision.snapshot.revision.0),
        generation: Some(decision.snapshot.generation),
        trace_id: request.and_then(|request| request.trace_id()),
        request_id: request.and_then(|request| request.id()),
        ..*record
    });
}

/// Method, host and path as they were judged; where they could not be, as they came.
fn shown<'d>(decision: &'d Decision<'_>) -> [Cow<'d, str>; 3] {
    let Some(request) = &decision.request else {
        let facts = &decision.facts;
        // An absolute form may hold a password.
        let path = if facts.path.starts_with(b"/") { facts.path } else { &[] };
        return [facts.method, facts.host, path].map(String::from_utf8_lossy);
    };
    [request.method, &request.host, &request.path.text].map(Cow::Borrowed)
}

fn client(decision: &Decision<'_>) -> Option<IpAddr> {
    let request = decision.request.as_ref()?;
    match decision.side {
        Side::Gateway => request.client(decision.snapshot.gateway.as_ref()?.options.trusted_hops),
        Side::Egress => request.peer,
    }
}

fn limits(verdict: &crate::ratelimit::Verdict) -> impl Iterator<Item = audit::Limit> + use<> {
    [(Window::Minute, verdict.minute), (Window::Hour, verdict.hour)].into_iter().filter_map(
        |(window, quota)| {
            let Quota { window: _, limit, remaining, reset: _ } = quota?;
            Some(audit::Limit { window, remaining: remaining.into(), limit: limit.into() })
        },
    )
}

/// The gRPC service.
#[derive(Clone, Debug)]
pub struct Authorization(pub Arc<Authorizer>);

impl NamedService for Authorization {
    const NAME: &'static str = SERVICE;
}

impl tower::Service<http::Request<tonic::body::Body>> for Authorization {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != CHECK {
                return Ok(Status::unimplemented("the one method is Check").into_http());
            }
            let mut grpc = Grpc::new(Raw).max_decoding_message_size(MAX_MESSAGE_BYTES);
            Ok(grpc.unary(service, request).await)
        })
    }
}

impl UnaryService<Bytes> for Authorization {
    type Response = Vec<u8>;
    type Future = std::future::Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        std::future::ready(Ok(Response::new(self.0.check(request.get_ref()))))
    }
}

/// A codec that neither decodes nor encodes.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

/// tonic takes 8 KiB for each message unless told otherwise. A check and its answer are 1 or 2 KiB;
/// what is larger still gets its room.
fn buffers() -> BufferSettings {
    BufferSettings::new(2 * 1024, 32 * 1024)
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
