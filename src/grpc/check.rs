//! `keyward.v1.CheckService`: borrows the question from the message, asks the index, writes the answer. [`service`] has the
//! methods, [`asked`] and [`told`] the messages; this file has what all doors share, Envoy's too.

mod asked;
mod bytes;
mod service;
mod told;

use super::caller::{Gate, address, deadline_of};
use super::peer::{Clients, Identity};
use super::{convert, rpcs};
use crate::check::Answer;
use crate::config::Limits;
use crate::domain::decision::{Decision, Permission, Query, Reason};
use crate::domain::name::{Path, TenantId};
use crate::error::{Error, Result};
use crate::proto::v1 as proto;
use crate::replica::Ledger;
use crate::telemetry::{Decisions, Surface};
use asked::Asked;
use http::{Extensions, HeaderMap};
pub(super) use service::Unary;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// How long a Check that asks for a newer revision waits if its call has no deadline, and at most.
const DEFAULT_WAIT: Duration = Duration::from_secs(10);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Who may ask at this listener.
#[derive(Clone, Debug)]
pub enum Door {
    /// Whoever can reach it.
    Open,
    /// Holders of a credential that holds `keyward/check` `use`, each for its own tenant.
    Bearer,
    /// Clients whose certificate is listed, each for its own tenant if it has one.
    Mtls(Clients),
}

/// Somebody who was let in.
#[derive(Debug)]
pub(super) struct Entered {
    /// The only tenant that it may ask for, if it is bound to one.
    tenant: Option<TenantId>,
}

/// The service.
#[derive(Clone, Debug)]
pub struct CheckApi {
    gate: Gate,
    ledger: Ledger,
    door: Door,
    audience: Arc<[String]>,
    limits: Limits,
    decisions: Arc<Decisions>,
}

impl CheckApi {
    /// The service behind `door`.
    pub fn new(api: &super::Api, door: Door, decisions: Arc<Decisions>) -> Self {
        let audience = Arc::clone(&api.gate.audience);
        let (gate, ledger, limits) = (api.gate.clone(), api.desk.ledger.clone(), api.limits);
        Self { gate, ledger, door, audience, limits, decisions }
    }

    /// The largest message that is read.
    pub(super) fn max_message_bytes(&self) -> usize {
        self.limits.max_message_bytes
    }

    /// Lets the asker in; a caller bound to a tenant asks for that tenant only. Who is refused is told of.
    pub(super) fn enter(&self, asker: &Asker) -> Result<Entered> {
        self.gate.refusals.told(self.let_in(asker), || asker.source_ip(), "CheckService")
    }

    fn let_in(&self, asker: &Asker) -> Result<Entered> {
        match &self.door {
            Door::Open => return Ok(Entered { tenant: None }),
            Door::Mtls(clients) => return Ok(Entered { tenant: clients.admit(asker.identity.as_ref())? }),
            Door::Bearer => {}
        }
        let caller = self.gate.admit_metadata(&asker.metadata, &asker.source_ip())?;
        let directory = self.gate.index.directory();
        if caller.actor().power().holds("keyward/check", "use", &directory) {
            Ok(Entered { tenant: caller.actor().tenant().cloned() })
        } else {
            Err(Error::Forbidden { missing: "use on keyward/check".to_owned() })
        }
    }

    /// Answers one question of somebody who was let in as `caller`, and is let in once more after a wait.
    async fn answer(
        &self,
        asker: &Asker,
        caller: &mut Entered,
        asked: &Asked<'_>,
        place: Place,
        deadline: &mut Deadline<'_>,
        surface: Surface,
    ) -> Result<Answer> {
        // Seldom given: that it is copied costs nobody else anything.
        let audience: Vec<String> =
            Some(asked.audience).filter(|one| !one.is_empty()).map(str::to_owned).into_iter().collect();
        let question = Question {
            credential: asked.credential,
            secret_key: asked.secret_key,
            tenant: asked.tenant,
            place,
            permissions: &asked.permissions,
            audience: &audience,
            source_ip: asked.source_ip,
            referrer: asked.referrer,
            min_revision: asked.min_revision,
        };
        self.decide(asker, caller, &question, deadline, surface).await
    }

    /// Decides one question, through whichever door it came, and counts the decision.
    pub(super) async fn decide(
        &self,
        asker: &Asker,
        caller: &mut Entered,
        question: &Question<'_>,
        deadline: &mut Deadline<'_>,
        surface: Surface,
    ) -> Result<Answer> {
        if question.min_revision > self.gate.index.applied() {
            self.ledger.reached(question.min_revision, deadline.at()).await?;
            *caller = self.enter(asker)?;
        }
        let index = &self.gate.index;
        let ask = |caller: &Entered, now| -> Result<Answer> {
            let query = Query {
                tenant: self.tenant(caller, question.tenant, question.place)?,
                secret_key: question.secret_key,
                permissions: question.permissions,
                source_ip: question.source_ip,
                referrer: question.referrer,
                audience: if question.audience.is_empty() { &self.audience } else { question.audience },
            };
            Ok(index.ask(question.credential, &query, now)?)
        };
        let mut now = self.gate.clock.now();
        let mut answer = ask(caller, now)?;
        if !answer.decision.is_allowed() && index.is_later(question.credential, answer.revision) {
            // Made on another replica a moment ago, perhaps: what it is now can be told once this one has caught up.
            self.ledger.caught_up(deadline.at()).await?;
            *caller = self.enter(asker)?;
            now = self.gate.clock.now();
            answer = ask(caller, now)?;
        }
        if answer.revision < question.min_revision {
            // The ledger was replaced in between by one that an operator has adopted.
            return Err(Error::unavailable("this replica has not reached min_revision"));
        }
        // Once for each answer, however often it was looked for.
        index.count(&answer, now);
        self.decisions.count(surface, &answer.decision);
        Ok(answer)
    }

    /// Counts a decision for which nothing had to be looked up.
    pub(super) fn count(&self, surface: Surface, decision: &Decision) {
        self.decisions.count(surface, decision);
    }

    /// The tenant a Check is about: the caller's own, if it has one, or the one asked for.
    fn tenant<'a>(&self, caller: &'a Entered, name: &'a str, place: Place) -> Result<Option<&'a str>> {
        let own = caller.tenant.as_ref().map(TenantId::as_str);
        if name.is_empty() {
            return Ok(own);
        }
        let Some(Path { tenant, child: None }) = Path::find(name) else {
            return Err(Error::invalid(format!("{place}tenant"), "must be of the form tenants/{tenant}"));
        };
        if tenant == "-" {
            return own.map(Some).ok_or_else(|| {
                Error::invalid(format!("{place}tenant"), "must name a tenant, since the caller has none")
            });
        }
        let may_ask = own.is_none_or(|own| own == tenant) && self.gate.index.has_tenant(tenant);
        if may_ask { Ok(Some(tenant)) } else { Err(Error::not_found(name)) }
    }
}

/// What is asked, borrowed from the message that asks it.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) credential: &'a str,
    pub(super) secret_key: &'a str,
    /// The tenant's name; empty for any.
    pub(super) tenant: &'a str,
    /// Where it stands, for a refusal of the tenant's name.
    pub(super) place: Place,
    pub(super) permissions: &'a [Permission<'a>],
    /// The listener's own if empty.
    pub(super) audience: &'a [String],
    pub(super) source_ip: &'a str,
    pub(super) referrer: &'a str,
    pub(super) min_revision: i64,
}

/// Where a question stands in its message; as text, what the names of its fields begin with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// It is the message.
    Whole,
    /// It is one of a batch.
    Batch(usize),
    /// It is in a message of a stream.
    Stream,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Batch(number) => write!(f, "checks[{number}]."),
            Self::Stream => f.write_str("check."),
        }
    }
}

/// By when an answer must be on its way. Nobody looks at a clock for a Check that need not wait.
#[derive(Debug)]
pub(super) enum Deadline<'a> {
    /// By the deadline of the asker's call.
    Of(&'a Asker),
    /// By then.
    At(Instant),
}

impl Deadline<'_> {
    /// The moment, which stays the same once it was asked for.
    fn at(&mut self) -> Instant {
        let at = match self {
            Self::Of(asker) => asker.deadline(),
            Self::At(at) => *at,
        };
        *self = Self::At(at);
        at
    }
}

/// Who asks.
#[derive(Debug)]
pub(super) struct Asker {
    metadata: MetadataMap,
    address: Option<IpAddr>,
    identity: Option<Identity>,
}

impl Asker {
    pub(super) fn of(headers: HeaderMap, extensions: &Extensions) -> Self {
        let (address, identity) = (address(extensions), Identity::of(extensions));
        Self { metadata: MetadataMap::from_headers(headers), address, identity }
    }

    fn source_ip(&self) -> String {
        self.address.map(|address| address.to_string()).unwrap_or_default()
    }

    /// The moment by which the answer must be on its way: from the call's `grpc-timeout`, if it has one.
    fn deadline(&self) -> Instant {
        let longest = Instant::now() + MAX_WAIT;
        deadline_of(self.metadata.as_ref()).unwrap_or_else(|| Instant::now() + DEFAULT_WAIT).min(longest)
    }
}

fn decision_out(decision: &Decision) -> proto::Decision {
    if decision.is_allowed() { proto::Decision::Allowed } else { proto::Decision::Denied }
}

fn reason_out(reason: Reason) -> proto::Reason {
    match reason {
        Reason::Missing => proto::Reason::Missing,
        Reason::Malformed => proto::Reason::Malformed,
        Reason::NotFound => proto::Reason::NotFound,
        Reason::TokenSignatureInvalid => proto::Reason::TokenSignatureInvalid,
        Reason::Deleted => proto::Reason::Deleted,
        Reason::Revoked => proto::Reason::Revoked,
        Reason::RotatedOut => proto::Reason::RotatedOut,
        Reason::Expired => proto::Reason::Expired,
        Reason::NotYetValid => proto::Reason::NotYetValid,
        Reason::Suspended => proto::Reason::Suspended,
        Reason::TenantSuspended => proto::Reason::TenantSuspended,
        Reason::OwnerSuspended => proto::Reason::OwnerSuspended,
        Reason::ApplicationNotVerified => proto::Reason::ApplicationNotVerified,
        Reason::ApplicationRevoked => proto::Reason::ApplicationRevoked,
        Reason::SecretKeyRequired => proto::Reason::SecretKeyRequired,
        Reason::SecretKeyMismatch => proto::Reason::SecretKeyMismatch,
        Reason::IpNotAllowed => proto::Reason::IpNotAllowed,
        Reason::ReferrerNotAllowed => proto::Reason::ReferrerNotAllowed,
        Reason::TokenAudienceMismatch => proto::Reason::TokenAudienceMismatch,
        Reason::NotGranted => proto::Reason::NotGranted,
    }
}

/// What root is told as, which is nobody's.
const ROOT: &str = "root";

pub(super) fn principal_out(principal: &crate::check::Principal) -> proto::Principal {
    let Some(held) = principal.held() else {
        return proto::Principal { key: ROOT.to_owned(), ..proto::Principal::default() };
    };
    convert::principal_out(&held)
}

/// The methods of this file, for the table's sake.
const _: [rpcs::Rpc; 3] = [rpcs::CHECK, rpcs::BATCH_CHECK, rpcs::STREAM_CHECK];
