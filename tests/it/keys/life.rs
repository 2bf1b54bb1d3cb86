use crate::harness::{Client, DAY, TestServer, mask, refused, resources, seconds, send};
use keyward::proto::v1::*;
use tonic::{Code, Status};

/// What can be done to a key with nothing but its name.
async fn act(client: &Client, verb: &str, name: &str, etag: &str) -> Result<(Key, i64), Status> {
    macro_rules! answered {
        ($method:ident, $request:ident) => {{
            let answer = send!(client.keys(), $method, $request { name: name, etag: etag })?;
            Ok((answer.key.unwrap(), answer.revision))
        }};
    }
    match verb {
        "suspend" => answered!(suspend_key, SuspendKeyRequest),
        "activate" => answered!(activate_key, ActivateKeyRequest),
        "revoke" => answered!(revoke_key, RevokeKeyRequest),
        "delete" => answered!(delete_key, DeleteKeyRequest),
        "undelete" => answered!(undelete_key, UndeleteKeyRequest),
        "rotate" => answered!(rotate_key, RotateKeyRequest),
        "finish" => answered!(finish_key_rotation, FinishKeyRotationRequest),
        "generate" => answered!(generate_secret_key, GenerateSecretKeyRequest),
        "update" => {
            let key =
                Key { name: name.to_owned(), etag: etag.to_owned(), description: "x".to_owned(), ..Key::default() };
            let answer = send!(client.keys(), update_key, UpdateKeyRequest { key: key })?;
            Ok((answer.key.unwrap(), answer.revision))
        }
        _ => panic!("{verb}"),
    }
}

const VERBS: [&str; 9] =
    ["suspend", "activate", "revoke", "delete", "undelete", "rotate", "finish", "generate", "update"];

#[tokio::test]
async fn a_suspended_key_is_refused_until_it_is_activated() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").issued().await;
    let name = issued.key.unwrap().name;
    let (key, revision) = act(&acme.owner, "suspend", &name, "").await.unwrap();
    assert_eq!(key.state(), KeyState::Suspended);
    server.check(&issued.credential).denied(&[Reason::Suspended]).await;
    assert_eq!(act(&acme.owner, "suspend", &name, "").await.unwrap(), (key.clone(), revision), "it stays as it is");
    server.restart().await;
    let owner = server.bearer(&acme.made.master_credential);
    server.check(&issued.credential).denied(&[Reason::Suspended]).await;
    let (key, revision) = act(&owner, "activate", &name, &key.etag).await.unwrap();
    assert_eq!(key.state(), KeyState::Active);
    server.check(&issued.credential).allowed().await;
    assert_eq!(act(&owner, "activate", &name, "").await.unwrap(), (key, revision));
}

#[tokio::test]
async fn revocation_is_final_and_says_why() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").id("ci").issued().await;
    let name = issued.key.unwrap().name;
    let unknown = send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: &*name, reason: 99 });
    assert_eq!(refused(unknown, Code::InvalidArgument).fields, ["reason"]);
    server.check(&issued.credential).allowed().await;

    let why = RevocationReason::PrivilegeWithdrawn;
    let revoked = send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: &*name, reason: why }).unwrap();
    let key = revoked.key.unwrap();
    assert_eq!((key.state(), key.revocation_reason()), (KeyState::Revoked, why));
    assert_eq!(key.revoke_time, key.update_time);
    server.check(&issued.credential).denied(&[Reason::Revoked]).await;
    // Twice is once, and the first reason stands.
    let again = send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: &*name, reason: 1 }).unwrap();
    assert_eq!((again.key.as_ref(), again.revision), (Some(&key), revoked.revision));
    for verb in ["suspend", "activate", "rotate", "finish", "generate", "update"] {
        let refusal = refused(act(&acme.owner, verb, &name, "").await, Code::FailedPrecondition);
        assert!(refusal.message.contains("revoked"), "{verb}: {refusal:?}");
    }
    refused(act(&acme.owner, "undelete", &name, "").await, Code::FailedPrecondition);
    server.restart().await;
    server.pass(400 * DAY);
    server.check(&issued.credential).denied(&[Reason::Revoked]).await;

    for reason in 0..=4 {
        let made = server.bearer(&acme.made.master_credential).key("tenants/-").issued().await.key.unwrap();
        let owner = server.bearer(&acme.made.master_credential);
        let revoked = send!(owner.keys(), revoke_key, RevokeKeyRequest { name: &*made.name, reason: reason }).unwrap();
        assert_eq!(revoked.key.unwrap().revocation_reason, reason);
    }
}

#[tokio::test]
async fn a_deleted_key_comes_back_as_it_was_within_thirty_days() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let owner = &acme.owner;
    for (before, expected, reasons) in [
        ("", KeyState::Active, vec![]),
        ("suspend", KeyState::Suspended, vec![Reason::Suspended]),
        ("revoke", KeyState::Revoked, vec![Reason::Revoked]),
    ] {
        let issued = owner.key("tenants/-").issued().await;
        let name = issued.key.unwrap().name;
        if !before.is_empty() {
            act(owner, before, &name, "").await.unwrap();
        }
        let (deleted, revision) = act(owner, "delete", &name, "").await.unwrap();
        assert_eq!((deleted.state(), deleted.delete_time), (KeyState::Deleted, deleted.update_time));
        let all: Vec<Reason> = [Reason::Deleted].into_iter().chain(reasons.clone()).collect();
        server.check(&issued.credential).denied(&all).await;
        assert_eq!(act(owner, "delete", &name, "").await.unwrap(), (deleted.clone(), revision), "twice is once");
        assert_eq!(send!(owner.keys(), get_key, GetKeyRequest { name: &*name }).unwrap().key.unwrap(), deleted);
        for verb in ["suspend", "activate", "rotate", "finish", "generate", "update"] {
            refused(act(owner, verb, &name, "").await, Code::FailedPrecondition);
        }
        let (back, _) = act(owner, "undelete", &name, &deleted.etag).await.unwrap();
        assert_eq!((back.state(), back.delete_time), (expected, None));
        if reasons.is_empty() {
            server.check(&issued.credential).allowed().await;
        } else {
            server.check(&issued.credential).denied(&reasons).await;
        }
        refused(act(owner, "undelete", &name, "").await, Code::FailedPrecondition);
    }

    // Revoking a deleted key succeeds, twice as well, and it comes back revoked.
    let issued = owner.key("tenants/-").issued().await;
    let name = issued.key.unwrap().name;
    act(owner, "delete", &name, "").await.unwrap();
    let (key, revision) = act(owner, "revoke", &name, "").await.unwrap();
    assert_eq!(key.state(), KeyState::Deleted);
    server.check(&issued.credential).denied(&[Reason::Deleted, Reason::Revoked]).await;
    assert_eq!(act(owner, "revoke", &name, "").await.unwrap(), (key, revision));
    assert_eq!(act(owner, "undelete", &name, "").await.unwrap().0.state(), KeyState::Revoked);

    // Into a name that was taken in between it does not come back.
    let named = || owner.key("tenants/-").with(|key| key.display_name = "Deploy".to_owned());
    let name = named().issued().await.key.unwrap().name;
    act(owner, "delete", &name, "").await.unwrap();
    let taker = named().issued().await.key.unwrap().name;
    refused(act(owner, "undelete", &name, "").await, Code::AlreadyExists);
    act(owner, "revoke", &taker, "").await.unwrap();
    act(owner, "undelete", &name, "").await.unwrap();

    // And not after 30 days.
    let issued = owner.key("tenants/-").id("old").issued().await;
    let name = issued.key.unwrap().name;
    let (deleted, _) = act(owner, "delete", &name, "").await.unwrap();
    server.pass(30 * DAY - 60);
    server.check(&issued.credential).denied(&[Reason::Deleted]).await;
    send!(owner.keys(), get_key, GetKeyRequest { name: &*name }).unwrap();
    server.move_to(deleted.delete_time.as_ref(), -30 * i64::try_from(DAY).unwrap());
    server.check(&issued.credential).denied(&[Reason::NotFound]).await;
    refused(send!(owner.keys(), get_key, GetKeyRequest { name: &*name }), Code::NotFound);
    for verb in VERBS {
        refused(act(owner, verb, &name, "").await, Code::NotFound);
    }
}

#[tokio::test]
async fn every_change_is_held_to_its_etag_and_to_a_name_that_exists() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let name = acme.owner.key("tenants/-").id("ci").issued().await.key.unwrap().name;
    let before = server.revision().await;
    for verb in VERBS {
        refused(act(&acme.owner, verb, &name, "stale").await, Code::Aborted);
        refused(act(&acme.owner, verb, "tenants/acme/keys/none", "").await, Code::NotFound);
        refused(act(&acme.owner, verb, "tenants/acme/keys/No_Id", "").await, Code::NotFound);
        refused(act(&other.owner, verb, &name, "").await, Code::NotFound);
        refused(act(&acme.owner, verb, "ci", "").await, Code::InvalidArgument);
    }
    assert_eq!(server.revision().await, before, "nothing of this was written");
    // The etag of one answer is good for the next change.
    let mut etag = String::new();
    for verb in ["update", "suspend", "activate", "rotate", "generate", "delete", "undelete", "revoke"] {
        let (key, _) = act(&acme.owner, verb, &name, &etag).await.unwrap();
        assert_ne!(key.etag, etag, "{verb}");
        etag = key.etag;
    }
}

#[tokio::test]
async fn the_default_public_key_is_protected_shown_at_any_time_and_holds_what_it_is_given() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let key = acme.made.default_public_key.clone().unwrap();
    let credential = &acme.made.default_public_credential;
    assert_eq!((key.r#type(), &*key.owner, key.grants.len()), (KeyType::DefaultPublic, "", 0));
    for verb in ["suspend", "revoke", "delete", "rotate", "generate"] {
        let refusal = refused(act(&acme.owner, verb, &key.name, "").await, Code::FailedPrecondition);
        assert!(refusal.message.contains("default public"), "{verb}: {refusal:?}");
    }
    let answer = server.check(credential).allowed().await;
    assert_eq!(answer.principal.unwrap().user, "");
    server.check(credential).may("tables/open/data", "select").denied(&[Reason::NotGranted]).await;

    let table = TableGrant { schema: "open".into(), name: "data".into(), permissions: vec!["select".into()] };
    let kind = grant::Kind::Database(DatabaseGrant { tables: vec![table], schemas: vec![] });
    let grants = vec![Grant { kind: Some(kind) }, resources("keyward/**", &["*"])];
    let change = Key { name: key.name.clone(), grants: grants.clone(), ..Key::default() };
    let changed = send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: change }).unwrap().key.unwrap();
    assert_eq!((changed.grants, &changed.public_credential), (grants, credential));
    server.check(credential).may("tables/open/data", "select").allowed().await;
    server.check(credential).may("tables/open/data", "insert").denied(&[Reason::NotGranted]).await;
    server.check(credential).may("keyward/keys/x", "get").denied(&[Reason::NotGranted]).await;
    let public = server.bearer(credential);
    refused(send!(public.keys(), list_keys, ListKeysRequest { parent: "tenants/-" }), Code::PermissionDenied);

    // Read again at any time, by whoever may read keys; no other key shows its text.
    let listed = send!(acme.owner.keys(), list_keys, ListKeysRequest { parent: "tenants/-" }).unwrap().keys;
    let shown: Vec<_> = listed.iter().filter(|key| !key.public_credential.is_empty()).collect();
    assert_eq!(
        shown.iter().map(|key| (&key.name, &key.public_credential)).collect::<Vec<_>>(),
        [(&key.name, credential)]
    );
    let end = server.time_in(60);
    for change in
        [Key { expire_time: Some(end), ..Key::default() }, Key { not_before_time: Some(end), ..Key::default() }]
    {
        let change = Key { name: key.name.clone(), ..change };
        refused(send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: change }), Code::FailedPrecondition);
    }
}

#[tokio::test]
async fn a_master_key_can_be_rotated_and_not_removed() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let key = acme.made.master_key.clone().unwrap();
    assert_eq!((key.r#type(), &key.owner), (KeyType::Master, &acme.owner_name));
    for verb in ["suspend", "revoke", "delete"] {
        let refusal = refused(act(&acme.owner, verb, &key.name, "").await, Code::FailedPrecondition);
        assert!(refusal.message.contains("master key"), "{verb}: {refusal:?}");
    }
    let grants = vec![resources("doc/*", &["read"])];
    for change in [
        Key { grants, ..Key::default() },
        Key { expire_time: Some(server.time_in(60)), ..Key::default() },
        Key { not_before_time: Some(server.time_in(60)), ..Key::default() },
    ] {
        let change = Key { name: key.name.clone(), ..change };
        refused(send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: change }), Code::FailedPrecondition);
    }
    // What it is called, and where it may be used from, is its owner's to say.
    let change = Key { name: key.name.clone(), display_name: "mine".to_owned(), ..Key::default() };
    send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: change }).unwrap();
    let change = Key { name: key.name.clone(), description: "x".to_owned(), ..Key::default() };
    send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: change, update_mask: mask(&["*"]) }).unwrap();

    let rotate = RotateKeyRequest { name: key.name.clone(), overlap: seconds(60), ..Default::default() };
    let rotated = acme.owner.keys().rotate_key(rotate).await.unwrap().into_inner();
    for credential in [&acme.made.master_credential, &rotated.credential] {
        server.check(credential).may("anything", "at-all").allowed().await;
    }
    server.pass(61);
    server.check(&acme.made.master_credential).denied(&[Reason::RotatedOut]).await;
    let refusal = refused(send!(acme.owner.keys(), get_key, GetKeyRequest { name: &*key.name }), Code::Unauthenticated);
    assert!(refusal.message.contains("ROTATED_OUT"), "{refusal:?}");
    send!(server.bearer(&rotated.credential).keys(), get_key, GetKeyRequest { name: &*key.name }).unwrap();
}
