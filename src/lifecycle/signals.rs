//! What the operating system asks of this process, as a stream: to stop, or to reload.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Signals in the order in which they arrive. Those of one kind that arrive before the first of
/// them was read are one.
#[derive(Debug)]
pub struct Signals(Source);

#[derive(Debug)]
enum Source {
    Process(Vec<(&'static str, Signal)>),
    Channel(mpsc::Receiver<&'static str>),
}

impl Signals {
    /// `SIGTERM` and `SIGINT`: stop. From here on neither kills the process by itself.
    ///
    /// Needs a Tokio runtime. Fails when a handler cannot be installed.
    pub fn stop() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self(Source::Process(vec![("SIGTERM", terminate), ("SIGINT", interrupt)])))
    }

    /// `SIGHUP`: reload now. From here on it does not kill the process, so a server asks for this
    /// before it does anything that takes time.
    ///
    /// Needs a Tokio runtime. Fails when the handler cannot be installed.
    pub fn reload() -> io::Result<Self> {
        Ok(Self(Source::Process(vec![("SIGHUP", signal(SignalKind::hangup())?)])))
    }

    /// Signals that somebody in this process sends. A dropped sender sends no more.
    pub fn channel() -> (mpsc::Sender<&'static str>, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Self(Source::Channel(receiver)))
    }

    /// Waits for the next signal and names it.
    ///
    /// Dropping the future loses no signal.
    pub async fn next(&mut self) -> &'static str {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        match &mut self.0 {
            Source::Process(signals) => {
                for (name, signal) in signals {
                    if let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                        return Poll::Ready(name);
                    }
                }
                Poll::Pending
            }
            Source::Channel(receiver) => match receiver.poll_recv(cx) {
                Poll::Ready(Some(name)) => Poll::Ready(name),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            },
        }
    }
}
