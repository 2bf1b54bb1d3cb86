//! Entity tags (AIP-154): opaque, and another after every mutation of the resource.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The tag of the resource `uid` as `revision` left it: hexadecimal, so that no shell and no option parser minds it.
pub fn etag(uid: Uuid, revision: i64) -> String {
    let mut hasher = Sha256::new();
    hasher.update(uid.as_bytes());
    hasher.update(revision.to_be_bytes());
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hasher.finalize().into();
    format!("{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}
