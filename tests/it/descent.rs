//! Whatever happens to tenants, users, applications, keys and secrets, a token or session is answered as its whole
//! history says. The model keeps nothing but the story: it reads it from the beginning for each answer.

use crate::harness::settings::number;
use crate::harness::{TestServer, TestTenant, ledger, resources};
use keyward::proto::v1::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::atomic::{AtomicU64, Ordering};

const PASSWORD: &str = "correct horse battery";
/// Long after anything here.
const NEVER: u64 = 1_000_000;

/// `users/user-1` owns `applications/app-1` and `keys/key-1`; `keys/key-0` belongs to `applications/app-0`, and so on.
const USERS: u8 = 2;
const APPLICATIONS: u8 = 2;
const KEYS: u8 = 3;

/// What is done, each acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    SuspendTenant,
    ActivateTenant,
    SuspendUser(u8),
    ActivateUser(u8),
    SetPassword(u8),
    RevokeApplication(u8),
    ActivateApplication(u8),
    ChangeContact(u8),
    VerifyApplication(u8),
    RotateApplication(u8, u64),
    SuspendKey(u8),
    ActivateKey(u8),
    DeleteKey(u8),
    UndeleteKey(u8),
    RevokeKey(u8),
    RotateKey(u8, u64),
    GenerateSecretKey(u8),
    RevokeToken(usize),
    RevokeSession(usize),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Do(Deed),
    /// A token of the credential at this place among those that can have one.
    Token {
        of: usize,
        is_jwt: bool,
        hours: u64,
    },
    Session(u8),
    /// The token at this place.
    EndToken(usize),
    EndSession(usize),
    /// Hours go by.
    Pass(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let deed = prop_oneof![
        1 => Just(Deed::SuspendTenant),
        2 => Just(Deed::ActivateTenant),
        1 => (0..USERS).prop_map(Deed::SuspendUser),
        2 => (0..USERS).prop_map(Deed::ActivateUser),
        1 => (0..USERS).prop_map(Deed::SetPassword),
        1 => (0..APPLICATIONS).prop_map(Deed::RevokeApplication),
        2 => (0..APPLICATIONS).prop_map(Deed::ActivateApplication),
        1 => (0..APPLICATIONS).prop_map(Deed::ChangeContact),
        2 => (0..APPLICATIONS).prop_map(Deed::VerifyApplication),
        1 => (0..APPLICATIONS, prop_oneof![Just(0), Just(2)]).prop_map(|(at, hours)| Deed::RotateApplication(at, hours)),
        1 => (0..KEYS).prop_map(Deed::SuspendKey),
        2 => (0..KEYS).prop_map(Deed::ActivateKey),
        1 => (0..KEYS).prop_map(Deed::DeleteKey),
        2 => (0..KEYS).prop_map(Deed::UndeleteKey),
        1 => (0..KEYS, prop_oneof![Just(0), Just(2)]).prop_map(|(at, hours)| Deed::RotateKey(at, hours)),
        1 => (2..KEYS).prop_map(Deed::RevokeKey),
        1 => (2..KEYS).prop_map(Deed::GenerateSecretKey),
    ];
    prop_oneof![
        8 => deed.prop_map(Step::Do),
        8 => (0..64_usize, any::<bool>(), 1..6_u64).prop_map(|(of, is_jwt, hours)| Step::Token { of, is_jwt, hours }),
        2 => (0..USERS).prop_map(Step::Session),
        2 => (0..64_usize).prop_map(Step::EndToken),
        1 => (0..64_usize).prop_map(Step::EndSession),
        2 => (1..4_u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    Key(u8),
    Application(u8),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A secret, the first of its parent being 0.
    Secret {
        of: Parent,
        version: usize,
    },
    Token {
        id: usize,
        of: Parent,
        version: usize,
        end: u64,
    },
    Session {
        id: usize,
        of: u8,
        end: u64,
    },
}

/// A credential, and how much of the story had been told when it was made.
#[derive(Clone, Debug)]
struct Shown {
    kind: Kind,
    text: String,
    told: usize,
}

#[derive(Debug, Default)]
struct Story {
    hour: u64,
    deeds: Vec<(u64, Deed)>,
}

impl Story {
    /// Whether the last of two opposite deeds was `on`.
    fn stands(&self, on: Deed, off: Deed) -> bool {
        let last = self.deeds.iter().rev().find(|(_, deed)| *deed == on || *deed == off);
        last.is_some_and(|(_, deed)| *deed == on)
    }

    fn has_happened_since(&self, told: usize, wanted: &[Deed]) -> bool {
        self.deeds[told..].iter().any(|(_, deed)| wanted.contains(deed))
    }

    /// The hour in which a secret is rotated out: each rotation after it ends it, the earliest end counts.
    fn retire_hour(&self, of: Parent, version: usize) -> u64 {
        let rotations = self.deeds.iter().filter_map(|(hour, deed)| match (*deed, of) {
            (Deed::RotateKey(at, overlap), Parent::Key(key)) if at == key => Some(hour + overlap),
            (Deed::RotateApplication(at, overlap), Parent::Application(application)) if at == application => {
                Some(hour + overlap)
            }
            // Each verification gives a new secret, and ends the earlier ones.
            (Deed::VerifyApplication(at), Parent::Application(application)) if at == application => Some(*hour),
            _ => None,
        });
        // Of an application, the first of these made the first secret.
        let makers = match of {
            Parent::Key(_) => version,
            Parent::Application(_) => version + 1,
        };
        rotations.skip(makers).min().unwrap_or(NEVER)
    }

    fn is_verified(&self, application: u8) -> bool {
        self.stands(Deed::VerifyApplication(application), Deed::ChangeContact(application))
    }

    fn reasons(&self, shown: &Shown) -> Vec<Reason> {
        let (parent, version, end, is_token) = match shown.kind {
            Kind::Secret { of, version } => (of, version, NEVER, false),
            Kind::Token { of, version, end, .. } => (of, version, end, true),
            Kind::Session { id, of, end } => return self.reasons_of_session(shown.told, id, of, end),
        };
        if end + 24 <= self.hour {
            return vec![Reason::NotFound];
        }
        let application = match parent {
            Parent::Application(application) => Some(application),
            Parent::Key(0) => Some(0),
            Parent::Key(_) => None,
        };
        let user = match (parent, application) {
            (_, Some(application)) => application,
            (Parent::Key(key), None) => key % USERS,
            (Parent::Application(application), None) => application,
        };
        let mut fatal: Vec<Deed> = application.map(Deed::RevokeApplication).into_iter().collect();
        let mut reasons = Vec::new();
        let mut is_revoked = false;
        let mut is_suspended = false;
        let mut needs_second = false;
        if let Parent::Key(key) = parent {
            if self.stands(Deed::DeleteKey(key), Deed::UndeleteKey(key)) {
                reasons.push(Reason::Deleted);
            }
            fatal.extend([Deed::DeleteKey(key), Deed::GenerateSecretKey(key)]);
            is_revoked = self.has_happened_since(0, &[Deed::RevokeKey(key)]);
            is_suspended = self.stands(Deed::SuspendKey(key), Deed::ActivateKey(key));
            needs_second = !is_token && self.has_happened_since(0, &[Deed::GenerateSecretKey(key)]);
        }
        if let Kind::Token { id, .. } = shown.kind {
            is_revoked |= self.has_happened_since(0, &[Deed::RevokeToken(id)]);
            is_revoked |= self.has_happened_since(shown.told, &fatal);
        }
        let applies = [
            (is_revoked, Reason::Revoked),
            (self.retire_hour(parent, version) <= self.hour, Reason::RotatedOut),
            (end <= self.hour, Reason::Expired),
            (is_suspended, Reason::Suspended),
            (self.stands(Deed::SuspendTenant, Deed::ActivateTenant), Reason::TenantSuspended),
            (self.stands(Deed::SuspendUser(user), Deed::ActivateUser(user)), Reason::OwnerSuspended),
            (application.is_some_and(|at| !self.is_verified(at)), Reason::ApplicationNotVerified),
            (
                application.is_some_and(|at| self.stands(Deed::RevokeApplication(at), Deed::ActivateApplication(at))),
                Reason::ApplicationRevoked,
            ),
            (needs_second, Reason::SecretKeyRequired),
        ];
        reasons.extend(applies.into_iter().filter(|(applies, _)| *applies).map(|(_, reason)| reason));
        reasons
    }

    fn reasons_of_session(&self, told: usize, id: usize, user: u8, end: u64) -> Vec<Reason> {
        if end + 24 <= self.hour {
            return vec![Reason::NotFound];
        }
        let fatal = [Deed::SuspendUser(user), Deed::SetPassword(user)];
        let is_revoked =
            self.has_happened_since(0, &[Deed::RevokeSession(id)]) || self.has_happened_since(told, &fatal);
        let applies = [
            (is_revoked, Reason::Revoked),
            (end <= self.hour, Reason::Expired),
            (self.stands(Deed::SuspendTenant, Deed::ActivateTenant), Reason::TenantSuspended),
            (self.stands(Deed::SuspendUser(user), Deed::ActivateUser(user)), Reason::OwnerSuspended),
        ];
        applies.into_iter().filter(|(applies, _)| *applies).map(|(_, reason)| reason).collect()
    }
}

struct World {
    server: TestServer,
    tenant: TestTenant,
    story: Story,
    shown: Vec<Shown>,
    questions: u64,
}

fn user(at: u8) -> String {
    format!("tenants/acme/users/user-{at}")
}

fn application(at: u8) -> String {
    format!("tenants/acme/applications/app-{at}")
}

fn key(at: u8) -> String {
    format!("tenants/acme/keys/key-{at}")
}

impl World {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let tenant = server.tenant("acme").await;
        let mut world = Self { server, tenant, story: Story::default(), shown: Vec::new(), questions: 0 };
        let root = world.server.root();
        for at in 0..USERS {
            let request = CreateUserRequest {
                parent: world.tenant.name.clone(),
                user_id: format!("user-{at}"),
                user: Some(User { email: format!("user-{at}@example.com"), ..User::default() }),
                password: PASSWORD.to_owned(),
                ..Default::default()
            };
            root.users().create_user(request).await.unwrap();
        }
        for at in 0..APPLICATIONS {
            let request = CreateApplicationRequest {
                parent: user(at),
                application_id: format!("app-{at}"),
                application: Some(Application {
                    contact_email: format!("app-{at}-0@example.com"),
                    grants: vec![resources("doc/*", &["read"])],
                    ..Application::default()
                }),
                ..Default::default()
            };
            root.applications().create_application(request).await.unwrap();
            assert!(world.deed(Deed::VerifyApplication(at)).await);
        }
        for at in 0..KEYS {
            let parent = if at == 0 { application(0) } else { user(at % USERS) };
            let made = root.key(&parent).id(&format!("key-{at}")).may("doc/*", "read").issued().await;
            world.show(Kind::Secret { of: Parent::Key(at), version: 0 }, made.credential);
        }
        world
    }

    fn show(&mut self, kind: Kind, text: String) {
        self.shown.push(Shown { kind, text, told: self.story.deeds.len() });
    }

    /// How many secrets a parent has had.
    fn versions(&self, wanted: Parent) -> usize {
        let is_of = |shown: &&Shown| matches!(shown.kind, Kind::Secret { of, .. } if of == wanted);
        self.shown.iter().filter(is_of).count()
    }

    /// Does it as root; whether it was done, and told.
    async fn deed(&mut self, deed: Deed) -> bool {
        let root = self.server.root();
        let (mut keys, mut users, mut tenants) = (root.keys(), root.users(), root.tenants());
        let (mut applications, mut tokens) = (root.applications(), root.tokens());
        macro_rules! sent {
            ($client:ident.$method:ident($request:ident { $($field:tt)* })) => {
                $client.$method($request { $($field)*, ..Default::default() }).await.map(tonic::Response::into_inner)
            };
        }
        let hours = |hours: u64| Some(prost_types::Duration { seconds: (hours * 3600) as i64, nanos: 0 });
        let mut secret = None;
        let done = match deed {
            Deed::SuspendTenant => {
                sent!(tenants.suspend_tenant(SuspendTenantRequest { name: "tenants/acme".into() })).is_ok()
            }
            Deed::ActivateTenant => {
                sent!(tenants.activate_tenant(ActivateTenantRequest { name: "tenants/acme".into() })).is_ok()
            }
            Deed::SuspendUser(at) => sent!(users.suspend_user(SuspendUserRequest { name: user(at) })).is_ok(),
            Deed::ActivateUser(at) => sent!(users.activate_user(ActivateUserRequest { name: user(at) })).is_ok(),
            Deed::SetPassword(at) => {
                sent!(users.set_password(SetPasswordRequest { name: user(at), password: PASSWORD.into() })).is_ok()
            }
            Deed::RevokeApplication(at) => {
                sent!(applications.revoke_application(RevokeApplicationRequest { name: application(at) })).is_ok()
            }
            Deed::ActivateApplication(at) => {
                sent!(applications.activate_application(ActivateApplicationRequest { name: application(at) })).is_ok()
            }
            Deed::ChangeContact(at) => {
                // There is a limit on mail.
                self.server.pass(61);
                let contact_email = format!("app-{at}-{}@example.com", self.story.deeds.len());
                let changed = Application { name: application(at), contact_email, ..Application::default() };
                sent!(applications.update_application(UpdateApplicationRequest { application: Some(changed) })).is_ok()
            }
            Deed::VerifyApplication(at) => {
                let mut is_done = false;
                // The newest mail first; a wrong attempt consumes nothing.
                for mail in self.server.mailed(&application(at), 1).await.into_iter().rev() {
                    let request = VerifyApplicationRequest {
                        name: application(at),
                        verification_token: mail.token,
                        ..Default::default()
                    };
                    if let Ok(answer) = applications.verify_application(request).await {
                        secret = Some((Parent::Application(at), answer.into_inner().secret));
                        is_done = true;
                        break;
                    }
                }
                is_done
            }
            Deed::RotateApplication(at, overlap) => {
                let answer = sent!(applications.rotate_application_secret(RotateApplicationSecretRequest {
                    name: application(at),
                    overlap: hours(overlap)
                }));
                secret = answer.as_ref().ok().map(|answer| (Parent::Application(at), answer.secret.clone()));
                answer.is_ok()
            }
            Deed::SuspendKey(at) => sent!(keys.suspend_key(SuspendKeyRequest { name: key(at) })).is_ok(),
            Deed::ActivateKey(at) => sent!(keys.activate_key(ActivateKeyRequest { name: key(at) })).is_ok(),
            Deed::DeleteKey(at) => sent!(keys.delete_key(DeleteKeyRequest { name: key(at) })).is_ok(),
            Deed::UndeleteKey(at) => sent!(keys.undelete_key(UndeleteKeyRequest { name: key(at) })).is_ok(),
            Deed::RevokeKey(at) => sent!(keys.revoke_key(RevokeKeyRequest { name: key(at) })).is_ok(),
            Deed::RotateKey(at, overlap) => {
                let answer = sent!(keys.rotate_key(RotateKeyRequest { name: key(at), overlap: hours(overlap) }));
                secret = answer.as_ref().ok().map(|answer| (Parent::Key(at), answer.credential.clone()));
                answer.is_ok()
            }
            Deed::GenerateSecretKey(at) => {
                sent!(keys.generate_secret_key(GenerateSecretKeyRequest { name: key(at) })).is_ok()
            }
            Deed::RevokeToken(id) | Deed::RevokeSession(id) => {
                sent!(tokens.revoke_token(RevokeTokenRequest { token: self.shown[id].text.clone() })).is_ok()
            }
        };
        if done {
            // Deleting and revoking again change nothing.
            let is_repeated = match deed {
                Deed::DeleteKey(at) => self.story.stands(Deed::DeleteKey(at), Deed::UndeleteKey(at)),
                Deed::RevokeApplication(at) => self.story.stands(deed, Deed::ActivateApplication(at)),
                Deed::SuspendUser(at) => self.story.stands(deed, Deed::ActivateUser(at)),
                _ => false,
            };
            if !is_repeated {
                self.story.deeds.push((self.story.hour, deed));
            }
        }
        if let Some((of, text)) = secret {
            let version = self.versions(of);
            self.show(Kind::Secret { of, version }, text);
        }
        done
    }

    async fn tell(&mut self, step: Step) {
        match step {
            Step::Do(deed) => {
                self.deed(deed).await;
            }
            Step::Token { of, is_jwt, hours } => self.make_token(of, is_jwt, hours).await,
            Step::Session(at) => {
                let request = CreateSessionRequest {
                    email: format!("user-{at}@example.com"),
                    password: PASSWORD.into(),
                    tenant: "tenants/acme".into(),
                };
                let answer = self.server.nobody().tokens().create_session(request).await;
                let is_open = !self.story.stands(Deed::SuspendTenant, Deed::ActivateTenant)
                    && !self.story.stands(Deed::SuspendUser(at), Deed::ActivateUser(at));
                assert_eq!(answer.is_ok(), is_open, "{step:?}: {answer:?}");
                if let Ok(answer) = answer {
                    let kind = Kind::Session { id: self.shown.len(), of: at, end: self.story.hour + 24 };
                    self.show(kind, answer.into_inner().session_token);
                }
            }
            Step::EndToken(at) => {
                let tokens: Vec<usize> = self.places(|kind| matches!(kind, Kind::Token { .. }));
                if let Some(id) = tokens.get(at % tokens.len().max(1)) {
                    assert!(self.deed(Deed::RevokeToken(*id)).await);
                }
            }
            Step::EndSession(at) => {
                let sessions: Vec<usize> = self.places(|kind| matches!(kind, Kind::Session { .. }));
                if let Some(id) = sessions.get(at % sessions.len().max(1)) {
                    assert!(self.deed(Deed::RevokeSession(*id)).await);
                }
            }
            Step::Pass(hours) => {
                self.story.hour += hours;
                self.server.pass(hours * 3600);
            }
            Step::Restart => self.server.restart().await,
        }
    }

    fn places(&self, is_it: impl Fn(&Kind) -> bool) -> Vec<usize> {
        (0..self.shown.len()).filter(|at| is_it(&self.shown[*at].kind)).collect()
    }

    /// A token of a secret; it is made exactly when the secret itself is good.
    async fn make_token(&mut self, of: usize, is_jwt: bool, hours: u64) {
        let secrets = self.places(|kind| matches!(kind, Kind::Secret { .. }));
        let shown = self.shown[secrets[of % secrets.len()]].clone();
        let Kind::Secret { of, version } = shown.kind else { panic!("{shown:?}") };
        let mut request = CreateTokenRequest {
            ttl: Some(prost_types::Duration { seconds: (hours * 3600) as i64, nanos: 0 }),
            format: if is_jwt { TokenFormat::Jwt } else { TokenFormat::Opaque }.into(),
            ..Default::default()
        };
        match of {
            Parent::Key(_) => request.key = shown.text.clone(),
            Parent::Application(at) => {
                request.application = application(at);
                request.secret = shown.text.clone();
            }
        }
        let end = self.story.hour + hours;
        let is_good = self.story.reasons(&shown).is_empty() && self.story.retire_hour(of, version) > end;
        let answer = self.server.nobody().tokens().create_token(request).await;
        assert_eq!(answer.is_ok(), is_good, "a token of {shown:?}: {answer:?}; {:?}", self.story);
        if let Ok(answer) = answer {
            let kind = Kind::Token { id: self.shown.len(), of, version, end };
            self.show(kind, answer.into_inner().token);
        }
    }

    async fn ask(&mut self, after: &str) {
        for shown in &self.shown {
            let answer = self.server.check(&shown.text).asked().await;
            let reasons: Vec<Reason> = answer.reasons().collect();
            assert_eq!(reasons, self.story.reasons(shown), "after {after}: {:?}; {:?}", shown.kind, self.story);
            assert_eq!(answer.decision() == Decision::Allowed, reasons.is_empty(), "after {after}");
            self.questions += 1;
        }
    }
}

async fn live(steps: Vec<Step>) -> u64 {
    let mut world = World::new().await;
    world.ask("the beginning").await;
    for step in steps {
        world.tell(step).await;
        world.ask(&format!("{step:?}")).await;
    }
    world.server.restart().await;
    world.ask("a restart").await;
    world.server.stop().await;
    ledger::audit(&world.server.database()).await;
    world.questions
}

#[test]
fn whatever_is_done_a_token_is_answered_as_its_history_says() {
    let cases = number("KEYWARD_PROOF_DESCENTS", 6);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases, max_shrink_iters: 40, failure_persistence: None, ..Config::default() };
    let (told, asked) = (AtomicU64::new(0), AtomicU64::new(0));
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 20..50), |steps| {
            told.fetch_add(steps.len() as u64, Ordering::Relaxed);
            asked.fetch_add(runtime.block_on(live(steps)), Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
    println!("descents: {cases} of them, {} steps, {} questions", told.into_inner(), asked.into_inner());
}
