//! Between messages and domain values. What comes in is taken apart field by field, so that a new field stops the build
//! here; what breaks a rule is collected, so that a client sees all of it at once. A file per kind of thing; this one has
//! what they share.

mod applications;
mod events;
mod import;
mod keys;
mod people;
mod principal;
mod replicas;
mod sessions;
mod tokens;
mod usage;

pub(super) use applications::{
    APPLICATION_FILTER, application_out, application_patch, new_application, secret_rotation,
};
pub(super) use events::{EVENT_FILTER, event_out};
pub(super) use import::import_entry;
pub(super) use keys::{
    KEY_FILTER, key_out, key_patch, key_type_out, master_rotation, new_key, revocation_reason, rotation,
};
pub(super) use people::{
    TENANT_FILTER, USER_FILTER, created_user, new_password, new_tenant, tenant_out, tenant_patch, user_out, user_patch,
};
pub(super) use principal::{Child, Named, principal_out};
pub(super) use replicas::{diagnosis_out, replica_out, status_out};
pub(super) use sessions::{SESSION_FILTER, session_out, sign_in, signed_in_out};
pub(super) use tokens::{inspection_out, jwk_out, minted_out, new_token, token_text};
pub(super) use usage::{usage_out, usage_span};

use crate::domain::clock::Time;
use crate::domain::filter::{FieldKind, FilterField};
use crate::error::{Error, Result, Violation};
use crate::store::Replay;
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::time::Duration;

/// `display_name`, `given_name` and `family_name`, in characters.
const MAX_NAME: usize = 256;
/// More than this many broken rules are not told.
const MAX_VIOLATIONS: usize = 100;

/// The rules that a request breaks.
#[derive(Debug, Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        if self.0.len() < MAX_VIOLATIONS {
            self.0.push(Violation::new(field, rule));
        }
    }

    /// The value, or its default while the violation is kept.
    fn take<T: Default>(&mut self, result: Result<T, Violation>) -> T {
        result.unwrap_or_else(|violation| {
            self.0.push(violation);
            T::default()
        })
    }

    fn take_all<T: Default>(&mut self, result: Result<T, Vec<Violation>>) -> T {
        result.unwrap_or_else(|violations| {
            self.0.extend(violations);
            T::default()
        })
    }

    fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }
}

fn text(value: String, field: &str, max: usize, may_have_lines: bool) -> Result<String, Violation> {
    let is_forbidden = |c: char| c.is_control() && !(may_have_lines && matches!(c, '\n' | '\r' | '\t'));
    if value.chars().count() > max || value.chars().any(is_forbidden) {
        return Err(Violation::new(field, format!("must be at most {max} characters without control characters")));
    }
    Ok(value)
}

/// A point in time, within the years that a `Timestamp` may carry.
fn time(value: Option<prost_types::Timestamp>, field: &str) -> Result<Option<Time>, Violation> {
    let Some(prost_types::Timestamp { seconds, nanos }) = value else { return Ok(None) };
    let micros =
        seconds.checked_mul(1_000_000).zip((0..1_000_000_000).contains(&nanos).then_some(i64::from(nanos) / 1000));
    match micros.and_then(|(seconds, micros)| seconds.checked_add(micros)).map(Time::from_micros) {
        Some(time) if time >= Time::MIN && time <= Time::MAX => Ok(Some(time)),
        _ => Err(Violation::new(field, "must be a point in time from year 1 to year 9999")),
    }
}

/// A span of time, not negative.
fn span(value: Option<prost_types::Duration>, field: &str) -> Result<Option<Duration>, Violation> {
    let Some(prost_types::Duration { seconds, nanos }) = value else { return Ok(None) };
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) if seconds <= 315_576_000_000 && nanos < 1_000_000_000 => {
            Ok(Some(Duration::new(seconds, nanos)))
        }
        _ => Err(Violation::new(field, "must be a span of time from 0 to 10,000 years")),
    }
}

/// A request id, with what a replay of the request is recognised by.
fn replay(request_id: &str, method: &'static str, message: &impl Message) -> Result<Option<Replay>, Violation> {
    if request_id.is_empty() {
        return Ok(None);
    }
    let uuid: uuid::Uuid = request_id
        .parse()
        .map_err(|_| Violation::new("request_id", "must be a UUID, such as a random one (RFC 9562, version 4)"))?;
    let body_hash: [u8; 32] = Sha256::digest(message.encode_to_vec()).into();
    Ok(Some(Replay { request_id: uuid.to_string(), method, body_hash }))
}

/// The fields that an update changes: those of the mask, all for `*`, and those that are not empty without a mask.
struct Mask {
    paths: BTreeSet<String>,
    is_absent: bool,
}

impl Mask {
    fn parse(
        mask: Option<prost_types::FieldMask>,
        mutable: &[&str],
        others: &[&str],
        violations: &mut Violations,
    ) -> Self {
        let is_absent = mask.as_ref().is_none_or(|mask| mask.paths.is_empty());
        let mut paths = BTreeSet::new();
        for path in mask.into_iter().flat_map(|mask| mask.paths) {
            if path == "*" {
                paths.extend(mutable.iter().map(|path| (*path).to_owned()));
            } else if mutable.contains(&path.as_str()) {
                paths.insert(path);
            } else if others.contains(&path.as_str()) {
                violations.add(
                    "update_mask",
                    format!("names {path:?}, which cannot be changed; changeable are {}", mutable.join(", ")),
                );
            } else {
                violations.add(
                    "update_mask",
                    format!("names {path:?}, which is no field; changeable are {}", mutable.join(", ")),
                );
            }
        }
        Self { paths, is_absent }
    }

    /// Whether `path`, whose new value is or is not empty, is to be changed.
    fn has(&self, path: &str, is_empty: bool) -> bool {
        if self.is_absent { !is_empty } else { self.paths.contains(path) }
    }
}

fn timestamp(time: Time) -> prost_types::Timestamp {
    let micros = time.micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000)).unwrap_or_default().saturating_mul(1000);
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// A point in time that may be absent.
pub(super) fn maybe_timestamp(time: Option<Time>) -> Option<prost_types::Timestamp> {
    time.map(timestamp)
}

const fn field(name: &'static str, kind: FieldKind) -> FilterField {
    FilterField { name, kind }
}

#[cfg(test)]
mod fuzz;
