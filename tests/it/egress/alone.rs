//! The proxy while gatepost is away, and the world that the other tests believe in.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::scene::{ask, bare};
use crate::world::answer::Request;
use crate::world::certificates::{Authority, Certificate};
use crate::world::dns::{Dns, Name};
use crate::world::egress::{egress_supported, yaml};
use crate::world::envoy::Envoy;
use crate::world::http1::Http1;
use crate::world::http2::{Http2, runtime};
use crate::world::upstream_tls::{Remote, Reply};

#[test]
fn without_gatepost_every_request_is_a_503_and_none_a_refusal() {
    if !egress_supported() {
        return;
    }
    let (dir, dns) = (TempDir::new().unwrap(), Dns::start());
    let envoy = Envoy::listening(dir.path(), &yaml(dir.path(), &dns), "egress");
    let mut http2 = Http2::connect(envoy.gateway);
    for request in [
        bare("openai", "/v1/models"),
        ask("agent", "openai", "/v1/models"),
        bare("egress", "/openai/v1/models"),
        bare("nowhere", "/"),
        bare("openai", "/").header("x-gatepost-route", "svc/openai@0123456789abcdef"),
        Request::new("TRACE", "/").host("openai"),
        Request::grpc("/a.B/C").host("openai"),
    ] {
        for answer in [Http1::connect(envoy.gateway).send(&request), http2.send(&request)] {
            // To gRPC it is 14, "unavailable".
            let outage = answer.status == 503 || answer.grpc_status() == Some(14);
            assert!(outage, "{request:?}: {answer:?}");
        }
    }
    assert_eq!(envoy.stat("http.egress.ext_authz.error"), 14);
    assert_eq!(dns.all_asked(), Vec::<String>::new(), "a name was looked up without a decision");
    let line = envoy.access_log(0, "a request", |line| line["method"] == "TRACE");
    assert_eq!(line["details"], "ext_authz_error", "{line}");
    assert_eq!(line["decision_id"], serde_json::Value::Null, "{line}");
}

#[test]
fn what_no_service_needs_is_refused_without_a_check() {
    if !egress_supported() {
        return;
    }
    let (dir, dns) = (TempDir::new().unwrap(), Dns::start());
    let envoy = Envoy::listening(dir.path(), &yaml(dir.path(), &dns), "egress");
    for bytes in [
        "CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com:443\r\n\r\n",
        "CONNECT openai:443 HTTP/1.1\r\nhost: openai:443\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nhost: openai\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nhost: openai\r\nconnection: upgrade\r\nupgrade: connect-udp\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: openai\r\n\r\n",
    ] {
        let answer = Http1::connect(envoy.gateway).send_bytes(bytes.as_bytes()).unwrap();
        assert_eq!(answer.status, 403, "{bytes:?}: {answer:?}");
    }
    // Not asked about: a check would have failed, and shown as 503.
    assert_eq!(envoy.stat("http.egress.ext_authz.error"), 0);
}

/// A client that believes the tests' authority; the status and body of a GET, or why there is none.
fn get(address: SocketAddr, name: &'static str, http2: bool) -> Result<(u16, Bytes), String> {
    let mut roots = RootCertStore::empty();
    roots.add(Authority::trusted().certificate_der()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    runtime().block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let io = TokioIo::new(stream.map_err(|error| error.to_string())?);
        let uri: Uri = "https://api.test/a%2Fb?q=1".parse().unwrap();
        let request = http::Request::get(uri).header("host", "api.test").header("x-a", "1");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let (head, body) = if http2 {
            let executor = hyper_util::rt::TokioExecutor::new();
            let (mut sender, rest) =
                hyper::client::conn::http2::handshake(executor, io).await.unwrap();
            runtime().spawn(rest);
            sender.send_request(request).await.map_err(|error| error.to_string())?.into_parts()
        } else {
            let (mut sender, rest) = hyper::client::conn::http1::handshake(io).await.unwrap();
            runtime().spawn(rest);
            sender.send_request(request).await.map_err(|error| error.to_string())?.into_parts()
        };
        Ok((head.status.as_u16(), body.collect().await.unwrap().to_bytes()))
    })
}

#[test]
fn a_service_of_the_tests_keeps_what_it_is_sent() {
    let remote = Remote::named(&["api.test", "other.test"]);
    for (number, http2) in [false, true].into_iter().enumerate() {
        let (status, body) = get(remote.address, "api.test", http2).unwrap();
        let echo: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200);
        let path = echo["path"].as_str().unwrap();
        assert!(path.ends_with("/a%2Fb?q=1"), "{echo}");
        assert_eq!(echo["headers"]["x-a"], serde_json::json!(["1"]));
        let request = &remote.requests()[number];
        assert_eq!((request.method.as_str(), request.host.as_str()), ("GET", "api.test"));
        assert_eq!(request.version == http::Version::HTTP_2, http2);
        assert_eq!(remote.connections()[number].sni.as_deref(), Some("api.test"));
    }
    assert!(String::from_utf8_lossy(&remote.received()).contains("x-a: 1"));
    remote.answer(|request| Reply::whole(429, &[("retry-after", "7")], request.method.as_bytes()));
    assert_eq!(get(remote.address, "other.test", true).unwrap(), (429, Bytes::from("GET")));
    remote.answer(|_| Reply::Hangup);
    for http2 in [false, true] {
        get(remote.address, "api.test", http2).unwrap_err();
    }
}

#[test]
fn a_service_with_a_bad_certificate_gets_nothing_but_a_handshake() {
    let other = Authority::new("one that nobody trusts");
    for remote in [
        Remote::named(&["elsewhere.test"]),
        Remote::tls(&Certificate::self_signed(&["api.test"])),
        Remote::tls(&other.certificate(&["api.test"])),
    ] {
        get(remote.address, "api.test", false).unwrap_err();
        assert_eq!(remote.requests().len(), 0);
        assert_eq!(remote.received(), b"");
        assert_eq!(remote.connections().len(), 1);
    }
}

/// A question for one name; the addresses of the answer, or `None` when there is none in time.
fn look_up(dns: &Dns, name: &str, kind: u8) -> Option<(u8, Vec<Vec<u8>>)> {
    let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, kind, 0, 1]);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket.send_to(&query, dns.address).unwrap();
    let mut answer = [0; 512];
    if socket.recv(&mut answer).is_err() {
        return None;
    }
    assert_eq!(answer[..2], [7, 7]);
    let count = usize::from(answer[7]);
    let mut place = query.len();
    let records = (0..count).map(|_| {
        let length = usize::from(answer[place + 11]);
        place += 12 + length;
        answer[place - length..place].to_vec()
    });
    let records = records.collect();
    Some((answer[3] & 15, records))
}

#[test]
fn a_name_server_of_the_tests_says_what_it_is_told() {
    let dns = Dns::start();
    let localhost = vec![127, 0, 0, 1];
    assert_eq!(look_up(&dns, "API.test", 1), Some((0, vec![localhost.clone()])));
    assert_eq!(look_up(&dns, "api.test", 28), Some((0, vec![])));
    dns.set("two.test", Name::is(&["127.0.0.1", "10.0.0.1", "::1"]));
    assert_eq!(look_up(&dns, "two.test", 1), Some((0, vec![localhost, vec![10, 0, 0, 1]])));
    let six = look_up(&dns, "two.test", 28).unwrap().1;
    assert_eq!(six, [std::net::Ipv6Addr::LOCALHOST.octets().to_vec()]);
    dns.set("two.test", Name::Addresses(Vec::new()));
    assert_eq!(look_up(&dns, "two.test", 1), Some((3, vec![])));
    dns.set("black.hole", Name::Silent);
    assert_eq!(look_up(&dns, "black.hole", 1), None);
    assert_eq!((dns.asked("api.test"), dns.asked("two.test"), dns.asked("other")), (2, 3, 0));
    let names: BTreeSet<_> = dns.all_asked().into_iter().collect();
    assert_eq!(names.len(), 3);
}
