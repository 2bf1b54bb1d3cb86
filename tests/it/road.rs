//! The whole road, as a stranger walks it first.

use crate::harness::{TestServer, refused};
use keyward::proto::v1::*;
use tonic::Code;

#[tokio::test]
async fn a_key_is_made_checked_and_revoked_and_stays_revoked_after_a_restart() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").id("ci").may("doc/*", "read").issued().await;
    let key = issued.key.unwrap();
    assert_eq!(key.name, "tenants/acme/keys/ci");
    assert_eq!(key.owner, acme.owner_name);

    let answer = server.check(&issued.credential).may("doc/1", "read").allowed().await;
    assert_eq!(answer.principal.unwrap().key, key.name);
    assert!(answer.revision >= issued.revision);
    let denied = server.check(&issued.credential).may("doc/1", "write").denied(&[Reason::NotGranted]).await;
    assert_eq!(denied.missing, [Permission { resource: "doc/1".into(), action: "write".into() }]);

    server.restart().await;
    server.check(&issued.credential).may("doc/1", "read").allowed().await;
    let owner = server.bearer(&acme.made.master_credential);
    let name = key.name.clone();
    let revoked = owner.keys().revoke_key(RevokeKeyRequest { name, ..Default::default() }).await.unwrap().into_inner();
    assert_eq!(revoked.key.unwrap().state(), KeyState::Revoked);
    server.check(&issued.credential).may("doc/1", "read").denied(&[Reason::Revoked]).await;
    server.restart().await;
    server.check(&issued.credential).denied(&[Reason::Revoked]).await;
}

#[tokio::test]
async fn nobody_gets_in_without_a_credential() {
    let server = TestServer::start().await;
    let refusal = refused(server.nobody().keys().list_keys(ListKeysRequest::default()).await, Code::Unauthenticated);
    assert_eq!(refusal.reason, "CREDENTIAL_REFUSED");
}
