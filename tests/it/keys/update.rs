use crate::harness::{TestServer, mask, refused, resources, send};
use keyward::proto::v1::*;
use tonic::Code;

#[tokio::test]
async fn a_mask_says_what_changes_and_no_mask_means_what_is_there() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let end = server.time_in(3600);
    let full = Key {
        display_name: "one".to_owned(),
        description: "first".to_owned(),
        grants: vec![resources("doc/*", &["read"])],
        allowed_ips: vec!["10.0.0.0/8".to_owned()],
        allowed_referrers: vec!["example.com".to_owned()],
        labels: [("a".to_owned(), "b".to_owned())].into(),
        expire_time: Some(end),
        not_before_time: Some(server.time_in(-60)),
        ..Key::default()
    };
    let made = acme.owner.key("tenants/-").id("ci").with(|key| *key = full).issued().await.key.unwrap();
    let name = made.name.clone();
    let update = |key: Key, paths: Option<&[&str]>| {
        let (client, name, update_mask) = (acme.owner.clone(), name.clone(), paths.and_then(mask));
        let key = Some(Key { name, ..key });
        async move { client.keys().update_key(UpdateKeyRequest { key, update_mask }).await.map(tonic::Response::into_inner) }
    };
    let same_but =
        |now: &Key, like: &Key| Key { etag: like.etag.clone(), update_time: like.update_time, ..now.clone() };

    // Without a mask, or with an empty one, whatever is not empty.
    let changed = update(Key { display_name: "two".to_owned(), ..Key::default() }, None).await.unwrap().key.unwrap();
    assert_eq!(same_but(&changed, &made), Key { display_name: "two".to_owned(), ..made.clone() });
    assert_ne!(changed.etag, made.etag);
    let micros = |key: &Key| key.update_time.map(|time| (time.seconds, time.nanos));
    assert!(micros(&changed) > micros(&made) && changed.create_time == made.create_time);
    let changed =
        update(Key { description: "second".to_owned(), ..Key::default() }, Some(&[])).await.unwrap().key.unwrap();
    assert_eq!((&*changed.display_name, &*changed.description), ("two", "second"));
    // With one, these and no others, empty or not.
    let key = Key { display_name: "three".to_owned(), description: "third".to_owned(), ..Key::default() };
    let changed = update(key, Some(&["description", "allowed_ips", "description"])).await.unwrap().key.unwrap();
    assert_eq!((&*changed.display_name, &*changed.description), ("two", "third"));
    assert_eq!((changed.allowed_ips.len(), changed.allowed_referrers.len()), (0, 1));
    let changed =
        update(Key::default(), Some(&["labels", "expire_time", "not_before_time"])).await.unwrap().key.unwrap();
    assert!(changed.labels.is_empty() && changed.expire_time.is_none() && changed.not_before_time.is_none());
    assert_eq!(changed.grants.len(), 1);
    // And with `*` all of them.
    let changed =
        update(Key { description: "last".to_owned(), ..Key::default() }, Some(&["*"])).await.unwrap().key.unwrap();
    assert_eq!((&*changed.display_name, &*changed.description), ("", "last"));
    assert!(changed.grants.is_empty() && changed.allowed_referrers.is_empty());
    assert_eq!((changed.uid, changed.owner, changed.state), (made.uid, made.owner, made.state));

    for path in [
        "type",
        "owner",
        "name",
        "uid",
        "etag",
        "state",
        "create_time",
        "update_time",
        "delete_time",
        "last_auth_time",
        "obfuscated_credential",
        "public_credential",
        "has_secret_key",
        "revoke_time",
        "nothing",
        "",
        "grants.resources",
        "displayName",
        "labels.a",
        "key.labels",
    ] {
        let refusal = refused(update(Key::default(), Some(&[path])).await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["update_mask"], "{path:?}");
    }
    // Output-only fields and what is not in the mask are ignored (AIP-203), as a client that sends back what it read has it.
    let noise =
        Key { owner: "tenants/acme/users/x".to_owned(), r#type: 1, state: 3, uid: "x".to_owned(), ..Key::default() };
    assert_eq!(update(noise, None).await.unwrap().key.unwrap().description, "last");
}

#[tokio::test]
async fn an_update_is_of_what_was_read_and_leaves_no_trace_if_nothing_changes() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let made = acme.owner.key("tenants/-").id("ci").may("doc/*", "read").issued().await.key.unwrap();
    let update = |key: &Key| {
        let (client, key) = (acme.owner.clone(), key.clone());
        async move { send!(client.keys(), update_key, UpdateKeyRequest { key: key, update_mask: mask(&["*"]) }) }
    };
    let before = server.revision().await;
    let same = update(&made).await.unwrap();
    assert_eq!(same.key.as_ref(), Some(&made), "etag and update_time too");
    assert_eq!((same.revision, server.revision().await), (before, before));

    let second = update(&Key { description: "second".to_owned(), ..made.clone() }).await.unwrap();
    assert_eq!(second.revision, before + 1);
    let stale = Key { description: "third".to_owned(), ..made.clone() };
    refused(update(&stale).await, Code::Aborted);
    refused(update(&Key { etag: "nonsense".to_owned(), ..stale.clone() }).await, Code::Aborted);
    update(&Key { etag: String::new(), ..stale.clone() }).await.unwrap();
    assert_eq!(server.revision().await, before + 2);

    // A changed life cannot end before it begins, nor in the past.
    let named = Key { name: made.name.clone(), ..Key::default() };
    let past = Key { expire_time: Some(server.time_in(-1)), ..named.clone() };
    assert_eq!(refused(update(&past).await, Code::InvalidArgument).fields, ["key.expire_time"]);
    let (soon, late) = (Some(server.time_in(60)), Some(server.time_in(120)));
    let inverted = Key { not_before_time: late, expire_time: soon, ..named.clone() };
    assert_eq!(refused(update(&inverted).await, Code::InvalidArgument).fields, ["key.not_before_time"]);
    // An expired key is prolonged by a later end, since only revocation is final.
    update(&Key { expire_time: soon, ..named.clone() }).await.unwrap();
    server.pass(61);
    let key = update(&Key { expire_time: Some(server.time_in(60)), ..named.clone() }).await.unwrap().key.unwrap();
    assert_eq!(key.state(), KeyState::Active);

    // Nothing of that name, and several broken rules at once.
    refused(update(&Key { name: "tenants/acme/keys/none".to_owned(), ..named.clone() }).await, Code::NotFound);
    assert_eq!(refused(update(&Key::default()).await, Code::InvalidArgument).fields, ["key.name"]);
    let missing = acme.owner.keys().update_key(UpdateKeyRequest::default()).await;
    assert_eq!(refused(missing, Code::InvalidArgument).fields, ["key.name"]);
    let broken = Key {
        display_name: "a\nb".to_owned(),
        allowed_ips: vec!["10.0.0.1/8".to_owned()],
        grants: vec![Grant::default()],
        ..named
    };
    let refusal = refused(update(&broken).await, Code::InvalidArgument);
    assert_eq!(refusal.fields, ["key.display_name", "key.grants[0]", "key.allowed_ips[0]"]);
}

#[tokio::test]
async fn narrower_grants_count_from_the_answer_on() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").may("doc/**", "*").issued().await;
    let name = issued.key.unwrap().name;
    server.check(&issued.credential).may("doc/a/b", "write").allowed().await;
    for (grants, may_read) in
        [(vec![resources("doc/*", &["read"])], true), (vec![], false), (vec![resources("**", &["read"])], true)]
    {
        let key = Key { name: name.clone(), grants, ..Key::default() };
        send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: key, update_mask: mask(&["grants"]) }).unwrap();
        server.check(&issued.credential).may("doc/a", "write").denied(&[Reason::NotGranted]).await;
        let question = server.check(&issued.credential).may("doc/a", "read");
        if may_read {
            question.allowed().await;
        } else {
            question.denied(&[Reason::NotGranted]).await;
        }
    }
}
