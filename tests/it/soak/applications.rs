//! Clients that change applications and make tokens of them.

use super::askers::timed;
use super::changes::{Attempt, Thing, Told, told};
use super::keys::{ABSENT, LIMIT};
use super::users::{PAUSE_MS, pause};
use super::world::{Watched, World};
use crate::harness::settings::Dice;
use crate::harness::{mailbox, mask, resources};
use crate::usage::HELD;
use keyward::proto::v1::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};
use tonic::Status;

/// How long a mail may take: whoever has taken it may have died with it.
const MAIL: Duration = Duration::from_secs(240);

/// Starts one after the other.
pub(super) fn spawn(world: &Arc<World>, tasks: &mut JoinSet<()>) {
    let world = Arc::clone(world);
    tasks.spawn(async move {
        let mut dice = Dice(0x0a99);
        let mut number = 0;
        while !world.is_over() {
            number += 1;
            Life { world: &world, number, dice: &mut dice }.live().await;
            pause(&world, PAUSE_MS / 2 + dice.roll(PAUSE_MS)).await;
        }
    });
}

/// All that is compared of an application.
pub(super) fn look_of_application(application: &Application) -> String {
    let Application { is_verified, is_revoked, description, .. } = application;
    let is_deleted = application.delete_time.is_some();
    format!("verified {is_verified}, revoked {is_revoked}, deleted {is_deleted}, {description:?}")
}

/// What is done to an application.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Create,
    Verify,
    Describe,
    Rotate,
    Revoke,
    Activate,
    Delete,
}

impl Verb {
    /// Its RPC, and the kind of its event.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Create => ("CreateApplication", "application.create"),
            Self::Verify => ("VerifyApplication", "application.verify"),
            Self::Describe => ("UpdateApplication", "application.update"),
            Self::Rotate => ("RotateApplicationSecret", "application.rotate_secret"),
            Self::Revoke => ("RevokeApplication", "application.revoke"),
            Self::Activate => ("ActivateApplication", "application.activate"),
            Self::Delete => ("DeleteApplication", "application.delete"),
        }
    }

    /// Sends it once; `verification_token` is what was mailed.
    async fn send(self, to: Attempt, name: String, verification_token: String) -> Result<Told, Status> {
        let Attempt { owner, request_id, etag, is_done } = to;
        let mut applications = owner.applications();
        match self {
            Self::Create => {
                let application_id = name.rsplit('/').next().unwrap_or_default().to_owned();
                let application = Some(Application {
                    display_name: application_id.clone(),
                    contact_email: format!("{application_id}@acme.example"),
                    grants: HELD.iter().map(|(resource, action)| resources(resource, &[action])).collect(),
                    ..Application::default()
                });
                let parent = "tenants/-".to_owned();
                let request = CreateApplicationRequest { parent, application, request_id, application_id };
                applications.create_application(timed(request, LIMIT)).await.map(told)
            }
            Self::Verify if !is_done => {
                let request = VerifyApplicationRequest { name, verification_token, etag };
                applications.verify_application(timed(request, LIMIT)).await.map(told)
            }
            Self::Describe => {
                let description = "old".to_owned();
                let application = Some(Application { name, etag, description, ..Default::default() });
                let request = UpdateApplicationRequest { application, update_mask: mask(&["description"]) };
                applications.update_application(timed(request, LIMIT)).await.map(told)
            }
            Self::Rotate => {
                let request = RotateApplicationSecretRequest { name, request_id, etag, ..Default::default() };
                applications.rotate_application_secret(timed(request, LIMIT)).await.map(told)
            }
            Self::Revoke => {
                let request = timed(RevokeApplicationRequest { name, etag }, LIMIT);
                applications.revoke_application(request).await.map(told)
            }
            // One that is verified is not verified once more, but may be activated.
            Self::Activate | Self::Verify => {
                let request = timed(ActivateApplicationRequest { name, etag }, LIMIT);
                applications.activate_application(request).await.map(told)
            }
            Self::Delete => {
                let request = timed(DeleteApplicationRequest { name, etag }, LIMIT);
                applications.delete_application(request).await.map(told)
            }
        }
    }
}

/// The life of an application; it ends early once it is over.
struct Life<'a> {
    world: &'a World,
    number: u64,
    dice: &'a mut Dice,
}

impl Life<'_> {
    async fn live(&mut self) -> Option<()> {
        let world = self.world;
        let look = |is_verified, is_revoked, is_deleted: bool, description: &str| {
            let delete_time = is_deleted.then(prost_types::Timestamp::default);
            let description = description.to_owned();
            look_of_application(&Application {
                is_verified,
                is_revoked,
                description,
                delete_time,
                ..Default::default()
            })
        };
        let name = format!("tenants/acme/applications/soaked-{}", self.number);
        let mut thing = Thing::new(&name, ABSENT);
        self.done(Verb::Create, &mut thing, &look(false, false, false, ""), "").await?;
        let mailed = self.mailed(&name).await?;
        let verified = self.done(Verb::Verify, &mut thing, &look(true, false, false, ""), &mailed).await?;
        world.secrets.lock().insert(mailed);
        let new = look(true, false, false, "");
        let equipped = self.equipped(&mut thing, &new, verified).await?;
        let mut watched: Vec<_> = self.token(&name, &equipped, equipped.revision).await.into_iter().collect();
        let active = look(true, false, false, "old");
        self.done(Verb::Describe, &mut thing, &active, "").await?;
        self.rest().await;

        world.ending(&watched);
        let rotated = self.done(Verb::Rotate, &mut thing, &active, "").await?;
        world.ended(&watched);
        let equipped = self.equipped(&mut thing, &active, rotated).await?;
        watched = self.token(&name, &equipped, equipped.revision).await.into_iter().collect();
        self.rest().await;

        world.ending(&watched);
        self.done(Verb::Revoke, &mut thing, &look(true, true, false, "old"), "").await?;
        world.ended(&watched);
        // Its tokens stay dead, so that their end is judged on.
        let told = self.done(Verb::Activate, &mut thing, &active, "").await?;
        watched = self.token(&name, &equipped, told.revision).await.into_iter().collect();
        self.rest().await;
        if self.dice.roll(4) > 0 {
            world.ending(&watched);
            self.done(Verb::Delete, &mut thing, &look(true, false, true, "old"), "").await?;
            world.ended(&watched);
        }
        Some(())
    }

    async fn rest(&mut self) {
        pause(self.world, self.dice.roll(1500)).await;
    }

    async fn done(&mut self, verb: Verb, thing: &mut Thing, look: &str, mailed: &str) -> Option<Told> {
        let name = thing.name.clone();
        let call = |to| verb.send(to, name.clone(), mailed.to_owned());
        self.world.change(verb.names(), thing, look, self.dice, call).await
    }

    /// The secret. What was shown to nobody is replaced once more.
    async fn equipped(&mut self, thing: &mut Thing, look: &str, mut told: Told) -> Option<Told> {
        while told.secret.is_empty() {
            told = self.done(Verb::Rotate, thing, look, "").await?;
        }
        self.world.secrets.lock().insert(told.secret.rsplit('_').next().unwrap_or_default().to_owned());
        Some(told)
    }

    /// A token, where it is known how the application is since a revision. One whose making was not answered is nobody's.
    async fn token(&mut self, name: &str, equipped: &Told, revision: i64) -> Option<Arc<Watched>> {
        let world = self.world;
        let at = world.anywhere(self.dice);
        let _turn = world.turn().await?;
        if !world.is_known(at, revision).await {
            return None;
        }
        let sent = world.now();
        let (application, secret) = (name.to_owned(), equipped.secret.clone());
        let request = CreateTokenRequest { application, secret, ..CreateTokenRequest::default() };
        let mut tokens = world.site.owner(at).tokens();
        let made = world.call("CreateToken", at, tokens.create_token(timed(request, LIMIT))).await?;
        let token = made.access_token.map(|token| token.name).unwrap_or_default();
        world.acknowledge(made.revision, "token.create", &token, sent);
        Some(world.watch_until(&made.token, made.revision, world.end_of(made.expire_time)))
    }

    /// The token that was mailed; none if it is over before.
    async fn mailed(&self, application: &str) -> Option<String> {
        let world = self.world;
        let begun = Instant::now();
        while !world.is_over() {
            let (folder, about) = (world.site.path("mail"), application.to_owned());
            if let Some(mail) = spawn_blocking(move || mailbox::read(&folder, &about)).await.unwrap().pop() {
                return Some(mail.token);
            }
            if begun.elapsed() > MAIL {
                world.wrong(format!("the mail about {application} never came"));
                return None;
            }
            sleep(Duration::from_millis(200)).await;
        }
        None
    }
}
