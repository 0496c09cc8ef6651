//! An HTTP/2 client without TLS, over TCP or a Unix socket.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::answer::{Answer, Request};
use super::patience::PATIENCE;

/// What all clients and the upstream run on. Tests themselves are ordinary blocking functions.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

/// One connection; requests on it may run at the same time.
#[derive(Clone)]
pub(crate) struct Http2(SendRequest<Body>);

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Http2 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        runtime().block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            // A message in two parts would otherwise wait 40 ms for an acknowledgement of the first.
            stream.set_nodelay(true).unwrap();
            Self::over(stream).await
        })
    }

    pub(crate) fn connect_unix(path: &Path) -> Self {
        runtime().block_on(async { Self::over(UnixStream::connect(path).await.unwrap()).await })
    }

    /// The same on a connection that is there already.
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let io = TokioIo::new(stream);
        let (sender, connection) = handshake(TokioExecutor::new(), io).await.unwrap();
        runtime().spawn(connection);
        Self(sender)
    }

    /// Sends, and waits for the whole answer.
    pub(crate) fn send(&mut self, request: &Request) -> Answer {
        self.try_send(request).unwrap()
    }

    /// The same, where the answer may be a reset stream or a closed connection.
    pub(crate) fn try_send(&mut self, request: &Request) -> Result<Answer, hyper::Error> {
        let request = to_http(request);
        runtime().block_on(async {
            timeout(PATIENCE, self.exchange(request)).await.expect("an answer in time")
        })
    }

    async fn exchange(&mut self, request: http::Request<Body>) -> Result<Answer, hyper::Error> {
        self.0.ready().await?;
        let (head, body) = self.0.send_request(request).await?.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().map(pairs).unwrap_or_default();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: pairs(&head.headers),
            body: body.to_bytes().to_vec(),
            trailers,
        })
    }
}

fn to_http(request: &Request) -> http::Request<Body> {
    let uri = format!("http://{}{}", request.host, request.target);
    let mut http = http::Request::builder().method(request.method.as_str()).uri(uri);
    for (name, value) in &request.headers {
        http = http.header(name.to_ascii_lowercase(), value.as_slice());
    }
    let body = Full::new(Bytes::copy_from_slice(&request.body));
    let body = if request.trailers.is_empty() {
        body.boxed_unsync()
    } else {
        let trailers = request.trailers.iter().map(|(name, value)| {
            (name.parse::<http::HeaderName>().unwrap(), value.parse::<http::HeaderValue>().unwrap())
        });
        let trailers: http::HeaderMap = trailers.collect();
        body.with_trailers(async { Some(Ok(trailers)) }).boxed_unsync()
    };
    http.body(body).unwrap_or_else(|error| panic!("HTTP/2 cannot say this: {error}: {request:?}"))
}

fn pairs(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}
