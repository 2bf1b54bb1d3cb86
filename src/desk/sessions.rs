//! Signing in, and who is signed in.

use super::page::Part;
use super::sign_ins::Account;
use super::tokens::describe_session;
use super::{Call, Desk, detached, new_uid};
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::credential::Credential;
use crate::domain::filter::{FieldValue, Filter};
use crate::domain::name::{SessionId, TenantId, UserId, user_name};
use crate::domain::password::Password;
use crate::domain::tenant::Standing;
use crate::domain::token::{SESSION_LIFE, Session};
use crate::domain::user::User;
use crate::error::{Error, Result};
use crate::store::{Entry, Page, Wants};
use serde_json::json;

/// One text for no such user, for several, for one without a password, and for a wrong password.
const REFUSED: &str =
    "no user has this email and this password, or users of several tenants have this email: name the tenant";

/// What `CreateSession` asks for.
#[derive(Debug)]
pub struct SignIn {
    /// The email in its canonical form.
    pub email: String,
    /// The password.
    pub password: Password,
    /// The id of the tenant, if one is named; there may be none of it.
    pub tenant: Option<String>,
}

/// A new session; the text is shown once.
#[derive(Debug)]
pub struct SignedIn {
    /// The session.
    pub session: Session,
    /// Its text.
    pub text: Credential,
    /// The revision that made it.
    pub revision: i64,
}

/// What a password was right for, to be read again under the head lock.
struct Proven {
    email: String,
    tenant: Option<String>,
    user: UserId,
    user_tenant: TenantId,
    password_revision: i64,
}

/// Signs a user in. Whoever the email belongs to, or nobody, one password is checked, so that how long it takes tells
/// nothing; and whoever goes away before that stops waiting for it.
pub async fn create(desk: Desk, call: Call, sign_in: SignIn) -> Result<SignedIn> {
    let SignIn { email, password, tenant } = sign_in;
    let account = Account::Email { email: &email, tenant: tenant.as_deref() };
    let attempt = desk.sign_ins.attempt(account, &call.source_ip)?;
    let compared = compare(&desk, &email, tenant.as_deref(), password).await;
    let found = compared.inspect_err(|_| desk.sign_ins.abandoned(&attempt))?;
    attempt.judge()?;
    let Some((user, password_revision)) = found else { return Err(refused()) };
    desk.sign_ins.succeeded(&attempt);
    let proven = Proven { email, tenant, user: user.id, user_tenant: user.tenant, password_revision };
    detached(open(desk, call, proven)).await
}

/// The user whose email and password these are, and the revision that set the password.
async fn compare(desk: &Desk, email: &str, tenant: Option<&str>, password: Password) -> Result<Option<(User, i64)>> {
    let (user, stored) = desk.store.sign_in_candidate(email, tenant).await?.unzip();
    let (hash, revision) = stored.flatten().map(|stored| (stored.hash, stored.revision)).unzip();
    let is_right = desk.passwords.verify(password, hash).await?;
    Ok(user.zip(revision).filter(|_| is_right))
}

fn refused() -> Error {
    Error::Unauthenticated { reason: REFUSED.to_owned() }
}

async fn open(desk: Desk, call: Call, proven: Proven) -> Result<SignedIn> {
    let draft = desk.begin(Wants::default(), call.deadline).await?;
    // INVARIANT (decided under the lock): it is still this one user's email, and still this password.
    let found = draft.sign_in_candidate(&proven.email, proven.tenant.as_deref()).await?;
    let (user, stored) = found.ok_or_else(refused)?;
    let is_same = user.tenant == proven.user_tenant && user.id == proven.user;
    if !is_same || stored.map(|stored| stored.revision) != Some(proven.password_revision) {
        return Err(refused());
    }
    let tenant = draft.tenant(&user.tenant).await?.ok_or_else(refused)?;
    for (standing, name) in [(tenant.standing(), tenant.id.name()), (user.standing(), user.name())] {
        match standing {
            Standing::Active => {}
            Standing::Suspended => return Err(Error::precondition(name, "is suspended")),
            Standing::Deleted => return Err(refused()),
        }
    }
    let now = draft.now();
    let (text, secret) = draft.mint(&tenant.credential_prefix);
    let uid = new_uid(now);
    let session = Session {
        tenant: tenant.id,
        id: SessionId::of_uid(uid),
        uid,
        user: user.id.clone(),
        digest: secret.digest,
        credential_id: secret.id.ok_or_else(|| Error::internal("a credential of ours has no id"))?,
        based_revision: draft.revision(),
        create_time: now,
        update_time: now,
        expire_time: now.after(SESSION_LIFE),
        revoke_time: None,
        revision: 0,
    };
    let entry = Entry {
        kind: "session.create",
        tenant: Some(session.tenant.clone()),
        actor: user.name(),
        credential_id: String::new(),
        subject: session.name(),
        detail: call.noted(json!({ "after": describe_session(&session) })),
        request_id: call.request_id,
        source_ip: call.source_ip,
    };
    let changes = vec![Change::Session(Box::new(session.clone()))];
    let revision = desk.commit(draft, changes, entry, None, call.deadline).await?;
    Ok(SignedIn { session: Session { revision, ..session }, text, revision })
}

/// A page of the sessions in force of a tenant, or of one user in it, oldest first.
pub async fn list(
    desk: &Desk,
    tenant: &TenantId,
    user: Option<&UserId>,
    filter: &Filter,
    part: &Part,
) -> Result<Page<Session>> {
    let is_there = match user {
        Some(user) => desk.store.user(tenant, user).await?.is_some(),
        None => desk.store.tenant(tenant).await?.is_some(),
    };
    if !is_there {
        let name = user.map_or_else(|| tenant.name(), |user| user_name(tenant, user));
        return Err(Error::not_found(name));
    }
    let now = desk.clock.now();
    if !desk.index.is_serving() {
        return Err(crate::check::CannotDecide.into());
    }
    let is_wanted = |session: &Session| {
        let time = |time: Time| Some(FieldValue::Time(time.micros()));
        let user = user_name(&session.tenant, &session.user);
        let is_shown = filter.matches(|field| match field {
            "user" => Some(FieldValue::Text(&user)),
            "create_time" => time(session.create_time),
            "expire_time" => time(session.expire_time),
            _ => None,
        });
        is_shown && desk.index.is_in_force(&session.digest, now)
    };
    desk.store.sessions(tenant, user, &part.after, part.size, is_wanted).await
}
