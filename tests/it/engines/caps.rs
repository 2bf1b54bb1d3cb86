//! What each tenant has is counted on each engine, whoever has written it.

use super::{Fresh, On, on_every_engine};
use crate::harness::{TestServer, send};
use keyward::clock::Clock;
use keyward::config::ServeArgs;
use keyward::domain::cap::Counted;
use keyward::proto::v1::import_keys_entry::Material;
use keyward::proto::v1::*;
use keyward::store::Store;

on_every_engine! {
    counts_are_what_there_is_whoever_has_written_it,
    of_many_who_come_at_once_as_many_are_let_in_as_there_is_room_for,
}

fn on_it(fresh: &Fresh, args: &mut ServeArgs) {
    args.database_url = Some(fresh.url.clone().into());
    args.mail_dir = Some(fresh.path("mail"));
}

/// What the tenants are counted to have, of each kind.
async fn counted(fresh: &Fresh, clock: &Clock) -> Vec<(String, u64)> {
    let store = Store::open(&fresh.url, clock.clone()).await.unwrap();
    let mut all = Vec::new();
    for kind in Counted::ALL {
        let mut found = store.fullest(kind, 1, 10, clock.now()).await.unwrap();
        found.sort();
        all.extend(found.into_iter().map(|(tenant, count)| (format!("{tenant} {}", kind.as_str()), count)));
    }
    store.close().await.unwrap();
    all
}

fn told(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
}

async fn counts_are_what_there_is_whoever_has_written_it(on: On) {
    let fresh = on.fresh().await;
    let mut server = TestServer::start_with(|args| on_it(&fresh, args)).await;
    let acme = server.tenant("acme").await;
    server.tenant("other").await.owner.key("tenants/-").issued().await;
    let keys = acme.owner.keys();
    let mut made = Vec::new();
    for number in 0..8 {
        made.push(acme.owner.key("tenants/-").id(&format!("k{number}")).issued().await);
    }
    let name = |number: usize| format!("tenants/acme/keys/k{number}");
    // One that was rotated is still one, and so is one that was suspended, and one that has expired.
    send!(keys.clone(), rotate_key, RotateKeyRequest { name: name(0) }).unwrap();
    send!(keys.clone(), suspend_key, SuspendKeyRequest { name: name(1) }).unwrap();
    let end = Some(server.time_in(60));
    acme.owner.key("tenants/-").id("brief").with(|key| key.expire_time = end).issued().await;
    // 9 so far. These end, some of them twice, and one comes back.
    send!(keys.clone(), revoke_key, RevokeKeyRequest { name: name(2) }).unwrap();
    send!(keys.clone(), delete_key, DeleteKeyRequest { name: name(2) }).unwrap();
    send!(keys.clone(), undelete_key, UndeleteKeyRequest { name: name(2) }).unwrap();
    send!(keys.clone(), delete_key, DeleteKeyRequest { name: name(3) }).unwrap();
    send!(keys.clone(), revoke_key, RevokeKeyRequest { name: name(3) }).unwrap();
    send!(keys.clone(), delete_key, DeleteKeyRequest { name: name(4) }).unwrap();
    send!(keys.clone(), undelete_key, UndeleteKeyRequest { name: name(4) }).unwrap();
    let leaked: Vec<_> = [2, 3, 5, 6].map(|number: usize| made[number].credential.clone()).into();
    send!(keys.clone(), revoke_credentials, RevokeCredentialsRequest { credentials: leaked }).unwrap();
    let entry = |line: i64| ImportKeysEntry {
        line,
        key: Some(Key::default()),
        material: Some(Material::Credential(format!("old-credential-number-{line}"))),
        ..Default::default()
    };
    let batch = ImportKeysRequest { parent: "tenants/-".into(), sequence: 1, entries: vec![entry(1), entry(2)] };
    let mut answers = keys.clone().import_keys(tokio_stream::iter([batch])).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().errors, []);

    let mut applications = acme.owner.applications();
    for id in ["a", "b", "c"] {
        let application = Application { contact_email: format!("{id}@example.com"), ..Application::default() };
        let request = CreateApplicationRequest {
            parent: "tenants/-".into(),
            application: Some(application),
            application_id: id.into(),
            ..Default::default()
        };
        applications.create_application(request).await.unwrap();
    }
    send!(applications, revoke_application, RevokeApplicationRequest { name: "tenants/acme/applications/a" }).unwrap();
    send!(applications, delete_application, DeleteApplicationRequest { name: "tenants/acme/applications/b" }).unwrap();

    let tokens = acme.owner.tokens();
    let token = async |ttl: i64| {
        let (key, ttl) = (made[7].credential.clone(), prost_types::Duration { seconds: ttl, nanos: 0 });
        tokens
            .clone()
            .create_token(CreateTokenRequest { key, ttl: Some(ttl), ..Default::default() })
            .await
            .unwrap()
            .into_inner()
            .token
    };
    let texts = [token(60).await, token(86_400).await, token(86_400).await, token(86_400).await];
    send!(tokens.clone(), revoke_token, RevokeTokenRequest { token: &*texts[1] }).unwrap();
    send!(keys.clone(), revoke_credentials, RevokeCredentialsRequest { credentials: vec![texts[2].clone()] }).unwrap();
    server.stop().await;

    // k0, k1, k4, k7, the brief one, and two from elsewhere.
    let expected = told(&[("acme keys", 7), ("other keys", 1), ("acme applications", 2), ("acme tokens", 2)]);
    assert_eq!(counted(&fresh, &server.clock).await, expected, "as kept");
    // All of it written by binaries that do not count: the next mutation has it caught up with.
    let make = async |server: &mut TestServer, statements: [&'static str; 2], id: &str| {
        server.start_again_with(|args| on_it(&fresh, args)).await;
        for statement in statements {
            fresh.execute(statement).await;
        }
        let owner = server.bearer(&acme.made.master_credential);
        owner.key("tenants/-").id(id).issued().await;
        server.stop().await;
    };
    let lost = ["DELETE FROM tenant_count", "UPDATE ledger_head SET counted_rev = 0"];
    make(&mut server, lost, "next").await;
    let mut expected = expected;
    expected[0].1 += 1;
    assert_eq!(counted(&fresh, &server.clock).await, expected, "from the log");
    // The log does not tell of it: nothing is counted until the next start.
    let wrong = ["UPDATE tenant_count SET number = 99", "UPDATE ledger_head SET counted_rev = -1"];
    make(&mut server, wrong, "last").await;
    expected[0].1 += 1;
    assert_eq!(counted(&fresh, &server.clock).await, expected, "from the rows");
    // A token that has expired counts ten minutes longer at most.
    server.pass(700);
    expected[3].1 = 1;
    assert_eq!(counted(&fresh, &server.clock).await, expected, "later");
}

async fn of_many_who_come_at_once_as_many_are_let_in_as_there_is_room_for(on: On) {
    let fresh = on.fresh().await;
    let server = TestServer::start_with(|args| {
        on_it(&fresh, args);
        args.max_keys_per_tenant = Some("20".into());
    })
    .await;
    let acme = server.tenant("acme").await;
    let all = (0..60).map(|_| tokio::spawn(acme.owner.key("tenants/-").tried()));
    let mut made = 0;
    for one in all.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(_) => made += 1,
            Err(status) => assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}"),
        }
    }
    assert_eq!(made, 20);
}
