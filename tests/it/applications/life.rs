//! Rotation, revocation, activation and deletion, as Check sees them.

use super::{NAME, reader, token, tried, update, verified};
use crate::harness::{TestServer, refused, resources, seconds, send};
use keyward::proto::v1::*;
use tonic::Code;

fn rotation(overlap: i64, request_id: &str) -> RotateApplicationSecretRequest {
    RotateApplicationSecretRequest {
        name: NAME.to_owned(),
        overlap: seconds(overlap),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_secret_is_rotated_with_or_without_overlap() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (_, first) = verified(&server, &acme, "billing").await;
    let made = token(&server, NAME, &first).await.unwrap();
    let rotate = async |request| acme.owner.applications().rotate_application_secret(request).await;
    let id = "0192d4e0-7d64-7cc9-8d1a-3a4c1b1f6a01";
    let rotated = rotate(rotation(600, id)).await.unwrap().into_inner();
    let second = rotated.secret.clone();
    for secret in [&first, &second, &made] {
        server.check(secret).may("doc/1", "read").allowed().await;
    }
    // The same again: the same answer without the secret.
    server.restart().await;
    let acme_owner = server.bearer(&acme.made.master_credential);
    let rotate = async |request| acme_owner.applications().rotate_application_secret(request).await;
    let replayed = rotate(rotation(600, id)).await.unwrap().into_inner();
    assert_eq!((replayed.secret.as_str(), replayed.revision), ("", rotated.revision));
    refused(rotate(rotation(601, id)).await, Code::InvalidArgument);
    server.pass(601);
    for secret in [&first, &made] {
        server.check(secret).may("doc/1", "read").denied(&[Reason::RotatedOut]).await;
    }
    refused(token(&server, NAME, &first).await, Code::Unauthenticated);
    let third = rotate(rotation(0, "")).await.unwrap().into_inner().secret;
    server.check(&second).may("doc/1", "read").denied(&[Reason::RotatedOut]).await;
    server.check(&third).may("doc/1", "read").allowed().await;
    // No more than so many at once.
    for _ in 0..9 {
        rotate(rotation(600, "")).await.unwrap();
    }
    refused(rotate(rotation(600, "")).await, Code::ResourceExhausted);
    rotate(rotation(0, "")).await.unwrap();
    server.check(&third).may("doc/1", "read").denied(&[Reason::RotatedOut]).await;
}

#[tokio::test]
async fn a_revoked_application_is_refused_with_its_keys_until_activated_and_its_tokens_for_good() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (_, secret) = verified(&server, &acme, "billing").await;
    let key = acme.owner.key(NAME).may("doc/*", "read").issued().await.credential;
    let (of_secret, of_key) = (
        token(&server, NAME, &secret).await.unwrap(),
        send!(server.nobody().tokens(), create_token, CreateTokenRequest { key: &*key }).unwrap().token,
    );
    for text in [&secret, &key, &of_secret, &of_key] {
        server.check(text).may("doc/1", "read").allowed().await;
    }
    let done = send!(acme.owner.applications(), revoke_application, RevokeApplicationRequest { name: NAME }).unwrap();
    assert!(done.application.unwrap().is_revoked);
    for _ in 0..2 {
        for text in [&secret, &key] {
            server.check(text).may("doc/1", "read").denied(&[Reason::ApplicationRevoked]).await;
        }
        for text in [&of_secret, &of_key] {
            server.check(text).may("doc/1", "read").denied(&[Reason::Revoked, Reason::ApplicationRevoked]).await;
        }
        server.restart().await;
    }
    let owner = server.bearer(&acme.made.master_credential);
    refused(token(&server, NAME, &secret).await, Code::FailedPrecondition);
    refused(owner.applications().rotate_application_secret(rotation(0, "")).await, Code::FailedPrecondition);
    // Once more changes nothing.
    let again = send!(owner.applications(), revoke_application, RevokeApplicationRequest { name: NAME }).unwrap();
    assert_eq!(again.revision, done.revision);
    let back = send!(owner.applications(), activate_application, ActivateApplicationRequest { name: NAME }).unwrap();
    assert!(!back.application.unwrap().is_revoked);
    for _ in 0..2 {
        for text in [&secret, &key] {
            server.check(text).may("doc/1", "read").allowed().await;
        }
        for text in [&of_secret, &of_key] {
            server.check(text).may("doc/1", "read").denied(&[Reason::Revoked]).await;
        }
        server.restart().await;
    }
    let fresh = token(&server, NAME, &secret).await.unwrap();
    server.check(&fresh).may("doc/1", "read").allowed().await;
}

#[tokio::test]
async fn a_deleted_application_is_gone_with_what_is_under_it_and_its_id_is_never_used_again() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (_, secret) = verified(&server, &acme, "billing").await;
    let made = acme.owner.key(NAME).may("doc/*", "read").issued().await;
    let deleted =
        send!(acme.owner.applications(), delete_application, DeleteApplicationRequest { name: NAME }).unwrap();
    assert!(deleted.application.unwrap().delete_time.is_some());
    for _ in 0..2 {
        for text in [&secret, &made.credential] {
            server.check(text).may("doc/1", "read").denied(&[Reason::Deleted]).await;
        }
        server.restart().await;
    }
    let owner = server.bearer(&acme.made.master_credential);
    let again = send!(owner.applications(), delete_application, DeleteApplicationRequest { name: NAME }).unwrap();
    assert_eq!(again.revision, deleted.revision);
    assert_eq!(refused(tried(&owner, "billing", reader()).await, Code::AlreadyExists).reason, "ALREADY_EXISTS");
    let shown = send!(owner.applications(), get_application, GetApplicationRequest { name: NAME }).unwrap();
    assert!(shown.application.unwrap().delete_time.is_some());
    refused(owner.key(NAME).tried().await, Code::FailedPrecondition);
    refused(token(&server, NAME, &secret).await, Code::Unauthenticated);
    for refusal in [
        send!(owner.applications(), revoke_application, RevokeApplicationRequest { name: NAME }).err(),
        send!(owner.applications(), activate_application, ActivateApplicationRequest { name: NAME }).err(),
        send!(owner.applications(), resend_verification, ResendVerificationRequest { name: NAME }).err(),
        update(&owner, Application { name: NAME.to_owned(), ..reader() }, &[]).await.err(),
        owner.applications().rotate_application_secret(rotation(0, "")).await.err(),
    ] {
        assert_eq!(refusal.unwrap().code(), Code::FailedPrecondition);
    }
    // A key under it cannot be brought back without it.
    let name = made.key.unwrap().name;
    send!(owner.keys(), delete_key, DeleteKeyRequest { name: &*name }).unwrap();
    refused(send!(owner.keys(), undelete_key, UndeleteKeyRequest { name: &*name }), Code::FailedPrecondition);
}

#[tokio::test]
async fn what_an_application_loses_its_tokens_and_keys_lose_at_once() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (_, secret) = verified(&server, &acme, "billing").await;
    let key = acme.owner.key(NAME).may("doc/*", "read").issued().await;
    let made = token(&server, NAME, &secret).await.unwrap();
    // Keys hold at most what it holds.
    refused(acme.owner.key(NAME).may("doc/*", "write").tried().await, Code::PermissionDenied);
    let wider = Key { name: key.key.unwrap().name, grants: vec![resources("**", &["*"])], ..Key::default() };
    refused(
        send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: Some(wider.clone()) }),
        Code::PermissionDenied,
    );
    let narrower =
        Application { name: NAME.to_owned(), grants: vec![resources("doc/1", &["read"])], ..Default::default() };
    update(&acme.owner, narrower, &[]).await.unwrap();
    for text in [&secret, &made, &key.credential] {
        server.check(text).may("doc/1", "read").allowed().await;
        server.check(text).may("doc/2", "read").denied(&[Reason::NotGranted]).await;
    }
    update(&acme.owner, Application { name: NAME.to_owned(), ..Default::default() }, &["grants"]).await.unwrap();
    for text in [&secret, &made, &key.credential] {
        server.check(text).may("doc/1", "read").denied(&[Reason::NotGranted]).await;
    }
}
