//! Clients that change users, their sessions and passwords.

use super::askers::timed;
use super::changes::{Attempt, Thing, Told, told};
use super::keys::{ABSENT, LIMIT};
use super::world::{Watched, World};
use crate::harness::mask;
use crate::harness::settings::Dice;
use keyward::proto::v1::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Status;

/// How long a client waits for what runs an argon2.
const SLOW: Duration = Duration::from_secs(20);

/// About how far apart new things are: mails a day and sign-ins have limits.
pub(super) const PAUSE_MS: u64 = 8000;

/// Starts one after the other.
pub(super) fn spawn(world: &Arc<World>, tasks: &mut JoinSet<()>) {
    let world = Arc::clone(world);
    tasks.spawn(async move {
        let mut dice = Dice(0x05e5);
        let mut number = 0;
        while !world.is_over() {
            number += 1;
            Life { world: &world, number, dice: &mut dice }.live().await;
            pause(&world, PAUSE_MS / 2 + dice.roll(PAUSE_MS / 2)).await;
        }
    });
}

pub(super) async fn pause(world: &World, millis: u64) {
    let end = Instant::now() + Duration::from_millis(millis);
    while !world.is_over() && Instant::now() < end {
        sleep(Duration::from_millis(50)).await;
    }
}

/// All that is compared of a user.
pub(super) fn look_of_user(user: &User) -> String {
    format!("{} {:?}", user.state().as_str_name(), user.given_name)
}

/// What is done to a user.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Create,
    Suspend,
    Activate,
    SetPassword,
    Name,
    RotateMasterKey,
    Delete,
}

/// What a request says of the user.
#[derive(Clone, Debug)]
struct Sent {
    id: String,
    password: String,
}

impl Sent {
    fn name(&self) -> String {
        format!("tenants/acme/users/{}", self.id)
    }

    fn email(&self) -> String {
        format!("{}@acme.example", self.id)
    }
}

impl Verb {
    /// Its RPC, and the kind of its event.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Create => ("CreateUser", "user.create"),
            Self::Suspend => ("SuspendUser", "user.suspend"),
            Self::Activate => ("ActivateUser", "user.activate"),
            Self::SetPassword => ("SetPassword", "user.set_password"),
            Self::Name => ("UpdateUser", "user.update"),
            Self::RotateMasterKey => ("RotateMasterKey", "user.rotate_master_key"),
            Self::Delete => ("DeleteUser", "user.delete"),
        }
    }

    /// Sends it once.
    async fn send(self, to: Attempt, sent: Sent) -> Result<Told, Status> {
        let Attempt { owner, request_id, etag, .. } = to;
        let (name, email) = (sent.name(), sent.email());
        let Sent { id: user_id, password } = sent;
        let mut users = owner.users();
        match self {
            Self::Create => {
                let user = Some(User { email, role: UserRole::Member.into(), ..User::default() });
                let parent = "tenants/-".to_owned();
                let request = CreateUserRequest { parent, user_id, user, password, request_id };
                users.create_user(timed(request, SLOW)).await.map(told)
            }
            Self::Suspend => users.suspend_user(timed(SuspendUserRequest { name, etag }, LIMIT)).await.map(told),
            Self::Activate => users.activate_user(timed(ActivateUserRequest { name, etag }, LIMIT)).await.map(told),
            Self::SetPassword => {
                let request = SetPasswordRequest { name, password, etag, ..Default::default() };
                users.set_password(timed(request, SLOW)).await.map(told)
            }
            Self::Name => {
                let user = Some(User { name, etag, given_name: "Ada".to_owned(), ..User::default() });
                let request = UpdateUserRequest { user, update_mask: mask(&["given_name"]) };
                users.update_user(timed(request, LIMIT)).await.map(told)
            }
            Self::RotateMasterKey => {
                let request = RotateMasterKeyRequest { name, request_id, ..Default::default() };
                users.rotate_master_key(timed(request, LIMIT)).await.map(told)
            }
            Self::Delete => users.delete_user(timed(DeleteUserRequest { name, etag }, LIMIT)).await.map(told),
        }
    }
}

/// The life of a user; it ends early once it is over.
struct Life<'a> {
    world: &'a World,
    number: u64,
    dice: &'a mut Dice,
}

impl Life<'_> {
    async fn live(&mut self) -> Option<()> {
        let world = self.world;
        let mut sent =
            Sent { id: format!("soaker-{}", self.number), password: format!("Correct horse {}", self.number) };
        let look = |state: UserState, given_name: &str| {
            look_of_user(&User { state: state.into(), given_name: given_name.to_owned(), ..User::default() })
        };
        let (active, suspended) = (look(UserState::Active, ""), look(UserState::Suspended, ""));
        let mut user = Thing::new(&sent.name(), ABSENT);
        let made = self.done(Verb::Create, &mut user, &sent, &active).await?;
        // What is made of it is told of its user only.
        let mut master_key = Thing::new(&made.master_key, "");
        let made = self.equipped(&mut master_key, &sent, made).await?;
        let mut watched = vec![world.watch(&made.secret, made.revision)];
        watched.extend(self.sign_in(&sent).await);
        self.rest(2000).await;

        world.ending(&watched);
        self.done(Verb::Suspend, &mut user, &sent, &suspended).await?;
        world.ended(&watched);
        self.rest(1000).await;

        // The sessions have ended with the suspension; the master key comes back.
        watched.truncate(1);
        world.past(&watched);
        let told = self.done(Verb::Activate, &mut user, &sent, &active).await?;
        watched = world.back(&watched, told.revision);
        self.rest(1000).await;

        // A session ends with the password that it was made with; the master key does not.
        let sessions: Vec<_> = self.sign_in(&sent).await.into_iter().collect();
        self.rest(1000).await;
        world.ending(&sessions);
        sent.password.push('!');
        self.done(Verb::SetPassword, &mut user, &sent, &active).await?;
        world.ended(&sessions);
        self.done(Verb::Name, &mut user, &sent, &look(UserState::Active, "Ada")).await?;

        let session = self.sign_in(&sent).await;
        self.rest(1000).await;
        if let Some(session) = session {
            world.end_token(session, "session.revoke", self.dice).await;
        }
        world.ending(&watched);
        let told = self.done(Verb::RotateMasterKey, &mut master_key, &sent, "").await?;
        world.ended(&watched);
        let told = self.equipped(&mut master_key, &sent, told).await?;
        watched = vec![world.watch(&told.secret, told.revision)];
        self.rest(1000).await;
        if self.dice.roll(4) > 0 {
            world.ending(&watched);
            self.done(Verb::Delete, &mut user, &sent, &look(UserState::Deleted, "Ada")).await?;
            world.ended(&watched);
        }
        Some(())
    }

    async fn rest(&mut self, millis: u64) {
        pause(self.world, self.dice.roll(millis)).await;
    }

    /// Does it to a user, or to its master key.
    async fn done(&mut self, verb: Verb, thing: &mut Thing, sent: &Sent, look: &str) -> Option<Told> {
        self.world.change(verb.names(), thing, look, self.dice, |to| verb.send(to, sent.clone())).await
    }

    /// The master key's credential. What was shown to nobody is replaced once more.
    async fn equipped(&mut self, master_key: &mut Thing, sent: &Sent, mut told: Told) -> Option<Told> {
        while told.secret.is_empty() {
            told = self.done(Verb::RotateMasterKey, master_key, sent, "").await?;
        }
        Some(told)
    }

    /// A session. One whose making was not answered is nobody's.
    async fn sign_in(&mut self, sent: &Sent) -> Option<Arc<Watched>> {
        let world = self.world;
        let at = world.anywhere(self.dice);
        let _turn = world.turn().await?;
        let request = CreateSessionRequest {
            email: sent.email(),
            password: sent.password.clone(),
            tenant: "tenants/acme".to_owned(),
        };
        let begun = world.now();
        let mut tokens = world.site.owner(at).tokens();
        let made = world.call("CreateSession", at, tokens.create_session(timed(request, SLOW))).await?;
        let name = made.session.map(|session| session.name).unwrap_or_default();
        world.acknowledge(made.revision, "session.create", &name, begun);
        Some(world.watch_until(&made.session_token, made.revision, world.end_of(made.expire_time)))
    }
}
