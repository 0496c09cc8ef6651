//! Which clients may connect: those that an authority vouches for and that are on a list.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::pki_types::{CertificateDer, DnsName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
};
use webpki::EndEntityCert;

/// A name that a client's certificate must have among its subject alternative names, byte for byte.
/// [`Display`](fmt::Display) writes what [`FromStr`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    /// `dns:envoy.internal`, or without the prefix.
    Dns(Box<str>),
    /// `spiffe://example.org/envoy`
    Uri(Box<str>),
}

/// Why a text is no [`ClientName`], in words for the one who wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidClientName(&'static str);

impl FromStr for ClientName {
    type Err = InvalidClientName;

    fn from_str(text: &str) -> Result<Self, InvalidClientName> {
        if text.contains('*') {
            return Err(InvalidClientName("expected a whole name: nothing stands for several"));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
            let is_uri =
                is_scheme && !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic());
            return if is_uri { Ok(Self::Uri(text.into())) } else { Err(EXPECTED) };
        }
        let name = text.strip_prefix("dns:").unwrap_or(text);
        if name.parse::<IpAddr>().is_ok() {
            return Err(InvalidClientName(
                "expected a DNS name or a URI: an IP address names a place, not a client",
            ));
        }
        match DnsName::try_from(name) {
            Ok(_valid) => Ok(Self::Dns(name.into())),
            Err(_invalid) => Err(EXPECTED),
        }
    }
}

const EXPECTED: InvalidClientName = InvalidClientName(
    "expected a DNS name (dns:envoy.internal, or without dns:) or a URI (spiffe://example.org/envoy)",
);

impl ClientName {
    fn is_in(&self, certificate: &EndEntityCert<'_>) -> bool {
        match self {
            Self::Dns(name) => certificate.valid_dns_names().any(|has| *has == **name),
            Self::Uri(name) => certificate.valid_uri_names().any(|has| *has == **name),
        }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for InvalidClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidClientName {}

/// Lets in whom an authority vouches for and the list names. The rest fails in the handshake: nothing
/// that they send is ever read.
#[derive(Debug)]
pub(super) struct Listed {
    authority: Arc<dyn ClientCertVerifier>,
    names: Box<[ClientName]>,
}

impl Listed {
    pub(super) fn new(authority: Arc<dyn ClientCertVerifier>, names: &[ClientName]) -> Self {
        Self { authority, names: names.into() }
    }
}

impl ClientCertVerifier for Listed {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authority.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.authority.verify_client_cert(leaf, intermediates, now)?;
        let certificate =
            EndEntityCert::try_from(leaf).map_err(|_unreadable| CertificateError::BadEncoding)?;
        if self.names.iter().any(|name| name.is_in(&certificate)) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authority.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_whole_dns_name_or_a_uri() {
        for (text, written) in [
            ("envoy.internal", "dns:envoy.internal"),
            ("dns:envoy.internal", "dns:envoy.internal"),
            ("localhost", "dns:localhost"),
            ("spiffe://example.org/envoy", "spiffe://example.org/envoy"),
            ("https://envoy.internal/a?b", "https://envoy.internal/a?b"),
        ] {
            let name: ClientName = text.parse().expect(text);
            assert_eq!(name.to_string(), written);
            assert_eq!(written.parse(), Ok(name));
        }
        for (text, word) in [
            ("", "expected a DNS name"),
            ("dns:", "expected a DNS name"),
            ("dns:spiffe://a/b", "expected a DNS name"),
            ("*.internal", "a whole name"),
            ("spiffe://example.org/*", "a whole name"),
            ("spiffe://", "expected a DNS name"),
            ("spiffe:example.org", "expected a DNS name"),
            ("URI:spiffe://a/b", "expected a DNS name"),
            ("://a", "expected a DNS name"),
            ("spiffe://a b", "expected a DNS name"),
            ("envoy internal", "expected a DNS name"),
            ("envoy.internal:9191", "expected a DNS name"),
            ("10.0.0.1", "an IP address"),
            ("dns:10.0.0.1", "an IP address"),
            ("::1", "an IP address"),
        ] {
            let error = text.parse::<ClientName>().expect_err(text).to_string();
            assert!(error.contains(word), "{text:?}: {error}");
        }
    }
}
