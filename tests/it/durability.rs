//! Nothing acknowledged is lost and nothing is half there, however often the process is killed.

use crate::harness::process::Process;
use crate::harness::settings::{Dice, number};
use crate::harness::{Client, ledger, resources};
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tonic::transport::Channel;

const CLIENTS: u64 = 6;

/// A key as its client knows it from what was acknowledged.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    /// The current credential is the last.
    credentials: Vec<String>,
    description: String,
    is_suspended: bool,
    is_revoked: bool,
    is_deleted: bool,
    /// Access tokens of the newest credential at their time, one opaque and one JWT in turn.
    tokens: Vec<KnownToken>,
}

#[derive(Clone, Debug)]
struct KnownToken {
    text: String,
    /// The place of the credential it was made with.
    of: usize,
    is_revoked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Token,
    EndToken,
    Rotate,
    Suspend,
    Activate,
    Update,
    Revoke,
    Delete,
}

/// One client with its own keys and its own record of what was answered.
#[derive(Debug)]
struct Mutator {
    id: u64,
    dice: Dice,
    made: u64,
    keys: Vec<Known>,
    /// Whose last mutation was not answered: the key as it was before, and what was asked.
    in_doubt: Option<(Known, Verb)>,
    /// Names of the keys that were changed since they were last asked about.
    fresh: BTreeSet<String>,
    /// Revision, event and subject of everything acknowledged.
    acknowledged: Vec<(i64, &'static str, String)>,
}

impl Mutator {
    fn new(id: u64) -> Self {
        Self {
            id,
            dice: Dice(id),
            made: 0,
            keys: Vec::new(),
            in_doubt: None,
            fresh: BTreeSet::new(),
            acknowledged: Vec::new(),
        }
    }

    /// One mutation; an error only if it was not answered.
    async fn mutate(&mut self, owner: &Client) -> Result<(), tonic::Status> {
        let live: Vec<usize> =
            (0..self.keys.len()).filter(|at| !self.keys[*at].is_revoked && !self.keys[*at].is_deleted).collect();
        if live.len() < 3 {
            return self.create(owner).await;
        }
        let at = live[self.dice.roll(live.len() as u64) as usize];
        let has_token = self.keys[at].tokens.iter().any(|token| !token.is_revoked);
        let verb = match self.dice.roll(16) {
            10..=13 if !self.keys[at].is_suspended => Verb::Token,
            10..=15 if has_token => Verb::EndToken,
            0..=2 => Verb::Rotate,
            3..=5 if self.keys[at].is_suspended => Verb::Activate,
            3..=5 => Verb::Suspend,
            6..=7 => Verb::Update,
            8 | 10..=15 => Verb::Revoke,
            _ => Verb::Delete,
        };
        let before = self.keys.remove(at);
        self.fresh.insert(before.name.clone());
        self.in_doubt = Some((before.clone(), verb));
        let name = before.name.clone();
        let mut after = before;
        let mut keys = owner.keys();
        let mut tokens = owner.tokens();
        let mut subject = name.clone();
        let (revision, kind) = match verb {
            Verb::Token => {
                let key = after.credentials.last().unwrap().clone();
                let is_jwt = after.tokens.len() % 2 == 1;
                let format = if is_jwt { TokenFormat::Jwt } else { TokenFormat::Opaque }.into();
                let request = CreateTokenRequest { key, format, ..CreateTokenRequest::default() };
                let answer = tokens.create_token(request).await?.into_inner();
                let of = after.credentials.len() - 1;
                after.tokens.push(KnownToken { text: answer.token, of, is_revoked: false });
                subject = answer.access_token.unwrap().name;
                // A JWT is no mutation.
                (if is_jwt { 0 } else { answer.revision }, "token.create")
            }
            Verb::EndToken => {
                let token = after.tokens.iter_mut().find(|token| !token.is_revoked).unwrap();
                token.is_revoked = true;
                let request = RevokeTokenRequest { token: token.text.clone() };
                let revision = tokens.revoke_token(request).await?.into_inner().revision;
                // Nothing is to be compared: its name is not kept.
                subject.clear();
                (revision, "token.revoke")
            }
            Verb::Rotate => {
                let request = RotateKeyRequest { name, ..RotateKeyRequest::default() };
                let answer = keys.rotate_key(request).await?.into_inner();
                after.credentials.push(answer.credential);
                (answer.revision, "key.rotate")
            }
            Verb::Suspend => {
                let request = SuspendKeyRequest { name, ..SuspendKeyRequest::default() };
                after.is_suspended = true;
                (keys.suspend_key(request).await?.into_inner().revision, "key.suspend")
            }
            Verb::Activate => {
                let request = ActivateKeyRequest { name, ..ActivateKeyRequest::default() };
                after.is_suspended = false;
                (keys.activate_key(request).await?.into_inner().revision, "key.activate")
            }
            Verb::Update => {
                after.description = format!("{} and {}", self.id, self.dice.roll(u64::MAX));
                let key = Key { name, description: after.description.clone(), ..Key::default() };
                let request = UpdateKeyRequest { key: Some(key), update_mask: None };
                (keys.update_key(request).await?.into_inner().revision, "key.update")
            }
            Verb::Revoke => {
                let request = RevokeKeyRequest { name, ..RevokeKeyRequest::default() };
                after.is_revoked = true;
                (keys.revoke_key(request).await?.into_inner().revision, "key.revoke")
            }
            Verb::Delete => {
                let request = DeleteKeyRequest { name, ..DeleteKeyRequest::default() };
                after.is_deleted = true;
                (keys.delete_key(request).await?.into_inner().revision, "key.delete")
            }
        };
        self.in_doubt = None;
        if revision > 0 {
            self.acknowledged.push((revision, kind, subject));
        }
        self.keys.push(after);
        Ok(())
    }

    /// A key whose making was not answered is nobody's: its credential was never shown.
    async fn create(&mut self, owner: &Client) -> Result<(), tonic::Status> {
        self.made += 1;
        let new =
            owner.key("tenants/-").id(&format!("k{}-{}", self.id, self.made)).grant(resources("doc/*", &["read"]));
        let answer = new.tried().await?;
        let name = answer.key.unwrap().name;
        self.acknowledged.push((answer.revision, "key.create", name.clone()));
        self.fresh.insert(name.clone());
        self.keys.push(Known {
            name,
            credentials: vec![answer.credential],
            description: String::new(),
            is_suspended: false,
            is_revoked: false,
            is_deleted: false,
            tokens: Vec::new(),
        });
        Ok(())
    }

    /// What a mutation that was not answered did is learnt by looking: all of it, or nothing.
    async fn settle(&mut self, owner: &Client) {
        let Some((before, verb)) = self.in_doubt.take() else { return };
        let request = GetKeyRequest { name: before.name.clone(), ..GetKeyRequest::default() };
        let found = owner.keys().get_key(request).await.unwrap().into_inner().key.unwrap();
        let mut after = before.clone();
        match verb {
            Verb::Rotate => {
                // Whether it was rotated or not, its next credential is known again once it is revoked.
                let request = RevokeKeyRequest { name: before.name.clone(), ..RevokeKeyRequest::default() };
                let revision = owner.keys().revoke_key(request).await.unwrap().into_inner().revision;
                self.acknowledged.push((revision, "key.revoke", before.name.clone()));
                after.is_revoked = true;
                let last = after.credentials.last().unwrap().clone();
                let hint = last.rsplit_once('_').unwrap().0;
                if !found.obfuscated_credential.starts_with(hint) {
                    after.credentials.push(String::new());
                }
            }
            // A token whose making was not answered is nobody's: its text was never shown.
            Verb::Token => {}
            Verb::EndToken => {
                let token = after.tokens.iter_mut().find(|token| !token.is_revoked).unwrap();
                let request = RevokeTokenRequest { token: token.text.clone() };
                owner.tokens().revoke_token(request).await.unwrap();
                token.is_revoked = true;
            }
            Verb::Suspend => after.is_suspended = found.state() == KeyState::Suspended,
            Verb::Activate => after.is_suspended = found.state() == KeyState::Suspended,
            Verb::Revoke => after.is_revoked = found.state() == KeyState::Revoked,
            Verb::Delete => after.is_deleted = found.state() == KeyState::Deleted,
            Verb::Update => {
                assert!(
                    found.description == before.description
                        || found.description.starts_with(&format!("{} and ", self.id))
                );
                after.description = found.description;
            }
        }
        self.keys.push(after);
    }

    /// Asks about what this client has changed since it last asked, and about some of the rest; about everything, if
    /// `all`. How many questions that were.
    async fn verify(&mut self, owner: &Client, data: &Channel, all: bool) -> u64 {
        let mut questions = 0;
        let fresh = std::mem::take(&mut self.fresh);
        let sample = self.keys.len().div_ceil(SAMPLE).max(1);
        let first = self.dice.roll(sample as u64) as usize;
        for (place, key) in self.keys.iter().enumerate() {
            if !all && !fresh.contains(&key.name) && place % sample != first {
                continue;
            }
            let request = GetKeyRequest { name: key.name.clone(), ..GetKeyRequest::default() };
            let found = owner.keys().get_key(request).await.unwrap().into_inner().key.unwrap();
            let state = match key {
                Known { is_deleted: true, .. } => KeyState::Deleted,
                Known { is_revoked: true, .. } => KeyState::Revoked,
                Known { is_suspended: true, .. } => KeyState::Suspended,
                Known { .. } => KeyState::Active,
            };
            assert_eq!(found.state(), state, "{key:?}");
            assert_eq!(found.description, key.description, "{key:?}");
            let checks = key.credentials.iter().filter(|credential| !credential.is_empty()).map(|credential| {
                let permissions = vec![Permission { resource: "doc/1".to_owned(), action: "read".to_owned() }];
                CheckRequest { credential: credential.clone(), permissions, ..CheckRequest::default() }
            });
            let of_tokens =
                key.tokens.iter().map(|token| CheckRequest { credential: token.text.clone(), ..Default::default() });
            let request = BatchCheckRequest { checks: checks.chain(of_tokens).collect() };
            let mut answers =
                CheckServiceClient::new(data.clone()).batch_check(request).await.unwrap().into_inner().results;
            let answers_of_tokens = answers.split_off(answers.len() - key.tokens.len());
            for (token, answer) in key.tokens.iter().zip(answers_of_tokens) {
                // Undeleting never happens here, so that what a deleted key's token tells is both.
                let reasons = [
                    (key.is_deleted, Reason::Deleted),
                    (key.is_revoked || key.is_deleted || token.is_revoked, Reason::Revoked),
                    (token.of + 1 < key.credentials.len(), Reason::RotatedOut),
                    (key.is_suspended, Reason::Suspended),
                ];
                let is_forgotten = token.of + REMEMBERED < key.credentials.len();
                let told = reasons.into_iter().filter(|one| one.0).map(|one| one.1);
                let expected: Vec<Reason> = if is_forgotten { vec![Reason::NotFound] } else { told.collect() };
                assert_eq!(answer.reasons().collect::<Vec<_>>(), expected, "{token:?} of {key:?}");
                assert_eq!(answer.decision() == Decision::Allowed, expected.is_empty());
                questions += 1;
            }
            let shown: Vec<usize> = (0..key.credentials.len()).filter(|at| !key.credentials[*at].is_empty()).collect();
            assert_eq!(answers.len(), shown.len());
            for (at, answer) in shown.into_iter().zip(answers) {
                let reasons = [
                    (key.is_deleted, Reason::Deleted),
                    (key.is_revoked, Reason::Revoked),
                    (at + 1 < key.credentials.len(), Reason::RotatedOut),
                    (key.is_suspended, Reason::Suspended),
                ];
                // Of many retired secrets the oldest are forgotten.
                let is_forgotten = at + REMEMBERED < key.credentials.len();
                let told = reasons.into_iter().filter(|one| one.0).map(|one| one.1);
                let expected: Vec<Reason> = if is_forgotten { vec![Reason::NotFound] } else { told.collect() };
                assert_eq!(answer.reasons().collect::<Vec<_>>(), expected, "credential {at} of {key:?}");
                let decision = if expected.is_empty() { Decision::Allowed } else { Decision::Denied };
                assert_eq!(answer.decision(), decision);
                questions += 1;
            }
        }
        questions
    }
}

/// About how many of the keys that were not changed are asked about after each kill.
const SAMPLE: usize = 20;

/// The newest secret, the one it replaced, and those that had been retired before.
const REMEMBERED: usize = 2 + keyward::domain::key::MAX_SECRETS;

async fn found_tenant(process: &Process, database: &Path) -> String {
    let root = std::fs::read_to_string(database.with_file_name("root.key")).unwrap();
    let request = CreateTenantRequest { tenant_id: "acme".to_owned(), ..CreateTenantRequest::default() };
    let root = Client::at(process.admin(), root.trim_end());
    root.tenants().create_tenant(request).await.unwrap().into_inner().master_credential
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_has_lost_nothing_that_it_acknowledged() {
    let kills = number("KEYWARD_PROOF_KILLS", 10);
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let mut process = Process::start(&database, &[]);
    let master = found_tenant(&process, &database).await;
    let mut mutators: Vec<Mutator> = (0..CLIENTS).map(Mutator::new).collect();
    let mut dice = Dice(42);
    let (mut checks, mut unanswered) = (0, 0);
    for round in 1..=kills {
        let is_killed = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = mutators
            .drain(..)
            .map(|mut mutator| {
                let owner = Client::at(process.admin(), &master);
                let (is_killed, count) = (Arc::clone(&is_killed), Arc::clone(&count));
                tokio::spawn(async move {
                    loop {
                        if let Err(status) = mutator.mutate(&owner).await {
                            assert!(is_killed.load(Ordering::SeqCst), "refused before the kill: {status}");
                            return mutator;
                        }
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        // In the middle: after some were answered, while the others are on their way.
        let enough = 20 + dice.roll(60);
        while count.load(Ordering::SeqCst) < enough && !tasks.iter().any(tokio::task::JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
        is_killed.store(true, Ordering::SeqCst);
        process.kill();
        for task in tasks {
            mutators.push(task.await.unwrap());
        }
        let audited = ledger::audit(&database).await;
        checks += audited.checks;
        for mutator in &mutators {
            unanswered += u64::from(mutator.in_doubt.is_some());
            for (revision, kind, subject) in &mutator.acknowledged {
                let (found_kind, found_subject) = &audited.events[revision];
                let subject = if subject.is_empty() { found_subject } else { subject };
                assert_eq!((found_kind.as_str(), found_subject), (*kind, subject), "at revision {revision}");
                checks += 1;
            }
        }
        // That it starts shows that the chain holds.
        process = Process::start(&database, &[]);
        let owner = Client::at(process.admin(), &master);
        for mutator in &mut mutators {
            mutator.settle(&owner).await;
            checks += mutator.verify(&owner, &process.data(), round == kills).await;
        }
    }
    let acknowledged: usize = mutators.iter().map(|mutator| mutator.acknowledged.len()).sum();
    let revoked = mutators.iter().flat_map(|mutator| &mutator.keys).filter(|key| key.is_revoked).count();
    assert!(process.terminate().0.success());
    let tokens: usize = mutators.iter().flat_map(|mutator| &mutator.keys).map(|key| key.tokens.len()).sum();
    println!(
        "durability: {kills} kills, {acknowledged} acknowledged mutations, {unanswered} unanswered, {revoked} revoked \
         keys, {tokens} tokens, {checks} checks, 0 lost"
    );
}
