//! Access tokens: never wider or longer-lived than what they are made from, and dead with it.

use crate::harness::{DAY, TestServer, TestTenant, refused, resources, seconds, send};
use keyward::proto::v1::*;
use tonic::{Code, Status};

async fn asked(server: &TestServer, request: CreateTokenRequest) -> Result<CreateTokenResponse, Status> {
    server.nobody().tokens().create_token(request).await.map(tonic::Response::into_inner)
}

/// A token of a key, by default for all of it.
async fn token(server: &TestServer, key: &str, change: impl FnOnce(&mut CreateTokenRequest)) -> CreateTokenResponse {
    let mut request = CreateTokenRequest { key: key.to_owned(), ..CreateTokenRequest::default() };
    change(&mut request);
    asked(server, request).await.unwrap()
}

fn permission(resource: &str, action: &str) -> Permission {
    Permission { resource: resource.to_owned(), action: action.to_owned() }
}

async fn inspected(tenant: &TestTenant, token: &str) -> IntrospectTokenResponse {
    send!(tenant.owner.tokens(), introspect_token, IntrospectTokenRequest { token: token }).unwrap()
}

#[tokio::test]
async fn a_token_stands_for_its_key_for_an_hour() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let labels = [("a".to_owned(), "b".to_owned())];
    let made = acme.owner.key("tenants/-").id("ci").may("doc/*", "read").with(|key| key.labels = labels.into());
    let made = made.issued().await;
    let minted = token(&server, &made.credential, |_| {}).await;
    let resource = minted.access_token.clone().unwrap();
    assert_eq!(resource.key, "tenants/acme/keys/ci");
    assert_eq!(resource.application, "");
    assert!(resource.name.starts_with("tenants/acme/tokens/"), "{}", resource.name);
    assert_eq!(resource.format(), TokenFormat::Opaque);
    assert!(minted.token.starts_with("kw_"));
    assert!(minted.revision > 0);

    let answer = server.check(&minted.token).may("doc/1", "read").allowed().await;
    let principal = answer.principal.unwrap();
    assert_eq!(principal.token, resource.name);
    assert_eq!(principal.key, "tenants/acme/keys/ci");
    assert_eq!(principal.user, acme.owner_name);
    assert_eq!(principal.labels["a"], "b");
    assert_eq!(answer.expire_time, minted.expire_time);
    server.check(&minted.token).may("doc/1", "write").denied(&[Reason::NotGranted]).await;

    // After a restart too, to the second, and for a day it is told that it was one.
    server.restart().await;
    server.move_to(minted.expire_time.as_ref(), 1);
    server.check(&minted.token).may("doc/1", "read").allowed().await;
    server.move_to(minted.expire_time.as_ref(), 0);
    server.check(&minted.token).may("doc/1", "read").denied(&[Reason::Expired]).await;
    server.pass(DAY - 1);
    server.check(&minted.token).denied(&[Reason::Expired]).await;
    server.pass(1);
    server.check(&minted.token).denied(&[Reason::NotFound]).await;
    server.restart().await;
    server.check(&minted.token).denied(&[Reason::NotFound]).await;
    server.check(&made.credential).allowed().await;
}

#[tokio::test]
async fn a_token_is_narrower_if_asked_and_never_wider() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let made = acme.owner.key("tenants/-").may("doc/**", "read").may("img/*", "write").issued().await;
    let narrow = token(&server, &made.credential, |request| {
        request.permissions = vec![permission("doc/a/*", "read"), permission("img/1", "write")];
    })
    .await;
    assert_eq!(narrow.access_token.as_ref().unwrap().permissions.len(), 2);
    server.check(&narrow.token).may("doc/a/1", "read").may("img/1", "write").allowed().await;
    server.check(&narrow.token).may("doc/b/1", "read").denied(&[Reason::NotGranted]).await;
    server.check(&narrow.token).may("img/2", "write").denied(&[Reason::NotGranted]).await;

    for (resource, action) in [("doc/a", "write"), ("**", "*"), ("img/**", "write"), ("keyward/keys/*", "list")] {
        let request = CreateTokenRequest {
            key: made.credential.clone(),
            permissions: vec![permission(resource, action)],
            ..Default::default()
        };
        refused(asked(&server, request).await, Code::PermissionDenied);
    }

    // What the key loses, its tokens lose.
    let name = made.key.unwrap().name;
    let key = Key { name: name.clone(), grants: vec![resources("doc/**", &["read"])], ..Key::default() };
    send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: Some(key) }).unwrap();
    server.check(&narrow.token).may("doc/a/1", "read").allowed().await;
    server.check(&narrow.token).may("img/1", "write").denied(&[Reason::NotGranted]).await;
    // And what it wins, a narrow one does not.
    let key = Key { name, grants: vec![resources("**", &["*"])], ..Key::default() };
    send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: Some(key) }).unwrap();
    server.check(&narrow.token).may("doc/b/1", "read").denied(&[Reason::NotGranted]).await;
    server.check(&narrow.token).may("img/1", "write").allowed().await;
}

#[tokio::test]
async fn a_token_lives_no_longer_than_its_key() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let made = acme.owner.key("tenants/-").asking(|request| request.ttl = seconds(1800)).issued().await;
    let end = made.key.as_ref().unwrap().expire_time;
    assert_eq!(token(&server, &made.credential, |_| {}).await.expire_time, end);
    let later = CreateTokenRequest { key: made.credential.clone(), ttl: seconds(3600), ..Default::default() };
    refused(asked(&server, later).await, Code::PermissionDenied);
    let short = token(&server, &made.credential, |request| request.ttl = seconds(60)).await;
    assert!(short.expire_time.unwrap().seconds < end.unwrap().seconds);

    let free = acme.owner.key("tenants/-").issued().await.credential;
    for bad in [0, -1, 24 * 3600 + 1] {
        let request = CreateTokenRequest { key: free.clone(), ttl: seconds(bad), ..Default::default() };
        assert_eq!(refused(asked(&server, request).await, Code::InvalidArgument).fields, ["ttl"], "{bad}");
    }
    token(&server, &free, |request| request.ttl = seconds(24 * 3600)).await;
}

#[tokio::test]
async fn a_token_dies_with_what_it_was_made_from_and_only_sleeps_while_that_is_suspended() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let key = async |id: &str| acme.owner.key("tenants/-").id(id).issued().await;
    let (revoked, deleted, rotated, suspended, second) =
        (key("revoked").await, key("deleted").await, key("rotated").await, key("suspended").await, key("second").await);
    let made = [&revoked, &deleted, &rotated, &suspended, &second];
    let mut tokens = Vec::new();
    for one in made {
        tokens.push(token(&server, &one.credential, |_| {}).await.token);
        server.check(tokens.last().unwrap()).allowed().await;
    }
    let name = |made: &CreateKeyResponse| made.key.as_ref().unwrap().name.clone();
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: name(&revoked) }).unwrap();
    send!(acme.owner.keys(), delete_key, DeleteKeyRequest { name: name(&deleted) }).unwrap();
    let rotation = RotateKeyRequest { name: name(&rotated), overlap: seconds(600), ..Default::default() };
    acme.owner.keys().rotate_key(rotation).await.unwrap();
    send!(acme.owner.keys(), suspend_key, SuspendKeyRequest { name: name(&suspended) }).unwrap();
    let second_secret =
        send!(acme.owner.keys(), generate_secret_key, GenerateSecretKeyRequest { name: name(&second) }).unwrap();
    for _ in 0..2 {
        server.check(&tokens[0]).denied(&[Reason::Revoked]).await;
        server.check(&tokens[1]).denied(&[Reason::Deleted, Reason::Revoked]).await;
        server.check(&tokens[2]).allowed().await;
        server.check(&tokens[3]).denied(&[Reason::Suspended]).await;
        server.check(&tokens[4]).denied(&[Reason::Revoked]).await;
        server.restart().await;
    }
    let acme_owner = server.bearer(&acme.made.master_credential);
    // The overlap's end is the end of the tokens of the old secret; a new one has no second secret to show again.
    send!(acme_owner.keys(), finish_key_rotation, FinishKeyRotationRequest { name: name(&rotated) }).unwrap();
    server.check(&tokens[2]).denied(&[Reason::RotatedOut]).await;
    let without = CreateTokenRequest { key: second.credential.clone(), ..Default::default() };
    refused(asked(&server, without.clone()).await, Code::Unauthenticated);
    let with = CreateTokenRequest { secret_key: second_secret.secret_key, ..without };
    server.check(&asked(&server, with).await.unwrap().token).allowed().await;

    // What was brought back is brought back without the tokens that had died.
    send!(acme_owner.keys(), undelete_key, UndeleteKeyRequest { name: name(&deleted) }).unwrap();
    server.check(&deleted.credential).allowed().await;
    server.check(&tokens[1]).denied(&[Reason::Revoked]).await;
    server.check(&token(&server, &deleted.credential, |_| {}).await.token).allowed().await;
    send!(acme_owner.keys(), activate_key, ActivateKeyRequest { name: name(&suspended) }).unwrap();
    server.check(&tokens[3]).allowed().await;
    // Of what is revoked or suspended none is made, and that is told to who has the secret.
    let of_revoked = CreateTokenRequest { key: revoked.credential.clone(), ..Default::default() };
    refused(asked(&server, of_revoked).await, Code::FailedPrecondition);
    let unknown = CreateTokenRequest { key: "nobody's".to_owned(), ..Default::default() };
    refused(asked(&server, unknown).await, Code::Unauthenticated);
}

#[tokio::test]
async fn an_audience_is_for_those_it_names() {
    let server = TestServer::start_with(|args| args.audience = Some(vec!["here".to_owned()])).await;
    let acme = server.tenant("acme").await;
    let key = acme.owner.key("tenants/-").may("**", "*").issued().await.credential;
    let for_two = token(&server, &key, |request| request.audience = vec!["here".into(), "there".into()]).await.token;
    let for_other = token(&server, &key, |request| request.audience = vec!["other".into()]).await.token;
    let for_any = token(&server, &key, |_| {}).await.token;
    server.check(&for_two).allowed().await;
    server.check(&for_any).with(|request| request.audience = "whatever".into()).allowed().await;
    server.check(&for_other).denied(&[Reason::TokenAudienceMismatch]).await;
    server.check(&for_other).with(|request| request.audience = "other".into()).allowed().await;
    let elsewhere = server.check(&for_two).with(|request| request.audience = "other".into());
    elsewhere.denied(&[Reason::TokenAudienceMismatch]).await;
    // Keyward's own RPCs are here.
    send!(server.bearer(&for_two).keys(), list_keys, ListKeysRequest { parent: "tenants/-" }).unwrap();
    let wrong = send!(server.bearer(&for_other).keys(), list_keys, ListKeysRequest { parent: "tenants/-" });
    refused(wrong, Code::Unauthenticated);
}

#[tokio::test]
async fn a_token_confers_no_more_than_it_holds_nor_for_longer() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let all = token(&server, &acme.made.master_credential, |_| {}).await;
    let caller = server.bearer(&all.token);
    let made = caller.key("tenants/-").may("doc/*", "read").issued().await.key.unwrap();
    assert_eq!(made.expire_time, all.expire_time, "it gets the token's own expiry");
    let later = CreateKeyRequest { parent: "tenants/-".into(), ttl: seconds(7200), ..Default::default() };
    refused(caller.keys().create_key(later).await, Code::PermissionDenied);

    let narrow = token(&server, &acme.made.master_credential, |request| {
        request.permissions = vec![permission("doc/*", "read"), permission("keyward/keys/*", "create")];
    })
    .await;
    let caller = server.bearer(&narrow.token);
    caller.key("tenants/-").may("doc/*", "read").issued().await;
    let wider = CreateKeyRequest {
        parent: "tenants/-".into(),
        key: Some(Key { grants: vec![resources("img/*", &["read"])], ..Key::default() }),
        ..Default::default()
    };
    refused(caller.keys().create_key(wider).await, Code::PermissionDenied);
    refused(send!(caller.keys(), list_keys, ListKeysRequest { parent: "tenants/-" }), Code::PermissionDenied);
    // Of a token none is made.
    let again = CreateTokenRequest { key: all.token, ..Default::default() };
    refused(asked(&server, again).await, Code::Unauthenticated);
}

#[tokio::test]
async fn introspection_tells_what_a_token_in_force_is_worth_and_nothing_of_others() {
    let server = TestServer::start().await;
    let (acme, other) = (server.tenant("acme").await, server.tenant("other").await);
    let (_, member) = server.user(&acme, "max", UserRole::Member).await;
    let key = acme.owner.key("tenants/-").may("doc/*", "read").issued().await.credential;
    let minted = token(&server, &key, |_| {}).await;
    let found = inspected(&acme, &minted.token).await;
    assert_eq!(found.active, Some(true));
    assert_eq!(found.permissions, [permission("doc/*", "read")]);
    assert_eq!(found.expire_time, minted.expire_time);
    assert_eq!(found.principal.unwrap().token, found.token);

    let nothing = IntrospectTokenResponse { active: Some(false), ..Default::default() };
    for unseen in [key.as_str(), &acme.made.master_credential, &server.root, "nobody's", "kw_broken"] {
        assert_eq!(inspected(&acme, unseen).await, nothing, "no token");
    }
    assert_eq!(inspected(&other, &minted.token).await, nothing, "another tenant's");
    let request = IntrospectTokenRequest { token: minted.token.clone() };
    let by_member = member.tokens().introspect_token(request).await.unwrap().into_inner();
    assert_eq!(by_member, nothing, "another user's");

    let revoked = send!(acme.owner.tokens(), revoke_token, RevokeTokenRequest { token: &*minted.token }).unwrap();
    assert!(revoked.revision > minted.revision);
    assert_eq!(inspected(&acme, &minted.token).await, nothing);
    server.check(&minted.token).denied(&[Reason::Revoked]).await;
}

#[tokio::test]
async fn revoking_a_token_is_final_harmless_twice_and_for_its_own() {
    let mut server = TestServer::start().await;
    let (acme, other) = (server.tenant("acme").await, server.tenant("other").await);
    let (max, member) = server.user(&acme, "max", UserRole::Member).await;
    let key = acme.owner.key("tenants/-").issued().await.credential;
    let own = acme.owner.key(&max.name).issued().await.credential;
    let (first, second) = (token(&server, &key, |_| {}).await.token, token(&server, &own, |_| {}).await.token);
    let revoke = async |client: &crate::harness::Client, token: &str| {
        let request = RevokeTokenRequest { token: token.to_owned() };
        client.tokens().revoke_token(request).await.map(|response| response.into_inner().revision)
    };
    let before = server.revision().await;
    // An unknown one succeeds, and another tenant's is unknown.
    assert_eq!(revoke(&other.owner, &first).await.unwrap(), before);
    assert_eq!(revoke(&acme.owner, "nobody's").await.unwrap(), before);
    refused(revoke(&member, &first).await, Code::PermissionDenied);
    assert_eq!(refused(revoke(&acme.owner, &key).await, Code::InvalidArgument).fields, ["token"]);
    server.check(&first).allowed().await;
    let ended = revoke(&member, &second).await.unwrap();
    assert_eq!(ended, before + 1);
    assert_eq!(revoke(&member, &second).await.unwrap(), ended, "twice is once");
    server.check(&second).denied(&[Reason::Revoked]).await;
    server.restart().await;
    server.check(&second).denied(&[Reason::Revoked]).await;
    server.check(&first).allowed().await;
    // Whoever has it may end it.
    let request =
        RevokeCredentialsRequest { credentials: vec![first.clone(), "nobody's".into()], ..Default::default() };
    server.nobody().keys().revoke_credentials(request).await.unwrap();
    server.check(&first).denied(&[Reason::Revoked]).await;
    server.check(&key).allowed().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_for_a_token_is_told_by_field() {
    let server = TestServer::start().await;
    let fields =
        async |request: CreateTokenRequest| refused(asked(&server, request).await, Code::InvalidArgument).fields;
    let base = CreateTokenRequest { key: "k".to_owned(), ..CreateTokenRequest::default() };
    assert_eq!(fields(CreateTokenRequest::default()).await, ["application"]);
    assert_eq!(fields(CreateTokenRequest { secret: "s".into(), ..base.clone() }).await, ["key"]);
    assert_eq!(fields(CreateTokenRequest { secret: "s".into(), ..Default::default() }).await, ["application"]);
    assert_eq!(fields(CreateTokenRequest { application: "a".into(), ..Default::default() }).await, ["secret"]);
    assert_eq!(fields(CreateTokenRequest { format: 9, ..base.clone() }).await, ["format"]);
    let permissions = vec![permission("a//b", "read"), permission("a", "")];
    let audience = vec![String::new(), "x".repeat(257)];
    let wanted = ["permissions[0].resource", "permissions[1].action", "audience[0]", "audience[1]", "ttl"];
    let bad = CreateTokenRequest { permissions, audience, ttl: seconds(0), ..base };
    assert_eq!(fields(bad).await, wanted);
}
