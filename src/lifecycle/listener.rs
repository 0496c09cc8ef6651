//! Binding the sockets of this process, and accepting on them for as long as it lives.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::Sleep;

use super::address::Address;
use super::connection::{Connection, Peer};
use super::handshakes::Handshakes;
use super::socket_file::{self, SocketFile};
use super::tls::Tls;

/// How long to wait after an accept that failed for want of something, such as a free descriptor.
/// Trying again at once would burn a core on the same error; waiting much longer would lose more
/// than the shortage itself.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound socket: a stream of connections for tonic, a listener for axum.
///
/// It never ends and never fails: an accept that fails is logged and tried again. Dropped, it
/// removes its socket file, unless another process has put its own in its place.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    pause: Pause,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Tls(TcpListener, Box<Handshakes>),
    // The file is dropped first, while the socket still listens: nobody can have taken it for dead.
    Unix { _file: SocketFile, listener: UnixListener },
}

/// Why an address could not be bound. Its text is complete; there is no further source.
#[derive(Debug)]
pub struct BindError {
    address: Address,
    kind: BindErrorKind,
}

/// What stood in the way.
#[derive(Debug)]
pub enum BindErrorKind {
    /// The operating system refused, or the host name did not resolve.
    Io(io::Error),
    /// What already lies at the path of a Unix socket, or the path itself.
    File(socket_file::Obstacle),
}

/// Binds `address`. A Unix socket gets exactly the mode `socket_mode` (0600 lets nobody else
/// connect), and at no moment a wider one; TCP ignores it.
///
/// Needs a Tokio runtime. Fails when the port or path is in use, when the path holds something that
/// is not a dead socket of this user, and on every error of the operating system.
pub async fn bind(address: &Address, socket_mode: u32) -> Result<Listener, BindError> {
    let error = |kind| BindError { address: address.clone(), kind };
    let (socket, address) = match address {
        Address::Tcp { host, port } => {
            let bound = async {
                // Tokio sets SO_REUSEADDR, so that a restart need not wait for TIME_WAIT to pass;
                // on Linux that does not let two processes listen on one port.
                let listener = TcpListener::bind((host.as_str(), *port)).await?;
                let local = listener.local_addr()?;
                Ok((listener, local))
            };
            let (listener, local) = bound.await.map_err(|e| error(BindErrorKind::Io(e)))?;
            let address = Address::Tcp { host: local.ip().to_string(), port: local.port() };
            (Socket::Tcp(listener), address)
        }
        Address::Unix(path) => {
            let (file, listener) = socket_file::bind(path, socket_mode)
                .map_err(|obstacle| error(BindErrorKind::File(obstacle)))?;
            (Socket::Unix { _file: file, listener }, address.clone())
        }
    };
    Ok(Listener { socket, address, pause: Pause::new(PAUSE) })
}

impl Listener {
    /// The address it is bound to, with the port that the system picked for port 0.
    pub fn local_address(&self) -> &Address {
        &self.address
    }

    /// From now on whoever connects must begin with a TLS handshake. A Unix socket stays as it is:
    /// the file's mode says who may connect.
    #[must_use]
    pub fn over_tls(self, tls: Tls) -> Self {
        let Self { socket, address, pause } = self;
        let socket = match socket {
            Socket::Tcp(listener) | Socket::Tls(listener, _) => {
                Socket::Tls(listener, Box::new(Handshakes::new(tls)))
            }
            unix @ Socket::Unix { .. } => unix,
        };
        Self { socket, address, pause }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Connection> {
        let Self { socket, address, pause } = self;
        match socket {
            Socket::Tcp(listener) => pause
                .poll_until_ok(cx, address, |cx| listener.poll_accept(cx))
                .map(|(stream, peer)| Connection::tcp(stream, peer)),
            Socket::Tls(listener, handshakes) => handshakes.poll_next(cx, |cx| {
                pause.poll_until_ok(cx, address, |cx| listener.poll_accept(cx))
            }),
            Socket::Unix { listener, .. } => pause
                .poll_until_ok(cx, address, |cx| listener.poll_accept(cx))
                .map(|(stream, _unnamed)| Connection::unix(stream)),
        }
    }
}

/// For tonic's `serve_with_incoming_shutdown`.
impl Stream for Listener {
    type Item = Result<Connection, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_accept(cx).map(|connection| Some(Ok(connection)))
    }
}

/// For `axum::serve`.
impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = Peer;

    async fn accept(&mut self) -> (Connection, Peer) {
        let connection = poll_fn(|cx| self.poll_accept(cx)).await;
        let peer = connection.peer();
        (connection, peer)
    }

    fn local_addr(&self) -> io::Result<Peer> {
        match &self.socket {
            Socket::Tcp(listener) | Socket::Tls(listener, _) => {
                listener.local_addr().map(Peer::Tcp)
            }
            Socket::Unix { .. } => Ok(Peer::Unix),
        }
    }
}

impl BindError {
    /// What stood in the way.
    pub fn kind(&self) -> &BindErrorKind {
        &self.kind
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: ", self.address)?;
        match &self.kind {
            BindErrorKind::Io(error) => error.fmt(f),
            BindErrorKind::File(obstacle) => obstacle.fmt(f),
        }
    }
}

impl std::error::Error for BindError {}

/// Waits between attempts that fail for want of something.
#[derive(Debug)]
struct Pause {
    length: Duration,
    running: Option<Pin<Box<Sleep>>>,
    /// Whether the last attempt failed: a shortage is logged when it begins, not ten times a second.
    failing: bool,
}

impl Pause {
    fn new(length: Duration) -> Self {
        Self { length, running: None, failing: false }
    }

    fn poll_until_ok<T>(
        &mut self,
        cx: &mut Context<'_>,
        address: &Address,
        mut attempt: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<T> {
        loop {
            if let Some(sleep) = &mut self.running {
                ready!(sleep.as_mut().poll(cx));
                self.running = None;
            }
            match ready!(attempt(cx)) {
                Ok(done) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!(%address, "accepting connections again");
                    }
                    return Poll::Ready(done);
                }
                Err(error) if is_the_peers_fault(&error) => {
                    tracing::debug!(%address, %error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::error!(%address, %error, "cannot accept connections");
                    }
                    self.running = Some(Box::pin(tokio::time::sleep(self.length)));
                }
            }
        }
    }
}

/// Errors of one connection that died in the queue; the next one may well be fine.
fn is_the_peers_fault(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::ConnectionAborted
        || kind == io::ErrorKind::ConnectionReset
        || kind == io::ErrorKind::ConnectionRefused
        || kind == io::ErrorKind::Interrupted
}

#[cfg(test)]
mod tests;
