//! Whoever watches events is told each once, as it happens, for as long as it may know.

use crate::harness::{Client, DAY, TestServer, refused, send};
use keyward::proto::v1::*;
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

pub type Watched = Streaming<WatchEventsResponse>;

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn watch(client: &Client, parent: &str, after_revision: i64) -> Result<Watched, Status> {
    send!(client.events(), watch_events, WatchEventsRequest { parent: parent, after_revision: after_revision })
}

/// The next event; none if the watch has ended.
pub async fn next(watched: &mut Watched) -> Result<Option<Event>, Status> {
    let message = timeout(PATIENCE, watched.message()).await.expect("nothing is told")?;
    Ok(message.map(|message| message.event.unwrap()))
}

async fn take(watched: &mut Watched, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        events.push(next(watched).await.unwrap().expect("the watch has ended"));
    }
    events
}

/// All events after a revision, by pages.
pub async fn list(client: &Client, parent: &str, after: i64) -> Vec<Event> {
    let (mut events, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListEventsRequest {
            parent: parent.to_owned(),
            filter: format!("revision > {after}"),
            page_size: 1000,
            page_token,
        };
        let page = client.events().list_events(request).await.unwrap().into_inner();
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return events;
        }
    }
}

#[tokio::test]
async fn a_watch_tells_what_was_and_then_what_happens() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let root = server.root();
    let mut all = watch(&root, "", 0).await.unwrap();
    let mut own = watch(&acme.owner, "tenants/-", 0).await.unwrap();
    let before = list(&root, "", 0).await;
    assert_eq!(take(&mut all, before.len()).await, before);
    for number in 0..5 {
        acme.owner.key("tenants/-").id(&format!("k{number}")).issued().await;
        let event = next(&mut all).await.unwrap().unwrap();
        assert_eq!((event.kind.as_str(), event.subject), ("key.create", format!("tenants/acme/keys/k{number}")));
    }
    let owned = list(&acme.owner, "tenants/acme", 0).await;
    assert_eq!(take(&mut own, owned.len()).await, owned);
    assert_eq!(owned.len(), 6);

    // From the middle, from the end, and from what another replica may have told a moment ago.
    let head = server.revision().await;
    let middle = owned[2].revision;
    let mut later = watch(&acme.owner, "tenants/-", middle).await.unwrap();
    assert_eq!(take(&mut later, 3).await, owned[3..]);
    let mut at_the_end = watch(&root, "", head).await.unwrap();
    let made = acme.owner.key("tenants/-").issued().await;
    assert_eq!(next(&mut at_the_end).await.unwrap().unwrap().revision, made.revision);

    assert_eq!(refused(watch(&root, "", -1).await, Code::InvalidArgument).fields, ["after_revision"]);
    let ahead = refused(watch(&root, "", made.revision + 1).await, Code::FailedPrecondition);
    assert!(ahead.message.contains("the database is older"), "{ahead:?}");

    // Whoever tells which event it was is not told what follows another one.
    let at = async |after_revision: i64, after_chain: &str| {
        let request = WatchEventsRequest {
            parent: "tenants/-".to_owned(),
            after_revision,
            after_chain: after_chain.to_owned(),
            ..WatchEventsRequest::default()
        };
        acme.owner.events().watch_events(request).await.map(tonic::Response::into_inner)
    };
    let mut same = at(owned[2].revision, &owned[2].chain).await.unwrap();
    assert_eq!(take(&mut same, 3).await, owned[3..]);
    at(0, &"0".repeat(64)).await.unwrap();
    let other = refused(at(owned[2].revision, &owned[3].chain).await, Code::FailedPrecondition);
    assert!(other.message.contains("is another event"), "{other:?}");
    for wrong in ["x", &owned[2].chain[1..], &"x".repeat(64)] {
        assert_eq!(refused(at(owned[2].revision, wrong).await, Code::InvalidArgument).fields, ["after_chain"]);
    }
}

#[tokio::test]
async fn a_tenant_is_told_of_itself_only_and_root_of_any() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let mut own = watch(&acme.owner, "tenants/acme", 0).await.unwrap();
    let mut of_other = watch(&server.root(), "tenants/other", 0).await.unwrap();
    for _ in 0..10 {
        other.owner.key("tenants/-").issued().await;
    }
    let last = acme.owner.key("tenants/-").id("last").issued().await;
    let told = take(&mut own, 2).await;
    assert_eq!(told.iter().map(|event| &*event.kind).collect::<Vec<_>>(), ["tenant.create", "key.create"]);
    assert_eq!(told[1].revision, last.revision);
    assert_eq!(take(&mut of_other, 11).await, list(&server.root(), "tenants/other", 0).await);

    refused(watch(&acme.owner, "tenants/other", 0).await, Code::NotFound);
    refused(watch(&server.root(), "tenants/none", 0).await, Code::NotFound);
    assert_eq!(refused(watch(&acme.owner, "", 0).await, Code::InvalidArgument).fields, ["parent"]);
    refused(watch(&server.nobody(), "tenants/acme", 0).await, Code::Unauthenticated);
    // What may be listed is not what may be watched.
    let lister = acme.owner.key("tenants/-").may("keyward/events/*", "list").issued().await;
    refused(watch(&server.bearer(&lister.credential), "tenants/-", 0).await, Code::PermissionDenied);
    let watcher = acme.owner.key("tenants/-").may("keyward/events/*", "watch").issued().await;
    let mut allowed = watch(&server.bearer(&watcher.credential), "tenants/-", 0).await.unwrap();
    assert_eq!(next(&mut allowed).await.unwrap().unwrap().kind, "tenant.create");
}

#[tokio::test]
async fn whoever_was_revoked_is_told_no_more() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let key = async |id: &str| acme.owner.key("tenants/-").id(id).may("keyward/events/*", "watch").issued().await;
    let (revoked, narrowed, kept) = (key("revoked").await, key("narrowed").await, key("kept").await);
    let head = server.revision().await;
    let open = async |credential: &str| watch(&server.bearer(credential), "tenants/-", head).await.unwrap();
    let mut of_revoked = open(&revoked.credential).await;
    let mut of_narrowed = open(&narrowed.credential).await;
    let mut of_kept = open(&kept.credential).await;
    let names = |made: CreateKeyResponse| made.key.unwrap().name;
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: names(revoked) }).unwrap();
    assert_eq!(refused(next(&mut of_revoked).await, Code::Unauthenticated).reason, "CREDENTIAL_REFUSED");
    assert_eq!(next(&mut of_revoked).await.unwrap(), None);
    assert_eq!(next(&mut of_narrowed).await.unwrap().unwrap().kind, "key.revoke");
    let fewer = Key { name: names(narrowed), ..Key::default() };
    let update_mask = crate::harness::mask(&["grants"]);
    send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: fewer, update_mask: update_mask }).unwrap();
    refused(next(&mut of_narrowed).await, Code::PermissionDenied);
    let kinds: Vec<String> = take(&mut of_kept, 2).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["key.revoke", "key.update"]);
    // Of a tenant that is suspended, nobody is told anything; root is.
    send!(server.root().tenants(), suspend_tenant, SuspendTenantRequest { name: &*acme.name }).unwrap();
    refused(next(&mut of_kept).await, Code::Unauthenticated);
}

#[tokio::test]
async fn one_tenant_has_so_many_watches_at_a_time() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let mut open = Vec::new();
    for _ in 0..32 {
        let mut watched = watch(&acme.owner, "tenants/-", 0).await.unwrap();
        next(&mut watched).await.unwrap().unwrap();
        open.push(watched);
    }
    let refusal = refused(watch(&acme.owner, "tenants/-", 0).await, Code::ResourceExhausted);
    assert!(refusal.message.contains("32 watches of one tenant"), "{refusal:?}");
    watch(&other.owner, "tenants/-", 0).await.unwrap();
    watch(&server.root(), "tenants/acme", 0).await.unwrap();
    // A place is free again once its holder has gone, which the server learns in its own time.
    drop(open.pop());
    let again = async { while watch(&acme.owner, "tenants/-", 0).await.is_err() {} };
    timeout(PATIENCE, again).await.expect("the place is not free again");
}

#[tokio::test]
async fn every_watch_ends_when_the_server_drains() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    // One that waits for what happens, and one whose client does not read.
    let mut idle = watch(&acme.owner, "tenants/-", server.revision().await).await.unwrap();
    let mut unread = watch(&server.root(), "", 0).await.unwrap();
    let logged = server.revision().await;
    timeout(Duration::from_secs(8), server.stop()).await.expect("a watch held the server up");
    assert_eq!(next(&mut idle).await.unwrap(), None);
    let mut told = 0;
    while let Ok(Some(event)) = next(&mut unread).await {
        told = event.revision;
    }
    assert!(told <= logged);
}

#[tokio::test]
async fn whoever_reads_slowly_misses_nothing() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let mut slow = watch(&acme.owner, "tenants/-", 0).await.unwrap();
    next(&mut slow).await.unwrap().unwrap();
    // Far more than the connection and what is kept for all can hold.
    let description = "x".repeat(4000);
    for round in 0..12 {
        let made = (0..100).map(|number| {
            let key = acme.owner.key("tenants/-").id(&format!("k-{round}-{number}"));
            tokio::spawn(key.with(|key| key.description.clone_from(&description)).issued())
        });
        for made in made.collect::<Vec<_>>() {
            made.await.unwrap();
        }
    }
    let expected = list(&acme.owner, "tenants/-", 0).await;
    assert_eq!(expected.len(), 1201);
    assert_eq!(take(&mut slow, 1200).await, expected[1..]);
}

#[tokio::test]
async fn what_retention_has_removed_is_not_left_out_in_silence() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    for _ in 0..5 {
        acme.owner.key("tenants/-").issued().await;
    }
    let head = server.revision().await;
    server.pass(10 * DAY);
    server.stop().await;
    server.start_again_with(|args| args.event_retention = Some("5d".to_owned())).await;
    let (root, owner) = (server.root(), acme.owner.through(&server.admin));
    let mut watched = watch(&root, "", head).await.unwrap();
    let mut events = vec![next(&mut watched).await.unwrap().unwrap()];
    while events.last().unwrap().kind != "event.expire" {
        events.push(next(&mut watched).await.unwrap().unwrap());
    }
    assert_eq!(events.last().unwrap().actor, "server");
    // What is the last one depends on what the start itself has done.
    let gone = timeout(PATIENCE, async {
        loop {
            let first = list(&root, "", 0).await[0].revision;
            if first > 1 {
                break first - 1;
            }
        }
    });
    let gone = gone.await.expect("nothing is removed");
    assert!(gone >= head - 1, "{gone}");
    for (client, parent) in [(&root, ""), (&owner, "tenants/-")] {
        for after in [0, gone - 1] {
            let refusal = refused(watch(client, parent, after).await, Code::OutOfRange);
            assert_eq!(refusal.reason, "EVENTS_REMOVED");
            assert!(refusal.message.contains(&format!("go on after {gone}")), "{refusal:?}");
        }
        watch(client, parent, gone).await.unwrap();
    }
    let mut all = watch(&root, "", gone).await.unwrap();
    let kept = list(&root, "", 0).await;
    assert_eq!(take(&mut all, kept.len()).await, kept);
    // It starts and serves with what is left.
    server.stop().await;
    server.start_again().await;
    server.check(&acme.made.master_credential).allowed().await;
}
