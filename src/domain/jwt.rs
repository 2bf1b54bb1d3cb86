//! JWTs of RFC 9068: what they say, and whether one of our keys has said it. Pure: the key, the issuer and the time are
//! given. Whether a token is expired, for the right audience, or of something revoked is for `decision`.
//!
//! We verify only what we have signed ourselves, so everything that we do not write is refused: other algorithms and
//! types, other headers, claims we do not know, other spellings of the same bytes.

use super::clock::Time;
use super::signing::PublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::{Deserialize, Serialize};

/// The longest JWT, as of any credential.
pub const MAX_JWT_BYTES: usize = 8 * 1024;

/// The longest header, encoded.
const MAX_HEADER_BYTES: usize = 512;

/// How an object begins that we have written and encoded.
const OBJECT: &str = "eyJ";

/// The type of a JWT that is an access token.
pub const TYP: &str = "at+jwt";

/// What an access token says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// Who issued it: the same text on all replicas.
    pub iss: String,
    /// Name of the application or key that it stands for.
    pub sub: String,
    /// The same.
    pub client_id: String,
    /// Whom it is for.
    pub aud: Vec<String>,
    /// From when on it is refused, in seconds since 1970.
    pub exp: i64,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// Its id, unique for ever.
    pub jti: String,
    /// What it may do, as [`scope_of`] writes it.
    pub scope: String,
    /// `kw_rev`: the revision that it rests on.
    #[serde(rename = "kw_rev")]
    pub revision: i64,
    /// `kw_ver`: the version of its parent's secret.
    #[serde(rename = "kw_ver")]
    pub secret_version: i64,
    /// `kw_narrow`: whether fewer permissions were asked for than its parent holds.
    #[serde(rename = "kw_narrow")]
    pub narrowed: bool,
}

impl Claims {
    /// From when on it is refused.
    pub fn expire_time(&self) -> Time {
        Time::from_micros(self.exp.saturating_mul(1_000_000))
    }

    /// When it was issued.
    pub fn issue_time(&self) -> Time {
        Time::from_micros(self.iat.saturating_mul(1_000_000))
    }

    /// Whether its numbers are ones that we write.
    fn is_in_range(&self) -> bool {
        let last = Time::MAX.micros() / 1_000_000;
        let times = 0..=last;
        times.contains(&self.exp) && times.contains(&self.iat) && self.revision >= 0 && self.secret_version >= 0
    }
}

/// The one form of header that we write and read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// Whether it has the shape of a JWT, signed or not: then it is judged as one. Cheap.
pub fn looks_like_jwt(text: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.starts_with(OBJECT)
        && text.len() <= MAX_JWT_BYTES
        && text.bytes().all(is_inside)
        && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The id of the key that is said to have signed it, if its header is one that we write.
pub fn kid_of(text: &str) -> Option<String> {
    if !looks_like_jwt(text) {
        return None;
    }
    let (header, _) = text.split_once('.').filter(|(header, _)| header.len() <= MAX_HEADER_BYTES)?;
    let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let is_ours = header.alg == "EdDSA" && (header.typ == TYP || header.typ == "application/at+jwt");
    is_ours.then_some(header.kid)
}

/// What it says, encoded and not to be believed, if it is an object: serde would take an array for one as well.
pub fn unverified_claims(text: &str) -> Option<&str> {
    text.split('.').nth(1).filter(|claims| claims.starts_with(OBJECT))
}

/// What it says, if `key` has signed it and it was issued by `issuer`. Whether it is expired and whom it is for is not
/// looked at.
pub fn verify(text: &str, key: &PublicKey, issuer: &str) -> Option<Claims> {
    if kid_of(text)? != key.kid() || unverified_claims(text).is_none() {
        return None;
    }
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_required_spec_claims(&["iss", "sub", "aud", "exp"]);
    rules.set_issuer(&[issuer]);
    // Both are decided by our own clock and settings.
    rules.validate_exp = false;
    rules.validate_aud = false;
    let claims = decode::<Claims>(text, &DecodingKey::from_ed_der(key.as_bytes()), &rules).ok()?.claims;
    (claims.iss == issuer && claims.is_in_range()).then_some(claims)
}

/// Permissions, each a resource and an action, as a scope: `action:resource`, both percent-encoded, joined by spaces.
pub fn scope_of<'a>(permissions: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut scope = String::new();
    for (resource, action) in permissions {
        if !scope.is_empty() {
            scope.push(' ');
        }
        encode(&mut scope, action);
        scope.push(':');
        encode(&mut scope, resource);
    }
    scope
}

/// The permissions of a scope, each a resource and an action; `None` unless [`scope_of`] writes them so.
pub fn permissions_of(scope: &str) -> Option<Vec<(String, String)>> {
    if scope.is_empty() {
        return Some(Vec::new());
    }
    scope
        .split(' ')
        .map(|pair| {
            let (action, resource) = pair.split_once(':')?;
            Some((decoded(resource)?, decoded(action)?))
        })
        .collect()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b'*')
}

fn encode(scope: &mut String, text: &str) {
    for byte in text.bytes() {
        if is_plain(byte) {
            scope.push(char::from(byte));
        } else {
            scope.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let plain = String::from_utf8(bytes).ok()?;
    // One spelling each: what is written otherwise is not ours.
    let mut again = String::with_capacity(text.len());
    encode(&mut again, &plain);
    (again == text).then_some(plain)
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
