//! Where a service is: all that Envoy's cluster for it depends on, and the name of that cluster.

use std::fmt;
use std::net::IpAddr;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The number of a service within its map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub usize);

/// The other end of a service's connections. Nothing in here is secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Whether, and how, the connection is encrypted. `None` only for a service without credential.
    pub tls: Option<Tls>,
    /// The name that is resolved and that the certificate must have, or the address.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
    /// Whether addresses that no public service has may be dialled.
    pub private_addresses: bool,
}

/// How an upstream's certificate is verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The authorities, a PEM file as Envoy sees it; `None` for those of the bootstrap.
    pub ca_file: Option<Box<str>>,
}

/// A host to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name in lower case, without a final dot.
    Name(Box<str>),
    /// An address. Certificates are matched by it (subject alternative name of type IP).
    Address(IpAddr),
}

/// What the name of every cluster of ours begins with: the route of `envoy/egress.yaml` asks for it.
pub const CLUSTER_PREFIX: &str = "svc/";

impl Destination {
    /// `svc/SERVICE@HASH`, the hash being 16 hexadecimal digits of a SHA-256 of everything here. The
    /// same destination has the same name on every host and after every restart, and another
    /// destination has another, so that Envoy never takes one for the other.
    pub fn cluster(&self, service: &str) -> Box<str> {
        let Self { tls, host, port, private_addresses } = self;
        let ca_file = tls.as_ref().map(|tls| tls.ca_file.as_deref().unwrap_or(""));
        let mut hasher = Sha256::new();
        for part in [
            if tls.is_some() { "https" } else { "http" },
            &host.to_string(),
            &port.to_string(),
            ca_file.unwrap_or(""),
            if *private_addresses { "private" } else { "public" },
        ] {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(part);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        let hash = HEXLOWER.encode(digest.first_chunk::<8>().map_or(&[], |start| start));
        format!("{CLUSTER_PREFIX}{service}@{hash}").into()
    }

    /// `:authority` of a request that goes there: the port only where it is not the scheme's own.
    pub fn authority(&self) -> Box<str> {
        let usual = if self.tls.is_some() { 443 } else { 80 };
        if self.port == usual {
            self.host.to_string().into()
        } else {
            format!("{}:{}", self.host, self.port).into()
        }
    }
}

/// As it stands in a URL: an IPv6 address in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openai() -> Destination {
        Destination {
            tls: Some(Tls { ca_file: None }),
            host: Host::Name("api.openai.com".into()),
            port: 443,
            private_addresses: false,
        }
    }

    /// Pinned: another release with another hash would make every Envoy change every cluster.
    #[test]
    fn a_cluster_is_named_after_its_service_and_destination() {
        assert_eq!(&*openai().cluster("openai"), "svc/openai@a746c78848bb1cf8");
    }

    #[test]
    fn every_difference_makes_another_cluster() {
        let others = [
            Destination { tls: None, ..openai() },
            Destination { tls: Some(Tls { ca_file: Some("/ca.pem".into()) }), ..openai() },
            Destination { host: Host::Name("api.openai.co".into()), ..openai() },
            Destination { port: 444, ..openai() },
            Destination { private_addresses: true, ..openai() },
        ];
        let mut names: Vec<_> = others.iter().map(|other| other.cluster("openai")).collect();
        names.extend([openai().cluster("openai"), openai().cluster("other")]);
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
    }

    #[test]
    fn authorities() {
        let address = |text: &str| Host::Address(text.parse().unwrap());
        for (destination, expected) in [
            (openai(), "api.openai.com"),
            (Destination { port: 8443, ..openai() }, "api.openai.com:8443"),
            (Destination { tls: None, port: 80, ..openai() }, "api.openai.com"),
            (Destination { tls: None, ..openai() }, "api.openai.com:443"),
            (Destination { host: address("192.0.2.1"), ..openai() }, "192.0.2.1"),
            (Destination { host: address("2001:db8::1"), port: 1, ..openai() }, "[2001:db8::1]:1"),
        ] {
            assert_eq!(&*destination.authority(), expected);
        }
    }
}
