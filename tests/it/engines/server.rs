//! The real server on each engine.

use super::{Fresh, On, on_every_engine};
use crate::harness::TestServer;
use keyward::proto::v1::*;

on_every_engine! {
    a_revoked_key_stays_revoked_through_a_restart,
}

async fn server(fresh: &Fresh) -> TestServer {
    TestServer::start_with(|args| {
        args.database_url = Some(fresh.url.clone().into());
        args.mail_dir = Some(fresh.path("mail"));
    })
    .await
}

async fn a_revoked_key_stays_revoked_through_a_restart(on: On) {
    let fresh = on.fresh().await;
    let mut first = server(&fresh).await;
    let acme = first.tenant("acme").await;
    let kept = acme.owner.key("tenants/-").id("kept").may("doc/*", "read").issued().await;
    let revoked = acme.owner.key("tenants/-").id("revoked").may("doc/*", "read").issued().await;
    first.check(&kept.credential).may("doc/1", "read").allowed().await;
    first.check(&revoked.credential).may("doc/1", "read").allowed().await;
    let name = revoked.key.unwrap().name;
    acme.owner.keys().revoke_key(RevokeKeyRequest { name, ..Default::default() }).await.unwrap();
    first.check(&revoked.credential).may("doc/1", "read").denied(&[Reason::Revoked]).await;
    first.check(&kept.credential).may("doc/1", "read").allowed().await;
    first.stop().await;
    let mut second = server(&fresh).await;
    second.check(&revoked.credential).may("doc/1", "read").denied(&[Reason::Revoked]).await;
    second.check(&kept.credential).may("doc/1", "read").allowed().await;
    second.stop().await;
}
