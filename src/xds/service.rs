//! `envoy.service.discovery.v3.AggregatedDiscoveryService`: the streams around the state machines.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use futures_util::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::clusters::TYPE_URL;
use super::nodes::{Nodes, Seat};
use super::set::Set;
use super::stream;
use crate::clock::Now;

/// The service.
#[derive(Clone, Debug)]
pub struct Discovery {
    pub(super) nodes: Arc<Nodes>,
    pub(super) sets: watch::Receiver<Option<Arc<Set>>>,
    pub(super) stop: CancellationToken,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let Some(seat) = self.nodes.open(Now::read()) else {
            return Err(Status::resource_exhausted("there are too many streams already"));
        };
        let mut connection = Connection {
            seat,
            requests: request.into_inner(),
            sets: self.sets.clone(),
            stop: self.stop.clone(),
            introduced: false,
            told_other: false,
        };
        // Before the first request is read: it may say that Envoy has all of it.
        connection.offer();
        Ok(Response::new(Box::pin(futures_util::stream::unfold(connection, Connection::next))))
    }

    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn delta_aggregated_resources(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only the state of the world is served: api_type: GRPC"))
    }
}

/// One stream.
struct Connection {
    seat: Seat,
    requests: Streaming<DiscoveryRequest>,
    sets: watch::Receiver<Option<Arc<Set>>>,
    stop: CancellationToken,
    introduced: bool,
    told_other: bool,
}

impl Connection {
    /// The next response, and the end when Envoy has gone or the process stops.
    async fn next(mut self) -> Option<(Result<DiscoveryResponse, Status>, Self)> {
        loop {
            let now = Now::read();
            if let Some(response) = self.seat.respond(now) {
                return Some((Ok(encode(&response)), self));
            }
            let deadline = self.seat.deadline(now);
            tokio::select! {
                () = self.stop.cancelled() => return None,
                message = self.requests.message() => match message {
                    Ok(Some(request)) => self.hear(&request),
                    Ok(None) => return None,
                    Err(status) => {
                        tracing::debug!(%status, "a discovery stream has broken");
                        return None;
                    }
                },
                changed = self.sets.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                    self.offer();
                }
                () = until(deadline, now) => {}
            }
        }
    }

    /// From now on Envoy is to have what the policy says now.
    fn offer(&mut self) {
        let set = self.sets.borrow_and_update().clone();
        if let Some(set) = set {
            self.seat.offer(set);
        }
    }

    fn hear(&mut self, request: &DiscoveryRequest) {
        if !self.introduced {
            self.introduced = true;
            let node = request.node.as_ref();
            let (id, cluster) = node.map_or(("", ""), |node| (&node.id, &node.cluster));
            self.seat.introduce(id, cluster);
        }
        if request.type_url != TYPE_URL {
            if !std::mem::replace(&mut self.told_other, true) {
                let wanted: String = request.type_url.chars().take(128).collect();
                tracing::debug!(wanted, "an Envoy asks for what is not served here");
            }
            return;
        }
        let request = stream::Request {
            version: &request.version_info,
            nonce: &request.response_nonce,
            error: request.error_detail.as_ref().map(|status| &*status.message),
        };
        self.seat.hear(request, Now::read());
    }
}

/// Waits for a moment on the monotonic clock; for ever where there is none.
pub(super) async fn until(deadline: Option<Duration>, now: Now) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.saturating_sub(now.monotonic)).await,
        None => std::future::pending().await,
    }
}

fn encode(response: &stream::Response) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: response.version.to_string(),
        resources: response.resources.iter().map(|resource| resource.any.clone()).collect(),
        type_url: TYPE_URL.to_owned(),
        nonce: response.nonce.clone(),
        ..DiscoveryResponse::default()
    }
}
