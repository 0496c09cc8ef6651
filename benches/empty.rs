//! The server that gatepost is compared with: `Check` on stock tonic, prost and envoy-types, which
//! decodes the request, looks at nothing, and allows everything.

use std::io::{self, Write};

use envoy_types::pb::envoy::service::auth::v3::authorization_server::{
    Authorization, AuthorizationServer,
};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse, OkHttpResponse};
use envoy_types::pb::google::rpc;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What [`serve`] may fail with.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Empty;

#[tonic::async_trait]
impl Authorization for Empty {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(CheckResponse {
            status: Some(rpc::Status::default()),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            ..CheckResponse::default()
        }))
    }
}

/// Serves on a free port, named on standard error as gatepost names its own, until it is killed.
pub(crate) fn serve() -> Result<(), Failure> {
    // As gatepost does: one worker thread for each core.
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(io::stderr(), "empty ready: gateway={}", listener.local_addr()?)?;
        // tonic sets TCP_NODELAY only on listeners of its own.
        let connections = TcpListenerStream::new(listener);
        let connections = futures_util::StreamExt::map(connections, |connection| {
            connection.and_then(|connection| connection.set_nodelay(true).map(|()| connection))
        });
        tonic::transport::Server::builder()
            .add_service(AuthorizationServer::new(Empty))
            .serve_with_incoming(connections)
            .await?;
        Ok(())
    })
}
