//! Between messages and domain values. What comes in is taken apart field by field, so that a new field stops the build
//! here; what breaks a rule is collected, so that a client sees all of it at once.

use crate::desk::keys::{KeyParent, KeyPatch, NewKey};
use crate::desk::tenants::NewTenant;
use crate::desk::users::{NewUser, UserPatch};
use crate::domain::change::Event;
use crate::domain::clock::Time;
use crate::domain::credential::Prefix;
use crate::domain::etag::etag;
use crate::domain::filter::{FieldKind, FilterField};
use crate::domain::grant::{self, Grant, SchemaGrant, TableGrant};
use crate::domain::key::{Key, KeyState, KeyType, RevocationReason};
use crate::domain::name::{KeyId, TenantId, UserId};
use crate::domain::network::IpRanges;
use crate::domain::referrer::Referrers;
use crate::domain::tenant::{Standing, Tenant};
use crate::domain::user::{Role, User, validate_email};
use crate::error::{Error, Result, Violation};
use crate::proto::v1 as proto;
use crate::store::Replay;
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// `display_name`, `given_name` and `family_name`, in characters.
const MAX_NAME: usize = 256;
/// `description`, in characters.
const MAX_DESCRIPTION: usize = 4096;
const MAX_LABELS: usize = 64;
/// All grants of one key, in bytes of their stored form.
const MAX_GRANT_BYTES: usize = 64 * 1024;
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

fn grants(grants: Vec<proto::Grant>, field: &str) -> Result<Vec<Grant>, Vec<Violation>> {
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

fn grant_out(grant: &Grant) -> proto::Grant {
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
pub(super) fn new_key(parent: KeyParent, message: proto::CreateKeyRequest, now: Time) -> Result<NewKey> {
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
pub(super) fn key_patch(
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
pub(super) fn rotation(message: &proto::RotateKeyRequest) -> Result<(Duration, Option<Replay>)> {
    let mut violations = Violations::default();
    let replay = violations.take(replay(&message.request_id, "RotateKey", message));
    let overlap = violations.take(span(message.overlap, "overlap")).unwrap_or_default();
    violations.finish()?;
    Ok((overlap, replay))
}

/// How to recognise a `RotateMasterKey`.
pub(super) fn master_rotation(message: &proto::RotateMasterKeyRequest) -> Result<Option<Replay>> {
    Ok(replay(&message.request_id, "RotateMasterKey", message)?)
}

/// The reason for a revocation.
pub(super) fn revocation_reason(reason: i32) -> Result<RevocationReason> {
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

/// What `CreateTenant` asks for.
pub(super) fn new_tenant(message: proto::CreateTenantRequest) -> Result<NewTenant> {
    let mut violations = Violations::default();
    let replay = violations.take(replay(&message.request_id, "CreateTenant", &message));
    let proto::CreateTenantRequest { tenant_id, tenant, owner, owner_password, request_id: _ } = message;
    let proto::Tenant {
        display_name,
        credential_prefix,
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        etag: _,
        delete_time: _,
        state: _,
    } = tenant.unwrap_or_default();
    let new = NewTenant {
        id: if tenant_id.is_empty() {
            None
        } else {
            violations.take(TenantId::parse(&tenant_id, "tenant_id").map(Some))
        },
        display_name: violations.take(text(display_name, "tenant.display_name", MAX_NAME, false)),
        credential_prefix: if credential_prefix.is_empty() {
            Prefix::default()
        } else {
            violations.take(Prefix::parse(&credential_prefix, "tenant.credential_prefix"))
        },
        owner: new_user(owner.unwrap_or_default(), "owner", Role::Owner, &mut violations),
        replay,
    };
    violations.finish()?;
    refuse_password(&owner_password)?;
    Ok(new)
}

/// What `CreateUser` asks for.
pub(super) fn created_user(message: proto::CreateUserRequest) -> Result<NewUser> {
    let mut violations = Violations::default();
    let replay = violations.take(replay(&message.request_id, "CreateUser", &message));
    let proto::CreateUserRequest { parent: _, user_id, user, password, request_id: _ } = message;
    let new = new_user(user.unwrap_or_default(), "user", Role::Member, &mut violations);
    let id = if user_id.is_empty() { None } else { violations.take(UserId::parse(&user_id, "user_id").map(Some)) };
    violations.finish()?;
    refuse_password(&password)?;
    Ok(NewUser { id, replay, ..new })
}

/// A password that would be dropped in silence is refused instead.
fn refuse_password(password: &str) -> Result<()> {
    if password.is_empty() { Ok(()) } else { Err(Error::Unbuilt { method: "setting a password" }) }
}

fn new_user(user: proto::User, field: &str, default_role: Role, violations: &mut Violations) -> NewUser {
    let proto::User {
        email,
        given_name,
        family_name,
        role: wanted_role,
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        etag: _,
        delete_time: _,
        state: _,
    } = user;
    violations.take(validate_email(&email, &format!("{field}.email")));
    NewUser {
        id: None,
        email,
        given_name: violations.take(text(given_name, &format!("{field}.given_name"), MAX_NAME, false)),
        family_name: violations.take(text(family_name, &format!("{field}.family_name"), MAX_NAME, false)),
        role: violations.take(role(wanted_role, &format!("{field}.role"))).unwrap_or(default_role),
        replay: None,
    }
}

fn role(role: i32, field: &str) -> Result<Option<Role>, Violation> {
    match proto::UserRole::try_from(role) {
        Ok(proto::UserRole::Unspecified) => Ok(None),
        Ok(proto::UserRole::Owner) => Ok(Some(Role::Owner)),
        Ok(proto::UserRole::Admin) => Ok(Some(Role::Admin)),
        Ok(proto::UserRole::Member) => Ok(Some(Role::Member)),
        Err(_) => Err(Violation::new(field, "must be a UserRole of the contract")),
    }
}

/// What `UpdateUser` asks for, with the etag.
pub(super) fn user_patch(user: proto::User, mask: Option<prost_types::FieldMask>) -> Result<(UserPatch, String)> {
    let mut violations = Violations::default();
    let mutable = ["email", "given_name", "family_name", "role"];
    let fixed = ["name", "uid", "create_time", "update_time", "etag", "delete_time", "state"];
    let mask = Mask::parse(mask, &mutable, &fixed, &mut violations);
    let proto::User {
        email,
        given_name,
        family_name,
        role: wanted_role,
        etag,
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        delete_time: _,
        state: _,
    } = user;
    let mut patch = UserPatch::default();
    if mask.has("email", email.is_empty()) {
        violations.take(validate_email(&email, "user.email"));
        patch.email = Some(email);
    }
    if mask.has("given_name", given_name.is_empty()) {
        patch.given_name = Some(violations.take(text(given_name, "user.given_name", MAX_NAME, false)));
    }
    if mask.has("family_name", family_name.is_empty()) {
        patch.family_name = Some(violations.take(text(family_name, "user.family_name", MAX_NAME, false)));
    }
    if mask.has("role", wanted_role == 0) {
        patch.role = Some(violations.take(role(wanted_role, "user.role")).unwrap_or_default());
    }
    violations.finish()?;
    Ok((patch, etag))
}

/// What `UpdateTenant` asks for: the display name, if it is to change, and the etag.
pub(super) fn tenant_patch(
    tenant: proto::Tenant,
    mask: Option<prost_types::FieldMask>,
) -> Result<(Option<String>, String)> {
    let mut violations = Violations::default();
    let fixed = ["name", "uid", "create_time", "update_time", "etag", "delete_time", "credential_prefix", "state"];
    let mask = Mask::parse(mask, &["display_name"], &fixed, &mut violations);
    let proto::Tenant {
        display_name,
        etag,
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        delete_time: _,
        credential_prefix: _,
        state: _,
    } = tenant;
    let display_name = mask
        .has("display_name", display_name.is_empty())
        .then(|| violations.take(text(display_name, "tenant.display_name", MAX_NAME, false)));
    violations.finish()?;
    Ok((display_name, etag))
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

/// The word for a kind of key.
pub(super) fn key_type_out(kind: KeyType) -> proto::KeyType {
    match kind {
        KeyType::Master => proto::KeyType::Master,
        KeyType::Regular => proto::KeyType::Regular,
        KeyType::DefaultPublic => proto::KeyType::DefaultPublic,
    }
}

/// A key as others see it at `now`: everything but its secrets.
pub(super) fn key_out(key: &Key, last_auth_time: Option<Time>, now: Time) -> proto::Key {
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

/// A tenant as others see it.
pub(super) fn tenant_out(tenant: &Tenant) -> proto::Tenant {
    let state = match tenant.standing() {
        Standing::Active => proto::TenantState::Active,
        Standing::Suspended => proto::TenantState::Suspended,
        Standing::Deleted => proto::TenantState::Deleted,
    };
    proto::Tenant {
        name: tenant.id.name(),
        uid: tenant.uid.to_string(),
        create_time: Some(timestamp(tenant.create_time)),
        update_time: Some(timestamp(tenant.update_time)),
        etag: etag(tenant.uid, tenant.revision),
        delete_time: maybe_timestamp(tenant.delete_time),
        display_name: tenant.display_name.clone(),
        credential_prefix: tenant.credential_prefix.as_str().to_owned(),
        state: state.into(),
    }
}

/// A user as others see it.
pub(super) fn user_out(user: &User) -> proto::User {
    let role = match user.role {
        Role::Owner => proto::UserRole::Owner,
        Role::Admin => proto::UserRole::Admin,
        Role::Member => proto::UserRole::Member,
    };
    let state = match user.standing() {
        Standing::Active => proto::UserState::Active,
        Standing::Suspended => proto::UserState::Suspended,
        Standing::Deleted => proto::UserState::Deleted,
    };
    proto::User {
        name: user.name(),
        uid: user.uid.to_string(),
        create_time: Some(timestamp(user.create_time)),
        update_time: Some(timestamp(user.update_time)),
        etag: etag(user.uid, user.revision),
        delete_time: maybe_timestamp(user.delete_time),
        email: user.email.clone(),
        given_name: user.given_name.clone(),
        family_name: user.family_name.clone(),
        role: role.into(),
        state: state.into(),
    }
}

/// An event as others see it.
pub(super) fn event_out(event: Event) -> proto::Event {
    let Event { revision, kind, tenant: _, actor, credential_id, subject, time, request_id, source_ip, detail } = event;
    let mut detail = match json_out(detail).kind {
        Some(prost_types::value::Kind::StructValue(detail)) => detail,
        _ => prost_types::Struct::default(),
    };
    if !credential_id.is_empty() {
        detail.fields.insert("credential_id".to_owned(), json_out(serde_json::Value::String(credential_id)));
    }
    proto::Event {
        revision,
        kind,
        actor,
        subject,
        time: Some(timestamp(time)),
        request_id,
        source_ip,
        detail: Some(detail),
    }
}

fn json_out(value: serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        serde_json::Value::String(value) => Kind::StringValue(value),
        serde_json::Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.into_iter().map(json_out).collect() })
        }
        serde_json::Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields.into_iter().map(|(name, value)| (name, json_out(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

const fn field(name: &'static str, kind: FieldKind) -> FilterField {
    FilterField { name, kind }
}

/// What `ListKeys` can be filtered by.
pub(super) const KEY_FILTER: &[FilterField] = &[
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

/// What `ListTenants` can be filtered by.
pub(super) const TENANT_FILTER: &[FilterField] = &[
    field("display_name", FieldKind::Text),
    field("state", FieldKind::Word(&["TENANT_STATE_ACTIVE", "TENANT_STATE_SUSPENDED", "TENANT_STATE_DELETED"])),
    field("create_time", FieldKind::Time),
    field("update_time", FieldKind::Time),
];

/// What `ListUsers` can be filtered by.
pub(super) const USER_FILTER: &[FilterField] = &[
    field("email", FieldKind::Text),
    field("given_name", FieldKind::Text),
    field("family_name", FieldKind::Text),
    field("role", FieldKind::Word(&["USER_ROLE_OWNER", "USER_ROLE_ADMIN", "USER_ROLE_MEMBER"])),
    field("state", FieldKind::Word(&["USER_STATE_ACTIVE", "USER_STATE_SUSPENDED", "USER_STATE_DELETED"])),
    field("create_time", FieldKind::Time),
    field("update_time", FieldKind::Time),
];

/// What `ListEvents` can be filtered by.
pub(super) const EVENT_FILTER: &[FilterField] = &[
    field("kind", FieldKind::Text),
    field("actor", FieldKind::Text),
    field("subject", FieldKind::Text),
    field("request_id", FieldKind::Text),
    field("revision", FieldKind::Number),
    field("time", FieldKind::Time),
];
