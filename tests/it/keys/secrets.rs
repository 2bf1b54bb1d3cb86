use crate::harness::{DAY, TestServer, refused, seconds, send};
use keyward::proto::v1::*;
use tonic::Code;

#[tokio::test]
async fn a_rotated_key_keeps_all_but_its_secret() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let labels = [("a".to_owned(), "b".to_owned())];
    let first = acme.owner.key("tenants/-").may("doc/*", "read").with(|key| key.labels = labels.into()).issued().await;
    let before = first.key.unwrap();
    let second = send!(acme.owner.keys(), rotate_key, RotateKeyRequest { name: &*before.name }).unwrap();
    let after = second.key.unwrap();
    assert_ne!(first.credential, second.credential);
    assert_ne!(before.obfuscated_credential, after.obfuscated_credential);
    assert!(after.overlap_end_time.is_none(), "no overlap by default");
    let same = Key {
        etag: after.etag.clone(),
        update_time: after.update_time,
        obfuscated_credential: after.obfuscated_credential.clone(),
        ..before.clone()
    };
    assert_eq!(after, same);
    let answer = server.check(&second.credential).may("doc/1", "read").allowed().await;
    assert_eq!(answer.principal.as_ref().unwrap().key, before.name);
    let refused_answer = server.check(&first.credential).may("doc/1", "read").denied(&[Reason::RotatedOut]).await;
    assert_eq!(refused_answer.principal, answer.principal, "it is known whose it was");

    // For 30 days it is told apart from what never was.
    server.pass(30 * DAY - 60);
    server.check(&first.credential).denied(&[Reason::RotatedOut]).await;
    server.pass(60);
    server.check(&first.credential).denied(&[Reason::NotFound]).await;
    server.check(&second.credential).allowed().await;
    // And a further rotation forgets it for good.
    send!(acme.owner.keys(), rotate_key, RotateKeyRequest { name: &*before.name }).unwrap();
    server.check(&first.credential).denied(&[Reason::NotFound]).await;
    server.check(&second.credential).denied(&[Reason::RotatedOut]).await;
}

#[tokio::test]
async fn an_overlap_lets_two_secrets_work_until_it_is_over() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let first = acme.owner.key("tenants/-").id("ci").issued().await;
    let name = first.key.unwrap().name;
    let rotate = |overlap: i64| {
        let (client, name) = (acme.owner.clone(), name.clone());
        async move { send!(client.keys(), rotate_key, RotateKeyRequest { name: name, overlap: seconds(overlap) }) }
    };
    let second = rotate(3600).await.unwrap();
    let end = second.key.unwrap().overlap_end_time.unwrap();
    let answer = server.check(&first.credential).allowed().await;
    assert_eq!(answer.expire_time, Some(end), "the old secret's end is told");
    assert_eq!(server.check(&second.credential).allowed().await.expire_time, None);

    // A second rotation during the overlap prolongs nothing.
    let third = rotate(7200).await.unwrap();
    assert_eq!(server.check(&first.credential).allowed().await.expire_time, Some(end));
    let second_end = server.check(&second.credential).allowed().await.expire_time.unwrap();
    assert!(second_end.seconds >= end.seconds + 3600 - 2);
    server.check(&third.credential).allowed().await;
    server.restart().await;
    for secret in [&first.credential, &second.credential, &third.credential] {
        server.check(secret).allowed().await;
    }

    // Exactly at its end and not a moment later.
    server.move_to(Some(&end), 3);
    server.check(&first.credential).allowed().await;
    server.move_to(Some(&end), 0);
    server.check(&first.credential).denied(&[Reason::RotatedOut]).await;
    server.check(&second.credential).allowed().await;

    // Finishing ends what is left of it at once.
    let owner = server.bearer(&acme.made.master_credential);
    let finished = send!(owner.keys(), finish_key_rotation, FinishKeyRotationRequest { name: &*name }).unwrap();
    assert!(finished.key.unwrap().overlap_end_time.is_none());
    for old in [&first.credential, &second.credential] {
        server.check(old).denied(&[Reason::RotatedOut]).await;
    }
    server.check(&third.credential).allowed().await;
    let again = send!(owner.keys(), finish_key_rotation, FinishKeyRotationRequest { name: &*name }).unwrap();
    assert_eq!(again.revision, finished.revision, "nothing was left to do");
}

#[tokio::test]
async fn an_overlap_is_never_longer_than_the_keys_life() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").asking(|request| request.ttl = seconds(600)).issued().await;
    let key = issued.key.unwrap();
    let rotated =
        send!(acme.owner.keys(), rotate_key, RotateKeyRequest { name: &*key.name, overlap: seconds(3600) }).unwrap();
    assert_eq!(rotated.key.as_ref().unwrap().overlap_end_time, key.expire_time);
    for bad in [seconds(-1), Some(prost_types::Duration { seconds: 1, nanos: -1 })] {
        let refusal = send!(acme.owner.keys(), rotate_key, RotateKeyRequest { name: &*key.name, overlap: bad });
        assert_eq!(refused(refusal, Code::InvalidArgument).fields, ["overlap"]);
    }
    server.move_to(key.expire_time.as_ref(), 0);
    server.check(&issued.credential).denied(&[Reason::RotatedOut, Reason::Expired]).await;
    server.check(&rotated.credential).denied(&[Reason::Expired]).await;
    // What is expired gets no new secret before it gets a new end.
    let rotate = || async { send!(acme.owner.keys(), rotate_key, RotateKeyRequest { name: &*key.name }) };
    let refusal = refused(rotate().await, Code::FailedPrecondition);
    assert!(refusal.message.contains("expired"), "{refusal:?}");
    let longer = Key { name: key.name.clone(), expire_time: Some(server.time_in(600)), ..Key::default() };
    send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: longer }).unwrap();
    server.check(&rotate().await.unwrap().credential).allowed().await;
}

#[tokio::test]
async fn at_most_ten_secrets_of_a_key_work_at_once() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").issued().await;
    let name = issued.key.unwrap().name;
    let rotate = |overlap: i64| {
        let (client, name) = (acme.owner.clone(), name.clone());
        async move { send!(client.keys(), rotate_key, RotateKeyRequest { name: name, overlap: seconds(overlap) }) }
    };
    let mut texts = vec![issued.credential];
    for _ in 1..10 {
        texts.push(rotate(3600).await.unwrap().credential);
    }
    assert_eq!(refused(rotate(3600).await, Code::ResourceExhausted).reason, "LIMIT_REACHED");
    for text in &texts {
        server.check(text).allowed().await;
    }
    let last = rotate(0).await.unwrap().credential;
    for text in &texts {
        assert_eq!(server.check(text).asked().await.decision(), Decision::Denied);
    }
    server.check(&last).allowed().await;
    rotate(3600).await.unwrap();
}

#[tokio::test]
async fn a_rotation_is_repeated_by_its_request_id_and_held_to_its_etag() {
    const ID: &str = "7f2c1d86-3a0f-4f0e-9d9b-0a3c0e6a1b22";
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").issued().await;
    let key = issued.key.unwrap();
    let rotate = |etag: &str, request_id: &str| {
        let (client, name) = (acme.owner.clone(), key.name.clone());
        let (etag, request_id) = (etag.to_owned(), request_id.to_owned());
        async move { send!(client.keys(), rotate_key, RotateKeyRequest { name: name, etag: etag, request_id: request_id }) }
    };
    refused(rotate("stale", "").await, Code::Aborted);
    server.check(&issued.credential).allowed().await;
    let first = rotate(&key.etag, ID).await.unwrap();
    let again = rotate(&key.etag, ID).await.unwrap();
    assert_eq!((again.revision, &*again.credential), (first.revision, ""));
    assert_eq!(again.key, first.key);
    server.check(&first.credential).allowed().await;
    refused(rotate(&key.etag, "").await, Code::Aborted);
    assert_eq!(refused(rotate("", ID).await, Code::InvalidArgument).fields, ["request_id"]);
    // The client that lost the answer rotates once more.
    let third = rotate("", "").await.unwrap();
    server.check(&first.credential).denied(&[Reason::RotatedOut]).await;
    server.check(&third.credential).allowed().await;
    // A day later the id is free again.
    server.pass(DAY);
    assert!(!rotate("", ID).await.unwrap().credential.is_empty());
}

#[tokio::test]
async fn a_second_secret_is_demanded_wherever_the_key_is_used() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").may("keyward/keys/**", "*").issued().await;
    let name = issued.key.unwrap().name;
    let with = |secret: &str| {
        let secret = secret.to_owned();
        server.check(&issued.credential).with(|request| request.secret_key = secret)
    };
    with("anything").allowed().await;
    let generate = || {
        let (client, name) = (acme.owner.clone(), name.clone());
        async move { send!(client.keys(), generate_secret_key, GenerateSecretKeyRequest { name: name }) }
    };
    let first = generate().await.unwrap();
    assert!(first.key.unwrap().has_secret_key);
    assert!(first.secret_key.len() >= 43 && first.secret_key.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let known = with("").denied(&[Reason::SecretKeyRequired]).await;
    assert_eq!(known.principal.unwrap().key, name);
    let beyond = format!("{} ", first.secret_key);
    for wrong in ["x", &first.secret_key[1..], &first.secret_key.to_lowercase(), &beyond, &*issued.credential] {
        with(wrong).denied(&[Reason::SecretKeyMismatch]).await;
    }
    with(&first.secret_key).allowed().await;

    // As a caller too.
    let list = |client: crate::harness::Client| async move {
        send!(client.keys(), list_keys, ListKeysRequest { parent: "tenants/-" })
    };
    let caller = server.bearer(&issued.credential);
    assert!(refused(list(caller.clone()).await, Code::Unauthenticated).message.contains("SECRET_KEY_REQUIRED"));
    let wrong = caller.clone().with_secret_key("x");
    assert!(refused(list(wrong).await, Code::Unauthenticated).message.contains("SECRET_KEY_MISMATCH"));
    list(caller.clone().with_secret_key(&first.secret_key)).await.unwrap();

    // It outlives a rotation; another takes its place at once.
    let rotated = send!(acme.owner.keys(), rotate_key, RotateKeyRequest { name: &*name }).unwrap();
    server.check(&rotated.credential).denied(&[Reason::SecretKeyRequired]).await;
    let secret = first.secret_key.clone();
    server.check(&rotated.credential).with(|request| request.secret_key = secret).allowed().await;
    let second = generate().await.unwrap();
    assert_ne!(first.secret_key, second.secret_key);
    let secret = first.secret_key.clone();
    server
        .check(&rotated.credential)
        .with(|request| request.secret_key = secret)
        .denied(&[Reason::SecretKeyMismatch])
        .await;
    let secret = second.secret_key.clone();
    server.check(&rotated.credential).with(|request| request.secret_key = secret).allowed().await;
    // And is shown nowhere.
    let read = send!(acme.owner.keys(), get_key, GetKeyRequest { name: &*name }).unwrap();
    assert!(!format!("{read:?}").contains(&second.secret_key));
}
