//! What is said to whoever sends nonsense: the code of the table, the rule that is broken, and never a panic.

use crate::authorization::raw;
use crate::harness::{Client, TestServer, refused, resources, send};
use keyward::proto::v1::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

async fn create(client: &Client, key: Key) -> Result<CreateKeyResponse, Status> {
    send!(client.keys(), create_key, CreateKeyRequest { parent: "tenants/-", key: key })
}

#[tokio::test]
async fn a_broken_field_is_named_with_the_rule_it_breaks() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let check = async |key: Key, fields: &[&str]| {
        let refusal = refused(create(&acme.owner, key.clone()).await, Code::InvalidArgument);
        assert_eq!(refusal.fields, fields, "{key:?}");
        assert_eq!(refusal.reason, "INVALID_FIELD");
        assert!(refusal.message.contains(fields[0]) && refusal.message.contains("must"), "{refusal:?}");
    };
    let named = |text: &str| Key { display_name: text.to_owned(), ..Key::default() };
    for bad in ["a\nb", "a\tb", "\0", "\u{7f}", "\u{85}", &"x".repeat(257), &"ü".repeat(257)] {
        check(named(bad), &["key.display_name"]).await;
    }
    create(&acme.owner, named(&"ü".repeat(256))).await.unwrap();
    let described = |text: &str| Key { description: text.to_owned(), ..Key::default() };
    for bad in ["\0", "a\u{1b}[31m", &"x".repeat(4097)] {
        check(described(bad), &["key.description"]).await;
    }
    create(&acme.owner, described(&"x".repeat(4096))).await.unwrap();

    let from =
        |texts: &[&str]| Key { allowed_ips: texts.iter().map(|text| (*text).into()).collect(), ..Key::default() };
    for bad in [
        "",
        " ",
        "x",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/",
        "/8",
        "10.0.0",
        "010.0.0.1",
        "::/129",
        "2001:db8::1/32",
        "10.0.0.0/8 ",
        "10.0.0.1-10.0.0.9",
        "localhost",
        "10.0.0.0/255.0.0.0",
        "::1%lo",
        "10.0.0.1:80",
    ] {
        check(from(&["10.0.0.1", bad]), &["key.allowed_ips[1]"]).await;
    }
    check(from(&["x", "10.0.0.1", "y"]), &["key.allowed_ips[0]", "key.allowed_ips[2]"]).await;
    check(from(&["10.0.0.1"; 101]), &["key.allowed_ips"]).await;

    let on =
        |texts: &[&str]| Key { allowed_referrers: texts.iter().map(|text| (*text).into()).collect(), ..Key::default() };
    for bad in [
        "",
        " ",
        "*",
        "*.",
        "ftp://example.com",
        "exa mple.com",
        "a.*.com",
        "*example.com",
        "example.com/a*b",
        "https://",
        "example.com:99999",
        "user@example.com",
        "exämple.com",
        "example.com/\n",
        "example.com?x",
        "example.com#x",
    ] {
        check(on(&[bad]), &["key.allowed_referrers[0]"]).await;
    }
    check(on(&["example.com"; 101]), &["key.allowed_referrers"]).await;

    let labelled =
        |name: &str, value: &str| Key { labels: [(name.to_owned(), value.to_owned())].into(), ..Key::default() };
    for (name, value) in
        [("", "x"), ("a b", "x"), ("ü", "x"), (&*"x".repeat(64), "x"), ("a", "\n"), ("a", &*"x".repeat(257))]
    {
        check(labelled(name, value), &["key.labels"]).await;
    }
    let many = (0..65).map(|number| (number.to_string(), String::new())).collect();
    check(Key { labels: many, ..Key::default() }, &["key.labels"]).await;
    create(&acme.owner, labelled(&"x".repeat(63), &"ü".repeat(256))).await.unwrap();

    // All that is broken is told at once.
    let broken = Key {
        display_name: "\n".into(),
        r#type: 77,
        owner: "me".into(),
        allowed_ips: vec!["x".into()],
        allowed_referrers: vec!["*".into()],
        labels: [(String::new(), String::new())].into(),
        grants: vec![resources("/", &[]), resources("ok", &["*"]), Grant::default()],
        expire_time: Some(server.time_in(-1)),
        ..Key::default()
    };
    let request = CreateKeyRequest {
        parent: "tenants/-".into(),
        key: Some(broken),
        key_id: "No".into(),
        request_id: "x".into(),
        ..Default::default()
    };
    let refusal = refused(acme.owner.keys().create_key(request).await, Code::InvalidArgument);
    let expected = [
        "request_id",
        "key.type",
        "key.owner",
        "key_id",
        "key.expire_time",
        "key.display_name",
        "key.grants[2]",
        "key.allowed_ips[0]",
        "key.allowed_referrers[0]",
        "key.labels",
    ];
    assert_eq!(refusal.fields, expected);
    // However much is broken, the answer fits into a header.
    let refusal = refused(create(&acme.owner, from(&["x"; 100])).await, Code::InvalidArgument);
    assert_eq!((refusal.fields.len(), refusal.message.chars().count() <= 301), (20, true));
}

#[tokio::test]
async fn permission_comes_before_the_request_and_the_request_before_the_state() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let narrow = acme.owner.key("tenants/-").may("keyward/keys/*", "list").issued().await;
    let narrow = server.bearer(&narrow.credential);
    let bad = Key { display_name: "\n".into(), ..Key::default() };
    refused(create(&server.nobody(), bad.clone()).await, Code::Unauthenticated);
    let refusal = refused(create(&narrow, bad.clone()).await, Code::PermissionDenied);
    assert_eq!(refusal.reason, "NOT_GRANTED");
    assert!(refusal.message.contains("create on keyward/keys/*"), "{refusal:?}");
    // Nor is a shape told to those who may not use the RPC, or a size of pages to those who may not list.
    refused(send!(narrow.keys(), get_key, GetKeyRequest { name: "nonsense" }), Code::PermissionDenied);
    refused(
        send!(narrow.users(), list_users, ListUsersRequest { parent: "tenants/-", page_size: -1 }),
        Code::PermissionDenied,
    );
    refused(send!(narrow.tenants(), create_tenant, CreateTenantRequest { tenant_id: "No" }), Code::PermissionDenied);
    refused(
        send!(acme.owner.tenants(), create_tenant, CreateTenantRequest { tenant_id: "No" }),
        Code::PermissionDenied,
    );

    let key = acme.owner.key("tenants/-").issued().await.key.unwrap();
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: &*key.name }).unwrap();
    let update = |client: &Client, name: &str, display_name: &str| {
        let key = Key { name: name.into(), display_name: display_name.into(), etag: "stale".into(), ..Key::default() };
        let client = client.clone();
        async move { send!(client.keys(), update_key, UpdateKeyRequest { key: key }) }
    };
    refused(update(&narrow, &key.name, "\n").await, Code::PermissionDenied);
    refused(update(&other.owner, &key.name, "\n").await, Code::NotFound);
    assert_eq!(refused(update(&acme.owner, &key.name, "\n").await, Code::InvalidArgument).fields, ["key.display_name"]);
    assert_eq!(refused(update(&acme.owner, &key.name, "x").await, Code::Aborted).reason, "STALE_ETAG");
    let state = send!(acme.owner.keys(), suspend_key, SuspendKeyRequest { name: &*key.name });
    assert_eq!(refused(state, Code::FailedPrecondition).reason, "STATE_FORBIDS");
    refused(send!(server.root().users(), get_user, GetUserRequest { name: "tenants/acme/users/none" }), Code::NotFound);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_as_a_limit() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let credential = acme.owner.key("tenants/-").issued().await.credential;
    let sized = |bytes: usize| server.check(&credential).with(|request| request.id = "x".repeat(bytes));
    sized(60 * 1024).allowed().await;
    for bytes in [64 * 1024, 900 * 1024, 1024 * 1024, 3 * 1024 * 1024] {
        let refusal = refused(sized(bytes).tried().await, Code::ResourceExhausted);
        assert_eq!(refusal.reason, "LIMIT_REACHED", "{bytes}");
    }
    let id = "x".repeat(2000);
    let mut checks = acme.owner.checks();
    let batch =
        |count| BatchCheckRequest { checks: vec![CheckRequest { id: id.clone(), ..Default::default() }; count] };
    assert_eq!(checks.batch_check(batch(500)).await.unwrap().into_inner().results.len(), 500);
    refused(checks.batch_check(batch(600)).await, Code::ResourceExhausted);
    let described = |bytes: usize| Key { description: "x".repeat(bytes), ..Key::default() };
    refused(create(&acme.owner, described(1024 * 1000)).await, Code::InvalidArgument);
    refused(create(&acme.owner, described(1024 * 1024)).await, Code::ResourceExhausted);
    // In a stream too.
    let question = CheckRequest { id: "x".repeat(1024 * 1024), ..CheckRequest::default() };
    let questions = tokio_stream::once(StreamCheckRequest { check: Some(question) });
    let mut answers = checks.stream_check(questions).await.unwrap().into_inner();
    refused(answers.message().await, Code::ResourceExhausted);
    server.check(&credential).allowed().await;
}

#[tokio::test]
async fn no_bytes_make_an_rpc_panic() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let credential = acme.owner.key("tenants/-").issued().await.credential;
    let mut metadata = MetadataMap::new();
    let bearer = format!("Bearer {}", server.root);
    metadata.insert("authorization", bearer.parse().unwrap());
    let undecodable: [&[u8]; 5] =
        [&[0xff], &[0x0a, 0x05, b'x'], &[0x0a, 0x01, 0xff], &[0x07], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f]];
    let methods = raw::methods();
    assert!(methods.len() > 50, "{methods:?}");
    let is_right = |method: &str, status: &Status| {
        let info = status.get_error_details().error_info().is_some();
        assert!(info, "{method}: {status:?}");
        assert!(!matches!(status.code(), Code::Internal | Code::Unknown | Code::Cancelled), "{method}: {status:?}");
    };
    for method in &methods {
        for bytes in undecodable {
            let Err(status) = raw::call(&server.admin, method, bytes.to_vec(), metadata.clone()).await else {
                // An empty message may hold any field.
                assert!(
                    ["/GetJwks", "/GetStatus", "/Diagnose"].iter().any(|name| method.ends_with(name)),
                    "{method} {bytes:x?}"
                );
                continue;
            };
            is_right(method, &status);
            assert_eq!(status.code(), Code::InvalidArgument, "{method} {bytes:x?}: {status:?}");
            assert!(!status.get_error_details().bad_request().unwrap().field_violations.is_empty());
        }
    }
    // A few hundred random messages, most of which are decodable: small tags with lengths that fit.
    let field =
        (1_u8..10, prop::collection::vec(any::<u8>(), 0..6), any::<bool>()).prop_map(|(number, value, is_text)| {
            if is_text {
                let value: Vec<u8> = value.into_iter().map(|byte| byte & 0x7f).collect();
                [vec![(number << 3) | 2, u8::try_from(value.len()).unwrap()], value].concat()
            } else {
                vec![number << 3, value.first().copied().unwrap_or_default() & 0x7f]
            }
        });
    let message = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(field, 0..5).prop_map(|fields| fields.concat()),
    ];
    let mut runner = TestRunner::default();
    let mut calls = 0;
    for method in &methods {
        for _ in 0..8 {
            let bytes = message.new_tree(&mut runner).unwrap().current();
            if let Err(status) = raw::call(&server.admin, method, bytes.clone(), metadata.clone()).await {
                is_right(&format!("{method} {bytes:x?}"), &status);
            }
            calls += 1;
        }
    }
    assert!(calls > 400, "{calls}");
    server.check(&credential).allowed().await;
    server.check(&server.root).allowed().await;
}
