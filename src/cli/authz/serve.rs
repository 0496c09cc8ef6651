//! The wiring of `gatepost authz`: everything is loaded and bound before anything is served.

use std::convert::Infallible;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::Options;
use crate::admin::{self, View};
use crate::audit::{Ids, Log, Sink};
use crate::authz::health;
use crate::authz::service::{Authorization, Authorizer};
use crate::clock::Now;
use crate::lifecycle::address::Address;
use crate::lifecycle::greeting::Greeting;
use crate::lifecycle::listener::{self, Listener};
use crate::lifecycle::readiness::Readiness;
use crate::lifecycle::signals::Signals;
use crate::lifecycle::{Drain, Tasks};
use crate::policy::Snapshot;
use crate::policy::live::Live;
use crate::policy::load::{self, Files};
use crate::policy::reload::{self, Reloader, Status, Waker};
use crate::policy::secrets::Store;
use crate::ratelimit::memory::Counters;
use crate::side::Side;
use crate::telemetry::Metrics;

/// Where the gateway's Envoy asks, unless told otherwise.
const GATEWAY_LISTEN: &str = "127.0.0.1:9191";

/// How many checks one connection may have open at once. Envoy opens another connection past it.
const MAX_CONCURRENT_STREAMS: u32 = 1024;
/// Envoy resets a check that it no longer waits for. By default h2 takes 20 resets that it has not
/// got round to for an attack and closes the connection, at the very moment when everybody is late.
const MAX_PENDING_RESETS: usize = 1024;
/// How long a check may take to arrive. Envoy sends it in one go and waits for the answer for less
/// than this (0.2 s unless told otherwise); whoever leaves it unfinished would otherwise hold a stream for ever, and hold up a drain.
const ARRIVAL: Duration = Duration::from_secs(2);
/// Finds connections whose other end has gone without a word.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How often callers are forgotten whose every window is over.
const SWEEP: Duration = Duration::from_mins(1);

type Failure = Box<dyn Error + Send + Sync>;

/// Serves until a signal, then drains.
///
/// # Errors
/// The policy does not load, an address cannot be bound, a part of the process failed, or the drain
/// was cut short.
pub(super) async fn serve(options: Options, err: &mut dyn Write) -> Result<(), Failure> {
    let started = Now::read();
    // First of all: from here on a signal that comes early does not end the process.
    let mut stop = Signals::stop()?;
    let hangup = Signals::reload()?;
    let (readiness, starting) = Readiness::new("start");
    let seen = reload::look(&options.policy);
    let snapshot = first(&options)?;
    let metrics = Arc::new(Metrics::new(started)?);
    metrics.policy_loaded(reload::facts(&snapshot), started);
    let ids = Ids::new()?;
    let tasks = Tasks::new();
    // Before the log, so that a start that fails leaves no line in it.
    let bound = Bound::bind(&options).await?;
    let log = open_log(&options, &ids, &tasks)?;
    let no_gateway = snapshot.gateway.is_none();
    let view = View {
        readiness: readiness.clone(),
        policy: Arc::new(Live::new(snapshot)),
        reload: Arc::new(Status::loaded(started)),
        counters: Arc::new(Counters::new()),
        metrics,
        log,
        started,
    };
    let reloader = Reloader {
        directory: options.policy.clone(),
        strictness: options.environment.into(),
        policy: Arc::clone(&view.policy),
        status: Arc::clone(&view.reload),
        metrics: Arc::clone(&view.metrics),
        unconfigured: no_gateway.then(|| readiness.wait_for(load::GATEWAY)),
    };

    let addresses = bound.addresses();
    bound.serve(&tasks, &view, ids);
    let (waker, work) = reloader.prepare(seen);
    tasks.spawn_thread("policy reload", move || {
        work();
        Ok::<(), Infallible>(())
    })?;
    tasks.spawn("signals", reload_on(hangup, waker, tasks.shutdown().clone()));
    tasks.spawn("sweep", sweep(Arc::clone(&view.counters), tasks.shutdown().clone()));
    drop(starting);
    writeln!(err, "gatepost ready: {addresses}")?;

    let drain = Drain {
        notice: Duration::from_millis(options.drain_notice),
        grace: Duration::from_millis(options.drain_grace),
    };
    let stopped = tasks.run(&mut stop, &readiness, drain).await;
    if let Some(log) = view.log {
        tokio::task::spawn_blocking(move || log.shutdown(drain.grace)).await??;
    }
    Ok(stopped?)
}

/// The policy to start with.
fn first(options: &Options) -> Result<Snapshot, load::Error> {
    let files = Files::read(&options.policy)?;
    if !files.has_gateway() && !files.has_egress() {
        return Err(load::Error::Nothing(options.policy.clone()));
    }
    files.compile(options.environment.into(), 1, &mut Store::live(), Now::read())
}

/// The decision log. Its thread is watched: one that dies ends the process.
fn open_log(options: &Options, ids: &Ids, tasks: &Tasks) -> Result<Option<Log>, String> {
    let sink = match options.audit_log.as_str() {
        "off" => return Ok(None),
        "-" => Sink::Stdout,
        path => Sink::Path(PathBuf::from(path)),
    };
    let (alive, ended) = oneshot::channel::<Infallible>();
    let log = Log::open(&sink, options.audit_queue, ids.boot(), alive)
        .map_err(|error| format!("--audit-log {}: {error}", options.audit_log))?;
    let stop = tasks.shutdown().clone();
    tasks.spawn("decision log", async move {
        tokio::select! {
            // The log itself is closed last of all, after everybody who writes into it.
            () = stop.cancelled() => Ok::<(), Infallible>(()),
            _never_sent = ended => Ok(()),
        }
    });
    Ok(Some(log))
}

/// Every address, bound and not yet served.
struct Bound {
    gateway: Listener,
    admin: Listener,
    metrics: Option<Listener>,
}

impl Bound {
    async fn bind(options: &Options) -> Result<Self, Failure> {
        let mode = options.socket_mode;
        let default: Address = GATEWAY_LISTEN.parse()?;
        let gateway = options.gateway_listen.as_ref().unwrap_or(&default);
        Ok(Self {
            gateway: listener::bind(gateway, mode).await?,
            admin: listener::bind(&options.admin, mode).await?,
            metrics: match &options.metrics {
                Some(address) => Some(listener::bind(address, mode).await?),
                None => None,
            },
        })
    }

    /// As the ready line names them.
    fn addresses(&self) -> String {
        let Self { gateway, admin, metrics } = self;
        let mut names =
            format!("gateway={} admin={}", gateway.local_address(), admin.local_address());
        if let Some(metrics) = metrics {
            names = format!("{names} metrics={}", metrics.local_address());
        }
        names
    }

    fn serve(self, tasks: &Tasks, view: &View, ids: Ids) {
        let Self { gateway, admin, metrics } = self;
        let stop = tasks.shutdown();
        if let Some(metrics) = metrics {
            tasks.spawn("metrics", admin::serve_metrics(metrics, view.clone(), stop.clone()));
        }
        tasks.spawn("admin", admin::serve(admin, view.clone(), stop.clone()));
        let authorizer = Arc::new(Authorizer {
            side: Side::Gateway,
            policy: Arc::clone(&view.policy),
            counters: Arc::clone(&view.counters),
            metrics: Arc::clone(&view.metrics),
            log: view.log.clone(),
            ids: Arc::new(ids),
        });
        let readiness = view.readiness.clone();
        tasks.spawn("gateway", serve_checks(gateway, authorizer, readiness, stop.clone()));
    }
}

async fn serve_checks(
    listener: Listener,
    authorizer: Arc<Authorizer>,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let greeted = stop.clone();
    let connections = listener.map(move |accepted| {
        accepted.map(|connection| Greeting::awaited(connection, greeted.clone()))
    });
    Server::builder()
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .timeout(ARRIVAL)
        .add_service(Authorization(authorizer))
        .add_service(health::service(readiness, stop.clone()))
        .serve_with_incoming_shutdown(connections, stop.cancelled_owned())
        .await
}

/// `SIGHUP` reads the policy now.
async fn reload_on(
    mut hangup: Signals,
    waker: Waker,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    loop {
        tokio::select! {
            () = stop.cancelled() => {
                waker.stop();
                return Ok(());
            }
            _signal = hangup.next() => waker.reload(),
        }
    }
}

async fn sweep(counters: Arc<Counters>, stop: CancellationToken) -> Result<(), Infallible> {
    let mut clock = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _tick = clock.tick() => {
                let forgotten = counters.sweep(Now::read());
                tracing::debug!(forgotten, "swept the rate limiter");
            }
        }
    }
}
