//! Nobody gets more than they hold, by whatever road.

use super::raw;
use crate::harness::{Client, NewKey, TestServer, TestTenant, refused, resources};
use keyward::proto::v1::*;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

const HOUR: i64 = 3600;

#[track_caller]
fn denied<T: std::fmt::Debug>(what: &str, result: Result<T, Status>) {
    assert!(result.is_err(), "{what} was allowed: {result:?}");
    assert_eq!(refused(result, Code::PermissionDenied).reason, "NOT_GRANTED", "{what}");
}

fn bearer(credential: &str) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", format!("Bearer {credential}").parse().unwrap());
    metadata
}

/// So many seconds from now, in whole seconds.
fn after(seconds: i64) -> Option<prost_types::Timestamp> {
    let now = keyward::clock::Clock::default().now().micros() / 1_000_000;
    Some(prost_types::Timestamp { seconds: now + seconds, nanos: 0 })
}

fn user_of(role: UserRole) -> Option<User> {
    Some(User {
        email: format!("{}@example.com", role.as_str_name().to_lowercase()),
        role: role.into(),
        ..User::default()
    })
}

async fn create_user(client: &Client, tenant: &TestTenant, role: UserRole) -> Result<CreateUserResponse, Status> {
    let request = CreateUserRequest { parent: tenant.name.clone(), user: user_of(role), ..Default::default() };
    client.users().create_user(request).await.map(tonic::Response::into_inner)
}

async fn give_role(client: &Client, name: &str, role: UserRole) -> Result<(), Status> {
    let user = Some(User { name: name.to_owned(), role: role.into(), ..User::default() });
    client.users().update_user(UpdateUserRequest { user, update_mask: None }).await.map(drop)
}

async fn update(client: &Client, key: Key, paths: &[&str]) -> Result<Key, Status> {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = UpdateKeyRequest { key: Some(key), update_mask: Some(prost_types::FieldMask { paths }) };
    client.keys().update_key(request).await.map(|answer| answer.into_inner().key.unwrap())
}

fn named(name: &str) -> Key {
    Key { name: name.to_owned(), ..Key::default() }
}

/// A key that manages all keys, reads documents, and is bound to this machine and one hour.
async fn bounded(server: &TestServer, tenant: &TestTenant) -> (Client, Key) {
    let made = tenant
        .owner
        .key("tenants/-")
        .may("doc/*", "read")
        .may("keyward/keys/*", "*")
        .with(|key| {
            key.allowed_ips = vec!["127.0.0.0/8".into()];
            key.expire_time = after(HOUR);
        })
        .issued()
        .await;
    (server.bearer(&made.credential), made.key.unwrap())
}

/// What a key may be that is no wider than [`bounded`].
fn within(new: NewKey) -> NewKey {
    new.may("doc/1", "read").with(|key| {
        key.allowed_ips = vec!["127.0.0.1/32".into()];
        key.expire_time = after(HOUR / 2);
    })
}

/// What is wider, and how.
type Widening = (&'static str, fn(&mut Key));

/// Every way in which a key can be wider than [`bounded`].
fn wider() -> Vec<Widening> {
    vec![
        ("more of the tree", |key| key.grants.push(resources("doc/**", &["read"]))),
        ("another action", |key| key.grants.push(resources("doc/1", &["write"]))),
        ("all actions", |key| key.grants.push(resources("doc/1", &["*"]))),
        ("everything", |key| key.grants.push(resources("**", &["*"]))),
        ("all of Keyward", |key| key.grants.push(resources("keyward/**", &["*"]))),
        ("users", |key| key.grants.push(resources("keyward/users/*", &["create"]))),
        ("check", |key| key.grants.push(resources("keyward/check", &["use"]))),
        ("an api", |key| {
            let kind = grant::Kind::Apis(ApisGrant { names: vec!["maps".into()] });
            key.grants.push(Grant { kind: Some(kind) });
        }),
        ("any address", |key| key.allowed_ips.clear()),
        ("every address", |key| key.allowed_ips = vec!["0.0.0.0/0".into()]),
        ("an address more", |key| key.allowed_ips.push("192.0.2.1/32".into())),
        ("addresses of the other family", |key| key.allowed_ips.push("::/0".into())),
        ("a longer life", |key| key.expire_time = after(2 * HOUR)),
    ]
}

#[tokio::test]
async fn a_key_that_is_made_holds_no_more_than_the_key_that_makes_it() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (client, own) = bounded(&server, &acme).await;
    within(client.key("tenants/-")).issued().await;
    for (what, widen) in wider() {
        denied(what, within(client.key("tenants/-")).with(widen).tried().await);
        denied(what, within(client.key(&acme.owner_name)).with(widen).tried().await);
        // What stands in the way is only that the caller does not hold it.
        within(acme.owner.key("tenants/-")).with(widen).issued().await;
    }
    let mut longer = within(client.key("tenants/-")).with(|key| key.expire_time = None);
    longer.request.ttl = Some(prost_types::Duration { seconds: 2 * HOUR, nanos: 0 });
    denied("a longer ttl", longer.tried().await);
    let unsaid = within(client.key("tenants/-")).with(|key| key.expire_time = None).issued().await;
    assert_eq!(unsaid.key.unwrap().expire_time, own.expire_time, "a missing expiry is the caller's own");
    let of_owner = within(acme.owner.key("tenants/-")).with(|key| key.expire_time = None).issued().await;
    assert_eq!(of_owner.key.unwrap().expire_time, None, "a master key's user lives on");
}

#[tokio::test]
async fn no_road_leads_to_the_secret_or_the_life_of_a_wider_key() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (client, own) = bounded(&server, &acme).await;
    let mut wide = wider();
    wide.push(("no end", |key| key.expire_time = None));
    wide.push(("nothing wider", |_| {}));
    for (what, widen) in wide {
        let may = what == "nothing wider";
        let key = within(acme.owner.key("tenants/-")).with(widen).issued().await.key.unwrap();
        let name = key.name.clone();
        let unsaid = || key.name.clone();
        let mut keys = client.keys();
        let road = |road: &str, result: Result<(), Status>| {
            if may {
                assert!(result.is_ok(), "{road}: {result:?}");
            } else {
                denied(&format!("{road} of a key with {what}"), result);
            }
        };
        let described = Key { description: "harmless".into(), ..named(&name) };
        road("UpdateKey", update(&client, described, &["description"]).await.map(drop));
        road("RotateKey", keys.rotate_key(RotateKeyRequest { name: unsaid(), ..Default::default() }).await.map(drop));
        let request = GenerateSecretKeyRequest { name: unsaid(), ..Default::default() };
        road("GenerateSecretKey", keys.generate_secret_key(request).await.map(drop));
        if !may {
            let seen = acme.owner.keys().get_key(GetKeyRequest { name: unsaid(), ..Default::default() }).await;
            assert_eq!(seen.unwrap().into_inner().key.unwrap().etag, key.etag, "a refusal changes nothing");
        }
        // Whoever may do it may take away, but not give back.
        keys.suspend_key(SuspendKeyRequest { name: unsaid(), ..Default::default() }).await.unwrap();
        road(
            "ActivateKey",
            keys.activate_key(ActivateKeyRequest { name: unsaid(), ..Default::default() }).await.map(drop),
        );
        keys.delete_key(DeleteKeyRequest { name: unsaid(), ..Default::default() }).await.unwrap();
        road(
            "UndeleteKey",
            keys.undelete_key(UndeleteKeyRequest { name: unsaid(), ..Default::default() }).await.map(drop),
        );
    }
    // Its own limits, and those of a key it made, cannot be loosened either.
    let made = within(client.key("tenants/-")).issued().await.key.unwrap();
    for name in [&own.name, &made.name] {
        let grants = vec![resources("doc/**", &["read"])];
        denied("wider grants", update(&client, Key { grants, ..named(name) }, &["grants"]).await);
        denied("any address", update(&client, named(name), &["allowed_ips"]).await);
        let expire_time = after(2 * HOUR);
        denied("a longer life", update(&client, Key { expire_time, ..named(name) }, &["expire_time"]).await);
    }
    let cleared = update(&client, named(&made.name), &["expire_time"]).await.unwrap();
    assert_eq!(cleared.expire_time, own.expire_time, "a missing expiry is the caller's own");
    let master = acme.made.master_key.clone().unwrap().name;
    let request = RotateKeyRequest { name: master.clone(), ..Default::default() };
    denied("RotateKey of a master key", client.keys().rotate_key(request).await);
    let request = GenerateSecretKeyRequest { name: master.clone(), ..Default::default() };
    denied("GenerateSecretKey of a master key", client.keys().generate_secret_key(request).await);
    let described = Key { description: "harmless".into(), ..named(&master) };
    denied("UpdateKey of a master key", update(&client, described, &["description"]).await);
}

#[tokio::test]
async fn a_master_key_bound_to_addresses_hands_on_nothing_that_is_not() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (ada, admin) = server.user(&acme, "ada", UserRole::Admin).await;
    let keys = ListKeysRequest { parent: ada.name.clone(), ..Default::default() };
    let master = admin.keys().list_keys(keys).await.unwrap().into_inner().keys.remove(0).name;
    let bound = Key { allowed_ips: vec!["127.0.0.0/8".into()], ..named(&master) };
    update(&acme.owner, bound, &["allowed_ips"]).await.unwrap();
    denied("a key for any address", admin.key("tenants/-").tried().await);
    admin.key("tenants/-").with(|key| key.allowed_ips = vec!["127.0.0.1/32".into()]).issued().await;
    denied("its own release", update(&admin, named(&master), &["allowed_ips"]).await);
    denied("a user for any address", create_user(&admin, &acme, UserRole::Member).await);
    let (eve, _) = server.user(&acme, "eve", UserRole::Member).await;
    denied("a higher role for any address", give_role(&admin, &eve.name, UserRole::Admin).await);
    let request = RotateMasterKeyRequest { name: eve.name, ..Default::default() };
    denied("a master key for any address", admin.users().rotate_master_key(request).await);
    let request = RotateMasterKeyRequest { name: ada.name, ..Default::default() };
    let rotated = admin.users().rotate_master_key(request).await.unwrap().into_inner();
    assert_eq!(rotated.master_key.unwrap().allowed_ips, ["127.0.0.0/8"]);
}

#[tokio::test]
async fn only_a_key_that_holds_everything_for_ever_makes_or_revives_a_user() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (ada, _) = server.user(&acme, "ada", UserRole::Admin).await;
    let (eve, _) = server.user(&acme, "eve", UserRole::Member).await;
    let request = SuspendUserRequest { name: eve.name.clone(), ..Default::default() };
    acme.owner.users().suspend_user(request).await.unwrap();
    let key = || acme.owner.key(&ada.name);
    let narrow = [
        ("users", key().may("keyward/users/*", "*")),
        ("all of Keyward", key().may("keyward/**", "*")),
        ("everything but an action", key().may("**", "create").may("**", "activate").may("keyward/**", "*")),
        ("everything for an hour", key().may("**", "*").with(|key| key.expire_time = after(HOUR))),
        ("everything from here", key().may("**", "*").with(|key| key.allowed_ips = vec!["127.0.0.0/8".into()])),
        ("everything of a member's", acme.owner.key(&eve.name).may("**", "*")),
    ];
    for (what, key) in narrow {
        let is_members = what.ends_with("member's");
        if is_members {
            let request = ActivateUserRequest { name: eve.name.clone(), ..Default::default() };
            acme.owner.users().activate_user(request).await.unwrap();
        }
        let client = server.bearer(&key.issued().await.credential);
        let mut users = client.users();
        let role = if is_members { UserRole::Admin } else { UserRole::Member };
        denied(what, create_user(&client, &acme, role).await);
        denied(what, give_role(&client, &eve.name, UserRole::Admin).await);
        denied(what, give_role(&client, &ada.name, UserRole::Owner).await);
        let (name, other) = if is_members { (&ada.name, &ada.name) } else { (&eve.name, &ada.name) };
        for name in [name, other] {
            let request = ActivateUserRequest { name: name.clone(), ..Default::default() };
            denied(what, users.activate_user(request).await);
            let request = RotateMasterKeyRequest { name: name.clone(), ..Default::default() };
            denied(what, users.rotate_master_key(request).await);
        }
        let user = Some(User { name: eve.name.clone(), given_name: "Eve".into(), ..User::default() });
        users.update_user(UpdateUserRequest { user, update_mask: None }).await.unwrap();
    }
    let everything = key().may("**", "*").issued().await;
    let client = server.bearer(&everything.credential);
    create_user(&client, &acme, UserRole::Member).await.unwrap();
    create_user(&client, &acme, UserRole::Admin).await.unwrap();
    denied("an owner by an admin's key", create_user(&client, &acme, UserRole::Owner).await);
    give_role(&client, &eve.name, UserRole::Admin).await.unwrap();
    denied("an owner by an admin's key", give_role(&client, &eve.name, UserRole::Owner).await);
}

#[tokio::test]
async fn nobody_raises_a_role_above_its_own() {
    use UserRole::{Admin, Member, Owner};
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (ada, admin) = server.user(&acme, "ada", Admin).await;
    let (eve, member) = server.user(&acme, "eve", Member).await;
    let (bob, _) = server.user(&acme, "bob", Member).await;
    for role in [Admin, Owner] {
        denied("a member, itself", give_role(&member, &eve.name, role).await);
        denied("a member, another", give_role(&member, &bob.name, role).await);
    }
    denied("an admin, itself", give_role(&admin, &ada.name, Owner).await);
    denied("an admin, another", give_role(&admin, &bob.name, Owner).await);
    denied("an admin, an owner", give_role(&admin, &acme.owner_name, Member).await);
    denied("an admin, a new owner", create_user(&admin, &acme, Owner).await);
    give_role(&member, &eve.name, Member).await.unwrap();
    give_role(&admin, &bob.name, Admin).await.unwrap();
    give_role(&acme.owner, &bob.name, Owner).await.unwrap();
    // Who was raised is protected from that moment.
    denied("an admin, a former member", give_role(&admin, &bob.name, Member).await);
    refused(give_role(&server.root(), "tenants/acme/users/nobody", Owner).await, Code::NotFound);
}

#[tokio::test]
async fn an_admin_touches_no_owner_by_whatever_credential() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (ada, _) = server.user(&acme, "ada", UserRole::Admin).await;
    let (second, _) = server.user(&acme, "second", UserRole::Owner).await;
    let all = acme.owner.key(&ada.name).may("**", "*").issued().await.credential;
    let keyward = acme.owner.key(&ada.name).may("keyward/**", "*").issued().await.credential;
    let literal =
        acme.owner.key(&ada.name).may("keyward/keys/wide", "*").may("keyward/users/second", "*").issued().await;
    let key = acme.owner.key(&second.name).id("wide").issued().await.key.unwrap().name;
    let deleted = acme.owner.key(&second.name).issued().await.key.unwrap().name;
    let request = DeleteKeyRequest { name: deleted.clone(), ..Default::default() };
    acme.owner.keys().delete_key(request).await.unwrap();
    let master =
        ListKeysRequest { parent: second.name.clone(), filter: "type = KEY_TYPE_MASTER".into(), ..Default::default() };
    let master = acme.owner.keys().list_keys(master).await.unwrap().into_inner().keys.remove(0).name;
    let head = server.check("").asked().await.revision;
    for credential in [&all, &keyward, &literal.credential] {
        let call = async |method: &str, request: String| {
            raw::call(&server.admin, method, raw::encoded(method, &request), bearer(credential)).await
        };
        for name in [&key, &master] {
            for verb in [
                "RotateKey",
                "FinishKeyRotation",
                "GenerateSecretKey",
                "SuspendKey",
                "ActivateKey",
                "RevokeKey",
                "DeleteKey",
            ] {
                denied(verb, call(&format!("KeyService/{verb}"), format!(r#"{{"name": "{name}"}}"#)).await);
            }
            let request = format!(r#"{{"key": {{"name": "{name}", "description": "mine"}}}}"#);
            denied("UpdateKey", call("KeyService/UpdateKey", request).await);
        }
        denied("UndeleteKey", call("KeyService/UndeleteKey", format!(r#"{{"name": "{deleted}"}}"#)).await);
        let name = &second.name;
        denied("CreateKey", call("KeyService/CreateKey", format!(r#"{{"parent": "{name}", "key": {{}}}}"#)).await);
        for verb in ["SuspendUser", "ActivateUser", "DeleteUser", "RotateMasterKey"] {
            denied(verb, call(&format!("UserService/{verb}"), format!(r#"{{"name": "{name}"}}"#)).await);
        }
        for change in [r#""givenName": "Eve""#, r#""role": "USER_ROLE_MEMBER""#] {
            let request = format!(r#"{{"user": {{"name": "{name}", {change}}}}}"#);
            denied(change, call("UserService/UpdateUser", request).await);
        }
        call("UserService/GetUser", format!(r#"{{"name": "{name}"}}"#)).await.unwrap();
        call("KeyService/GetKey", format!(r#"{{"name": "{key}"}}"#)).await.unwrap();
    }
    let new_owner = r#"{"parent": "tenants/-", "user": {"email": "eve@example.com", "role": "USER_ROLE_OWNER"}}"#;
    let method = "UserService/CreateUser";
    denied(method, raw::call(&server.admin, method, raw::encoded(method, new_owner), bearer(&all)).await);
    assert_eq!(server.check("").asked().await.revision, head, "something was changed");
}

#[tokio::test]
async fn a_member_hands_on_what_it_owns_and_nothing_else_of_keyward() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (eve, member) = server.user(&acme, "eve", UserRole::Member).await;
    server.user(&acme, "bob", UserRole::Member).await;
    acme.owner.key("tenants/acme/users/bob").id("of-bob").issued().await;
    acme.owner.key("tenants/-").id("of-owner").issued().await;
    member.key("tenants/-").id("own").may("doc/**", "*").issued().await;
    for (resource, action) in [
        ("**", "*"),
        ("**", "read"),
        ("keyward/**", "*"),
        ("keyward/**", "get"),
        ("keyward/*", "use"),
        ("keyward/check", "use"),
        ("keyward/keys/*", "get"),
        ("keyward/keys/**", "get"),
        ("keyward/keys/own/**", "get"),
        ("keyward/keys/of-bob", "get"),
        ("keyward/keys/of-owner", "get"),
        ("keyward/keys/not-yet", "get"),
        ("keyward/users/*", "list"),
        ("keyward/users/bob", "get"),
        ("keyward/tenants/acme", "get"),
        ("keyward/events/*", "list"),
        ("keyward/elsewhere/own", "get"),
    ] {
        denied(resource, member.key("tenants/-").may(resource, action).tried().await);
        denied(resource, member.key(&eve.name).may("doc/1", "read").may(resource, action).tried().await);
    }
    let made = member.key("tenants/-").may("keyward/keys/own", "*").may("keyward/users/eve", "get").issued().await;
    let client = server.bearer(&made.credential);
    let get = async |id: &str| {
        let request = GetKeyRequest { name: format!("tenants/-/keys/{id}"), ..Default::default() };
        client.keys().get_key(request).await.map(drop)
    };
    get("own").await.unwrap();
    denied("another's", get("of-bob").await);
    client.users().get_user(GetUserRequest { name: eve.name.clone(), ..Default::default() }).await.unwrap();
    denied("rotating what it does not hold", {
        let request = RotateKeyRequest { name: "tenants/-/keys/own".into(), ..Default::default() };
        client.keys().rotate_key(request).await
    });
    // What an admin has put on a member's key, the member cannot have a new secret of.
    let wide = acme.owner.key(&eve.name).may("keyward/**", "*").issued().await.key.unwrap();
    let request = RotateKeyRequest { name: wide.name.clone(), ..Default::default() };
    denied("a wider key of its own", member.keys().rotate_key(request).await);
    let described = Key { description: "harmless".into(), ..named(&wide.name) };
    denied("a wider key of its own", update(&member, described, &["description"]).await);
}

#[tokio::test]
async fn the_default_public_key_calls_nothing_of_keyward_whatever_it_grants() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let name = acme.made.default_public_key.clone().unwrap().name;
    let grants = vec![resources("**", &["*"]), resources("keyward/**", &["*"])];
    update(&acme.owner, Key { grants, ..named(&name) }, &["grants"]).await.unwrap();
    let public = &acme.made.default_public_credential;
    server.check(public).may("doc/1", "read").allowed().await;
    for resource in ["keyward/check", "keyward/keys/any", "keyward/users/any", "keyward/tenants/acme", "keyward/x/y/z"]
    {
        server.check(public).may(resource, "use").denied(&[Reason::NotGranted]).await;
    }
    let (mut refusals, mut methods) = (0, 0);
    for method in raw::methods() {
        let result = raw::call(&server.admin, &method, Vec::new(), bearer(public)).await;
        methods += 1;
        match result.as_ref().map_err(Status::code) {
            Err(Code::PermissionDenied) => refusals += 1,
            // Everybody may know the public keys.
            Ok(()) if method == "TokenService/GetJwks" => {}
            // These ask for a proof of their own.
            Err(Code::Unauthenticated) if method == "ApplicationService/VerifyApplication" => {}
            Err(Code::InvalidArgument)
                if ["KeyService/RevokeCredentials", "TokenService/CreateToken", "TokenService/CreateSession"]
                    .contains(&method.as_str()) => {}
            other => panic!("{method}: {other:?}"),
        }
    }
    assert!(methods == 56 && refusals >= 44, "{refusals} of {methods}");
}
