//! The load: a closed loop of Check calls over a few connections, every answer looked at.

use std::cell::Cell;

use bytes::{Bytes, BytesMut};
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use futures_util::future;
use gatepost::lifecycle::address::Address;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::server::Failure;

const CHECK: &str = "http://gatepost/envoy.service.auth.v3.Authorization/Check";
/// What stands before a message of gRPC: a flag and a length.
const PREFIX: usize = 5;

/// Open connections to one server.
pub(crate) struct Client {
    senders: Vec<SendRequest<Full<Bytes>>>,
    /// Drives the connections for as long as this lives.
    connections: JoinSet<hyper::Result<()>>,
}

/// A message as the body of a call.
pub(crate) fn framed(message: &[u8]) -> Result<Bytes, Failure> {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.extend_from_slice(&[0]);
    frame.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
    frame.extend_from_slice(message);
    Ok(frame.freeze())
}

impl Client {
    pub(crate) async fn connect(to: &Address, connections: usize) -> Result<Self, Failure> {
        let mut client = Self { senders: Vec::new(), connections: JoinSet::new() };
        for _ in 0..connections {
            match to {
                Address::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    client.add(stream).await?;
                }
                Address::Unix(path) => client.add(UnixStream::connect(path).await?).await?,
            }
        }
        Ok(client)
    }

    async fn add(
        &mut self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), Failure> {
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        self.connections.spawn(connection);
        self.senders.push(sender);
        Ok(())
    }

    /// Makes `checks` calls, `in_flight` at a time on each connection, with the bodies in turn.
    /// Fails at the first that is not allowed.
    pub(crate) async fn load(
        &self,
        bodies: &[Bytes],
        checks: usize,
        in_flight: usize,
    ) -> Result<(), Failure> {
        let remaining = Cell::new(checks);
        let mut turns = bodies.iter().cycle();
        let next = std::cell::RefCell::new(|| {
            remaining.set(remaining.get().checked_sub(1)?);
            turns.next().cloned()
        });
        let callers = self.senders.iter().flat_map(|sender| {
            std::iter::repeat_with(|| sender.clone()).take(in_flight).collect::<Vec<_>>()
        });
        let loops = callers.map(async |mut sender| {
            loop {
                let Some(body) = next.borrow_mut()() else { return Ok(()) };
                if !is_allow(&call(&mut sender, body).await?)? {
                    return Err(Failure::from("a check was not allowed"));
                }
            }
        });
        future::try_join_all(loops).await?;
        Ok(())
    }

    /// Makes one call, and says whether it was allowed.
    pub(crate) async fn allows(&self, body: &Bytes) -> Result<bool, Failure> {
        is_allow(&self.answer(body).await?)
    }

    /// Makes one call, and returns the message of its answer.
    pub(crate) async fn answer(&self, body: &Bytes) -> Result<Bytes, Failure> {
        let mut sender = self.senders.first().ok_or("no connection")?.clone();
        call(&mut sender, body.clone()).await
    }
}

async fn call(sender: &mut SendRequest<Full<Bytes>>, body: Bytes) -> Result<Bytes, Failure> {
    let request = hyper::Request::post(CHECK)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body))?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let code = answer.status();
    let body = answer.into_body().collect().await?;
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    if status.as_ref().is_none_or(|status| status != "0") {
        return Err(format!("not answered: {code}, grpc-status {status:?}").into());
    }
    let mut message = body.to_bytes();
    if message.len() < PREFIX {
        return Err("an answer without a message".into());
    }
    Ok(message.split_off(PREFIX))
}

fn is_allow(message: &[u8]) -> Result<bool, Failure> {
    // What both servers write at the beginning of an allow: an empty status (field 1), then an
    // ok_response (field 3). Anything else is read in full; reading all in full would make the
    // client the slower the more a server says.
    const ALLOW: [u8; 3] = [0x0a, 0x00, 0x1a];
    if message.starts_with(&ALLOW) {
        return Ok(true);
    }
    let response = CheckResponse::decode(message)?;
    let ok = response.status.is_some_and(|status| status.code == 0);
    Ok(ok && matches!(response.http_response, Some(HttpResponse::OkResponse(_))))
}
