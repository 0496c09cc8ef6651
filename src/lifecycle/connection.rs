//! One accepted connection, TCP, TLS or Unix, as the servers of this process read and write it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// Who is at the other end. tonic puts it into each request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The address of a TCP peer, with TLS or without.
    Tcp(SocketAddr),
    /// A process on this machine; the socket file's mode decided who may connect.
    Unix,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: Peer,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    // Boxed: its state is a thousand bytes, which the other two need not carry.
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Connection {
    pub(super) fn tcp(stream: TcpStream, peer: SocketAddr) -> Self {
        send_at_once(&stream, peer);
        Self { stream: Stream::Tcp(stream), peer: Peer::Tcp(peer) }
    }

    /// A TCP connection on which a TLS handshake is done.
    pub(super) fn tls(stream: TlsStream<TcpStream>, peer: SocketAddr) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), peer: Peer::Tcp(peer) }
    }

    pub(super) fn unix(stream: UnixStream) -> Self {
        Self { stream: Stream::Unix(stream), peer: Peer::Unix }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }
}

/// Small writes leave at once: a check is one small frame each way, and Nagle's algorithm would hold
/// it back for the peer's delayed acknowledgement.
pub(super) fn send_at_once(stream: &TcpStream, peer: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        // The peer has hung up already; reading will say so.
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

/// Without vectored writes, on purpose. With them, h2 puts whatever is longer than 256 bytes on the
/// wire by itself: a system call for each answer, which is a third of a check's cost. Without them it
/// copies up to 1,024 bytes, and all answers that are ready go out in one call. With TLS each write is
/// a record of its own as well.
impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
