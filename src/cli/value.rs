//! Text to value and back: durations, times, names, pairs.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_types::{FieldMask, Timestamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Parses `30d`, `12h`, `15m`, `1h30m`, `250ms`, `0s`: whole numbers, each with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(DURATION_RULE.to_owned());
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let number: u64 = number.parse().map_err(|_| DURATION_RULE.to_owned())?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return Err(DURATION_RULE.to_owned()),
        };
        let part = number.checked_mul(millis).map(Duration::from_millis);
        total = part.and_then(|part| total.checked_add(part)).ok_or("longer than can be counted")?;
        rest = after;
    }
    Ok(total)
}

/// A span as the wire has it.
pub(super) fn span(duration: Duration) -> Result<prost_types::Duration, String> {
    duration.try_into().map_err(|_| "longer than can be sent".to_owned())
}

/// Prints a wire span to the millisecond: `10s`, `9.75s`.
pub(super) fn span_text(span: &prost_types::Duration) -> String {
    let millis = i64::from(span.nanos / 1_000_000).saturating_add(span.seconds.saturating_mul(1000));
    let (seconds, rest) = (millis / 1000, millis % 1000);
    if rest == 0 {
        format!("{seconds}s")
    } else {
        format!("{seconds}.{rest:03}").trim_end_matches('0').to_owned() + "s"
    }
}

/// Parses a wire span, for `--ttl` and `--overlap`.
pub(super) fn wire_duration(text: &str) -> Result<prost_types::Duration, String> {
    span(duration(text)?)
}

/// Parses RFC 3339, such as `2030-01-31T12:00:00Z`.
pub(super) fn timestamp(text: &str) -> Result<Timestamp, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "must be a time of RFC 3339, such as 2030-01-31T12:00:00Z".to_owned())?;
    let nanos = i32::try_from(time.nanosecond()).map_err(|error| error.to_string())?;
    Ok(Timestamp { seconds: time.unix_timestamp(), nanos })
}

/// Parses the same, or a day such as `2030-01-31`, which is when it begins in UTC.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if text.len() > "2030-01-31".len() {
        return timestamp(text);
    }
    let day = timestamp(&format!("{text}T00:00:00Z"));
    day.map_err(|_| "must be a day or a time of RFC 3339, such as 2030-01-31 or 2030-01-31T12:00:00Z".to_owned())
}

/// Prints a time to the second, in UTC.
pub(super) fn time_text(time: &Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(time.seconds)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{} s after 1970", time.seconds))
}

/// Prints a time for a narrow column: `2030-01-31 12:00`, in UTC.
pub(super) fn time_column(time: Option<&Timestamp>) -> String {
    let Some(time) = time else { return "-".to_owned() };
    time_text(time).chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

/// `acme` or `tenants/acme` to `tenants/acme`.
pub(super) fn tenant_name(text: &str) -> Result<String, String> {
    let id = text.strip_prefix("tenants/").unwrap_or(text);
    if id.is_empty() || id.contains('/') {
        return Err(format!("{text:?} is no tenant: give `acme` or `tenants/acme`"));
    }
    Ok(format!("tenants/{id}"))
}

/// The full name of a thing in a tenant: a bare id (`ci`), a name in the tenant (`keys/ci`) or a full name, which wins.
pub(super) fn resource_name(tenant: &str, collection: &str, text: &str) -> Result<String, String> {
    let segments: Vec<&str> = text.split('/').collect();
    let is_whole = !segments.iter().any(|segment| segment.is_empty());
    match segments.as_slice() {
        [id] if is_whole => Ok(format!("{tenant}/{collection}/{id}")),
        [kind, _] if is_whole && *kind == collection => Ok(format!("{tenant}/{text}")),
        ["tenants", _, kind, _] if is_whole && *kind == collection => Ok(text.to_owned()),
        _ => {
            Err(format!("{text:?} is no name here: give an id, `{collection}/ID` or `tenants/TENANT/{collection}/ID`"))
        }
    }
}

/// The full name of what keys are made under: a tenant, a user or an application.
pub(super) fn parent_name(tenant: &str, text: &str) -> Result<String, String> {
    let segments: Vec<&str> = text.split('/').collect();
    let is_whole = !segments.iter().any(|segment| segment.is_empty());
    match segments.as_slice() {
        ["tenants", _] | ["tenants", _, "users" | "applications", _] if is_whole => Ok(text.to_owned()),
        ["users" | "applications", _] if is_whole => Ok(format!("{tenant}/{text}")),
        _ => Err(format!("{text:?} is no parent: give `tenants/T`, `users/U` or `applications/A`")),
    }
}

/// Refuses a name in the caller's own tenant where no key is sent that would tell which one that is.
pub(super) fn known_tenant(name: &str) -> Result<(), String> {
    if name.starts_with("tenants/-/") {
        return Err("no key is sent for this, so say which tenant: give --tenant or the full name".to_owned());
    }
    Ok(())
}

/// Parses `KEY=VALUE`; the value may hold further `=`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// Pairs to a map; the same key twice is a mistake.
pub(super) fn map(pairs: &[(String, String)]) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.insert(key.clone(), value.clone()).is_some() {
            return Err(format!("{key:?} is given twice"));
        }
    }
    Ok(map)
}

/// A mask of what an update changes; nothing to change is a mistake.
pub(super) fn mask(paths: Vec<&'static str>) -> Result<FieldMask, String> {
    if paths.is_empty() {
        return Err("nothing to change: give at least one option that changes something".to_owned());
    }
    Ok(FieldMask { paths: paths.into_iter().map(str::to_owned).collect() })
}

/// The name without its tenant, for tables: `users/ana`.
pub(super) fn within_tenant(name: &str) -> &str {
    let inner = name.strip_prefix("tenants/").and_then(|rest| rest.split_once('/'));
    inner.map_or(name, |(_, inner)| inner)
}

/// The last segment of a name, for tables.
pub(super) fn id(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, id)| id)
}

const DURATION_RULE: &str = "must be a number with a unit (w, d, h, m, s, ms), such as 30d, 12h, 1h30m or 0s";

#[cfg(test)]
mod fuzz;
