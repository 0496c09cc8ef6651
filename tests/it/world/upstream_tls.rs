//! Services of the outside world: real servers, with TLS or without, that keep all they are sent.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures_util::stream::poll_fn;
use http::{HeaderMap, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::Acceptor;

use super::certificates::{Authority, Certificate};
use super::http2::runtime;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) version: http::Version,
    pub(crate) method: String,
    /// The path, and the query after its `?`.
    pub(crate) target: String,
    /// `:authority`, or the host header.
    pub(crate) host: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
}

impl Recorded {
    /// All values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        let values = self.headers.iter().filter(|(key, _)| key == name);
        values.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// Everything in it, for a search.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} {}\n", self.method, self.target, self.host).into_bytes();
        for (name, value) in self.headers.iter().chain(&self.trailers) {
            bytes.extend([name.as_bytes(), b": ", value, b"\n"].concat());
        }
        bytes.extend(&self.body);
        bytes
    }

    /// What `gatepost demo-upstream` would answer.
    fn echo(&self) -> Value {
        let mut names: Map<String, Value> = Map::new();
        names.insert("host".to_owned(), json!([self.host]));
        for (name, _) in self.headers.iter().filter(|(name, _)| name != "host") {
            names.insert(name.clone(), self.header(name).into());
        }
        json!({ "method": self.method, "path": self.target, "headers": names,
                "body_bytes": self.body.len() })
    }
}

/// A TCP connection that came in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    /// The server name that the client asked for.
    pub(crate) sni: Option<String>,
    /// Every byte of the client's after the handshake, decrypted.
    pub(crate) bytes: Vec<u8>,
}

/// What a service answers.
pub(crate) enum Reply {
    /// The request itself, as JSON.
    Echo,
    Whole {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// 200, and then a part of the body whenever the test sends one.
    Parts {
        headers: Vec<(String, String)>,
        parts: UnboundedReceiver<Bytes>,
    },
    /// The connection is closed instead.
    Hangup,
}

impl Reply {
    pub(crate) fn whole(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        Self::Whole { status, headers: owned(headers), body: body.as_ref().to_vec() }
    }
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

type Answering = Arc<dyn Fn(&Recorded) -> Reply + Send + Sync>;

struct Shared {
    connections: Mutex<Vec<Connection>>,
    requests: Mutex<Vec<Recorded>>,
    answer: Mutex<Answering>,
}

/// One service. Dropped, its port is closed and its connections are cut.
pub(crate) struct Remote {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

impl Remote {
    /// With TLS, under names that the tests' authority vouches for.
    pub(crate) fn named(names: &[&str]) -> Self {
        Self::tls(&Authority::trusted().certificate(names))
    }

    /// With TLS and this certificate.
    pub(crate) fn tls(certificate: &Certificate) -> Self {
        Self::start(Some(certificate.server()))
    }

    /// Without TLS, HTTP/1.1 only.
    pub(crate) fn plain() -> Self {
        Self::start(None)
    }

    fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            connections: Mutex::default(),
            requests: Mutex::default(),
            answer: Mutex::new(Arc::new(|_: &Recorded| Reply::Echo)),
        });
        let (stop, stopped) = oneshot::channel();
        let seen = Arc::clone(&shared);
        runtime().spawn(async move {
            tokio::select! {
                _dropped = stopped => {}
                () = accept(listener, tls, seen) => {}
            }
        });
        Self { address, shared, _stop: stop }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Answers like this from now on.
    pub(crate) fn answer(&self, answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) {
        *lock(&self.shared.answer) = Arc::new(answer);
    }

    /// Answers the next request with these headers, and then with what is sent here; the body ends
    /// when the sender is dropped. Others are echoed.
    pub(crate) fn answer_in_parts(&self, headers: &[(&str, &str)]) -> UnboundedSender<Bytes> {
        let (sender, parts) = unbounded_channel();
        let headers = owned(headers);
        let next = Mutex::new(Some(parts));
        self.answer(move |_| match lock(&next).take() {
            Some(parts) => Reply::Parts { headers: headers.clone(), parts },
            None => Reply::Echo,
        });
        sender
    }

    pub(crate) fn connections(&self) -> Vec<Connection> {
        lock(&self.shared.connections).clone()
    }

    pub(crate) fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared.requests).clone()
    }

    /// Everything that has arrived here, for a search: what was on the wire, and what it meant, since
    /// HTTP/2 compresses headers.
    pub(crate) fn received(&self) -> Vec<u8> {
        let connections = self.connections().into_iter().map(|connection| connection.bytes);
        let requests = self.requests();
        connections.chain(requests.iter().map(Recorded::bytes)).flatten().collect()
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, tls: Option<Arc<ServerConfig>>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let number = {
            let mut seen = lock(&shared.connections);
            seen.push(Connection::default());
            seen.len() - 1
        };
        // Clients go away, and do not like certificates: that is what tests are about.
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let _ended = serve(stream, tls, number, shared).await;
        });
    }
}

async fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    number: usize,
    shared: Arc<Shared>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return speak(stream, false, number, shared).await;
    };
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let sni = hello.client_hello().server_name().map(str::to_owned);
    if let Some(connection) = lock(&shared.connections).get_mut(number) {
        connection.sni = sni;
    }
    let stream = hello.into_stream(tls).await?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    speak(stream, http2, number, shared).await
}

async fn speak<S>(stream: S, http2: bool, number: usize, shared: Arc<Shared>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(Recorder { stream, number, shared: Arc::clone(&shared) });
    let service = service_fn(move |request| exchange(request, Arc::clone(&shared)));
    let ended = if http2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
    } else {
        http1::Builder::new().serve_connection(io, service).await
    };
    ended.map_err(io::Error::other)
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An error ends the connection, or under HTTP/2 the stream.
async fn exchange(
    request: http::Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let authority = head.uri.authority().map(|authority| authority.as_str().to_owned());
    let host = head.headers.get("host").map(|host| String::from_utf8_lossy(host.as_bytes()));
    let mut recorded = Recorded {
        version: head.version,
        method: head.method.to_string(),
        target: head.uri.path_and_query().map_or("", |path| path.as_str()).to_owned(),
        host: authority.or(host.map(Cow::into_owned)).unwrap_or_default(),
        headers: pairs(&head.headers),
        body: Vec::new(),
        trailers: Vec::new(),
    };
    let body = body.collect().await.map_err(io::Error::other)?;
    recorded.trailers = body.trailers().map(pairs).unwrap_or_default();
    recorded.body = body.to_bytes().to_vec();
    lock(&shared.requests).push(recorded.clone());
    let answer = Arc::clone(&*lock(&shared.answer));
    match answer(&recorded) {
        Reply::Echo => {
            let body = recorded.echo().to_string();
            Ok(response(200, &owned(&[("content-type", "application/json")]), whole(body)))
        }
        Reply::Whole { status, headers, body } => Ok(response(status, &headers, whole(body))),
        Reply::Parts { headers, mut parts } => {
            let parts = poll_fn(move |context| {
                parts.poll_recv(context).map(|part| Some(Ok(Frame::data(part?))))
            });
            Ok(response(200, &headers, StreamBody::new(parts).boxed_unsync()))
        }
        Reply::Hangup => Err(io::Error::other("told to hang up")),
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let pairs = headers.iter();
    pairs.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed_unsync()
}

fn response(status: u16, headers: &[(String, String)], body: Body) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body).unwrap()
}

/// A stream that keeps what is read from it.
struct Recorder<S> {
    stream: S,
    number: usize,
    shared: Arc<Shared>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorder<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let Some(connection) = lock(&self.shared.connections).get_mut(self.number) {
            connection.bytes.extend(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorder<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
