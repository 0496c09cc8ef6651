//! TLS for what listens on TCP: a certificate of our own and, where it is asked for, one of the
//! client's.
//!
//! Everything is read once, at the start. Nothing that can be wrong with the files is found later
//! than that, and no error holds a byte of a key.

pub mod client;

use std::fmt;
use std::io;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus::IntCounter;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{Error as TlsError, InconsistentKeys, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use self::client::{ClientName, Listed};
use crate::open;

/// HTTP/2 in ALPN: all that gRPC needs.
pub const H2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN.
pub const HTTP_1_1: &[u8] = b"http/1.1";

/// Who we are: two files in PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own<'a> {
    /// The certificate, and after it those between it and its authority.
    pub cert: &'a Path,
    /// Its private key, not encrypted.
    pub key: &'a Path,
}

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients<'a> {
    /// Anybody: no certificate is asked for.
    Anybody,
    /// Whoever has a certificate under an authority of this file.
    SignedBy(&'a Path),
    /// Of those, whoever's certificate has one of these names. Without names it is nobody.
    Named(&'a Path, &'a [ClientName]),
}

/// What a listener needs to speak TLS.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    failures: Option<IntCounter>,
}

/// Why TLS cannot be set up: which file, and what was expected there.
#[derive(Debug)]
pub enum Error {
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A file has a section of PEM that is none.
    NotPem(PathBuf),
    /// A file has no certificate.
    NoCertificate(PathBuf),
    /// A file has no private key, or an encrypted one.
    NoKey(PathBuf),
    /// The certificate is no X.509, or no authority can be made of it.
    UnusableCertificate(PathBuf, TlsError),
    /// The private key is of another kind.
    UnusableKey(PathBuf),
    /// The private key is that of another certificate.
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// What does not come from the files.
    Setup(String),
}

impl Tls {
    /// TLS 1.2 or later, as these files say, with these protocols in ALPN, the best one first.
    ///
    /// # Errors
    /// A file cannot be read or used, or the key is not the certificate's.
    pub fn load(own: Own<'_>, clients: Clients<'_>, protocols: &[&[u8]]) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let certified = certified(own, &provider)?;
        let verifier = verifier(clients, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Setup(error.to_string()))?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // A resumed session would bring its client in without a look at the certificate, which may
        // have expired since. Envoy's connections are long: there is nothing to save.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), failures: None })
    }

    /// Counts the handshakes that fail.
    #[must_use]
    pub fn counting(self, failures: IntCounter) -> Self {
        Self { failures: Some(failures), ..self }
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    pub(super) fn failures(&self) -> Option<IntCounter> {
        self.failures.clone()
    }
}

/// It holds a private key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn certified(own: Own<'_>, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let chain = certificates(own.cert)?;
    let key = private_key(own.key)?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|_unsupported| Error::UnusableKey(own.key.to_owned()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(Error::Mismatch { cert: own.cert.to_owned(), key: own.key.to_owned() })
        }
        Err(error) => Err(Error::UnusableCertificate(own.cert.to_owned(), error)),
    }
}

fn verifier(
    clients: Clients<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
    let signed_by = |authorities: &Path| {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authorities)? {
            roots
                .add(certificate)
                .map_err(|error| Error::UnusableCertificate(authorities.to_owned(), error))?;
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| Error::Setup(error.to_string()))
    };
    Ok(match clients {
        Clients::Anybody => None,
        Clients::SignedBy(authorities) => Some(signed_by(authorities)?),
        Clients::Named(authorities, names) => {
            Some(Arc::new(Listed::new(signed_by(authorities)?, names)))
        }
    })
}

/// All certificates of a file, of which there is at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(Error::NoCertificate(path.to_owned())),
        Ok(found) => Ok(found),
        Err(_quotes_the_file) => Err(Error::NotPem(path.to_owned())),
    }
}

/// The first private key of a file.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = read(path)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(Error::NoKey(path.to_owned())),
        Err(_quotes_the_file) => Err(Error::NotPem(path.to_owned())),
    }
}

/// A file that may hold a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    /// Larger than any chain or list of authorities.
    const MAX_BYTES: u64 = 4 * 1024 * 1024;
    let unreadable = |error| Error::Unreadable(path.to_owned(), error);
    let mut bytes = Zeroizing::new(Vec::new());
    let file = open::regular(path, MAX_BYTES).map_err(unreadable)?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NotPem(path) => write!(
                f,
                "{}: expected PEM, found a section that does not end, or is not base64",
                path.display()
            ),
            Self::NoCertificate(path) => write!(
                f,
                "{}: expected a certificate in PEM (BEGIN CERTIFICATE), found none",
                path.display()
            ),
            Self::NoKey(path) => write!(
                f,
                "{}: expected a private key in PEM (BEGIN PRIVATE KEY) that is not encrypted, found \
                 none",
                path.display()
            ),
            Self::UnusableCertificate(path, error) => {
                write!(f, "{}: a certificate there cannot be used: {error}", path.display())
            }
            Self::UnusableKey(path) => write!(
                f,
                "{}: expected a private key for RSA of 2048 to 8192 bits, ECDSA with P-256 or \
                 P-384, or Ed25519, found another one",
                path.display()
            ),
            Self::Mismatch { cert, key } => write!(
                f,
                "{}: expected the private key of the first certificate in {}, found another one",
                key.display(),
                cert.display()
            ),
            Self::Setup(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests;
