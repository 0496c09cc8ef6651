//! Connections on which the client has not yet said that it speaks HTTP/2.
//!
//! Until then no keepalive watches over them and no graceful shutdown reaches them: one client that
//! connects and stays silent would be kept for ever, and would hold up the end of the process.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::connection::{Connection, Peer};

/// The bytes of HTTP/2's connection preface (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that reads as closed when its greeting does not come in time, or not before the
/// process is told to stop.
#[derive(Debug)]
pub struct Greeting {
    connection: Connection,
    awaited: Option<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    missing: usize,
    patience: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Greeting {
    /// Waits for ten seconds, or until `stop`. Needs a Tokio runtime.
    pub fn awaited(connection: Connection, stop: CancellationToken) -> Self {
        Self::within(PATIENCE, connection, stop)
    }

    fn within(patience: Duration, connection: Connection, stop: CancellationToken) -> Self {
        let awaited = Awaited {
            missing: PREFACE,
            patience: Box::pin(tokio::time::sleep(patience)),
            stop: Box::pin(stop.cancelled_owned()),
        };
        Self { connection, awaited: Some(awaited) }
    }
}

impl Awaited {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.stop.as_mut().poll(cx).is_ready() || self.patience.as_mut().poll(cx).is_ready()
    }
}

impl Connected for Greeting {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.connection.peer()
    }
}

impl AsyncRead for Greeting {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { connection, awaited } = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(connection).poll_read(cx, buffer);
        if let Some(waiting) = awaited {
            waiting.missing = waiting.missing.saturating_sub(buffer.filled().len() - before);
            if waiting.missing == 0 {
                *awaited = None;
            } else if read.is_pending() && waiting.is_over(cx) {
                return Poll::Ready(Ok(()));
            }
        }
        read
    }
}

impl AsyncWrite for Greeting {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    const EVER: Duration = Duration::from_mins(10);
    const NOW: Duration = Duration::from_millis(1);

    // On a clock that goes forward by itself as soon as nothing else is to be done.
    #[tokio::test(start_paused = true)]
    async fn who_does_not_greet_is_cut_off_in_time_and_at_the_end() {
        for (greeting, patience, stopped, cut) in [
            (0, NOW, false, true),
            (23, NOW, false, true),
            (0, EVER, true, true),
            (23, EVER, true, true),
            (24, NOW, true, false),
        ] {
            let (mut client, server) = UnixStream::pair().expect("a pair");
            let stop = CancellationToken::new();
            let mut server = Greeting::within(patience, Connection::unix(server), stop.clone());
            client.write_all(&[7; 24][..greeting]).await.expect("room");
            let mut said = vec![0; greeting];
            server.read_exact(&mut said).await.expect("the greeting");
            if stopped {
                stop.cancel();
            }
            let next = async { server.read(&mut [0; 1]).await.expect("no error") };
            let later = async {
                tokio::time::sleep(NOW * 20).await;
                client.write_all(b"!").await.expect("room");
                std::future::pending::<usize>().await
            };
            let read = tokio::select! { read = next => read, read = later => read };
            assert_eq!(read == 0, cut, "{greeting} bytes, {patience:?}, stopped: {stopped}");
        }
    }
}
