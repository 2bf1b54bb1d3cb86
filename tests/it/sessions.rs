//! Signing in: by whom, how often, and what ends it.

use crate::harness::{Client, DAY, TestServer, TestTenant, ledger, refused, send};
use keyward::proto::v1::*;
use sea_orm::sqlx;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const PASSWORD: &str = "correct horse";
const ANOTHER: &str = "battery staple";

async fn sign_in(client: &Client, email: &str, password: &str, tenant: &str) -> Result<CreateSessionResponse, Status> {
    send!(client.tokens(), create_session, CreateSessionRequest { email: email, password: password, tenant: tenant })
}

async fn set(client: &Client, name: &str, password: &str, current: &str) -> Result<SetPasswordResponse, Status> {
    send!(
        client.users(),
        set_password,
        SetPasswordRequest { name: name, password: password, current_password: current }
    )
}

/// A tenant whose owner has [`PASSWORD`].
async fn tenant(server: &TestServer, id: &str) -> TestTenant {
    let tenant = server.tenant(id).await;
    set(&tenant.owner, &tenant.owner_name, PASSWORD, "").await.unwrap();
    tenant
}

async fn list(client: &Client, parent: &str, filter: &str) -> Vec<String> {
    let page = send!(client.tokens(), list_sessions, ListSessionsRequest { parent: parent, filter: filter }).unwrap();
    page.sessions.into_iter().map(|session| session.name).collect()
}

#[tokio::test]
async fn a_session_does_what_its_user_may_until_it_is_over() {
    let mut server = TestServer::start().await;
    let acme = tenant(&server, "acme").await;
    let made = sign_in(&server.nobody(), "owner@acme.example", PASSWORD, "").await.unwrap();
    let session = made.session.clone().unwrap();
    assert_eq!(session.user, acme.owner_name);
    assert!(session.name.starts_with("tenants/acme/sessions/"), "{}", session.name);
    assert!(made.session_token.starts_with("kw_"));
    assert_eq!(session.expire_time, made.expire_time);
    assert_eq!(server.revision().await, made.revision);

    let answer = server.check(&made.session_token).may("doc/1", "read").allowed().await;
    let principal = answer.principal.unwrap();
    assert_eq!((&principal.user, &principal.token), (&acme.owner_name, &session.name));
    let client = server.bearer(&made.session_token);
    let key = client.key("tenants/-").may("doc/*", "read").issued().await;
    assert_eq!(key.key.as_ref().unwrap().owner, acme.owner_name);
    server.check(&key.credential).may("doc/1", "read").allowed().await;
    let keys = send!(client.keys(), list_keys, ListKeysRequest { parent: "tenants/-" }).unwrap().keys;
    assert!(keys.iter().any(|listed| Some(&listed.name) == key.key.as_ref().map(|key| &key.name)));
    let events = send!(client.events(), list_events, ListEventsRequest { parent: "tenants/-" }).unwrap().events;
    let event = events.iter().find(|event| event.kind == "session.create").unwrap();
    assert_eq!((&event.actor, &event.subject), (&acme.owner_name, &session.name));
    let event = events.iter().find(|event| event.kind == "key.create").unwrap();
    assert_eq!(event.actor, session.name);

    // Signed out: this one only, at once and after a restart.
    let other = sign_in(&server.nobody(), "owner@acme.example", PASSWORD, "tenants/acme").await.unwrap();
    send!(client.tokens(), revoke_token, RevokeTokenRequest { token: &*made.session_token }).unwrap();
    server.check(&made.session_token).denied(&[Reason::Revoked]).await;
    server.restart().await;
    server.check(&made.session_token).denied(&[Reason::Revoked]).await;
    server.check(&other.session_token).may("doc/1", "read").allowed().await;
    refused(sign_in(&server.bearer(&made.session_token), "nobody@x", "x", "").await, Code::Unauthenticated);

    // And a day is a day.
    server.move_to(other.expire_time.as_ref(), 1);
    server.check(&other.session_token).allowed().await;
    server.pass(1);
    server.check(&other.session_token).denied(&[Reason::Expired]).await;
    server.pass(DAY);
    server.check(&other.session_token).denied(&[Reason::NotFound]).await;
}

#[tokio::test]
async fn whatever_is_wrong_with_a_sign_in_gets_one_answer() {
    let server = TestServer::start().await;
    let (acme, other) = (tenant(&server, "acme").await, tenant(&server, "other").await);
    let gone = tenant(&server, "gone").await;
    send!(server.root().tenants(), delete_tenant, DeleteTenantRequest { name: &*gone.name }).unwrap();
    for tenant in [&acme, &other] {
        let user = User { email: "both@example.com".into(), ..User::default() };
        let request = CreateUserRequest {
            parent: "tenants/-".into(),
            user: Some(user),
            password: PASSWORD.into(),
            ..Default::default()
        };
        tenant.owner.users().create_user(request).await.unwrap();
    }
    server.user(&acme, "without", UserRole::Member).await;
    let (deleted, _) = server.user(&acme, "deleted", UserRole::Member).await;
    set(&acme.owner, &deleted.name, PASSWORD, "").await.unwrap();
    send!(acme.owner.users(), delete_user, DeleteUserRequest { name: &*deleted.name }).unwrap();
    let before = server.revision().await;
    let mut answers = Vec::new();
    for (email, password, tenant) in [
        ("nobody@example.com", PASSWORD, ""),
        ("no email", PASSWORD, ""),
        ("owner@acme.example", ANOTHER, ""),
        ("owner@acme.example", "x", ""),
        ("owner@acme.example", "x".repeat(300).as_str(), ""),
        ("owner@acme.example", PASSWORD, "tenants/other"),
        ("owner@acme.example", PASSWORD, "tenants/none"),
        ("owner@acme.example", PASSWORD, "tenants/!!"),
        ("both@example.com", PASSWORD, ""),
        ("without@example.com", PASSWORD, ""),
        ("deleted@example.com", PASSWORD, ""),
        ("owner@gone.example", PASSWORD, ""),
        ("owner@gone.example", PASSWORD, "tenants/gone"),
    ] {
        let status = sign_in(&server.nobody(), email, password, tenant).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{email} {tenant}");
        answers.push((status.message().to_owned(), status.details().to_vec()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers[0].0.contains("name the tenant"));
    for tenant in ["tenants/acme", "tenants/other"] {
        let made = sign_in(&server.nobody(), "both@example.com", PASSWORD, tenant).await.unwrap();
        assert!(made.session.unwrap().name.starts_with(tenant));
    }
    // What cannot be anybody's is said to be.
    for (email, password, tenant, field) in [
        ("", PASSWORD, "", "email"),
        ("x".repeat(2000).as_str(), PASSWORD, "", "email"),
        ("owner@acme.example", "", "", "password"),
        ("owner@acme.example", "x".repeat(5000).as_str(), "", "password"),
        ("owner@acme.example", PASSWORD, "acme", "tenant"),
        ("owner@acme.example", PASSWORD, "tenants/-", "tenant"),
    ] {
        let refusal = refused(sign_in(&server.nobody(), email, password, tenant).await, Code::InvalidArgument);
        assert_eq!(refusal.fields, [field]);
    }
    assert_eq!(server.revision().await, before + 2);
}

#[tokio::test]
async fn an_email_and_a_password_are_the_same_however_they_are_typed() {
    let server = TestServer::start().await;
    let acme = tenant(&server, "acme").await;
    set(&acme.owner, &acme.owner_name, "cafe\u{301} au lait", "").await.unwrap();
    for email in ["owner@acme.example", " OWNER@acme.EXAMPLE ", "ｏｗｎｅｒ@acme.example"] {
        for password in ["caf\u{e9} au lait", "cafe\u{301} au lait"] {
            sign_in(&server.nobody(), email, password, "").await.unwrap();
        }
    }
    for password in ["Caf\u{e9} au lait", " caf\u{e9} au lait", "caf\u{e9} au lait\n"] {
        refused(sign_in(&server.nobody(), "owner@acme.example", password, "").await, Code::Unauthenticated);
    }
}

#[tokio::test]
async fn another_password_ends_all_sessions_and_nothing_else() {
    let mut server = TestServer::start().await;
    let acme = tenant(&server, "acme").await;
    let (other, _) = server.user(&acme, "other", UserRole::Member).await;
    set(&acme.owner, &other.name, PASSWORD, "").await.unwrap();
    let theirs = sign_in(&server.nobody(), "other@example.com", PASSWORD, "").await.unwrap().session_token;
    let (one, two) = (
        sign_in(&server.nobody(), "owner@acme.example", PASSWORD, "").await.unwrap().session_token,
        sign_in(&server.nobody(), "owner@acme.example", PASSWORD, "").await.unwrap().session_token,
    );
    // Whoever finds a session left open does not get the account with it.
    let session = server.bearer(&one);
    for current in ["", ANOTHER] {
        refused(set(&session, &acme.owner_name, ANOTHER, current).await, Code::PermissionDenied);
    }
    server.check(&one).allowed().await;
    set(&session, &other.name, PASSWORD, "").await.unwrap();
    server.check(&theirs).denied(&[Reason::Revoked]).await;
    set(&session, &acme.owner_name, ANOTHER, PASSWORD).await.unwrap();
    for _ in 0..2 {
        for ended in [&one, &two, &theirs] {
            server.check(ended).denied(&[Reason::Revoked]).await;
        }
        server.check(&acme.made.master_credential).may("doc/1", "read").allowed().await;
        server.restart().await;
    }
    refused(sign_in(&server.nobody(), "owner@acme.example", PASSWORD, "").await, Code::Unauthenticated);
    let again = sign_in(&server.nobody(), "owner@acme.example", ANOTHER, "").await.unwrap();
    server.check(&again.session_token).allowed().await;
}

#[tokio::test]
async fn suspension_ends_sessions_for_good_and_refuses_new_ones_for_the_time() {
    let mut server = TestServer::start().await;
    let acme = tenant(&server, "acme").await;
    let (member, _) = server.user(&acme, "member", UserRole::Member).await;
    set(&acme.owner, &member.name, PASSWORD, "").await.unwrap();
    let email = "member@example.com";
    let before = sign_in(&server.nobody(), email, PASSWORD, "").await.unwrap().session_token;
    send!(acme.owner.users(), suspend_user, SuspendUserRequest { name: &*member.name }).unwrap();
    server.check(&before).denied(&[Reason::Revoked, Reason::OwnerSuspended]).await;
    let refusal = refused(sign_in(&server.nobody(), email, PASSWORD, "").await, Code::FailedPrecondition);
    assert!(refusal.message.contains(&member.name), "{}", refusal.message);
    refused(sign_in(&server.nobody(), email, ANOTHER, "").await, Code::Unauthenticated);
    send!(acme.owner.users(), activate_user, ActivateUserRequest { name: &*member.name }).unwrap();
    server.check(&before).denied(&[Reason::Revoked]).await;
    server.restart().await;
    server.check(&before).denied(&[Reason::Revoked]).await;
    let after = sign_in(&server.nobody(), email, PASSWORD, "").await.unwrap().session_token;
    server.check(&after).allowed().await;
    // With the tenant they come back.
    let root = server.root();
    send!(root.tenants(), suspend_tenant, SuspendTenantRequest { name: &*acme.name }).unwrap();
    server.check(&after).denied(&[Reason::TenantSuspended]).await;
    refused(sign_in(&server.nobody(), email, PASSWORD, "").await, Code::FailedPrecondition);
    send!(root.tenants(), activate_tenant, ActivateTenantRequest { name: &*acme.name }).unwrap();
    server.check(&after).allowed().await;
    let owner = server.bearer(&acme.made.master_credential);
    send!(owner.users(), delete_user, DeleteUserRequest { name: &*member.name }).unwrap();
    server.check(&after).denied(&[Reason::Deleted]).await;
}

/// The password is right when it is checked and another when the session would be made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_is_made_of_a_password_that_has_just_been_changed() {
    let server = TestServer::start().await;
    let acme = tenant(&server, "acme").await;
    let mut blocker = ledger::connect(&server.database()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut blocker).await.unwrap();
    let owner = acme.owner.clone();
    let name = acme.owner_name.clone();
    // Both have done their hashing when the head becomes free; the change is first in the queue. Nothing tells from outside
    // that somebody waits for the head: each is given many times what a hash takes.
    let change = tokio::spawn(async move { set(&owner, &name, ANOTHER, "").await });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let nobody = server.nobody();
    let signing_in = tokio::spawn(async move { sign_in(&nobody, "owner@acme.example", PASSWORD, "").await });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!change.is_finished() && !signing_in.is_finished());
    sqlx::query("ROLLBACK").execute(&mut blocker).await.unwrap();
    let changed = change.await.unwrap().unwrap().revision;
    refused(signing_in.await.unwrap(), Code::Unauthenticated);
    assert_eq!(server.revision().await, changed);
    assert_eq!(list(&acme.owner, "tenants/-", "").await, [""; 0]);
}

#[tokio::test]
async fn guesses_are_limited_alike_whether_the_account_exists_or_not_and_nobody_is_locked_out() {
    let server = TestServer::start().await;
    tenant(&server, "acme").await;
    let from = |address: &str| server.nobody().through(&server.admin_from(address));
    let email = "owner@acme.example";
    let home = from("127.0.0.2");
    sign_in(&home, email, PASSWORD, "").await.unwrap();
    let mut refusals = Vec::new();
    for email in [email, "nobody@acme.example"] {
        for address in ["127.0.1.1", "127.0.1.2", "127.0.1.3"] {
            let stranger = from(address);
            let mut codes = Vec::new();
            for _ in 0..12 {
                let status = sign_in(&stranger, email, "a guess", "").await.unwrap_err();
                codes.push(status.code());
                if status.code() == Code::ResourceExhausted {
                    let details = status.get_error_details();
                    assert!(details.retry_info().unwrap().retry_delay.is_some_and(|delay| !delay.is_zero()));
                    refusals.push(status.message().to_owned());
                }
            }
            // An account has 20 in all, 10 from one source, and from each 3 whatever the others do; a little comes back.
            let limited = codes.iter().filter(|code| **code == Code::ResourceExhausted).count();
            let is_last = address == "127.0.1.3";
            assert!(if is_last { limited >= 7 } else { limited >= 1 }, "{email} {address}: {codes:?}");
        }
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    // Where the user has signed in before, the strangers changed nothing.
    for _ in 0..15 {
        sign_in(&home, email, PASSWORD, "").await.unwrap();
    }
}

#[tokio::test]
async fn strangers_who_hammer_an_account_keep_nobody_out_who_comes_from_a_fresh_address() {
    let server = TestServer::start().await;
    tenant(&server, "acme").await;
    let from = |address: &str| server.nobody().through(&server.admin_from(address));
    let email = "owner@acme.example";
    let strangers: Vec<_> = (1..=5).map(|host| from(&format!("127.0.1.{host}"))).collect();
    for round in 1..=4 {
        let mut limited = 0;
        for stranger in &strangers {
            for _ in 0..11 {
                let status = sign_in(stranger, email, "a guess", "").await.unwrap_err();
                limited += u32::from(status.code() == Code::ResourceExhausted);
            }
        }
        assert!(limited > 10, "{limited}");
        // With a slip of the finger first.
        let user = from(&format!("127.0.2.{round}"));
        refused(sign_in(&user, email, "correct hrose", "").await, Code::Unauthenticated);
        sign_in(&user, email, PASSWORD, "").await.unwrap();
        server.pass(10);
    }
}

#[tokio::test]
async fn a_sign_in_that_was_not_compared_is_not_counted_as_one() {
    let server = TestServer::start().await;
    tenant(&server, "acme").await;
    let email = "owner@acme.example";
    // More at once than wait to be compared; whatever becomes of them, none had a wrong password.
    let flood: Vec<_> = (0..100)
        .map(|number| {
            let client = server.nobody().through(&server.admin_from(&format!("127.0.1.{}", 1 + number % 10)));
            tokio::spawn(async move { sign_in(&client, email, PASSWORD, "").await })
        })
        .collect();
    for one in flood {
        if let Err(status) = one.await.unwrap() {
            assert_eq!(status.code(), Code::ResourceExhausted, "{}", status.message());
        }
    }
    server.pass(10);
    let user = server.nobody().through(&server.admin_from("127.0.2.1"));
    for _ in 0..10 {
        refused(sign_in(&user, email, "a guess", "").await, Code::Unauthenticated);
    }
}

#[tokio::test]
async fn those_who_are_signed_in_are_listed_oldest_first_to_those_who_may_see_them() {
    let server = TestServer::start().await;
    let acme = tenant(&server, "acme").await;
    let (member, member_client) = server.user(&acme, "member", UserRole::Member).await;
    let (admin, admin_client) = server.user(&acme, "admin", UserRole::Admin).await;
    for name in [&member.name, &admin.name] {
        set(&acme.owner, name, PASSWORD, "").await.unwrap();
    }
    let mut names = Vec::new();
    let mut tokens = Vec::new();
    for email in ["member@example.com", "admin@example.com", "member@example.com", "owner@acme.example"] {
        let made = sign_in(&server.nobody(), email, PASSWORD, "").await.unwrap();
        names.push(made.session.unwrap().name);
        tokens.push(made.session_token);
        server.pass(60);
    }
    for client in [&acme.owner, &admin_client] {
        assert_eq!(list(client, "tenants/-", "").await, names);
    }
    assert_eq!(list(&server.root(), "tenants/acme", "").await, names);
    let own = [names[0].clone(), names[2].clone()];
    assert_eq!(list(&member_client, "tenants/-", "").await, own);
    assert_eq!(list(&server.bearer(&tokens[0]), "tenants/-", "").await, own);
    assert_eq!(list(&acme.owner, &member.name, "").await, own);
    assert_eq!(list(&acme.owner, "tenants/-", &format!("user = \"{}\"", member.name)).await, own);
    let time = |seconds| {
        let time = server.time_in(seconds);
        let time = time::OffsetDateTime::from_unix_timestamp(time.seconds).unwrap();
        time.format(&time::format_description::well_known::Rfc3339).unwrap()
    };
    assert_eq!(list(&acme.owner, "tenants/-", &format!("create_time < \"{}\"", time(-150))).await, names[..2]);
    assert_eq!(list(&acme.owner, "tenants/-", &format!("expire_time > \"{}\"", time(86_400 - 150))).await, names[2..]);
    let request = ListSessionsRequest { parent: admin.name.clone(), ..Default::default() };
    refused(member_client.tokens().list_sessions(request).await, Code::PermissionDenied);
    for bad in ["email = 1", "user"] {
        let refusal =
            send!(acme.owner.tokens(), list_sessions, ListSessionsRequest { parent: "tenants/-", filter: bad });
        assert_eq!(refused(refusal, Code::InvalidArgument).fields, ["filter"]);
    }
    let mut paged = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            ListSessionsRequest { parent: "tenants/-".into(), page_size: 1, page_token, ..Default::default() };
        let page = acme.owner.tokens().list_sessions(request).await.unwrap().into_inner();
        paged.extend(page.sessions.into_iter().map(|session| session.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, names);

    // Only those in force.
    send!(server.bearer(&tokens[0]).tokens(), revoke_token, RevokeTokenRequest { token: &*tokens[0] }).unwrap();
    set(&acme.owner, &admin.name, ANOTHER, "").await.unwrap();
    assert_eq!(list(&acme.owner, "tenants/-", "").await, names[2..]);
    send!(acme.owner.users(), suspend_user, SuspendUserRequest { name: &*member.name }).unwrap();
    assert_eq!(list(&acme.owner, "tenants/-", "").await, names[3..]);
    server.pass(DAY);
    assert_eq!(list(&acme.owner, "tenants/-", "").await, [""; 0]);
}
