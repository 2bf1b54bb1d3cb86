//! The use of a few keys as their clients count it, and how much of it a killed replica may have lost.

use super::askers::{DOORS, Door, ask};
use super::errors::{Spell, Weather};
use super::world::{World, bump};
use crate::harness::settings::Dice;
use crate::usage::{HELD, Told, plus, question, told_of};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

const KEYS: usize = 3;

/// How often a replica writes down what keys were used, with the time that one flush may take and its next try.
const FLUSH: Duration = Duration::from_secs(60 + 20 + 5);

/// Some Checks of a key.
#[derive(Clone, Copy, Debug)]
struct Asked {
    key: usize,
    replica: usize,
    sent: Duration,
    /// Allowed and denied.
    told: Told,
    /// What may have been counted, although nobody was told.
    untold: Told,
}

/// The keys, and all that was asked about them.
pub(super) struct Gauge {
    keys: Vec<(String, String)>,
    asked: Mutex<Vec<Asked>>,
}

impl Gauge {
    /// Makes the keys, which nobody changes.
    pub(super) async fn new(world: &World) -> Arc<Self> {
        let mut keys = Vec::new();
        for number in 0..KEYS {
            let key = world.site.owner(0).key("tenants/-").id(&format!("gauge-{number}"));
            let made = HELD.iter().fold(key, |key, (resource, action)| key.may(resource, action)).issued().await;
            world.must_have(&format!("tenants/acme/keys/gauge-{number}"), "key.create");
            world.watch(&made.credential, made.revision);
            keys.push((made.key.unwrap().name, made.credential));
        }
        world.board.lock().clear();
        Arc::new(Self { keys, asked: Mutex::default() })
    }

    /// Starts a client for each of these replicas.
    pub(super) fn spawn(self: &Arc<Self>, world: &Arc<World>, replicas: Range<usize>, tasks: &mut JoinSet<()>) {
        for replica in replicas {
            let (gauge, world) = (Arc::clone(self), Arc::clone(world));
            tasks.spawn(async move {
                let mut dice = Dice(0x6a06 + replica as u64);
                while !world.is_over() {
                    gauge.count(&world, replica, &mut dice).await;
                    sleep(Duration::from_millis(30 + dice.roll(60))).await;
                }
            });
        }
    }

    /// Asks what is allowed and what is not by one of the doors.
    async fn count(&self, world: &World, replica: usize, dice: &mut Dice) {
        let Some(_turn) = world.turn().await else { return };
        let key = dice.roll(KEYS as u64) as usize;
        let door = DOORS[dice.roll(4) as usize];
        let is_allowed = dice.roll(3) > 0;
        let credential = &self.keys[key].1;
        let path = if is_allowed { "/pkg.Service/Method" } else { "/pkg.Service/Other" };
        let first = question(credential, if is_allowed { "doc/1" } else { "secret" });
        let (questions, expected) = match door {
            Door::Unary | Door::Envoy => (vec![first], vec![is_allowed]),
            Door::Batch | Door::Stream => (vec![first, question(credential, "doc/2")], vec![is_allowed, true]),
        };
        let channel = world.site.replicas[replica].data(dice.roll(4) as usize);
        bump(&world.counts.calls);
        let sent = world.now();
        let answers = ask(door, &channel, &questions, path).await;
        let allowed = expected.iter().filter(|is_allowed| **is_allowed).count() as i64;
        let all: Told = (allowed, expected.len() as i64 - allowed);
        let (told, untold) = match answers {
            Ok(answers) => {
                let answers: Vec<bool> = answers.iter().map(|answer| answer.is_allowed).collect();
                if answers != expected {
                    world.wrong(format!("{door:?} at replica {replica} decided {answers:?} for {expected:?}"));
                }
                (all, (0, 0))
            }
            Err(status) => {
                world.failed(door.rpc(), replica, sent, &status);
                sleep(Duration::from_millis(50)).await;
                ((0, 0), all)
            }
        };
        self.asked.lock().push(Asked { key, replica, sent, told, untold });
    }

    /// Compares with what is told, once all replicas have ended or written it down: a line for the table.
    pub(super) async fn compare(&self, world: &World) -> String {
        let asked = self.asked.lock().clone();
        let doomed = doomed(&world.weather.lock());
        let (mut told, mut found, mut most_lost, mut lost) = ((0, 0), (0, 0), 0, 0);
        for (number, (name, _)) in self.keys.iter().enumerate() {
            let of_key = || asked.iter().filter(|asked| asked.key == number);
            let counted = of_key().fold((0, 0), |sum, asked| plus(sum, asked.told));
            let untold = of_key().fold((0, 0), |sum, asked| plus(sum, asked.untold));
            let is_doomed = |asked: &&Asked| {
                let may = |(replica, from, until): &(usize, Duration, Duration)| {
                    *replica == asked.replica && *from <= asked.sent && asked.sent <= *until
                };
                doomed.iter().any(may)
            };
            let may_be_lost = of_key().filter(is_doomed).fold((0, 0), |sum, asked| plus(sum, asked.told));
            let shown = told_of(&world.site.owner(0), name).await;
            let least = (counted.0 - may_be_lost.0, counted.1 - may_be_lost.1);
            let most = plus(counted, untold);
            if !(least.0..=most.0).contains(&shown.0) || !(least.1..=most.1).contains(&shown.1) {
                world.wrong(format!("usage of {name}: {shown:?} is not between {least:?} and {most:?}"));
            }
            told = plus(told, counted);
            found = plus(found, shown);
            most_lost += may_be_lost.0 + may_be_lost.1;
            lost += (counted.0 - shown.0).max(0) + (counted.1 - shown.1).max(0);
        }
        format!(
            "clients counted {} allowed, {} denied; Keyward {} and {}; {lost} lost by kills, which could lose {most_lost}",
            told.0, told.1, found.0, found.1
        )
    }
}

/// What each killed replica may not have written down: what it was asked since a flush must have succeeded. What failed
/// about it or the database meanwhile has held that flush up.
fn doomed(weather: &Weather) -> Vec<(usize, Duration, Duration)> {
    let mut doomed = Vec::new();
    for (spell, killed, over) in &weather.0 {
        let Spell::Killed(replica) = *spell else { continue };
        let mut from = killed.saturating_sub(FLUSH);
        let concerns = weather.0.iter().rev().filter(|(other, begun, _)| other.concerns(replica) && begun < killed);
        for (_, begun, ended) in concerns {
            let ended = ended.unwrap_or(*killed);
            if ended > from {
                from = from.saturating_sub(ended.saturating_sub(*begun));
            }
        }
        doomed.push((replica, from, over.unwrap_or(*killed)));
    }
    doomed
}
