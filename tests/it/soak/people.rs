//! Clients that change users, their sessions and passwords, and applications with their tokens.

use super::askers::timed;
use super::keys::{ABSENT, LIMIT};
use super::world::{Watched, World};
use crate::harness::settings::Dice;
use crate::harness::{mailbox, resources};
use crate::usage::HELD;
use keyward::proto::v1::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

/// How long a client waits for what runs an argon2.
const SLOW: Duration = Duration::from_secs(20);

/// How long a mail may take: whoever has taken it may have died with it.
const MAIL: Duration = Duration::from_secs(240);

/// About how far apart new things are: mails a day and sign-ins have limits.
const PAUSE_MS: u64 = 8000;

/// Starts both.
pub(super) fn spawn(world: &Arc<World>, tasks: &mut JoinSet<()>) {
    let of_users = Arc::clone(world);
    tasks.spawn(async move {
        let mut dice = Dice(0x05e5);
        let mut number = 0;
        while !of_users.is_over() {
            number += 1;
            live_as_a_user(&of_users, number, &mut dice).await;
            pause(&of_users, PAUSE_MS / 2 + dice.roll(PAUSE_MS / 2)).await;
        }
    });
    let of_applications = Arc::clone(world);
    tasks.spawn(async move {
        let mut dice = Dice(0x0a99);
        let mut number = 0;
        while !of_applications.is_over() {
            number += 1;
            live_as_an_application(&of_applications, number, &mut dice).await;
            pause(&of_applications, PAUSE_MS / 2 + dice.roll(PAUSE_MS)).await;
        }
    });
}

async fn pause(world: &World, millis: u64) {
    let end = Instant::now() + Duration::from_millis(millis);
    while !world.is_over() && Instant::now() < end {
        sleep(Duration::from_millis(50)).await;
    }
}

fn anywhere(world: &World, dice: &mut Dice) -> usize {
    dice.roll(world.site.replicas.len() as u64) as usize
}

/// All that is compared of a user.
pub(super) fn look_of_user(user: &User) -> String {
    format!("{} {:?}", user.state().as_str_name(), user.given_name)
}

/// All that is compared of an application.
pub(super) fn look_of_application(application: &Application) -> String {
    let Application { is_verified, is_revoked, description, .. } = application;
    let is_deleted = application.delete_time.is_some();
    format!("verified {is_verified}, revoked {is_revoked}, deleted {is_deleted}, {description:?}")
}

/// One mutation of `$thing`, which looks like `$after` then; ends the life if it is not answered.
macro_rules! step {
    ($world:expr, $dice:expr, $look:expr, $name:expr, $service:ident . $method:ident, $rpc:literal, $kind:literal,
     $after:expr, $limit:expr, $request:expr) => {{
        let at = anywhere($world, $dice);
        let turn = $world.turn().await?;
        let after: String = $after;
        let mut service = $world.site.owner(at).$service();
        let call = service.$method(timed($request, $limit));
        let answer = $world.change(($rpc, $kind), at, $name, (&$look, &after), call).await;
        drop(turn);
        $look = after;
        answer?
    }};
}

async fn live_as_a_user(world: &World, number: u64, dice: &mut Dice) -> Option<()> {
    let id = format!("soaker-{number}");
    let name = format!("tenants/acme/users/{id}");
    let (email, password) = (format!("{id}@acme.example"), format!("Correct horse {number}"));
    let state = |state: UserState, given_name: &str| {
        look_of_user(&User { state: state.into(), given_name: given_name.to_owned(), ..User::default() })
    };
    let mut look = ABSENT.to_owned();
    let user = Some(User { email: email.clone(), role: UserRole::Member.into(), ..User::default() });
    let request = CreateUserRequest {
        parent: "tenants/-".to_owned(),
        user_id: id,
        user,
        password: password.clone(),
        ..Default::default()
    };
    let active = state(UserState::Active, "");
    let made =
        step!(world, dice, look, &name, users.create_user, "CreateUser", "user.create", active.clone(), SLOW, request);
    let mut watched = vec![world.watch(&made.master_credential, made.revision, false)];
    watched.extend(sign_in(world, dice, &email, &password).await);
    pause(world, dice.roll(2000)).await;

    world.ending(&watched);
    let request = SuspendUserRequest { name: name.clone(), ..Default::default() };
    let suspended = state(UserState::Suspended, "");
    step!(world, dice, look, &name, users.suspend_user, "SuspendUser", "user.suspend", suspended, LIMIT, request);
    world.ended(&watched);
    pause(world, dice.roll(1000)).await;

    // The sessions have ended with the suspension; the master key comes back.
    watched.truncate(1);
    world.past(&watched);
    let request = ActivateUserRequest { name: name.clone(), ..Default::default() };
    let back =
        step!(world, dice, look, &name, users.activate_user, "ActivateUser", "user.activate", active, LIMIT, request);
    watched = world.back(&watched, back.revision);
    pause(world, dice.roll(1000)).await;

    // A session ends with the password that it was made with; the master key does not.
    let sessions: Vec<_> = sign_in(world, dice, &email, &password).await.into_iter().collect();
    pause(world, dice.roll(1000)).await;
    world.ending(&sessions);
    let request = SetPasswordRequest { name: name.clone(), password: format!("{password}!"), ..Default::default() };
    let same = look.clone();
    step!(world, dice, look, &name, users.set_password, "SetPassword", "user.set_password", same, SLOW, request);
    world.ended(&sessions);
    let request = UpdateUserRequest {
        user: Some(User { name: name.clone(), given_name: "Ada".to_owned(), ..User::default() }),
        update_mask: crate::harness::mask(&["given_name"]),
    };
    let named = state(UserState::Active, "Ada");
    step!(world, dice, look, &name, users.update_user, "UpdateUser", "user.update", named, LIMIT, request);

    let again = sign_in(world, dice, &email, &format!("{password}!")).await;
    pause(world, dice.roll(1000)).await;
    if let Some(session) = again {
        sign_out(world, dice, session).await;
    }
    world.ending(&watched);
    let at = anywhere(world, dice);
    let turn = world.turn().await?;
    let request = timed(RotateMasterKeyRequest { name: name.clone(), ..Default::default() }, LIMIT);
    let rotated = world.call("RotateMasterKey", at, world.site.owner(at).users().rotate_master_key(request)).await?;
    drop(turn);
    world.acknowledge(rotated.revision, "user.rotate_master_key", "");
    world.ended(&watched);
    watched = vec![world.watch(&rotated.master_credential, rotated.revision, false)];
    pause(world, dice.roll(1000)).await;
    if dice.roll(4) > 0 {
        world.ending(&watched);
        let request = DeleteUserRequest { name: name.clone(), ..Default::default() };
        let gone = state(UserState::Deleted, "Ada");
        step!(world, dice, look, &name, users.delete_user, "DeleteUser", "user.delete", gone, LIMIT, request);
        world.ended(&watched);
    }
    drop(look);
    Some(())
}

async fn sign_in(world: &World, dice: &mut Dice, email: &str, password: &str) -> Option<Arc<Watched>> {
    let at = anywhere(world, dice);
    let _turn = world.turn().await?;
    let request = CreateSessionRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        tenant: "tenants/acme".to_owned(),
    };
    let mut tokens = world.site.owner(at).tokens();
    let made = world.call("CreateSession", at, tokens.create_session(timed(request, SLOW))).await?;
    world.acknowledge(made.revision, "session.create", &made.session.map(|session| session.name).unwrap_or_default());
    Some(world.watch(&made.session_token, made.revision, false))
}

async fn sign_out(world: &World, dice: &mut Dice, session: Arc<Watched>) -> Option<()> {
    let at = anywhere(world, dice);
    let _turn = world.turn().await?;
    let request = RevokeTokenRequest { token: session.text.clone() };
    let session = [session];
    world.ending(&session);
    let mut tokens = world.site.owner(at).tokens();
    let ended = world.call("RevokeToken", at, tokens.revoke_token(timed(request, LIMIT))).await?;
    world.acknowledge(ended.revision, "session.revoke", "");
    world.ended(&session);
    Some(())
}

async fn live_as_an_application(world: &World, number: u64, dice: &mut Dice) -> Option<()> {
    let id = format!("soaked-{number}");
    let name = format!("tenants/acme/applications/{id}");
    let state = |is_verified, is_revoked, is_deleted: bool, description: &str| {
        let delete_time = is_deleted.then(prost_types::Timestamp::default);
        let description = description.to_owned();
        look_of_application(&Application { is_verified, is_revoked, description, delete_time, ..Default::default() })
    };
    let mut look = ABSENT.to_owned();
    let application = Some(Application {
        display_name: id.clone(),
        contact_email: format!("{id}@acme.example"),
        grants: HELD.iter().map(|(resource, action)| resources(resource, &[action])).collect(),
        ..Application::default()
    });
    let request = CreateApplicationRequest {
        parent: "tenants/-".to_owned(),
        application,
        application_id: id,
        ..Default::default()
    };
    let new = state(false, false, false, "");
    step!(
        world,
        dice,
        look,
        &name,
        applications.create_application,
        "CreateApplication",
        "application.create",
        new,
        LIMIT,
        request
    );
    let token = mailed(world, &name).await?;
    let request =
        VerifyApplicationRequest { name: name.clone(), verification_token: token.clone(), ..Default::default() };
    let verified = state(true, false, false, "");
    let made = step!(
        world,
        dice,
        look,
        &name,
        applications.verify_application,
        "VerifyApplication",
        "application.verify",
        verified,
        LIMIT,
        request
    );
    world.secrets.lock().insert(token);
    let mut secret = made.secret;
    let mut watched: Vec<_> = token_of(world, dice, &name, &secret).await.into_iter().collect();
    let request = UpdateApplicationRequest {
        application: Some(Application { name: name.clone(), description: "old".to_owned(), ..Default::default() }),
        update_mask: crate::harness::mask(&["description"]),
    };
    let told = state(true, false, false, "old");
    step!(
        world,
        dice,
        look,
        &name,
        applications.update_application,
        "UpdateApplication",
        "application.update",
        told.clone(),
        LIMIT,
        request
    );
    pause(world, dice.roll(1500)).await;

    world.ending(&watched);
    let request = RotateApplicationSecretRequest { name: name.clone(), ..Default::default() };
    let rotated = step!(
        world,
        dice,
        look,
        &name,
        applications.rotate_application_secret,
        "RotateApplicationSecret",
        "application.rotate_secret",
        told.clone(),
        LIMIT,
        request
    );
    world.ended(&watched);
    secret = rotated.secret;
    watched = token_of(world, dice, &name, &secret).await.into_iter().collect();
    pause(world, dice.roll(1500)).await;

    world.ending(&watched);
    let request = RevokeApplicationRequest { name: name.clone(), ..Default::default() };
    let revoked = state(true, true, false, "old");
    step!(
        world,
        dice,
        look,
        &name,
        applications.revoke_application,
        "RevokeApplication",
        "application.revoke",
        revoked,
        LIMIT,
        request
    );
    world.ended(&watched);
    // Its tokens stay dead, so that their end is judged on.
    let request = ActivateApplicationRequest { name: name.clone(), ..Default::default() };
    step!(
        world,
        dice,
        look,
        &name,
        applications.activate_application,
        "ActivateApplication",
        "application.activate",
        told,
        LIMIT,
        request
    );
    watched = token_of(world, dice, &name, &secret).await.into_iter().collect();
    pause(world, dice.roll(1500)).await;
    if dice.roll(4) > 0 {
        world.ending(&watched);
        let request = DeleteApplicationRequest { name: name.clone(), ..Default::default() };
        let gone = state(true, false, true, "old");
        step!(
            world,
            dice,
            look,
            &name,
            applications.delete_application,
            "DeleteApplication",
            "application.delete",
            gone,
            LIMIT,
            request
        );
        world.ended(&watched);
    }
    drop(look);
    Some(())
}

async fn token_of(world: &World, dice: &mut Dice, application: &str, secret: &str) -> Option<Arc<Watched>> {
    let at = anywhere(world, dice);
    let _turn = world.turn().await?;
    world.secrets.lock().insert(secret.rsplit('_').next().unwrap_or_default().to_owned());
    let request = CreateTokenRequest {
        application: application.to_owned(),
        secret: secret.to_owned(),
        ..CreateTokenRequest::default()
    };
    let mut tokens = world.site.owner(at).tokens();
    let made = world.call("CreateToken", at, tokens.create_token(timed(request, LIMIT))).await?;
    world.acknowledge(made.revision, "token.create", &made.access_token.map(|token| token.name).unwrap_or_default());
    Some(world.watch(&made.token, made.revision, false))
}

/// The token that was mailed; none if it is over before.
async fn mailed(world: &World, application: &str) -> Option<String> {
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
