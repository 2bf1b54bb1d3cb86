//! Keys.

use super::{MAX_NAME, MAX_VIOLATIONS, Mask, Violations, field, maybe_timestamp, replay, span, text, time, timestamp};
use crate::desk::keys::{KeyParent, KeyPatch, NewKey};
use crate::domain::clock::Time;
use crate::domain::etag::etag;
use crate::domain::filter::{FieldKind, FilterField};
use crate::domain::grant::{self, Grant, SchemaGrant, TableGrant};
use crate::domain::key::{Key, KeyState, KeyType, RevocationReason};
use crate::domain::name::KeyId;
use crate::domain::network::IpRanges;
use crate::domain::referrer::Referrers;
use crate::error::{Error, Result, Violation};
use crate::proto::v1 as proto;
use crate::store::Replay;
use std::collections::BTreeMap;
use std::time::Duration;

/// `description`, in characters.
pub(super) const MAX_DESCRIPTION: usize = 4096;
const MAX_LABELS: usize = 64;
/// All grants of one key, in bytes of their stored form.
const MAX_GRANT_BYTES: usize = 64 * 1024;

fn labels(labels: BTreeMap<String, String>, field: &str) -> Result<BTreeMap<String, String>, Violation> {
    let is_name = |name: &str| {
        (1..=63).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
    };
    let is_value = |value: &str| value.chars().count() <= MAX_NAME && !value.chars().any(char::is_control);
    if labels.len() <= MAX_LABELS && labels.iter().all(|(name, value)| is_name(name) && is_value(value)) {
        return Ok(labels);
    }
    let rule = format!(
        "must be at most {MAX_LABELS} labels; a name is 1 to 63 letters, digits, '-', '_', '.' and '/', a value at most {MAX_NAME} characters without control characters"
    );
    Err(Violation::new(field, rule))
}

pub(super) fn grants(grants: Vec<proto::Grant>, field: &str) -> Result<Vec<Grant>, Vec<Violation>> {
    let too_large = || vec![Violation::new(field, format!("must be at most {MAX_GRANT_BYTES} bytes in all"))];
    if grants.len() > MAX_GRANT_BYTES {
        return Err(too_large());
    }
    let mut violations = Vec::new();
    let mut found = Vec::with_capacity(grants.len());
    for (place, proto::Grant { kind }) in grants.into_iter().enumerate() {
        match kind {
            Some(kind) => found.push(grant(kind)),
            None if violations.len() >= MAX_VIOLATIONS => {}
            None => violations.push(Violation::new(
                format!("{field}[{place}]"),
                "must be one of apis, database, dataservices and resources",
            )),
        }
    }
    if violations.is_empty() {
        violations = grant::validate(&found, field);
    }
    let stored_bytes = serde_json::to_string(&found).map_or(usize::MAX, |text| text.len());
    if violations.is_empty() && stored_bytes > MAX_GRANT_BYTES {
        violations = too_large();
    }
    if violations.is_empty() { Ok(found) } else { Err(violations) }
}

fn grant(kind: proto::grant::Kind) -> Grant {
    use proto::grant::Kind;
    match kind {
        Kind::Apis(proto::ApisGrant { names }) => Grant::Apis(names),
        Kind::Dataservices(proto::DataservicesGrant { names }) => Grant::Dataservices(names),
        Kind::Resources(proto::ResourcesGrant { resource, actions }) => Grant::Resources { resource, actions },
        Kind::Database(proto::DatabaseGrant { tables, schemas }) => Grant::Database {
            tables: tables
                .into_iter()
                .map(|proto::TableGrant { schema, name, permissions }| TableGrant { schema, name, permissions })
                .collect(),
            schemas: schemas
                .into_iter()
                .map(|proto::SchemaGrant { name, permissions }| SchemaGrant { name, permissions })
                .collect(),
        },
    }
}

pub(super) fn grant_out(grant: &Grant) -> proto::Grant {
    use proto::grant::Kind;
    let kind = match grant.clone() {
        Grant::Apis(names) => Kind::Apis(proto::ApisGrant { names }),
        Grant::Dataservices(names) => Kind::Dataservices(proto::DataservicesGrant { names }),
        Grant::Resources { resource, actions } => Kind::Resources(proto::ResourcesGrant { resource, actions }),
        Grant::Database { tables, schemas } => Kind::Database(proto::DatabaseGrant {
            tables: tables
                .into_iter()
                .map(|TableGrant { schema, name, permissions }| proto::TableGrant { schema, name, permissions })
                .collect(),
            schemas: schemas
                .into_iter()
                .map(|SchemaGrant { name, permissions }| proto::SchemaGrant { name, permissions })
                .collect(),
        }),
    };
    proto::Grant { kind: Some(kind) }
}

/// What `CreateKey` asks for.
pub(in crate::grpc) fn new_key(parent: KeyParent, message: proto::CreateKeyRequest, now: Time) -> Result<NewKey> {
    let mut violations = Violations::default();
    let replay = violations.take(replay(&message.request_id, "CreateKey", &message));
    let proto::CreateKeyRequest { parent: _, key, key_id, ttl, request_id: _ } = message;
    let proto::Key {
        display_name,
        description,
        r#type,
        owner,
        grants: wanted_grants,
        expire_time,
        not_before_time,
        allowed_ips,
        allowed_referrers,
        labels: wanted_labels,
        // Output only, ignored on the way in (AIP-203).
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        etag: _,
        delete_time: _,
        state: _,
        last_auth_time: _,
        obfuscated_credential: _,
        public_credential: _,
        has_secret_key: _,
        revoke_time: _,
        revocation_reason: _,
        overlap_end_time: _,
    } = key.unwrap_or_default();
    match proto::KeyType::try_from(r#type) {
        Ok(proto::KeyType::Unspecified | proto::KeyType::Regular) => {}
        Ok(proto::KeyType::Master | proto::KeyType::DefaultPublic) => {
            violations.add("key.type", "must be KEY_TYPE_REGULAR: the others are made with their user or tenant");
        }
        Err(_) => violations.add("key.type", "must be a KeyType of the contract"),
    }
    if !owner.is_empty() {
        violations.add("key.owner", "is output only; name the owner in parent");
    }
    let id = if key_id.is_empty() { None } else { violations.take(KeyId::parse(&key_id, "key_id").map(Some)) };
    let ttl = violations.take(span(ttl, "ttl"));
    let mut expire_time = violations.take(time(expire_time, "key.expire_time"));
    match (ttl, expire_time) {
        (Some(_), Some(_)) => violations.add("ttl", "must not be given together with key.expire_time"),
        (Some(Duration::ZERO), None) => violations.add("ttl", "must be above zero"),
        (Some(ttl), None) => expire_time = Some(now.after(ttl)),
        (None, Some(wanted)) if wanted <= now => violations.add("key.expire_time", "must be in the future"),
        (None, _) => {}
    }
    let not_before_time = violations.take(time(not_before_time, "key.not_before_time"));
    if let (Some(begin), Some(end)) = (not_before_time, expire_time)
        && begin >= end
    {
        violations.add("key.not_before_time", "must be before the key expires");
    }
    let new = NewKey {
        parent,
        id,
        display_name: violations.take(text(display_name, "key.display_name", MAX_NAME, false)),
        description: violations.take(text(description, "key.description", MAX_DESCRIPTION, true)),
        grants: violations.take_all(grants(wanted_grants, "key.grants")),
        allowed_ips: violations.take_all(IpRanges::parse(&allowed_ips, "key.allowed_ips")),
        allowed_referrers: violations.take_all(Referrers::parse(&allowed_referrers, "key.allowed_referrers")),
        labels: violations.take(labels(wanted_labels, "key.labels")),
        not_before_time,
        expire_time,
        replay,
    };
    violations.finish()?;
    Ok(new)
}

const KEY_MUTABLE: &[&str] = &[
    "display_name",
    "description",
    "grants",
    "expire_time",
    "not_before_time",
    "allowed_ips",
    "allowed_referrers",
    "labels",
];
const KEY_FIXED: &[&str] = &[
    "name",
    "uid",
    "create_time",
    "update_time",
    "etag",
    "delete_time",
    "type",
    "owner",
    "state",
    "last_auth_time",
    "obfuscated_credential",
    "public_credential",
    "has_secret_key",
    "revoke_time",
    "revocation_reason",
    "overlap_end_time",
];

/// What `UpdateKey` asks for, with the etag.
pub(in crate::grpc) fn key_patch(
    key: proto::Key,
    mask: Option<prost_types::FieldMask>,
    now: Time,
) -> Result<(KeyPatch, String)> {
    let mut violations = Violations::default();
    let mask = Mask::parse(mask, KEY_MUTABLE, KEY_FIXED, &mut violations);
    let proto::Key {
        display_name,
        description,
        grants: wanted_grants,
        expire_time,
        not_before_time,
        allowed_ips,
        allowed_referrers,
        labels: wanted_labels,
        etag,
        // Not changed here, and ignored as AIP-203 asks.
        r#type: _,
        owner: _,
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        delete_time: _,
        state: _,
        last_auth_time: _,
        obfuscated_credential: _,
        public_credential: _,
        has_secret_key: _,
        revoke_time: _,
        revocation_reason: _,
        overlap_end_time: _,
    } = key;
    let mut patch = KeyPatch::default();
    if mask.has("display_name", display_name.is_empty()) {
        patch.display_name = Some(violations.take(text(display_name, "key.display_name", MAX_NAME, false)));
    }
    if mask.has("description", description.is_empty()) {
        patch.description = Some(violations.take(text(description, "key.description", MAX_DESCRIPTION, true)));
    }
    if mask.has("grants", wanted_grants.is_empty()) {
        patch.grants = Some(violations.take_all(grants(wanted_grants, "key.grants")));
    }
    if mask.has("expire_time", expire_time.is_none()) {
        let wanted = violations.take(time(expire_time, "key.expire_time"));
        if wanted.is_some_and(|wanted| wanted <= now) {
            violations.add("key.expire_time", "must be in the future");
        }
        patch.expire_time = Some(wanted);
    }
    if mask.has("not_before_time", not_before_time.is_none()) {
        patch.not_before_time = Some(violations.take(time(not_before_time, "key.not_before_time")));
    }
    if mask.has("allowed_ips", allowed_ips.is_empty()) {
        patch.allowed_ips = Some(violations.take_all(IpRanges::parse(&allowed_ips, "key.allowed_ips")));
    }
    if mask.has("allowed_referrers", allowed_referrers.is_empty()) {
        let parsed = Referrers::parse(&allowed_referrers, "key.allowed_referrers");
        patch.allowed_referrers = Some(violations.take_all(parsed));
    }
    if mask.has("labels", wanted_labels.is_empty()) {
        patch.labels = Some(violations.take(labels(wanted_labels, "key.labels")));
    }
    violations.finish()?;
    Ok((patch, etag))
}

/// How `RotateKey` is to be carried out: the overlap, and how to recognise the same request.
pub(in crate::grpc) fn rotation(message: &proto::RotateKeyRequest) -> Result<(Duration, Option<Replay>)> {
    let mut violations = Violations::default();
    let replay = violations.take(replay(&message.request_id, "RotateKey", message));
    let overlap = violations.take(span(message.overlap, "overlap")).unwrap_or_default();
    violations.finish()?;
    Ok((overlap, replay))
}

/// How to recognise a `RotateMasterKey`.
pub(in crate::grpc) fn master_rotation(message: &proto::RotateMasterKeyRequest) -> Result<Option<Replay>> {
    Ok(replay(&message.request_id, "RotateMasterKey", message)?)
}

/// The reason for a revocation.
pub(in crate::grpc) fn revocation_reason(reason: i32) -> Result<RevocationReason> {
    match proto::RevocationReason::try_from(reason) {
        Ok(proto::RevocationReason::Unspecified) => Ok(RevocationReason::Unspecified),
        Ok(proto::RevocationReason::KeyCompromise) => Ok(RevocationReason::KeyCompromise),
        Ok(proto::RevocationReason::Superseded) => Ok(RevocationReason::Superseded),
        Ok(proto::RevocationReason::PrivilegeWithdrawn) => Ok(RevocationReason::PrivilegeWithdrawn),
        Ok(proto::RevocationReason::Cessation) => Ok(RevocationReason::Cessation),
        Err(_) => Err(Error::invalid("reason", "must be a RevocationReason of the contract")),
    }
}

fn revocation_reason_out(reason: RevocationReason) -> proto::RevocationReason {
    match reason {
        RevocationReason::Unspecified => proto::RevocationReason::Unspecified,
        RevocationReason::KeyCompromise => proto::RevocationReason::KeyCompromise,
        RevocationReason::Superseded => proto::RevocationReason::Superseded,
        RevocationReason::PrivilegeWithdrawn => proto::RevocationReason::PrivilegeWithdrawn,
        RevocationReason::Cessation => proto::RevocationReason::Cessation,
    }
}

/// The word for a kind of key.
pub(in crate::grpc) fn key_type_out(kind: KeyType) -> proto::KeyType {
    match kind {
        KeyType::Master => proto::KeyType::Master,
        KeyType::Regular => proto::KeyType::Regular,
        KeyType::DefaultPublic => proto::KeyType::DefaultPublic,
    }
}

/// A key as others see it at `now`: everything but its secrets.
pub(in crate::grpc) fn key_out(key: &Key, last_auth_time: Option<Time>, now: Time) -> proto::Key {
    let state = match key.state(now) {
        KeyState::Active => proto::KeyState::Active,
        KeyState::Suspended => proto::KeyState::Suspended,
        KeyState::Revoked => proto::KeyState::Revoked,
        KeyState::Expired => proto::KeyState::Expired,
        KeyState::Deleted => proto::KeyState::Deleted,
    };
    let reason = key
        .revocation
        .map_or(proto::RevocationReason::Unspecified, |revocation| revocation_reason_out(revocation.reason));
    proto::Key {
        name: key.name(),
        uid: key.uid.to_string(),
        create_time: Some(timestamp(key.create_time)),
        update_time: Some(timestamp(key.update_time)),
        etag: etag(key.uid, key.revision),
        delete_time: maybe_timestamp(key.delete_time),
        display_name: key.display_name.clone(),
        description: key.description.clone(),
        r#type: key_type_out(key.kind).into(),
        owner: key.owner.as_ref().map(|owner| owner.name(&key.tenant)).unwrap_or_default(),
        grants: key.grants.iter().map(grant_out).collect(),
        state: state.into(),
        expire_time: maybe_timestamp(key.expire_time),
        not_before_time: maybe_timestamp(key.not_before_time),
        last_auth_time: maybe_timestamp(last_auth_time),
        allowed_ips: key.allowed_ips.to_strings(),
        allowed_referrers: key.allowed_referrers.to_strings(),
        labels: key.labels.clone(),
        obfuscated_credential: key.obfuscated_credential().to_owned(),
        public_credential: key.public_credential.clone().unwrap_or_default(),
        has_secret_key: key.secret_key.is_some(),
        revoke_time: maybe_timestamp(key.revocation.map(|revocation| revocation.time)),
        revocation_reason: reason.into(),
        overlap_end_time: maybe_timestamp(key.overlap_end_time(now)),
    }
}

/// What `ListKeys` can be filtered by.
pub(in crate::grpc) const KEY_FILTER: &[FilterField] = &[
    field("type", FieldKind::Word(&["KEY_TYPE_MASTER", "KEY_TYPE_REGULAR", "KEY_TYPE_DEFAULT_PUBLIC"])),
    field(
        "state",
        FieldKind::Word(&[
            "KEY_STATE_ACTIVE",
            "KEY_STATE_SUSPENDED",
            "KEY_STATE_REVOKED",
            "KEY_STATE_EXPIRED",
            "KEY_STATE_DELETED",
        ]),
    ),
    field("display_name", FieldKind::Text),
    field("owner", FieldKind::Text),
    field("labels", FieldKind::Labels),
    field("create_time", FieldKind::Time),
    field("update_time", FieldKind::Time),
    field("expire_time", FieldKind::Time),
    field("not_before_time", FieldKind::Time),
    field("last_auth_time", FieldKind::Time),
    field("delete_time", FieldKind::Time),
    field("revoke_time", FieldKind::Time),
];
