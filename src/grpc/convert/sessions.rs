//! Sessions.

use super::{Violations, field, timestamp};
use crate::desk::sessions::{SignIn, SignedIn};
use crate::domain::etag::etag;
use crate::domain::filter::{FieldKind, FilterField};
use crate::domain::name::{Path, user_name};
use crate::domain::password::Password;
use crate::domain::token::Session;
use crate::domain::user::canonical_email;
use crate::error::{Error, Result};
use crate::proto::v1 as proto;

/// The longest email that is looked at, in any form of it.
const MAX_EMAIL_BYTES: usize = 1024;

/// What `CreateSession` asks for. The email is brought into its one form here, before anything is counted or looked up.
pub(in crate::grpc) fn sign_in(message: proto::CreateSessionRequest) -> Result<SignIn> {
    let proto::CreateSessionRequest { email, password, tenant } = message;
    let mut violations = Violations::default();
    if email.is_empty() || email.len() > MAX_EMAIL_BYTES {
        violations.add("email", "must be the email of a user");
    }
    let password = violations.take(Password::shown(password, "password").map(Some));
    let tenant = match Path::find(&tenant) {
        _ if tenant.is_empty() => None,
        Some(Path { tenant, child: None }) if tenant != "-" => Some(tenant.to_owned()),
        _ => {
            violations.add("tenant", "must be of the form tenants/{tenant}");
            None
        }
    };
    violations.finish()?;
    let password = password.ok_or_else(|| Error::internal("a password was neither taken nor refused"))?;
    Ok(SignIn { email: canonical_email(&email), password, tenant })
}

/// A new session with its text.
pub(in crate::grpc) fn signed_in_out(signed_in: SignedIn) -> proto::CreateSessionResponse {
    let SignedIn { session, text, revision } = signed_in;
    proto::CreateSessionResponse {
        session: Some(session_out(&session)),
        session_token: text.expose().to_owned(),
        expire_time: Some(timestamp(session.expire_time)),
        revision,
    }
}

/// A session as others see it.
pub(in crate::grpc) fn session_out(session: &Session) -> proto::Session {
    proto::Session {
        name: session.name(),
        uid: session.uid.to_string(),
        create_time: Some(timestamp(session.create_time)),
        update_time: Some(timestamp(session.update_time)),
        etag: etag(session.uid, session.revision),
        expire_time: Some(timestamp(session.expire_time)),
        user: user_name(&session.tenant, &session.user),
    }
}

/// What `ListSessions` can be filtered by.
pub(in crate::grpc) const SESSION_FILTER: &[FilterField] =
    &[field("user", FieldKind::Text), field("create_time", FieldKind::Time), field("expire_time", FieldKind::Time)];
