//! A small echo service: what stands behind the gateway in the demo and in the tests, and in place
//! of the outside world behind the egress.
//!
//! It answers every request with what arrived, so that one can see what the proxy added and took
//! away. It knows nothing of policy, and it is not for production.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use axum::serve::Listener;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value, json};

use super::Exit;
use crate::lifecycle::address::Address;
use crate::lifecycle::listener;
use crate::lifecycle::signals::Signals;
use crate::lifecycle::tls::{Clients, H2, HTTP_1_1, Own, Tls};

/// `gatepost demo-upstream`
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,

    /// Speak TLS with this certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Answer /events with so many server-sent events, one every 200 ms
    #[arg(long, value_name = "N")]
    events: Option<u32>,
}

/// Serves until a signal; says where on `err`.
///
/// # Errors
/// `err` cannot be written.
pub fn run(options: &Options, err: &mut dyn Write) -> io::Result<Exit> {
    let served = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(listen(options, err)));
    match served {
        Ok(()) => Ok(Exit::Done),
        Err(error) => {
            writeln!(err, "gatepost: {error}")?;
            Ok(Exit::Failed)
        }
    }
}

async fn listen(
    options: &Options,
    err: &mut dyn Write,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut stop = Signals::stop()?;
    let address =
        Address::Tcp { host: options.listen.ip().to_string(), port: options.listen.port() };
    let mut listener = listener::bind(&address, 0o600).await?;
    if let (Some(cert), Some(key)) = (&options.tls_cert, &options.tls_key) {
        let own = Own { cert, key };
        listener = listener.over_tls(Tls::load(own, Clients::Anybody, &[H2, HTTP_1_1])?);
    }
    writeln!(err, "demo-upstream ready: listen={}", listener.local_address())?;
    let stopped = async move {
        stop.next().await;
    };
    Ok(answer(listener, app(options.events), stopped).await?)
}

/// The largest request body that is counted to its end, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// From one event to the next.
const EVENT_INTERVAL: Duration = Duration::from_millis(200);

/// Answers requests on `listener` until `shutdown` completes, then finishes those it has.
///
/// One port speaks HTTP/1.1 and HTTP/2, with TLS where the listener does. The answer to every method and path is
/// `{"method", "path", "headers": {name: [values]}, "body_bytes"}`, with the query in `path`, and `"trailers"` where there are any. A
/// request whose content type begins with `application/grpc` gets the same JSON as the bytes of one
/// gRPC message, and `grpc-status: 0`. A body over 1 MiB is answered with 413.
///
/// # Errors
///
/// When the socket fails.
pub async fn serve<L>(
    listener: L,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    L: Listener<Addr: fmt::Debug>,
{
    answer(listener, app(None), shutdown).await
}

async fn answer<L>(
    listener: L,
    app: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    L: Listener<Addr: fmt::Debug>,
{
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await
}

fn app(events: Option<u32>) -> Router {
    let app = Router::new().fallback(echo);
    match events {
        Some(count) => app.route("/events", any(async move || count_up(count))),
        None => app,
    }
}

/// `count` server-sent events, one every 200 ms, the first at once.
fn count_up(count: u32) -> Response {
    let clock = tokio::time::interval(EVENT_INTERVAL);
    let events = stream::unfold((1..=count, clock), move |(mut left, mut clock)| async move {
        let number = left.next()?;
        clock.tick().await;
        let event = format!("data: {}\n\n", json!({ "event": number, "of": count }));
        Some((Ok::<_, Infallible>(event), (left, clock)))
    });
    with_content_type("text/event-stream", Body::from_stream(events))
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

    // On a clock that goes forward by itself as soon as nothing else is to be done.
    #[tokio::test(start_paused = true)]
    async fn counts_up_in_events_that_come_one_by_one() {
        let start = tokio::time::Instant::now();
        let mut answer = count_up(3);
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/event-stream");
        for number in 1..=3 {
            let frame = answer.body_mut().frame().await.unwrap().unwrap();
            let event = format!("data: {{\"event\":{number},\"of\":3}}\n\n");
            assert_eq!(frame.into_data().unwrap(), event);
            assert_eq!(start.elapsed().as_millis(), 200 * (number - 1));
        }
        assert!(answer.body_mut().frame().await.is_none());
    }

    #[tokio::test]
    async fn bounds_the_body() {
        let fits = ask(Request::post("/"), vec![0; MAX_BODY_BYTES]).await;
        assert_eq!(fits.status(), StatusCode::OK);
        let over = ask(Request::post("/"), vec![0; MAX_BODY_BYTES + 1]).await;
        assert_eq!(over.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
