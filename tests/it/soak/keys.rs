//! Clients that change keys and their tokens in all ways, each its own, and know how each must look afterwards.

use super::askers::timed;
use super::world::{Watched, World};
use crate::harness::settings::Dice;
use crate::harness::{Client, mask, resources};
use crate::usage::HELD;
use keyward::proto::v1::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How many clients there are, and how many keys each has at most.
const CLIENTS: u64 = 4;
const KEYS: usize = 4;

/// How long a client waits for a mutation.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// A key as its client knows it.
#[derive(Clone, Debug)]
struct Held {
    name: String,
    description: String,
    state: KeyState,
    is_narrow: bool,
    credential: String,
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
        let world = Arc::clone(&self.world);
        let Some(_turn) = world.turn().await else { return };
        let at = self.dice.roll(world.site.replicas.len() as u64) as usize;
        let owner = world.site.owner(at);
        let kept = if self.keys.len() < KEYS {
            self.create(at, &owner).await
        } else {
            let place = self.dice.roll(self.keys.len() as u64) as usize;
            let key = self.keys.swap_remove(place);
            let roll = self.dice.roll(12);
            match (key.state, key.is_narrow) {
                (KeyState::Suspended, _) => self.come_back(at, &owner, key, Verb::Activate).await,
                (KeyState::Deleted, _) => self.come_back(at, &owner, key, Verb::Undelete).await,
                (_, true) => self.come_back(at, &owner, key, Verb::Widen).await,
                _ => match roll {
                    0 => self.describe(at, &owner, key).await,
                    1 => self.take_away(at, &owner, key, Verb::Narrow).await,
                    2 | 3 => self.take_away(at, &owner, key, Verb::Suspend).await,
                    4 => self.take_away(at, &owner, key, Verb::Delete).await,
                    5 => self.take_away(at, &owner, key, Verb::Revoke).await,
                    6 => self.take_away(at, &owner, key, Verb::RevokeCredentials).await,
                    7 | 8 => self.rotate(at, &owner, key).await,
                    9 if key.watched.len() > 1 => self.end_token(at, &owner, key).await,
                    _ => self.token(at, &owner, key).await,
                },
            }
        };
        // A key whose mutation was not answered is left as it is: in the end it looks as before or as wanted.
        self.keys.extend(kept.filter(|key| key.state != KeyState::Revoked));
    }

    async fn create(&mut self, at: usize, owner: &Client) -> Option<Held> {
        self.made += 1;
        let key_id = format!("soak{}-{}", self.number, self.made);
        let name = format!("tenants/acme/keys/{key_id}");
        let key = Some(Key { grants: grants(), ..Key::default() });
        let request = CreateKeyRequest { parent: "tenants/-".to_owned(), key, key_id, ..Default::default() };
        let look = look(KeyState::Active, "", HELD.len());
        let mut keys = owner.keys();
        let call = keys.create_key(timed(request, LIMIT));
        let made = self.world.change(("CreateKey", "key.create"), at, &name, (ABSENT, &look), call).await?;
        Some(Held {
            name,
            description: String::new(),
            state: KeyState::Active,
            is_narrow: false,
            watched: vec![self.world.watch(&made.credential, made.revision, false)],
            credential: made.credential,
        })
    }

    async fn describe(&mut self, at: usize, owner: &Client, mut key: Held) -> Option<Held> {
        let before = key.look();
        key.description = format!("change {}", self.dice.roll(1_000_000));
        let changed = Key { name: key.name.clone(), description: key.description.clone(), ..Key::default() };
        let request = UpdateKeyRequest { key: Some(changed), update_mask: mask(&["description"]) };
        let mut keys = owner.keys();
        let call = keys.update_key(timed(request, LIMIT));
        self.world.change(("UpdateKey", "key.update"), at, &key.name, (&before, &key.look()), call).await?;
        Some(key)
    }

    /// Takes all of it away, or what is asked for by Checks.
    async fn take_away(&self, at: usize, owner: &Client, mut key: Held, verb: Verb) -> Option<Held> {
        let (world, before, name) = (&self.world, key.look(), key.name.clone());
        match verb {
            Verb::Narrow => key.is_narrow = true,
            Verb::Suspend => key.state = KeyState::Suspended,
            Verb::Delete => key.state = KeyState::Deleted,
            Verb::Revoke | Verb::RevokeCredentials => key.state = KeyState::Revoked,
            Verb::Activate | Verb::Undelete | Verb::Widen => {}
        }
        let after = key.look();
        let ways = (&*before, &*after);
        world.ending(&key.watched);
        let mut keys = owner.keys();
        match verb {
            Verb::Narrow => {
                let changed = Key { name: name.clone(), ..Key::default() };
                let request = UpdateKeyRequest { key: Some(changed), update_mask: mask(&["grants"]) };
                let call = keys.update_key(timed(request, LIMIT));
                world.change(("UpdateKey", "key.update"), at, &name, ways, call).await?;
            }
            Verb::Suspend => {
                let request = SuspendKeyRequest { name: name.clone(), ..Default::default() };
                let call = keys.suspend_key(timed(request, LIMIT));
                world.change(("SuspendKey", "key.suspend"), at, &name, ways, call).await?;
            }
            Verb::Delete => {
                let request = DeleteKeyRequest { name: name.clone(), ..Default::default() };
                let call = keys.delete_key(timed(request, LIMIT));
                world.change(("DeleteKey", "key.delete"), at, &name, ways, call).await?;
            }
            Verb::RevokeCredentials => {
                let request =
                    RevokeCredentialsRequest { credentials: vec![key.credential.clone()], ..Default::default() };
                let call = keys.revoke_credentials(timed(request, LIMIT));
                world.change(("RevokeCredentials", ""), at, &name, ways, call).await?;
            }
            Verb::Revoke => {
                let request = RevokeKeyRequest { name: name.clone(), ..Default::default() };
                let call = keys.revoke_key(timed(request, LIMIT));
                world.change(("RevokeKey", "key.revoke"), at, &name, ways, call).await?;
            }
            Verb::Activate | Verb::Undelete | Verb::Widen => {}
        }
        world.ended(&key.watched);
        Some(key)
    }

    async fn come_back(&self, at: usize, owner: &Client, mut key: Held, verb: Verb) -> Option<Held> {
        let (world, before, name) = (&self.world, key.look(), key.name.clone());
        let was_deleted = key.state == KeyState::Deleted;
        key.state = KeyState::Active;
        key.is_narrow = false;
        let after = key.look();
        let ways = (&*before, &*after);
        world.past(&key.watched);
        let mut keys = owner.keys();
        let revision = match verb {
            Verb::Activate => {
                let request = ActivateKeyRequest { name: name.clone(), ..Default::default() };
                let call = keys.activate_key(timed(request, LIMIT));
                world.change(("ActivateKey", "key.activate"), at, &name, ways, call).await?.revision
            }
            Verb::Undelete => {
                let request = UndeleteKeyRequest { name: name.clone(), ..Default::default() };
                let call = keys.undelete_key(timed(request, LIMIT));
                world.change(("UndeleteKey", "key.undelete"), at, &name, ways, call).await?.revision
            }
            _ => {
                let changed = Key { name: name.clone(), grants: grants(), ..Key::default() };
                let request = UpdateKeyRequest { key: Some(changed), update_mask: mask(&["grants"]) };
                let call = keys.update_key(timed(request, LIMIT));
                world.change(("UpdateKey", "key.update"), at, &name, ways, call).await?.revision
            }
        };
        // Tokens of what was deleted are dead for good.
        if was_deleted {
            let tokens = key.watched.split_off(1);
            world.ended(&tokens);
        }
        key.watched = world.back(&key.watched, revision);
        Some(key)
    }

    async fn rotate(&self, at: usize, owner: &Client, mut key: Held) -> Option<Held> {
        let (world, look) = (&self.world, key.look());
        world.ending(&key.watched);
        let request = RotateKeyRequest { name: key.name.clone(), ..Default::default() };
        let mut keys = owner.keys();
        let call = keys.rotate_key(timed(request, LIMIT));
        let made = world.change(("RotateKey", "key.rotate"), at, &key.name, (&look, &look), call).await?;
        world.ended(&key.watched);
        key.watched = vec![world.watch(&made.credential, made.revision, false)];
        key.credential = made.credential;
        Some(key)
    }

    /// A token whose making was not answered is nobody's, and the key is as before.
    async fn token(&self, at: usize, owner: &Client, mut key: Held) -> Option<Held> {
        let request = CreateTokenRequest { key: key.credential.clone(), ..Default::default() };
        let mut tokens = owner.tokens();
        let call = tokens.create_token(timed(request, LIMIT));
        if let Some(made) = self.world.call("CreateToken", at, call).await {
            let name = made.access_token.map(|token| token.name).unwrap_or_default();
            self.world.acknowledge(made.revision, "token.create", &name);
            key.watched.push(self.world.watch(&made.token, made.revision, false));
        }
        Some(key)
    }

    async fn end_token(&self, at: usize, owner: &Client, mut key: Held) -> Option<Held> {
        let token = key.watched.pop()?;
        let token = [token];
        self.world.ending(&token);
        let request = RevokeTokenRequest { token: token[0].text.clone() };
        let mut tokens = owner.tokens();
        let call = tokens.revoke_token(timed(request, LIMIT));
        if let Some(ended) = self.world.call("RevokeToken", at, call).await {
            self.world.acknowledge(ended.revision, "token.revoke", "");
            self.world.ended(&token);
        }
        Some(key)
    }
}

/// What takes away, and what gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Narrow,
    Suspend,
    Delete,
    Revoke,
    RevokeCredentials,
    Activate,
    Undelete,
    Widen,
}
