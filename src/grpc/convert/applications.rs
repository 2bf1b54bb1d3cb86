//! Applications.

use super::keys::{MAX_DESCRIPTION, grant_out, grants};
use super::{MAX_NAME, Mask, Violations, field, maybe_timestamp, replay, span, text, timestamp};
use crate::desk::applications::{ApplicationPatch, NewApplication};
use crate::domain::application::Application;
use crate::domain::etag::etag;
use crate::domain::filter::{FieldKind, FilterField};
use crate::domain::mail::parse_address;
use crate::domain::name::{ApplicationId, TenantId, UserId, user_name};
use crate::error::{Result, Violation};
use crate::proto::v1 as proto;
use crate::store::Replay;
use std::time::Duration;

/// What `CreateApplication` asks for, under a parent that was looked at.
pub(in crate::grpc) fn new_application(
    (tenant, owner): (TenantId, Option<UserId>),
    message: proto::CreateApplicationRequest,
) -> Result<NewApplication> {
    let mut violations = Violations::default();
    let replay = violations.take(replay(&message.request_id, "CreateApplication", &message));
    let proto::CreateApplicationRequest { parent: _, application, request_id: _, application_id } = message;
    let proto::Application {
        display_name,
        description,
        owner: wanted_owner,
        contact_email,
        grants: wanted_grants,
        // Output only, ignored on the way in (AIP-203).
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        etag: _,
        delete_time: _,
        is_verified: _,
        is_revoked: _,
    } = application.unwrap_or_default();
    if !wanted_owner.is_empty() {
        violations.add("application.owner", "is output only; name the owner in parent");
    }
    let contact_email = violations.take(contact(&contact_email));
    let id = if application_id.is_empty() {
        None
    } else {
        violations.take(ApplicationId::parse(&application_id, "application_id").map(Some))
    };
    let new = NewApplication {
        tenant,
        owner,
        id,
        display_name: violations.take(text(display_name, "application.display_name", MAX_NAME, false)),
        description: violations.take(text(description, "application.description", MAX_DESCRIPTION, true)),
        contact_email,
        grants: violations.take_all(grants(wanted_grants, "application.grants")),
        replay,
    };
    violations.finish()?;
    Ok(new)
}

/// What `UpdateApplication` asks for, with the etag.
pub(in crate::grpc) fn application_patch(
    application: proto::Application,
    mask: Option<prost_types::FieldMask>,
) -> Result<(ApplicationPatch, String)> {
    let mut violations = Violations::default();
    let mutable = ["display_name", "description", "contact_email", "grants"];
    let fixed =
        ["name", "uid", "create_time", "update_time", "etag", "delete_time", "owner", "is_verified", "is_revoked"];
    let mask = Mask::parse(mask, &mutable, &fixed, &mut violations);
    let proto::Application {
        display_name,
        description,
        contact_email,
        grants: wanted_grants,
        etag,
        // Not changed here, and ignored as AIP-203 asks.
        owner: _,
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        delete_time: _,
        is_verified: _,
        is_revoked: _,
    } = application;
    let mut patch = ApplicationPatch::default();
    if mask.has("display_name", display_name.is_empty()) {
        patch.display_name = Some(violations.take(text(display_name, "application.display_name", MAX_NAME, false)));
    }
    if mask.has("description", description.is_empty()) {
        patch.description = Some(violations.take(text(description, "application.description", MAX_DESCRIPTION, true)));
    }
    if mask.has("contact_email", contact_email.is_empty()) {
        patch.contact_email = Some(violations.take(contact(&contact_email)));
    }
    if mask.has("grants", wanted_grants.is_empty()) {
        patch.grants = Some(violations.take_all(grants(wanted_grants, "application.grants")));
    }
    violations.finish()?;
    Ok((patch, etag))
}

/// Empty, or an address as it is mailed to.
fn contact(email: &str) -> Result<String, Violation> {
    if email.is_empty() { Ok(String::new()) } else { parse_address(email, "application.contact_email") }
}

/// How `RotateApplicationSecret` is to be carried out: the overlap, and how to recognise the same request.
pub(in crate::grpc) fn secret_rotation(
    message: &proto::RotateApplicationSecretRequest,
) -> Result<(Duration, Option<Replay>)> {
    let mut violations = Violations::default();
    let replay = violations.take(replay(&message.request_id, "RotateApplicationSecret", message));
    let overlap = violations.take(span(message.overlap, "overlap")).unwrap_or_default();
    violations.finish()?;
    Ok((overlap, replay))
}

/// An application as others see it: everything but its secrets and tokens.
pub(in crate::grpc) fn application_out(application: &Application) -> proto::Application {
    proto::Application {
        name: application.name(),
        uid: application.uid.to_string(),
        create_time: Some(timestamp(application.create_time)),
        update_time: Some(timestamp(application.update_time)),
        etag: etag(application.uid, application.revision),
        delete_time: maybe_timestamp(application.delete_time),
        display_name: application.display_name.clone(),
        description: application.description.clone(),
        owner: user_name(&application.tenant, &application.owner),
        contact_email: application.contact_email.clone(),
        grants: application.grants.iter().map(grant_out).collect(),
        is_verified: application.is_verified,
        is_revoked: application.revoke_time.is_some(),
    }
}

/// What `ListApplications` can be filtered by.
pub(in crate::grpc) const APPLICATION_FILTER: &[FilterField] = &[
    field("display_name", FieldKind::Text),
    field("owner", FieldKind::Text),
    field("is_verified", FieldKind::Word(&["true", "false"])),
    field("is_revoked", FieldKind::Word(&["true", "false"])),
    field("create_time", FieldKind::Time),
    field("update_time", FieldKind::Time),
    field("delete_time", FieldKind::Time),
];
