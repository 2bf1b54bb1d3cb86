//! Messages as anyone may send them.

use super::import::import_entry;
use super::keys::new_key;
use super::*;
use crate::desk::keys::KeyParent;
use crate::domain::credential::{CredentialId, Digest};
use crate::domain::name::TenantId;
use crate::fuzz::fuzz;
use crate::proto::v1 as proto;
use proto::import_keys_entry::Material;

const NOW: Time = Time::from_micros(1_790_000_000_000_000);

fn parent() -> KeyParent {
    KeyParent { tenant: TenantId::find("acme").unwrap(), owner: None }
}

fn a_key() -> proto::Key {
    let grant =
        proto::Grant { kind: Some(proto::grant::Kind::Apis(proto::ApisGrant { names: vec!["billing".to_owned()] })) };
    proto::Key {
        display_name: "CI".to_owned(),
        description: "of\nthe build".to_owned(),
        grants: vec![grant],
        expire_time: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 5 }),
        allowed_ips: vec!["10.0.0.0/8".to_owned()],
        allowed_referrers: vec!["*.example.com/*".to_owned()],
        labels: [("team".to_owned(), "build".to_owned())].into(),
        ..proto::Key::default()
    }
}

#[test]
fn a_key_to_take_over_is_what_was_sent_and_its_credential_is_in_no_reason() {
    let secret = "an-old-credential-of-40-characters-00000";
    let entry = |material| proto::ImportKeysEntry { line: 7, key: Some(a_key()), key_id: "ci".to_owned(), material };
    let made = [
        entry(Some(Material::Credential(secret.to_owned()))),
        entry(Some(Material::Sha256(vec![7; 32]))),
        entry(Some(Material::Sha256(vec![7; 31]))),
        entry(None),
        proto::ImportKeysEntry { key_id: secret.to_owned(), ..entry(Some(Material::Credential(secret.to_owned()))) },
    ];
    fuzz!("import-entry", made.iter().map(Message::encode_to_vec).collect(), |bytes| {
        let Ok(entry) = proto::ImportKeysEntry::decode(bytes) else { return };
        let (line, material) = (entry.line, entry.material.clone());
        match (import_entry(&parent(), entry, NOW), material) {
            (Ok(taken), Some(Material::Credential(text))) => {
                assert!(taken.digest.matches(&Digest::of(text.as_bytes())) && taken.line == line);
                assert!((16..=8192).contains(&text.len()) && !taken.hint.contains(&text));
                assert!(
                    taken.id.is_none_or(|id| CredentialId::find(id.as_str()).is_some() && text.contains(id.as_str()))
                );
            }
            (Ok(taken), Some(Material::Sha256(bytes))) => {
                assert_eq!(taken.digest.as_bytes().as_slice(), bytes);
                assert_eq!((taken.line, taken.id, taken.field), (line, None, "sha256"));
            }
            (Ok(taken), None) => panic!("{taken:?}"),
            (Err(refused), material) => {
                assert!(refused.line == line && !refused.reason.is_empty());
                if let Some(Material::Credential(text)) = material {
                    assert!(text.len() < 16 || !refused.reason.contains(&text), "{}", refused.reason);
                }
            }
        }
    });
}

#[test]
fn what_is_wrong_with_a_key_is_said_of_its_field() {
    let whole = proto::CreateKeyRequest {
        parent: "tenants/acme".to_owned(),
        key: Some(a_key()),
        key_id: "ci".to_owned(),
        ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        request_id: "0199c0de-0000-4000-8000-000000000000".to_owned(),
    };
    let bare = proto::CreateKeyRequest { ttl: None, key: None, ..whole.clone() };
    fuzz!("create-key", vec![whole.encode_to_vec(), bare.encode_to_vec()], |bytes| {
        let Ok(message) = proto::CreateKeyRequest::decode(bytes) else { return };
        let again = proto::CreateKeyRequest::decode(message.encode_to_vec().as_slice());
        assert_eq!(again.as_ref(), Ok(&message));
        match new_key(parent(), message, NOW) {
            Ok(_) => {}
            Err(Error::Invalid(violations)) => {
                let is_named = |field: &str| {
                    let first = field.split(['.', '[']).next().unwrap();
                    ["key", "key_id", "ttl", "request_id"].contains(&first)
                };
                assert!(!violations.is_empty());
                assert!(violations.iter().all(|violation| is_named(&violation.field)), "{violations:?}");
            }
            Err(error) => panic!("{error:?}"),
        }
    });
}
