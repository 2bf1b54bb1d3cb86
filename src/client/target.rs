//! Where a Keyward is, as users write it.

use super::builder::BuildError;
use std::net::{IpAddr, Ipv6Addr};

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The path of a Unix socket.
    Unix(String),
    /// A name or an address, and a port.
    Tcp {
        /// Whether TLS is spoken there.
        is_tls: bool,
        /// A DNS name, or an address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

const SHAPE: &str = "must be http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:PATH";

impl Target {
    /// Reads what a user wrote.
    pub(super) fn parse(text: &str) -> Result<Self, BuildError> {
        let refused = || BuildError::invalid("the target", SHAPE);
        if let Some(path) = text.strip_prefix("unix:") {
            let is_path = !path.trim_start_matches('/').is_empty();
            return if is_path { Ok(Self::Unix(path.to_owned())) } else { Err(refused()) };
        }
        let (is_tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(refused()),
            None => (false, text),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '@', '?', '#']) {
            return Err(refused());
        }
        let authority: http::uri::Authority = authority.parse().map_err(|_| refused())?;
        let port = authority.port_u16().filter(|port| *port > 0).ok_or_else(refused)?;
        let host = authority.host();
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok().then_some(address),
            // The library lets brackets stand anywhere.
            None => Some(host).filter(|host| !host.is_empty() && !host.contains(['[', ']', ':'])),
        };
        let host = host.ok_or_else(refused)?.to_owned();
        Ok(Self::Tcp { is_tls, host, port })
    }

    /// The host, where it is an address rather than a name.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp { host, .. } => host.parse().ok(),
        }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: (bool, &str, u16)) {
        let (is_tls, host, port) = expected;
        assert_eq!(Target::parse(text).unwrap(), Target::Tcp { is_tls, host: host.to_owned(), port }, "{text}");
    }

    #[test]
    fn targets_are_read_as_they_are_written() {
        check("http://keyward:50051", (false, "keyward", 50051));
        check("https://keyward.example:443/", (true, "keyward.example", 443));
        check("127.0.0.1:1", (false, "127.0.0.1", 1));
        check("https://[::1]:50051", (true, "::1", 50051));
        assert_eq!(Target::parse("unix:k.sock").unwrap(), Target::Unix("k.sock".to_owned()));
        assert_eq!(Target::parse("http://[::1]:9").unwrap().address(), Some("::1".parse().unwrap()));
        assert_eq!(Target::parse("http://one:9").unwrap().address(), None);
    }

    #[test]
    fn other_text_is_no_target() {
        for text in [
            "",
            "keyward",
            "http://keyward",
            "http://:50051",
            "http://keyward:0",
            "http://keyward:70000",
            "http://me@keyward:50051",
            "http://keyward:50051/path",
            "http://keyward:50051?x",
            "ftp://keyward:50051",
            "unix:",
            "unix:///",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn brackets_hold_an_address_and_nothing_else_does() {
        for text in
            ["HTT[::1]z:1", "[a]:1", "[]:1", "http://[::1]]:1", "http://[[::1]]:1", "a]:1", "http://[1.2.3.4]:1"]
        {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
