use crate::harness::{DAY, NewKey, TestServer, refused, resources, seconds, send};
use keyward::proto::v1::*;
use tonic::Code;

#[tokio::test]
async fn a_life_is_given_as_a_span_or_as_an_end_and_begins_when_it_is_told_to() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let new = || acme.owner.key("tenants/-");

    let key = new().issued().await.key.unwrap();
    assert_eq!((key.expire_time, key.not_before_time), (None, None), "a key lives for ever unless told otherwise");
    let key = new().asking(|request| request.ttl = seconds(3600)).issued().await.key.unwrap();
    let life = key.expire_time.unwrap().seconds - key.create_time.unwrap().seconds;
    assert!((3598..=3600).contains(&life), "{life}");
    let (begin, end) = (server.time_in(60), server.time_in(120));
    let timed = new().with(|key| (key.not_before_time, key.expire_time) = (Some(begin), Some(end)));
    let key = timed.issued().await.key.unwrap();
    assert_eq!((key.not_before_time, key.expire_time), (Some(begin), Some(end)), "to the microsecond");
    assert_eq!(key.state(), KeyState::Active);

    #[track_caller]
    fn check(new: NewKey, field: &'static str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let refusal = refused(new.tried().await, Code::InvalidArgument);
            assert_eq!(refusal.fields, [field], "{place}: {refusal:?}");
        }
    }
    let span = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let both = new().asking(|request| request.ttl = seconds(60)).with(|key| key.expire_time = Some(end));
    check(both, "ttl").await;
    for ttl in [span(0, 0), span(-1, 0), span(0, -1), span(1, -1), span(0, 1_000_000_000), span(i64::MAX, 0)] {
        check(new().asking(|request| request.ttl = ttl), "ttl").await;
    }
    for past in [Some(server.time_in(-1)), time(0, 0), time(i64::MIN, 0), time(i64::MAX, 0), time(253_402_300_800, 0)] {
        check(new().with(|key| key.expire_time = past), "key.expire_time").await;
    }
    check(new().with(|key| key.expire_time = time(end.seconds, -1)), "key.expire_time").await;
    check(new().with(|key| key.not_before_time = time(0, 1_000_000_000)), "key.not_before_time").await;
    for begin in [end, server.time_in(3600)] {
        let inverted = new().with(|key| (key.not_before_time, key.expire_time) = (Some(begin), Some(end)));
        check(inverted, "key.not_before_time").await;
    }
    // A beginning in the past is none, and says so when it is read.
    new().with(|key| key.not_before_time = time(0, 0)).issued().await;
    // The shortest and the longest lives there are.
    new().asking(|request| request.ttl = span(0, 1000)).issued().await;
    let longest = new().asking(|request| request.ttl = seconds(315_576_000_000)).issued().await.key.unwrap();
    assert_eq!(longest.expire_time, time(253_402_300_799, 0));
}

#[tokio::test]
async fn only_regular_keys_are_made_and_belong_to_whom_the_parent_names() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let (member, members) = server.user(&acme, "ada", UserRole::Member).await;

    for kind in [KeyType::Unspecified, KeyType::Regular] {
        let key = acme.owner.key("tenants/-").with(|key| key.set_type(kind)).issued().await.key.unwrap();
        assert_eq!(key.r#type(), KeyType::Regular);
    }
    for kind in [KeyType::Master.into(), KeyType::DefaultPublic.into(), 99, -1] {
        let refusal =
            refused(acme.owner.key("tenants/-").with(|key| key.r#type = kind).tried().await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["key.type"]);
    }
    let stolen = acme.owner.key("tenants/-").with(|key| key.owner = member.name.clone());
    assert_eq!(refused(stolen.tried().await, Code::InvalidArgument).fields, ["key.owner"]);

    let root = server.root();
    let cases = [
        (&acme.owner, "tenants/-", &acme.owner_name),
        (&acme.owner, &*acme.name, &acme.owner_name),
        (&acme.owner, &*member.name, &member.name),
        (&acme.owner, "tenants/-/users/ada", &member.name),
        (&members, "tenants/-", &member.name),
        (&members, &*member.name, &member.name),
        (&root, &*acme.name, &acme.owner_name),
        (&root, &*member.name, &member.name),
    ];
    for (client, parent, owner) in cases {
        let key = client.key(parent).issued().await.key.unwrap();
        assert_eq!(key.owner, *owner, "{parent}");
        assert!(key.name.starts_with("tenants/acme/keys/"), "whoever owns it");
    }

    for parent in [
        "tenants/-/users/nobody",
        "tenants/-/users/!!",
        "tenants/-/applications/none",
        &*other.name,
        &*other.owner_name,
    ] {
        refused(acme.owner.key(parent).tried().await, Code::NotFound);
    }
    for parent in ["tenants/none", "tenants/!!", "tenants/none/users/ada", "tenants/acme/applications/none"] {
        refused(root.key(parent).tried().await, Code::NotFound);
    }
    for parent in
        ["", "acme", "tenants/", "tenants/acme/", "tenants/acme/keys/x", "tenants/acme/users/ada/keys", "users/ada"]
    {
        let refusal = refused(root.key(parent).tried().await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["parent"], "{parent:?}");
    }
    assert_eq!(refused(root.key("tenants/-").tried().await, Code::InvalidArgument).fields, ["parent"]);
    refused(members.key(&acme.owner_name).tried().await, Code::PermissionDenied);
}

#[tokio::test]
async fn an_id_is_well_formed_free_and_never_used_again() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    for bad in ["2ci", "-ci", "ci-", "Ci", "c_i", "c.i", "ü", "c i", "a/b", "-", &"a".repeat(64)] {
        let refusal = refused(acme.owner.key("tenants/-").id(bad).tried().await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["key_id"], "{bad:?}");
    }
    let made = acme.owner.key("tenants/-").issued().await.key.unwrap();
    assert_eq!(made.name, format!("tenants/acme/keys/{}", made.uid), "without an id it is the uid");
    assert_eq!(made.uid.parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
    acme.owner.key("tenants/-").id(&"a".repeat(63)).issued().await;

    let name = acme.owner.key("tenants/-").id("ci").issued().await.key.unwrap().name;
    other.owner.key("tenants/-").id("ci").issued().await;
    let taken = || acme.owner.key("tenants/-").id("ci").tried();
    refused(taken().await, Code::AlreadyExists);
    send!(acme.owner.keys(), delete_key, DeleteKeyRequest { name: &*name }).unwrap();
    refused(taken().await, Code::AlreadyExists);
    server.pass(31 * DAY);
    refused(send!(acme.owner.keys(), get_key, GetKeyRequest { name: &*name }), Code::NotFound);
    refused(taken().await, Code::AlreadyExists);
}

#[tokio::test]
async fn a_display_name_is_taken_once_among_an_owners_live_keys() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (ada, _) = server.user(&acme, "ada", UserRole::Member).await;
    let named = |name: &str| acme.owner.key("tenants/-").with(|key| key.display_name = name.to_owned());

    let deploy = named("Deploy").issued().await.key.unwrap();
    let refusal = refused(named("Deploy").tried().await, Code::AlreadyExists);
    assert!(refusal.message.contains("Deploy"), "{refusal:?}");
    for different in ["deploy", "Deploy ", " Deploy", "Déploy", "Depl\u{6f}\u{301}y"] {
        named(different).issued().await;
    }
    for _ in 0..2 {
        named("").issued().await;
    }
    // The master key's name is no regular key's.
    named("Master").issued().await;
    acme.owner.key(&ada.name).with(|key| key.display_name = "Deploy".to_owned()).issued().await;

    // Suspended and expired keys are live: they can come back.
    send!(acme.owner.keys(), suspend_key, SuspendKeyRequest { name: &*deploy.name }).unwrap();
    refused(named("Deploy").tried().await, Code::AlreadyExists);
    let short = named("Short").asking(|request| request.ttl = seconds(60)).issued().await.key.unwrap();
    server.pass(61);
    let read = send!(acme.owner.keys(), get_key, GetKeyRequest { name: &*short.name }).unwrap().key.unwrap();
    assert_eq!(read.state(), KeyState::Expired);
    refused(named("Short").tried().await, Code::AlreadyExists);

    // Revoked and deleted ones are not.
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: &*deploy.name }).unwrap();
    let second = named("Deploy").issued().await.key.unwrap();
    refused(named("Deploy").tried().await, Code::AlreadyExists);
    send!(acme.owner.keys(), delete_key, DeleteKeyRequest { name: &*second.name }).unwrap();
    named("Deploy").issued().await;

    // A change of name is held to the same rule, and may keep its own.
    let change = |to: &str| Key { name: short.name.clone(), display_name: to.to_owned(), ..Key::default() };
    refused(send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: change("Deploy") }), Code::AlreadyExists);
    send!(acme.owner.keys(), update_key, UpdateKeyRequest { key: change("Short") }).unwrap();
}

#[tokio::test]
async fn a_repeated_request_id_makes_nothing_twice() {
    const ID: &str = "7f2c1d86-3a0f-4f0e-9d9b-0a3c0e6a1b22";
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let new = |id: &str| {
        let id = id.to_owned();
        acme.owner.key("tenants/-").may("doc/*", "read").asking(|request| request.request_id = id)
    };

    let first = new(ID).issued().await;
    assert!(!first.credential.is_empty());
    let again = new(ID).issued().await;
    assert_eq!((again.key.clone(), again.revision), (first.key.clone(), first.revision));
    assert_eq!(again.credential, "", "a secret is shown once");
    assert_eq!(server.revision().await, first.revision, "nothing was written");
    assert_eq!(new(&ID.to_uppercase()).tried().await.unwrap_err().code(), Code::InvalidArgument, "another body");

    let other_body = new(ID).with(|key| key.description = "other".to_owned());
    assert_eq!(refused(other_body.tried().await, Code::InvalidArgument).fields, ["request_id"]);
    let name = first.key.as_ref().unwrap().name.clone();
    let other_rpc = send!(acme.owner.keys(), rotate_key, RotateKeyRequest { name: &*name, request_id: ID });
    assert_eq!(refused(other_rpc, Code::InvalidArgument).fields, ["request_id"]);
    for bad in ["x", "7f2c1d86", "7f2c1d86-3a0f-4f0e-9d9b-0a3c0e6a1b2z", "\0"] {
        assert_eq!(refused(new(bad).tried().await, Code::InvalidArgument).fields, ["request_id"], "{bad:?}");
    }
    // It is the caller's own.
    let (_, admin) = server.user(&acme, "ada", UserRole::Admin).await;
    let others = admin.key("tenants/-").may("doc/*", "read").asking(|request| request.request_id = ID.to_owned());
    assert_ne!(others.issued().await.key.unwrap().name, name);

    // A failed attempt is not remembered.
    let retry = "11111111-2222-4333-8444-555555555555";
    let named = |name: &'static str| new(retry).asking(move |request| request.key_id = name.to_owned());
    let taken = name.rsplit('/').next().unwrap().to_owned();
    let refusal = new(retry).asking(|request| request.key_id = taken).tried().await;
    assert!(refusal.is_err());
    named("fresh").issued().await;

    // What has happened to the key since shows; the revision is the first one's.
    send!(acme.owner.keys(), suspend_key, SuspendKeyRequest { name: &*name }).unwrap();
    let later = new(ID).issued().await;
    assert_eq!((later.key.unwrap().state(), later.revision), (KeyState::Suspended, first.revision));

    server.pass(DAY - 60);
    assert_eq!(new(ID).issued().await.revision, first.revision, "still within 24 hours");
    server.pass(61);
    let forgotten = new(ID).issued().await;
    assert!(forgotten.revision > first.revision && !forgotten.credential.is_empty());
    assert_ne!(forgotten.key.unwrap().name, name);
}

#[tokio::test]
async fn a_key_is_as_it_was_asked_for_and_without_its_secret() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let wanted = Key {
        display_name: "Größe 🗝".to_owned(),
        description: "two\nlines\tand a tab".to_owned(),
        grants: vec![resources("doc/*", &["read", "write"]), resources("**", &["*"])],
        allowed_ips: vec!["10.0.0.0/8".to_owned(), "2001:db8::/32".to_owned()],
        allowed_referrers: vec!["*.example.com/*".to_owned()],
        labels: [("team".to_owned(), "ops".to_owned())].into(),
        ..Key::default()
    };
    let issued = acme.owner.key("tenants/-").id("ci").with(|key| *key = wanted.clone()).issued().await;
    let key = issued.key.unwrap();
    let read = send!(acme.owner.keys(), get_key, GetKeyRequest { name: &*key.name, etag: &*key.etag }).unwrap();
    assert_eq!(read.key.as_ref(), Some(&key));
    assert_eq!(key.display_name, wanted.display_name);
    assert_eq!(key.description, wanted.description);
    assert_eq!(key.grants, wanted.grants);
    assert_eq!(key.allowed_ips, wanted.allowed_ips);
    assert_eq!(key.allowed_referrers, wanted.allowed_referrers);
    assert_eq!(key.labels, wanted.labels);
    assert_eq!(key.create_time, key.update_time);
    assert!(!key.has_secret_key && key.public_credential.is_empty() && key.last_auth_time.is_none());
    let secret = issued.credential.rsplit('_').next().unwrap();
    assert!(!format!("{key:?}").contains(secret));
    assert!(issued.credential.starts_with("kw_"), "{}", issued.credential.len());
    let shown = key.obfuscated_credential.split("********").next().unwrap();
    assert!(shown.starts_with("kw_") && issued.credential.starts_with(shown), "{}", key.obfuscated_credential);
}
