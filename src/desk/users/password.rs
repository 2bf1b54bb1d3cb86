//! Setting a password, which ends the sessions of whoever has it.

use super::refuse_deleted;
use crate::check::Caller;
use crate::desk::sign_ins::Account;
use crate::desk::{Call, Changed, Desk, UserName, check_etag};
use crate::domain::actor::Holdings;
use crate::domain::change::Change;
use crate::domain::password::Password;
use crate::domain::user::User;
use crate::error::{Error, Result};
use crate::store::RowDirectory;
use serde_json::json;

/// What `SetPassword` asks for.
#[derive(Debug)]
pub struct NewPassword {
    /// From now on.
    pub password: Password,
    /// So far: asked of a user's own session, and checked wherever it is given.
    pub current: Option<Password>,
    /// The etag that the user must still have.
    pub etag: String,
}

/// Sets the password of a user.
///
/// Whoever sets it can do whatever the user can, and must hold all of that. Both hashes are computed before the head is
/// locked, but not before a first look at whether the caller may do this at all.
pub async fn set(desk: Desk, caller: Caller, call: Call, name: UserName, new: NewPassword) -> Result<Changed<User>> {
    let NewPassword { password, current, etag } = new;
    let user = desk.store.user(&name.tenant, &name.id).await?.ok_or_else(|| Error::not_found(&name))?;
    let conferred = caller.actor().may_confer(&Holdings::of_user(user.role), &RowDirectory::default());
    conferred.map_err(|missing| Error::Forbidden { missing })?;
    password.refuse_email(&user.email, "password")?;
    refuse_deleted(&user)?;
    check_etag(&etag, user.uid, user.revision, &user.name())?;
    // Whoever finds a session left open does not get the account with it.
    let actor = caller.actor();
    let is_own_session = actor.session_id().is_some() && actor.user() == Some(&user.id);
    let proven = match current {
        Some(current) => Some(prove(&desk, &user, current, &call.source_ip).await?),
        None if is_own_session => return Err(wrong()),
        None => None,
    };
    let hash = desk.passwords.hash(password).await?;

    let edit = desk.edit(&caller, call).await?;
    let before = edit.user(&name, "set", &etag).await?;
    edit.confer_user(&before)?;
    refuse_deleted(&before)?;
    if proven.is_some() {
        // INVARIANT (decided under the lock): the password that was proven is still the user's.
        let stored = edit.draft.password(&before.tenant, &before.id).await?;
        if stored.map(|stored| stored.revision) != proven {
            return Err(wrong());
        }
    }
    edit.draft.set_password(&before.tenant, &before.id, &hash).await?;
    let mut user = User { update_time: edit.now(), sessions_end_revision: edit.draft.revision(), ..before };
    let changes = vec![Change::User(user.clone())];
    user.revision = edit.commit("user.set_password", Some(&user.tenant), user.name(), changes, json!({}), None).await?;
    Ok(Changed { revision: user.revision, thing: user })
}

/// Checks the password so far: the revision that set it. Counted as signing in is, since it can be guessed here as well.
async fn prove(desk: &Desk, user: &User, current: Password, source: &str) -> Result<i64> {
    let name = user.name();
    let attempt = desk.sign_ins.attempt(Account::User(&name), source)?;
    let compared = compare(desk, user, current).await;
    let revision = compared.inspect_err(|_| desk.sign_ins.abandoned(&attempt))?;
    attempt.judge()?;
    let revision = revision.ok_or_else(wrong)?;
    desk.sign_ins.succeeded(&attempt);
    Ok(revision)
}

/// The revision that set the password, if it is this one.
async fn compare(desk: &Desk, user: &User, current: Password) -> Result<Option<i64>> {
    let stored = desk.store.password(&user.tenant, &user.id).await?;
    let (hash, revision) = stored.map(|stored| (stored.hash, stored.revision)).unzip();
    let is_right = desk.passwords.verify(current, hash).await?;
    Ok(revision.filter(|_| is_right))
}

fn wrong() -> Error {
    Error::Forbidden { missing: "the user's current password".to_owned() }
}
