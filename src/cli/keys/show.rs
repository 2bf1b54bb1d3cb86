//! How one key looks to people.

use crate::cli::grants;
use crate::cli::output::{Fields, with_secret, word};
use crate::proto::v1::{Key, KeyState, KeyType, RevocationReason};

/// A key, and the revision of what was done to it; zero is none.
pub(super) fn text(key: Option<&Key>, revision: i64) -> String {
    let Some(key) = key else { return Fields::new().revision(revision).render() };
    let is_revoked = key.revoke_time.is_some();
    let reason = word(key.revocation_reason, RevocationReason::as_str_name, "REVOCATION_REASON_");
    Fields::new()
        .text("name", &key.name)
        .text("display name", &key.display_name)
        .text("description", &key.description)
        .text("type", &key_type(key))
        .text("state", &state(key))
        .text("owner", &key.owner)
        .lines("grants", grants::lines(&key.grants))
        .time("not before", key.not_before_time.as_ref())
        .time("expires", key.expire_time.as_ref())
        .each("allowed ips", &key.allowed_ips)
        .each("allowed referrers", &key.allowed_referrers)
        .pairs("labels", &key.labels)
        .text("credential", &key.obfuscated_credential)
        .text("public credential", &key.public_credential)
        .text("second secret", if key.has_secret_key { "required" } else { "" })
        .time("old secret until", key.overlap_end_time.as_ref())
        .time("last used", key.last_auth_time.as_ref())
        .time("created", key.create_time.as_ref())
        .time("updated", key.update_time.as_ref())
        .time("revoked", key.revoke_time.as_ref())
        .text("revoked because", if is_revoked { &reason } else { "" })
        .time("deleted", key.delete_time.as_ref())
        .text("uid", &key.uid)
        .text("etag", &key.etag)
        .revision(revision)
        .render()
}

/// A key with what is shown only now.
pub(super) fn text_with_secret(key: Option<&Key>, revision: i64, what: &str, secret: &str) -> String {
    with_secret(text(key, revision), what, secret)
}

/// Its kind in a word.
pub(super) fn key_type(key: &Key) -> String {
    word(key.r#type, KeyType::as_str_name, "KEY_TYPE_")
}

/// Its state in a word.
pub(super) fn state(key: &Key) -> String {
    word(key.state, KeyState::as_str_name, "KEY_STATE_")
}
