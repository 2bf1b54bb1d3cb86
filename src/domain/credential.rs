//! The text of a credential, shown once, and the digest that is kept of it.
//!
//! `{prefix}_{id}_{secret}{checksum}`, where `id` is the number of digits of a revision, these digits and eight random
//! characters, `secret` is 43 random characters and `checksum` is the CRC32 of all before it; all of it in base62.
//! Nothing here knows which credentials exist, and the randomness is given.

mod pattern;

pub use self::pattern::{Pattern, pattern};
use crate::error::Violation;
use rand::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::fmt;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

/// Longer text than this is no credential, whatever it is.
pub const MAX_CREDENTIAL_BYTES: usize = 8192;

/// The rule of [`Prefix`].
pub const PREFIX_RULE: &str = "must be 1 to 16 lower-case letters and digits and begin with a letter";

/// 62^43 is just above 2^256.
const SECRET_CHARS: usize = 43;
/// Keeps ids apart that one revision made.
const NONCE_CHARS: usize = 8;
/// 62^6 is above 2^32.
const CHECKSUM_CHARS: usize = 6;
/// 62^11 is above 2^63.
const MAX_REVISION_DIGITS: usize = 11;
const MAX_PREFIX_CHARS: usize = 16;
const HIDDEN: &str = "********";

/// What is kept of a credential, and the key of the index; it is as little for logs as the credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The SHA-256 of the whole text, prefix and checksum included.
    ///
    /// NEVER CHANGE what is hashed or how: it would revoke every credential in the field.
    pub fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// A digest that was kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to keep.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Equality in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        let (ours, _) = self.0.as_chunks::<8>();
        let (theirs, _) = other.0.as_chunks::<8>();
        let mut same = Choice::from(1);
        for (one, another) in ours.iter().zip(theirs) {
            // Words and not bytes: each comparison holds an optimisation barrier, and this is the hot path.
            same &= u64::from_ne_bytes(*one).ct_eq(&u64::from_ne_bytes(*another));
        }
        same.into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex: String = self.0.iter().flat_map(|byte| [hex_letter(byte >> 4), hex_letter(byte & 15)]).collect();
        serializer.serialize_str(&hex)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text is not repeated in the error: it may be a digest.
        let refuse = || de::Error::custom("a digest is 64 lower-case hex digits");
        let hex = Cow::<'de, str>::deserialize(deserializer)?;
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low)) else {
                return Err(refuse());
            };
            *byte = (high << 4) | low;
        }
        Ok(Self(bytes))
    }
}

const fn hex_letter(digit: u8) -> char {
    (if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }) as char
}

const fn hex_digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

/// A secret in clear, on its way to the one who asked for it: neither cloned nor stored, and wiped when dropped.
///
/// There is no `Display`, so that no format string can print one; only [`Credential::expose`] gives it away.
pub struct Credential(Zeroizing<String>);

impl Credential {
    /// Takes hold of a secret that came from elsewhere.
    pub fn from_text(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, for the one reply that shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// What may be shown at any time: prefix and id when it is of our making, and of any other text nothing.
    pub fn obfuscated(&self) -> String {
        match parse(&self.0) {
            Shape::Ours { prefix, id, .. } => format!("{prefix}_{id}_{HIDDEN}"),
            Shape::Broken { .. } | Shape::Foreign => HIDDEN.to_owned(),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// What the credentials of a tenant begin with: `[a-z][a-z0-9]{0,15}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prefix(Box<str>);

impl Prefix {
    /// A prefix that a user wants; `field` is where it stands in the request.
    pub fn parse(text: &str, field: &str) -> Result<Self, Violation> {
        if is_prefix(text) { Ok(Self(text.into())) } else { Err(Violation::new(field, PREFIX_RULE)) }
    }

    /// The bare prefix, without `_`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self("kw".into())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_prefix(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= MAX_PREFIX_CHARS
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The part of a credential that is no secret: it names one version of one secret and the revision that made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CredentialId(Box<str>);

impl CredentialId {
    /// The id of that text; `None` if it has another form.
    pub fn find(text: &str) -> Option<Self> {
        revision_of(text).map(|_| Self(text.into()))
    }

    /// The bare id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The revision that made it, if that was here.
    pub fn revision(&self) -> i64 {
        revision_of(&self.0).unwrap_or_default()
    }

    /// What may be shown at any time of the credential that has this id.
    pub fn obfuscated(&self, prefix: &Prefix) -> String {
        format!("{prefix}_{self}_{HIDDEN}")
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes a credential that says it was made by `revision`; one below 1 counts as 1, for there is none.
pub fn mint<R: CryptoRng + ?Sized>(prefix: &Prefix, revision: i64, rng: &mut R) -> (Credential, CredentialId) {
    let mut id = String::with_capacity(1 + MAX_REVISION_DIGITS + NONCE_CHARS);
    push_revision(&mut id, revision);
    push_random(&mut id, NONCE_CHARS, rng);

    // All the room it needs at once: a string that grows leaves copies of the secret behind.
    let room = prefix.0.len() + 1 + id.len() + 1 + SECRET_CHARS + CHECKSUM_CHARS;
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.push_str(&prefix.0);
    text.push('_');
    text.push_str(&id);
    text.push('_');
    push_random(&mut text, SECRET_CHARS, rng);
    let checksum = crc32fast::hash(text.as_bytes());
    push_number(&mut text, u64::from(checksum), CHECKSUM_CHARS);
    (Credential(text), CredentialId(id.into()))
}

/// Makes the second secret of a key: 43 random base62 characters and nothing else.
pub fn mint_secret_key<R: CryptoRng + ?Sized>(rng: &mut R) -> Credential {
    let mut text = Zeroizing::new(String::with_capacity(SECRET_CHARS));
    push_random(&mut text, SECRET_CHARS, rng);
    Credential(text)
}

/// What a text looks like, before anyone asks whether it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape<'a> {
    /// It has our form and its checksum agrees.
    Ours {
        /// What it begins with.
        prefix: &'a str,
        /// Which secret version it is.
        id: &'a str,
        /// The revision that made it, if it was made at all.
        revision: i64,
    },
    /// It begins as ours do and goes on otherwise; it is malformed if a tenant has this prefix.
    Broken {
        /// What it begins with.
        prefix: &'a str,
    },
    /// It does not begin as ours do.
    Foreign,
}

/// Tells which shape `text` has, without allocating and without hashing more than a checksum.
///
/// NEVER CHANGE what is [`Shape::Ours`], other than to add to it: it would refuse credentials in the field.
pub fn parse(text: &str) -> Shape<'_> {
    let head = text.as_bytes().iter().take(MAX_PREFIX_CHARS + 1);
    let Some((prefix, rest)) = head.copied().position(|byte| byte == b'_').and_then(|end| text.split_at_checked(end))
    else {
        return Shape::Foreign;
    };
    if !is_prefix(prefix) {
        return Shape::Foreign;
    }
    match id_and_revision(text, rest) {
        Some((id, revision)) => Shape::Ours { prefix, id, revision },
        None => Shape::Broken { prefix },
    }
}

/// The id and the revision of `text`, whose prefix has been cut off in `rest`.
fn id_and_revision<'a>(text: &'a str, rest: &'a str) -> Option<(&'a str, i64)> {
    const LONGEST: usize = 1 + 1 + MAX_REVISION_DIGITS + NONCE_CHARS + 1 + SECRET_CHARS + CHECKSUM_CHARS;
    if rest.len() > LONGEST {
        return None;
    }
    let (id, tail) = rest.strip_prefix('_')?.split_once('_')?;
    let revision = revision_of(id)?;
    let (secret, checksum) = tail.split_at_checked(SECRET_CHARS)?;
    if checksum.len() != CHECKSUM_CHARS || !secret.bytes().all(is_base62) {
        return None;
    }
    let (summed, _) = text.split_at_checked(text.len().checked_sub(CHECKSUM_CHARS)?)?;
    (number(checksum.as_bytes())? == u64::from(crc32fast::hash(summed.as_bytes()))).then_some((id, revision))
}

/// The revision an id begins with; `None` if it is no id.
fn revision_of(id: &str) -> Option<i64> {
    let (count, rest) = id.as_bytes().split_first()?;
    let count = usize::from(digit(*count)?);
    if count > MAX_REVISION_DIGITS {
        return None;
    }
    let (digits, nonce) = rest.split_at_checked(count)?;
    // No digits and a leading zero are one mistake: each revision is written in one way, and none is zero.
    if *digits.first()? == b'0' || nonce.len() != NONCE_CHARS || !nonce.iter().copied().all(is_base62) {
        return None;
    }
    i64::try_from(number(digits)?).ok()
}

fn push_revision(text: &mut String, revision: i64) {
    let revision = u64::try_from(revision).unwrap_or(1).max(1);
    let mut count = 1;
    let mut rest = revision / 62;
    while rest > 0 {
        count += 1;
        rest /= 62;
    }
    push_number(text, count, 1);
    push_number(text, revision, usize::try_from(count).unwrap_or(MAX_REVISION_DIGITS));
}

/// Appends `number` as that many base62 digits, the most significant first.
fn push_number(text: &mut String, number: u64, digits: usize) {
    let mut place = u32::try_from(digits).unwrap_or(0);
    while let Some(left) = place.checked_sub(1) {
        place = left;
        let digit = 62_u64.checked_pow(place).map_or(0, |weight| number / weight % 62);
        text.push(letter(u8::try_from(digit).unwrap_or(0)));
    }
}

/// Appends characters drawn uniformly: of six random bits, the two values that are no digit are thrown away.
fn push_random<R: CryptoRng + ?Sized>(text: &mut String, count: usize, rng: &mut R) {
    let mut wanted = count;
    let mut drawn = [0_u8; 64];
    while wanted > 0 {
        rng.fill_bytes(&mut drawn);
        for digit in drawn.iter().map(|byte| byte & 63).filter(|digit| *digit < 62).take(wanted) {
            text.push(letter(digit));
            wanted -= 1;
        }
    }
    drawn.zeroize();
}

const fn letter(digit: u8) -> char {
    (match digit {
        0..=9 => b'0' + digit,
        10..=35 => b'A' + (digit - 10),
        _ => b'a' + (digit - 36),
    }) as char
}

const NO_DIGIT: u8 = u8::MAX;

/// The digit each byte stands for, or [`NO_DIGIT`].
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where a panic is a build error")]
static DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 62 {
        digits[letter(value) as usize] = value;
        value += 1;
    }
    digits
};

fn digit(byte: u8) -> Option<u8> {
    DIGITS.get(usize::from(byte)).copied().filter(|digit| *digit != NO_DIGIT)
}

fn is_base62(byte: u8) -> bool {
    digit(byte).is_some()
}

/// The value of base62 digits; `None` if one is no digit or the value is too large.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |sum, byte| sum.checked_mul(62)?.checked_add(u64::from(digit(*byte)?)))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
