//! The settings that have a form of their own: a span of time, an issuer, and words from a list.

use std::str::FromStr;
use std::time::Duration;

/// Who may call Check on the data listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckAuth {
    /// Whoever can reach it.
    None,
    /// A caller with `keyward/check` `use`, bound to its tenant.
    Bearer,
    /// A caller with a certificate that the configuration lists.
    Mtls,
}

/// Who may call Check, as a word.
pub(super) fn parse_check_auth(word: &str) -> std::result::Result<CheckAuth, &'static str> {
    match word {
        "none" => Ok(CheckAuth::None),
        "bearer" => Ok(CheckAuth::Bearer),
        "mtls" => Ok(CheckAuth::Mtls),
        _ => Err("must be bearer, mtls or none"),
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(word: &str) -> std::result::Result<Self, Self::Err> {
        match word {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err("must be human or json".to_owned()),
        }
    }
}

/// A span of time as text: a whole number and `ms`, `s`, `m`, `h` or `d`.
#[derive(Default)]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let unit_at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let parsed = text.split_at_checked(unit_at).and_then(|(number, unit)| {
            let number: u32 = number.parse().ok()?;
            match unit {
                "ms" => Some(Duration::from_millis(number.into())),
                "s" => Some(Duration::from_secs(number.into())),
                "m" => Some(Duration::from_secs(u64::from(number).saturating_mul(60))),
                "h" => Some(Duration::from_secs(u64::from(number).saturating_mul(60 * 60))),
                "d" => Some(Duration::from_secs(u64::from(number).saturating_mul(24 * 60 * 60))),
                _ => None,
            }
        });
        parsed.map(Self).ok_or_else(|| "must be a number and ms, s, m, h or d, such as 8s".to_owned())
    }
}

/// Whether JWTs may name this as their issuer: a URL as others read it, too, with nothing in it that is a secret.
pub(super) fn is_issuer(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'"' | b'\\');
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    let parsed = text.parse::<http::Uri>();
    let has_host = parsed.as_ref().ok().and_then(http::Uri::authority).is_some_and(|authority| {
        let has_port = authority.as_str() != authority.host();
        !authority.host().is_empty() && !authority.as_str().contains('@') && has_port == authority.port_u16().is_some()
    });
    text.len() <= 255 && is_web && has_host && text.bytes().all(is_plain)
}
