//! Sandboxes that prove who they are by a certificate, through the optional listener.

use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::scene::{policy, sandbox, service, token};
use crate::world::certificates::{Authority, Certificate};
use crate::world::egress::{EgressWorld, shipped};
use crate::world::http2::runtime;
use crate::world::upstream_tls::Remote;

/// The commented listener of the shipped file, for certificates in this directory.
fn listener(dir: &std::path::Path) -> String {
    let yaml = shipped();
    let lines: Vec<_> = yaml.lines().filter_map(|line| line.strip_prefix("  #mtls ")).collect();
    let block = format!("  {}\n", lines.join("\n  "));
    let block = block.replace("/etc/gatepost/tls", dir.to_str().unwrap());
    block.replace("address: 0.0.0.0, port_value: 8444", "address: 127.0.0.1, port_value: 0")
}

/// A GET for the service `api` with this certificate and these headers: the status and the body, or
/// why there is none.
fn get(
    world: &EgressWorld,
    certificate: Option<&Certificate>,
    headers: &[(&str, &str)],
) -> Result<(u16, Bytes), String> {
    let mut roots = RootCertStore::empty();
    roots.add(Authority::trusted().certificate_der()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match certificate {
        Some(it) => builder.with_client_auth_cert(vec![it.der()], it.key_der()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let mut request = http::Request::get("/").header("host", "api");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    runtime().block_on(async {
        let stream = TcpStream::connect(world.envoy.listener("egress-mtls")).await.unwrap();
        let name = ServerName::try_from("egress.test").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let io = TokioIo::new(stream.map_err(|error| error.to_string())?);
        let (mut sender, rest) = http1::handshake(io).await.map_err(|error| error.to_string())?;
        runtime().spawn(rest);
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        Ok((head.status.as_u16(), body.collect().await.unwrap().to_bytes()))
    })
}

#[test]
fn a_verified_certificate_is_an_identity_and_nothing_else_is() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["api.test"]);
    let mut config = policy(&[("api", service("api.test", &remote))]);
    config["egress_config"] = json!({ "sandbox_identity": ["mtls", "token"] });
    config["egress_credentials"] = json!({ "api": { "type": "bearer", "token": "the-value" } });
    config["sandboxes"]["certified"] = sandbox("certified", "all");
    config["sandboxes"]["certified"]["spiffe_id"] = json!("spiffe://cluster.test/certified");
    let sandboxes = Authority::new("signs sandboxes");
    let server = Authority::trusted().certificate(&["egress.test"]);
    for (name, text) in [
        ("sandbox-ca.crt", sandboxes.pem()),
        ("egress.crt", server.pem().to_owned()),
        ("egress.key", server.key_pem()),
    ] {
        std::fs::write(builder.path(name), text).unwrap();
    }
    let block = listener(builder.path("x").parent().unwrap());
    let world = builder.edit_envoy("\n  clusters:\n", &format!("\n{block}\n  clusters:\n"));
    let world = world.start(&config);

    let certified = sandboxes.certificate_for_uri("spiffe://cluster.test/certified");
    let (status, body) = get(&world, Some(&certified), &[]).unwrap();
    assert_eq!(status, 200, "{body:?}");
    let echo: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(echo["headers"]["authorization"], json!(["Bearer the-value"]));
    world.decision_where("the certificate", |line| line["sandbox"] == "certified");

    let unknown = sandboxes.certificate_for_uri("spiffe://cluster.test/unknown");
    let id = [("x-sandbox-id", "agent")];
    let contradicted = token("agent");
    let contradicted = [("x-sandbox-token", contradicted.as_str())];
    // Proven, and not configured: the tier `default`, which there is not.
    assert_eq!(get(&world, Some(&unknown), &[]).unwrap().0, 403);
    assert_eq!(get(&world, Some(&certified), &id).unwrap().0, 403);
    assert_ne!(get(&world, Some(&certified), &contradicted).unwrap().0, 200);

    // In a header a certificate proves nothing.
    let claimed = "By=spiffe://x;URI=spiffe://cluster.test/certified";
    let claimed = [("x-forwarded-client-cert", claimed)];
    assert_eq!(get(&world, Some(&unknown), &claimed).unwrap().0, 403);
    let other = Authority::new("signs anything");
    let forged = other.certificate_for_uri("spiffe://cluster.test/certified");
    get(&world, Some(&forged), &[]).unwrap_err();
    get(&world, None, &[]).unwrap_err();
    let name = sandboxes.certificate(&["certified"]);
    get(&world, Some(&name), &[]).unwrap_err();
}
