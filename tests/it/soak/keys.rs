//! Clients that change keys and their tokens in all ways, each its own, and know how each must look afterwards.

use super::askers::timed;
use super::changes::{Attempt, Thing, Told, told};
use super::world::{Watched, World};
use crate::harness::settings::Dice;
use crate::harness::{mask, resources, seconds};
use crate::usage::HELD;
use keyward::proto::v1::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::Status;

/// How many clients there are, and how many keys each has at most.
const CLIENTS: u64 = 4;
const KEYS: usize = 4;

/// How long a client waits for a mutation.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// A key as its client knows it.
#[derive(Clone, Debug)]
struct Held {
    thing: Thing,
    description: String,
    state: KeyState,
    is_narrow: bool,
    credential: String,
    /// Of its last mutation: whoever knows it knows the key as it is.
    revision: i64,
    /// What is asked about: its credential, and its tokens.
    watched: Vec<Arc<Watched>>,
}

impl Held {
    fn look(&self) -> String {
        look(self.state, &self.description, if self.is_narrow { 0 } else { HELD.len() })
    }
}

/// All that is compared of a key.
pub(super) fn look(state: KeyState, description: &str, grants: usize) -> String {
    format!("{} {description:?} {grants} grants", state.as_str_name())
}

/// How it looks when it is not there.
pub(super) const ABSENT: &str = "absent";

fn grants() -> Vec<Grant> {
    HELD.iter().map(|(resource, action)| resources(resource, &[action])).collect()
}

/// Starts them all.
pub(super) fn spawn(world: &Arc<World>, tasks: &mut JoinSet<()>) {
    for number in 0..CLIENTS {
        let world = Arc::clone(world);
        tasks.spawn(async move {
            let mut client = Keys { world, number, made: 0, dice: Dice(0x500a + number), keys: Vec::new() };
            while !client.world.is_over() {
                client.change().await;
                sleep(Duration::from_millis(40 + client.dice.roll(160))).await;
            }
        });
    }
}

struct Keys {
    world: Arc<World>,
    number: u64,
    made: u64,
    dice: Dice,
    keys: Vec<Held>,
}

impl Keys {
    async fn change(&mut self) {
        let kept = if self.keys.len() < KEYS {
            self.create().await
        } else {
            let place = self.dice.roll(self.keys.len() as u64) as usize;
            let key = self.keys.swap_remove(place);
            let roll = self.dice.roll(12);
            match (key.state, key.is_narrow) {
                (KeyState::Suspended, _) => self.come_back(key, Verb::Activate).await,
                (KeyState::Deleted, _) => self.come_back(key, Verb::Undelete).await,
                (_, true) => self.come_back(key, Verb::Widen).await,
                _ => match roll {
                    0 => self.describe(key).await,
                    1 => self.take_away(key, Verb::Narrow).await,
                    2 | 3 => self.take_away(key, Verb::Suspend).await,
                    4 => self.take_away(key, Verb::Delete).await,
                    5 => self.take_away(key, Verb::Revoke).await,
                    6 => self.take_away(key, Verb::RevokeCredentials).await,
                    7 | 8 => self.rotate(key).await,
                    9 if key.watched.len() > 1 => self.end_token(key).await,
                    _ => self.token(key).await,
                },
            }
        };
        self.keys.extend(kept.filter(|key| key.state != KeyState::Revoked));
    }

    /// Does it to a key, which shall look as it says then.
    async fn done(&mut self, verb: Verb, key: &mut Held) -> Option<Told> {
        let sent = Sent {
            name: key.thing.name.clone(),
            description: key.description.clone(),
            credential: key.credential.clone(),
        };
        let look = key.look();
        let call = |to| verb.send(to, sent.clone());
        let told = self.world.change(verb.names(), &mut key.thing, &look, &mut self.dice, call).await?;
        key.revision = told.revision;
        Some(told)
    }

    async fn create(&mut self) -> Option<Held> {
        self.made += 1;
        let name = format!("tenants/acme/keys/soak{}-{}", self.number, self.made);
        let mut key = Held {
            thing: Thing::new(&name, ABSENT),
            description: String::new(),
            state: KeyState::Active,
            is_narrow: false,
            credential: String::new(),
            revision: 0,
            watched: Vec::new(),
        };
        let made = self.done(Verb::Create, &mut key).await?;
        self.equip(key, made).await
    }

    /// Has its new credential asked about. What was shown to nobody is replaced once more.
    async fn equip(&mut self, mut key: Held, mut told: Told) -> Option<Held> {
        while told.secret.is_empty() {
            told = self.done(Verb::Rotate, &mut key).await?;
        }
        key.watched = vec![self.world.watch(&told.secret, told.revision)];
        key.credential = told.secret;
        Some(key)
    }

    async fn describe(&mut self, mut key: Held) -> Option<Held> {
        key.description = format!("change {}", self.dice.roll(1_000_000_000));
        self.done(Verb::Describe, &mut key).await?;
        Some(key)
    }

    /// Takes all of it away, or what is asked for by Checks.
    async fn take_away(&mut self, mut key: Held, verb: Verb) -> Option<Held> {
        key.is_narrow = verb == Verb::Narrow;
        key.state = match verb {
            Verb::Suspend => KeyState::Suspended,
            Verb::Delete => KeyState::Deleted,
            Verb::Revoke | Verb::RevokeCredentials => KeyState::Revoked,
            _ => KeyState::Active,
        };
        self.world.ending(&key.watched);
        self.done(verb, &mut key).await?;
        self.world.ended(&key.watched);
        Some(key)
    }

    async fn come_back(&mut self, mut key: Held, verb: Verb) -> Option<Held> {
        key.state = KeyState::Active;
        key.is_narrow = false;
        // Tokens of what was deleted are dead for good.
        if verb == Verb::Undelete {
            key.watched.truncate(1);
        }
        self.world.past(&key.watched);
        let told = self.done(verb, &mut key).await?;
        key.watched = self.world.back(&key.watched, told.revision);
        Some(key)
    }

    async fn rotate(&mut self, mut key: Held) -> Option<Held> {
        self.world.ending(&key.watched);
        let told = self.done(Verb::Rotate, &mut key).await?;
        self.world.ended(&key.watched);
        self.equip(key, told).await
    }

    /// A token, opaque or a JWT, that lives for seconds or for as long as it may. One whose making was not answered is
    /// nobody's.
    async fn token(&mut self, mut key: Held) -> Option<Held> {
        let world = Arc::clone(&self.world);
        let at = world.anywhere(&mut self.dice);
        let Some(_turn) = world.turn().await else { return Some(key) };
        let life = if self.dice.roll(3) == 0 { seconds(2 + self.dice.roll(4) as i64) } else { None };
        let format = if self.dice.roll(2) == 0 { TokenFormat::Jwt } else { TokenFormat::Opaque };
        let request =
            CreateTokenRequest { key: key.credential.clone(), ttl: life, format: format.into(), ..Default::default() };
        // What was given back elsewhere a moment ago gets a token where that is known.
        if world.is_known(at, key.revision).await {
            let sent = world.now();
            let mut tokens = world.site.owner(at).tokens();
            if let Some(made) = world.call("CreateToken", at, tokens.create_token(timed(request, LIMIT))).await {
                // A JWT is no mutation.
                if format == TokenFormat::Opaque {
                    let name = made.access_token.map(|token| token.name).unwrap_or_default();
                    world.acknowledge(made.revision, "token.create", &name, sent);
                }
                let until = world.end_of(made.expire_time);
                key.watched.push(world.watch_until(&made.token, made.revision, until));
            }
        }
        Some(key)
    }

    async fn end_token(&mut self, mut key: Held) -> Option<Held> {
        let token = key.watched.pop()?;
        self.world.end_token(token, "token.revoke", &mut self.dice).await;
        Some(key)
    }
}

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Create,
    Describe,
    Rotate,
    Narrow,
    Suspend,
    Delete,
    Revoke,
    RevokeCredentials,
    Activate,
    Undelete,
    Widen,
}

/// What a request says of the key.
#[derive(Clone, Debug)]
struct Sent {
    name: String,
    description: String,
    credential: String,
}

impl Verb {
    /// Its RPC, and the kind of its event.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Create => ("CreateKey", "key.create"),
            Self::Describe | Self::Narrow | Self::Widen => ("UpdateKey", "key.update"),
            Self::Rotate => ("RotateKey", "key.rotate"),
            Self::Suspend => ("SuspendKey", "key.suspend"),
            Self::Delete => ("DeleteKey", "key.delete"),
            Self::Revoke => ("RevokeKey", "key.revoke"),
            Self::RevokeCredentials => ("RevokeCredentials", "credential.revoke"),
            Self::Activate => ("ActivateKey", "key.activate"),
            Self::Undelete => ("UndeleteKey", "key.undelete"),
        }
    }

    /// Sends it once.
    async fn send(self, to: Attempt, sent: Sent) -> Result<Told, Status> {
        let Attempt { owner, request_id, etag, is_done } = to;
        let Sent { name, description, credential } = sent;
        let mut keys = owner.keys();
        let update = |key: Key, path| UpdateKeyRequest { key: Some(key), update_mask: mask(&[path]) };
        match self {
            Self::Create => {
                let key = Some(Key { grants: grants(), ..Key::default() });
                let key_id = name.rsplit('/').next().unwrap_or_default().to_owned();
                let parent = "tenants/-".to_owned();
                let request = CreateKeyRequest { parent, key, key_id, request_id, ..Default::default() };
                keys.create_key(timed(request, LIMIT)).await.map(told)
            }
            Self::Describe => {
                let request = update(Key { name, etag, description, ..Key::default() }, "description");
                keys.update_key(timed(request, LIMIT)).await.map(told)
            }
            Self::Narrow | Self::Widen => {
                let grants = if self == Self::Widen { grants() } else { Vec::new() };
                let request = update(Key { name, etag, grants, ..Key::default() }, "grants");
                keys.update_key(timed(request, LIMIT)).await.map(told)
            }
            Self::Rotate => {
                let request = RotateKeyRequest { name, request_id, etag, ..Default::default() };
                keys.rotate_key(timed(request, LIMIT)).await.map(told)
            }
            Self::Suspend => keys.suspend_key(timed(SuspendKeyRequest { name, etag }, LIMIT)).await.map(told),
            Self::Delete => keys.delete_key(timed(DeleteKeyRequest { name, etag }, LIMIT)).await.map(told),
            Self::Revoke => {
                let request = RevokeKeyRequest { name, etag, ..Default::default() };
                keys.revoke_key(timed(request, LIMIT)).await.map(told)
            }
            Self::RevokeCredentials => {
                let request = RevokeCredentialsRequest { credentials: vec![credential], ..Default::default() };
                keys.revoke_credentials(timed(request, LIMIT)).await.map(told)
            }
            // A key that is there is not undeleted once more, but may be activated.
            Self::Undelete if !is_done => {
                keys.undelete_key(timed(UndeleteKeyRequest { name, etag }, LIMIT)).await.map(told)
            }
            Self::Activate | Self::Undelete => {
                keys.activate_key(timed(ActivateKeyRequest { name, etag }, LIMIT)).await.map(told)
            }
        }
    }
}
