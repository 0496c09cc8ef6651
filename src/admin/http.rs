//! An HTTP/1.1 server for a handful of operators and scrapers, in which nobody can hold a place by
//! being slow: connections are few, and each must say what it wants in time.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::connection::Connection;
use crate::lifecycle::listener::Listener;

/// Connections at once; the next one waits until one of them ends.
const CONNECTIONS: usize = 64;
/// From the opening of a connection, or the last answer on it, to the end of a request's headers.
const HEADERS: Duration = Duration::from_secs(5);
/// A whole connection, so that answers which are never read do not hold a place either. A scraper
/// whose connection ends opens another one.
const LIFETIME: Duration = Duration::from_mins(5);
/// What an answer under way may still take when the process stops.
const FAREWELL: Duration = Duration::from_millis(500);

/// Serves until `stop`.
///
/// # Errors
/// None: a connection that fails is its client's affair.
pub(super) async fn serve(
    mut listener: Listener,
    router: Router,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    // Connections are part of this one task, so that it ends when they have.
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(()) = connections.next() => {}
            Some(Ok(connection)) = listener.next(), if connections.len() < CONNECTIONS => {
                connections.push(converse(connection, router.clone(), stop.clone()));
            }
        }
    }
    drop(listener);
    while let Some(()) = connections.next().await {}
    Ok(())
}

async fn converse(connection: Connection, router: Router, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS);
    let service = TowerToHyperService::new(router);
    let mut served = pin!(http.serve_connection(TokioIo::new(connection), service));
    let ended = tokio::select! {
        result = served.as_mut() => result,
        () = tokio::time::sleep(LIFETIME) => Ok(()),
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            // Whoever has not finished asking by then is not answered.
            tokio::time::timeout(FAREWELL, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection");
    }
}
