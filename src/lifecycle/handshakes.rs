//! TLS handshakes under way: many at once, so that a client which is slow delays nobody else.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::connection::{self, Connection};
use super::tls::Tls;

/// How many may be under way. Past it the next ones wait where the system queues them.
const AT_ONCE: usize = 1024;
/// How long each may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The handshakes of one listener. Dropped, all of them end: none holds up a drain.
pub(super) struct Handshakes {
    tls: Tls,
    at_once: usize,
    patience: Duration,
    pending: FuturesUnordered<Handshake>,
}

/// Ends with `None` when it fails, which has then been logged and counted.
type Handshake = Pin<Box<dyn Future<Output = Option<Connection>> + Send>>;

impl Handshakes {
    pub(super) fn new(tls: Tls) -> Self {
        Self::within(AT_ONCE, PATIENCE, tls)
    }

    fn within(at_once: usize, patience: Duration, tls: Tls) -> Self {
        Self { tls, at_once, patience, pending: FuturesUnordered::new() }
    }

    /// The next connection whose handshake is done. `accept` takes what has come in.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        mut accept: impl FnMut(&mut Context<'_>) -> Poll<(TcpStream, SocketAddr)>,
    ) -> Poll<Connection> {
        loop {
            match self.pending.poll_next_unpin(cx) {
                Poll::Ready(Some(Some(connection))) => return Poll::Ready(connection),
                Poll::Ready(Some(None)) => continue,
                Poll::Ready(None) | Poll::Pending => {}
            }
            if self.pending.len() >= self.at_once {
                // The first of them to end wakes us.
                return Poll::Pending;
            }
            let (stream, peer) = ready!(accept(cx));
            self.pending.push(self.begin(stream, peer));
        }
    }

    fn begin(&self, stream: TcpStream, peer: SocketAddr) -> Handshake {
        connection::send_at_once(&stream, peer);
        let handshake = tokio::time::timeout(self.patience, self.tls.acceptor().accept(stream));
        let failures = self.tls.failures();
        Box::pin(async move {
            let error = match handshake.await {
                Ok(Ok(stream)) => return Some(Connection::tls(stream, peer)),
                Ok(Err(error)) => error,
                Err(_elapsed) => io::ErrorKind::TimedOut.into(),
            };
            // Whoever reaches the port can cause one: no more than a number and a word for those
            // who look.
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            if let Some(failures) = failures {
                failures.inc();
            }
            None
        })
    }
}

impl fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshakes").field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
