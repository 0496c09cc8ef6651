use std::fs;
use std::future::poll_fn;
use std::sync::Arc;

use prometheus::IntCounter;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType, date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::*;
use crate::lifecycle::address::Address;
use crate::lifecycle::connection::Peer;
use crate::lifecycle::listener::{self, Listener};
use crate::lifecycle::tls::client::ClientName;
use crate::lifecycle::tls::{Clients, H2, Own};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

/// A certificate and its key, as a client shows them.
type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn sign(&self, params: &CertificateParams) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    fn identity(&self, params: &CertificateParams) -> Identity {
        let (certificate, key) = self.sign(params);
        (certificate.der().clone(), key.into())
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("ASCII"))
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().expect("ASCII"))
}

fn with(sans: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = sans.to_vec();
    params
}

/// The authority of everybody, and the files of a server.
struct World {
    authority: Authority,
    dir: TempDir,
    failures: IntCounter,
}

/// Who may connect, without the file.
#[derive(Clone, Copy, Debug)]
enum Asked<'a> {
    Nothing,
    Signed,
    Named(&'a [&'a str]),
}

impl World {
    fn new() -> Self {
        let authority = Authority::new("authority");
        let dir = TempDir::new().expect("temporary directory");
        let (certificate, key) = authority.sign(&with(&[dns("server.internal")]));
        for (name, text) in [
            ("cert", certificate.pem()),
            ("key", key.serialize_pem()),
            ("ca", authority.certificate.pem()),
        ] {
            fs::write(dir.path().join(name), text).expect("writes");
        }
        let failures = IntCounter::new("failures", "of this test").expect("a counter");
        Self { authority, dir, failures }
    }

    fn tls(&self, asked: Asked<'_>) -> Tls {
        let [cert, key, ca] = ["cert", "key", "ca"].map(|name| self.dir.path().join(name));
        let names: Vec<ClientName> = match asked {
            Asked::Named(names) => names.iter().map(|name| name.parse().expect(name)).collect(),
            Asked::Nothing | Asked::Signed => Vec::new(),
        };
        let clients = match asked {
            Asked::Nothing => Clients::Anybody,
            Asked::Signed => Clients::SignedBy(&ca),
            Asked::Named(_) => Clients::Named(&ca, &names),
        };
        let tls = Tls::load(Own { cert: &cert, key: &key }, clients, &[H2]);
        tls.expect("the files are good").counting(self.failures.clone())
    }

    async fn listener(&self, asked: Asked<'_>) -> Listener {
        let address = Address::Tcp { host: "127.0.0.1".into(), port: 0 };
        listener::bind(&address, 0o600).await.expect("binds").over_tls(self.tls(asked))
    }

    fn connector(
        &self,
        identity: Option<&Identity>,
        protocol: &[u8],
        tls: Version,
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.der().clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[tls])
            .expect("a version")
            .with_root_certificates(roots);
        let mut config = match identity {
            Some((certificate, key)) => builder
                .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
                .expect("a key"),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config))
    }

    /// Whether the client gets an answer, and an answer only.
    async fn lets_in(&self, listener: &mut Listener, connector: &TlsConnector) -> bool {
        let before = self.failures.get();
        let address = listener.local_address().to_string();
        let tcp = TcpStream::connect(address).await.expect("connects");
        let local = Peer::Tcp(tcp.local_addr().expect("connected"));
        let exchange = async {
            let name = ServerName::try_from("server.internal").expect("a name");
            let mut stream = connector.connect(name, tcp).await?;
            stream.write_all(b"?").await?;
            let mut answer = [0];
            stream.read_exact(&mut answer).await?;
            assert_eq!(&answer, b"!");
            io::Result::Ok(())
        };
        let serve = async {
            let Ok(mut connection) = listener.next().await.expect("never ends");
            assert_eq!(connection.peer(), local);
            let mut question = [0];
            connection.read_exact(&mut question).await.expect("a question");
            connection.write_all(b"!").await.expect("room");
            connection.flush().await.expect("room");
            listener.next().await
        };
        let answered = tokio::select! {
            answer = exchange => answer.is_ok(),
            _another = serve => unreachable!("there is one client"),
        };
        assert_eq!(self.failures.get() - before, u64::from(!answered), "a failure is counted");
        answered
    }
}

type Version = &'static SupportedProtocolVersion;

const LISTED: [&str; 2] = ["dns:envoy.internal", "spiffe://example.org/envoy"];

#[tokio::test]
async fn only_a_listed_name_under_our_authority_gets_through_the_handshake() {
    let world = World::new();
    let ours = &world.authority;
    let right = with(&[dns("envoy.internal")]);
    let named = |sans: &[SanType]| Some(ours.identity(&with(sans)));
    let changed = |change: fn(&mut CertificateParams)| {
        let mut params = right.clone();
        change(&mut params);
        Some(ours.identity(&params))
    };
    let mut common_name = CertificateParams::default();
    common_name.distinguished_name.push(DnType::CommonName, "envoy.internal");
    let own_key = KeyPair::generate().expect("a key");
    let self_signed = right.self_signed(&own_key).expect("a certificate").der().clone();
    let local = SanType::IpAddress([127, 0, 0, 1].into());
    let mail = SanType::Rfc822Name("envoy.internal".try_into().expect("ASCII"));
    let mut listener = world.listener(Asked::Named(&LISTED)).await;
    for (case, identity, wanted) in [
        ("a listed DNS name", Some(ours.identity(&right)), true),
        ("a listed URI", named(&[uri("spiffe://example.org/envoy")]), true),
        ("one of several", named(&[dns("a.b"), local.clone(), dns("envoy.internal")]), true),
        ("for clients", changed(|p| p.extended_key_usages = vec![CLIENT]), true),
        ("none at all", None, false),
        ("another authority", Some(Authority::new("other").identity(&right)), false),
        (
            "another authority of the same name",
            Some(Authority::new("authority").identity(&right)),
            false,
        ),
        ("self-signed", Some((self_signed, own_key.into())), false),
        ("no name", named(&[]), false),
        ("the name as common name alone", Some(ours.identity(&common_name)), false),
        ("another name", named(&[dns("sandbox.internal")]), false),
        ("a name below", named(&[dns("a.envoy.internal")]), false),
        ("a name above", named(&[dns("internal")]), false),
        ("a longer name", named(&[dns("envoy.internal.example.org")]), false),
        ("another case", named(&[dns("Envoy.Internal")]), false),
        ("a wildcard", named(&[dns("*.internal")]), false),
        ("a wildcard for all", named(&[dns("*")]), false),
        ("a longer URI", named(&[uri("spiffe://example.org/envoy/x")]), false),
        ("a shorter URI", named(&[uri("spiffe://example.org")]), false),
        ("a URI with a star", named(&[uri("spiffe://example.org/*")]), false),
        ("the DNS name as URI", named(&[uri("envoy.internal")]), false),
        ("the DNS name as mail", named(&[mail]), false),
        ("an address", named(&[local]), false),
        ("expired", changed(|p| p.not_after = date_time_ymd(2020, 1, 1)), false),
        ("not yet valid", changed(|p| p.not_before = date_time_ymd(4000, 1, 1)), false),
        ("for servers alone", changed(|p| p.extended_key_usages = vec![SERVER]), false),
    ] {
        for version in [&TLS12, &TLS13] {
            let connector = world.connector(identity.as_ref(), H2, version);
            let got = world.lets_in(&mut listener, &connector).await;
            assert_eq!(got, wanted, "{case}, {version:?}");
        }
    }
}

const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;
const SERVER: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ServerAuth;

#[tokio::test]
async fn who_is_let_in_is_what_was_asked_for() {
    let world = World::new();
    let unlisted = Some(world.authority.identity(&with(&[dns("other.internal")])));
    let strange = Some(Authority::new("other").identity(&with(&[dns("other.internal")])));
    for (asked, nobody, unlisted_in, strange_in) in [
        // Where no certificate is asked for, none is sent.
        (Asked::Nothing, true, true, true),
        (Asked::Signed, false, true, false),
        (Asked::Named(&LISTED), false, false, false),
        (Asked::Named(&[]), false, false, false),
    ] {
        let mut listener = world.listener(asked).await;
        for (identity, wanted) in
            [(&None, nobody), (&unlisted, unlisted_in), (&strange, strange_in)]
        {
            let connector = world.connector(identity.as_ref(), H2, &TLS13);
            assert_eq!(world.lets_in(&mut listener, &connector).await, wanted, "{asked:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_tls_of_today_gets_no_further() {
    let world = World::new();
    let mut listener = world.listener(Asked::Nothing).await;
    let http1 = world.connector(None, b"http/1.1", &TLS13);
    assert!(!world.lets_in(&mut listener, &http1).await, "gRPC is HTTP/2");

    // A ClientHello of this version: random, no session, a cipher suite, no compression, and the
    // extension signature_algorithms, so that nothing but the version is at fault.
    let hello = |version: [u8; 2]| {
        let rest = [0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3];
        let body = [&version[..], &[7; 32], &rest].concat();
        let length = u8::try_from(body.len()).expect("short");
        [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], &body[..]].concat()
    };
    let plain = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // Alert, any version, two bytes: fatal, protocol_version (RFC 8446 section 6).
    for (sent, alert) in
        [(hello([3, 2]), Some([2, 70])), (hello([3, 1]), Some([2, 70])), (plain, None)]
    {
        let before = world.failures.get();
        let address = listener.local_address().to_string();
        let exchange = async {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            stream.write_all(&sent).await.expect("room");
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer).await {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
            }
            answer
        };
        let answer = tokio::select! {
            answer = exchange => answer,
            _connection = listener.next() => panic!("let in: {sent:?}"),
        };
        if let Some(alert) = alert {
            assert_eq!((answer[0], &answer[5..]), (21, &alert[..]), "{answer:?}");
        }
        assert_eq!(world.failures.get(), before + 1);
    }
}

#[tokio::test]
async fn clients_that_say_nothing_delay_nobody_and_end_with_the_listener() {
    let world = World::new();
    let mut listener = world.listener(Asked::Nothing).await;
    let address = listener.local_address().to_string();
    let mut silent = Vec::new();
    for said in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"].into_iter().cycle().take(60) {
        let mut stream = TcpStream::connect(&address).await.expect("connects");
        stream.write_all(said).await.expect("room");
        silent.push(stream);
    }
    let connector = world.connector(None, H2, &TLS13);
    assert!(world.lets_in(&mut listener, &connector).await);
    drop(listener);
    for mut stream in silent {
        match stream.read(&mut [0; 1]).await {
            Ok(read) => assert_eq!(read, 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}

#[tokio::test]
async fn handshakes_are_bounded_in_number_and_in_time() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let tls = world.tls(Asked::Nothing);
    let mut handshakes = Handshakes::within(2, Duration::from_millis(50), tls);
    let mut accepted = 0;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(address).await.expect("connects"));
    }
    let connector = world.connector(None, H2, &TLS13);
    let greeting = async {
        let tcp = TcpStream::connect(address).await.expect("connects");
        let name = ServerName::try_from("server.internal").expect("a name");
        connector.connect(name, tcp).await.expect("shakes hands")
    };
    let secured = poll_fn(|cx| {
        let polled = handshakes.poll_next(cx, |cx| match listener.poll_accept(cx) {
            Poll::Ready(connection) => {
                accepted += 1;
                Poll::Ready(connection.expect("accepts"))
            }
            Poll::Pending => Poll::Pending,
        });
        assert!(accepted <= world.failures.get() + 2, "more than two at once");
        polled
    });
    let (connection, client) = tokio::join!(secured, greeting);
    let local = client.get_ref().0.local_addr().expect("connected");
    assert_eq!(connection.peer(), Peer::Tcp(local));
    assert!(world.failures.get() >= 3, "the silent ones before it had to end");
    drop(silent);
}
