//! Whom a decision is about, as a message, or as what a message is written from.

use super::key_type_out;
use crate::domain::decision::Held;
use crate::domain::facts::Kind;
use crate::domain::key::KeyType;
use crate::domain::name::{Collection, Owner, TenantId};
use crate::proto::v1 as proto;
use std::collections::BTreeMap;
use uuid::fmt::Hyphenated;

/// A name below a tenant: its collection, and its id there.
pub(crate) type Child<'a> = (Collection, &'a str);

/// A `Principal`, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) user: Option<Child<'a>>,
    pub(crate) application: Option<Child<'a>>,
    pub(crate) key: Option<Child<'a>>,
    pub(crate) key_type: Option<KeyType>,
    /// A token, or a session.
    pub(crate) token: Option<Child<'a>>,
    pub(crate) labels: &'a BTreeMap<String, String>,
}

impl<'a> Named<'a> {
    /// What is told of `held`, which has its own id in `room`.
    pub(crate) fn of(held: &'a Held<'a>, room: &'a mut [u8; Hyphenated::LENGTH]) -> Self {
        let facts = &held.facts;
        let own = Some((facts.kind.collection(), facts.id.text(room)));
        let (user, of_application) = match facts.owner {
            Some(Owner::Application(id)) => (None, Some((Collection::Applications, id.as_str()))),
            Some(Owner::User(id)) if !facts.is_application() => (Some((Collection::Users, id.as_str())), None),
            Some(Owner::User(_)) | None => (None, None),
        };
        let (key, key_type, application, session) = match facts.kind {
            Kind::Key(kind) => (own, Some(kind), of_application, None),
            Kind::Application => (None, None, own, None),
            Kind::Session => (None, None, of_application, own),
        };
        let token = held.token.map(|token| (Collection::Tokens, token.id.as_str())).or(session);
        Self { tenant: facts.tenant, user, application, key, key_type, token, labels: &facts.particulars.labels }
    }
}

/// Whom a decision is about.
pub(crate) fn principal_out(held: &Held<'_>) -> proto::Principal {
    let mut room = [0; Hyphenated::LENGTH];
    let Named { tenant, user, application, key, key_type, token, labels } = Named::of(held, &mut room);
    let name = |child: Option<Child<'_>>| child.map(|(collection, id)| tenant.name_below(collection, id));
    proto::Principal {
        tenant: tenant.name(),
        user: name(user).unwrap_or_default(),
        application: name(application).unwrap_or_default(),
        key: name(key).unwrap_or_default(),
        key_type: key_type.map(key_type_out).unwrap_or_default().into(),
        token: name(token).unwrap_or_default(),
        labels: labels.clone(),
    }
}
