//! Every mutation has an event, with its own revision, and can be found again.

use crate::harness::{Client, TestServer, mask, refused, send};
use keyward::proto::v1::*;
use tonic::{Code, Request};

async fn list(client: &Client, parent: &str, filter: &str) -> Vec<Event> {
    send!(client.events(), list_events, ListEventsRequest { parent: parent, filter: filter, page_size: 1000 })
        .unwrap()
        .events
}

#[tokio::test]
async fn every_mutation_tells_who_did_what_to_what_and_from_where() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let owner = &acme.owner;
    let actor = acme.made.master_key.clone().unwrap().name;
    let mut expected = vec![(acme.made.revision, "tenant.create", "tenants/acme".to_owned(), "root".to_owned())];
    let key = "tenants/acme/keys/ci".to_owned();
    let ada = "tenants/acme/users/ada".to_owned();
    macro_rules! by_owner {
        ($kind:literal, $subject:expr, $answer:expr) => {
            expected.push(($answer.unwrap().revision, $kind, $subject.clone(), actor.clone()))
        };
    }
    let named = Key { display_name: "CI".to_owned(), ..Key::default() };
    by_owner!(
        "key.create",
        key,
        send!(owner.keys(), create_key, CreateKeyRequest { parent: "tenants/-", key_id: "ci", key: named })
    );
    let change = Key { name: key.clone(), description: "x".to_owned(), ..Key::default() };
    by_owner!("key.update", key, send!(owner.keys(), update_key, UpdateKeyRequest { key: change }));
    let overlap = crate::harness::seconds(60);
    by_owner!("key.rotate", key, send!(owner.keys(), rotate_key, RotateKeyRequest { name: &*key, overlap: overlap }));
    by_owner!(
        "key.finish_rotation",
        key,
        send!(owner.keys(), finish_key_rotation, FinishKeyRotationRequest { name: &*key })
    );
    by_owner!(
        "key.generate_secret_key",
        key,
        send!(owner.keys(), generate_secret_key, GenerateSecretKeyRequest { name: &*key })
    );
    by_owner!("key.suspend", key, send!(owner.keys(), suspend_key, SuspendKeyRequest { name: &*key }));
    by_owner!("key.activate", key, send!(owner.keys(), activate_key, ActivateKeyRequest { name: &*key }));
    by_owner!("key.delete", key, send!(owner.keys(), delete_key, DeleteKeyRequest { name: &*key }));
    by_owner!("key.undelete", key, send!(owner.keys(), undelete_key, UndeleteKeyRequest { name: &*key }));
    by_owner!("key.revoke", key, send!(owner.keys(), revoke_key, RevokeKeyRequest { name: &*key, reason: 1 }));
    by_owner!(
        "user.create",
        ada,
        send!(owner.users(), create_user, CreateUserRequest { parent: "tenants/-", user_id: "ada" })
    );
    let change = User { name: ada.clone(), given_name: "Ada".to_owned(), ..User::default() };
    by_owner!("user.update", ada, send!(owner.users(), update_user, UpdateUserRequest { user: change }));
    by_owner!("user.suspend", ada, send!(owner.users(), suspend_user, SuspendUserRequest { name: &*ada }));
    by_owner!("user.activate", ada, send!(owner.users(), activate_user, ActivateUserRequest { name: &*ada }));
    let masters = list_keys(owner, &ada).await;
    by_owner!(
        "user.rotate_master_key",
        masters,
        send!(owner.users(), rotate_master_key, RotateMasterKeyRequest { name: &*ada })
    );
    by_owner!("user.delete", ada, send!(owner.users(), delete_user, DeleteUserRequest { name: &*ada }));
    let change = Tenant { name: acme.name.clone(), display_name: "Acme".to_owned(), ..Tenant::default() };
    by_owner!(
        "tenant.update",
        acme.name,
        send!(owner.tenants(), update_tenant, UpdateTenantRequest { tenant: change })
    );

    let events = list(owner, "tenants/-", "").await;
    let told: Vec<_> =
        events.iter().map(|event| (event.revision, &*event.kind, event.subject.clone(), event.actor.clone())).collect();
    assert_eq!(told, expected);
    for (event, next) in events.iter().zip(events.iter().skip(1)) {
        assert_eq!(event.revision + 1, next.revision, "without gaps");
        assert!(event.time.unwrap().seconds <= next.time.unwrap().seconds);
    }
    for event in &events {
        assert_eq!(event.source_ip, "127.0.0.1");
        assert!(!event.request_id.is_empty(), "one is made where none is sent");
        assert!(event.detail.as_ref().unwrap().fields.contains_key("credential_id"));
    }
    // The end of the tenant is told to root.
    let root = server.root();
    for (kind, revision) in [
        (
            "tenant.suspend",
            send!(root.tenants(), suspend_tenant, SuspendTenantRequest { name: &*acme.name }).unwrap().revision,
        ),
        (
            "tenant.activate",
            send!(root.tenants(), activate_tenant, ActivateTenantRequest { name: &*acme.name }).unwrap().revision,
        ),
        (
            "tenant.delete",
            send!(root.tenants(), delete_tenant, DeleteTenantRequest { name: &*acme.name }).unwrap().revision,
        ),
    ] {
        let found = list(&root, &acme.name, &format!("kind = {kind}")).await;
        assert_eq!(found.iter().map(|event| (event.revision, &*event.actor)).collect::<Vec<_>>(), [(revision, "root")]);
    }
    // Root sees all of it from the beginning, that of no tenant too: the making of itself.
    let all = list(&root, "", "").await;
    let revisions: Vec<i64> = all.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (1..=server.revision().await).collect::<Vec<_>>());
    assert_eq!(&*all[0].kind, "root.create");
    let text = format!("{all:?}");
    for secret in [&server.root, &acme.made.master_credential] {
        assert!(!text.contains(secret.rsplit('_').next().unwrap()), "no secret is in the log");
    }
}

/// The only key of a user who has no other than the master key.
async fn list_keys(client: &Client, parent: &str) -> String {
    let keys = send!(client.keys(), list_keys, ListKeysRequest { parent: parent }).unwrap().keys;
    assert_eq!(keys.len(), 1);
    keys[0].name.clone()
}

#[tokio::test]
async fn a_request_id_is_the_callers_own_where_it_can_be_shown() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let send = async |request_id: &str| {
        let key = CreateKeyRequest { parent: "tenants/-".to_owned(), ..Default::default() };
        let mut request = Request::new(key);
        request.metadata_mut().insert("x-request-id", request_id.parse().unwrap());
        let answer = acme.owner.keys().create_key(request).await.unwrap();
        let echoed = answer.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned();
        let revision = answer.into_inner().revision;
        let events = list(&acme.owner, "tenants/-", &format!("revision = {revision}")).await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].request_id, echoed);
        echoed
    };
    let longest = "x".repeat(128);
    for good in ["abc-123", "a/b:c", &longest] {
        assert_eq!(send(good).await, good);
    }
    for bad in ["", "a b", &format!("{longest}x")] {
        let made = send(bad).await;
        assert!(made.parse::<uuid::Uuid>().is_ok(), "{bad:?} became {made:?}");
    }
    let found = list(&acme.owner, "tenants/-", "request_id = abc-123").await;
    assert_eq!((found.len(), &*found[0].kind), (1, "key.create"));
}

#[tokio::test]
async fn events_are_filtered_by_every_field_and_come_in_pages() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let (_, second) = server.user(&acme, "ada", UserRole::Owner).await;
    for number in 0..12 {
        let made = acme.owner.key("tenants/-").id(&format!("k{number}")).issued().await;
        if number % 4 == 0 {
            let name = made.key.unwrap().name;
            send!(second.keys(), suspend_key, SuspendKeyRequest { name: name }).unwrap();
        }
    }
    server.pass(3600);
    let late = server.time_in(-60);
    other.owner.key("tenants/-").issued().await;
    acme.owner.key("tenants/-").id("late").issued().await;
    let count = async |filter: &str| list(&acme.owner, "tenants/-", filter).await.len();
    let all = list(&acme.owner, "tenants/-", "").await;
    assert_eq!(all.len(), 1 + 1 + 12 + 3 + 1, "the other tenant's are not among them");
    assert_eq!(count("kind = key.suspend").await, 3);
    assert_eq!(count("kind != key.create").await, 5);
    assert_eq!(count("subject = tenants/acme/keys/k4").await, 2);
    assert_eq!(count("subject = tenants/acme/keys/k4 AND kind = key.create").await, 1);
    assert_eq!(count("actor = root").await, 1);
    let seconds_name = list(&acme.owner, "tenants/-", "kind = key.suspend").await[0].actor.clone();
    assert_eq!(count(&format!("actor = \"{seconds_name}\"")).await, 3);
    let time = prost_types::Timestamp { nanos: 0, ..late };
    assert_eq!(count(&format!("time > {time}")).await, 1);
    assert_eq!(count(&format!("time <= {time}")).await, all.len() - 1);
    // As numbers, not as text.
    for revision in [5, 9, 10, 11] {
        let expected = all.iter().filter(|event| event.revision > revision).count();
        assert_eq!(count(&format!("revision > {revision}")).await, expected, "{revision}");
    }
    for bad in ["revision > x", "kind > a", "colour = red", "time > now"] {
        let refusal = send!(acme.owner.events(), list_events, ListEventsRequest { parent: "tenants/-", filter: bad });
        assert_eq!(refused(refusal, Code::InvalidArgument).fields, ["filter"], "{bad:?}");
    }

    for (size, filter) in [(1, ""), (4, ""), (1000, ""), (2, "kind = key.suspend")] {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let request = ListEventsRequest {
                parent: "tenants/-".to_owned(),
                filter: filter.to_owned(),
                page_size: size,
                page_token: token,
            };
            let page = acme.owner.events().list_events(request).await.unwrap().into_inner();
            assert!(page.events.len() <= usize::try_from(size).unwrap());
            seen.extend(page.events);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, list(&acme.owner, "tenants/-", filter).await, "{size} {filter:?}");
    }
    let request = |page_size: i32, page_token: &str| {
        let (client, page_token) = (acme.owner.clone(), page_token.to_owned());
        async move {
            send!(
                client.events(),
                list_events,
                ListEventsRequest { parent: "tenants/-", page_size: page_size, page_token: page_token }
            )
        }
    };
    assert_eq!(refused(request(-1, "").await, Code::InvalidArgument).fields, ["page_size"]);
    assert_eq!(refused(request(1, "forged").await, Code::InvalidArgument).fields, ["page_token"]);
    refused(send!(acme.owner.events(), list_events, ListEventsRequest { parent: "tenants/other" }), Code::NotFound);
    let empty = send!(acme.owner.events(), list_events, ListEventsRequest {});
    assert_eq!(refused(empty, Code::InvalidArgument).fields, ["parent"], "only root sees all tenants");
}

#[tokio::test]
async fn what_changes_nothing_or_fails_has_no_event() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let name = acme.owner.key("tenants/-").id("ci").issued().await.key.unwrap().name;
    let before = server.revision().await;
    send!(acme.owner.keys(), activate_key, ActivateKeyRequest { name: &*name }).unwrap();
    send!(acme.owner.keys(), finish_key_rotation, FinishKeyRotationRequest { name: &*name }).unwrap();
    let same = Key { name: name.clone(), ..Key::default() };
    send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: same, update_mask: mask(&["*"]) }).unwrap();
    refused(acme.owner.key("tenants/-").id("ci").tried().await, Code::AlreadyExists);
    refused(send!(acme.owner.keys(), undelete_key, UndeleteKeyRequest { name: &*name }), Code::FailedPrecondition);
    for _ in 0..3 {
        server.check("nothing").denied(&[Reason::NotFound]).await;
    }
    assert_eq!(server.revision().await, before);
    assert_eq!(list(&server.root(), "", "").await.len(), usize::try_from(before).unwrap());
    // Many at once: each has its own revision, and none is left out.
    let making = (0..20).map(|_| tokio::spawn(acme.owner.key("tenants/-").issued())).collect::<Vec<_>>();
    let mut revisions = Vec::new();
    for made in making {
        revisions.push(made.await.unwrap().revision);
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (before + 1..=before + 20).collect::<Vec<_>>());
}

fn struct_of<'a>(fields: &'a prost_types::Struct, name: &str) -> &'a prost_types::Struct {
    match &fields.fields[name].kind {
        Some(prost_types::value::Kind::StructValue(fields)) => fields,
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test]
async fn an_event_tells_what_differs_and_no_more_than_fits() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let name = acme.owner.key("tenants/-").id("ci").may("doc/*", "read").issued().await.key.unwrap().name;
    let key = Key { name: name.clone(), description: "for builds".to_owned(), ..Key::default() };
    send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: key, update_mask: mask(&["description"]) }).unwrap();
    let many =
        (0..250).map(|number| crate::harness::resources(&format!("doc/{}/{number}", "x".repeat(150)), &["read"]));
    let key = Key { name: name.clone(), grants: many.collect(), ..Key::default() };
    send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: key, update_mask: mask(&["grants"]) }).unwrap();
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: &*name, reason: 1 }).unwrap();
    let events = list(&acme.owner, "tenants/-", "subject = tenants/acme/keys/ci").await;
    let details: Vec<&prost_types::Struct> = events.iter().map(|event| event.detail.as_ref().unwrap()).collect();
    let names =
        |side: &str, place: usize| -> Vec<String> { struct_of(details[place], side).fields.keys().cloned().collect() };
    assert!(!details[0].fields.contains_key("before") && names("after", 0).len() > 10, "{:?}", details[0]);
    assert_eq!(
        (names("before", 1), names("after", 1)),
        (vec!["description".to_owned()], vec!["description".to_owned()])
    );
    assert_eq!(names("after", 2), ["grants"]);
    let cut = struct_of(struct_of(details[2], "after"), "grants");
    assert_eq!(cut.fields["cut"].kind, Some(prost_types::value::Kind::BoolValue(true)));
    assert_eq!(cut.fields["count"].kind, Some(prost_types::value::Kind::NumberValue(250.0)));
    assert_eq!(names("after", 3), ["is_revoked"]);
    for event in &events {
        assert_eq!(event.chain.len(), 64);
    }
}
