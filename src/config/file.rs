//! The file of `--config`, and what a value is made of wherever it was given.

use super::ServeArgs;
use crate::error::{Error, Result, Violation};
use std::path::Path;
use std::str::FromStr;

/// The file's keys. The library's whole message would repeat the line, and with it a password.
pub(super) fn read_file(path: &Path) -> Result<ServeArgs> {
    let refuse = |rule: String| Error::invalid("--config", format!("{}: {rule}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    read_text(&text).map_err(refuse)
}

/// What the file's text says, or what is wrong with it.
pub(super) fn read_text(text: &str) -> std::result::Result<ServeArgs, String> {
    toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.as_bytes().get(..span.start))
            .map_or(1, |before| before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1));
        format!("line {line}: {}", error.message())
    })
}

/// The value given, or the default; if it cannot be parsed, the default and a violation of `flag`.
pub(super) fn parse<T: FromStr<Err = String> + Default>(
    broken: &mut Vec<Violation>,
    flag: &str,
    given: Option<String>,
    default: &str,
) -> T {
    given.as_deref().unwrap_or(default).parse().unwrap_or_else(|rule| {
        broken.push(Violation::new(flag, rule));
        T::default()
    })
}

/// The value, if one is given.
pub(super) fn parse_if<T: FromStr<Err = String>>(
    broken: &mut Vec<Violation>,
    flag: &str,
    given: Option<String>,
) -> Option<T> {
    given?.parse().map_err(|rule| broken.push(Violation::new(flag, rule))).ok()
}
