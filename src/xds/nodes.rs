//! The Envoys that are connected: one row a stream, for as long as it is open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::handover::Reception;
use super::history::History;
use super::set::Set;
use super::stream::{Heard, Request, Response, Standing, Stream};
use crate::clock::Now;
use crate::telemetry::Metrics;

/// How many streams there may be. Each Envoy has one.
const STREAMS_MAX: usize = 256;
/// How much is kept of the name that an Envoy gives itself, in characters.
const NAME_MAX: usize = 128;
/// How much of a refusal is shown, in characters.
const SHOWN_MAX: usize = 500;
/// How much of a refusal is logged, in characters: Envoy cuts at less.
const LOGGED_MAX: usize = 8192;

/// How one Envoy stands. Times are since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `node.id` of its bootstrap.
    pub id: Box<str>,
    /// `node.cluster` of its bootstrap.
    pub cluster: Box<str>,
    /// When it connected.
    pub since: Duration,
    /// The version that it acknowledged last; `None` for a fresh one.
    pub version: Option<Arc<str>>,
    /// How many clusters it has.
    pub clusters: usize,
    /// How many it is yet to get.
    pub waiting: usize,
    /// How many it refused and does not have.
    pub refused: usize,
    /// Its last refusal.
    pub nack: Option<Nack>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// When, since 1970.
    pub at: Duration,
    /// What Envoy says, at most 500 characters of it.
    pub text: Box<str>,
}

/// The rows.
#[derive(Debug)]
pub struct Nodes {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    rows: BTreeMap<u64, Row>,
    history: History,
}

#[derive(Debug)]
struct Row {
    id: Box<str>,
    cluster: Box<str>,
    since: Duration,
    stream: Stream,
    nack: Option<Nack>,
}

/// The row of one stream, which is there until this is dropped.
#[derive(Debug)]
pub struct Seat {
    nodes: Arc<Nodes>,
    row: u64,
}

impl Nodes {
    /// Nobody yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(0), metrics }
    }

    /// A row for a new stream; `None` when there are too many.
    pub fn open(self: &Arc<Self>, now: Now) -> Option<Seat> {
        let mut state = self.lock();
        if state.rows.len() >= STREAMS_MAX {
            return None;
        }
        let row = state.next_id;
        state.next_id = state.next_id.wrapping_add(1);
        let empty = Row {
            id: Box::default(),
            cluster: Box::default(),
            since: now.unix,
            stream: Stream::default(),
            nack: None,
        };
        state.rows.insert(row, empty);
        self.metrics.xds().streams.inc();
        Some(Seat { nodes: Arc::clone(self), row })
    }

    /// The rows of this moment, in the order in which they were opened.
    pub fn list(&self) -> Vec<Node> {
        let node = |row: &Row| Node {
            id: row.id.clone(),
            cluster: row.cluster.clone(),
            since: row.since,
            version: row.stream.version().cloned(),
            clusters: row.stream.held(),
            waiting: row.stream.waiting(),
            refused: row.stream.refused_count(),
            nack: row.nack.clone(),
        };
        self.lock().rows.values().map(node).collect()
    }

    /// How it is with one cluster at all Envoys that have asked for clusters.
    pub fn reception(&self, cluster: &str) -> Reception {
        let state = self.lock();
        let mut all = Reception::Nobody;
        for row in state.rows.values() {
            all = match (row.stream.standing(cluster), all) {
                (Some(Standing::Refused), _) => return Reception::Refused,
                (Some(Standing::Open), _) => Reception::Open,
                (Some(Standing::Held), Reception::Nobody) => Reception::Held,
                (Some(Standing::Held) | None, all) => all,
            };
        }
        all
    }

    /// Is told whenever an Envoy has answered, come or gone.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic within a stream ends that stream, and its row with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Notes who it is, from the stream's first request.
    pub fn introduce(&self, id: &str, cluster: &str) {
        let (id, cluster) = (cut(id, NAME_MAX), cut(cluster, NAME_MAX));
        tracing::info!(node = %id, %cluster, "an Envoy has connected for its clusters");
        self.with(|row, _history| {
            row.id = id;
            row.cluster = cluster;
        });
    }

    /// From now on this Envoy is to have this.
    pub fn offer(&self, set: Arc<Set>) {
        self.with(|row, _history| row.stream.offer(set));
    }

    /// Takes a request.
    pub fn hear(&self, request: Request<'_>, now: Now) {
        let heard = self.with(|row, history| {
            let heard = row.stream.hear(request, history, now.monotonic);
            if let (Heard::Refused, Some(text)) = (heard, request.error) {
                row.refused(text, now.unix);
            }
            heard
        });
        let metrics = self.nodes.metrics.xds();
        match heard {
            Some(Heard::Acknowledged) => metrics.acks.inc(),
            Some(Heard::Refused) => metrics.nacks.inc(),
            Some(Heard::Subscribed) => {}
            Some(Heard::Stale) | None => return,
        }
        self.nodes.changed();
    }

    /// What to send now, if anything.
    pub fn respond(&self, now: Now) -> Option<Response> {
        let response = self.with(|row, history| row.stream.respond(history, now.monotonic))??;
        self.nodes.metrics.xds().responses.inc();
        Some(response)
    }

    /// When to ask again without an event, on the monotonic clock.
    pub fn deadline(&self, now: Now) -> Option<Duration> {
        self.with(|row, _history| row.stream.deadline(now.monotonic))?
    }

    /// The row is there for as long as the seat is.
    fn with<T>(&self, act: impl FnOnce(&mut Row, &mut History) -> T) -> Option<T> {
        let mut state = self.nodes.lock();
        let State { next_id: _, rows, history } = &mut *state;
        rows.get_mut(&self.row).map(|row| act(row, history))
    }
}

impl Row {
    fn refused(&mut self, text: &str, now: Duration) {
        let shown = cut(text, SHOWN_MAX);
        let error = cut(text, LOGGED_MAX);
        let node = &self.id;
        // A cluster that is offered again is refused again, in the same words.
        if self.nack.as_ref().is_some_and(|nack| nack.text == shown) {
            tracing::debug!(%node, %error, "an Envoy refuses clusters as before");
        } else {
            tracing::error!(%node, %error, "an Envoy refuses clusters");
        }
        self.nack = Some(Nack { at: now, text: shown });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let row = self.nodes.lock().rows.remove(&self.row);
        let node = row.map(|row| row.id).unwrap_or_default();
        tracing::info!(%node, "an Envoy has disconnected");
        self.nodes.metrics.xds().streams.dec();
        self.nodes.changed();
    }
}

fn cut(text: &str, most: usize) -> Box<str> {
    text.chars().take(most).collect()
}
