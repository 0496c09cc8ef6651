//! `grpc.health.v1.Health`: SERVING while a policy holds and nobody has asked the process to stop.
//!
//! The whole server (`""`) and the authorization service answer alike: a gatepost that cannot
//! decide is good for nothing else. A `Watch` stream says `NOT_SERVING` and ends when the
//! process stops; nothing else would end it, and a drain would wait for it.

use std::pin::Pin;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::service::SERVICE;
use crate::lifecycle::readiness::Readiness;

/// The health of one listener.
#[derive(Debug)]
pub struct Readout {
    readiness: Readiness,
    shutdown: CancellationToken,
}

/// The service.
pub fn service(readiness: Readiness, shutdown: CancellationToken) -> HealthServer<impl Health> {
    HealthServer::new(Readout { readiness, shutdown })
}

type Answers = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for Readout {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if is_known(request.get_ref()) {
            Ok(Response::new(answer(self.readiness.is_ready())))
        } else {
            Err(Status::not_found("no such service here"))
        }
    }

    type WatchStream = Answers;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Answers>, Status> {
        if !is_known(request.get_ref()) {
            // The protocol wants the stream kept open: the service might be registered later. Here
            // none ever is, and saying so ends the matter.
            return Err(Status::not_found("no such service here"));
        }
        let readiness = self.readiness.subscribe();
        let watching = Watching { readiness, stop: self.shutdown.clone(), told: None };
        Ok(Response::new(Box::pin(stream::unfold(watching, Watching::next))))
    }
}

/// One `Watch` stream.
struct Watching {
    readiness: watch::Receiver<Vec<&'static str>>,
    stop: CancellationToken,
    told: Option<bool>,
}

impl Watching {
    /// The next change, and the end once that is told too.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        loop {
            let stopped = self.stop.is_cancelled();
            let serving = !stopped && self.readiness.borrow_and_update().is_empty();
            if self.told.replace(serving) != Some(serving) {
                return Some((Ok(answer(serving)), self));
            }
            if stopped {
                return None;
            }
            tokio::select! {
                changed = self.readiness.changed() => if changed.is_err() { return None },
                () = self.stop.cancelled() => {}
            }
        }
    }
}

fn is_known(request: &HealthCheckRequest) -> bool {
    matches!(request.service.as_str(), "" | SERVICE)
}

fn answer(serving: bool) -> HealthCheckResponse {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}
