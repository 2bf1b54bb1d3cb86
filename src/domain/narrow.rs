//! Which changes take something away: those after which some Check could turn from ALLOWED to DENIED. They wait until every
//! replica has them, or can answer no longer.
//!
//! A decision is a list of conditions that must all hold, each about a few things, and no condition gets worse by a change
//! that is not narrower in itself, whatever the other things are. So a mutation takes something away only if one of its
//! changes does, looked at alone. In doubt a change does.
//!
//! What is new takes nothing away: nobody could use it, or do anything to it. (Before there was a key, an administrator is
//! told to hold `delete` on its name; if it turns out to be an owner's, no longer. Nobody had anything to lose.) A revoked
//! JWT is new only as a row.
//!
//! What is taken away by the clock, at a time far ahead, is known everywhere by then: a secret that retires after an
//! overlap waits for nobody. A shorter life does, though the same could be said of it: it is meant as a refusal.

use super::application::Application;
use super::change::{Change, Root};
use super::clock::Time;
use super::grant::{Grant, compile};
use super::key::{Key, Retirement, Secret};
use super::permission::Grants;
use super::signing::SigningKey;
use super::tenant::{Standing, Tenant};
use super::token::{AccessToken, Session, TokenFormat, Wanted};
use super::user::{Role, User};
use std::time::Duration;

/// The time of a mutation, by the clock of whoever carries it out.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When it is.
    pub now: Time,
    /// After how long it is in force everywhere, waited for or not; with a margin, for clocks differ.
    pub bound: Duration,
}

impl Window {
    /// Whether that is over on every clock.
    fn is_over(&self, retirement: Retirement) -> bool {
        retirement.is_over || retirement.time.after(self.bound) <= self.now
    }

    /// Whether that may come before everybody knows of it.
    fn is_near(&self, retirement: Retirement) -> bool {
        retirement.is_over || retirement.time <= self.now.after(self.bound)
    }
}

/// Whether some Check could be ALLOWED before the change and DENIED after it, at the same time; `before` is the thing as
/// it was, if that is known.
///
/// Imported credentials count as well: they do not say which revision brought them, so that a replica which does not have
/// them cannot know that it should wait for them.
pub fn may_narrow(before: Option<&Change>, after: &Change, window: Window) -> bool {
    match before {
        None => !after.is_new() || new_may_narrow(after),
        Some(before) => before.identity() != after.identity() || has_narrowed(before, after, window),
    }
}

/// No wildcard: a new kind of change stops the build here.
fn new_may_narrow(after: &Change) -> bool {
    match after {
        Change::Key(key) => key.secrets.iter().any(is_imported),
        Change::Token(token) => token.revoke_time.is_some() || token.format == TokenFormat::Jwt,
        Change::Root(_)
        | Change::Tenant(_)
        | Change::User(_)
        | Change::Application(_)
        | Change::Session(_)
        | Change::SigningKey(_) => false,
    }
}

fn has_narrowed(before: &Change, after: &Change, window: Window) -> bool {
    match (before, after) {
        (Change::Root(before), Change::Root(after)) => root_has(before, after, window),
        (Change::Tenant(before), Change::Tenant(after)) => tenant_has(before, after),
        (Change::User(before), Change::User(after)) => user_has(before, after),
        (Change::Key(before), Change::Key(after)) => key_has(before, after, window),
        (Change::Application(before), Change::Application(after)) => application_has(before, after, window),
        (Change::Token(before), Change::Token(after)) => token_has(before, after),
        (Change::Session(before), Change::Session(after)) => session_has(before, after),
        (Change::SigningKey(before), Change::SigningKey(after)) => signing_key_has(before, after),
        (
            Change::Root(_)
            | Change::Tenant(_)
            | Change::User(_)
            | Change::Key(_)
            | Change::Application(_)
            | Change::Token(_)
            | Change::Session(_)
            | Change::SigningKey(_),
            _,
        ) => true,
    }
}

fn root_has(before: &Root, after: &Root, window: Window) -> bool {
    let Root { secrets, revision: _ } = after;
    secrets_have(&before.secrets, secrets, window)
}

fn tenant_has(before: &Tenant, after: &Tenant) -> bool {
    let Tenant {
        id: _,
        uid: _,
        display_name: _,
        credential_prefix: _,
        is_suspended: _,
        create_time: _,
        update_time: _,
        delete_time: _,
        revision: _,
    } = after;
    standing_has(before.standing(), after.standing())
}

fn user_has(before: &User, after: &User) -> bool {
    let User {
        tenant: _,
        id: _,
        uid: _,
        email: _,
        given_name: _,
        family_name: _,
        role,
        is_suspended: _,
        sessions_end_revision,
        create_time: _,
        update_time: _,
        delete_time: _,
        revision: _,
    } = after;
    // An owner's things are beyond the reach of admins.
    let has_become_owner = *role == Role::Owner && before.role != Role::Owner;
    *role < before.role
        || has_become_owner
        || *sessions_end_revision > before.sessions_end_revision
        || standing_has(before.standing(), after.standing())
}

fn key_has(before: &Key, after: &Key, window: Window) -> bool {
    let Key {
        tenant: _,
        id: _,
        uid: _,
        kind,
        owner,
        display_name: _,
        description: _,
        grants,
        allowed_ips,
        allowed_referrers,
        labels: _,
        not_before_time,
        expire_time,
        is_suspended,
        revocation,
        delete_time,
        secrets,
        secret_key,
        public_credential: _,
        tokens_end_revision,
        create_time: _,
        update_time: _,
        revision: _,
    } = after;
    *kind != before.kind
        || *owner != before.owner
        || grants_have(&before.grants, grants)
        || !allowed_ips.covers(&before.allowed_ips)
        || !allowed_referrers.covers(&before.allowed_referrers)
        // None is from the beginning.
        || *not_before_time > before.not_before_time
        || is_sooner(before.expire_time, *expire_time)
        || (*is_suspended && !before.is_suspended)
        || (revocation.is_some() && before.revocation.is_none())
        || (delete_time.is_some() && before.delete_time.is_none())
        || secrets_have(&before.secrets, secrets, window)
        || (secret_key.is_some() && *secret_key != before.secret_key)
        || *tokens_end_revision > before.tokens_end_revision
}

fn application_has(before: &Application, after: &Application, window: Window) -> bool {
    let Application {
        tenant: _,
        id: _,
        uid: _,
        owner,
        display_name: _,
        description: _,
        contact_email: _,
        grants,
        secrets,
        is_verified,
        verification: _,
        revoke_time,
        tokens_end_revision,
        create_time: _,
        update_time: _,
        delete_time,
        revision: _,
    } = after;
    *owner != before.owner
        || grants_have(&before.grants, grants)
        || secrets_have(&before.secrets, secrets, window)
        || (before.is_verified && !is_verified)
        || (revoke_time.is_some() && before.revoke_time.is_none())
        || *tokens_end_revision > before.tokens_end_revision
        || (delete_time.is_some() && before.delete_time.is_none())
}

fn token_has(before: &AccessToken, after: &AccessToken) -> bool {
    let AccessToken {
        tenant: _,
        id: _,
        uid: _,
        parent,
        secret_version,
        based_revision,
        permissions,
        audience,
        format: _,
        digest,
        credential_id: _,
        create_time: _,
        update_time: _,
        expire_time,
        revoke_time,
        revision: _,
    } = after;
    let is_for_fewer = !audience.is_empty()
        && (before.audience.is_empty() || !before.audience.iter().all(|one| audience.contains(one)));
    *parent != before.parent
        || *secret_version != before.secret_version
        || *based_revision < before.based_revision
        || wanted_has(before.permissions.as_deref(), permissions.as_deref())
        || is_for_fewer
        || *digest != before.digest
        || *expire_time < before.expire_time
        || (revoke_time.is_some() && before.revoke_time.is_none())
}

fn session_has(before: &Session, after: &Session) -> bool {
    let Session {
        tenant: _,
        id: _,
        uid: _,
        user,
        digest,
        credential_id: _,
        based_revision,
        create_time: _,
        update_time: _,
        expire_time,
        revoke_time,
        revision: _,
    } = after;
    *user != before.user
        || *digest != before.digest
        || *based_revision < before.based_revision
        || *expire_time < before.expire_time
        || (revoke_time.is_some() && before.revoke_time.is_none())
}

fn signing_key_has(before: &SigningKey, after: &SigningKey) -> bool {
    let SigningKey { kid: _, public_key, create_time: _, sign_time: _, retire_time, is_compromised, revision: _ } =
        after;
    // However far ahead it is: from when it is known on, nothing is accepted that lives too long.
    *public_key != before.public_key
        || is_sooner(before.retire_time, *retire_time)
        || (*is_compromised && !before.is_compromised)
}

/// Also from one refusal to another: somebody who is answered that it is deleted must not depend on whether its suspension
/// is in force everywhere yet.
fn standing_has(before: Standing, after: Standing) -> bool {
    before != after && after != Standing::Active
}

fn grants_have(before: &[Grant], after: &[Grant]) -> bool {
    before != after && !compile(after).covers(&compile(before))
}

fn wanted_has(before: Option<&[Wanted]>, after: Option<&[Wanted]>) -> bool {
    let all = |wanted: Option<&[Wanted]>| wanted.map_or_else(Grants::everything, super::token::compile);
    before != after && after.is_some() && !all(after).covers(&all(before))
}

/// Whether it ends earlier; without a time it does not end.
fn is_sooner(before: Option<Time>, after: Option<Time>) -> bool {
    after.is_some_and(|after| before.is_none_or(|before| after < before))
}

fn secrets_have(before: &[Secret], after: &[Secret], window: Window) -> bool {
    let is_lost = |old: &Secret| match after.iter().find(|new| new.digest == old.digest) {
        None => true,
        Some(new) => {
            let Secret { digest: _, id: _, hint: _, revision, create_time: _, retirement } = new;
            // Tokens name the secret by its revision.
            *revision != old.revision || retirement_has(old.retirement, *retirement, window)
        }
    };
    let has_been_over = |old: &Secret| old.retirement.is_some_and(|retirement| window.is_over(retirement));
    let is_new = |new: &Secret| before.iter().all(|old| old.digest != new.digest);
    before.iter().any(|old| !has_been_over(old) && is_lost(old))
        || after.iter().any(|new| is_new(new) && is_imported(new))
}

fn retirement_has(before: Option<Retirement>, after: Option<Retirement>, window: Window) -> bool {
    let Some(after) = after else { return false };
    let is_sooner = after.is_over || is_sooner(before.map(|before| before.time), Some(after.time));
    is_sooner && window.is_near(after)
}

/// Whether it came from elsewhere: its text does not name the revision that brought it.
fn is_imported(secret: &Secret) -> bool {
    secret.id.as_ref().is_none_or(|id| id.revision() != secret.revision)
}
