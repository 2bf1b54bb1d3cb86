//! Random histories, told to the real server and to a model that is obviously right; after each step both are asked
//! about every credential that was ever shown. The model shares nothing with the server but the words of the contract.

use crate::harness::settings::number;
use crate::harness::{TestServer, ledger, resources};
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::{Code, Status};

const DAY: u64 = 24;
/// How long what was deleted or rotated out is told apart from what never was, in hours.
const RETENTION: u64 = 30 * DAY;
const DOCS: u8 = 3;

#[derive(Clone, Copy, Debug)]
enum Verb {
    Suspend,
    Activate,
    Delete,
}

#[derive(Clone, Copy, Debug)]
enum KeyVerb {
    Rotate { overlap: u64 },
    Finish,
    Generate,
    Suspend,
    Activate,
    Revoke,
    Delete,
    Undelete,
    Grant { docs: u8 },
    Possess,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    CreateTenant(u8),
    Tenant(u8, Verb),
    CreateUser(u8, u8, UserRole),
    User(u8, u8, Verb),
    RotateMaster(u8, u8),
    CreateKey {
        tenant: u8,
        user: u8,
        key: u8,
        docs: u8,
        ttl: Option<u64>,
    },
    Key(u8, u8, KeyVerb),
    /// The master key of the tenant's first owner, or its default public key, which are protected.
    Protected(u8, bool, KeyVerb),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let verb = || prop::sample::select(vec![Verb::Suspend, Verb::Activate, Verb::Activate, Verb::Delete]);
    let key_verb = || {
        prop_oneof![
            3 => prop::sample::select(vec![0, 0, 2, 40 * DAY]).prop_map(|overlap| KeyVerb::Rotate { overlap }),
            1 => Just(KeyVerb::Finish),
            1 => Just(KeyVerb::Generate),
            2 => Just(KeyVerb::Suspend),
            3 => Just(KeyVerb::Activate),
            1 => Just(KeyVerb::Revoke),
            1 => Just(KeyVerb::Delete),
            1 => Just(KeyVerb::Undelete),
            2 => (0..8_u8).prop_map(|docs| KeyVerb::Grant { docs }),
            1 => Just(KeyVerb::Possess),
        ]
    };
    let tenant = || prop_oneof![4 => Just(0_u8), 1 => Just(1)];
    let roles = vec![UserRole::Owner, UserRole::Admin, UserRole::Member];
    prop_oneof![
        1 => (0..2_u8).prop_map(Step::CreateTenant),
        1 => (tenant(), verb()).prop_map(|(tenant, verb)| Step::Tenant(tenant, verb)),
        2 => (tenant(), 1..4_u8, prop::sample::select(roles)).prop_map(|(at, id, role)| Step::CreateUser(at, id, role)),
        2 => (tenant(), 0..4_u8, verb()).prop_map(|(tenant, user, verb)| Step::User(tenant, user, verb)),
        1 => (tenant(), 0..4_u8).prop_map(|(tenant, user)| Step::RotateMaster(tenant, user)),
        4 => (tenant(), 0..4_u8, 0..5_u8, 0..8_u8, prop::option::weighted(0.3, 1..30_u64))
            .prop_map(|(tenant, user, key, docs, ttl)| Step::CreateKey { tenant, user, key, docs, ttl }),
        12 => (tenant(), 0..5_u8, key_verb()).prop_map(|(tenant, key, verb)| Step::Key(tenant, key, verb)),
        2 => (tenant(), any::<bool>(), key_verb()).prop_map(|(tenant, master, verb)| Step::Protected(tenant, master, verb)),
        2 => prop::sample::select(vec![1, 3, 20, 31 * DAY]).prop_map(Step::Pass),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Master,
    Regular,
    Public,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    is_suspended: bool,
    is_deleted: bool,
}

#[derive(Clone, Debug)]
struct ModelKey {
    name: String,
    kind: Kind,
    tenant: u8,
    user: Option<u8>,
    docs: u8,
    is_suspended: bool,
    is_revoked: bool,
    delete_hour: Option<u64>,
    expire_hour: Option<u64>,
    second: Option<String>,
    /// With the hour in which each was or will be rotated out; the current one is the last.
    secrets: Vec<(String, Option<u64>)>,
}

/// Everything there is, as the contract tells of it. A key's place is its tenant and `k3`, `master of 2` or `public`.
#[derive(Debug, Default)]
struct Model {
    hour: u64,
    tenants: BTreeMap<u8, Standing>,
    users: BTreeMap<(u8, u8), (UserRole, Standing)>,
    keys: BTreeMap<(u8, String), ModelKey>,
}

impl Model {
    fn is_forgotten(&self, key: &ModelKey) -> bool {
        key.delete_hour.is_some_and(|hour| hour + RETENTION <= self.hour)
    }

    fn reasons(&self, key: &ModelKey, secret: usize, second: &str, question: &Permission) -> Vec<Reason> {
        let retire_hour = key.secrets[secret].1;
        if self.is_forgotten(key) || retire_hour.is_some_and(|hour| hour + RETENTION <= self.hour) {
            return vec![Reason::NotFound];
        }
        let tenant = self.tenants[&key.tenant];
        let owner = key.user.map(|user| self.users[&(key.tenant, user)]);
        let owner_standing = owner.map(|owner| owner.1).unwrap_or_default();
        let is_own = question.resource.starts_with("keyward/");
        let holds = match key.kind {
            Kind::Master if is_own => owner.unwrap().0 != UserRole::Member,
            Kind::Master => true,
            Kind::Regular | Kind::Public if is_own => false,
            Kind::Regular | Kind::Public => {
                (0..DOCS).any(|doc| key.docs >> doc & 1 == 1 && question.resource == format!("docs/{doc}"))
            }
        };
        let mut reasons = Vec::new();
        if key.delete_hour.is_some() || tenant.is_deleted || owner_standing.is_deleted {
            reasons.push(Reason::Deleted);
        }
        if key.is_revoked {
            reasons.push(Reason::Revoked);
        }
        if retire_hour.is_some_and(|hour| hour <= self.hour) {
            reasons.push(Reason::RotatedOut);
        }
        if key.expire_hour.is_some_and(|hour| hour <= self.hour) {
            reasons.push(Reason::Expired);
        }
        if key.is_suspended {
            reasons.push(Reason::Suspended);
        }
        if tenant.is_suspended && !tenant.is_deleted {
            reasons.push(Reason::TenantSuspended);
        }
        if owner_standing.is_suspended && !owner_standing.is_deleted {
            reasons.push(Reason::OwnerSuspended);
        }
        match &key.second {
            Some(_) if second.is_empty() => reasons.push(Reason::SecretKeyRequired),
            Some(expected) if expected != second => reasons.push(Reason::SecretKeyMismatch),
            Some(_) | None => {}
        }
        if !holds {
            reasons.push(Reason::NotGranted);
        }
        reasons
    }

    fn is_last_owner(&self, tenant: u8, user: u8) -> bool {
        let acts =
            |entry: &(UserRole, Standing)| entry.0 == UserRole::Owner && !entry.1.is_suspended && !entry.1.is_deleted;
        let others = self.users.iter().filter(|(place, entry)| place.0 == tenant && place.1 != user && acts(entry));
        acts(&self.users[&(tenant, user)]) && others.count() == 0
    }

    /// What a change of a key is answered with, before it is made.
    fn expected(&self, place: &(u8, String), verb: KeyVerb) -> Result<(), Code> {
        let Some(key) = self.keys.get(place).filter(|key| !self.is_forgotten(key)) else { return Err(Code::NotFound) };
        let is_terminal = key.is_revoked || key.delete_hour.is_some();
        let is_expired = key.expire_hour.is_some_and(|hour| hour <= self.hour);
        let is_orphaned = key.user.is_some_and(|user| self.users[&(key.tenant, user)].1.is_deleted);
        let is_refused = match verb {
            KeyVerb::Rotate { .. } => {
                is_terminal || is_expired || key.kind == Kind::Public || self.tenants[&key.tenant].is_deleted
            }
            KeyVerb::Generate => is_terminal || is_expired || key.kind == Kind::Public,
            KeyVerb::Finish => is_terminal || key.kind == Kind::Public,
            KeyVerb::Activate => is_terminal,
            KeyVerb::Suspend => is_terminal || key.kind != Kind::Regular,
            KeyVerb::Revoke | KeyVerb::Delete => key.kind != Kind::Regular,
            KeyVerb::Undelete => key.delete_hour.is_none() || is_orphaned,
            KeyVerb::Grant { docs } => is_terminal || (key.kind == Kind::Master && docs != 0),
            KeyVerb::Possess => false,
        };
        if is_refused { Err(Code::FailedPrecondition) } else { Ok(()) }
    }
}

fn grants(docs: u8) -> Vec<Grant> {
    (0..DOCS).filter(|doc| docs >> doc & 1 == 1).map(|doc| resources(&format!("docs/{doc}"), &["read"])).collect()
}

fn hours(hours: u64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: (hours * 3600) as i64, nanos: 0 })
}

fn tenant_name(tenant: u8) -> String {
    format!("tenants/tenant-{tenant}")
}

fn user_name(tenant: u8, user: u8) -> String {
    format!("tenants/tenant-{tenant}/users/user-{user}")
}

/// What was answered, as far as the model foretells it.
#[track_caller]
fn agreed<T: std::fmt::Debug>(
    answer: Result<tonic::Response<T>, Status>,
    expected: Result<(), Code>,
    step: &Step,
) -> Option<T> {
    match (answer, expected) {
        (Ok(answer), Ok(())) => Some(answer.into_inner()),
        (Err(status), Err(code)) => {
            assert_eq!(status.code(), code, "{step:?}: {status}");
            None
        }
        (answer, expected) => panic!("{step:?}: {expected:?} was expected, and not {answer:?}"),
    }
}

struct History {
    server: TestServer,
    model: Model,
    questions: u64,
}

impl History {
    async fn tell(&mut self, step: Step) {
        match step {
            Step::CreateTenant(tenant) => self.create_tenant(tenant, &step).await,
            Step::Tenant(tenant, verb) => self.change_tenant(tenant, verb, &step).await,
            Step::CreateUser(tenant, user, role) => self.create_user(tenant, user, role, &step).await,
            Step::User(tenant, user, verb) => self.change_user(tenant, user, verb, &step).await,
            Step::RotateMaster(tenant, user) => self.rotate_master(tenant, user, &step).await,
            Step::CreateKey { .. } => self.create_key(&step).await,
            Step::Key(tenant, key, verb) => self.change_key((tenant, format!("k{key}")), verb, &step).await,
            Step::Protected(tenant, true, verb) => {
                self.change_key((tenant, "master of 0".to_owned()), verb, &step).await;
            }
            Step::Protected(tenant, false, verb) => self.change_key((tenant, "public".to_owned()), verb, &step).await,
            Step::Pass(hours) => {
                self.model.hour += hours;
                self.server.clock.advance(Duration::from_secs(hours * 3600));
            }
        }
    }

    fn known(&mut self, place: (u8, String), kind: Kind, user: Option<u8>, key: Option<Key>, credential: String) {
        let key = ModelKey {
            name: key.unwrap().name,
            kind,
            tenant: place.0,
            user,
            docs: 0,
            is_suspended: false,
            is_revoked: false,
            delete_hour: None,
            expire_hour: None,
            second: None,
            secrets: vec![(credential, None)],
        };
        self.model.keys.insert(place, key);
    }

    async fn create_tenant(&mut self, tenant: u8, step: &Step) {
        let expected = match self.model.tenants.get(&tenant) {
            Some(_) => Err(Code::AlreadyExists),
            None => Ok(()),
        };
        let request = CreateTenantRequest { tenant_id: format!("tenant-{tenant}"), ..CreateTenantRequest::default() };
        let answer = self.server.root().tenants().create_tenant(request).await;
        let Some(made) = agreed(answer, expected, step) else { return };
        self.model.tenants.insert(tenant, Standing::default());
        // The first owner's id is made; the model calls it user 0.
        self.model.users.insert((tenant, 0), (UserRole::Owner, Standing::default()));
        let (master, public) = (made.master_credential, made.default_public_credential);
        self.known((tenant, "master of 0".to_owned()), Kind::Master, Some(0), made.master_key, master);
        self.known((tenant, "public".to_owned()), Kind::Public, None, made.default_public_key, public);
    }

    /// The name of a user: that of the first owner is found by its master key.
    async fn name_of(&self, tenant: u8, user: u8) -> String {
        match self.model.keys.get(&(tenant, "master of 0".to_owned())) {
            Some(master) if user == 0 => {
                let request = GetKeyRequest { name: master.name.clone(), ..GetKeyRequest::default() };
                self.server.root().keys().get_key(request).await.unwrap().into_inner().key.unwrap().owner
            }
            _ => user_name(tenant, user),
        }
    }

    async fn change_tenant(&mut self, tenant: u8, verb: Verb, step: &Step) {
        let expected = match (self.model.tenants.get(&tenant), verb) {
            (None, _) => Err(Code::NotFound),
            (Some(Standing { is_deleted: true, .. }), Verb::Suspend | Verb::Activate) => Err(Code::FailedPrecondition),
            (Some(_), _) => Ok(()),
        };
        let (name, etag) = (tenant_name(tenant), String::new());
        let mut tenants = self.server.root().tenants();
        let is_done = match verb {
            Verb::Suspend => {
                agreed(tenants.suspend_tenant(SuspendTenantRequest { name, etag }).await, expected, step).is_some()
            }
            Verb::Activate => {
                agreed(tenants.activate_tenant(ActivateTenantRequest { name, etag }).await, expected, step).is_some()
            }
            Verb::Delete => {
                agreed(tenants.delete_tenant(DeleteTenantRequest { name, etag }).await, expected, step).is_some()
            }
        };
        if is_done {
            change(self.model.tenants.get_mut(&tenant).unwrap(), verb);
        }
    }

    async fn create_user(&mut self, tenant: u8, user: u8, role: UserRole, step: &Step) {
        let expected = match self.model.tenants.get(&tenant) {
            None => Err(Code::NotFound),
            Some(Standing { is_deleted: true, .. }) => Err(Code::FailedPrecondition),
            Some(_) if self.model.users.contains_key(&(tenant, user)) => Err(Code::AlreadyExists),
            Some(_) => Ok(()),
        };
        let request = CreateUserRequest {
            parent: tenant_name(tenant),
            user_id: format!("user-{user}"),
            user: Some(User { role: role.into(), ..User::default() }),
            ..CreateUserRequest::default()
        };
        let Some(made) = agreed(self.server.root().users().create_user(request).await, expected, step) else { return };
        self.model.users.insert((tenant, user), (role, Standing::default()));
        let place = (tenant, format!("master of {user}"));
        self.known(place, Kind::Master, Some(user), made.master_key, made.master_credential);
    }

    async fn change_user(&mut self, tenant: u8, user: u8, verb: Verb, step: &Step) {
        let expected = match (self.model.users.get(&(tenant, user)), verb) {
            (None, _) => Err(Code::NotFound),
            (Some((_, Standing { is_deleted: true, .. })), Verb::Delete) => Ok(()),
            (Some((_, Standing { is_deleted: true, .. })), _) => Err(Code::FailedPrecondition),
            (Some(_), Verb::Suspend | Verb::Delete) if self.model.is_last_owner(tenant, user) => {
                Err(Code::FailedPrecondition)
            }
            (Some(_), _) => Ok(()),
        };
        let (name, etag) = (self.name_of(tenant, user).await, String::new());
        let mut users = self.server.root().users();
        let is_done = match verb {
            Verb::Suspend => {
                agreed(users.suspend_user(SuspendUserRequest { name, etag }).await, expected, step).is_some()
            }
            Verb::Activate => {
                agreed(users.activate_user(ActivateUserRequest { name, etag }).await, expected, step).is_some()
            }
            Verb::Delete => agreed(users.delete_user(DeleteUserRequest { name, etag }).await, expected, step).is_some(),
        };
        if is_done {
            change(&mut self.model.users.get_mut(&(tenant, user)).unwrap().1, verb);
        }
    }

    async fn rotate_master(&mut self, tenant: u8, user: u8, step: &Step) {
        let expected = match self.model.users.get(&(tenant, user)) {
            None => Err(Code::NotFound),
            Some((_, standing)) if standing.is_deleted || self.model.tenants[&tenant].is_deleted => {
                Err(Code::FailedPrecondition)
            }
            Some(_) => Ok(()),
        };
        let request =
            RotateMasterKeyRequest { name: self.name_of(tenant, user).await, ..RotateMasterKeyRequest::default() };
        let answer = self.server.root().users().rotate_master_key(request).await;
        let Some(rotated) = agreed(answer, expected, step) else { return };
        let hour = self.model.hour;
        let key = self.model.keys.get_mut(&(tenant, format!("master of {user}"))).unwrap();
        rotate(key, rotated.master_credential, hour);
    }

    async fn create_key(&mut self, step: &Step) {
        let Step::CreateKey { tenant, user, key, docs, ttl } = *step else { return };
        let place = (tenant, format!("k{key}"));
        let expected = match (self.model.tenants.get(&tenant), self.model.users.get(&(tenant, user))) {
            (Some(Standing { is_deleted: true, .. }), _) => Err(Code::FailedPrecondition),
            (None, _) | (_, None) => Err(Code::NotFound),
            (_, Some((_, Standing { is_deleted: true, .. }))) => Err(Code::FailedPrecondition),
            _ if self.model.keys.contains_key(&place) => Err(Code::AlreadyExists),
            _ => Ok(()),
        };
        let request = CreateKeyRequest {
            parent: self.name_of(tenant, user).await,
            key_id: format!("key-{key}"),
            key: Some(Key { grants: grants(docs), ..Key::default() }),
            ttl: ttl.and_then(hours),
            ..CreateKeyRequest::default()
        };
        let Some(made) = agreed(self.server.root().keys().create_key(request).await, expected, step) else { return };
        self.known(place.clone(), Kind::Regular, Some(user), made.key, made.credential);
        let key = self.model.keys.get_mut(&place).unwrap();
        key.docs = docs;
        key.expire_hour = ttl.map(|ttl| self.model.hour + ttl);
    }

    async fn change_key(&mut self, place: (u8, String), verb: KeyVerb, step: &Step) {
        let expected = self.model.expected(&place, verb);
        let name = match self.model.keys.get(&place) {
            Some(key) => key.name.clone(),
            None => format!("{}/keys/key-{}", tenant_name(place.0), place.1.trim_start_matches('k').replace(' ', "-")),
        };
        let etag = String::new();
        let mut keys = self.server.root().keys();
        let hour = self.model.hour;
        let key = self.model.keys.get_mut(&place);
        match verb {
            KeyVerb::Rotate { overlap } => {
                let request = RotateKeyRequest { name, overlap: hours(overlap), ..RotateKeyRequest::default() };
                let Some(rotated) = agreed(keys.rotate_key(request).await, expected, step) else { return };
                let key = key.unwrap();
                let retire_hour = key.expire_hour.map_or(hour + overlap, |expiry| expiry.min(hour + overlap));
                rotate(key, rotated.credential, retire_hour);
            }
            KeyVerb::Finish => {
                let request = FinishKeyRotationRequest { name, etag };
                if agreed(keys.finish_key_rotation(request).await, expected, step).is_some() {
                    let key = key.unwrap();
                    let current = key.secrets.pop().unwrap();
                    retire(key, hour);
                    key.secrets.push(current);
                }
            }
            KeyVerb::Generate => {
                let request = GenerateSecretKeyRequest { name, etag };
                if let Some(answer) = agreed(keys.generate_secret_key(request).await, expected, step) {
                    key.unwrap().second = Some(answer.secret_key);
                }
            }
            KeyVerb::Suspend => {
                if agreed(keys.suspend_key(SuspendKeyRequest { name, etag }).await, expected, step).is_some() {
                    key.unwrap().is_suspended = true;
                }
            }
            KeyVerb::Activate => {
                if agreed(keys.activate_key(ActivateKeyRequest { name, etag }).await, expected, step).is_some() {
                    key.unwrap().is_suspended = false;
                }
            }
            KeyVerb::Revoke => {
                let request = RevokeKeyRequest { name, ..RevokeKeyRequest::default() };
                if agreed(keys.revoke_key(request).await, expected, step).is_some() {
                    key.unwrap().is_revoked = true;
                }
            }
            KeyVerb::Delete => {
                if agreed(keys.delete_key(DeleteKeyRequest { name, etag }).await, expected, step).is_some() {
                    let key = key.unwrap();
                    key.delete_hour = key.delete_hour.or(Some(hour));
                }
            }
            KeyVerb::Undelete => {
                if agreed(keys.undelete_key(UndeleteKeyRequest { name, etag }).await, expected, step).is_some() {
                    key.unwrap().delete_hour = None;
                }
            }
            KeyVerb::Grant { docs } => {
                let wanted = Some(Key { name, grants: grants(docs), ..Key::default() });
                let update_mask = Some(prost_types::FieldMask { paths: vec!["grants".to_owned()] });
                let request = UpdateKeyRequest { key: wanted, update_mask };
                if agreed(keys.update_key(request).await, expected, step).is_some() {
                    key.unwrap().docs = docs;
                }
            }
            KeyVerb::Possess => {
                let Some(key) = key else { return };
                let credentials = vec![key.secrets.last().unwrap().0.clone()];
                let request = RevokeCredentialsRequest { credentials, ..RevokeCredentialsRequest::default() };
                self.server.nobody().keys().revoke_credentials(request).await.unwrap();
                match key.kind {
                    Kind::Regular => key.is_revoked = true,
                    Kind::Master => {
                        let current = key.secrets.last_mut().unwrap();
                        current.1 = Some(current.1.map_or(hour, |before| before.min(hour)));
                    }
                    Kind::Public => {}
                }
            }
        }
    }

    /// Asks about every credential that was ever shown.
    async fn ask(&mut self, after: &str) {
        let mut checks = Vec::new();
        let mut expected = Vec::new();
        let permission = |resource: &str, action: &str| Permission { resource: resource.into(), action: action.into() };
        for key in self.model.keys.values() {
            for (place, (credential, _)) in key.secrets.iter().enumerate() {
                let right = key.second.clone().unwrap_or_default();
                for (question, second) in [
                    (permission("docs/0", "read"), right.as_str()),
                    (permission("docs/1", "read"), ""),
                    (permission("docs/2", "read"), "another"),
                    (permission("docs/0/below", "read"), right.as_str()),
                    (permission("keyward/check", "use"), right.as_str()),
                ] {
                    expected.push((key, place, self.model.reasons(key, place, second, &question)));
                    checks.push(CheckRequest {
                        credential: credential.clone(),
                        secret_key: second.to_owned(),
                        permissions: vec![question],
                        ..CheckRequest::default()
                    });
                }
            }
        }
        for (checks, expected) in checks.chunks(1000).zip(expected.chunks(1000)) {
            let request = BatchCheckRequest { checks: checks.to_vec() };
            let mut client = CheckServiceClient::new(self.server.data.clone());
            let answers = client.batch_check(request).await.unwrap().into_inner().results;
            assert_eq!(answers.len(), expected.len());
            for ((answer, check), (key, place, reasons)) in answers.into_iter().zip(checks).zip(expected) {
                let question = &check.permissions;
                assert_eq!(
                    &answer.reasons().collect::<Vec<_>>(),
                    reasons,
                    "{after}: {question:?}, secret {place} of {key:?}"
                );
                let decision = if reasons.is_empty() { Decision::Allowed } else { Decision::Denied };
                assert_eq!(answer.decision(), decision);
                self.questions += 1;
            }
        }
    }
}

fn change(standing: &mut Standing, verb: Verb) {
    match verb {
        Verb::Suspend => standing.is_suspended = true,
        Verb::Activate => standing.is_suspended = false,
        Verb::Delete => standing.is_deleted = true,
    }
}

fn retire(key: &mut ModelKey, hour: u64) {
    for secret in &mut key.secrets {
        secret.1 = Some(secret.1.map_or(hour, |before| before.min(hour)));
    }
}

fn rotate(key: &mut ModelKey, credential: String, retire_hour: u64) {
    retire(key, retire_hour);
    key.secrets.push((credential, None));
}

async fn live(steps: Vec<Step>) -> u64 {
    let mut history = History { server: TestServer::start().await, model: Model::default(), questions: 0 };
    history.tell(Step::CreateTenant(0)).await;
    for step in steps {
        history.tell(step).await;
        history.ask(&format!("{step:?}")).await;
    }
    // Fed live, loaded from rows, folded from the log: all the same.
    history.server.restart().await;
    history.ask("after a restart").await;
    history.server.stop().await;
    ledger::audit(&history.server.database()).await;
    history.questions
}

#[test]
fn whatever_is_done_every_credential_is_answered_as_the_contract_says() {
    let cases = number("KEYWARD_PROOF_HISTORIES", 8);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases, max_shrink_iters: 40, failure_persistence: None, ..Config::default() };
    let (told, asked) = (AtomicU64::new(0), AtomicU64::new(0));
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 20..60), |steps| {
            told.fetch_add(steps.len() as u64, Ordering::Relaxed);
            asked.fetch_add(runtime.block_on(live(steps)), Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
    println!("histories: {cases} of them, {} mutations, {} questions", told.into_inner(), asked.into_inner());
}
