//! THE HOT ROOM: whether a credential may do something, from memory. Nothing here awaits, fails or touches the disk.
//! [`Index::check`] answers everyone's question, [`Index::admit`] the same one about a caller of Keyward itself, and
//! [`Caller`] can be had from nowhere else.

mod index;
mod jwt;
mod uses;

use crate::domain::actor::Actor;
use crate::domain::clock::Time;
use crate::domain::credential::{Digest, MAX_CREDENTIAL_BYTES, Shape, parse};
use crate::domain::decision::{Decision, Query, Reason, evaluate};
use crate::domain::jwt::looks_like_jwt;
use crate::domain::token::Proof;
use crate::error::{Error, Result};
use index::{Entry, Reached};
pub use index::{Index, Principal};
pub use jwt::VerifiedJwt;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Keyward cannot decide: its memory is not, or no longer, known to be the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotDecide;

impl From<CannotDecide> for Error {
    fn from(_: CannotDecide) -> Self {
        Self::unavailable("this replica does not know whether its data is current")
    }
}

/// An answer, whom it is about, and the revision it was decided at.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The decision.
    pub decision: Decision,
    /// Whose credential it was, if it was recognised.
    pub principal: Option<Principal>,
    /// The revision of everything the decision rests on.
    pub revision: i64,
}

/// Somebody who showed a good credential to Keyward itself. Only [`Index::admit`] makes one.
#[derive(Clone)]
pub struct Caller {
    actor: Actor,
    proof: Proof,
    credential_id: String,
    secret_key: Zeroizing<String>,
    source_ip: String,
    referrer: String,
    audience: Vec<String>,
}

impl fmt::Debug for Caller {
    /// Without the second secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("name", &self.actor.name()).finish_non_exhaustive()
    }
}

impl Caller {
    /// Who it is, and what it may do.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// What was shown, to be read again under the head lock.
    pub fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The `{id}` of the credential, for events.
    pub fn credential_id(&self) -> &str {
        &self.credential_id
    }

    /// The question this caller was admitted by, to be asked again.
    pub fn query(&self) -> Query<'_> {
        Query {
            secret_key: &self.secret_key,
            source_ip: &self.source_ip,
            referrer: &self.referrer,
            audience: &self.audience,
            ..Query::default()
        }
    }
}

impl Index {
    /// Decides about `credential`, from one consistent view, and counts that as a Check of its key.
    pub fn check(&self, credential: &str, query: &Query<'_>, now: Time) -> Result<Answer, CannotDecide> {
        let answer = self.ask(credential, query, now)?;
        self.count(&answer, now);
        Ok(answer)
    }

    /// Counts an answer of [`Index::ask`] as a Check, if a key was shown: allowed, which is a use of the key, or denied
    /// for whatever reason. What was not recognised is nobody's.
    pub fn count(&self, answer: &Answer, now: Time) {
        if let Some(principal) = &answer.principal {
            self.count_check(principal, answer.decision.is_allowed(), now);
        }
    }

    /// Decides about `credential` that is shown to Keyward itself: no Check, but a use if it is allowed.
    pub fn accept(&self, credential: &str, query: &Query<'_>, now: Time) -> Result<Answer, CannotDecide> {
        let answer = self.ask(credential, query, now)?;
        if answer.decision.is_allowed()
            && let Some(principal) = &answer.principal
        {
            self.note_use(principal, now);
        }
        Ok(answer)
    }

    /// Decides about `credential` without that being a use of it.
    pub fn ask(&self, credential: &str, query: &Query<'_>, now: Time) -> Result<Answer, CannotDecide> {
        match self.recognise(credential, now) {
            Ok(shown) => self.decide(&shown, || self.unknown(credential), query, now),
            Err(reason) => self.deny(reason),
        }
    }

    /// Whether this text says that it was made at a revision that has not been applied here: if it is true, it was made
    /// on another replica a moment ago, and is waited for.
    pub fn may_come(&self, credential: &str) -> bool {
        self.is_later(credential, self.applied())
    }

    /// Whether this text says that it was made, or rests on something, later than at this revision.
    pub fn is_later(&self, credential: &str, revision: i64) -> bool {
        if credential.len() > MAX_CREDENTIAL_BYTES {
            return false;
        }
        let made = match parse(credential) {
            Shape::Ours { revision, .. } => Some(revision),
            Shape::Foreign if looks_like_jwt(credential) => jwt::unverified_revision(credential),
            Shape::Foreign | Shape::Broken { .. } => None,
        };
        made.is_some_and(|made| made > revision)
    }

    /// Whether the credential of that digest is good, whatever it may do; not, if that cannot be told.
    pub fn is_in_force(&self, digest: &Digest, now: Time) -> bool {
        self.decide(&Shown::Digest(*digest), || Reason::NotFound, &Query::default(), now)
            .is_ok_and(|answer| answer.decision.is_allowed())
    }

    /// Admits the holder of `credential` as a caller, or says why not.
    pub fn admit(&self, credential: &str, query: &Query<'_>, now: Time) -> Result<Caller> {
        let query = Query { permissions: &[], tenant: None, ..*query };
        let (answer, shown) = match self.recognise(credential, now) {
            Ok(shown) => (self.decide(&shown, || self.unknown(credential), &query, now)?, Some(shown)),
            Err(reason) => (self.deny(reason)?, None),
        };
        match (&answer.principal, shown, answer.decision.is_allowed()) {
            (Some(principal), Some(shown), true) => {
                self.note_use(principal, now);
                Ok(Caller {
                    actor: principal.actor(),
                    proof: match shown {
                        Shown::Digest(digest) => Proof::Credential(digest),
                        Shown::Jwt(jwt) => jwt.proof(),
                    },
                    credential_id: match parse(credential) {
                        Shape::Ours { id, .. } => id.to_owned(),
                        Shape::Broken { .. } | Shape::Foreign => String::new(),
                    },
                    secret_key: Zeroizing::new(query.secret_key.to_owned()),
                    source_ip: query.source_ip.to_owned(),
                    referrer: query.referrer.to_owned(),
                    audience: query.audience.to_vec(),
                })
            }
            _ => {
                let names: Vec<&str> = answer.decision.reasons().iter().map(Reason::as_str).collect();
                Err(Error::Unauthenticated { reason: names.join(", ") })
            }
        }
    }

    fn deny(&self, reason: Reason) -> Result<Answer, CannotDecide> {
        let revision = self.applied();
        if !self.is_serving() {
            return Err(CannotDecide);
        }
        Ok(Answer { decision: Decision::denied(reason), principal: None, revision })
    }

    /// What to look up; or, before anything is looked up, why there is no need to.
    fn recognise(&self, credential: &str, now: Time) -> Result<Shown, Reason> {
        if credential.is_empty() {
            return Err(Reason::Missing);
        }
        if credential.len() > MAX_CREDENTIAL_BYTES {
            return Err(Reason::Malformed);
        }
        Ok(match self.jwt(credential, now) {
            Some(jwt) => Shown::Jwt(jwt),
            None => Shown::Digest(Digest::of(credential.as_bytes())),
        })
    }

    /// Why a text that leads nowhere does not. What does lead somewhere need not be looked at: it may be of any form.
    fn unknown(&self, credential: &str) -> Reason {
        match parse(credential) {
            Shape::Broken { prefix } if self.is_known_prefix(prefix) => Reason::Malformed,
            Shape::Foreign if looks_like_jwt(credential) => Reason::TokenSignatureInvalid,
            Shape::Ours { .. } | Shape::Broken { .. } | Shape::Foreign => Reason::NotFound,
        }
    }

    fn decide(
        &self,
        shown: &Shown,
        unknown: impl Fn() -> Reason,
        query: &Query<'_>,
        now: Time,
    ) -> Result<Answer, CannotDecide> {
        self.view(|revision| {
            let (reached, is_signed) = match shown {
                Shown::Digest(digest) => (self.credential(digest).and_then(|entry| entry.reach(digest, self)), false),
                Shown::Jwt(jwt) if self.accepts_signer(jwt, now) => (self.reach_jwt(jwt), true),
                // Compromised since its signature was looked at.
                Shown::Jwt(_) => (None, false),
            };
            let decided = reached.map(|reached| (evaluate(reached.found(), query, now, &self.directory()), reached));
            match decided {
                Some((decision, reached)) if decision.is_recognised() => {
                    Answer { decision, principal: Some(Principal(reached)), revision }
                }
                // Another tenant's is told from an unknown one by nothing.
                Some(_) | None => {
                    let reason = if is_signed { Reason::NotFound } else { unknown() };
                    Answer { decision: Decision::denied(reason), principal: None, revision }
                }
            }
        })
    }

    /// Follows a verified JWT; one that was revoked is known by its id.
    fn reach_jwt(&self, jwt: &VerifiedJwt) -> Option<Reached> {
        let token = match self.thing(&jwt.place) {
            Some(Entry::Token(revoked)) => revoked,
            Some(Entry::Root { .. } | Entry::Holder(_)) | None => Arc::clone(&jwt.entry),
        };
        token.reach(self)
    }
}

/// A credential that may be one of ours.
#[derive(Debug)]
enum Shown {
    Digest(Digest),
    Jwt(Arc<VerifiedJwt>),
}

#[cfg(test)]
pub(crate) mod tests;
