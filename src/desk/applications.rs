//! Commands on applications.

mod verification;

use super::page::Part;
use super::{ApplicationName, Call, Changed, Desk, Edit};
use crate::check::Caller;
use crate::domain::actor::Holdings;
use crate::domain::application::Application;
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::credential::{Credential, CredentialId};
use crate::domain::filter::{FieldValue, Filter};
use crate::domain::grant::Grant;
use crate::domain::key::MAX_SECRETS;
use crate::domain::name::{ApplicationId, Collection, Path, TenantId, UserId, user_name};
use crate::domain::policy::{Demand, whose_user};
use crate::domain::tenant::Standing;
use crate::domain::user::User;
use crate::error::{Error, Result};
use crate::store::{Page, Replay};
use serde_json::json;
use std::time::Duration;
use verification::{ask_for_verification, contact};
pub use verification::{refused_token, resend, verify};

/// What `CreateApplication` asks for.
#[derive(Clone, Debug)]
pub struct NewApplication {
    /// The tenant.
    pub tenant: TenantId,
    /// The owner, if the parent names one.
    pub owner: Option<UserId>,
    /// The id wanted; made if `None`.
    pub id: Option<ApplicationId>,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// Where the token is mailed; the owner's email if empty.
    pub contact_email: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// How to recognise the same request.
    pub replay: Option<Replay>,
}

/// What `UpdateApplication` asks for: `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct ApplicationPatch {
    /// For people.
    pub display_name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Where tokens are mailed; the owner's email if empty.
    pub contact_email: Option<String>,
    /// What it may do.
    pub grants: Option<Vec<Grant>>,
}

/// An application with a secret that is shown once; `None` where it was shown before.
#[derive(Debug)]
pub struct Equipped {
    /// The application.
    pub application: Application,
    /// The text.
    pub secret: Option<Credential>,
    /// The revision that made it.
    pub revision: i64,
}

/// Makes an application, unverified, and mails a token to its contact.
pub async fn create(desk: Desk, caller: Caller, call: Call, new: NewApplication) -> Result<Changed<Application>> {
    let edit = desk.edit(&caller, call).await?;
    // A replay is answered whatever has become of the parent since.
    if let Some((subject, revision)) = edit.replayed(new.replay.as_ref()).await? {
        let seen = replayed(edit, &subject).await?;
        return Ok(Changed { thing: seen, revision });
    }
    let tenant = edit.live_tenant(&new.tenant).await?;
    let owner = owner_of_new(&edit, &new).await?;
    let whose = Some(whose_user(&owner));
    edit.demand(&Demand { collection: Collection::Applications, id: "*", action: "create", whose })?;
    let now = edit.now();
    let uid = super::new_uid(now);
    let mut application = Application {
        tenant: tenant.id.clone(),
        id: new.id.unwrap_or_else(|| ApplicationId::of_uid(uid)),
        uid,
        owner: owner.id.clone(),
        display_name: new.display_name,
        description: new.description,
        contact_email: contact(new.contact_email, &owner)?,
        grants: new.grants,
        secrets: Vec::new(),
        is_verified: false,
        verification: None,
        revoke_time: None,
        tokens_end_revision: 0,
        create_time: now,
        update_time: now,
        delete_time: None,
        revision: 0,
    };
    edit.confer_application(&application).await?;
    if edit.draft.application(&application.tenant, &application.id).await?.is_some() {
        return Err(Error::AlreadyExists { field: "application_id", value: application.id.to_string() });
    }
    ask_for_verification(&edit, &mut application).await?;
    let detail = json!({ "after": describe(&application) });
    commit(edit, "application.create", application, detail, new.replay).await
}

/// Whose a new application is: the user that the parent names; for a tenant the one behind the caller, and for root the
/// tenant's owner.
async fn owner_of_new(edit: &Edit<'_>, new: &NewApplication) -> Result<User> {
    let owner = match (&new.owner, edit.actor.owner()) {
        (Some(named), _) => edit.draft.user(&new.tenant, named).await?,
        (None, Some(own)) => edit.draft.owner_user(&new.tenant, Some(&own)).await?,
        (None, None) => {
            let owner = edit.draft.tenant_owner(&new.tenant).await?;
            Some(owner.ok_or_else(|| Error::precondition(new.tenant.name(), "has no owner left"))?)
        }
    };
    let missing = || match &new.owner {
        Some(named) => Error::not_found(user_name(&new.tenant, named)),
        None => Error::not_found(new.tenant.name()),
    };
    let owner = owner.ok_or_else(missing)?;
    if owner.standing() == Standing::Deleted {
        return Err(Error::precondition(owner.name(), "is deleted"));
    }
    Ok(owner)
}

/// The application of a request that was carried out before.
async fn replayed(edit: Edit<'_>, subject: &str) -> Result<Application> {
    let path = Path::find(subject);
    let place = path.and_then(|path| Some((TenantId::find(path.tenant)?, ApplicationId::find(path.child?.1)?)));
    let (tenant, id) = place.ok_or_else(|| Error::internal("a replay's subject is no application"))?;
    let application = edit.draft.application(&tenant, &id).await?.ok_or_else(|| Error::not_found(subject))?;
    Ok(edit.nothing(application).await?.thing)
}

/// One application.
pub async fn get(desk: &Desk, name: &ApplicationName, etag: &str) -> Result<Application> {
    let found = desk.store.application(&name.tenant, &name.id).await?;
    let application = found.ok_or_else(|| Error::not_found(name))?;
    super::check_etag(etag, application.uid, application.revision, &application.name())?;
    Ok(application)
}

/// A page of applications of a tenant, or of one user in it.
pub async fn list(
    desk: &Desk,
    tenant: &TenantId,
    owner: Option<&UserId>,
    filter: &Filter,
    show_deleted: bool,
    part: &Part,
) -> Result<Page<Application>> {
    if desk.store.tenant(tenant).await?.is_none() {
        return Err(Error::not_found(tenant.name()));
    }
    if let Some(owner) = owner
        && desk.store.user(tenant, owner).await?.is_none()
    {
        return Err(Error::not_found(user_name(tenant, owner)));
    }
    let is_wanted = |application: &Application| is_wanted(filter, application);
    desk.store.applications(tenant, owner, &part.after, show_deleted, part.size, is_wanted).await
}

fn is_wanted(filter: &Filter, application: &Application) -> bool {
    let owner = user_name(&application.tenant, &application.owner);
    let time = |time: Option<Time>| time.map(|time| FieldValue::Time(time.micros()));
    let word = |is_so: bool| Some(FieldValue::Text(if is_so { "true" } else { "false" }));
    filter.matches(|field| match field {
        "display_name" => Some(FieldValue::Text(&application.display_name)),
        "owner" => Some(FieldValue::Text(&owner)),
        "is_verified" => word(application.is_verified),
        "is_revoked" => word(application.revoke_time.is_some()),
        "create_time" => time(Some(application.create_time)),
        "update_time" => time(Some(application.update_time)),
        "delete_time" => time(application.delete_time),
        _ => None,
    })
}

/// Changes an application. Another contact has to verify it anew.
pub async fn update(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: ApplicationName,
    patch: ApplicationPatch,
    etag: String,
) -> Result<Changed<Application>> {
    let edit = desk.edit(&caller, call).await?;
    let before = edit.application(&name, "update", &etag).await?;
    refuse_deleted(&before)?;
    let ApplicationPatch { display_name, description, contact_email, grants } = patch;
    if contact_email.is_some() || grants.is_some() {
        edit.draft.promise();
    }
    let mut after = before.clone();
    after.display_name = display_name.unwrap_or(after.display_name);
    after.description = description.unwrap_or(after.description);
    after.grants = grants.unwrap_or(after.grants);
    if let Some(given) = contact_email {
        let owner = edit.draft.user(&after.tenant, &after.owner).await?;
        let owner = owner.ok_or_else(|| Error::internal("an application's owner is not there"))?;
        after.contact_email = contact(given, &owner)?;
    }
    // Whoever names the contact decides who gets the secret.
    edit.confer_application(&after).await?;
    if after == before {
        return edit.nothing(after).await;
    }
    if after.contact_email != before.contact_email {
        ask_for_verification(&edit, &mut after).await?;
    }
    let detail = json!({ "before": describe(&before), "after": describe(&after) });
    commit(edit, "application.update", after, detail, None).await
}

/// Gives an application a new secret; the old ones end after `overlap`.
pub async fn rotate(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: ApplicationName,
    overlap: Duration,
    etag: String,
    replay: Option<Replay>,
) -> Result<Equipped> {
    let edit = desk.edit(&caller, call).await?;
    // The etag comes after the replay: the first attempt has changed it.
    let mut application = edit.application(&name, "rotate", "").await?;
    if let Some((subject, revision)) = edit.replayed(replay.as_ref()).await? {
        let application = replayed(edit, &subject).await?;
        return Ok(Equipped { application, secret: None, revision });
    }
    super::check_etag(&etag, application.uid, application.revision, &application.name())?;
    refuse_deleted(&application)?;
    refuse_revoked(&application)?;
    if !application.is_verified {
        return Err(Error::precondition(&name, "is not verified, and has no secret before that"));
    }
    let now = edit.now();
    if application.live_secret_count(now) >= MAX_SECRETS && !overlap.is_zero() {
        let limit = format!("{MAX_SECRETS} secrets of one application that work at once; rotate without overlap");
        return Err(Error::Exhausted { limit, retry_after: None });
    }
    edit.confer_application(&application).await?;
    let tenant = edit.live_tenant(&application.tenant).await?;
    let before = describe(&application);
    let (text, secret) = edit.draft.mint(&tenant.credential_prefix);
    application.rotate(secret, now.after(overlap), now);
    let detail = json!({
        "before": before,
        "after": describe(&application),
        "overlap_seconds": overlap.as_secs_f64(),
    });
    let changed = commit(edit, "application.rotate_secret", application, detail, replay).await?;
    Ok(Equipped { application: changed.thing, secret: Some(text), revision: changed.revision })
}

/// Refuses an application and its keys until it is activated; its tokens die for good.
pub async fn revoke(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: ApplicationName,
    etag: String,
) -> Result<Changed<Application>> {
    let edit = desk.edit(&caller, call).await?;
    let mut application = edit.application(&name, "revoke", &etag).await?;
    refuse_deleted(&application)?;
    if application.revoke_time.is_some() {
        return edit.nothing(application).await;
    }
    let before = describe(&application);
    application.revoke(edit.now(), edit.draft.revision());
    let detail = json!({ "before": before, "after": describe(&application) });
    commit(edit, "application.revoke", application, detail, None).await
}

/// Lets a revoked application work again.
pub async fn activate(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: ApplicationName,
    etag: String,
) -> Result<Changed<Application>> {
    let edit = desk.edit(&caller, call).await?;
    let mut application = edit.application(&name, "activate", &etag).await?;
    refuse_deleted(&application)?;
    edit.confer_application(&application).await?;
    let before = describe(&application);
    if application.revoke_time.take().is_none() {
        return edit.nothing(application).await;
    }
    let detail = json!({ "before": before, "after": describe(&application) });
    commit(edit, "application.activate", application, detail, None).await
}

/// Deletes an application, and with it everything it owns.
pub async fn delete(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: ApplicationName,
    etag: String,
) -> Result<Changed<Application>> {
    let edit = desk.edit(&caller, call).await?;
    let mut application = edit.application(&name, "delete", &etag).await?;
    if application.delete_time.is_some() {
        return edit.nothing(application).await;
    }
    let before = describe(&application);
    application.delete_time = Some(edit.now());
    application.tokens_end_revision = edit.draft.revision();
    edit.draft.drop_mail(&application.name()).await?;
    let detail = json!({ "before": before, "after": describe(&application) });
    commit(edit, "application.delete", application, detail, None).await
}

fn refuse_deleted(application: &Application) -> Result<()> {
    match application.delete_time {
        Some(_) => Err(Error::precondition(application.name(), "is deleted")),
        None => Ok(()),
    }
}

fn refuse_revoked(application: &Application) -> Result<()> {
    match application.revoke_time {
        Some(_) => Err(Error::precondition(application.name(), "is revoked; activate it first")),
        None => Ok(()),
    }
}

async fn commit(
    edit: Edit<'_>,
    kind: &'static str,
    mut application: Application,
    detail: serde_json::Value,
    replay: Option<Replay>,
) -> Result<Changed<Application>> {
    application.update_time = edit.now();
    let (tenant, subject) = (application.tenant.clone(), application.name());
    let changes = vec![Change::Application(Box::new(application.clone()))];
    let revision = edit.commit(kind, Some(&tenant), subject, changes, detail, replay).await?;
    application.revision = revision;
    Ok(Changed { thing: application, revision })
}

/// An application as events tell of it: everything but secrets, tokens and digests.
fn describe(application: &Application) -> serde_json::Value {
    json!({
        "owner": user_name(&application.tenant, &application.owner),
        "display_name": application.display_name,
        "description": application.description,
        "contact_email": application.contact_email,
        "grants": application.grants,
        "credential_ids": application.secrets.iter().filter_map(|secret| secret.id.as_ref()).map(CredentialId::as_str).collect::<Vec<_>>(),
        "is_verified": application.is_verified,
        "is_revoked": application.revoke_time.is_some(),
        "is_deleted": application.delete_time.is_some(),
    })
}

impl Edit<'_> {
    /// Refuses the caller unless it holds everything that `application` will hold.
    async fn confer_application(&self, application: &Application) -> Result<()> {
        self.confer(&application.tenant, &application.grants, &Holdings::of_application(application)).await
    }

    /// The application of that name, if the caller may do `action` to it and it is as `etag` says.
    async fn application(&self, name: &ApplicationName, action: &str, etag: &str) -> Result<Application> {
        let application = self.draft.application(&name.tenant, &name.id).await?;
        let whose = match &application {
            Some(application) => self.draft.user(&name.tenant, &application.owner).await?.as_ref().map(whose_user),
            None => None,
        };
        let demand = Demand { collection: Collection::Applications, id: name.id.as_str(), action, whose };
        if application.is_some() || !self.actor.is_member() {
            self.demand(&demand)?;
        }
        let application = application.ok_or_else(|| Error::not_found(name))?;
        super::check_etag(etag, application.uid, application.revision, &application.name())?;
        Ok(application)
    }
}
