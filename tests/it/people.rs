//! The rules of tenants and users.

use crate::harness::{Client, DAY, TestServer, mask, refused, send};
use keyward::proto::v1::*;
use tonic::{Code, Status};

fn user(email: &str, role: UserRole) -> User {
    User { email: email.to_owned(), role: role.into(), ..User::default() }
}

async fn add(client: &Client, id: &str, email: &str, role: UserRole) -> Result<CreateUserResponse, Status> {
    let user = user(email, role);
    send!(client.users(), create_user, CreateUserRequest { parent: "tenants/-", user_id: id, user: user })
}

async fn get_user(client: &Client, name: &str) -> User {
    send!(client.users(), get_user, GetUserRequest { name: name }).unwrap().user.unwrap()
}

#[tokio::test]
async fn a_tenant_is_made_with_an_owner_two_keys_and_a_prefix_that_stays() {
    let server = TestServer::start().await;
    let root = server.root();
    let wanted = Tenant { display_name: "Acme".into(), credential_prefix: "acme1".into(), ..Tenant::default() };
    let owner = user("Owner@Acme.example", UserRole::Unspecified);
    let make = |id: &str, tenant: &Tenant, request_id: &str| {
        let (client, id, tenant, owner) = (root.clone(), id.to_owned(), tenant.clone(), owner.clone());
        let request_id = request_id.to_owned();
        async move {
            send!(
                client.tenants(),
                create_tenant,
                CreateTenantRequest { tenant_id: id, tenant: tenant, owner: owner, request_id: request_id }
            )
        }
    };
    const ID: &str = "7f2c1d86-3a0f-4f0e-9d9b-0a3c0e6a1b22";
    let made = make("acme", &wanted, ID).await.unwrap();
    let tenant = made.tenant.clone().unwrap();
    assert_eq!((&*tenant.name, &*tenant.display_name, tenant.state()), ("tenants/acme", "Acme", TenantState::Active));
    let first = made.owner.clone().unwrap();
    assert_eq!(
        (first.role(), first.state(), &*first.email),
        (UserRole::Owner, UserState::Active, "Owner@Acme.example")
    );
    assert_eq!(made.master_key.as_ref().unwrap().owner, first.name);
    for credential in [&made.master_credential, &made.default_public_credential] {
        assert!(credential.starts_with("acme1_"));
        server.check(credential).allowed().await;
    }
    let again = make("acme", &wanted, ID).await.unwrap();
    assert_eq!((again.revision, &*again.master_credential), (made.revision, ""), "a secret is shown once");
    assert_eq!((again.tenant.as_ref(), again.master_key), (Some(&tenant), made.master_key));
    assert_eq!(refused(make("other", &wanted, ID).await, Code::InvalidArgument).fields, ["request_id"]);
    refused(make("acme", &wanted, "").await, Code::AlreadyExists);
    for bad in ["Acme", "-", "a b", "1acme", &"a".repeat(64)] {
        assert_eq!(refused(make(bad, &wanted, "").await, Code::InvalidArgument).fields, ["tenant_id"], "{bad:?}");
    }
    for bad in ["Kw", "1k", "k_", "k-", &"k".repeat(17), " "] {
        let tenant = Tenant { credential_prefix: bad.to_owned(), ..Tenant::default() };
        let refusal = refused(make("other", &tenant, "").await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["tenant.credential_prefix"], "{bad:?}");
    }

    let rename = |tenant: Tenant, paths: &'static [&'static str]| {
        let client = server.bearer(&made.master_credential);
        let mask = if paths.is_empty() { None } else { mask(paths) };
        async move { send!(client.tenants(), update_tenant, UpdateTenantRequest { tenant: tenant, update_mask: mask }) }
    };
    let fixed = Tenant { credential_prefix: "other".into(), ..tenant.clone() };
    let refusal = refused(rename(fixed.clone(), &["credential_prefix"]).await, Code::InvalidArgument);
    assert_eq!(refusal.fields, ["update_mask"]);
    let renamed = rename(Tenant { display_name: "New".into(), ..fixed }, &["*"]).await.unwrap().tenant.unwrap();
    assert_eq!((&*renamed.display_name, &*renamed.credential_prefix), ("New", "acme1"));
    refused(rename(tenant.clone(), &[]).await, Code::Aborted);
    let same = rename(renamed.clone(), &[]).await.unwrap();
    assert_eq!((same.tenant.unwrap(), same.revision), (renamed, server.revision().await));
    // A tenant without any wishes gets its own id, and an owner without email.
    let bare = send!(root.tenants(), create_tenant, CreateTenantRequest {}).unwrap();
    assert_eq!(bare.tenant.as_ref().unwrap().name, format!("tenants/{}", bare.tenant.as_ref().unwrap().uid));
}

#[tokio::test]
async fn tenants_are_read_and_listed_by_who_may_see_them() {
    let server = TestServer::start().await;
    let (acme, other) = (server.tenant("acme").await, server.tenant("other").await);
    let root = server.root();
    let list = |client: &Client, filter: &str, show_deleted: bool| {
        let (client, filter) = (client.clone(), filter.to_owned());
        async move {
            let request = send!(
                client.tenants(),
                list_tenants,
                ListTenantsRequest { filter: filter, show_deleted: show_deleted }
            );
            request.unwrap().tenants.into_iter().map(|tenant| tenant.name).collect::<Vec<_>>()
        }
    };
    assert_eq!(list(&root, "", false).await, ["tenants/acme", "tenants/other"]);
    assert_eq!(list(&acme.owner, "", true).await, ["tenants/acme"]);
    send!(root.tenants(), suspend_tenant, SuspendTenantRequest { name: &*other.name }).unwrap();
    assert_eq!(list(&root, "state = SUSPENDED", false).await, ["tenants/other"]);
    send!(root.tenants(), delete_tenant, DeleteTenantRequest { name: &*other.name }).unwrap();
    assert_eq!(list(&root, "", false).await, ["tenants/acme"]);
    assert_eq!(list(&root, "state = TENANT_STATE_DELETED", true).await, ["tenants/other"]);
    let get = |client: &Client, name: &str| {
        let (client, name) = (client.clone(), name.to_owned());
        async move { send!(client.tenants(), get_tenant, GetTenantRequest { name: name }) }
    };
    assert_eq!(get(&acme.owner, "tenants/-").await.unwrap().tenant, acme.made.tenant);
    assert_eq!(get(&root, "tenants/other").await.unwrap().tenant.unwrap().state(), TenantState::Deleted);
    refused(get(&acme.owner, "tenants/other").await, Code::NotFound);
    refused(get(&root, "tenants/none").await, Code::NotFound);
    assert_eq!(refused(get(&root, "tenants/-").await, Code::InvalidArgument).fields, ["name"]);
    let page = send!(root.tenants(), list_tenants, ListTenantsRequest { page_size: 1, show_deleted: true }).unwrap();
    let next =
        ListTenantsRequest { page_size: 1, show_deleted: true, page_token: page.next_page_token, ..Default::default() };
    assert_eq!(root.tenants().list_tenants(next).await.unwrap().into_inner().tenants[0].name, "tenants/other");
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_with_all_its_credentials_until_it_is_activated() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").issued().await;
    let all = [&issued.credential, &acme.made.master_credential, &acme.made.default_public_credential];
    let root = server.root();
    let suspended = send!(root.tenants(), suspend_tenant, SuspendTenantRequest { name: &*acme.name }).unwrap();
    assert_eq!(suspended.tenant.as_ref().unwrap().state(), TenantState::Suspended);
    let again = send!(root.tenants(), suspend_tenant, SuspendTenantRequest { name: &*acme.name }).unwrap();
    assert_eq!((again.tenant, again.revision), (suspended.tenant, suspended.revision));
    server.restart().await;
    for credential in all {
        server.check(credential).denied(&[Reason::TenantSuspended]).await;
    }
    let owner = server.bearer(&acme.made.master_credential);
    let refusal = refused(
        send!(owner.tenants(), activate_tenant, ActivateTenantRequest { name: "tenants/-" }),
        Code::Unauthenticated,
    );
    assert!(refusal.message.contains("TENANT_SUSPENDED"), "{refusal:?}");
    let root = server.root();
    let name = &*acme.name;
    send!(root.tenants(), activate_tenant, ActivateTenantRequest { name: name }).unwrap();
    for credential in all {
        server.check(credential).allowed().await;
    }
    refused(send!(root.tenants(), suspend_tenant, SuspendTenantRequest { name: name, etag: "stale" }), Code::Aborted);
    send!(owner.tenants(), get_tenant, GetTenantRequest { name: "tenants/-" }).unwrap();
}

#[tokio::test]
async fn a_deleted_tenant_takes_everything_with_it_for_good() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").issued().await;
    let root = server.root();
    let name = &*acme.name;
    let deleted = send!(root.tenants(), delete_tenant, DeleteTenantRequest { name: name }).unwrap();
    assert_eq!(deleted.tenant.as_ref().unwrap().state(), TenantState::Deleted);
    let again = send!(root.tenants(), delete_tenant, DeleteTenantRequest { name: name }).unwrap();
    assert_eq!((again.tenant, again.revision), (deleted.tenant, deleted.revision), "it stays as it is");
    for credential in [&issued.credential, &acme.made.master_credential, &acme.made.default_public_credential] {
        server.check(credential).denied(&[Reason::Deleted]).await;
    }
    refused(send!(acme.owner.tenants(), get_tenant, GetTenantRequest { name: "tenants/-" }), Code::Unauthenticated);
    refused(send!(root.tenants(), activate_tenant, ActivateTenantRequest { name: name }), Code::FailedPrecondition);
    refused(send!(root.tenants(), suspend_tenant, SuspendTenantRequest { name: name }), Code::FailedPrecondition);
    refused(root.key(name).tried().await, Code::FailedPrecondition);
    let user = user("new@acme.example", UserRole::Member);
    refused(send!(root.users(), create_user, CreateUserRequest { parent: name, user: user }), Code::FailedPrecondition);
    let change = Tenant { name: name.to_owned(), display_name: "x".into(), ..Tenant::default() };
    refused(send!(root.tenants(), update_tenant, UpdateTenantRequest { tenant: change }), Code::FailedPrecondition);
    refused(send!(root.tenants(), create_tenant, CreateTenantRequest { tenant_id: "acme" }), Code::AlreadyExists);
    server.pass(400 * DAY);
    refused(send!(root.tenants(), create_tenant, CreateTenantRequest { tenant_id: "acme" }), Code::AlreadyExists);
}

#[tokio::test]
async fn users_have_roles_and_one_email_each() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let owner = &acme.owner;
    let made = add(owner, "ada", "Ada@Example.com", UserRole::Unspecified).await.unwrap();
    let ada = made.user.unwrap();
    assert_eq!((ada.role(), &*ada.email, ada.state()), (UserRole::Member, "Ada@Example.com", UserState::Active));
    let key = made.master_key.unwrap();
    assert_eq!((key.r#type(), &key.owner), (KeyType::Master, &ada.name));
    server.check(&made.master_credential).may("doc/1", "read").allowed().await;

    for same in ["ada@example.com", "ADA@EXAMPLE.COM", "ＡＤＡ@example.com", " ada@example.com "] {
        let refusal = refused(add(owner, "", same, UserRole::Member).await, Code::AlreadyExists);
        assert!(refusal.message.contains("user.email"), "{refusal:?}");
    }
    refused(add(owner, "ada", "", UserRole::Member).await, Code::AlreadyExists);
    add(&other.owner, "ada", "ada@example.com", UserRole::Member).await.unwrap();
    add(owner, "", "", UserRole::Member).await.unwrap();
    add(owner, "", "", UserRole::Member).await.unwrap();
    for bad in ["ada", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n", &format!("{}@b.c", "a".repeat(251))] {
        let refusal = refused(add(owner, "", bad, UserRole::Member).await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["user.email"], "{bad:?}");
    }
    let bad = User { role: 9, given_name: "a\nb".into(), family_name: "x".repeat(257), ..User::default() };
    let request =
        send!(owner.users(), create_user, CreateUserRequest { parent: "tenants/-", user_id: "No", user: bad });
    let refusal = refused(request, Code::InvalidArgument);
    assert_eq!(refusal.fields, ["user.given_name", "user.family_name", "user.role", "user_id"]);

    let change = |change: User, paths: &'static [&'static str]| {
        let (client, mask) = (owner.clone(), if paths.is_empty() { None } else { mask(paths) });
        async move { send!(client.users(), update_user, UpdateUserRequest { user: change, update_mask: mask }) }
    };
    let named = User { name: ada.name.clone(), ..User::default() };
    let changed = change(User { given_name: "Ada".into(), ..named.clone() }, &[]).await.unwrap().user.unwrap();
    assert_eq!((&*changed.given_name, &*changed.email), ("Ada", "Ada@Example.com"));
    change(User { email: "ada@EXAMPLE.com".into(), ..named.clone() }, &[]).await.unwrap();
    let taken = change(User { email: "Owner@acme.example".into(), ..named.clone() }, &[]).await;
    refused(taken, Code::AlreadyExists);
    refused(change(User { etag: ada.etag.clone(), given_name: "x".into(), ..named.clone() }, &[]).await, Code::Aborted);
    for path in ["name", "uid", "state", "etag", "create_time", "delete_time", "password", ""] {
        let paths: &'static [&'static str] = Box::leak(Box::new([path]));
        assert_eq!(
            refused(change(named.clone(), paths).await, Code::InvalidArgument).fields,
            ["update_mask"],
            "{path:?}"
        );
    }
    let same = change(User { given_name: "Ada".into(), ..named.clone() }, &["given_name"]).await.unwrap();
    assert_eq!(same.revision, server.revision().await, "nothing was changed");
    let promoted = change(User { role: UserRole::Admin.into(), ..named.clone() }, &[]).await.unwrap().user.unwrap();
    assert_eq!(promoted.role(), UserRole::Admin);
    let admin = server.bearer(&made.master_credential);
    send!(admin.users(), list_users, ListUsersRequest { parent: "tenants/-" }).unwrap();
    // An admin makes no owner, and touches none.
    refused(add(&admin, "", "", UserRole::Owner).await, Code::PermissionDenied);
    add(&admin, "", "", UserRole::Admin).await.unwrap();
    let to_owner = User { role: UserRole::Owner.into(), ..named.clone() };
    refused(send!(admin.users(), update_user, UpdateUserRequest { user: to_owner }), Code::PermissionDenied);
    refused(send!(admin.users(), suspend_user, SuspendUserRequest { name: &*acme.owner_name }), Code::PermissionDenied);
    // `*` replaces all: what is empty becomes so, and the role the least.
    let bare = change(named.clone(), &["*"]).await.unwrap().user.unwrap();
    assert_eq!((bare.role(), &*bare.email, &*bare.given_name), (UserRole::Member, "", ""));
    // The email is free again once its user has another or is gone.
    let second = add(owner, "", "ada@example.com", UserRole::Member).await.unwrap().user.unwrap();
    send!(owner.users(), delete_user, DeleteUserRequest { name: &*second.name }).unwrap();
    add(owner, "", "ada@example.com", UserRole::Member).await.unwrap();

    let find = async |filter: &str, show_deleted: bool| {
        let request =
            ListUsersRequest { parent: "tenants/-".into(), filter: filter.into(), show_deleted, ..Default::default() };
        let found = owner.users().list_users(request).await.unwrap().into_inner().users;
        found.into_iter().map(|user| user.name).collect::<Vec<_>>()
    };
    assert_eq!(find("role = OWNER", false).await, std::slice::from_ref(&acme.owner_name));
    assert_eq!(find("email = owner@acme.example", false).await, std::slice::from_ref(&acme.owner_name));
    assert_eq!(find("state = DELETED", true).await, std::slice::from_ref(&second.name));
    assert_eq!(find("state = USER_STATE_DELETED", false).await, [""; 0]);
    refused(send!(other.owner.users(), get_user, GetUserRequest { name: &*ada.name }), Code::NotFound);
}

#[tokio::test]
async fn a_suspended_or_deleted_user_takes_its_keys_along() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let made = add(&acme.owner, "ada", "ada@example.com", UserRole::Member).await.unwrap();
    let name = made.user.unwrap().name;
    let issued = acme.owner.key(&name).issued().await;
    let both = [&made.master_credential, &issued.credential];
    let suspended = send!(acme.owner.users(), suspend_user, SuspendUserRequest { name: &*name }).unwrap();
    assert_eq!(suspended.user.as_ref().unwrap().state(), UserState::Suspended);
    for credential in both {
        server.check(credential).denied(&[Reason::OwnerSuspended]).await;
        let caller = server.bearer(credential);
        let refusal = refused(send!(caller.users(), get_user, GetUserRequest { name: &*name }), Code::Unauthenticated);
        assert!(refusal.message.contains("OWNER_SUSPENDED"), "{refusal:?}");
    }
    let again = send!(acme.owner.users(), suspend_user, SuspendUserRequest { name: &*name }).unwrap();
    assert_eq!((again.user, again.revision), (suspended.user, suspended.revision));
    server.restart().await;
    let owner = server.bearer(&acme.made.master_credential);
    server.check(&issued.credential).denied(&[Reason::OwnerSuspended]).await;
    send!(owner.users(), activate_user, ActivateUserRequest { name: &*name }).unwrap();
    for credential in both {
        server.check(credential).allowed().await;
    }

    let deleted = send!(owner.users(), delete_user, DeleteUserRequest { name: &*name }).unwrap();
    assert_eq!(get_user(&owner, &name).await.state(), UserState::Deleted);
    let again = send!(owner.users(), delete_user, DeleteUserRequest { name: &*name }).unwrap();
    assert_eq!((again.user, again.revision), (deleted.user, deleted.revision));
    for credential in both {
        server.check(credential).denied(&[Reason::Deleted]).await;
    }
    for refusal in [
        send!(owner.users(), activate_user, ActivateUserRequest { name: &*name }).err(),
        send!(owner.users(), suspend_user, SuspendUserRequest { name: &*name }).err(),
        send!(owner.users(), rotate_master_key, RotateMasterKeyRequest { name: &*name }).err(),
        owner.key(&name).tried().await.err(),
    ] {
        refused(Err::<(), _>(refusal.expect("a deleted user is gone")), Code::FailedPrecondition);
    }
    refused(add(&owner, "ada", "", UserRole::Member).await, Code::AlreadyExists);
    server.pass(400 * DAY);
    refused(add(&owner, "ada", "", UserRole::Member).await, Code::AlreadyExists);
}

#[tokio::test]
async fn a_tenant_keeps_an_owner_who_can_act() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let root = server.root();
    let name = &*acme.owner_name;
    let demoted = || User { name: name.to_owned(), role: UserRole::Admin.into(), ..User::default() };
    for client in [&acme.owner, &root] {
        for refusal in [
            send!(client.users(), suspend_user, SuspendUserRequest { name: name }).err(),
            send!(client.users(), delete_user, DeleteUserRequest { name: name }).err(),
            send!(client.users(), update_user, UpdateUserRequest { user: demoted() }).err(),
        ] {
            let refusal = refused(Err::<(), _>(refusal.expect("the last owner stays")), Code::FailedPrecondition);
            assert!(refusal.message.contains("last owner"), "{refusal:?}");
        }
    }
    // A suspended owner cannot act, so the other one is the last.
    let second = add(&acme.owner, "second", "", UserRole::Owner).await.unwrap().user.unwrap();
    send!(root.users(), suspend_user, SuspendUserRequest { name: &*second.name }).unwrap();
    refused(send!(root.users(), delete_user, DeleteUserRequest { name: name }), Code::FailedPrecondition);
    send!(root.users(), activate_user, ActivateUserRequest { name: &*second.name }).unwrap();
    send!(root.users(), update_user, UpdateUserRequest { user: demoted() }).unwrap();
    refused(send!(root.users(), delete_user, DeleteUserRequest { name: &*second.name }), Code::FailedPrecondition);
    send!(root.users(), delete_user, DeleteUserRequest { name: name }).unwrap();
    // What root makes in the tenant now is the second owner's.
    assert_eq!(root.key(&acme.name).issued().await.key.unwrap().owner, second.name);
}

#[tokio::test]
async fn a_master_key_is_rotated_by_its_users_name() {
    const ID: &str = "7f2c1d86-3a0f-4f0e-9d9b-0a3c0e6a1b22";
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let made = add(&acme.owner, "ada", "", UserRole::Member).await.unwrap();
    let name = made.user.unwrap().name;
    let rotate = |client: &Client, request_id: &str| {
        let (client, name, request_id) = (client.clone(), name.clone(), request_id.to_owned());
        async move {
            send!(client.users(), rotate_master_key, RotateMasterKeyRequest { name: name, request_id: request_id })
        }
    };
    let first = rotate(&acme.owner, ID).await.unwrap();
    assert_eq!(first.master_key.as_ref().unwrap().name, made.master_key.unwrap().name, "the key is the same");
    server.check(&made.master_credential).denied(&[Reason::RotatedOut]).await;
    server.check(&first.master_credential).allowed().await;
    let again = rotate(&acme.owner, ID).await.unwrap();
    assert_eq!((again.revision, &*again.master_credential), (first.revision, ""));
    // A member rotates its own, and is admitted by the new one from then on.
    let ada = server.bearer(&first.master_credential);
    let second = rotate(&ada, "").await.unwrap();
    refused(rotate(&ada, "").await, Code::Unauthenticated);
    rotate(&server.bearer(&second.master_credential), "").await.unwrap();
    let nobody = RotateMasterKeyRequest { name: "tenants/-/users/nobody".into(), ..Default::default() };
    refused(acme.owner.users().rotate_master_key(nobody).await, Code::NotFound);
    let owners = RotateMasterKeyRequest { name: acme.owner_name.clone(), etag: "stale".into(), ..Default::default() };
    refused(acme.owner.users().rotate_master_key(owners).await, Code::Aborted);
}
