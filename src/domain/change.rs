//! What a mutation leaves behind: the new form of each thing it touched, and one event that says who did what.
//!
//! A change carries the whole thing rather than what was done to it, so that rows, log and index cannot disagree about
//! what a verb means: a row is the last change of its thing, and the index is the fold of the log.

use super::application::Application;
use super::clock::Time;
use super::key::{Key, Secret, retire};
use super::name::TenantId;
use super::signing::SigningKey;
use super::tenant::Tenant;
use super::token::{AccessToken, Session};
use super::user::User;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How long a chain is.
const CHAIN_BYTES: usize = 32;

/// A point in the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The revision.
    pub revision: i64,
    /// The hash chain after it.
    pub chain: Vec<u8>,
}

impl fmt::Display for Head {
    /// `REVISION:CHAIN`, the chain in hexadecimal: as it is exported.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.revision)?;
        self.chain.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Head {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (revision, chain) = text.split_once(':').ok_or(())?;
        // Each revision is written in one way, without a sign or zeros before it.
        let is_plain = |number: &i64| *number >= 0 && number.to_string() == revision;
        let revision = revision.parse().ok().filter(is_plain).ok_or(())?;
        if chain.len() != 2 * CHAIN_BYTES || !chain.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(());
        }
        let byte = |place: usize| u8::from_str_radix(chain.get(place..place.saturating_add(2))?, 16).ok();
        let chain: Option<Vec<u8>> = (0..chain.len()).step_by(2).map(byte).collect();
        Ok(Self { revision, chain: chain.ok_or(())? })
    }
}

/// The credential that stands above all tenants: its secrets, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The one that counts, and some of those rotated out.
    pub secrets: Vec<Secret>,
    /// The revision that last changed it.
    pub revision: i64,
}

impl Root {
    /// The secrets of a root replaced by `secret` at `now`: the earlier ones end at once.
    pub fn rotated(mut self, secret: Secret, now: Time) -> Self {
        retire(&mut self.secrets, now, now);
        self.secrets.insert(0, secret);
        self
    }
}

/// One thing in its new form. The serialised form is stored in the change log and hashed into its chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "after", rename_all = "snake_case")]
pub enum Change {
    /// The root credential.
    Root(Root),
    /// A tenant.
    Tenant(Tenant),
    /// A user.
    User(User),
    /// A key.
    Key(Box<Key>),
    /// An application.
    Application(Box<Application>),
    /// An access token.
    Token(Box<AccessToken>),
    /// A session.
    Session(Box<Session>),
    /// A key that signs JWTs, without its private half.
    SigningKey(SigningKey),
}

impl Change {
    /// The word for the kind of thing in the change log.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Root(_) => "root",
            Self::Tenant(_) => "tenant",
            Self::User(_) => "user",
            Self::Key(_) => "key",
            Self::Application(_) => "application",
            Self::Token(_) => "token",
            Self::Session(_) => "session",
            Self::SigningKey(_) => "signing_key",
        }
    }

    /// The full name of the thing.
    pub fn entity(&self) -> String {
        match self {
            Self::Root(_) => "root".to_owned(),
            Self::Tenant(tenant) => tenant.id.name(),
            Self::User(user) => user.name(),
            Self::Key(key) => key.name(),
            Self::Application(application) => application.name(),
            Self::Token(token) => token.name(),
            Self::Session(session) => session.name(),
            Self::SigningKey(key) => key.name(),
        }
    }

    /// What tells the thing from all others, without making its name.
    pub fn identity(&self) -> (&'static str, &str, &str) {
        let (tenant, id) = match self {
            Self::Root(_) => ("", ""),
            Self::Tenant(tenant) => (tenant.id.as_str(), ""),
            Self::User(user) => (user.tenant.as_str(), user.id.as_str()),
            Self::Key(key) => (key.tenant.as_str(), key.id.as_str()),
            Self::Application(application) => (application.tenant.as_str(), application.id.as_str()),
            Self::Token(token) => (token.tenant.as_str(), token.id.as_str()),
            Self::Session(session) => (session.tenant.as_str(), session.id.as_str()),
            Self::SigningKey(key) => ("", key.kid.as_str()),
        };
        (self.kind(), tenant, id)
    }

    /// The revision that last changed it; 0 if none has held the thing before.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Root(root) => root.revision,
            Self::Tenant(tenant) => tenant.revision,
            Self::User(user) => user.revision,
            Self::Key(key) => key.revision,
            Self::Application(application) => application.revision,
            Self::Token(token) => token.revision,
            Self::Session(session) => session.revision,
            Self::SigningKey(key) => key.revision,
        }
    }

    /// Whether no revision has held the thing before.
    pub fn is_new(&self) -> bool {
        self.revision() == 0
    }

    /// Marks the thing as last changed by `revision`.
    pub fn set_revision(&mut self, revision: i64) {
        match self {
            Self::Root(root) => root.revision = revision,
            Self::Tenant(tenant) => tenant.revision = revision,
            Self::User(user) => user.revision = revision,
            Self::Key(key) => key.revision = revision,
            Self::Application(application) => application.revision = revision,
            Self::Token(token) => token.revision = revision,
            Self::Session(session) => session.revision = revision,
            Self::SigningKey(key) => key.revision = revision,
        }
    }
}

macro_rules! into_change {
    ($($thing:ty => $into:expr),* $(,)?) => {$(
        impl From<$thing> for Change {
            fn from(thing: $thing) -> Self {
                $into(thing)
            }
        }
    )*};
}

into_change! {
    Root => Self::Root,
    Tenant => Self::Tenant,
    User => Self::User,
    Key => |key| Self::Key(Box::new(key)),
    Application => |application| Self::Application(Box::new(application)),
    AccessToken => |token| Self::Token(Box::new(token)),
    Session => |session| Self::Session(Box::new(session)),
    SigningKey => Self::SigningKey,
}

/// The audit record of one mutation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The revision it belongs to.
    pub revision: i64,
    /// What was done, `noun.verb`, such as `key.revoke`.
    pub kind: String,
    /// The tenant in which it was done, if in one.
    pub tenant: Option<TenantId>,
    /// Who did it: the full name of the key used, `root`, or `possession` where the credential itself was the proof.
    pub actor: String,
    /// The `{id}` of the credential used; empty where there was none.
    pub credential_id: String,
    /// To what: the full name.
    pub subject: String,
    /// When.
    pub time: Time,
    /// The caller's request id, or one made for it.
    pub request_id: String,
    /// Where the call came from; empty if not known.
    pub source_ip: String,
    /// More about it, without secrets and digests.
    pub detail: serde_json::Value,
    /// The hash chain after it; empty before it is written.
    pub chain: Vec<u8>,
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written_and_nothing_else_is() {
        let head = Head { revision: 8132, chain: (0..32).map(|byte| byte * 8).collect() };
        let text = head.to_string();
        assert_eq!(text.parse(), Ok(head.clone()));
        assert_eq!(text.to_uppercase().parse(), Ok(head));
        let wrong = [text.replace(':', ""), text.replace("8132", "-1"), format!("{text}0"), text.replace("08", "+8")];
        for wrong in
            wrong.iter().map(String::as_str).chain(["", ":", "7:", "7:00", text.strip_suffix("f8").unwrap_or_default()])
        {
            assert_eq!(wrong.parse::<Head>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn a_revision_of_a_head_has_neither_a_sign_nor_zeros_before_it() {
        let chain = "0".repeat(64);
        assert!(format!("7:{chain}").parse::<Head>().is_ok() && format!("0:{chain}").parse::<Head>().is_ok());
        for revision in ["+7", "07", "00", "-0", " 7", "7 ", "9223372036854775808"] {
            assert_eq!(format!("{revision}:{chain}").parse::<Head>(), Err(()), "{revision}");
        }
    }
}
