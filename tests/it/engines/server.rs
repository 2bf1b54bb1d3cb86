//! The real server on each engine.

use super::{Fresh, On, on_every_engine};
use crate::harness::{Client, TestServer, mask};
use keyward::proto::v1::*;
use tokio::task::JoinSet;
use tonic::{Code, Status};

on_every_engine! {
    a_revoked_key_stays_revoked_through_a_restart,
    those_who_come_at_once_are_decided_in_the_order_of_their_revisions,
}

pub(super) async fn server(fresh: &Fresh) -> TestServer {
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

/// Each call with what it is one of, and its revision or why not.
type Calls = JoinSet<(&'static str, Result<i64, Status>)>;

/// Changes the description of a key, which must be as `etag` says unless that is empty.
fn describe(calls: &mut Calls, who: &Client, what: &'static str, number: i32, name: &str, etag: &str) {
    let (mut keys, description) = (who.keys(), format!("number {number}"));
    let key = Key { name: name.to_owned(), description, etag: etag.to_owned(), ..Key::default() };
    let request = UpdateKeyRequest { key: Some(key), update_mask: mask(&["description"]) };
    calls.spawn(async move { (what, keys.update_key(request).await.map(|made| made.into_inner().revision)) });
}

fn create(calls: &mut Calls, who: &Client, what: &'static str, id: &str) {
    let key = who.key("tenants/-").id(id);
    calls.spawn(async move { (what, key.tried().await.map(|made| made.revision)) });
}

async fn those_who_come_at_once_are_decided_in_the_order_of_their_revisions(on: On) {
    let fresh = on.fresh().await;
    let mut server = server(&fresh).await;
    let acme = server.tenant("acme").await;
    for round in 0..3 {
        let (user, worker) = server.user(&acme, &format!("worker-{round}"), UserRole::Member).await;
        let made = async |word| acme.owner.key("tenants/-").id(&format!("{word}-{round}")).issued().await.key.unwrap();
        let (seen, ending, going) = (made("seen").await, made("ending").await, made("going").await);
        let mut calls = Calls::new();
        for number in 0..12 {
            describe(&mut calls, &acme.owner, "as seen", number, &seen.name, &seen.etag);
            create(&mut calls, &acme.owner, "one id", &format!("one-{round}"));
            describe(&mut calls, &acme.owner, "before the end", number, &ending.name, "");
            describe(&mut calls, &acme.owner, "before it goes", number, &going.name, "");
            create(&mut calls, &worker, "at work", &format!("work-{round}-{number}"));
            if number == 5 {
                let mut keys = acme.owner.keys();
                let request = RevokeKeyRequest { name: ending.name.clone(), ..Default::default() };
                calls.spawn(
                    async move { ("the end", keys.revoke_key(request).await.map(|end| end.into_inner().revision)) },
                );
                let mut keys = acme.owner.keys();
                let request = DeleteKeyRequest { name: going.name.clone(), ..Default::default() };
                calls.spawn(
                    async move { ("it goes", keys.delete_key(request).await.map(|end| end.into_inner().revision)) },
                );
                let mut users = acme.owner.users();
                let request = SuspendUserRequest { name: user.name.clone(), ..Default::default() };
                calls.spawn(async move {
                    ("no work", users.suspend_user(request).await.map(|end| end.into_inner().revision))
                });
            }
        }
        let told = calls.join_all().await;
        let of = |what| told.iter().filter(move |(is, _)| *is == what).map(|(_, told)| told);
        for (what, code) in [("as seen", Code::Aborted), ("one id", Code::AlreadyExists)] {
            let refused: Vec<Code> = of(what).filter_map(|told| told.as_ref().err()).map(Status::code).collect();
            assert_eq!(refused, [code; 11], "{what}: one of twelve");
        }
        let ends = [
            ("before the end", "the end", Code::FailedPrecondition),
            ("before it goes", "it goes", Code::FailedPrecondition),
            ("at work", "no work", Code::Unauthenticated),
        ];
        for (what, end, code) in ends {
            let end = *of(end).next().unwrap().as_ref().unwrap();
            for told in of(what) {
                match told {
                    Ok(revision) => assert!(*revision < end, "{what}: {revision} is after {end}"),
                    Err(status) => assert_eq!(status.code(), code, "{what}: {status}"),
                }
            }
        }
    }
    server.stop().await;
}
