//! Mutations of one thing by the client that alone changes it. Each is sent until it is answered, so that in the end it is
//! known of every thing how it looks and which events it has.

use super::askers::timed;
use super::keys::LIMIT;
use super::world::{SLACK, Watched, World, bump};
use crate::barrier::site::PATIENCE;
use crate::harness::Client;
use crate::harness::settings::Dice;
use keyward::proto::v1::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::{Code, Response, Status};

/// What a client does after it was refused.
pub(super) const AFTER_AN_ERROR: Duration = Duration::from_millis(50);

/// What is done anew where it is sent after it was carried out, since each hash has a salt of its own.
const DONE_ANEW: &str = "user.set_password";

/// A thing as its client knows it.
#[derive(Clone, Debug)]
pub(super) struct Thing {
    pub(super) name: String,
    /// As it was told last; empty before it is made.
    etag: String,
    /// Empty where it is not compared.
    look: String,
}

impl Thing {
    /// One that is not there yet, and looks so.
    pub(super) fn new(name: &str, look: &str) -> Self {
        Self { name: name.to_owned(), etag: String::new(), look: look.to_owned() }
    }
}

/// One sending of a mutation. All of one mutation have the same request id.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) owner: Client,
    pub(super) request_id: String,
    /// The etag that the thing must have: no earlier attempt is carried out after a later one.
    pub(super) etag: String,
    /// Whether an earlier attempt was carried out: this one only waits until that is in force.
    pub(super) is_done: bool,
}

/// What a mutation was answered with.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) revision: i64,
    etag: String,
    /// The credential or secret; empty if it was shown before.
    pub(super) secret: String,
    /// The name of the master key that came with a user.
    pub(super) master_key: String,
}

/// Takes an answer apart.
pub(super) fn told<T: Into<Told>>(answer: Response<T>) -> Told {
    answer.into_inner().into()
}

macro_rules! tells {
    ($($answer:ident { $($thing:ident)? $(, $secret:ident)? })*) => {
        $(impl From<$answer> for Told {
            fn from(answer: $answer) -> Self {
                Self {
                    revision: answer.revision,
                    $(etag: answer.$thing.map(|thing| thing.etag).unwrap_or_default(),)?
                    $(secret: answer.$secret,)?
                    ..Self::default()
                }
            }
        })*
    };
}

tells! {
    CreateKeyResponse { key, credential }
    UpdateKeyResponse { key }
    RotateKeyResponse { key, credential }
    SuspendKeyResponse { key }
    ActivateKeyResponse { key }
    RevokeKeyResponse { key }
    DeleteKeyResponse { key }
    UndeleteKeyResponse { key }
    RevokeCredentialsResponse {}
    UpdateUserResponse { user }
    SuspendUserResponse { user }
    ActivateUserResponse { user }
    DeleteUserResponse { user }
    SetPasswordResponse { user }
    RotateMasterKeyResponse { master_key, master_credential }
    CreateApplicationResponse { application }
    VerifyApplicationResponse { application, secret }
    UpdateApplicationResponse { application }
    RotateApplicationSecretResponse { application, secret }
    RevokeApplicationResponse { application }
    ActivateApplicationResponse { application }
    DeleteApplicationResponse { application }
}

impl From<CreateUserResponse> for Told {
    fn from(answer: CreateUserResponse) -> Self {
        let etag = |user: Option<User>| user.map(|user| user.etag).unwrap_or_default();
        let name = |key: Option<Key>| key.map(|key| key.name).unwrap_or_default();
        Self {
            revision: answer.revision,
            etag: etag(answer.user),
            secret: answer.master_credential,
            master_key: name(answer.master_key),
        }
    }
}

/// A mutation that was answered with OK.
#[derive(Clone, Debug)]
pub(super) struct Acknowledged {
    pub(super) revision: i64,
    pub(super) kind: &'static str,
    /// Empty where it is not compared.
    pub(super) subject: String,
    pub(super) sent: Duration,
    pub(super) answered: Duration,
}

impl World {
    pub(super) fn acknowledge(&self, revision: i64, kind: &'static str, subject: &str, sent: Duration) {
        let (subject, answered) = (subject.to_owned(), self.now());
        self.acknowledged.lock().push(Acknowledged { revision, kind, subject, sent, answered });
    }

    /// A thing must have this event, after those that it has.
    pub(super) fn must_have(&self, name: &str, kind: &'static str) {
        self.histories.lock().entry(name.to_owned()).or_default().push(kind);
    }

    /// Has a thing changed so that it looks like `look`, at whichever replicas; none once it is over, or if it is refused.
    pub(super) async fn change<F: Future<Output = Result<Told, Status>>>(
        &self,
        (rpc, kind): (&'static str, &'static str),
        thing: &mut Thing,
        look: &str,
        dice: &mut Dice,
        send: impl Fn(Attempt) -> F,
    ) -> Option<Told> {
        if self.is_over() {
            return None;
        }
        if !look.is_empty() {
            self.model.lock().insert(thing.name.clone(), vec![thing.look.clone(), look.to_owned()]);
        }
        let request_id = uuid::Uuid::new_v4().to_string();
        let (mut is_repeated, mut is_done) = (false, false);
        let begun = self.now();
        while self.now() < begun + PATIENCE {
            let turn = self.rested().await;
            let at = self.anywhere(dice);
            bump(&self.counts.calls);
            let (owner, sent) = (self.site.owner(at), self.now());
            let attempt = Attempt { owner, request_id: request_id.clone(), etag: thing.etag.clone(), is_done };
            let status = match timeout(PATIENCE, send(attempt)).await {
                Ok(Ok(told)) => {
                    self.carried_out((rpc, kind), thing, &told, is_done, sent);
                    thing.etag.clone_from(&told.etag);
                    look.clone_into(&mut thing.look);
                    if !look.is_empty() {
                        self.model.lock().insert(thing.name.clone(), vec![look.to_owned()]);
                    }
                    return Some(told);
                }
                Ok(Err(status)) => status,
                Err(_) => break,
            };
            drop(turn);
            if is_repeated && !is_done && tells_that_it_is_done(rpc, &status) {
                is_done = true;
                bump(&self.counts.found_done);
                thing.etag = self.etag_of(&thing.name, dice).await?;
                continue;
            }
            self.failed(rpc, at, sent, &status);
            if !may_be_repeated(&status) {
                return None;
            }
            is_repeated = true;
            bump(&self.counts.repeated);
            sleep(AFTER_AN_ERROR).await;
        }
        self.wrong(format!("{rpc} of {} is never carried out", thing.name));
        None
    }

    fn carried_out(
        &self,
        (rpc, kind): (&'static str, &'static str),
        thing: &Thing,
        told: &Told,
        is_done: bool,
        sent: Duration,
    ) {
        self.must_have(&thing.name, kind);
        let is_changed = told.etag != thing.etag;
        if is_changed != (!is_done || kind == DONE_ANEW) {
            self.wrong(format!("{rpc} of {}: changed {is_changed}, and done before {is_done}", thing.name));
        }
        if is_done && kind == DONE_ANEW {
            self.must_have(&thing.name, kind);
        }
        if is_changed {
            // What revokes by possession tells no etag, nor whether it had been done before.
            let kind = if told.etag.is_empty() { "" } else { kind };
            self.acknowledge(told.revision, kind, &thing.name, sent);
        }
    }

    /// Ends a token or signs a session out, and sends that until it is answered: it does no harm twice.
    pub(super) async fn end_token(&self, token: Arc<Watched>, kind: &'static str, dice: &mut Dice) {
        if self.is_over() {
            return;
        }
        let token = [token];
        self.ending(&token);
        let begun = self.now();
        let mut is_repeated = false;
        while self.now() < begun + PATIENCE {
            let _turn = self.rested().await;
            let (at, sent) = (self.anywhere(dice), self.now());
            let mut tokens = self.site.owner(at).tokens();
            let request = RevokeTokenRequest { token: token[0].text.clone() };
            if let Some(ended) = self.call("RevokeToken", at, tokens.revoke_token(timed(request, LIMIT))).await {
                // Of one that has ended by itself, or had been ended, nothing is written.
                let has_event = !is_repeated && token[0].until.is_none_or(|until| self.now() + SLACK < until);
                self.acknowledge(ended.revision, if has_event { kind } else { "" }, "", sent);
                self.ended(&token);
                return;
            }
            is_repeated = true;
        }
        self.wrong("a token is never ended".to_owned());
    }

    /// The etag of a thing as it is now.
    async fn etag_of(&self, name: &str, dice: &mut Dice) -> Option<String> {
        let begun = self.now();
        while self.now() < begun + PATIENCE {
            let _turn = self.rested().await;
            let at = self.anywhere(dice);
            let (owner, name, etag) = (self.site.owner(at), name.to_owned(), String::new());
            let (mut keys, mut users, mut applications) = (owner.keys(), owner.users(), owner.applications());
            let etag = if name.contains("/keys/") {
                let call = keys.get_key(timed(GetKeyRequest { name, etag }, LIMIT));
                self.call("GetKey", at, call).await.and_then(|answer| answer.key).map(|key| key.etag)
            } else if name.contains("/users/") {
                let call = users.get_user(timed(GetUserRequest { name, etag }, LIMIT));
                self.call("GetUser", at, call).await.and_then(|answer| answer.user).map(|user| user.etag)
            } else {
                let call = applications.get_application(timed(GetApplicationRequest { name, etag }, LIMIT));
                let answer = self.call("GetApplication", at, call).await;
                answer.and_then(|answer| answer.application).map(|application| application.etag)
            };
            if etag.is_some() {
                return etag;
            }
        }
        self.wrong(format!("{name} is never found"));
        None
    }
}

/// Whether a repetition was told that an earlier attempt was carried out: nobody else changes the thing.
fn tells_that_it_is_done(rpc: &str, status: &Status) -> bool {
    match status.code() {
        Code::Aborted => true,
        // Its token is used up, and that is told before whether the etag is stale.
        Code::FailedPrecondition => rpc == "VerifyApplication" && status.message().contains("is verified already"),
        _ => false,
    }
}

/// Whether it is not known, or not forbidden, that what was asked for was done: then it is asked for again.
fn may_be_repeated(status: &Status) -> bool {
    let codes = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown, Code::Internal];
    codes.contains(&status.code())
}
