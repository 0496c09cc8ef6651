//! One HTTP request to the operator's address of a running gatepost.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::lifecycle::address::Address;

/// An answer is a few thousand bytes; a reload error may name a hundred mistakes.
const MAX_BYTES: usize = 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Error {
    /// Nobody listens there, or this process may not connect.
    Connect(io::Error),
    /// It took longer than this.
    TimedOut(Duration),
    /// Whoever listens there does not speak HTTP, or broke off.
    Http(String),
    /// Whoever listens there answers with another status.
    Status(StatusCode),
    /// What was answered is no status of gatepost's.
    NotStatus,
}

/// GET, and the JSON that comes back. `patience` is from the first attempt to connect to the last
/// byte of the answer.
///
/// # Errors
/// There is none.
pub(super) fn ask(address: &Address, path: &str, patience: Duration) -> Result<Value, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Error::Connect)?.block_on(async {
        let answer = tokio::time::timeout(patience, connect(address, path)).await;
        answer.map_err(|_elapsed| Error::TimedOut(patience))?
    })
}

async fn connect(address: &Address, path: &str) -> Result<Value, Error> {
    match address {
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await;
            get(stream.map_err(Error::Connect)?, &address.to_string(), path).await
        }
        Address::Unix(socket) => {
            let stream = UnixStream::connect(socket).await;
            get(stream.map_err(Error::Connect)?, "localhost", path).await
        }
    }
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    path: &str,
) -> Result<Value, Error> {
    let broken = |error: hyper::Error| Error::Http(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::get(path).header("host", host).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| Error::Http(error.to_string()))?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(Error::Status(status));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| Error::Http(error.to_string()))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|_error| Error::NotStatus)
    };
    // The exchange moves only while its connection is driven, which ends when the exchange does.
    let (answer, _closed) = tokio::join!(exchange, connection);
    answer
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WHERE: &str = "is this what `gatepost authz --admin` names?";
        match self {
            Self::Connect(error) => write!(f, "cannot connect: {error}; {WHERE}"),
            Self::TimedOut(patience) => write!(f, "no answer within {} ms", patience.as_millis()),
            Self::Http(error) => write!(f, "no HTTP answer: {error}; {WHERE}"),
            Self::Status(status) => write!(f, "answers {status}; {WHERE}"),
            Self::NotStatus => write!(f, "what answers is no status of gatepost's; {WHERE}"),
        }
    }
}

impl std::error::Error for Error {}
