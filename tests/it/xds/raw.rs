//! A client that says what it likes.

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::rpc::Status;
use gatepost::xds::clusters::TYPE_URL;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::server::Server;
use super::side::{self, Service};
use crate::world::http2::runtime;
use crate::world::patience::{PATIENCE, eventually, within};

type Client = AggregatedDiscoveryServiceClient<Channel>;

fn server() -> (Server, Client) {
    let live = side::live(&[Service::https("a", "a.test", 443)]);
    let server = Server::start("127.0.0.1:0", live);
    let client = runtime().block_on(Client::connect(format!("http://{}", server.address)));
    (server, client.unwrap())
}

/// One stream.
struct Stream {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl Stream {
    fn open(client: &mut Client) -> Result<Self, tonic::Status> {
        let (requests, outgoing) = mpsc::channel(8);
        let outgoing = ReceiverStream::new(outgoing);
        let responses = runtime().block_on(client.stream_aggregated_resources(outgoing))?;
        Ok(Self { requests, responses: responses.into_inner() })
    }

    fn send(&self, request: DiscoveryRequest) {
        runtime().block_on(self.requests.send(request)).unwrap();
    }

    /// The next response; `None` at the end of the stream.
    fn next(&mut self) -> Option<DiscoveryResponse> {
        let next = async { timeout(PATIENCE, self.responses.message()).await };
        runtime().block_on(next).expect("a response in time").unwrap()
    }
}

fn subscription() -> DiscoveryRequest {
    let node = Node { id: "x".repeat(10_000), cluster: "c".to_owned(), ..Node::default() };
    DiscoveryRequest { type_url: TYPE_URL.to_owned(), node: Some(node), ..Default::default() }
}

fn answer(response: &DiscoveryResponse, error: Option<&str>) -> DiscoveryRequest {
    let error = error.map(|text| Status { code: 13, message: text.to_owned(), details: vec![] });
    let version = if error.is_some() { "" } else { &response.version_info };
    DiscoveryRequest {
        version_info: version.to_owned(),
        response_nonce: response.nonce.clone(),
        type_url: TYPE_URL.to_owned(),
        error_detail: error,
        ..DiscoveryRequest::default()
    }
}

#[test]
fn a_stream_from_its_beginning_to_its_end() {
    let (server, mut client) = server();
    let mut stream = Stream::open(&mut client).unwrap();
    // Other types are not answered; what comes first is the answer to what is asked afterwards.
    let listeners = "type.googleapis.com/envoy.config.listener.v3.Listener";
    stream.send(DiscoveryRequest { type_url: listeners.to_owned(), ..subscription() });
    stream.send(subscription());
    let first = stream.next().unwrap();
    assert_eq!((&*first.type_url, first.resources.len()), (TYPE_URL, 1));
    stream.send(answer(&first, None));
    let node = server.node("the acknowledgement", |node| node.clusters == 1);
    assert_eq!(node.version.as_deref(), Some(&*first.version_info));
    assert_eq!(node.id.len(), 128, "what it calls itself is cut");

    server.edit(&[Service::https("a", "a.test", 444)]);
    let second = stream.next().unwrap();
    assert_eq!(second.resources.len(), 2, "the old one holds until this is acknowledged");
    let error = format!("not today: {}", "y".repeat(100_000));
    stream.send(answer(&second, Some(&error)));
    let node = server.node("the refusal", |node| node.nack.is_some());
    assert_eq!(node.nack.unwrap().text.len(), 500);
    assert_eq!(server.held("a"), Service::https("a", "a.test", 443).cluster());
    for (metric, value) in [("streams", 1), ("responses_total", 2), ("acks_total", 1)] {
        assert_eq!(server.count(&format!("gatepost_xds_{metric}")), value, "{metric}");
    }
    assert_eq!(server.count("gatepost_xds_nacks_total"), 1);

    let ending = std::thread::spawn(move || stream.next());
    server.stop();
    assert_eq!(ending.join().unwrap(), None, "it ends with the process");
}

#[test]
fn with_no_envoy_an_edit_holds_at_once() {
    let (server, _client) = server();
    let moved = Service::https("a", "a.test", 444);
    server.edit(std::slice::from_ref(&moved));
    let limit = Duration::from_secs(1);
    within(limit, "the new destination", || (server.held("a") == moved.cluster()).then_some(()));
}

#[test]
fn what_is_not_served_is_refused() {
    let (server, mut client) = server();
    let delta = runtime().block_on(async {
        let requests = tokio_stream::once(DeltaDiscoveryRequest::default());
        client.delta_aggregated_resources(requests).await
    });
    assert_eq!(delta.unwrap_err().code(), Code::Unimplemented);

    let streams: Vec<_> = (0..256).map(|_| Stream::open(&mut client).unwrap()).collect();
    let error = Stream::open(&mut client).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert_eq!(server.count("gatepost_xds_streams"), 256);
    drop(streams);
    eventually("room for others", || (server.count("gatepost_xds_streams") == 0).then_some(()));

    let mut stream = Stream::open(&mut client).unwrap();
    stream.send(DiscoveryRequest { version_info: "x".repeat(5 << 20), ..subscription() });
    let ended = runtime().block_on(async { timeout(PATIENCE, stream.responses.message()).await });
    assert_eq!(ended.unwrap().unwrap(), None, "a request of 5 MiB ends its stream");
}
