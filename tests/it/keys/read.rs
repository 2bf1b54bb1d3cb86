use crate::harness::{Client, DAY, TestServer, refused, seconds, send};
use keyward::proto::v1::*;
use sea_orm::ConnectionTrait as _;
use std::collections::BTreeSet;
use tonic::Code;

async fn ids(client: &Client, request: ListKeysRequest) -> Vec<String> {
    let page = client.keys().list_keys(request).await.unwrap().into_inner();
    page.keys.into_iter().map(|key| key.name.rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn one_key_is_read_by_its_name_and_only_as_the_etag_says() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let key = acme.owner.key("tenants/-").id("ci").issued().await.key.unwrap();
    let get = |name: &str, etag: &str| {
        let (client, name, etag) = (acme.owner.clone(), name.to_owned(), etag.to_owned());
        async move { send!(client.keys(), get_key, GetKeyRequest { name: name, etag: etag }) }
    };
    for (name, etag) in [(&*key.name, ""), (&*key.name, &*key.etag), ("tenants/-/keys/ci", "")] {
        assert_eq!(get(name, etag).await.unwrap().key.as_ref(), Some(&key));
    }
    let refusal = refused(get(&key.name, "stale").await, Code::Aborted);
    assert!(refusal.message.contains(&key.name), "{refusal:?}");
    for nothing in ["tenants/acme/keys/none", "tenants/acme/keys/!!", "tenants/none/keys/ci", "tenants/!!/keys/ci"] {
        refused(get(nothing, "").await, Code::NotFound);
    }
    for bad in ["", "ci", "keys/ci", "tenants/acme", "tenants/acme/keys", "tenants/acme/keys/", "tenants/acme/users/ci"]
    {
        assert_eq!(refused(get(bad, "").await, Code::InvalidArgument).fields, ["name"], "{bad:?}");
    }
    refused(send!(other.owner.keys(), get_key, GetKeyRequest { name: &*key.name }), Code::NotFound);
}

#[tokio::test]
async fn a_list_comes_in_pages_that_neither_repeat_nor_leave_out() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    for number in 0..5 {
        acme.owner.key("tenants/-").id(&format!("k{number}")).issued().await;
    }
    let list = |page_size: i32, page_token: &str| {
        let request = ListKeysRequest {
            parent: "tenants/-".to_owned(),
            filter: "type = REGULAR".to_owned(),
            page_size,
            page_token: page_token.to_owned(),
            ..ListKeysRequest::default()
        };
        let client = acme.owner.clone();
        async move { client.keys().list_keys(request).await.map(tonic::Response::into_inner) }
    };
    for size in [1, 2, 3, 5, 6, 1000, 1001, 0, i32::MAX] {
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(size, &token).await.unwrap();
            assert!(size == 0 || page.keys.len() <= usize::try_from(size).unwrap());
            seen.extend(page.keys.into_iter().map(|key| key.name));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let expected: Vec<String> = (0..5).map(|number| format!("tenants/acme/keys/k{number}")).collect();
        assert_eq!(seen, expected, "in pages of {size}");
    }
    for negative in [-1, i32::MIN] {
        assert_eq!(refused(list(negative, "").await, Code::InvalidArgument).fields, ["page_size"]);
    }

    // A page begins where the last one ended, whatever has come and gone in between.
    let token = list(2, "").await.unwrap().next_page_token;
    acme.owner.key("tenants/-").id("a-new-one").issued().await;
    acme.owner.key("tenants/-").id("k2a").issued().await;
    send!(acme.owner.keys(), delete_key, DeleteKeyRequest { name: "tenants/-/keys/k1" }).unwrap();
    send!(acme.owner.keys(), delete_key, DeleteKeyRequest { name: "tenants/-/keys/k3" }).unwrap();
    let rest: Vec<String> = list(1000, &token).await.unwrap().keys.into_iter().map(|key| key.name).collect();
    assert_eq!(rest, ["tenants/acme/keys/k2", "tenants/acme/keys/k2a", "tenants/acme/keys/k4"]);

    // A token is good for its own list and for nothing else.
    let other = server.tenant("other").await;
    let last = token.chars().last().unwrap();
    let forged = format!("{}{}", &token[..token.len() - 1], if last == 'A' { 'E' } else { 'A' });
    for bad in [&forged, &token[..token.len() - 4], &token[4..], "AAAA", "!!", "", " "]
        .into_iter()
        .filter(|bad| !bad.is_empty())
    {
        assert_eq!(refused(list(2, bad).await, Code::InvalidArgument).fields, ["page_token"], "{bad:?}");
    }
    let regular = "type = REGULAR".to_owned();
    let request = ListKeysRequest {
        parent: "tenants/-".to_owned(),
        filter: regular,
        page_token: token.clone(),
        ..ListKeysRequest::default()
    };
    let elsewhere = [
        (&acme.owner, ListKeysRequest { filter: String::new(), ..request.clone() }),
        (&acme.owner, ListKeysRequest { show_deleted: true, ..request.clone() }),
        (&acme.owner, ListKeysRequest { parent: acme.owner_name.clone(), ..request.clone() }),
        (&other.owner, request.clone()),
    ];
    for (client, request) in elsewhere {
        let refusal = refused(client.keys().list_keys(request).await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["page_token"]);
    }
    let users = send!(acme.owner.users(), list_users, ListUsersRequest { parent: "tenants/-", page_token: &*token });
    assert_eq!(refused(users, Code::InvalidArgument).fields, ["page_token"]);
    // The size may change from page to page, and the same parent may be named in full.
    let same = ListKeysRequest { parent: acme.name.clone(), page_size: 1, ..request };
    assert_eq!(ids(&acme.owner, same).await, ["k2"]);
}

#[tokio::test]
async fn a_page_holds_fifty_unless_told_otherwise_and_never_more_than_a_thousand() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    // A thousand calls would take seconds: the rows of one key are repeated under other ids.
    acme.owner.key("tenants/-").id("pattern").issued().await;
    let url = format!("sqlite:{}", server.database().display());
    let rows = sea_orm::Database::connect(url).await.unwrap();
    let columns = "kind, owner_kind, owner_id, display_name, name_key, description, grants, allowed_ips, \
         allowed_referrers, labels, not_before_time, expire_time, is_suspended, revoke_time, revoke_reason, delete_time, \
         secret_key_digest, public_credential, create_time, update_time, revision, min_reader";
    let repeat = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001) \
         INSERT INTO api_key (tenant_id, id, uid, {columns}) \
         SELECT tenant_id, printf('k%04d', i), printf('0199c0de-0000-7000-8000-%012d', i), {columns} \
         FROM api_key, n WHERE id = 'pattern'"
    );
    assert_eq!(rows.execute_unprepared(&repeat).await.unwrap().rows_affected(), 1001);
    rows.close().await.unwrap();
    for (size, expected) in [(0, 50), (999, 999), (1000, 1000), (1001, 1000), (i32::MAX, 1000)] {
        let request = ListKeysRequest { parent: "tenants/-".to_owned(), page_size: size, ..ListKeysRequest::default() };
        let page = acme.owner.keys().list_keys(request.clone()).await.unwrap().into_inner();
        assert_eq!(page.keys.len(), expected, "{size}");
        assert!(!page.next_page_token.is_empty());
        let next = ListKeysRequest { page_size: 1000, page_token: page.next_page_token, ..request };
        let next = acme.owner.keys().list_keys(next).await.unwrap().into_inner();
        let names = |keys: Vec<Key>| keys.into_iter().map(|key| key.name).collect::<BTreeSet<_>>();
        let (first, second) = (names(page.keys), names(next.keys));
        assert!(first.is_disjoint(&second));
        // With the master and the default public key.
        assert_eq!(first.len() + second.len(), 1004.min(expected + 1000));
    }
}

#[tokio::test]
async fn a_list_is_filtered_by_every_field_of_the_contract() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (ada, _) = server.user(&acme, "ada", UserRole::Member).await;
    let new = |id: &str| acme.owner.key("tenants/-").id(id);
    let name = |id: &str| format!("tenants/acme/keys/{id}");
    new("plain").issued().await;
    new("named").with(|key| key.display_name = "a \"b\" AND c".to_owned()).issued().await;
    new("labelled").with(|key| key.labels = [("a/b".to_owned(), "x y".to_owned())].into()).issued().await;
    acme.owner.key(&ada.name).id("adas").issued().await;
    new("short").asking(|request| request.ttl = seconds(60)).issued().await;
    let later = server.time_in(3600);
    new("later").with(|key| key.not_before_time = Some(later)).issued().await;
    for id in ["suspended", "revoked", "deleted"] {
        new(id).issued().await;
    }
    send!(acme.owner.keys(), suspend_key, SuspendKeyRequest { name: name("suspended") }).unwrap();
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: name("revoked") }).unwrap();
    send!(acme.owner.keys(), delete_key, DeleteKeyRequest { name: name("deleted") }).unwrap();
    server.pass(61);

    let check = async |filter: &str, show_deleted: bool, expected: &[&str]| {
        let filter = format!("type = KEY_TYPE_REGULAR{}{filter}", if filter.is_empty() { "" } else { " AND " });
        let request = ListKeysRequest {
            parent: "tenants/-".to_owned(),
            filter: filter.clone(),
            show_deleted,
            ..Default::default()
        };
        assert_eq!(ids(&acme.owner, request).await, expected, "{filter}");
    };
    check("", false, &["adas", "labelled", "later", "named", "plain", "revoked", "short", "suspended"]).await;
    check("state = KEY_STATE_EXPIRED", false, &["short"]).await;
    check("state = EXPIRED", false, &["short"]).await;
    check("state = SUSPENDED", false, &["suspended"]).await;
    check("state = REVOKED", false, &["revoked"]).await;
    check("state != ACTIVE", false, &["revoked", "short", "suspended"]).await;
    check("state = DELETED", true, &["deleted"]).await;
    check("state = DELETED", false, &[]).await;
    check(r#"display_name = "a \"b\" AND c""#, false, &["named"]).await;
    check(&format!("owner = {}", ada.name), false, &["adas"]).await;
    check(&format!("owner = \"{}\" AND state = ACTIVE", ada.name), false, &["adas"]).await;
    check(r#"labels.a/b = "x y""#, false, &["labelled"]).await;
    check(r#"labels."a/b" = "x y""#, false, &["labelled"]).await;
    check("labels.other = x", false, &[]).await;
    check("expire_time > 2000-01-01T00:00:00Z", false, &["short"]).await;
    check("not_before_time > 2000-01-01T00:00:00Z", false, &["later"]).await;
    check("revoke_time > 2000-01-01T00:00:00Z", false, &["revoked"]).await;
    check("delete_time > 2000-01-01T00:00:00Z", true, &["deleted"]).await;
    check("last_auth_time > 2000-01-01T00:00:00Z", false, &[]).await;
    check("create_time < 2000-01-01T00:00:00Z", false, &[]).await;
    check("update_time >= 2000-01-01T00:00:00Z AND state = SUSPENDED", false, &["suspended"]).await;
    check("type = MASTER", false, &[]).await;

    let list = |filter: &str| {
        let (client, filter) = (acme.owner.clone(), filter.to_owned());
        async move { send!(client.keys(), list_keys, ListKeysRequest { parent: "tenants/-", filter: filter }) }
    };
    let kinds = |keys: &[Key]| keys.iter().map(Key::r#type).collect::<BTreeSet<_>>();
    let masters = list("type = MASTER").await.unwrap().keys;
    assert_eq!((masters.len(), kinds(&masters)), (2, [KeyType::Master].into()), "the owner's and ada's");
    let public = list("type = DEFAULT_PUBLIC").await.unwrap().keys;
    assert_eq!((public.len(), kinds(&public)), (1, [KeyType::DefaultPublic].into()));
    for bad in
        ["state = LOST", "state = EXPIRE", "colour = red", "state", "state = ACTIVE OR state = EXPIRED", "etag = x"]
    {
        assert_eq!(refused(list(bad).await, Code::InvalidArgument).fields, ["filter"], "{bad:?}");
    }

    // What was deleted long ago is shown to nobody.
    server.pass(31 * DAY);
    check("state = DELETED", true, &[]).await;
}

#[tokio::test]
async fn everybody_lists_what_is_theirs_to_see() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let (ada, adas) = server.user(&acme, "ada", UserRole::Member).await;
    acme.owner.key("tenants/-").id("owners").issued().await;
    adas.key("tenants/-").id("adas").issued().await;
    other.owner.key("tenants/-").id("others").issued().await;
    let list = |client: &Client, parent: &str| {
        let (client, parent) = (client.clone(), parent.to_owned());
        async move {
            let page = send!(client.keys(), list_keys, ListKeysRequest { parent: parent, filter: "type = REGULAR" })?;
            Ok(page.keys.into_iter().map(|key| key.name).collect::<Vec<_>>())
        }
    };
    let root = server.root();
    let cases: [(&Client, &str, &[&str]); 7] = [
        (&acme.owner, "tenants/-", &["tenants/acme/keys/adas", "tenants/acme/keys/owners"]),
        (&acme.owner, &acme.owner_name, &["tenants/acme/keys/owners"]),
        (&acme.owner, &ada.name, &["tenants/acme/keys/adas"]),
        (&adas, "tenants/-", &["tenants/acme/keys/adas"]),
        (&adas, "tenants/acme", &["tenants/acme/keys/adas"]),
        (&adas, &ada.name, &["tenants/acme/keys/adas"]),
        (&root, "tenants/other", &["tenants/other/keys/others"]),
    ];
    for (client, parent, expected) in cases {
        assert_eq!(list(client, parent).await.unwrap() as Vec<String>, expected, "{parent}");
    }
    refused(list(&adas, &acme.owner_name).await, Code::PermissionDenied);
    refused(list(&adas, "tenants/acme/users/nobody").await, Code::NotFound);
    for (client, parent) in [
        (&acme.owner, "tenants/other"),
        (&acme.owner, "tenants/-/users/nobody"),
        (&root, "tenants/none"),
        (&adas, "tenants/other"),
    ] {
        refused(list(client, parent).await, Code::NotFound);
    }
    for parent in ["", "tenants", "acme"] {
        assert_eq!(refused(list(&root, parent).await, Code::InvalidArgument).fields, ["parent"], "{parent:?}");
    }
}
