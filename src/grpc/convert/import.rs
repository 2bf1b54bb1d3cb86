//! Keys to take over.

use super::keys::new_key;
use crate::desk::import::{Entry, Refused};
use crate::desk::keys::KeyParent;
use crate::domain::clock::Time;
use crate::domain::credential::{Credential, CredentialId, Digest, MAX_CREDENTIAL_BYTES, Shape, parse};
use crate::error::{Error, Result};
use crate::proto::v1 as proto;
use proto::import_keys_entry::Material;

/// A shorter credential could be guessed.
const MIN_CREDENTIAL_BYTES: usize = 16;

/// What is shown of a credential of which only the digest is known.
const HIDDEN: &str = "********";

/// One entry of an import, or why it cannot be taken: in words that never hold the credential.
pub(in crate::grpc) fn import_entry(
    parent: &KeyParent,
    entry: proto::ImportKeysEntry,
    now: Time,
) -> Result<Entry, Refused> {
    let proto::ImportKeysEntry { line, key, key_id, material } = entry;
    let material = match material {
        Some(Material::Credential(text)) => Ok(Credential::from_text(text)),
        Some(Material::Sha256(bytes)) => Err(Some(bytes)),
        None => Err(None),
    };
    let is_told = |text: &str| material.as_ref().is_ok_and(|credential| tells(text, credential));
    let told = [
        ("key_id", is_told(&key_id)),
        ("key.display_name", key.as_ref().is_some_and(|key| is_told(&key.display_name))),
        ("key.description", key.as_ref().is_some_and(|key| is_told(&key.description))),
        (
            "key.labels",
            key.as_ref().is_some_and(|key| key.labels.iter().any(|(name, value)| is_told(name) || is_told(value))),
        ),
    ];
    let telling = told.iter().find(|(_, is_told)| *is_told).map(|(field, _)| *field);
    let message = proto::CreateKeyRequest { key, key_id, ..proto::CreateKeyRequest::default() };
    let refused = |reason: String| {
        let reason = match &material {
            Ok(credential) if !credential.expose().is_empty() => reason.replace(credential.expose(), HIDDEN),
            Ok(_) | Err(_) => reason,
        };
        Refused { line, reason: crate::grpc::status::clip(&reason) }
    };
    if let Some(field) = telling {
        return Err(refused(format!("{field} must not hold the credential")));
    }
    let key = new_key(parent.clone(), message, now).map_err(|error| refused(describe(&error)))?;
    let (field, digest, id, hint) = match &material {
        Ok(credential) => {
            let length = credential.expose().len();
            if !(MIN_CREDENTIAL_BYTES..=MAX_CREDENTIAL_BYTES).contains(&length) {
                let rule = format!("credential must be {MIN_CREDENTIAL_BYTES} to {MAX_CREDENTIAL_BYTES} bytes long");
                return Err(refused(rule));
            }
            let id = match parse(credential.expose()) {
                Shape::Ours { id, .. } => CredentialId::find(id),
                Shape::Broken { .. } | Shape::Foreign => None,
            };
            ("credential", credential.digest(), id, credential.obfuscated())
        }
        Err(Some(bytes)) => {
            let bytes: [u8; 32] =
                bytes.as_slice().try_into().map_err(|_| refused("sha256 must be 32 bytes long".to_owned()))?;
            ("sha256", Digest::from_bytes(bytes), None, HIDDEN.to_owned())
        }
        Err(None) => return Err(refused("credential or sha256 must be given".to_owned())),
    };
    Ok(Entry { line, key, field, digest, id, hint })
}

/// Whether `text` holds the credential, or so much of it that it makes no difference.
fn tells(text: &str, credential: &Credential) -> bool {
    credential.expose().len() >= MIN_CREDENTIAL_BYTES && text.contains(credential.expose())
}

/// The fields that break a rule, without what is said of requests.
fn describe(error: &Error) -> String {
    match error {
        Error::Invalid(violations) => {
            let rules: Vec<String> =
                violations.iter().map(|violation| format!("{} {}", violation.field, violation.rule)).collect();
            rules.join("; ")
        }
        other => other.to_string(),
    }
}
