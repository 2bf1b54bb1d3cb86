//! Where in the maps something is, and room for many new things at once.

use super::{Index, Prepared};
use crate::domain::credential::Digest;
use crate::domain::name::{KeyId, TenantId};
use hashbrown::HashMap;

/// Enough that growing one shard of ten million entries takes about a millisecond.
pub(super) const SHARDS: usize = 1024;

pub(super) fn credential_shard_of(digest: &Digest) -> usize {
    let [first, second, ..] = *digest.as_bytes();
    (usize::from(first) | usize::from(second) << 8) % SHARDS
}

pub(super) fn key_shard_of((tenant, key): &(TenantId, KeyId)) -> usize {
    let bytes = key.as_str().bytes().chain(tenant.as_str().bytes());
    bytes.fold(5381_usize, |hash, byte| hash.wrapping_mul(33) ^ usize::from(byte)) % SHARDS
}

impl Index {
    /// Makes room for many new keys at once: each was prepared as if it were the only one in its shards.
    pub(super) fn make_room(&self, prepared: &[Prepared]) {
        if prepared.len() < 2 {
            return;
        }
        let mut credentials: HashMap<usize, usize> = HashMap::new();
        let mut keys: HashMap<usize, usize> = HashMap::new();
        for change in prepared {
            if let Prepared::Key { place: Some(place), entry, .. } = change {
                *keys.entry(key_shard_of(place)).or_default() += 1;
                for (digest, _) in &entry.secrets {
                    *credentials.entry(credential_shard_of(digest)).or_default() += 1;
                }
            }
        }
        for (shard, count) in credentials {
            if let Some(shard) = self.credentials.get(shard) {
                shard.write().reserve(count);
            }
        }
        for (shard, count) in keys {
            if let Some(shard) = self.keys.get(shard) {
                shard.write().reserve(count);
            }
        }
    }
}
