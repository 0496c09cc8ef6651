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
use tonic::service::Routes;
use tonic::transport::Server;

use super::Options;
use crate::admin::{self, View};
use crate::audit::{Ids, Log, Sink};
use crate::authz::health;
use crate::authz::service::{Authorization, Authorizer};
use crate::clock::Now;
use crate::lifecycle::address::Address;
use crate::lifecycle::greeting::Greeting;
use crate::lifecycle::listener::{self, BindError, Listener};
use crate::lifecycle::readiness::Readiness;
use crate::lifecycle::signals::Signals;
use crate::lifecycle::tls::Tls;
use crate::lifecycle::{Drain, Tasks};
use crate::policy::Snapshot;
use crate::policy::live::Live;
use crate::policy::load::{self, Files, Fingerprint};
use crate::policy::reload::{self, Reloader, Socket, Sockets, Status, Version, Waker};
use crate::policy::secrets::Store;
use crate::ratelimit::memory::Counters;
use crate::side::Side;
use crate::telemetry::Metrics;
use crate::xds::Xds;

/// Where the gateway's Envoy asks, unless told otherwise.
const GATEWAY_LISTEN: &str = "127.0.0.1:9191";
/// Where the egress's Envoy asks, unless told otherwise.
const EGRESS_LISTEN: &str = "unix:/run/gatepost/egress.sock";

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
    let stamps = reload::look(&options.policy);
    let mut secrets = Store::live(&options.policy);
    let (snapshot, fingerprint) = first(&options, &mut secrets, started)?;
    let version = Version { stamps, fingerprint };
    let metrics = Arc::new(Metrics::new(started)?);
    metrics.policy_loaded(reload::facts(&snapshot), started);
    let ids = Ids::new()?;
    let tasks = Tasks::new();
    // Before the log, so that a start that fails leaves no line in it.
    let tls = match options.tls.files(options.egress_listen.as_ref())? {
        Some(files) => Some(files.load()?),
        None => None,
    };
    let bound = Bound::bind(&options, &snapshot).await?.secured(tls.as_ref(), &metrics);
    let log = open_log(&options, &ids, &tasks)?;
    let sockets = bound.sockets(&snapshot, &readiness);
    let policy = Arc::new(Live::new(snapshot));
    let xds = bound
        .egress
        .is_some()
        .then(|| Xds::new(Arc::clone(&policy), Arc::clone(&metrics), tasks.shutdown().clone()));
    let view = View {
        xds,
        readiness: readiness.clone(),
        policy,
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
        secrets,
        sockets,
    };

    let addresses = bound.addresses();
    bound.serve(&tasks, &view, ids);
    let (waker, work) = reloader.prepare(version);
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
fn first(
    options: &Options,
    secrets: &mut Store,
    now: Now,
) -> Result<(Snapshot, Fingerprint), load::Error> {
    let files = Files::read(&options.policy)?;
    if !files.has_gateway() && !files.has_egress() {
        return Err(load::Error::Nothing(options.policy.clone()));
    }
    let snapshot = files.compile(options.environment.into(), 1, secrets, now)?;
    Ok((snapshot, files.fingerprint()))
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
    /// `None` for a side that has no file and was not asked for either.
    gateway: Option<Listener>,
    egress: Option<Listener>,
    admin: Listener,
    metrics: Option<Listener>,
}

impl Bound {
    async fn bind(options: &Options, snapshot: &Snapshot) -> Result<Self, Failure> {
        let mode = options.socket_mode;
        let side = |asked: &Option<Address>, has_file: bool, default: &str| match asked {
            Some(address) => Ok::<_, Failure>(Some(address.clone())),
            None if has_file => Ok(Some(default.parse()?)),
            None => Ok(None),
        };
        let gateway = side(&options.gateway_listen, snapshot.gateway.is_some(), GATEWAY_LISTEN)?;
        let egress = side(&options.egress_listen, snapshot.egress.is_some(), EGRESS_LISTEN)?;
        Ok(Self {
            gateway: bind(gateway.as_ref(), mode).await?,
            egress: bind(egress.as_ref(), mode).await?,
            admin: listener::bind(&options.admin, mode).await?,
            metrics: bind(options.metrics.as_ref(), mode).await?,
        })
    }

    /// TLS on the sockets where Envoy asks, where they are on TCP.
    fn secured(self, tls: Option<&Tls>, metrics: &Metrics) -> Self {
        let secure = |listener: Option<Listener>, side| match (listener, tls) {
            (Some(listener), Some(tls)) => {
                Some(listener.over_tls(tls.clone().counting(metrics.failed_handshakes(side))))
            }
            (listener, _) => listener,
        };
        Self {
            gateway: secure(self.gateway, Side::Gateway),
            egress: secure(self.egress, Side::Egress),
            ..self
        }
    }

    /// What the reloader must know of them: which sides are served, and which of those that are still
    /// wait for a policy.
    fn sockets(&self, snapshot: &Snapshot, readiness: &Readiness) -> Sockets {
        let socket = |listener: &Option<Listener>, has_policy: bool, file| match listener {
            Some(_) => Socket::Bound((!has_policy).then(|| readiness.wait_for(file))),
            None => Socket::Unbound,
        };
        Sockets {
            gateway: socket(&self.gateway, snapshot.gateway.is_some(), load::GATEWAY),
            egress: socket(&self.egress, snapshot.egress.is_some(), load::EGRESS),
        }
    }

    /// As the ready line names them.
    fn addresses(&self) -> String {
        let Self { gateway, egress, admin, metrics } = self;
        let all = [
            ("gateway", gateway.as_ref()),
            ("egress", egress.as_ref()),
            ("admin", Some(admin)),
            ("metrics", metrics.as_ref()),
        ];
        let bound = all.into_iter().filter_map(|(name, listener)| {
            listener.map(|listener| format!("{name}={}", listener.local_address()))
        });
        bound.collect::<Vec<_>>().join(" ")
    }

    fn serve(self, tasks: &Tasks, view: &View, ids: Ids) {
        let Self { gateway, egress, admin, metrics } = self;
        let stop = tasks.shutdown();
        if let Some(metrics) = metrics {
            tasks.spawn("metrics", admin::serve_metrics(metrics, view.clone(), stop.clone()));
        }
        tasks.spawn("admin", admin::serve(admin, view.clone(), stop.clone()));
        let ids = Arc::new(ids);
        let checks = |side| {
            let authorizer = Authorizer {
                side,
                policy: Arc::clone(&view.policy),
                counters: Arc::clone(&view.counters),
                metrics: Arc::clone(&view.metrics),
                log: view.log.clone(),
                ids: Arc::clone(&ids),
            };
            Routes::new(Authorization(Arc::new(authorizer)))
                .add_service(health::service(view.readiness.clone(), stop.clone()))
        };
        if let Some(gateway) = gateway {
            tasks.spawn("gateway", serve_grpc(gateway, checks(Side::Gateway), stop.clone()));
        }
        if let Some(egress) = egress {
            let mut services = checks(Side::Egress);
            if let Some(xds) = &view.xds {
                services = services.add_service(xds.service());
                tasks.spawn("clusters", xds.clone().run());
            }
            tasks.spawn("egress", serve_grpc(egress, services, stop.clone()));
        }
    }
}

async fn bind(address: Option<&Address>, mode: u32) -> Result<Option<Listener>, BindError> {
    match address {
        Some(address) => Ok(Some(listener::bind(address, mode).await?)),
        None => Ok(None),
    }
}

/// Serves these gRPC services until `stop`.
async fn serve_grpc(
    listener: Listener,
    services: Routes,
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
        .add_routes(services)
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
