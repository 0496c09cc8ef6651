//! The flags of TLS, and what they must say together.

use std::path::{Path, PathBuf};

use crate::lifecycle::address::Address;
use crate::lifecycle::tls::client::ClientName;
use crate::lifecycle::tls::{Clients, Error, H2, Own, Tls};

/// The flags of TLS, which hold for every TCP socket on which Envoy asks.
#[expect(
    clippy::doc_markdown,
    reason = "these comments are the help text, where backticks are noise"
)]
#[derive(Debug, Default, clap::Args)]
pub(super) struct Flags {
    /// TLS where Envoy asks over TCP: the certificate, and after it those between it and its
    /// authority, in PEM
    #[arg(long, value_name = "FILE", env = "GATEPOST_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", env = "GATEPOST_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Envoy must show a certificate under this authority, in PEM
    #[arg(long, value_name = "FILE", env = "GATEPOST_CLIENT_CA")]
    client_ca: Option<PathBuf>,

    /// … with one of these subject alternative names, exactly: dns:envoy.internal or
    /// spiffe://example.org/envoy. May be repeated
    #[arg(
        long = "client-san",
        value_name = "SAN,SAN",
        env = "GATEPOST_CLIENT_SAN",
        value_delimiter = ','
    )]
    client_sans: Vec<ClientName>,
}

/// What the flags say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files<'a> {
    own: Own<'a>,
    clients: Clients<'a>,
}

impl Flags {
    /// The files that the flags name, if they name any.
    ///
    /// # Errors
    /// One flag lacks another. Or the egress listens on TCP and all four are not there.
    pub(super) fn files(&self, egress: Option<&Address>) -> Result<Option<Files<'_>>, String> {
        let Self { tls_cert, tls_key, client_ca, client_sans } = self;
        let own = |cert, key| Own { cert, key };
        let all: (Option<&Path>, Option<&Path>, Option<&Path>, &[ClientName]) =
            (tls_cert.as_deref(), tls_key.as_deref(), client_ca.as_deref(), client_sans);
        let files = match all {
            (None, None, None, []) => None,
            (Some(cert), Some(key), None, []) => Some((own(cert, key), Clients::Anybody)),
            (Some(cert), Some(key), Some(ca), []) => Some((own(cert, key), Clients::SignedBy(ca))),
            (Some(cert), Some(key), Some(ca), names) => {
                Some((own(cert, key), Clients::Named(ca, names)))
            }
            _ => {
                return Err("--tls-cert and --tls-key need each other, --client-ca needs both, \
                            and --client-san needs --client-ca"
                    .to_owned());
            }
        };
        let files = files.map(|(own, clients)| Files { own, clients });
        let named = files.is_some_and(|files| matches!(files.clients, Clients::Named(..)));
        match egress {
            Some(address @ Address::Tcp { .. }) if !named => Err(format!(
                "--egress-listen {address}: the answers carry live credentials: on TCP it needs \
                 --tls-cert, --tls-key, --client-ca and --client-san; or listen on a Unix socket"
            )),
            Some(Address::Tcp { .. } | Address::Unix(_)) | None => Ok(files),
        }
    }
}

impl Files<'_> {
    /// TLS for gRPC, as the files say.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(super) fn load(self) -> Result<Tls, Error> {
        Tls::load(self.own, self.clients, &[H2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(given: &str) -> Flags {
        let file = |flag: char| given.contains(flag).then(|| PathBuf::from(flag.to_string()));
        let san = given.contains('s').then(|| "envoy.internal".parse().expect("a name"));
        let client_sans = san.into_iter().collect();
        Flags { tls_cert: file('c'), tls_key: file('k'), client_ca: file('a'), client_sans }
    }

    /// Each flag by its letter: cert, key, authority, san.
    const HALVES: [&str; 12] =
        ["c", "k", "a", "s", "ca", "cs", "ka", "ks", "as", "cks", "cas", "kas"];

    #[test]
    fn each_flag_needs_those_before_it() {
        for given in HALVES {
            let error = flags(given).files(None).expect_err(given);
            assert!(error.contains("--tls-cert and --tls-key need each other"), "{given}: {error}");
        }
        let clients = |given| {
            flags(given).files(None).map(|files| {
                files.map(|f| match f.clients {
                    Clients::Anybody => "anybody",
                    Clients::SignedBy(_) => "signed",
                    Clients::Named(..) => "named",
                })
            })
        };
        assert_eq!(clients(""), Ok(None));
        assert_eq!(clients("ck"), Ok(Some("anybody")));
        assert_eq!(clients("cka"), Ok(Some("signed")));
        assert_eq!(clients("ckas"), Ok(Some("named")));
    }

    #[test]
    fn the_egress_is_on_tcp_only_with_all_of_them() {
        let unix: Address = "unix:/run/gatepost/egress.sock".parse().expect("an address");
        for address in ["127.0.0.1:9192", "[::1]:9192", "localhost:0", "0.0.0.0:9192"] {
            let tcp: Address = address.parse().expect(address);
            for given in ["", "ck", "cka"] {
                let flags = flags(given);
                let wanted = format!(
                    "--egress-listen {address}: the answers carry live credentials: on TCP it \
                     needs --tls-cert, --tls-key, --client-ca and --client-san; or listen on a \
                     Unix socket"
                );
                assert_eq!(flags.files(Some(&tcp)), Err(wanted), "{given:?}");
                assert!(flags.files(Some(&unix)).is_ok(), "{given:?}");
            }
            for given in HALVES {
                flags(given).files(Some(&tcp)).expect_err(given);
                flags(given).files(Some(&unix)).expect_err(given);
            }
            assert!(flags("ckas").files(Some(&tcp)).is_ok_and(|files| files.is_some()));
        }
    }
}
