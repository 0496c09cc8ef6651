//! The operator's HTTP: `/health`, `/ready`, `/status` and `/metrics`.
//!
//! It shows what is going on to whoever reaches it, so it listens on loopback unless told
//! otherwise. It changes nothing.

mod egress;
mod http;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use crate::audit::Log;
use crate::clock::Now;
use crate::lifecycle::listener::Listener;
use crate::lifecycle::readiness::Readiness;
use crate::policy::live::Live;
use crate::policy::reload::Status;
use crate::ratelimit::memory::Counters;
use crate::telemetry::{Metrics, Readings, TEXT_FORMAT};
use crate::xds::Xds;

/// What there is to show.
#[derive(Clone, Debug)]
pub struct View {
    /// Whether requests may be sent here.
    pub readiness: Readiness,
    /// The policy that holds.
    pub policy: Arc<Live>,
    /// How the last reload went.
    pub reload: Arc<Status>,
    /// What has been counted.
    pub counters: Arc<Counters>,
    /// The Envoys of the egress, where its socket is bound.
    pub xds: Option<Xds>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The decision log, where there is one.
    pub log: Option<Log>,
    /// When the process started.
    pub started: Now,
}

/// Serves everything.
///
/// # Errors
/// None.
pub async fn serve(
    listener: Listener,
    view: View,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let router = for_scrapers().route("/ready", get(ready)).route("/status", get(status));
    http::serve(listener, router.with_state(view), stop).await
}

/// Serves what a scraper on another host may see: `/health` and `/metrics`.
///
/// # Errors
/// None.
pub async fn serve_metrics(
    listener: Listener,
    view: View,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    http::serve(listener, for_scrapers().with_state(view), stop).await
}

fn for_scrapers() -> Router<View> {
    Router::new().route("/health", get(health)).route("/metrics", get(metrics))
}

/// The process is alive and answers.
async fn health() -> &'static str {
    "ok\n"
}

/// Requests may be sent here; or else why not, with 503.
async fn ready(State(view): State<View>) -> Response {
    let why_not = view.readiness.why_not();
    if why_not.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", why_not.join(", ")))
        .into_response()
}

async fn metrics(State(view): State<View>) -> Response {
    let readings = Readings {
        log: view.log.as_ref().map(|log| (&log.health()).into()).unwrap_or_default(),
        limiter_subjects: u64::try_from(view.counters.len()).unwrap_or(u64::MAX),
    };
    match view.metrics.render(&readings) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn status(State(view): State<View>) -> Response {
    let body = format!("{:#}\n", describe(&view, Now::read()));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn describe(view: &View, now: Now) -> Value {
    let snapshot = view.policy.load_full();
    let reload = view.reload.get();
    let gateway = snapshot.gateway.as_ref().map(|gateway| {
        json!({
            "api_keys": gateway.keys.len(),
            "rate_limit_tiers": gateway.tiers.len(),
            "rules": gateway.rules.len(),
            "allow_any_key": gateway.any_key.is_some(),
        })
    });
    let egress = snapshot.egress.as_ref();
    let envoys = view.xds.as_ref().map(Xds::nodes).unwrap_or_default();
    let egress = egress.map(|egress| egress::describe(egress, &reload.credentials, &envoys));
    let log = view.log.as_ref().map(|log| {
        let health = log.health();
        json!({
            "written": health.written,
            "dropped": health.dropped,
            "queued_bytes": health.queued_bytes,
            "error": health.error,
        })
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": timestamp(view.started.unix),
        "uptime_seconds": now.monotonic.saturating_sub(view.started.monotonic).as_secs(),
        "ready": view.readiness.is_ready(),
        "waiting_for": view.readiness.why_not(),
        "policy": {
            "revision": &*snapshot.revision.0,
            "generation": snapshot.generation,
            "loaded_at": timestamp(reload.loaded_at),
            "checked_at": timestamp(reload.checked_at),
            "error": reload.error,
            "error_since": reload.error_since.map(timestamp),
            "gateway": gateway,
        },
        "egress": egress,
        "rate_limits": {
            "store": "memory",
            "scope": "this process: counts end with it, and replicas count apart",
            "subjects": view.counters.len(),
        },
        "decision_log": log,
    })
}

fn timestamp(unix: Duration) -> String {
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
    let date = OffsetDateTime::from_unix_timestamp(seconds).and_then(|date| {
        // Whole seconds: when something happened, not how long it took.
        date.replace_nanosecond(0)
    });
    date.map_or_else(
        |_out_of_range| String::new(),
        |date| date.format(&Rfc3339).unwrap_or_default(),
    )
}
