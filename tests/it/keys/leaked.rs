use crate::harness::{DAY, TestServer, refused, seconds, send};
use keyward::proto::v1::*;
use prost_types::value::Kind;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

async fn revoke(server: &TestServer, credentials: &[&str]) -> Result<i64, Status> {
    let credentials: Vec<String> = credentials.iter().map(|text| (*text).to_owned()).collect();
    send!(server.nobody().keys(), revoke_credentials, RevokeCredentialsRequest { credentials: credentials, reason: 1 })
        .map(|answer| answer.revision)
}

fn number(event: &Event, name: &str) -> f64 {
    match &event.detail.as_ref().unwrap().fields[name].kind {
        Some(Kind::NumberValue(number)) => *number,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_is_found_by_its_own_text() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let (_, member) = server.user(&acme, "ada", UserRole::Member).await;
    let issued = acme.owner.key("tenants/-").issued().await;
    let key = issued.key.unwrap();
    let lookup = |client: &crate::harness::Client, credential: &str| {
        let (client, credential) = (client.clone(), credential.to_owned());
        async move { send!(client.keys(), lookup_key, LookupKeyRequest { credential: credential }) }
    };
    for client in [&acme.owner, &server.root()] {
        assert_eq!(lookup(client, &issued.credential).await.unwrap().key.as_ref(), Some(&key));
    }
    for text in [&*acme.made.master_credential, &*acme.made.default_public_credential] {
        lookup(&acme.owner, text).await.unwrap();
    }
    let cut = &issued.credential[..issued.credential.len() - 1];
    for unknown in ["nothing", cut, &*server.root, &*other.made.master_credential, &format!(" {}", issued.credential)] {
        refused(lookup(&acme.owner, unknown).await, Code::NotFound);
    }
    assert_eq!(refused(lookup(&acme.owner, "").await, Code::InvalidArgument).fields, ["credential"]);
    assert!(lookup(&member, &issued.credential).await.is_err(), "another's key is not for a member");

    // By a text that was rotated out, and by that of a deleted key, until they are forgotten.
    send!(acme.owner.keys(), rotate_key, RotateKeyRequest { name: &*key.name }).unwrap();
    lookup(&acme.owner, &issued.credential).await.unwrap();
    send!(acme.owner.keys(), delete_key, DeleteKeyRequest { name: &*key.name }).unwrap();
    assert_eq!(lookup(&acme.owner, &issued.credential).await.unwrap().key.unwrap().state(), KeyState::Deleted);
    server.pass(30 * DAY + 1);
    refused(lookup(&acme.owner, &issued.credential).await, Code::NotFound);
}

#[tokio::test]
async fn whoever_has_a_credential_may_end_it() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let first = acme.owner.key("tenants/-").id("first").issued().await;
    let second = acme.owner.key("tenants/-").id("second").issued().await;
    let spared = acme.owner.key("tenants/-").id("spared").issued().await;
    let others = other.owner.key("tenants/-").id("others").issued().await;
    let before = server.revision().await;

    let revision = revoke(
        &server,
        &[
            "unknown",
            "",
            &first.credential,
            &second.credential,
            &first.credential,
            &server.root,
            &acme.made.default_public_credential,
            &others.credential,
            "kw_broken",
        ],
    )
    .await
    .unwrap();
    assert_eq!(revision, before + 2, "one mutation in each tenant");
    for dead in [&first, &second, &others] {
        server.check(&dead.credential).denied(&[Reason::Revoked]).await;
    }
    for alive in [&spared.credential, &server.root, &acme.made.default_public_credential, &acme.made.master_credential]
    {
        server.check(alive).allowed().await;
    }
    let key = send!(acme.owner.keys(), get_key, GetKeyRequest { name: "tenants/-/keys/first" }).unwrap().key.unwrap();
    assert_eq!((key.state(), key.revocation_reason()), (KeyState::Revoked, RevocationReason::KeyCompromise));

    // The audit log of each tenant tells how many of its own were ended.
    for (client, count, subject) in
        [(&acme.owner, 2.0, "tenants/acme"), (&other.owner, 1.0, "tenants/other/keys/others")]
    {
        let filter = "kind = credential.revoke";
        let events = send!(client.events(), list_events, ListEventsRequest { parent: "tenants/-", filter: filter });
        let events = events.unwrap().events;
        assert_eq!(events.len(), 1);
        assert_eq!((number(&events[0], "count"), &*events[0].subject), (count, subject));
        assert_eq!((&*events[0].actor, &*events[0].source_ip), ("possession", "127.0.0.1"));
    }

    // If none is ours, or none is left to end, nothing is written.
    let before = server.revision().await;
    let nothing: [&[&str]; 4] = [
        &["unknown"],
        &[&first.credential, &others.credential],
        &[&server.root, &acme.made.default_public_credential],
        &[&format!("{} ", spared.credential), &format!("Bearer {}", spared.credential)],
    ];
    for credentials in nothing {
        assert_eq!(revoke(&server, credentials).await.unwrap(), before);
    }
    assert_eq!(server.revision().await, before);
    server.check(&spared.credential).allowed().await;

    // A deleted key is ended too, so that nobody brings it back; one that is forgotten is none of ours.
    let name = spared.key.unwrap().name;
    send!(acme.owner.keys(), delete_key, DeleteKeyRequest { name: &*name }).unwrap();
    assert_eq!(revoke(&server, &[&spared.credential]).await.unwrap(), before + 2);
    server.check(&spared.credential).denied(&[Reason::Deleted, Reason::Revoked]).await;
    let back = send!(acme.owner.keys(), undelete_key, UndeleteKeyRequest { name: &*name }).unwrap().key.unwrap();
    assert_eq!(back.state(), KeyState::Revoked);
    let late = acme.owner.key("tenants/-").issued().await;
    send!(acme.owner.keys(), delete_key, DeleteKeyRequest { name: late.key.unwrap().name }).unwrap();
    server.pass(31 * DAY);
    let before = server.revision().await;
    assert_eq!(revoke(&server, &[&late.credential]).await.unwrap(), before, "nothing was written");
}

#[tokio::test]
async fn of_a_master_key_only_the_shown_secret_dies_and_a_dead_secret_ends_nothing() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let name = acme.made.master_key.clone().unwrap().name;
    let first = acme.made.master_credential.clone();
    let rotate = RotateKeyRequest { name, overlap: seconds(3600), ..Default::default() };
    let second = acme.owner.keys().rotate_key(rotate).await.unwrap().into_inner().credential;
    revoke(&server, &[&first]).await.unwrap();
    server.check(&first).denied(&[Reason::RotatedOut]).await;
    server.check(&second).allowed().await;
    revoke(&server, &[&second]).await.unwrap();
    server.check(&second).denied(&[Reason::RotatedOut]).await;
    refused(
        send!(server.bearer(&second).keys(), list_keys, ListKeysRequest { parent: "tenants/-" }),
        Code::Unauthenticated,
    );
    // Root gives the owner a new one.
    let rotated = send!(server.root().users(), rotate_master_key, RotateMasterKeyRequest { name: &*acme.owner_name });
    let third = rotated.unwrap().master_credential;
    server.check(&third).allowed().await;
    let owner = server.bearer(&third);

    // A regular key dies by any secret that still works, but not by one that was rotated out before.
    let issued = owner.key("tenants/-").issued().await;
    let name = issued.key.unwrap().name;
    let new = send!(owner.keys(), rotate_key, RotateKeyRequest { name: &*name }).unwrap().credential;
    let before = server.revision().await;
    assert_eq!(revoke(&server, &[&issued.credential]).await.unwrap(), before);
    server.check(&new).allowed().await;
    let overlapping = send!(owner.keys(), rotate_key, RotateKeyRequest { name: &*name, overlap: seconds(60) }).unwrap();
    revoke(&server, &[&new]).await.unwrap();
    server.check(&overlapping.credential).denied(&[Reason::Revoked]).await;
    server.check(&new).denied(&[Reason::Revoked]).await;
}

#[tokio::test]
async fn revocation_by_possession_is_limited_and_needs_no_caller() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").issued().await;
    let many: Vec<&str> = std::iter::repeat_n("x", 1001).collect();
    assert_eq!(refused(revoke(&server, &many).await, Code::InvalidArgument).fields, ["credentials"]);
    assert_eq!(refused(revoke(&server, &[]).await, Code::InvalidArgument).fields, ["credentials"]);
    let unknown_reason = RevokeCredentialsRequest { credentials: vec!["x".to_owned()], reason: 99 };
    let refusal = refused(server.nobody().keys().revoke_credentials(unknown_reason).await, Code::InvalidArgument);
    assert_eq!(refusal.fields, ["reason"]);
    revoke(&server, &many[..1000]).await.unwrap();

    // A hundred calls at once are let pass, and ten a second.
    let mut passed = 0;
    let status = loop {
        match revoke(&server, &["x"]).await {
            Ok(_) => passed += 1,
            Err(status) => break status,
        }
        assert!(passed < 10_000, "without end");
    };
    assert!(passed > 50, "{passed}");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "LIMIT_REACHED");
    assert!(details.retry_info().unwrap().retry_delay.is_some_and(|delay| !delay.is_zero()));
    // Everybody else goes on.
    server.check(&issued.credential).allowed().await;
    send!(acme.owner.keys(), list_keys, ListKeysRequest { parent: "tenants/-" }).unwrap();
}
