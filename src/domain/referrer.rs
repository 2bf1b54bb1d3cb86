//! Which web pages a key may be used from: patterns like those of Google's API keys.
//!
//! `[http://|https://]host[:port][path]`. Without a scheme, both. The host is exact, or `*.` and a domain, which means
//! every subdomain at any depth and not the domain itself: as with Google, `example.com` is a pattern of its own. Without
//! a port, the scheme's own (80 or 443) and no other. Without a path, every path (as Google's); else exactly that path,
//! or with a trailing `*` every path that begins with what stands before it, so that `/a/*` is not `/a`. Schemes and
//! hosts are compared in any case, paths byte by byte and never decoded; query and fragment of a referrer are ignored.
//! Browsers send the bare origin (path `/`) to other sites, so a pattern with a longer path needs a page that sends more.
//!
//! A referrer that no browser would send is refused rather than repaired: userinfo, backslashes, dot segments, spaces,
//! bytes beyond ASCII, escapes in the host. Other than Google, only `http` and `https`, and no query in a pattern.

use crate::error::Violation;
use serde::{Deserialize, Serialize};
use std::net::Ipv6Addr;

/// So many patterns a key has at most.
pub const MAX_REFERRERS: usize = 100;

/// The rule of one pattern.
pub const REFERRER_RULE: &str = "must be a host, or \"*.\" and a domain, in ASCII and at most 1024 bytes, with or without \
     http:// or https:// before it and a port and a path behind it, the path perhaps ending in \"*\": *.example.com/*";

const MAX_PATTERN_BYTES: usize = 1024;
const MAX_REFERRER_BYTES: usize = 8192;

/// The only pages a key may be used from; if there are none, it may be used from anywhere. Shown as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Referrers(Vec<Pattern>);

impl Referrers {
    /// None: on every page.
    pub const ANYWHERE: Self = Self(Vec::new());

    /// The patterns of these texts; `field` is where they stand, such as `key.allowed_referrers`.
    pub fn parse(texts: &[impl AsRef<str>], field: &str) -> Result<Self, Vec<Violation>> {
        if texts.len() > MAX_REFERRERS {
            return Err(vec![Violation::new(field, format!("must be at most {MAX_REFERRERS}"))]);
        }
        let mut patterns = Vec::with_capacity(texts.len());
        let mut violations = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            match Pattern::find(text.as_ref()) {
                Some(pattern) => patterns.push(pattern),
                None => violations.push(Violation::new(format!("{field}[{place}]"), REFERRER_RULE)),
            }
        }
        if violations.is_empty() { Ok(Self(patterns)) } else { Err(violations) }
    }

    /// Whether the key may be used from the page that `referrer` names; a text that is no plain URL is no page.
    pub fn allows(&self, referrer: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let Some(page) = Page::find(referrer) else {
            return false;
        };
        self.0.iter().any(|pattern| pattern.allows(&page))
    }

    /// Whether `other` is surely no looser: each of its patterns is within a single one here.
    pub fn covers(&self, other: &Self) -> bool {
        let is_covered = |narrow: &Pattern| self.0.iter().any(|wide| wide.covers(narrow));
        self.0.is_empty() || (!other.0.is_empty() && other.0.iter().all(is_covered))
    }

    /// Whether it may be used from anywhere.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns as they were given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|pattern| &*pattern.text)
    }

    /// The patterns as they were given.
    pub fn to_strings(&self) -> Vec<String> {
        self.iter().map(str::to_owned).collect()
    }
}

impl TryFrom<Vec<String>> for Referrers {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
        Self::parse(&texts, "allowed_referrers").map_err(|violations| match violations.first() {
            Some(violation) => format!("{} {}", violation.field, violation.rule),
            None => REFERRER_RULE.to_owned(),
        })
    }
}

impl From<Referrers> for Vec<String> {
    fn from(referrers: Referrers) -> Self {
        referrers.to_strings()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// Cuts the scheme off; `None` if there is none of ours.
    fn split(text: &str) -> Option<(Self, &str)> {
        let schemes = [("https://", Self::Https), ("http://", Self::Http)];
        schemes.into_iter().find_map(|(start, scheme)| {
            let (head, rest) = text.split_at_checked(start.len())?;
            head.eq_ignore_ascii_case(start).then_some((scheme, rest))
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pattern {
    text: Box<str>,
    scheme: Option<Scheme>,
    /// In lower case, without the wildcard.
    host: Box<str>,
    is_any_subdomain: bool,
    /// `None` is the scheme's own; where the scheme is given, its own port is `None` too.
    port: Option<u16>,
    /// Without the wildcard; begins with `/`.
    path: Box<str>,
    is_any_path_below: bool,
}

impl Pattern {
    fn find(text: &str) -> Option<Self> {
        if text.len() > MAX_PATTERN_BYTES || text.contains(['?', '#']) {
            return None;
        }
        let (scheme, rest) = Scheme::split(text).map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
        let (is_any_subdomain, rest) = rest.strip_prefix("*.").map_or((false, rest), |rest| (true, rest));
        let place = Place::find(rest)?;
        if is_any_subdomain && place.is_address() {
            return None;
        }
        let (is_any_path_below, path) = match place.path {
            "" => (true, "/"),
            path => path.strip_suffix('*').map_or((false, path), |path| (true, path)),
        };
        let is_well_formed = !path.contains('*') && !has_dot_segments(path);
        is_well_formed.then(|| Self {
            text: text.into(),
            scheme,
            host: place.host.to_ascii_lowercase().into(),
            is_any_subdomain,
            port: place.port.filter(|port| scheme.is_none_or(|scheme| scheme.default_port() != *port)),
            path: path.into(),
            is_any_path_below,
        })
    }

    fn allows(&self, page: &Page<'_>) -> bool {
        self.scheme.is_none_or(|scheme| scheme == page.scheme)
            && page.port == self.port.unwrap_or(page.scheme.default_port())
            && self.has_host(page.host)
            && self.has_path(page.path)
    }

    fn covers(&self, narrow: &Self) -> bool {
        let has_host = if narrow.is_any_subdomain {
            self.is_any_subdomain && (self.host == narrow.host || self.has_host(&narrow.host))
        } else {
            self.has_host(&narrow.host)
        };
        let has_path = if narrow.is_any_path_below {
            self.is_any_path_below && narrow.path.starts_with(&*self.path)
        } else {
            self.has_path(&narrow.path)
        };
        // A pattern without a scheme has two default ports, and is covered by nothing that has one.
        let port_of =
            |scheme: Scheme| (self.port.unwrap_or(scheme.default_port()), narrow.port.unwrap_or(scheme.default_port()));
        let has_scheme_and_port = [Scheme::Http, Scheme::Https].into_iter().all(|scheme| {
            let (ours, theirs) = port_of(scheme);
            narrow.scheme.is_some_and(|only| only != scheme)
                || (self.scheme.is_none_or(|only| only == scheme) && ours == theirs)
        });
        has_host && has_path && has_scheme_and_port
    }

    fn has_host(&self, host: &str) -> bool {
        if !self.is_any_subdomain {
            return self.host.eq_ignore_ascii_case(host);
        }
        let parts = host.len().checked_sub(self.host.len()).and_then(|end| host.split_at_checked(end));
        // The dot keeps `evilexample.com` out, and a host is never empty before one.
        parts.is_some_and(|(sub, domain)| sub.ends_with('.') && self.host.eq_ignore_ascii_case(domain))
    }

    fn has_path(&self, path: &str) -> bool {
        if self.is_any_path_below { path.starts_with(&*self.path) } else { *self.path == *path }
    }
}

/// A referrer taken apart.
struct Page<'a> {
    scheme: Scheme,
    host: &'a str,
    port: u16,
    /// Begins with `/`.
    path: &'a str,
}

impl<'a> Page<'a> {
    fn find(referrer: &'a str) -> Option<Self> {
        if referrer.len() > MAX_REFERRER_BYTES || !is_plain(referrer) {
            return None;
        }
        let (scheme, rest) = Scheme::split(referrer)?;
        let without_query = rest.split(['?', '#']).next()?;
        let place = Place::find(without_query)?;
        let path = if place.path.is_empty() { "/" } else { place.path };
        let port = place.port.unwrap_or(scheme.default_port());
        (!has_dot_segments(path)).then_some(Self { scheme, host: place.host, port, path })
    }
}

/// `host[:port][path]`, the host a name or an address in brackets.
struct Place<'a> {
    host: &'a str,
    port: Option<u16>,
    /// Empty, or begins with `/`.
    path: &'a str,
}

impl<'a> Place<'a> {
    fn find(text: &'a str) -> Option<Self> {
        if !is_plain(text) {
            return None;
        }
        let (authority, path) = text.split_at_checked(text.find('/').unwrap_or(text.len()))?;
        let (host, port) = if authority.starts_with('[') {
            authority.split_at_checked(authority.find(']')? + 1)?
        } else {
            authority.split_at_checked(authority.find(':').unwrap_or(authority.len()))?
        };
        let port = match port {
            "" => None,
            port => Some(find_port(port.strip_prefix(':')?)?),
        };
        is_host(host).then_some(Self { host, port, path })
    }

    /// A host whose last label is a number is an IPv4 address, to browsers too.
    fn is_address(&self) -> bool {
        let last = self.host.rsplit('.').next().unwrap_or_default();
        self.host.starts_with('[') || last.starts_with(|first: char| first.is_ascii_digit())
    }
}

fn find_port(text: &str) -> Option<u16> {
    // `u16` would take a sign and leading zeros.
    let is_canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    is_canonical.then(|| text.parse().ok())?
}

/// Letters, digits, `-` and `_` in labels that are not empty; no escapes, and so no second spelling of a name.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

/// Printable ASCII without a backslash, which browsers take for a slash and others do not.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// Whether a segment is `.` or `..`, perhaps escaped; browsers resolve these before they send anything.
fn has_dot_segments(path: &str) -> bool {
    path.split('/').any(|segment| {
        let mut dots = 0;
        let mut rest = segment;
        while let Some(shorter) = strip_dot(rest) {
            dots += 1;
            rest = shorter;
        }
        rest.is_empty() && (1..=2).contains(&dots)
    })
}

fn strip_dot(text: &str) -> Option<&str> {
    [".", "%2e", "%2E"].into_iter().find_map(|dot| text.strip_prefix(dot))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
