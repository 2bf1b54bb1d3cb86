//! The hash chain over the ledger: `chain = H(chain, rev, H(changes), H(event))`, SHA-256 throughout. Whoever edits,
//! drops or reorders an entry breaks it: it tells a replica that the log it follows is still the one it read, and an
//! auditor that the events are those that were written.

use super::entity::audit_event;
use sha2::{Digest, Sha256};

/// What stands before revision 1.
pub(super) const GENESIS: [u8; 32] = [0; 32];

fn hash_all<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// H(changes): over the stored payloads, in order.
pub(super) fn changes_hash<'a>(payloads: impl IntoIterator<Item = &'a str>) -> [u8; 32] {
    hash_all(payloads.into_iter().map(str::as_bytes))
}

/// The chain after `event`, given the chain before it. Every stored column takes part, as it is stored.
pub(super) fn link(before: &[u8], event: &audit_event::Model) -> [u8; 32] {
    let audit_event::Model {
        revision,
        kind,
        tenant_id,
        actor,
        credential_id,
        subject,
        time,
        request_id,
        source_ip,
        detail,
        changes_hash,
        chain: _,
    } = event;
    let event_hash = hash_all([
        kind.as_bytes(),
        tenant_id.as_deref().unwrap_or_default().as_bytes(),
        actor.as_bytes(),
        credential_id.as_bytes(),
        subject.as_bytes(),
        &time.to_be_bytes(),
        request_id.as_bytes(),
        source_ip.as_bytes(),
        detail.as_bytes(),
    ]);
    hash_all([before, &revision.to_be_bytes(), changes_hash, &event_hash])
}
