//! The table of who may call what is the contract's, to the letter.

use super::raw;
use keyward::domain::name::Collection;
use keyward::grpc::rpcs::{ALL, Admission};

#[test]
fn every_rpc_of_the_contract_stands_in_the_table_once_with_the_verb_of_its_name() {
    let mut stands: Vec<&str> = ALL.iter().map(|rpc| rpc.method).collect();
    let contract: Vec<String> = raw::methods().iter().map(|method| format!("keyward.v1.{method}")).collect();
    let mut wanted: Vec<&str> = contract.iter().map(String::as_str).collect();
    stands.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(stands, wanted);
    for rpc in ALL {
        assert_eq!(rpc.action, raw::verb(rpc.method), "{}", rpc.method);
    }
}

#[test]
fn the_table_is_as_it_was_agreed() {
    let word = |admission| match admission {
        Admission::Permission(Collection::Tenants) => "tenants",
        Admission::Permission(Collection::Users) => "users",
        Admission::Permission(Collection::Keys) => "keys",
        Admission::Permission(Collection::Applications) => "applications",
        Admission::Permission(Collection::Tokens) => "tokens",
        Admission::Permission(Collection::Sessions) => "sessions",
        Admission::Permission(Collection::Events) => "events",
        Admission::Root => "(root)",
        Admission::None => "(proof)",
        Admission::Door => "(door)",
    };
    let mut lines: Vec<String> = ALL
        .iter()
        .map(|rpc| format!("{} {} {}", rpc.method.trim_start_matches("keyward.v1."), word(rpc.admission), rpc.action))
        .collect();
    lines.sort_unstable();
    let mut agreed: Vec<&str> = AGREED.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    agreed.sort_unstable();
    assert_eq!(lines, agreed);
}

/// Method, collection or other way in, action.
const AGREED: &str = "
    CheckService/Check (door) check
    CheckService/BatchCheck (door) batch
    CheckService/StreamCheck (door) stream
    KeyService/CreateKey keys create
    KeyService/GetKey keys get
    KeyService/ListKeys keys list
    KeyService/UpdateKey keys update
    KeyService/RotateKey keys rotate
    KeyService/FinishKeyRotation keys finish
    KeyService/GenerateSecretKey keys generate
    KeyService/SuspendKey keys suspend
    KeyService/ActivateKey keys activate
    KeyService/RevokeKey keys revoke
    KeyService/DeleteKey keys delete
    KeyService/UndeleteKey keys undelete
    KeyService/LookupKey keys lookup
    KeyService/GetKeyUsage keys get
    KeyService/RevokeCredentials (proof) revoke
    KeyService/ImportKeys keys import
    TenantService/CreateTenant (root) create
    TenantService/GetTenant tenants get
    TenantService/ListTenants tenants list
    TenantService/UpdateTenant tenants update
    TenantService/SuspendTenant tenants suspend
    TenantService/ActivateTenant tenants activate
    TenantService/DeleteTenant tenants delete
    UserService/CreateUser users create
    UserService/GetUser users get
    UserService/ListUsers users list
    UserService/UpdateUser users update
    UserService/SetPassword users set
    UserService/SuspendUser users suspend
    UserService/ActivateUser users activate
    UserService/DeleteUser users delete
    UserService/RotateMasterKey users rotate
    EventService/ListEvents events list
    EventService/WatchEvents events watch
    TokenService/CreateToken (proof) create
    TokenService/CreateSession (proof) create
    TokenService/ListSessions sessions list
    TokenService/IntrospectToken tokens introspect
    TokenService/RevokeToken tokens revoke
    TokenService/GetJwks (proof) get
    ApplicationService/CreateApplication applications create
    ApplicationService/VerifyApplication (proof) verify
    ApplicationService/ResendVerification applications resend
    ApplicationService/GetApplication applications get
    ApplicationService/ListApplications applications list
    ApplicationService/UpdateApplication applications update
    ApplicationService/RotateApplicationSecret applications rotate
    ApplicationService/RevokeApplication applications revoke
    ApplicationService/ActivateApplication applications activate
    ApplicationService/DeleteApplication applications delete
    AdminService/ListReplicas (root) list
    AdminService/GetStatus (root) get
    AdminService/Diagnose (root) diagnose
";
