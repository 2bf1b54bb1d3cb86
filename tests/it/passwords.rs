//! Passwords: who may set one, what one may be, and that none is told again.

use crate::harness::{Client, TestServer, refused, send};
use keyward::proto::v1::*;
use tonic::{Code, Status};

const PASSWORD: &str = "correct horse";
const ANOTHER: &str = "battery staple";

async fn set(client: &Client, name: &str, password: &str, current: &str) -> Result<SetPasswordResponse, Status> {
    send!(
        client.users(),
        set_password,
        SetPasswordRequest { name: name, password: password, current_password: current }
    )
}

#[tokio::test]
async fn a_password_is_8_to_256_characters_and_not_the_email() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let name = &*acme.owner_name;
    for bad in
        ["1234567", &"x".repeat(257), &"x".repeat(100_000), "owner@acme.example", "OWNER@acme.example ", "a\tbcdefg"]
    {
        let refusal = refused(set(&acme.owner, name, bad, "").await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["password"], "{bad}");
        assert!(refusal.message.len() < 300 && !refusal.message.contains(bad), "{}", refusal.message);
        let user = User { email: "owner@acme.example".into(), ..User::default() };
        let made = send!(
            server.root().tenants(),
            create_tenant,
            CreateTenantRequest { tenant_id: "other", owner: user.clone(), owner_password: bad }
        );
        assert_eq!(refused(made, Code::InvalidArgument).fields, ["owner_password"], "{bad}");
        let request = CreateUserRequest {
            parent: acme.name.clone(),
            user: Some(user),
            password: bad.into(),
            ..Default::default()
        };
        let made = acme.owner.users().create_user(request).await;
        assert_eq!(refused(made, Code::InvalidArgument).fields, ["password"], "{bad}");
    }
    for good in ["12345678", &"x".repeat(256), &"🦀".repeat(8)] {
        set(&acme.owner, name, good, "").await.unwrap();
    }
    refused(set(&acme.owner, name, "", "").await, Code::InvalidArgument);
}

#[tokio::test]
async fn a_password_so_far_is_checked_wherever_it_is_given() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let name = &*acme.owner_name;
    refused(set(&acme.owner, name, PASSWORD, "anything").await, Code::PermissionDenied);
    let first = set(&acme.owner, name, PASSWORD, "").await.unwrap();
    assert_eq!(first.user.as_ref().unwrap().name, name);
    let before = server.revision().await;
    assert_eq!(before, first.revision);
    for wrong in ["x", "correct  horse", "correct horse ", ANOTHER] {
        let refusal = refused(set(&acme.owner, name, ANOTHER, wrong).await, Code::PermissionDenied);
        assert!(refusal.message.contains("current password"), "{}", refusal.message);
    }
    assert_eq!(server.revision().await, before);
    set(&acme.owner, name, ANOTHER, PASSWORD).await.unwrap();
    refused(set(&acme.owner, name, PASSWORD, PASSWORD).await, Code::PermissionDenied);
    // The same in another form of Unicode.
    set(&acme.owner, name, "cafe\u{301} au lait", ANOTHER).await.unwrap();
    set(&acme.owner, name, PASSWORD, "caf\u{e9} au lait").await.unwrap();
    // It can be guessed here as little as anywhere else; and who has the right to set it needs no guess.
    let mut limited = 0;
    for _ in 0..12 {
        let status = set(&acme.owner, name, ANOTHER, "a guess").await.unwrap_err();
        limited += u32::from(status.code() == Code::ResourceExhausted);
    }
    assert!(limited > 0);
    set(&acme.owner, name, ANOTHER, "").await.unwrap();
}

#[tokio::test]
async fn who_signs_in_by_the_name_of_a_user_uses_up_nothing_of_the_users() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let name = &*acme.owner_name;
    set(&acme.owner, name, PASSWORD, "").await.unwrap();
    let mut limited = 0;
    for _ in 0..12 {
        let request = CreateSessionRequest { email: name.into(), password: "a guess".into(), ..Default::default() };
        let status = server.nobody().tokens().create_session(request).await.unwrap_err();
        limited += u32::from(status.code() == Code::ResourceExhausted);
    }
    assert!(limited > 0);
    for wrong in 0..5 {
        refused(set(&acme.owner, name, ANOTHER, &format!("wrong {wrong}")).await, Code::PermissionDenied);
    }
    set(&acme.owner, name, ANOTHER, PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_password_given_at_the_start_counts() {
    let server = TestServer::start().await;
    let owner = User { email: "ada@example.com".into(), ..User::default() };
    let request = CreateTenantRequest {
        tenant_id: "acme".into(),
        owner: Some(owner.clone()),
        owner_password: PASSWORD.into(),
        request_id: "7f2c1d86-3a0f-4f0e-9d9b-0a3c0e6a1b22".into(),
        ..Default::default()
    };
    let made = server.root().tenants().create_tenant(request.clone()).await.unwrap().into_inner();
    let again = server.root().tenants().create_tenant(request).await.unwrap().into_inner();
    assert_eq!((again.revision, &*again.master_credential), (made.revision, ""));
    let client = server.bearer(&made.master_credential);
    let name = made.owner.unwrap().name;
    refused(set(&client, &name, ANOTHER, ANOTHER).await, Code::PermissionDenied);
    set(&client, &name, ANOTHER, PASSWORD).await.unwrap();

    let request = CreateUserRequest {
        parent: "tenants/-".into(),
        user: Some(User { email: "bob@example.com".into(), ..User::default() }),
        password: PASSWORD.into(),
        request_id: "7f2c1d86-3a0f-4f0e-9d9b-0a3c0e6a1b22".into(),
        ..Default::default()
    };
    let made = client.users().create_user(request.clone()).await.unwrap().into_inner();
    let again = client.users().create_user(request).await.unwrap().into_inner();
    assert_eq!((again.revision, &*again.master_credential), (made.revision, ""));
    let bob = server.bearer(&made.master_credential);
    set(&bob, &made.user.unwrap().name, ANOTHER, PASSWORD).await.unwrap();
}

#[tokio::test]
async fn only_who_holds_all_that_a_user_does_sets_the_users_password() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (admin, admin_client) = server.user(&acme, "admin", UserRole::Admin).await;
    let (member, member_client) = server.user(&acme, "member", UserRole::Member).await;
    let (other, _) = server.user(&acme, "other", UserRole::Member).await;
    let regular = acme.owner.key("tenants/-").may("**", "*").issued().await;
    let regular = server.bearer(&regular.credential);
    let narrow = acme.owner.key("tenants/-").may("keyward/users/*", "set").issued().await;
    let narrow = server.bearer(&narrow.credential);
    let elsewhere = server.tenant("elsewhere").await.owner;
    let before = server.revision().await;
    for (client, name, code) in [
        (&member_client, &other.name, Code::PermissionDenied),
        (&member_client, &admin.name, Code::PermissionDenied),
        (&member_client, &acme.owner_name, Code::PermissionDenied),
        (&admin_client, &acme.owner_name, Code::PermissionDenied),
        (&narrow, &member.name, Code::PermissionDenied),
        (&elsewhere, &member.name, Code::NotFound),
        (&server.nobody(), &member.name, Code::Unauthenticated),
    ] {
        refused(set(client, name, PASSWORD, "").await, code);
    }
    assert_eq!(server.revision().await, before);
    for (client, name) in [
        (&member_client, &member.name),
        (&admin_client, &admin.name),
        (&admin_client, &member.name),
        (&acme.owner, &admin.name),
        (&acme.owner, &acme.owner_name),
        (&server.root(), &acme.owner_name),
        (&regular, &member.name),
    ] {
        set(client, name, PASSWORD, "").await.unwrap();
    }
    // A stale etag, a deleted user, and nobody.
    let stale = SetPasswordRequest {
        name: member.name.clone(),
        password: PASSWORD.into(),
        etag: "stale".into(),
        ..Default::default()
    };
    refused(acme.owner.users().set_password(stale).await, Code::Aborted);
    send!(acme.owner.users(), delete_user, DeleteUserRequest { name: &*other.name }).unwrap();
    refused(set(&acme.owner, &other.name, PASSWORD, "").await, Code::FailedPrecondition);
    refused(set(&acme.owner, "tenants/-/users/nobody", PASSWORD, "").await, Code::NotFound);
}

#[tokio::test]
async fn an_event_says_that_a_password_was_set_and_nothing_of_it() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    set(&acme.owner, &acme.owner_name, PASSWORD, "").await.unwrap();
    let events = send!(acme.owner.events(), list_events, ListEventsRequest { parent: "tenants/-" }).unwrap().events;
    let event = events.iter().find(|event| event.kind == "user.set_password").unwrap();
    assert_eq!(event.subject, acme.owner_name);
    for told in [format!("{events:?}")] {
        for secret in [PASSWORD, "argon2", "$m=19456"] {
            assert!(!told.contains(secret), "{secret}");
        }
    }
}
