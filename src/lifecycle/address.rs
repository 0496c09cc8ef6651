//! Where to listen, as an operator writes it: `host:port` or `unix:/path`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on. [`Display`](fmt::Display) writes what [`FromStr`] reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `host:port`.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without its brackets.
        host: String,
        /// 0 lets the system pick a free one.
        port: u16,
    },
    /// `unix:/path`, always absolute: Envoy and we seldom share a working directory.
    Unix(PathBuf),
}

/// Why a text is not an [`Address`], in words for the one who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress(&'static str);

const BRACKETS: InvalidAddress = InvalidAddress("an IPv6 address is written [address]:port");
const NO_PORT: InvalidAddress =
    InvalidAddress("expected host:port or unix:/path, and found no port");

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            rest.split_once("]:").ok_or(BRACKETS)?
        } else {
            text.rsplit_once(':').ok_or(NO_PORT)?
        };
        if !text.starts_with('[') {
            check_host(host)?;
        } else if host.parse::<Ipv6Addr>().is_err() {
            return Err(InvalidAddress("what stands in the brackets is no IPv6 address"));
        }
        Ok(Self::Tcp { host: host.to_owned(), port: parse_port(port)? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidAddress {}

fn unix(path: &str) -> Result<Address, InvalidAddress> {
    if !path.starts_with('/') {
        return Err(InvalidAddress("unix: needs an absolute path, as in unix:/run/gatepost.sock"));
    }
    if path.ends_with('/') {
        return Err(InvalidAddress("the path names a directory; it must name the socket itself"));
    }
    if path.contains('\0') {
        return Err(InvalidAddress("the path contains a NUL byte"));
    }
    Ok(Address::Unix(PathBuf::from(path)))
}

fn check_host(host: &str) -> Result<(), InvalidAddress> {
    if host.is_empty() {
        return Err(InvalidAddress(
            "the host is missing; 0.0.0.0 or [::] stands for all addresses",
        ));
    }
    if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b)) {
        return Err(InvalidAddress("the host is neither a name nor an address"));
    }
    if host.contains(':') {
        return Err(BRACKETS);
    }
    // The resolver would take 10.1 for 10.0.0.1 and 010.0.0.1 for 8.0.0.1; nobody means that.
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err(InvalidAddress("the host is no valid IPv4 address"));
    }
    Ok(())
}

fn parse_port(port: &str) -> Result<u16, InvalidAddress> {
    const RANGE: InvalidAddress = InvalidAddress("the port is no number from 0 to 65535");
    // u16's own parser takes a leading plus sign.
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RANGE);
    }
    port.parse().map_err(|_empty_or_too_large| RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        for text in [
            "127.0.0.1:9191",
            "0.0.0.0:0",
            "[::1]:65535",
            "localhost:80",
            "gate-post_1.internal:1",
            "unix:/run/gatepost/egress.sock",
            "unix:/a b:c",
        ] {
            assert_eq!(text.parse::<Address>().map(|a| a.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        for (text, word) in [
            ("", "no port"),
            ("localhost", "no port"),
            ("9191", "no port"),
            (":9191", "host is missing"),
            ("::1:9191", "[address]:port"),
            ("[::1]", "[address]:port"),
            ("[::1]9191", "[address]:port"),
            ("[localhost]:80", "no IPv6 address"),
            ("[127.0.0.1]:80", "no IPv6 address"),
            ("300.0.0.1:80", "no valid IPv4"),
            ("10.1:80", "no valid IPv4"),
            ("010.0.0.1:80", "no valid IPv4"),
            ("http://localhost:80", "neither a name"),
            ("//localhost:80", "neither a name"),
            ("local host:80", "neither a name"),
            ("localhost:", "0 to 65535"),
            ("localhost:+80", "0 to 65535"),
            ("localhost:65536", "0 to 65535"),
            ("localhost:http", "0 to 65535"),
            ("unix:", "absolute"),
            ("unix:gatepost.sock", "absolute"),
            ("unix:/run/", "directory"),
            ("unix:/run/a\0b", "NUL"),
        ] {
            let said = text.parse::<Address>().expect_err(text).to_string();
            assert!(said.contains(word), "{text:?}: {said}");
        }
    }
}
