//! Pages (AIP-158). A page token is where the last page ended, authenticated together with the request it belongs to,
//! so that a forged one, or one for another list, is refused.

use crate::error::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const DEFAULT_SIZE: usize = 50;
const MAX_SIZE: usize = 1000;
const TAG_BYTES: usize = 16;

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// At most this many, 1 to 1,000.
    pub size: usize,
    /// Only what comes after this, in the order of the list; empty for the first page.
    pub after: String,
}

/// What page tokens of one list are bound to.
#[derive(Clone, Debug)]
pub struct Binding {
    mac: Hmac<Sha256>,
}

impl Binding {
    /// Binds tokens to everything that makes the list what it is: RPC, caller's tenant, parent, filter and so on.
    pub fn new(key: &[u8], parts: &[&str]) -> Result<Self> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::internal)?;
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        Ok(Self { mac })
    }

    /// The token of the page after `after`.
    pub fn token(&self, after: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(after.as_bytes());
        let tag: [u8; 32] = mac.finalize().into_bytes().into();
        let mut bytes: Vec<u8> = tag.into_iter().take(TAG_BYTES).collect();
        bytes.extend_from_slice(after.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads what a request says about pages.
    pub fn part(&self, page_size: i32, page_token: &str) -> Result<Part> {
        let size = match usize::try_from(page_size) {
            Err(_) => {
                return Err(Error::invalid("page_size", "must not be negative; 0 means 50, more than 1000 means 1000"));
            }
            Ok(0) => DEFAULT_SIZE,
            Ok(size) => size.min(MAX_SIZE),
        };
        if page_token.is_empty() {
            return Ok(Part { size, after: String::new() });
        }
        let after = self.after(page_token).ok_or_else(|| {
            Error::invalid(
                "page_token",
                "must be the next_page_token of the same list with the same parent, filter and show_deleted",
            )
        })?;
        Ok(Part { size, after })
    }

    fn after(&self, page_token: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(page_token).ok()?;
        let (tag, after) = bytes.split_at_checked(TAG_BYTES)?;
        let mut mac = self.mac.clone();
        mac.update(after);
        mac.verify_truncated_left(tag).ok()?;
        String::from_utf8(after.to_vec()).ok()
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_serves_the_list_it_was_made_for_and_no_other() {
        let list = Binding::new(b"key", &["ListKeys", "tenants/acme"]).ok();
        let other = Binding::new(b"key", &["ListKeys", "tenants/acm", "e"]).ok();
        let token = list.as_ref().map(|list| list.token("k7")).unwrap_or_default();
        assert_eq!(list.as_ref().and_then(|list| list.after(&token)).as_deref(), Some("k7"));
        assert_eq!(other.and_then(|other| other.after(&token)), None);
        for place in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            if let Some(byte) = forged.get_mut(place) {
                *byte = if *byte == b'A' { b'B' } else { b'A' };
            }
            let forged = String::from_utf8(forged).unwrap_or_default();
            let accepted = list.as_ref().and_then(|list| list.after(&forged));
            assert!(accepted.is_none() || accepted.as_deref() == Some("k7"), "{forged}");
        }
        assert!(list.as_ref().and_then(|list| list.after("short")).is_none());
        assert!(list.is_some_and(|list| list.part(-1, "").is_err()));
    }
}
