use crate::harness::{TestServer, refused, resources, send};
use keyward::proto::v1::grant::Kind;
use keyward::proto::v1::*;
use tonic::Code;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn apis(names: &[&str]) -> Grant {
    Grant { kind: Some(Kind::Apis(ApisGrant { names: texts(names) })) }
}

fn dataservices(names: &[&str]) -> Grant {
    Grant { kind: Some(Kind::Dataservices(DataservicesGrant { names: texts(names) })) }
}

fn table(schema: &str, name: &str, permissions: &[&str]) -> Grant {
    let table = TableGrant { schema: schema.into(), name: name.into(), permissions: texts(permissions) };
    Grant { kind: Some(Kind::Database(DatabaseGrant { tables: vec![table], schemas: vec![] })) }
}

fn schema(name: &str, permissions: &[&str]) -> Grant {
    let schema = SchemaGrant { name: name.into(), permissions: texts(permissions) };
    Grant { kind: Some(Kind::Database(DatabaseGrant { tables: vec![], schemas: vec![schema] })) }
}

#[tokio::test]
async fn each_kind_of_grant_permits_what_it_says_and_nothing_beside_it() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let check = async |grant: Grant, good: &[(&str, &str)], bad: &[(&str, &str)]| {
        let credential = acme.owner.key("tenants/-").grant(grant.clone()).issued().await.credential;
        for (resource, action) in good {
            let answer = server.check(&credential).may(resource, action).asked().await;
            assert_eq!(answer.decision(), Decision::Allowed, "{grant:?}: {action} {resource}");
        }
        for (resource, action) in bad {
            let answer = server.check(&credential).may(resource, action).asked().await;
            assert_eq!(answer.reasons().collect::<Vec<_>>(), [Reason::NotGranted], "{grant:?}: {action} {resource}");
        }
    };
    let others =
        [("apis/sql", "get"), ("apis/SQL", "use"), ("apis/sql/x", "use"), ("apis", "use"), ("dataservices/sql", "use")];
    check(apis(&["sql", "maps v2"]), &[("apis/sql", "use"), ("apis/maps v2", "use")], &others).await;
    let others = [("dataservices/routing", "*"), ("dataservices/x", "use"), ("apis/routing", "use")];
    check(dataservices(&["routing", "geo"]), &[("dataservices/routing", "use"), ("dataservices/geo", "use")], &others)
        .await;
    check(
        table("open", "data", &["select", "insert"]),
        &[("tables/open/data", "select"), ("tables/open/data", "insert")],
        &[
            ("tables/open/data", "update"),
            ("tables/open/data", "delete"),
            ("tables/open/other", "select"),
            ("schemas/open", "create"),
        ],
    )
    .await;
    check(
        table("ö", "ü", &["select", "insert", "update", "delete"]),
        &[("tables/ö/ü", "select"), ("tables/ö/ü", "delete"), ("tables/ö/ü", "update")],
        &[("tables/o/u", "select"), ("tables/%C3%B6/%C3%BC", "select"), ("tables/o\u{308}/u\u{308}", "select")],
    )
    .await;
    check(
        schema("open", &["create"]),
        &[("schemas/open", "create")],
        &[("schemas/open", "drop"), ("schemas/other", "create")],
    )
    .await;

    check(
        resources("a/b", &["read"]),
        &[("a/b", "read")],
        &[("a", "read"), ("a/b/c", "read"), ("a/B", "read"), ("a/b", "Read")],
    )
    .await;
    check(
        resources("a/*", &["read", "write"]),
        &[("a/b", "read"), ("a/x y", "write")],
        &[("a", "read"), ("a/b/c", "read"), ("ab", "read"), ("b/a", "read"), ("a/b", "delete")],
    )
    .await;
    check(
        resources("a/**", &["*"]),
        &[("a/b", "read"), ("a/b/c/d", "anything"), ("a/b", "use")],
        &[("a", "read"), ("ab/c", "read"), ("b", "read")],
    )
    .await;
    check(resources("*", &["read"]), &[("a", "read"), ("b", "read")], &[("a/b", "read")]).await;
    let deep = ["s"; 16].join("/");
    check(
        resources("**", &["*"]),
        &[("a", "x"), ("a/b/c", "y"), (&deep, "z"), ("keyward", "x"), ("apis/sql", "use")],
        &[("", "x"), ("a", "")],
    )
    .await;
    check(resources("**", &["read"]), &[("a/b", "read")], &[("a/b", "write")]).await;

    // Several add up, and all that is asked for must be granted.
    let new =
        acme.owner.key("tenants/-").grant(apis(&["sql"])).grant(table("s", "t", &["select"])).may("doc/*", "read");
    let credential = new.may("doc/1", "write").issued().await.credential;
    let all = || {
        let question = server.check(&credential).may("apis/sql", "use").may("tables/s/t", "select");
        question.may("doc/2", "read").may("doc/1", "read").may("doc/1", "write")
    };
    all().allowed().await;
    let answer = all().may("doc/2", "write").may("doc/2", "write").denied(&[Reason::NotGranted]).await;
    assert_eq!(answer.missing.len(), 2, "as often as it was asked for");
}

#[tokio::test]
async fn what_is_ill_formed_is_granted_to_nobody() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let regular = acme.owner.key("tenants/-").may("**", "*").issued().await.credential;
    let (too_long, too_deep) = ("s".repeat(257), ["s"; 17].join("/"));
    let ill_formed = [
        "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/./b", "*", "**", "a/*", "a/**", "a*", "a\nb", "a\u{0}",
        "a\u{7f}", "a\u{85}b", &too_long, &too_deep,
    ];
    for credential in [&regular, &acme.made.master_credential, &server.root] {
        for resource in ill_formed {
            let answer = server.check(credential).may(resource, "read").denied(&[Reason::NotGranted]).await;
            assert_eq!(answer.missing.len(), 1, "{resource:?}");
        }
        for action in ["", "*", "a/b", ".", "..", "a*", "a\n", &too_long] {
            server.check(credential).may("keyward/keys/x", action).denied(&[Reason::NotGranted]).await;
            server.check(credential).may("a", action).denied(&[Reason::NotGranted]).await;
        }
    }
    for (resource, action) in [("%2e%2e", "a b"), ("a/%2A", "ö"), ("...", "x"), (&*"s".repeat(256), "x")] {
        server.check(&regular).may(resource, action).allowed().await;
        server.check(&acme.made.master_credential).may(resource, action).allowed().await;
    }
}

#[tokio::test]
async fn root_is_for_keyward_alone_and_users_hold_what_their_role_says() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (ada, _) = server.user(&acme, "ada", UserRole::Member).await;
    let rotated = send!(server.root().users(), rotate_master_key, RotateMasterKeyRequest { name: ada.name });
    let member = rotated.unwrap().master_credential;
    let key = acme.owner.key("tenants/-/users/ada").id("adas").issued().await.key.unwrap();
    assert_eq!(key.name, "tenants/acme/keys/adas");
    acme.owner.key("tenants/-").id("owners").issued().await;

    let owner = &acme.made.master_credential;
    let regular = &acme.owner.key("tenants/-").may("**", "*").issued().await.credential;
    let root = &server.root;
    let check = async |credential: &str, resource: &str, action: &str, expected: bool| {
        let answer = server.check(credential).may(resource, action).asked().await;
        assert_eq!(answer.decision() == Decision::Allowed, expected, "{action} on {resource}");
    };
    server.check(root).allowed().await;
    for (resource, action) in [("doc/1", "read"), ("keyward", "use"), ("keywards/x", "use"), ("apis/sql", "use")] {
        check(root, resource, action, false).await;
        check(owner, resource, action, true).await;
        check(&member, resource, action, true).await;
        check(regular, resource, action, true).await;
    }
    for (resource, action) in [("keyward/check", "use"), ("keyward/keys/*x", "get")] {
        check(root, resource, action, action == "use").await;
        check(owner, resource, action, action == "use").await;
        check(&member, resource, action, false).await;
    }
    check(root, "keyward/anything/at/all", "x", true).await;
    for (id, is_adas) in [("adas", true), ("owners", false), ("none", false)] {
        let resource = format!("keyward/keys/{id}");
        check(root, &resource, "revoke", true).await;
        check(owner, &resource, "revoke", true).await;
        check(regular, &resource, "revoke", true).await;
        check(&member, &resource, "revoke", is_adas).await;
    }
    check(&member, "keyward/users/ada", "update", true).await;
    check(&member, "keyward/users/other", "get", false).await;
    check(&acme.made.default_public_credential, "keyward/keys/adas", "get", false).await;
}

#[tokio::test]
async fn a_grant_that_could_not_mean_what_it_says_is_refused() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let check = async |grant: Grant, fields: &[&str]| {
        let refusal = refused(acme.owner.key("tenants/-").grant(grant.clone()).tried().await, Code::InvalidArgument);
        assert_eq!(refusal.fields, fields, "{grant:?}");
    };
    let at = |rest: &str| format!("key.grants[0].{rest}");
    check(Grant::default(), &["key.grants[0]"]).await;
    check(apis(&[]), &[&at("apis.names")]).await;
    check(dataservices(&[]), &[&at("dataservices.names")]).await;
    for bad in ["", "*", "**", "a/b", "..", "a\n"] {
        check(apis(&["sql", bad]), &[&at("apis.names[1]")]).await;
        check(dataservices(&[bad]), &[&at("dataservices.names[0]")]).await;
        check(table(bad, "t", &["select"]), &[&at("database.tables[0].schema")]).await;
        check(table("s", bad, &["select"]), &[&at("database.tables[0].name")]).await;
        check(schema(bad, &["create"]), &[&at("database.schemas[0].name")]).await;
    }
    check(table("s", "t", &[]), &[&at("database.tables[0].permissions")]).await;
    for bad in ["*", "SELECT", "create", ""] {
        check(table("s", "t", &["select", bad]), &[&at("database.tables[0].permissions[1]")]).await;
    }
    check(schema("s", &["create", "drop"]), &[&at("database.schemas[0].permissions[1]")]).await;
    check(schema("s", &[]), &[&at("database.schemas[0].permissions")]).await;
    check(Grant { kind: Some(Kind::Database(DatabaseGrant::default())) }, &[&at("database")]).await;
    for bad in
        ["", "/a", "a/", "a//b", "*/a", "**/a", "a/*/b", "a*", "a/**x", "..", "a/\u{1}", "***", &["s"; 17].join("/")]
    {
        check(resources(bad, &["read"]), &[&at("resources.resource")]).await;
    }
    check(resources("a", &[]), &[&at("resources.actions")]).await;
    for bad in ["", "**", "a/b", "re*", ".."] {
        check(resources("a", &["read", bad]), &[&at("resources.actions[1]")]).await;
    }
    check(resources("", &[]), &[&at("resources.resource"), &at("resources.actions")]).await;
    let many = acme.owner.key("tenants/-").with(|key| key.grants = vec![apis(&["a"]); 1001]);
    assert_eq!(refused(many.tried().await, Code::InvalidArgument).fields, ["key.grants"]);
    acme.owner.key("tenants/-").with(|key| key.grants = vec![apis(&["a"]); 1000]).issued().await;
}
