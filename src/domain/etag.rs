//! Entity tags (AIP-154): opaque, and another after every mutation of the resource.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The tag of the resource `uid` as `revision` left it.
pub fn etag(uid: Uuid, revision: i64) -> String {
    let mut hasher = Sha256::new();
    hasher.update(uid.as_bytes());
    hasher.update(revision.to_be_bytes());
    let [a, b, c, d, e, f, g, h, i, ..]: [u8; 32] = hasher.finalize().into();
    URL_SAFE_NO_PAD.encode([a, b, c, d, e, f, g, h, i])
}
