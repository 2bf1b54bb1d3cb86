//! How an application is verified: by a token that was mailed to its contact.

use super::{Equipped, commit, describe, refuse_deleted, refuse_revoked};
use crate::check::Caller;
use crate::desk::{ApplicationName, Call, Changed, Desk, Edit, check_etag};
use crate::domain::application::{Application, VERIFICATION_LIFE, Verification};
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::credential::{Digest, mint_secret_key};
use crate::domain::mail::{Mail, parse_address, wait_after};
use crate::domain::name::user_name;
use crate::domain::tenant::Standing;
use crate::domain::user::User;
use crate::error::{Error, Result};
use crate::store::{Entry, Wants};
use serde_json::json;

/// One text for an application that is not there and for a token that is wrong, replaced, or past its 24 hours.
pub fn refused_token() -> Error {
    let reason = "there is no such application, or the verification token is another or has expired";
    Error::Unauthenticated { reason: reason.to_owned() }
}

/// Where tokens are mailed: as given, else to the owner.
pub(super) fn contact(given: String, owner: &User) -> Result<String> {
    const FIELD: &str = "application.contact_email";
    const RULE: &str = "must be given, since the owner has no email to which the verification token could be mailed";
    if given.is_empty() {
        parse_address(&owner.email, FIELD).map_err(|_| Error::invalid(FIELD, RULE))
    } else {
        Ok(given)
    }
}

/// Gives an application a new token, which voids the one before, and mails it once this is committed. Refused, to root too,
/// where it would be one mail too many: nobody is to mail strangers without end through us.
pub(super) async fn ask_for_verification(edit: &Edit<'_>, application: &mut Application) -> Result<()> {
    if let Some(wait) = application.last_mail_time().and_then(|last| wait_after(last, edit.now())) {
        let limit = "one mail a minute about an application".to_owned();
        return Err(Error::Exhausted { limit, retry_after: Some(wait) });
    }
    edit.draft.count_mail(&application.tenant, &application.contact_email).await?;
    let token = mint_secret_key(&mut rand::rng());
    let expire_time = edit.now().after(VERIFICATION_LIFE);
    application.is_verified = false;
    application.verification = Some(Verification { digest: token.digest(), expire_time });
    let mail = Mail::verification(&application.name(), &application.contact_email, token.expose(), expire_time);
    edit.draft.queue_mail(&mail).await
}

/// Verifies an application by its mailed token, which is the proof: whoever shows it gets the secret, once.
pub async fn verify(desk: Desk, call: Call, name: ApplicationName, token: Digest, etag: String) -> Result<Equipped> {
    // Looked up first, without the lock: who only guesses keeps nobody from writing.
    let found = desk.store.application(&name.tenant, &name.id).await?;
    found.filter(|found| is_token_of(found, &token, desk.clock.now())).ok_or_else(refused_token)?;
    // INVARIANT (decided under the lock): the token is read again, as every caller's proof is.
    let draft = desk.begin(Wants::default(), call.deadline).await?;
    let now = draft.now();
    let found = draft.application(&name.tenant, &name.id).await?;
    let mut application = found.filter(|found| is_token_of(found, &token, now)).ok_or_else(refused_token)?;
    // From here on it is the contact who asks, and may know.
    refuse_deleted(&application)?;
    refuse_revoked(&application)?;
    if application.is_verified {
        return Err(Error::precondition(&name, "is verified already; rotate its secret to get another"));
    }
    check_etag(&etag, application.uid, application.revision, &application.name())?;
    let tenant = draft.tenant(&name.tenant).await?.filter(|tenant| tenant.standing() == Standing::Active);
    let tenant = tenant.ok_or_else(|| Error::precondition(name.tenant.name(), "is suspended or deleted"))?;
    let owner = draft.user(&name.tenant, &application.owner).await?;
    if owner.is_none_or(|owner| owner.standing() != Standing::Active) {
        return Err(Error::precondition(user_name(&name.tenant, &application.owner), "is suspended or deleted"));
    }
    let before = describe(&application);
    let (text, secret) = draft.mint(&tenant.credential_prefix);
    application.rotate(secret, now, now);
    application.is_verified = true;
    application.update_time = now;
    draft.drop_mail(&application.name()).await?;
    let entry = Entry {
        kind: "application.verify",
        tenant: Some(application.tenant.clone()),
        actor: application.name(),
        credential_id: String::new(),
        subject: application.name(),
        detail: call.noted(json!({ "before": before, "after": describe(&application) })),
        request_id: call.request_id,
        source_ip: call.source_ip,
    };
    let changes = vec![Change::Application(Box::new(application.clone()))];
    let revision = desk.commit(draft, changes, entry, None, call.deadline).await?;
    Ok(Equipped { application: Application { revision, ..application }, secret: Some(text), revision })
}

/// Whether the last mailed token is this one, and not too old. A used one still is: its holder is told that it was used.
fn is_token_of(application: &Application, token: &Digest, now: Time) -> bool {
    application.verification.as_ref().is_some_and(|asked| asked.digest.matches(token) && now < asked.expire_time)
}

/// Mails a new token; the one before is void.
pub async fn resend(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: ApplicationName,
    etag: String,
) -> Result<Changed<Application>> {
    let edit = desk.edit(&caller, call).await?;
    let mut application = edit.application(&name, "resend", &etag).await?;
    refuse_deleted(&application)?;
    refuse_revoked(&application)?;
    if application.is_verified {
        return Err(Error::precondition(&name, "is verified already"));
    }
    ask_for_verification(&edit, &mut application).await?;
    let detail = json!({ "contact_email": application.contact_email });
    commit(edit, "application.resend_verification", application, detail, None).await
}
