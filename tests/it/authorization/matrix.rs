//! Every RPC of the descriptor set times every kind of caller, with the exact code of each cell.

use super::raw;
use crate::harness::{Client, TestServer, TestTenant, resources};
use keyward::proto::v1::*;
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Where an RPC is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// A key made for the cell, owned by a user of a certain role.
    Key,
    /// Such a key, deleted.
    DeletedKey,
    /// An access token of such a key.
    Token,
    /// An application made for the cell, owned by a user of a certain role.
    Application,
    /// Such an application, verified.
    VerifiedApplication,
    /// A user made for the cell, of a certain role.
    User,
    /// The tenant, which the RPC leaves usable.
    Tenant,
    /// A tenant made for the cell.
    DoomedTenant,
}

/// What one row expects.
enum Row {
    /// `grant`: the resource (`$id` being the target's id) that a regular key needs with the method's leading verb, or
    /// resource and action. `cells`: a letter for each of [`KNOWN`]: `Y` OK, `D` PERMISSION_DENIED, `N` NOT_FOUND, `Q` OK without being
    /// told anything.
    Asks { target: Target, grant: &'static str, request: &'static str, cells: &'static str },
    /// Open to everybody, good credential or not.
    Open { request: &'static str },
    /// Open to everybody with a proof of its own in the request; without a good one it is this code to everybody.
    Proof { request: &'static str, code: Code },
}

/// Callers who are admitted, in the order of the cells; what each of them is tried on is in [`whose`].
const KNOWN: [&str; 13] = [
    "root",
    "an owner, on another owner's",
    "an admin, on a member's",
    "an admin, on an owner's",
    "a member, on its own",
    "a member, on another member's",
    "a member, on an owner's",
    "a regular key with exactly the grant needed",
    "a regular key with another action",
    "a regular key with another id",
    "a regular key with another collection",
    "the default public key",
    "another tenant's owner",
];

const fn asks(target: Target, grant: &'static str, request: &'static str, cells: &'static str) -> Row {
    Row::Asks { target, grant, request, cells }
}

/// `$name`, `$id`, `$owner`, `$credential`, `$role` are the target's, `$tenant` is where it is, `$fresh` is a new id.
fn row(method: &str) -> Option<Row> {
    use Row::{Open, Proof};
    use Target::{Application, DeletedKey, DoomedTenant, Key, Tenant, Token, User, VerifiedApplication};
    const CHECK: &str = "keyward/check use";
    const APPLICATION: &str = "keyward/applications/$id";
    const APPLICATIONS: &str = "keyward/applications/*";
    const KEY: &str = "keyward/keys/$id";
    const KEYS: &str = "keyward/keys/*";
    const TENANT: &str = "keyward/tenants/$id";
    const TOKEN: &str = "keyward/tokens/$id";
    const USER: &str = "keyward/users/$id";
    const USERS: &str = "keyward/users/*";
    const NAME: &str = r#"{"name": "$name"}"#;
    // The columns:                           root, owner, admin 2, member 3 | exact, narrower 3, public | other tenant
    Some(match method {
        "CheckService/Check" => {
            asks(Key, CHECK, r#"{"credential": "$credential", "tenant": "$tenant"}"#, "YYYYDDDYDDDDN")
        }
        "CheckService/BatchCheck" => {
            asks(Key, CHECK, r#"{"checks": [{"credential": "$credential", "tenant": "$tenant"}]}"#, "YYYYDDDYDDDDN")
        }
        "CheckService/StreamCheck" => {
            asks(Key, CHECK, r#"{"check": {"credential": "$credential", "tenant": "$tenant"}}"#, "YYYYDDDYDDDDN")
        }
        "KeyService/CreateKey" => asks(Key, KEYS, r#"{"parent": "$owner", "key": {}}"#, "YYYDYDDYDDDDN"),
        "KeyService/GetKey" => asks(Key, KEY, NAME, "YYYYYDDYDDDDN"),
        "KeyService/ListKeys" => asks(Key, KEYS, r#"{"parent": "$owner"}"#, "YYYYYDDYDDDDN"),
        "KeyService/UpdateKey" => {
            asks(Key, KEY, r#"{"key": {"name": "$name", "description": "another"}}"#, "YYYDYDDYDDDDN")
        }
        "KeyService/RotateKey" => asks(Key, KEY, NAME, "YYYDYDDYDDDDN"),
        "KeyService/FinishKeyRotation" => asks(Key, KEY, NAME, "YYYDYDDYDDDDN"),
        "KeyService/GenerateSecretKey" => asks(Key, KEY, NAME, "YYYDYDDYDDDDN"),
        "KeyService/SuspendKey" => asks(Key, KEY, NAME, "YYYDYDDYDDDDN"),
        "KeyService/ActivateKey" => asks(Key, KEY, NAME, "YYYDYDDYDDDDN"),
        "KeyService/RevokeKey" => asks(Key, KEY, NAME, "YYYDYDDYDDDDN"),
        "KeyService/DeleteKey" => asks(Key, KEY, NAME, "YYYDYDDYDDDDN"),
        "KeyService/UndeleteKey" => asks(DeletedKey, KEY, NAME, "YYYDYDDYDDDDN"),
        "KeyService/LookupKey" => asks(Key, KEY, r#"{"credential": "$credential"}"#, "YYYYYDDYDDDDN"),
        "KeyService/GetKeyUsage" => asks(Key, KEY, NAME, "YYYYYDDYDDDDN"),
        "KeyService/RevokeCredentials" => Open { request: r#"{"credentials": ["nobody's"]}"# },
        "KeyService/ImportKeys" => {
            let request = r#"{"parent": "$owner", "sequence": 1, "entries": [{"key": {}, "credential": "a key of old: $fresh"}]}"#;
            asks(Key, KEYS, request, "YYYDYDDYDDDDN")
        }
        "TenantService/CreateTenant" => {
            let request = r#"{"tenantId": "$fresh", "owner": {"email": "ada@example.com"}}"#;
            asks(Tenant, "keyward/tenants/*", request, "YDDDDDDDDDDDD")
        }
        "TenantService/GetTenant" => asks(Tenant, TENANT, NAME, "YYYYDDDYDDDDN"),
        "TenantService/ListTenants" => asks(Tenant, "keyward/tenants/*", "{}", "YYYYDDDYDDDDY"),
        "TenantService/UpdateTenant" => {
            asks(Tenant, TENANT, r#"{"tenant": {"name": "$name", "displayName": "$fresh"}}"#, "YYYYDDDYDDDDN")
        }
        "TenantService/SuspendTenant" => asks(DoomedTenant, TENANT, NAME, "YYYYDDDYDDDDN"),
        // Whoever activates a tenant brings back its owners, so that it takes one.
        "TenantService/ActivateTenant" => asks(DoomedTenant, TENANT, NAME, "YYDDDDDDDDDDN"),
        "TenantService/DeleteTenant" => asks(DoomedTenant, TENANT, NAME, "YYYYDDDYDDDDN"),
        "UserService/CreateUser" => {
            let request = r#"{"parent": "$tenant", "user": {"email": "$fresh@example.com", "role": "$role"}}"#;
            asks(User, USERS, request, "YYYDDDDDDDDDN")
        }
        "UserService/GetUser" => asks(User, USER, NAME, "YYYYYDDYDDDDN"),
        "UserService/ListUsers" => asks(User, USERS, r#"{"parent": "$tenant"}"#, "YYYYDDDYDDDDN"),
        "UserService/UpdateUser" => {
            asks(User, USER, r#"{"user": {"name": "$name", "givenName": "Ada"}}"#, "YYYDYDDYDDDDN")
        }
        // Whoever sets a password can do all that its user can.
        "UserService/SetPassword" => {
            asks(User, USER, r#"{"name": "$name", "password": "correct horse"}"#, "YYYDYDDDDDDDN")
        }
        "UserService/SuspendUser" => asks(User, USER, NAME, "YYYDYDDYDDDDN"),
        // No grant makes a regular key hold what a master key does.
        "UserService/ActivateUser" => asks(User, USER, NAME, "YYYDYDDDDDDDN"),
        "UserService/DeleteUser" => asks(User, USER, NAME, "YYYDYDDYDDDDN"),
        "UserService/RotateMasterKey" => asks(User, USER, NAME, "YYYDYDDDDDDDN"),
        "EventService/ListEvents" => asks(Tenant, "keyward/events/*", r#"{"parent": "$tenant"}"#, "YYYYDDDYDDDDN"),
        "EventService/WatchEvents" => asks(Tenant, "keyward/events/*", r#"{"parent": "$tenant"}"#, "YYYYDDDYDDDDN"),
        "TokenService/CreateToken" => Proof { request: r#"{"key": "nobody's"}"#, code: Code::Unauthenticated },
        // Whoever may not see a token is told that it is inactive.
        "TokenService/IntrospectToken" => asks(Token, TOKEN, r#"{"token": "$credential"}"#, "YYYYYQQYQQQQQ"),
        // Another tenant's is unknown, and an unknown one is ended already.
        "TokenService/RevokeToken" => asks(Token, TOKEN, r#"{"token": "$credential"}"#, "YYYDYDDYDDDDY"),
        "TokenService/GetJwks" => Open { request: "{}" },
        "TokenService/CreateSession" => {
            let request = r#"{"email": "$fresh@example.com", "password": "correct horse"}"#;
            Proof { request, code: Code::Unauthenticated }
        }
        "TokenService/ListSessions" => asks(Key, "keyward/sessions/*", r#"{"parent": "$owner"}"#, "YYYYYDDYDDDDN"),
        "ApplicationService/CreateApplication" => {
            let request = r#"{"parent": "$owner", "application": {"contactEmail": "$fresh@example.com"}}"#;
            asks(Application, APPLICATIONS, request, "YYYDYDDYDDDDN")
        }
        "ApplicationService/VerifyApplication" => {
            Proof { request: r#"{"name": "$name", "verificationToken": "nobody's"}"#, code: Code::Unauthenticated }
        }
        "ApplicationService/ResendVerification" => asks(Application, APPLICATION, NAME, "YYYDYDDYDDDDN"),
        "ApplicationService/GetApplication" => asks(Application, APPLICATION, NAME, "YYYYYDDYDDDDN"),
        "ApplicationService/ListApplications" => {
            asks(Application, APPLICATIONS, r#"{"parent": "$owner"}"#, "YYYYYDDYDDDDN")
        }
        "ApplicationService/UpdateApplication" => {
            let request = r#"{"application": {"name": "$name", "description": "another"}}"#;
            asks(Application, APPLICATION, request, "YYYDYDDYDDDDN")
        }
        "ApplicationService/RotateApplicationSecret" => asks(VerifiedApplication, APPLICATION, NAME, "YYYDYDDYDDDDN"),
        "ApplicationService/RevokeApplication" => asks(Application, APPLICATION, NAME, "YYYDYDDYDDDDN"),
        "ApplicationService/ActivateApplication" => asks(Application, APPLICATION, NAME, "YYYDYDDYDDDDN"),
        "ApplicationService/DeleteApplication" => asks(Application, APPLICATION, NAME, "YYYDYDDYDDDDN"),
        "AdminService/ListReplicas" | "AdminService/GetStatus" | "AdminService/Diagnose" => {
            asks(Tenant, "keyward/keys/*", "{}", "YDDDDDDDDDDDD")
        }
        _ => return None,
    })
}

/// What a caller sends.
#[derive(Clone, Debug, Default)]
struct Shown(Vec<(&'static str, String)>);

impl Shown {
    fn bearer(credential: &str) -> Self {
        Self(vec![("authorization", format!("Bearer {credential}"))])
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((name, value.to_owned()));
        self
    }

    fn metadata(&self) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for (name, value) in &self.0 {
            metadata.append(*name, value.parse().unwrap());
        }
        metadata
    }
}

/// A tenant with users of every role.
struct World {
    tenant: TestTenant,
    admin: (String, String),
    member: (String, String),
    other_member: String,
    other_owner: String,
}

async fn user(tenant: &TestTenant, role: UserRole) -> (String, String) {
    let user = Some(User { email: format!("{}@example.com", fresh()), role: role.into(), ..User::default() });
    let request = CreateUserRequest { parent: tenant.name.clone(), user, ..Default::default() };
    let made = tenant.owner.users().create_user(request).await.unwrap().into_inner();
    (made.user.unwrap().name, made.master_credential)
}

/// An id that nothing has yet.
fn fresh() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("fresh-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

impl World {
    async fn new(server: &TestServer) -> Self {
        let tenant = server.tenant(&fresh()).await;
        let admin = user(&tenant, UserRole::Admin).await;
        let member = user(&tenant, UserRole::Member).await;
        let (other_member, _) = user(&tenant, UserRole::Member).await;
        let (other_owner, _) = user(&tenant, UserRole::Owner).await;
        Self { tenant, admin, member, other_member, other_owner }
    }

    /// A regular key of the admin.
    async fn regular(&self, resource: &str, action: &str) -> String {
        self.tenant.owner.key(&self.admin.0).may(resource, action).issued().await.credential
    }
}

/// What an RPC is tried on.
#[derive(Clone)]
struct Thing {
    name: String,
    owner: String,
    credential: String,
    role: UserRole,
}

impl Thing {
    fn id(&self) -> &str {
        self.name.rsplit('/').next().unwrap()
    }

    fn fill(&self, template: &str, tenant: &str) -> String {
        template
            .replace("$name", &self.name)
            .replace("$id", self.id())
            .replace("$owner", &self.owner)
            .replace("$credential", &self.credential)
            .replace("$role", self.role.as_str_name())
            .replace("$tenant", tenant)
            .replace("$fresh", &fresh())
    }
}

/// The role of the user whose thing the caller of a column is tried on, and that user.
fn whose(column: usize, world: &World) -> (UserRole, &str) {
    match column {
        1 => (UserRole::Owner, &world.other_owner),
        3 | 6 => (UserRole::Owner, &world.tenant.owner_name),
        4 => (UserRole::Member, &world.member.0),
        _ => (UserRole::Member, &world.other_member),
    }
}

async fn thing(target: Target, column: usize, world: &World, server: &TestServer) -> Thing {
    let (role, owner) = whose(column, world);
    let owner = owner.to_owned();
    match target {
        Target::Key | Target::DeletedKey => {
            let made = world.tenant.owner.key(&owner).issued().await;
            let name = made.key.unwrap().name;
            if target == Target::DeletedKey {
                let request = DeleteKeyRequest { name: name.clone(), ..Default::default() };
                world.tenant.owner.keys().delete_key(request).await.unwrap();
            }
            Thing { name, owner, credential: made.credential, role }
        }
        Target::Token => {
            let key = world.tenant.owner.key(&owner).issued().await.credential;
            let request = CreateTokenRequest { key, ..Default::default() };
            let made = world.tenant.owner.tokens().create_token(request).await.unwrap().into_inner();
            Thing { name: made.access_token.unwrap().name, owner, credential: made.token, role }
        }
        Target::Application | Target::VerifiedApplication => {
            // One of its own: not so many mails go to one.
            let contact_email = format!("{}@example.com", fresh());
            let application = Application { contact_email, ..Application::default() };
            let request = CreateApplicationRequest {
                parent: owner.clone(),
                application: Some(application),
                ..Default::default()
            };
            let made = world.tenant.owner.applications().create_application(request).await.unwrap().into_inner();
            let name = made.application.unwrap().name;
            let mut credential = String::new();
            if target == Target::VerifiedApplication {
                credential = server.verified(&name).await;
            }
            Thing { name, owner, credential, role }
        }
        Target::User => {
            let (name, credential) = user(&world.tenant, role).await;
            Thing { owner: name.clone(), name, credential, role }
        }
        Target::Tenant | Target::DoomedTenant => {
            Thing { name: world.tenant.name.clone(), owner, credential: String::new(), role }
        }
    }
}

/// The resource and the action that a regular key needs.
fn needed(grant: &str, method: &str, thing: &Thing) -> (String, String) {
    match grant.split_once(' ') {
        Some((resource, action)) => (resource.to_owned(), action.to_owned()),
        None => (grant.replace("$id", thing.id()), raw::verb(method)),
    }
}

/// What the caller of a column shows, for a try on `thing`.
async fn shown(column: usize, grant: &str, method: &str, thing: &Thing, world: &World, server: &TestServer) -> Shown {
    let (resource, action) = needed(grant, method, thing);
    let elsewhere =
        resource.replace("keyward/events/", "keyward/sessions/").replace("keyward/keys/", "keyward/events/");
    let elsewhere = elsewhere.replace("keyward/tenants/", "keyward/keys/").replace("keyward/users/", "keyward/keys/");
    let elsewhere = elsewhere.replace("keyward/tokens/", "keyward/keys/");
    let elsewhere = elsewhere.replace("keyward/applications/", "keyward/keys/");
    let credential = match column {
        0 => server.root.clone(),
        1 => world.tenant.made.master_credential.clone(),
        2 | 3 => world.admin.1.clone(),
        4 if thing.name.contains("/users/") => thing.credential.clone(),
        4..=6 => world.member.1.clone(),
        7 => world.regular(&resource, &action).await,
        8 => world.regular(&resource, "other").await,
        9 => world.regular(&format!("{}/another", resource.rsplit_once('/').unwrap().0), &action).await,
        10 if elsewhere == resource => world.regular("keyward/keys/*", &action).await,
        10 => world.regular(&elsewhere, &action).await,
        11 => world.tenant.made.default_public_credential.clone(),
        _ => server.tenant(&fresh()).await.made.master_credential,
    };
    Shown::bearer(&credential)
}

/// Callers who are nobody to Keyward, although all of them but for one thing could do everything.
async fn refused(server: &mut TestServer, world: &World) -> Vec<(&'static str, Shown)> {
    let owner = &world.tenant.owner;
    let all = |client: &Client| client.key("tenants/-").may("**", "*");
    let name = |made: &CreateKeyResponse| made.key.as_ref().unwrap().name.clone();

    let expired = all(owner).with(|key| key.expire_time = Some(soon())).issued().await;
    let early = all(owner)
        .with(|key| key.not_before_time = Some(prost_types::Timestamp { seconds: 100_000_000_000, nanos: 0 }))
        .issued()
        .await;
    let elsewhere = all(owner).with(|key| key.allowed_ips = vec!["192.0.2.0/24".into()]).issued().await;
    let paged = all(owner).with(|key| key.allowed_referrers = vec!["example.com/*".into()]).issued().await;
    let (revoked, suspended, deleted) =
        (all(owner).issued().await, all(owner).issued().await, all(owner).issued().await);
    let (rotated, second) = (all(owner).issued().await, all(owner).issued().await);
    let (suspended_owner, suspended_master) = user(&world.tenant, UserRole::Owner).await;
    let of_suspended = owner.key(&suspended_owner).may("**", "*").issued().await.credential;
    let (deleted_owner, deleted_master) = user(&world.tenant, UserRole::Owner).await;
    let of_deleted = owner.key(&deleted_owner).may("**", "*").issued().await.credential;
    let (closed, gone) = (server.tenant(&fresh()).await, server.tenant(&fresh()).await);

    let usable = [&expired, &revoked, &suspended, &deleted, &rotated, &second].map(|made| &made.credential);
    for credential in usable.into_iter().chain([&suspended_master, &of_suspended, &deleted_master, &of_deleted]) {
        raw::call(&server.admin, "TenantService/ListTenants", Vec::new(), Shown::bearer(credential).metadata())
            .await
            .unwrap();
    }

    let mut keys = owner.keys();
    keys.revoke_key(RevokeKeyRequest { name: name(&revoked), ..Default::default() }).await.unwrap();
    keys.suspend_key(SuspendKeyRequest { name: name(&suspended), ..Default::default() }).await.unwrap();
    keys.delete_key(DeleteKeyRequest { name: name(&deleted), ..Default::default() }).await.unwrap();
    keys.rotate_key(RotateKeyRequest { name: name(&rotated), ..Default::default() }).await.unwrap();
    let request = GenerateSecretKeyRequest { name: name(&second), ..Default::default() };
    let secret_key = keys.generate_secret_key(request).await.unwrap().into_inner().secret_key;
    let with_second = Shown::bearer(&second.credential).with("x-secret-key", &secret_key);
    raw::call(&server.admin, "TenantService/ListTenants", Vec::new(), with_second.metadata()).await.unwrap();
    let request = SuspendUserRequest { name: suspended_owner, ..Default::default() };
    owner.users().suspend_user(request).await.unwrap();
    owner.users().delete_user(DeleteUserRequest { name: deleted_owner, ..Default::default() }).await.unwrap();
    let mut tenants = server.root().tenants();
    tenants.suspend_tenant(SuspendTenantRequest { name: closed.name, ..Default::default() }).await.unwrap();
    tenants.delete_tenant(DeleteTenantRequest { name: gone.name, ..Default::default() }).await.unwrap();
    server.clock.advance(Duration::from_secs(3600));

    let good = &world.tenant.made.master_credential;
    let mut broken = good.clone();
    let last = broken.pop().unwrap();
    broken.push(if last == 'a' { 'b' } else { 'a' });
    let of_nobody = TestServer::start().await.root.clone();
    vec![
        ("nobody", Shown::default()),
        ("an empty credential", Shown::bearer("")),
        ("a malformed credential", Shown::bearer(&broken)),
        ("a credential of another form", Shown::bearer("hello")),
        ("an unknown credential", Shown::bearer(&of_nobody)),
        ("another scheme", Shown::default().with("authorization", &format!("Basic {good}"))),
        ("an expired key", Shown::bearer(&expired.credential)),
        ("a key not valid yet", Shown::bearer(&early.credential)),
        ("a revoked key", Shown::bearer(&revoked.credential)),
        ("a suspended key", Shown::bearer(&suspended.credential)),
        ("a deleted key", Shown::bearer(&deleted.credential)),
        ("a secret rotated out", Shown::bearer(&rotated.credential)),
        ("a key of a suspended user", Shown::bearer(&of_suspended)),
        ("the master key of a suspended user", Shown::bearer(&suspended_master)),
        ("a key of a deleted user", Shown::bearer(&of_deleted)),
        ("the master key of a deleted user", Shown::bearer(&deleted_master)),
        ("the owner of a suspended tenant", Shown::bearer(&closed.made.master_credential)),
        ("the owner of a deleted tenant", Shown::bearer(&gone.made.master_credential)),
        ("a key without its second secret", Shown::bearer(&second.credential)),
        ("a key with a wrong second secret", Shown::bearer(&second.credential).with("x-secret-key", "wrong")),
        ("a key with two second secrets", with_second.clone().with("x-secret-key", &secret_key)),
        ("a key from an address not allowed", Shown::bearer(&elsewhere.credential)),
        ("a key of other pages", Shown::bearer(&paged.credential)),
        ("two credentials", Shown::bearer(good).with("x-api-key", good)),
        ("the same credential twice", Shown::bearer(good).with("authorization", &format!("Bearer {good}"))),
        ("two API keys", Shown::default().with("x-api-key", good).with("x-api-key", good)),
    ]
}

fn soon() -> prost_types::Timestamp {
    (std::time::UNIX_EPOCH
        + Duration::from_micros(keyward::clock::Clock::default().now().micros().unsigned_abs())
        + Duration::from_secs(1800))
    .into()
}

/// Notes what is wrong with the answer of one cell.
fn judge(faults: &mut Vec<String>, cell: &str, result: &Result<(), Status>, expected: Code) {
    let (code, has_info) = match result {
        Ok(()) => (Code::Ok, true),
        Err(status) => {
            let details = status.get_error_details();
            let is_ours =
                details.error_info().is_some_and(|info| info.domain == "keyward.v1" && !info.reason.is_empty());
            (status.code(), is_ours)
        }
    };
    if code != expected {
        faults.push(format!("{cell}: {code:?} instead of {expected:?} ({result:?})"));
    } else if !has_info {
        faults.push(format!("{cell}: {code:?} without ErrorInfo"));
    }
}

#[tokio::test]
async fn every_rpc_answers_every_kind_of_caller_as_it_must() {
    let mut server = TestServer::start().await;
    let world = World::new(&server).await;
    let strangers = refused(&mut server, &world).await;
    let revision = async |server: &TestServer| server.check("").asked().await.revision;
    let mut faults = Vec::new();
    let (mut methods, mut cells) = (0_u32, 0_u32);
    for method in &raw::methods() {
        let Some(row) = row(method) else {
            faults.push(format!("{method} has no row: say who may call it"));
            continue;
        };
        let (target, request, for_strangers) = match row {
            Row::Asks { target, request, .. } => (target, request, Code::Unauthenticated),
            Row::Open { request } => (Target::Tenant, request, Code::Ok),
            Row::Proof { request, code } => (Target::Tenant, request, code),
        };
        methods += 1;
        let at = thing(target, 2, &world, &server).await;
        let before = revision(&server).await;
        for (stranger, shown) in &strangers {
            let request = raw::encoded(method, &at.fill(request, &world.tenant.name));
            let result = raw::call(&server.admin, method, request, shown.metadata()).await;
            judge(&mut faults, &format!("{method} by {stranger}"), &result, for_strangers);
            cells += 1;
        }
        if revision(&server).await != before {
            faults.push(format!("{method} by a stranger changed something"));
        }
        for (column, caller) in KNOWN.iter().enumerate() {
            let own_world = if target == Target::DoomedTenant { Some(World::new(&server).await) } else { None };
            let world = own_world.as_ref().unwrap_or(&world);
            let thing = thing(target, column, world, &server).await;
            let (grant, expected) = match &row {
                Row::Asks { grant, cells, .. } => {
                    assert_eq!(cells.len(), KNOWN.len(), "{method}");
                    let expected = match cells.as_bytes()[column] {
                        b'Y' | b'Q' => Code::Ok,
                        b'D' => Code::PermissionDenied,
                        b'N' => Code::NotFound,
                        other => panic!("{method}: {}", char::from(other)),
                    };
                    (*grant, expected)
                }
                Row::Open { .. } | Row::Proof { .. } => ("keyward/keys/*", for_strangers),
            };
            let shown = shown(column, grant, method, &thing, world, &server).await;
            let request = raw::encoded(method, &thing.fill(request, &world.tenant.name));
            if method == "ApplicationService/ResendVerification" {
                server.pass(60);
            }
            let before = revision(&server).await;
            let result = raw::call(&server.admin, method, request, shown.metadata()).await;
            judge(&mut faults, &format!("{method} by {caller}"), &result, expected);
            if result.is_err() && revision(&server).await != before {
                faults.push(format!("{method} by {caller} was refused and changed something"));
            }
            cells += 1;
        }
    }
    assert!(faults.is_empty(), "{} of {cells} cells:\n{}", faults.len(), faults.join("\n"));
    assert_eq!((methods, cells), (56, 56 * (26 + 13)));
}

#[test]
fn every_row_is_of_an_rpc() {
    let methods: BTreeSet<String> = raw::methods().into_iter().collect();
    assert_eq!(methods.len(), 56);
    assert!(row("KeyService/NoSuch").is_none());
}

/// For one thing, Check answers of `keyward/{collection}/{id}` what the RPC would answer.
#[tokio::test]
async fn check_says_of_keyward_itself_what_the_rpc_would() {
    let server = TestServer::start().await;
    let world = World::new(&server).await;
    let mut faults = Vec::new();
    let mut compared = 0_u32;
    for method in &raw::methods() {
        let Some(Row::Asks { target, grant, cells, .. }) = row(method) else { continue };
        // What is listed or made has no id to ask about; conferring, which the grants alone do not decide, is not asked
        // here either.
        let is_conferring = [
            "UserService/ActivateUser",
            "UserService/RotateMasterKey",
            "UserService/SetPassword",
            "TenantService/ActivateTenant",
        ];
        if grant.ends_with('*') || is_conferring.contains(&method.as_str()) {
            continue;
        }
        for (column, caller) in KNOWN.iter().enumerate() {
            let thing = thing(target, column, &world, &server).await;
            let shown = shown(column, grant, method, &thing, &world, &server).await;
            let (resource, action) = needed(grant, method, &thing);
            // Another tenant's owner holds `keyward/check`, and the ids of keys and users say nothing of a tenant.
            if column == 12 && target != Target::Tenant && target != Target::DoomedTenant {
                continue;
            }
            let credential = shown.0[0].1.trim_start_matches("Bearer ");
            let answer = server.check(credential).may(&resource, &action).asked().await;
            let may = cells.as_bytes()[column] == b'Y';
            if (answer.decision() == Decision::Allowed) != may {
                faults.push(format!("{action} on {resource} by {caller}: {answer:?}"));
            }
            compared += 1;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(compared > 200, "{compared}");
}

#[tokio::test]
async fn whoever_may_not_learn_what_is_there_learns_nothing() {
    let server = TestServer::start().await;
    let world = World::new(&server).await;
    let granted = world.tenant.owner.key("tenants/-").grant(resources("keyward/keys/one", &["get"])).issued().await;
    let client = server.bearer(&granted.credential);
    let code = async |client: &Client, name: &str| {
        let request = GetKeyRequest { name: name.to_owned(), ..Default::default() };
        client.keys().get_key(request).await.err().map(|status| status.code())
    };
    let tenant = &world.tenant.name;
    // Held and not there; not held, there or not; not even an id; another tenant's, and none.
    assert_eq!(code(&client, &format!("{tenant}/keys/one")).await, Some(Code::NotFound));
    for there in [granted.key.unwrap().name, format!("{tenant}/keys/two"), format!("{tenant}/keys/!!")] {
        assert_eq!(code(&client, &there).await, Some(Code::PermissionDenied), "{there}");
    }
    for elsewhere in ["tenants/elsewhere/keys/one", "tenants/!!/keys/one"] {
        assert_eq!(code(&client, elsewhere).await, Some(Code::NotFound), "{elsewhere}");
        assert_eq!(code(&world.tenant.owner, elsewhere).await, Some(Code::NotFound), "{elsewhere}");
    }
    for odd in ["", "keys/one", "tenants/a/keys", "tenants/a/users/b"] {
        assert_eq!(code(&client, odd).await, Some(Code::PermissionDenied), "{odd}");
        assert_eq!(code(&world.tenant.owner, odd).await, Some(Code::InvalidArgument), "{odd}");
        assert_eq!(code(&server.root(), odd).await, Some(Code::InvalidArgument), "{odd}");
    }
    let member = server.bearer(&world.member.1);
    for gone in ["one", "!!"] {
        for client in [&member, &world.tenant.owner, &server.root()] {
            assert_eq!(code(client, &format!("{tenant}/keys/{gone}")).await, Some(Code::NotFound), "{gone}");
        }
    }
}

#[tokio::test]
async fn a_hyphen_is_the_callers_own_tenant_and_root_has_none() {
    let server = TestServer::start().await;
    let world = World::new(&server).await;
    let metadata = |credential: &str| Shown::bearer(credential).metadata();
    let (owner, id) = (&world.tenant.made.master_credential, world.tenant.owner_name.rsplit('/').next().unwrap());
    let key = world.tenant.owner.key("tenants/-").issued().await.key.unwrap();
    assert!(key.name.starts_with(&world.tenant.name), "{}", key.name);
    let key = key.name.rsplit('/').next().unwrap().to_owned();
    let application = Some(Application { contact_email: "a@example.com".to_owned(), ..Application::default() });
    let request = CreateApplicationRequest { parent: "tenants/-".to_owned(), application, ..Default::default() };
    let made = world.tenant.owner.applications().create_application(request).await.unwrap().into_inner();
    let application = made.application.unwrap().name.rsplit('/').next().unwrap().to_owned();
    // Another mail about it may be asked for only then.
    server.pass(60);
    let fill = |request: &str| request.replace("$user", id).replace("$key", &key).replace("$application", &application);
    for (method, request) in [
        ("KeyService/CreateKey", r#"{"parent": "tenants/-", "key": {}}"#),
        ("KeyService/CreateKey", r#"{"parent": "tenants/-/users/$user", "key": {}}"#),
        ("KeyService/ListKeys", r#"{"parent": "tenants/-"}"#),
        ("KeyService/GetKey", r#"{"name": "tenants/-/keys/$key"}"#),
        ("KeyService/UpdateKey", r#"{"key": {"name": "tenants/-/keys/$key", "description": "another"}}"#),
        ("KeyService/RotateKey", r#"{"name": "tenants/-/keys/$key"}"#),
        ("KeyService/FinishKeyRotation", r#"{"name": "tenants/-/keys/$key"}"#),
        ("KeyService/GenerateSecretKey", r#"{"name": "tenants/-/keys/$key"}"#),
        ("KeyService/SuspendKey", r#"{"name": "tenants/-/keys/$key"}"#),
        ("KeyService/ActivateKey", r#"{"name": "tenants/-/keys/$key"}"#),
        ("KeyService/RevokeKey", r#"{"name": "tenants/-/keys/$key"}"#),
        ("KeyService/DeleteKey", r#"{"name": "tenants/-/keys/$key"}"#),
        ("KeyService/UndeleteKey", r#"{"name": "tenants/-/keys/$key"}"#),
        ("TenantService/GetTenant", r#"{"name": "tenants/-"}"#),
        ("TenantService/UpdateTenant", r#"{"tenant": {"name": "tenants/-", "displayName": "a"}}"#),
        ("TenantService/ActivateTenant", r#"{"name": "tenants/-"}"#),
        ("UserService/CreateUser", r#"{"parent": "tenants/-", "user": {"email": "hyphen@example.com"}}"#),
        ("UserService/ListUsers", r#"{"parent": "tenants/-"}"#),
        ("UserService/GetUser", r#"{"name": "tenants/-/users/$user"}"#),
        ("UserService/UpdateUser", r#"{"user": {"name": "tenants/-/users/$user", "givenName": "Ada"}}"#),
        ("UserService/ActivateUser", r#"{"name": "tenants/-/users/$user"}"#),
        ("ApplicationService/CreateApplication", r#"{"parent": "tenants/-", "application": {"contactEmail": "a@b"}}"#),
        ("ApplicationService/CreateApplication", r#"{"parent": "tenants/-/users/$user"}"#),
        ("ApplicationService/ListApplications", r#"{"parent": "tenants/-"}"#),
        ("ApplicationService/GetApplication", r#"{"name": "tenants/-/applications/$application"}"#),
        ("ApplicationService/ResendVerification", r#"{"name": "tenants/-/applications/$application"}"#),
        ("ApplicationService/RevokeApplication", r#"{"name": "tenants/-/applications/$application"}"#),
        ("ApplicationService/ActivateApplication", r#"{"name": "tenants/-/applications/$application"}"#),
        ("ApplicationService/DeleteApplication", r#"{"name": "tenants/-/applications/$application"}"#),
        ("UserService/SetPassword", r#"{"name": "tenants/-/users/$user", "password": "correct horse"}"#),
        ("EventService/ListEvents", r#"{"parent": "tenants/-"}"#),
        ("CheckService/Check", r#"{"tenant": "tenants/-"}"#),
    ] {
        let request = raw::encoded(method, &fill(request));
        let by_root = raw::call(&server.admin, method, request.clone(), metadata(&server.root)).await;
        crate::harness::refused(by_root, Code::InvalidArgument);
        let by_owner = raw::call(&server.admin, method, request, metadata(owner)).await;
        assert!(by_owner.is_ok(), "{method}: {by_owner:?}");
    }
}
