//! Where a listener is.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A host's name and a port, looked up when it is bound.
    Host {
        /// The name.
        name: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can reach it: 127.0.0.0/8, ::1, `localhost` and Unix sockets.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Host { name, .. } => is_localhost(name),
            Self::Unix(_) => true,
        }
    }

    /// Whether two listeners cannot both have it; a port of 0 is another one each time.
    pub fn is_same(&self, other: &Self) -> bool {
        self.port() != Some(0) && self.plain() == other.plain()
    }

    /// The port, if it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Host { port, .. } => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// One form for what is written in several ways.
    fn plain(&self) -> Self {
        match self {
            Self::Host { name, port } if is_localhost(name) => Self::Tcp((Ipv4Addr::LOCALHOST, *port).into()),
            Self::Host { name, port } => Self::Host { name: name.to_ascii_lowercase(), port: *port },
            Self::Tcp(_) | Self::Unix(_) => self.clone(),
        }
    }
}

fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
}

/// Any port of this machine: only what stands in for an address that could not be parsed.
impl Default for Address {
    fn default() -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, 0).into())
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            // As in a URL, two slashes may stand before an absolute path.
            let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
            return match path.trim_end_matches('/') {
                "" => Err("must name a path after unix:".to_owned()),
                _ => Ok(Self::Unix(path.into())),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        let named = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
        match named {
            Some((name, port)) if is_host_name(name) => Ok(Self::Host { name: name.to_owned(), port }),
            _ => Err(format!("{text:?} must be host:port, [v6]:port or unix:path")),
        }
    }
}

/// Letters, digits, dots, hyphens and underscores, with a letter in the last label: `127.1` and `1.2.3.4.5` are
/// addresses gone wrong.
fn is_host_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    name.bytes().all(is_plain) && last.bytes().any(|byte| byte.is_ascii_alphabetic())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
