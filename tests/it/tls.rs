//! TLS where Envoy asks: who is not on the list gets no answer, and credentials never go over TCP
//! in the clear.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gatepost::clock::Now;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::solo::{key, launch, opens, policy, since};
use crate::startup::fails;
use crate::world::answer::Request;
use crate::world::gatepost::{Gatepost, Socket, cli};
use crate::world::http2::{Http2, runtime};
use crate::world::process::Process;
use crate::world::{POLICY_FILE, Protocol, World};

const ENVOY: &str = "spiffe://example.org/envoy";
const FAILED: &str = "gatepost_tls_handshakes_failed_total{side=\"gateway\"}";

/// An authority, and what it signed: `NAME.crt` and `NAME.key` in a directory.
struct Files(TempDir);

impl Files {
    /// For a server `gatepost.internal` and for clients `envoy` and `sandbox`.
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "test authority");
        let root = authority.self_signed(&authority_key).unwrap();
        fs::write(dir.path().join("ca.crt"), root.pem()).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let uri = |name: &str| SanType::URI(name.try_into().unwrap());
        for (name, san) in [
            ("server", SanType::DnsName("gatepost.internal".try_into().unwrap())),
            ("envoy", uri(ENVOY)),
            ("sandbox", uri("spiffe://example.org/sandbox")),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![san];
            let certificate = params.signed_by(&key, &issuer).unwrap();
            fs::write(dir.path().join(format!("{name}.crt")), certificate.pem()).unwrap();
            fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// All four flags.
    fn flags(&self) -> [String; 8] {
        let [cert, key, ca] = ["server.crt", "server.key", "ca.crt"].map(|name| self.path(name));
        let san = format!("{ENVOY},dns:other.internal");
        [("--tls-cert", cert), ("--tls-key", key), ("--client-ca", ca), ("--client-san", san)]
            .map(|(flag, value)| [flag.to_owned(), value])
            .concat()
            .try_into()
            .unwrap()
    }

    /// What Envoy's cluster must say to be let in, as this client or as nobody.
    fn transport_socket(&self, client: Option<&str>) -> String {
        let certificate = client.map_or_else(String::new, |name| {
            format!(
                "
          tls_certificates:
          - certificate_chain: {{ filename: {} }}
            private_key: {{ filename: {} }}",
                self.path(&format!("{name}.crt")),
                self.path(&format!("{name}.key"))
            )
        });
        format!(
            "  - name: gatepost
    type: STATIC
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: gatepost.internal
        common_tls_context:{certificate}
          validation_context:
            trusted_ca: {{ filename: {} }}
            match_typed_subject_alt_names:
            - {{ san_type: DNS, matcher: {{ exact: gatepost.internal }} }}
",
            self.path("ca.crt")
        )
    }
}

fn as_str(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

#[test]
fn envoy_asks_over_mutual_tls_and_nobody_else_is_answered() {
    let files = Files::new();
    let flags = files.flags();
    let world = |client| {
        World::with_policy(&policy(0..1))
            .args(&as_str(&flags))
            .edit_envoy("  - name: gatepost\n    type: STATIC\n", &files.transport_socket(client))
            .start()
    };
    let request = Request::get("/api/v1/x").header("x-api-key", key(0));
    let listed = world(Some("envoy"));
    for protocol in Protocol::BOTH {
        assert_eq!(listed.send(protocol, &request).status, 200);
        assert_eq!(listed.send(protocol, &Request::get("/api/v1/x")).status, 401);
    }
    assert_eq!(listed.gatepost.metric(FAILED).to_string(), "0");
    for stranger in [Some("sandbox"), None] {
        let world = world(stranger);
        assert_eq!(world.send(Protocol::Http1, &request).status, 503, "{stranger:?}");
        world.gatepost.wait_for_metric(FAILED, |count| count >= 1.0);
        assert_eq!(world.gatepost.process.stdout.mark(), 1, "a start record, and no decision");
    }
}

#[test]
fn silent_clients_hold_up_neither_others_nor_the_end() {
    let files = Files::new();
    let mut flags = files.flags().to_vec();
    flags.extend(["--drain-grace", "8000"].map(str::to_owned));
    let world = World::with_policy(&policy(0..1))
        .args(&as_str(&flags))
        .edit_envoy(
            "  - name: gatepost\n    type: STATIC\n",
            &files.transport_socket(Some("envoy")),
        )
        .start();
    let Socket::Tcp(address) = world.gatepost.socket else { unreachable!() };
    let mut silent: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut plain = TcpStream::connect(address).unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let request = Request::get("/api/v1/x").header("x-api-key", key(0));
    assert_eq!(world.send(Protocol::Http2, &request).status, 200);
    world.gatepost.wait_for_metric(FAILED, |count| count >= 1.0);
    let start = Now::read().monotonic;
    let mut world = world;
    world.gatepost.process.signal(Signal::TERM);
    assert_eq!(world.gatepost.process.wait().code(), Some(0));
    assert!(since(start) < Duration::from_secs(5), "{:?}", since(start));
    for stream in &mut silent {
        assert!(
            stream.read(&mut [0; 1]).is_ok_and(|read| read == 0) || stream.write(b"x").is_err()
        );
    }
}

fn directory() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("policy");
    fs::create_dir(&path).unwrap();
    fs::write(path.join(POLICY_FILE), policy(0..1).to_string()).unwrap();
    (dir, path)
}

#[test]
fn the_egress_is_not_served_on_tcp_without_all_four_flags() {
    let files = Files::new();
    let (_dir, path) = directory();
    let four = files.flags();
    for given in [&four[..0], &four[..4], &four[..6]] {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let mut launch = launch(path.clone(), &["--egress-listen", address]);
            launch.args.extend(given.iter().cloned());
            let (code, text) = fails(&launch);
            assert_eq!(code, Some(2), "{text}");
            let wanted = format!(
                "gatepost: --egress-listen {address}: the answers carry live credentials: on TCP \
                 it needs --tls-cert, --tls-key, --client-ca and --client-san; or listen on a Unix \
                 socket"
            );
            assert!(text.contains(&wanted), "{text}");
        }
    }
    let mut launch = launch(path, &["--egress-listen", "127.0.0.1:0"]);
    launch.args.extend(four);
    let gatepost = Gatepost::start(&launch);
    assert!(gatepost.egress.is_some_and(|socket| matches!(socket, Socket::Tcp(_))));
}

#[test]
fn flags_that_lack_others_are_a_matter_of_usage_and_bad_files_one_of_the_start() {
    let files = Files::new();
    let (_dir, path) = directory();
    let four = files.flags();
    for (given, wanted) in [
        (&four[..2], "--tls-cert and --tls-key need each other"),
        (&four[2..4], "--tls-cert and --tls-key need each other"),
        (&four[4..6], "--client-ca needs both"),
        (&four[6..], "--client-san needs --client-ca"),
        (&["--client-san", "*.internal"].map(str::to_owned)[..], "nothing stands for several"),
    ] {
        let (code, text) = fails(&launch(path.clone(), &as_str(given)));
        assert_eq!((code, text.contains(wanted)), (Some(2), true), "{given:?}: {text}");
    }
    let mut mixed = four.to_vec();
    mixed[3] = files.path("envoy.key");
    let (code, text) = fails(&launch(path, &as_str(&mixed)));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&files.path("envoy.key")), "{text}");
    assert!(text.contains("expected the private key of the first certificate"), "{text}");
    let secret = fs::read_to_string(files.path("envoy.key")).unwrap();
    assert!(secret.lines().all(|line| !text.contains(line)), "{text}");
}

/// Flags are variables too, Unix sockets know no TLS, and each side is bound where it was asked for.
#[test]
fn the_sides_have_sockets_of_their_own() {
    let files = Files::new();
    let (dir, policy) = directory();
    let socket = |name: &str| format!("unix:{}", dir.path().join(name).display());
    let mut launch = launch(policy, &["--egress-listen", &socket("egress.sock")]);
    launch.listen = socket("gateway.sock");
    let [_, cert, _, key, _, ca, _, san] = files.flags();
    for (name, value) in [("TLS_CERT", cert), ("TLS_KEY", key), ("CLIENT_CA", ca)] {
        launch.env.push((format!("GATEPOST_{name}"), value));
    }
    launch.env.push(("GATEPOST_CLIENT_SAN".to_owned(), san));
    let gatepost = Gatepost::start(&launch);
    assert!(opens(&mut gatepost.connect(), 0), "in the clear, as before");
    let Some(Socket::Unix(egress)) = &gatepost.egress else { panic!("{:?}", gatepost.egress) };
    assert_eq!(egress, &dir.path().join("egress.sock"));
    let ready = gatepost.admin("/ready");
    assert_eq!((ready.status, ready.text()), (503, "not ready: egress_config.json\n"));
    let health = Request::grpc("/grpc.health.v1.Health/Check").body(vec![0; 5]);
    assert_eq!(Http2::connect_unix(egress).send(&health).grpc_status(), Some(0));
    drop(gatepost);
    launch.args.clear();
    assert_eq!(Gatepost::start(&launch).egress, None, "nobody asked for it");
}

/// What the demo shows: an upstream behind TLS, and events that come one by one.
#[test]
fn the_demo_upstream_speaks_tls_and_counts() {
    let files = Files::new();
    let mut command = cli(&["demo-upstream", "--listen", "127.0.0.1:0", "--events", "3"]);
    command.args(["--tls-cert", &files.path("server.crt"), "--tls-key", &files.path("server.key")]);
    let upstream = Process::start("upstream", &mut command);
    let address = upstream.stderr.wait_for("the ready line", |line| {
        line.strip_prefix("demo-upstream ready: listen=").map(str::to_owned)
    });
    let connect = |protocol: &[u8]| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(files.path("ca.crt")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("gatepost.internal").unwrap();
        runtime().block_on(async {
            let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
            stream
        })
    };
    let stream = connect(b"h2");
    let mut http2 = runtime().block_on(Http2::over(stream));
    let echo = http2.send(&Request::get("/v1/models").header("x-a", "1"));
    assert_eq!(echo.json()["headers"]["x-a"][0], "1");
    let mut stream = connect(b"http/1.1");
    let text = runtime().block_on(async {
        let asked =
            b"POST /events HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(asked).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    });
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    assert_eq!(text.matches("data: {").count(), 3, "{text}");
}
