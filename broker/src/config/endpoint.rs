//! Where a client reaches a listener: what it is told, as it is told it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A host and a port that clients can connect to. Never an address that stands for all of a machine's own
/// (`0.0.0.0`, `::`): a client that is told so connects to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name, or an address without brackets.
    pub host: String,
    /// Not 0.
    pub port: u16,
}

impl Endpoint {
    /// The endpoint that somebody has connected to.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        Self { host: address.ip().to_canonical().to_string(), port: address.port() }
    }
}

/// What an [`Endpoint`] is read from is none; the text says what would be.
#[derive(Debug, PartialEq, Eq)]
pub struct NoEndpoint;

impl fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "HOST:PORT that clients can connect to, one for each address in listen, separated by commas",
        )
    }
}

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        let (host, port) = text.rsplit_once(':').ok_or(NoEndpoint)?;
        let port: u16 = port.parse().map_err(|_| NoEndpoint)?;
        let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match in_brackets {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => is_name(host),
        };
        let host = in_brackets.unwrap_or(host);
        let is_nowhere = port == 0 || host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
        if !is_host || is_nowhere {
            return Err(NoEndpoint);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A host name, or an IPv4 address.
fn is_name(host: &str) -> bool {
    (1..=HOST_LEN_MAX).contains(&host.len())
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// The longest name that the domain name system can hold.
const HOST_LEN_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_addresses_are_read_and_written_alike() {
        for (text, host, port) in [
            ("folio.example:9092", "folio.example", 9092),
            ("10.0.0.7:1", "10.0.0.7", 1),
            ("my_service-1:65535", "my_service-1", 65535),
            ("[fe80::1]:9092", "fe80::1", 9092),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port));
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn what_no_client_can_connect_to_is_refused() {
        for text in [
            "",
            "folio",
            ":9092",
            "folio:",
            "folio:0",
            "folio:65536",
            "0.0.0.0:9092",
            "[::]:9092",
            "::1:9092",
            "[folio]:9092",
            "a b:9092",
            "http://folio:9092",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(NoEndpoint), "{text:?}");
        }
    }

    #[test]
    fn an_ipv4_connection_to_an_ipv6_listener_is_told_the_ipv4_address() {
        let endpoint = |address: &str| Endpoint::of(address.parse().unwrap()).to_string();
        assert_eq!(endpoint("[::ffff:10.0.0.7]:9092"), "10.0.0.7:9092");
        assert_eq!(endpoint("[::1]:9092"), "[::1]:9092");
    }
}
