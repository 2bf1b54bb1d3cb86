//! Resource names (AIP-122): `tenants/{tenant}` and what is below it.

use crate::error::Violation;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The rule an id follows that a user chooses.
pub const ID_RULE: &str =
    "must be 1 to 63 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen";

fn is_id(text: &str, first_may_be_digit: bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    bytes.len() <= 63
        && (first.is_ascii_lowercase() || (first_may_be_digit && first.is_ascii_digit()))
        && *last != b'-'
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// An id as it stands in a resource name: one that a user chose or that was made from a UUID.
            pub fn find(text: &str) -> Option<Self> {
                is_id(text, true).then(|| Self(text.into()))
            }

            /// An id that a user wants for a new thing; `field` is where it stands in the request.
            pub fn parse(text: &str, field: &str) -> Result<Self, Violation> {
                if is_id(text, false) { Ok(Self(text.into())) } else { Err(Violation::new(field, ID_RULE)) }
            }

            /// The id of a thing for which the user chose none: its UUID.
            pub fn of_uid(uid: Uuid) -> Self {
                Self(uid.to_string().into())
            }

            /// The bare id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<Id<'_>> for $name {
            /// The same with a text of its own.
            fn from(id: Id<'_>) -> Self {
                Self(id.to_string().into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// The `{tenant}` of `tenants/{tenant}`.
    TenantId
    /// The `{user}` of `tenants/{tenant}/users/{user}`.
    UserId
    /// The `{key}` of `tenants/{tenant}/keys/{key}`.
    KeyId
    /// The `{application}` of `tenants/{tenant}/applications/{application}`.
    ApplicationId
    /// The `{token}` of `tenants/{tenant}/tokens/{token}`; of a JWT the `jti`.
    TokenId
    /// The `{session}` of `tenants/{tenant}/sessions/{session}`.
    SessionId
}

impl TenantId {
    /// `tenants/{tenant}`.
    pub fn name(&self) -> String {
        ["tenants/", &self.0].concat()
    }

    /// `tenants/{tenant}/{collection}/{id}`.
    pub fn name_below(&self, collection: Collection, id: &str) -> String {
        ["tenants/", &self.0, "/", collection.as_str(), "/", id].concat()
    }
}

/// Any bare id, in the form in which it takes the least room where there are many.
///
/// INVARIANT: [`Id::of`] gives each text one form, so that equal ids are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Id<'a> {
    /// The text of a UUID.
    Uid(Uuid),
    /// A text of at most 16 bytes, filled up with zeros.
    Short([u8; 16]),
    /// Any other.
    Long(&'a str),
}

impl<'a> Id<'a> {
    /// The id of that text.
    pub fn of(text: &'a str) -> Self {
        let mut short = [0; 16];
        if let Some(room) = short.get_mut(..text.len()).filter(|_| !text.contains('\0')) {
            room.copy_from_slice(text.as_bytes());
            return Self::Short(short);
        }
        match Uuid::try_parse(text) {
            Ok(uid) if *uid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *text => Self::Uid(uid),
            Ok(_) | Err(_) => Self::Long(text),
        }
    }
}

impl Id<'_> {
    /// The text, put together in `room` where it is kept in another form.
    pub fn text<'b>(&'b self, room: &'b mut [u8; Hyphenated::LENGTH]) -> &'b str {
        match self {
            Self::Uid(uid) => uid.hyphenated().encode_lower(room),
            Self::Short(bytes) => {
                let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                std::str::from_utf8(text).unwrap_or_default()
            }
            Self::Long(text) => text,
        }
    }
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; Hyphenated::LENGTH]))
    }
}

/// Who owns a key: a user or an application of the same tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// A user.
    User(UserId),
    /// An application.
    Application(ApplicationId),
}

impl Owner {
    /// The full resource name, within `tenant`.
    pub fn name(&self, tenant: &TenantId) -> String {
        match self {
            Self::User(user) => user_name(tenant, user),
            Self::Application(application) => application_name(tenant, application),
        }
    }

    /// The user, if it is one.
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::Application(_) => None,
        }
    }
}

/// `tenants/{tenant}/users/{user}`.
pub fn user_name(tenant: &TenantId, user: &UserId) -> String {
    tenant.name_below(Collection::Users, user.as_str())
}

/// `tenants/{tenant}/keys/{key}`.
pub fn key_name(tenant: &TenantId, key: &KeyId) -> String {
    tenant.name_below(Collection::Keys, key.as_str())
}

/// `tenants/{tenant}/applications/{application}`.
pub fn application_name(tenant: &TenantId, application: &ApplicationId) -> String {
    tenant.name_below(Collection::Applications, application.as_str())
}

/// `tenants/{tenant}/tokens/{token}`.
pub fn token_name(tenant: &TenantId, token: &TokenId) -> String {
    tenant.name_below(Collection::Tokens, token.as_str())
}

/// `tenants/{tenant}/sessions/{session}`.
pub fn session_name(tenant: &TenantId, session: &SessionId) -> String {
    tenant.name_below(Collection::Sessions, session.as_str())
}

/// The collections of the contract, as they stand in names and in `keyward/…` permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// `tenants`.
    Tenants,
    /// `users`.
    Users,
    /// `keys`.
    Keys,
    /// `applications`.
    Applications,
    /// `tokens`.
    Tokens,
    /// `sessions`.
    Sessions,
    /// `events`.
    Events,
}

impl Collection {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Users => "users",
            Self::Keys => "keys",
            Self::Applications => "applications",
            Self::Tokens => "tokens",
            Self::Sessions => "sessions",
            Self::Events => "events",
        }
    }

    /// The collection of that word.
    pub fn find(word: &str) -> Option<Self> {
        [Self::Tenants, Self::Users, Self::Keys, Self::Applications, Self::Tokens, Self::Sessions, Self::Events]
            .into_iter()
            .find(|collection| collection.as_str() == word)
    }
}

/// A resource name taken apart, its ids not yet looked at: `tenants/{tenant}` or `tenants/{tenant}/{collection}/{id}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// What stands for `{tenant}`, perhaps `-`.
    pub tenant: &'a str,
    /// What follows it.
    pub child: Option<(Collection, &'a str)>,
}

impl<'a> Path<'a> {
    /// Takes a name apart; `None` if it has another shape.
    pub fn find(name: &'a str) -> Option<Self> {
        let mut segments = name.split('/');
        let (Some("tenants"), Some(tenant)) = (segments.next(), segments.next()) else {
            return None;
        };
        let child = match (segments.next(), segments.next()) {
            (None, _) => None,
            (Some(collection), Some(id)) if !id.is_empty() => Some((Collection::find(collection)?, id)),
            _ => return None,
        };
        (segments.next().is_none() && !tenant.is_empty()).then_some(Self { tenant, child })
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_apart_or_refused_whole() {
        #[track_caller]
        fn check(name: &str, expected: Option<(&str, Option<(Collection, &str)>)>) {
            let found = Path::find(name).map(|path| (path.tenant, path.child));
            assert_eq!(found, expected, "{name:?}");
        }
        check("tenants/acme", Some(("acme", None)));
        check("tenants/-", Some(("-", None)));
        check("tenants/acme/keys/ci", Some(("acme", Some((Collection::Keys, "ci")))));
        check("tenants/acme/keys/!!", Some(("acme", Some((Collection::Keys, "!!")))));
        for bad in [
            "",
            "tenants",
            "tenants/",
            "/tenants/a",
            "tenants/a/",
            "tenants/a/keys",
            "tenants/a/keys/",
            "tenants/a/doors/b",
            "tenants/a/keys/b/",
            "tenants/a/keys/b/c",
            "users/a",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn an_id_in_few_bytes_is_the_same_id() {
        let uid = "0199c0de-0000-7000-8000-000000000000";
        let texts = ["a", "sixteen-bytes-ab", "seventeen-bytes-a", uid, &uid.replace('-', "a"), &"a".repeat(63)];
        for text in texts {
            assert_eq!(KeyId::from(Id::of(text)).as_str(), text);
            for other in texts {
                assert_eq!(Id::of(text) == Id::of(other), text == other, "{text:?} and {other:?}");
            }
        }
        assert!(matches!(Id::of(uid), Id::Uid(_)));
    }

    #[test]
    fn an_id_that_a_user_chooses_begins_with_a_letter() {
        assert!(KeyId::parse("ci-2", "key_id").is_ok());
        for bad in ["", "2ci", "-ci", "ci-", "Ci", "c_i", "c.i", "ü", &"a".repeat(64)] {
            assert!(KeyId::parse(bad, "key_id").is_err(), "{bad:?}");
        }
        assert!(KeyId::find("0199c0de-0000-7000-8000-000000000000").is_some());
    }
}
