//! A small echo service: what stands behind the gateway in the demo and in the tests.
//!
//! It answers every request with what arrived, so that one can see what the gateway added and took
//! away. It knows nothing of policy, and it is not for production.

use std::io::{self, Write};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::Exit;
use crate::lifecycle::signals::Signals;

/// `gatepost demo-upstream`
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: std::net::SocketAddr,
}

/// Serves until a signal; says where on `err`.
///
/// # Errors
/// `err` cannot be written.
pub fn run(options: &Options, err: &mut dyn Write) -> io::Result<Exit> {
    let served = tokio::runtime::Runtime::new().and_then(|runtime| {
        runtime.block_on(async {
            let mut stop = Signals::stop()?;
            let listener = TcpListener::bind(options.listen).await?;
            writeln!(err, "demo-upstream ready: listen={}", listener.local_addr()?)?;
            serve(listener, async move {
                stop.next().await;
            })
            .await
        })
    });
    match served {
        Ok(()) => Ok(Exit::Done),
        Err(error) => {
            writeln!(err, "gatepost: {}: {error}", options.listen)?;
            Ok(Exit::Failed)
        }
    }
}

/// The largest request body that is counted to its end, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Answers requests on `listener` until `shutdown` completes, then finishes those it has.
///
/// One port speaks HTTP/1.1 and HTTP/2 without TLS. The answer to every method and path is
/// `{"method", "path", "headers": {name: [values]}, "body_bytes"}`, with the query in `path`, and `"trailers"` where there are any. A
/// request whose content type begins with `application/grpc` gets the same JSON as the bytes of one
/// gRPC message, and `grpc-status: 0`. A body over 1 MiB is answered with 413.
///
/// # Errors
///
/// When the socket fails.
pub async fn serve(
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let app = Router::new().fallback(echo);
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await
}

async fn echo(request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let mut body_bytes = 0_usize;
    let mut trailers = HeaderMap::new();
    // Counted frame by frame and dropped: an upload costs no memory here.
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return empty(StatusCode::BAD_REQUEST) };
        body_bytes = body_bytes.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if let Some(sent) = frame.trailers_ref() {
            trailers = sent.clone();
        }
        if body_bytes > MAX_BODY_BYTES {
            return empty(StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let mut json = json!({
        "method": head.method.as_str(),
        "path": path,
        "headers": headers_as_json(&head.headers, head.uri.authority().map(Authority::as_str)),
        "body_bytes": body_bytes,
    });
    if !trailers.is_empty()
        && let Some(json) = json.as_object_mut()
    {
        json.insert("trailers".to_owned(), headers_as_json(&trailers, None));
    }
    let json = Bytes::from(json.to_string());
    if is_grpc(&head.headers) { grpc(&json) } else { http(json) }
}

fn headers_as_json(headers: &HeaderMap, authority: Option<&str>) -> Value {
    let mut names = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into());
        names.insert(name.as_str().to_owned(), Value::Array(values.collect()));
    }
    // HTTP/2 has the host outside of the headers; the reader should find it in one place.
    if let Some(authority) = authority {
        names.entry(HOST.as_str()).or_insert_with(|| json!([authority]));
    }
    Value::Object(names)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn http(json: Bytes) -> Response {
    with_content_type("application/json", Body::from(json))
}

/// One message in gRPC's framing (compression flag, length, bytes), and the status as a trailer.
fn grpc(message: &[u8]) -> Response {
    let Ok(length) = u32::try_from(message.len()) else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(length);
    framed.put_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    let body = Full::new(framed.freeze()).with_trailers(async move { Some(Ok(trailers)) });
    with_content_type("application/grpc", Body::new(body))
}

fn with_content_type(kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(request: http::request::Builder, body: impl Into<Body>) -> Response {
        echo(request.body(body.into()).unwrap()).await
    }

    #[tokio::test]
    async fn echoes_what_arrived() {
        let request = Request::put("http://shop.example/a%2Fb?q=1").header("x-a", "1");
        let answer = ask(request.header("x-a", "2"), "hello").await;
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({
                "method": "PUT",
                "path": "/a%2Fb?q=1",
                "headers": { "host": ["shop.example"], "x-a": ["1", "2"] },
                "body_bytes": 5,
            })
        );
    }

    #[tokio::test]
    async fn answers_grpc_with_one_message_and_a_status() {
        let request = Request::post("/p.S/M").header(CONTENT_TYPE, "application/grpc+proto");
        let answer = ask(request, "").await;
        assert_eq!(answer.headers().get(CONTENT_TYPE).unwrap(), "application/grpc");
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap().get("grpc-status").unwrap(), "0");
        let bytes = body.to_bytes();
        let (frame, message) = bytes.split_at(5);
        assert_eq!(frame[0], 0, "not compressed");
        assert_eq!(frame[1..], u32::try_from(message.len()).unwrap().to_be_bytes());
        assert_eq!(serde_json::from_slice::<Value>(message).unwrap()["path"], "/p.S/M");
    }

    #[tokio::test]
    async fn bounds_the_body() {
        let fits = ask(Request::post("/"), vec![0; MAX_BODY_BYTES]).await;
        assert_eq!(fits.status(), StatusCode::OK);
        let over = ask(Request::post("/"), vec![0; MAX_BODY_BYTES + 1]).await;
        assert_eq!(over.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
