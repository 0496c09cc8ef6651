//! `grpc.health.v1.Health`: SERVING while a policy holds and nobody has asked the process to stop.
//!
//! The whole server (`""`) and the authorization service answer alike: a gatepost that cannot
//! decide is good for nothing else. A `Watch` stream ends when the process stops; nothing else
//! would, and a drain would wait for it.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use tokio_stream::wrappers::WatchStream;
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
        let mut last = None;
        let changes = WatchStream::new(self.readiness.subscribe()).filter_map(move |why_not| {
            let serving = why_not.is_empty();
            let changed = last.replace(serving) != Some(serving);
            std::future::ready(changed.then(|| Ok(answer(serving))))
        });
        let stopped = self.shutdown.clone().cancelled_owned();
        Ok(Response::new(Box::pin(changes.take_until(stopped))))
    }
}

fn is_known(request: &HealthCheckRequest) -> bool {
    matches!(request.service.as_str(), "" | SERVICE)
}

fn answer(serving: bool) -> HealthCheckResponse {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}
