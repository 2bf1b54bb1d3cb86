//! Which calls may be sent again though a server may have carried them out, and after how long.

use crate::proto::v1::{
    CreateApplicationRequest, CreateKeyRequest, CreateTenantRequest, CreateUserRequest, RotateApplicationSecretRequest,
    RotateKeyRequest, RotateMasterKeyRequest,
};
use prost::Message;
use std::time::Duration;

/// The package whose services are known here.
const PACKAGE: &str = "/keyward.v1.";

/// The longest wait between two attempts, but for what a server asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// What a method is to those who might call it twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Answers, and changes nothing.
    Read,
    /// The same, answered by a stream that has no end.
    Watch,
    /// Ends something, which by contract succeeds where that has ended already.
    Ending,
    /// Changes something, once for each `request_id`.
    Keyed,
    /// Changes something at each call.
    Once,
    /// A stream of requests, or a method unknown here; nothing of it is kept to be sent again.
    Stream,
}

/// What the method at this path is.
pub(super) fn kind(path: &str) -> Kind {
    let Some((_, method)) = path.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('/')) else {
        return Kind::Stream;
    };
    match method {
        "Check" | "BatchCheck" | "LookupKey" | "IntrospectToken" | "GetJwks" | "GetKeyUsage" | "GetStatus"
        | "Diagnose" | "GetKey" | "GetApplication" | "GetTenant" | "GetUser" | "ListKeys" | "ListSessions"
        | "ListApplications" | "ListTenants" | "ListUsers" | "ListEvents" | "ListReplicas" => Kind::Read,
        "RevokeKey" | "RevokeCredentials" | "RevokeToken" => Kind::Ending,
        "WatchEvents" => Kind::Watch,
        "CreateKey"
        | "RotateKey"
        | "CreateTenant"
        | "CreateUser"
        | "RotateMasterKey"
        | "CreateApplication"
        | "RotateApplicationSecret" => Kind::Keyed,
        "StreamCheck" | "ImportKeys" => Kind::Stream,
        "UpdateKey"
        | "FinishKeyRotation"
        | "GenerateSecretKey"
        | "SuspendKey"
        | "ActivateKey"
        | "DeleteKey"
        | "UndeleteKey"
        | "CreateToken"
        | "CreateSession"
        | "VerifyApplication"
        | "ResendVerification"
        | "UpdateApplication"
        | "RevokeApplication"
        | "ActivateApplication"
        | "DeleteApplication"
        | "UpdateTenant"
        | "SuspendTenant"
        | "ActivateTenant"
        | "DeleteTenant"
        | "UpdateUser"
        | "SetPassword"
        | "SuspendUser"
        | "ActivateUser"
        | "DeleteUser" => Kind::Once,
        _ => Kind::Stream,
    }
}

/// Whether this request, framed as it is sent, may be sent again though it may have been carried out.
pub(super) fn may_repeat(path: &str, framed: &[u8]) -> bool {
    match kind(path) {
        Kind::Read | Kind::Watch | Kind::Ending => true,
        Kind::Keyed => is_keyed(path, framed),
        Kind::Once | Kind::Stream => false,
    }
}

/// Whether there is a `request_id` in the message.
fn is_keyed(path: &str, framed: &[u8]) -> bool {
    // A byte that says whether it is compressed, which we do not do, and its length.
    let Some(([0, _, _, _, _], message)) = framed.split_at_checked(5) else { return false };
    let method = path.rsplit_once('/').map_or("", |(_, method)| method);
    match method {
        "CreateKey" => holds(message, |message: &CreateKeyRequest| &message.request_id),
        "RotateKey" => holds(message, |message: &RotateKeyRequest| &message.request_id),
        "CreateTenant" => holds(message, |message: &CreateTenantRequest| &message.request_id),
        "CreateUser" => holds(message, |message: &CreateUserRequest| &message.request_id),
        "RotateMasterKey" => holds(message, |message: &RotateMasterKeyRequest| &message.request_id),
        "CreateApplication" => holds(message, |message: &CreateApplicationRequest| &message.request_id),
        "RotateApplicationSecret" => holds(message, |message: &RotateApplicationSecretRequest| &message.request_id),
        _ => false,
    }
}

fn holds<M: Message + Default>(message: &[u8], request_id: impl Fn(&M) -> &String) -> bool {
    M::decode(message).is_ok_and(|message| !request_id(&message).is_empty())
}

/// How long to wait after so many attempts: doubled each time, to a second.
pub(super) fn wait_after(attempts: u32) -> Duration {
    let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &impl Message) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
        bytes.extend(message.encode_to_vec());
        bytes
    }

    #[test]
    fn a_mutation_is_sent_again_only_under_its_request_id() {
        let path = "/keyward.v1.KeyService/CreateKey";
        let mut request = CreateKeyRequest { parent: "tenants/acme".to_owned(), ..CreateKeyRequest::default() };
        assert!(!may_repeat(path, &framed(&request)));
        request.request_id = "0198c0de-0000-7000-8000-000000000001".to_owned();
        assert!(may_repeat(path, &framed(&request)));
        let mut compressed = framed(&request);
        compressed[0] = 1;
        assert!(!may_repeat(path, &compressed));
        for garbage in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x01\xff"] {
            assert!(!may_repeat(path, garbage));
        }
        assert!(may_repeat("/keyward.v1.CheckService/Check", b""));
        assert!(!may_repeat("/keyward.v1.KeyService/DeleteKey", b""));
        assert!(!may_repeat("/other.v1.KeyService/ListKeys", b""));
    }

    #[test]
    fn waits_are_doubled_up_to_a_second() {
        let waits: Vec<u128> = (1..=7).map(|attempts| wait_after(attempts).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    #[cfg(feature = "server")]
    fn every_method_of_the_contract_is_known() {
        use prost_reflect::DescriptorPool;
        let pool = DescriptorPool::decode(crate::proto::FILE_DESCRIPTOR_SET).unwrap();
        let services = pool.services().filter(|service| service.package_name() == "keyward.v1");
        let methods: Vec<_> = services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
        assert!(methods.len() > 50);
        for method in methods {
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let expected_stream = method.is_client_streaming();
            let has_request_id = method.input().get_field_by_name("request_id").is_some();
            assert_eq!(kind(&path) == Kind::Stream, expected_stream, "{path} is not told apart");
            assert_eq!(kind(&path) == Kind::Keyed, has_request_id, "{path}");
            assert_eq!(kind(&path) == Kind::Watch, method.is_server_streaming() && !expected_stream, "{path}");
        }
    }
}
