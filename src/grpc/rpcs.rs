//! The one table of who may call what: every RPC of the contract with the permission it asks of a caller that holds
//! grants, `keyward/{collection}/{id}` and the leading verb of its name, or with another way in. A test compares it with
//! the descriptor set, so that a new RPC without a row fails.

use crate::domain::name::Collection;

/// How a caller of an RPC gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// By a credential that may do the action to the thing.
    Permission(Collection),
    /// By root's credential.
    Root,
    /// By a proof in the request itself, or because it tells nobody anything.
    None,
    /// As the listener says: see [`super::Door`].
    Door,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpc {
    /// `package.Service/Method`.
    pub method: &'static str,
    /// The leading verb of the method's name, in lower case.
    pub action: &'static str,
    /// How its callers get in.
    pub admission: Admission,
}

macro_rules! rpcs {
    ($($name:ident $service:ident $method:ident $action:literal $admission:expr;)*) => {
        $(pub(super) const $name: Rpc = Rpc {
            method: concat!("keyward.v1.", stringify!($service), "/", stringify!($method)),
            action: $action,
            admission: $admission,
        };)*
        /// Every RPC of `keyward.v1`.
        pub const ALL: &[Rpc] = &[$($name),*];
    };
}

use Admission::{Door, None, Permission, Root};
use Collection::{Applications, Events, Keys, Sessions, Tenants, Tokens, Users};

rpcs! {
    CHECK CheckService Check "check" Door;
    BATCH_CHECK CheckService BatchCheck "batch" Door;
    STREAM_CHECK CheckService StreamCheck "stream" Door;
    CREATE_KEY KeyService CreateKey "create" Permission(Keys);
    GET_KEY KeyService GetKey "get" Permission(Keys);
    LIST_KEYS KeyService ListKeys "list" Permission(Keys);
    UPDATE_KEY KeyService UpdateKey "update" Permission(Keys);
    ROTATE_KEY KeyService RotateKey "rotate" Permission(Keys);
    FINISH_KEY_ROTATION KeyService FinishKeyRotation "finish" Permission(Keys);
    GENERATE_SECRET_KEY KeyService GenerateSecretKey "generate" Permission(Keys);
    SUSPEND_KEY KeyService SuspendKey "suspend" Permission(Keys);
    ACTIVATE_KEY KeyService ActivateKey "activate" Permission(Keys);
    REVOKE_KEY KeyService RevokeKey "revoke" Permission(Keys);
    DELETE_KEY KeyService DeleteKey "delete" Permission(Keys);
    UNDELETE_KEY KeyService UndeleteKey "undelete" Permission(Keys);
    LOOKUP_KEY KeyService LookupKey "lookup" Permission(Keys);
    GET_KEY_USAGE KeyService GetKeyUsage "get" Permission(Keys);
    REVOKE_CREDENTIALS KeyService RevokeCredentials "revoke" None;
    IMPORT_KEYS KeyService ImportKeys "import" Permission(Keys);
    CREATE_TENANT TenantService CreateTenant "create" Root;
    GET_TENANT TenantService GetTenant "get" Permission(Tenants);
    LIST_TENANTS TenantService ListTenants "list" Permission(Tenants);
    UPDATE_TENANT TenantService UpdateTenant "update" Permission(Tenants);
    SUSPEND_TENANT TenantService SuspendTenant "suspend" Permission(Tenants);
    ACTIVATE_TENANT TenantService ActivateTenant "activate" Permission(Tenants);
    DELETE_TENANT TenantService DeleteTenant "delete" Permission(Tenants);
    CREATE_USER UserService CreateUser "create" Permission(Users);
    GET_USER UserService GetUser "get" Permission(Users);
    LIST_USERS UserService ListUsers "list" Permission(Users);
    UPDATE_USER UserService UpdateUser "update" Permission(Users);
    SET_PASSWORD UserService SetPassword "set" Permission(Users);
    SUSPEND_USER UserService SuspendUser "suspend" Permission(Users);
    ACTIVATE_USER UserService ActivateUser "activate" Permission(Users);
    DELETE_USER UserService DeleteUser "delete" Permission(Users);
    ROTATE_MASTER_KEY UserService RotateMasterKey "rotate" Permission(Users);
    LIST_EVENTS EventService ListEvents "list" Permission(Events);
    WATCH_EVENTS EventService WatchEvents "watch" Permission(Events);
    CREATE_TOKEN TokenService CreateToken "create" None;
    CREATE_SESSION TokenService CreateSession "create" None;
    LIST_SESSIONS TokenService ListSessions "list" Permission(Sessions);
    INTROSPECT_TOKEN TokenService IntrospectToken "introspect" Permission(Tokens);
    REVOKE_TOKEN TokenService RevokeToken "revoke" Permission(Tokens);
    GET_JWKS TokenService GetJwks "get" None;
    CREATE_APPLICATION ApplicationService CreateApplication "create" Permission(Applications);
    VERIFY_APPLICATION ApplicationService VerifyApplication "verify" None;
    RESEND_VERIFICATION ApplicationService ResendVerification "resend" Permission(Applications);
    GET_APPLICATION ApplicationService GetApplication "get" Permission(Applications);
    LIST_APPLICATIONS ApplicationService ListApplications "list" Permission(Applications);
    UPDATE_APPLICATION ApplicationService UpdateApplication "update" Permission(Applications);
    ROTATE_APPLICATION_SECRET ApplicationService RotateApplicationSecret "rotate" Permission(Applications);
    REVOKE_APPLICATION ApplicationService RevokeApplication "revoke" Permission(Applications);
    ACTIVATE_APPLICATION ApplicationService ActivateApplication "activate" Permission(Applications);
    DELETE_APPLICATION ApplicationService DeleteApplication "delete" Permission(Applications);
    LIST_REPLICAS AdminService ListReplicas "list" Root;
    GET_STATUS AdminService GetStatus "get" Root;
    DIAGNOSE AdminService Diagnose "diagnose" Root;
}
