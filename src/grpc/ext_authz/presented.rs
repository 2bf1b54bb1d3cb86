//! What a proxied request presents: its credential, in one of the places where it may be, and the circumstances. Headers
//! come as a map or as a list of raw ones, and of both a request may have none.

use super::verdict::IDENTITY;
use crate::config::ExtAuthzConfig;
use crate::domain::route::{RequestLine, Said};
use crate::proto::envoy::config::core::v3::address::Address;
use crate::proto::envoy::service::auth::v3::AttributeContext;
use crate::proto::envoy::service::auth::v3::attribute_context::HttpRequest;
use std::borrow::Cow;
use std::net::IpAddr;

/// What is in the request; empty if nothing is.
pub(super) struct Presented<'a> {
    pub(super) credential: Cow<'a, str>,
    pub(super) secret_key: Cow<'a, str>,
}

/// The values of a header, each as often as it was sent; the map has repetitions joined by commas.
fn values<'a>(http: &'a HttpRequest, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let raw = http.header_map.as_ref().map(|map| map.headers.as_slice()).unwrap_or_default();
    // One form or the other: the same header in both is sent once.
    let joined = raw.is_empty().then_some(&http.headers).into_iter().flatten();
    let raw = raw
        .iter()
        .filter(move |header| header.key.eq_ignore_ascii_case(name))
        .map(|header| if header.raw_value.is_empty() { header.value.as_bytes() } else { header.raw_value.as_slice() });
    let joined = joined.filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes());
    raw.chain(joined)
}

/// The one value of a header; empty if there is none, several, or none that is text.
fn one<'a>(http: &'a HttpRequest, name: &str) -> &'a str {
    let mut values = values(http, name);
    match (values.next(), values.next()) {
        (Some(value), None) => str::from_utf8(value).unwrap_or_default(),
        (None | Some(_), _) => "",
    }
}

fn or_else<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

/// Method, host and path, of which a caller may tell the pseudo-headers only.
pub(super) fn line(http: &HttpRequest) -> RequestLine<'_> {
    RequestLine {
        method: or_else(&http.method, one(http, ":method")),
        host: or_else(or_else(&http.host, one(http, ":authority")), one(http, "host")),
        path: path(http),
    }
}

fn path(http: &HttpRequest) -> &str {
    or_else(&http.path, one(http, ":path"))
}

/// What the proxy's configuration says of the request, which no client has a say in.
pub(super) fn said(attributes: &AttributeContext) -> Said<'_> {
    let of = |name: &str| attributes.context_extensions.get(name).map_or("", String::as_str);
    Said { resource: of("resource"), action: of("action"), tenant: of("tenant"), mode: of("mode") }
}

/// Whether its client reads a gRPC status rather than a body.
pub(super) fn is_grpc(http: &HttpRequest) -> bool {
    let rest = one(http, "content-type").strip_prefix("application/grpc");
    rest.is_some_and(|rest| matches!(rest.bytes().next(), None | Some(b'+' | b';')))
}

/// The page it comes from.
pub(super) fn referrer(http: &HttpRequest) -> &str {
    one(http, "referer")
}

/// The client's address: the connection's, or as many places from the right of `x-forwarded-for` as there are proxies in
/// between that are trusted. Empty if that is no address.
pub(super) fn source_ip(attributes: &AttributeContext, http: &HttpRequest, trusted_hops: usize) -> String {
    let found = match trusted_hops.checked_sub(1) {
        None => {
            let address = attributes.source.as_ref().and_then(|source| source.address.as_ref()?.address.as_ref());
            match address {
                Some(Address::SocketAddress(socket)) => socket.address.parse::<IpAddr>().ok(),
                Some(Address::Pipe(_)) | None => None,
            }
        }
        Some(places) => {
            let all: Vec<&[u8]> =
                values(http, "x-forwarded-for").flat_map(|value| value.split(|byte| *byte == b',')).collect();
            let address = all.iter().rev().nth(places).and_then(|text| str::from_utf8(text).ok());
            address.and_then(|text| text.trim().parse::<IpAddr>().ok())
        }
    };
    found.map(|address: IpAddr| address.to_canonical().to_string()).unwrap_or_default()
}

impl<'a> Presented<'a> {
    /// `None` if there is more than one credential or second secret, or one that is no text: which of them is meant, or
    /// which of them another reader sees, is not for us to guess.
    pub(super) fn find(http: &'a HttpRequest, config: &ExtAuthzConfig) -> Option<Self> {
        let mut found: Vec<Cow<'a, [u8]>> = Vec::new();
        let mut authorizations = values(http, "authorization");
        if let Some(value) = authorizations.next() {
            if authorizations.next().is_some() {
                return None;
            }
            match bearer(value) {
                Some(credential) => found.push(Cow::Borrowed(credential)),
                // Another scheme's, which is for whoever is behind; joined with one of ours it is two.
                None if value.split(|byte| *byte == b',').skip(1).any(|part| bearer(part).is_some()) => return None,
                None => {}
            }
        }
        for name in ["x-api-key"].into_iter().chain(config.header.as_deref()) {
            found.extend(values(http, name).map(Cow::Borrowed));
        }
        if let Some(name) = &config.cookie {
            if is_behind_comma(http, name) {
                return None;
            }
            found.extend(
                cookies(http).filter(|(own, _)| *own == name.as_bytes()).map(|(_, value)| Cow::Borrowed(value)),
            );
        }
        if let Some(name) = &config.query_parameter {
            for (own, value) in parameters(http) {
                let is_named = decoded(own.as_bytes()).is_some_and(|own| own == name.as_bytes());
                if !is_named {
                    continue;
                }
                // Envoy would not remove it by another spelling.
                if own != name {
                    return None;
                }
                found.push(Cow::Owned(decoded(value.as_bytes())?));
            }
        }
        let secret_keys = values(http, "x-secret-key").map(Cow::Borrowed).collect();
        Some(Self { credential: only(found)?, secret_key: only(secret_keys)? })
    }
}

/// The only one of them that is not empty. A comma joins two of one header.
fn only(found: Vec<Cow<'_, [u8]>>) -> Option<Cow<'_, str>> {
    let mut found = found.into_iter().filter(|value| !value.is_empty());
    let Some(value) = found.next() else { return Some(Cow::Borrowed("")) };
    if found.next().is_some() || value.contains(&b',') {
        return None;
    }
    match value {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// What follows the scheme Bearer; `None` if it is another.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_at_checked(b"bearer".len())?;
    let is_end = rest.first().is_none_or(u8::is_ascii_whitespace);
    (scheme.eq_ignore_ascii_case(b"bearer") && is_end).then(|| rest.trim_ascii_start())
}

fn cookies(http: &HttpRequest) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = values(http, "cookie").flat_map(|value| value.split(|byte| *byte == b';'));
    pairs.map(|pair| {
        let (name, value) = match pair.iter().position(|byte| *byte == b'=').and_then(|at| pair.split_at_checked(at)) {
            Some((name, value)) => (name, value.strip_prefix(b"=").unwrap_or(value)),
            None => (pair, b"".as_slice()),
        };
        (name.trim_ascii(), unquoted(value.trim_ascii()))
    })
}

/// Whether a cookie of that name stands where two headers were joined: part of another one's value, or one of its own.
fn is_behind_comma(http: &HttpRequest, name: &str) -> bool {
    let pairs = values(http, "cookie").flat_map(|value| value.split(|byte| *byte == b';'));
    let mut joined = pairs.flat_map(|pair| pair.split(|byte| *byte == b',').skip(1));
    joined.any(|part| part.split(|byte| *byte == b'=').next().is_some_and(|own| own.trim_ascii() == name.as_bytes()))
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// The query's parameters as they were sent.
fn parameters(http: &HttpRequest) -> impl Iterator<Item = (&str, &str)> {
    let in_path = path(http).split_once('?').map_or("", |(_, query)| query);
    let queries = [in_path, http.query.as_str()].into_iter();
    let pairs = queries.flat_map(|query| query.split('#').next().unwrap_or_default().split('&'));
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The bytes with each escape replaced by what it stands for; `None` if one is none.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let [high, low, tail @ ..] = tail else { return None };
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
        rest = tail;
    }
    Some(bytes)
}

/// What is taken out of a request before it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Strip {
    /// Headers that some servers take for one of [`IDENTITY`]: with underscores, which they do not tell from hyphens.
    pub(super) forged: Vec<String>,
    /// Headers by name.
    pub(super) headers: Vec<String>,
    /// What is left of the cookies, if one of them goes and others stay.
    pub(super) cookie: Option<String>,
    /// Query parameters by name.
    pub(super) query_parameters: Vec<String>,
}

/// Every place in which a request may have a credential of ours. An `authorization` of another scheme stays.
pub(super) fn strip(http: &HttpRequest, config: &ExtAuthzConfig) -> Strip {
    let headers = vec!["x-api-key".to_owned(), "x-secret-key".to_owned()];
    let mut strip = Strip { forged: forged(http), headers, ..Strip::default() };
    if values(http, "authorization").any(|value| value.split(|byte| *byte == b',').any(|part| bearer(part).is_some())) {
        strip.headers.push("authorization".to_owned());
    }
    strip.headers.extend(config.header.clone());
    if let Some(name) = &config.query_parameter
        && parameters(http).any(|(own, _)| own == name)
    {
        strip.query_parameters.push(name.clone());
    }
    if let Some(name) = &config.cookie
        && cookies(http).any(|(own, _)| own == name.as_bytes())
    {
        match other_cookies(http, name) {
            rest if rest.is_empty() => strip.headers.push("cookie".to_owned()),
            rest => strip.cookie = Some(rest),
        }
    }
    strip
}

fn forged(http: &HttpRequest) -> Vec<String> {
    let raw = http.header_map.iter().flat_map(|map| &map.headers).map(|header| &header.key);
    let names = raw.chain(http.headers.keys()).filter(|name| name.contains('_'));
    let is_like_ours = |name: &&String| {
        let name = name.replace('_', "-");
        IDENTITY.iter().any(|own| own.eq_ignore_ascii_case(&name))
    };
    names.filter(is_like_ours).cloned().collect()
}

/// The cookies but one, in one header; those that Envoy would not take back from us are left out.
fn other_cookies(http: &HttpRequest, name: &str) -> String {
    let pairs = values(http, "cookie").flat_map(|value| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let others = pairs.filter(|pair| {
        let own = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        own != name.as_bytes() && !pair.is_empty() && pair.iter().all(|byte| (b' '..0x7f).contains(byte))
    });
    others.filter_map(|pair| str::from_utf8(pair).ok()).collect::<Vec<_>>().join("; ")
}
