use std::fs;

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, generate_simple_self_signed};
use tempfile::TempDir;

use super::*;

const CANARY: &str = "Y2FuYXJ5LWtleS1ieXRlcw==";

#[test]
fn what_is_wrong_with_the_files_is_told_by_name_and_without_a_key() {
    let dir = TempDir::new().expect("temporary directory");
    let at = |name: &str| dir.path().join(name);
    let made = generate_simple_self_signed(["a.internal".to_owned()]).expect("a certificate");
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let other = KeyPair::generate().expect("a key").serialize_pem();
    let section =
        |kind: &str, body: &str| format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");
    for (name, text) in [
        ("cert", cert.clone()),
        ("key", key.clone()),
        ("both", key.clone() + &cert),
        ("other-key", other),
        ("empty", String::new()),
        ("words", "no PEM here".to_owned()),
        ("no-x509", section("CERTIFICATE", CANARY)),
        ("no-base64", section("CERTIFICATE", "canary!")),
        ("no-end", key.replace("-----END", "canary")),
        ("encrypted", section("ENCRYPTED PRIVATE KEY", CANARY)),
        ("no-key", section("PRIVATE KEY", CANARY)),
        ("begin", format!("-----BEGIN canary {key}")),
    ] {
        fs::write(at(name), text).expect("writes");
    }
    // It would hold up the start until somebody writes.
    let private = rustix::fs::Mode::from_raw_mode(0o600);
    let (fifo, kind) = (at("fifo"), rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, private, 0).expect("a named pipe");
    for (cert, key, ca, wrong, words) in [
        ("fifo", "key", "cert", "fifo", "expected a regular file"),
        ("cert", "fifo", "cert", "fifo", "expected a regular file"),
        ("cert", "key", "fifo", "fifo", "expected a regular file"),
        ("none", "key", "cert", "none", "No such file"),
        ("cert", "none", "cert", "none", "No such file"),
        ("cert", "key", "none", "none", "No such file"),
        ("key", "key", "cert", "key", "expected a certificate in PEM"),
        ("empty", "key", "cert", "empty", "expected a certificate in PEM"),
        ("words", "key", "cert", "words", "expected a certificate in PEM"),
        ("no-x509", "key", "cert", "no-x509", "a certificate there cannot be used"),
        ("no-base64", "key", "cert", "no-base64", "expected PEM"),
        ("cert", "cert", "cert", "cert", "expected a private key in PEM"),
        ("cert", "empty", "cert", "empty", "expected a private key in PEM"),
        ("cert", "encrypted", "cert", "encrypted", "expected a private key in PEM"),
        ("cert", "no-end", "cert", "no-end", "expected PEM"),
        ("cert", "begin", "cert", "begin", "expected PEM"),
        ("cert", "no-key", "cert", "no-key", "expected a private key for RSA"),
        ("cert", "other-key", "cert", "other-key", "expected the private key of the first"),
        ("cert", "key", "key", "key", "expected a certificate in PEM"),
        ("cert", "key", "no-x509", "no-x509", "a certificate there cannot be used"),
    ] {
        let own = Own { cert: &at(cert), key: &at(key) };
        let error = Tls::load(own, Clients::SignedBy(&at(ca)), &[H2]).expect_err(wrong);
        let text = error.to_string();
        assert!(text.starts_with(&format!("{}: ", at(wrong).display())), "{text}");
        assert!(text.contains(words), "{text}");
        for told in [text, format!("{error:?}")] {
            assert!(!told.contains("canary") && !told.contains("Y2FuYXJ5"), "{told}");
            assert!(key_lines(&at("key")).all(|line| !told.contains(&line)), "{told}");
        }
    }
    let both = Own { cert: &at("both"), key: &at("both") };
    let tls = Tls::load(both, Clients::SignedBy(&at("both")), &[H2]).expect("one file does");
    assert_eq!(format!("{tls:?}"), "Tls { .. }");
}

fn key_lines(path: &Path) -> impl Iterator<Item = String> {
    let text = fs::read_to_string(path).expect("reads");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.into_iter().filter(|line| !line.starts_with("-----"))
}

#[test]
fn every_kind_of_key_that_is_promised_loads() {
    let dir = TempDir::new().expect("temporary directory");
    let [cert, key] = ["cert", "key"].map(|name| dir.path().join(name));
    for kind in [&PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let pair = KeyPair::generate_for(kind).expect("a key");
        let made = CertificateParams::default().self_signed(&pair).expect("a certificate");
        fs::write(&cert, made.pem()).expect("writes");
        fs::write(&key, pair.serialize_pem()).expect("writes");
        let own = Own { cert: &cert, key: &key };
        assert!(Tls::load(own, Clients::Anybody, &[H2]).is_ok(), "{kind:?}");
    }
}
