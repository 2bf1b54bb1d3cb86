//! From the moment at which a caller's end has committed, nothing of it commits (V0, proof 6).

use crate::harness::{Client, TestServer, TestTenant};
use keyward::proto::v1::*;
use std::collections::BTreeMap;
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// How a caller loses what it has.
const ENDS: [&str; 10] = [
    "RevokeKey",
    "RevokeCredentials",
    "SuspendKey",
    "DeleteKey",
    "RotateKey",
    "GenerateSecretKey",
    "UpdateKey",
    "SuspendUser",
    "DeleteUser",
    "UpdateUser",
];
const ROUNDS: usize = 70;
const MUTATIONS: usize = 20;

/// Carries out one end; its revision.
async fn end(how: &str, owner: &Client, key: &str, user: &str, credential: &str) -> i64 {
    let (mut keys, mut users) = (owner.keys(), owner.users());
    let (name, user) = (key.to_owned(), user.to_owned());
    match how {
        "RevokeKey" => {
            keys.revoke_key(RevokeKeyRequest { name, ..Default::default() }).await.unwrap().into_inner().revision
        }
        "RevokeCredentials" => {
            let request = RevokeCredentialsRequest { credentials: vec![credential.to_owned()], ..Default::default() };
            keys.revoke_credentials(request).await.unwrap().into_inner().revision
        }
        "SuspendKey" => {
            keys.suspend_key(SuspendKeyRequest { name, ..Default::default() }).await.unwrap().into_inner().revision
        }
        "DeleteKey" => {
            keys.delete_key(DeleteKeyRequest { name, ..Default::default() }).await.unwrap().into_inner().revision
        }
        "RotateKey" => {
            keys.rotate_key(RotateKeyRequest { name, ..Default::default() }).await.unwrap().into_inner().revision
        }
        "GenerateSecretKey" => {
            let request = GenerateSecretKeyRequest { name, ..Default::default() };
            keys.generate_secret_key(request).await.unwrap().into_inner().revision
        }
        "UpdateKey" => {
            let update_mask = Some(prost_types::FieldMask { paths: vec!["grants".into()] });
            let request = UpdateKeyRequest { key: Some(Key { name, ..Key::default() }), update_mask };
            keys.update_key(request).await.unwrap().into_inner().revision
        }
        "SuspendUser" => {
            let request = SuspendUserRequest { name: user, ..Default::default() };
            users.suspend_user(request).await.unwrap().into_inner().revision
        }
        "DeleteUser" => {
            let request = DeleteUserRequest { name: user, ..Default::default() };
            users.delete_user(request).await.unwrap().into_inner().revision
        }
        "UpdateUser" => {
            let user = Some(User { name: user, role: UserRole::Member.into(), ..User::default() });
            users.update_user(UpdateUserRequest { user, update_mask: None }).await.unwrap().into_inner().revision
        }
        other => panic!("{other}"),
    }
}

/// One of several mutations; its revision.
async fn mutate(kind: usize, round: usize, place: usize, client: Client) -> Result<i64, Status> {
    match kind {
        0 => client.key("tenants/-").may("doc/*", "read").tried().await.map(|made| made.revision),
        1 => {
            let user = Some(User { email: format!("r{round}-{place}@example.com"), ..User::default() });
            let request = CreateUserRequest { parent: "tenants/-".into(), user, ..Default::default() };
            client.users().create_user(request).await.map(|made| made.into_inner().revision)
        }
        2 => {
            let tenant = Some(Tenant {
                name: "tenants/-".into(),
                display_name: format!("{round} {place}"),
                ..Tenant::default()
            });
            let request = UpdateTenantRequest { tenant, update_mask: None };
            client.tenants().update_tenant(request).await.map(|made| made.into_inner().revision)
        }
        _ => {
            let key = Some(Key {
                name: "tenants/-/keys/target".into(),
                description: format!("{round} {place}"),
                ..Key::default()
            });
            client
                .keys()
                .update_key(UpdateKeyRequest { key, update_mask: None })
                .await
                .map(|made| made.into_inner().revision)
        }
    }
}

/// The revisions of all events, by who did it.
async fn deeds(server: &TestServer, tenant: &TestTenant) -> BTreeMap<String, Vec<i64>> {
    let mut deeds = BTreeMap::<String, Vec<i64>>::new();
    let mut page_token = String::new();
    loop {
        let request = ListEventsRequest {
            parent: tenant.name.clone(),
            page_size: 1000,
            page_token: std::mem::take(&mut page_token),
            ..Default::default()
        };
        let page = server.root().events().list_events(request).await.unwrap().into_inner();
        for event in page.events {
            deeds.entry(event.actor).or_default().push(event.revision);
        }
        if page.next_page_token.is_empty() {
            return deeds;
        }
        page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_of_a_caller_commits_after_its_end_has() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    // An admin may change what a member owns.
    let (holder, _) = server.user(&acme, "holder", UserRole::Member).await;
    acme.owner.key(&holder.name).id("target").issued().await;
    let ends_at = run(&server, &acme).await;
    let deeds = deeds(&server, &acme).await;
    let (mut done, mut refused) = (0_usize, 0_usize);
    for (how, actor, end, answered, refusals) in &ends_at {
        let committed = deeds.get(actor).map_or(&[][..], Vec::as_slice);
        let late: Vec<&i64> = committed.iter().filter(|revision| *revision > end).collect();
        assert!(late.is_empty(), "{actor} ended at {end} by {how} and did {late:?}");
        let mut answered = answered.clone();
        answered.sort_unstable();
        assert_eq!(answered, committed, "what was answered is what is in the audit log");
        done += answered.len();
        refused += refusals;
    }
    println!("{} ends, {done} mutations before and {refused} refused after them", ends_at.len());
    assert_eq!(done + refused, ROUNDS * MUTATIONS);
    assert!(done > ROUNDS && refused > ROUNDS, "no race: {done} done, {refused} refused");
}

/// For each round how its caller ended, the caller's name, the revision of its end, those of what it did, and how often it was refused.
async fn run(server: &TestServer, acme: &TestTenant) -> Vec<(&'static str, String, i64, Vec<i64>, usize)> {
    let mut ends_at = Vec::new();
    for round in 0..ROUNDS {
        let how = ENDS[round % ENDS.len()];
        let (admin, master) = server.user(acme, &format!("admin-{round}"), UserRole::Admin).await;
        let issued = acme.owner.key(&admin.name).may("**", "*").issued().await;
        let key = issued.key.unwrap().name;
        // A change of role ends what the master key may do, whose name in events is another.
        let (client, actor) = if how == "UpdateUser" {
            let parent = admin.name.clone();
            let filter = "type = KEY_TYPE_MASTER".to_owned();
            let request = ListKeysRequest { parent, filter, ..Default::default() };
            let found = acme.owner.keys().list_keys(request).await.unwrap().into_inner().keys.remove(0);
            (master, found.name)
        } else {
            (server.bearer(&issued.credential), key.clone())
        };
        let mut mutations = JoinSet::new();
        let mut ending = None;
        let begin = (round * 7) % MUTATIONS;
        for place in 0..MUTATIONS {
            if place == begin {
                let (owner, key, user) = (acme.owner.clone(), key.clone(), admin.name.clone());
                let credential = issued.credential.clone();
                ending = Some(tokio::spawn(async move { end(how, &owner, &key, &user, &credential).await }));
            }
            // A member may go on making keys of its own.
            let kind = if how == "UpdateUser" { 1 + place % 3 } else { place % 4 };
            mutations.spawn(mutate(kind, round, place, client.clone()));
        }
        let (mut answered, mut refusals) = (Vec::new(), 0);
        while let Some(result) = mutations.join_next().await {
            match result.unwrap() {
                Ok(revision) => answered.push(revision),
                Err(status) => {
                    let is_refusal = matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied);
                    assert!(is_refusal, "{how}: {status}");
                    refusals += 1;
                }
            }
        }
        ends_at.push((how, actor, ending.unwrap().await.unwrap(), answered, refusals));
    }
    ends_at
}
