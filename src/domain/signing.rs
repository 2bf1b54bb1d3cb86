//! The keys that sign JWTs, as everybody may know them: their public halves, and when they sign. What is private about
//! them is for `keyring` and `store`.
//!
//! A key is published [`PUBLISH_AHEAD`] before it signs, so that whoever fetched the set earlier has it in time. When
//! the next one begins to sign it retires, and it stays published until the last token it can have signed has expired.

use super::clock::Time;
use super::token::{MAX_TOKEN_LIFE, TOKEN_RETENTION};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::time::Duration;

/// How long before it signs a key is published.
pub const PUBLISH_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// How much longer than needed a retired key stays published: clocks of others may differ.
const FORGET_MARGIN: Duration = Duration::from_secs(60 * 60);

/// The public half of an Ed25519 key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Base64url without padding, as `x` of a JWK.
    pub fn to_base64(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The id of the key: its thumbprint of RFC 7638, so that the same id cannot mean another key.
    ///
    /// NEVER CHANGE: tokens and rows name keys by it.
    pub fn kid(&self) -> String {
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.to_base64());
        URL_SAFE_NO_PAD.encode(Sha256::digest(jwk))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_base64())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| de::Error::custom("not a public key"))
    }
}

/// A signing key, without its private half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// Its id in the header of the tokens that it signs: [`PublicKey::kid`].
    pub kid: String,
    /// What verifies its signatures.
    pub public_key: PublicKey,
    /// When it was made.
    pub create_time: Time,
    /// From when on it signs.
    pub sign_time: Time,
    /// Until when it signs, once that is known.
    pub retire_time: Option<Time>,
    /// Whether somebody else may have its private half: then nothing that it signed is accepted any more.
    pub is_compromised: bool,
    /// The revision that last changed it.
    pub revision: i64,
}

impl SigningKey {
    /// A key that signs from `sign_time` on.
    pub fn new(public_key: PublicKey, create_time: Time, sign_time: Time) -> Self {
        Self {
            kid: public_key.kid(),
            public_key,
            create_time,
            sign_time,
            retire_time: None,
            is_compromised: false,
            revision: 0,
        }
    }

    /// What the change log calls it.
    pub fn name(&self) -> String {
        format!("signing-keys/{}", self.kid)
    }

    /// Whether it signs.
    pub fn signs(&self, now: Time) -> bool {
        !self.is_compromised && self.sign_time <= now && self.retire_time.is_none_or(|retire_time| now < retire_time)
    }

    /// Whether what it has signed has expired, all of it.
    pub fn is_forgotten(&self, now: Time) -> bool {
        self.retire_time.is_some_and(|time| time.after(MAX_TOKEN_LIFE).after(FORGET_MARGIN) <= now)
    }

    /// Whether it is published, and what it has signed accepted.
    pub fn is_published(&self, now: Time) -> bool {
        !self.is_compromised && !self.is_forgotten(now)
    }

    /// Whether a token that says it lives until `expire_time` may be one of its own. A key that signs no more cannot have
    /// signed one that outlives what it signed last, so that whoever gets hold of it later makes nothing good with it; and
    /// for a day longer than it is published, its last tokens are told to be expired.
    pub fn may_have_signed(&self, expire_time: Time, now: Time) -> bool {
        let Some(last) = self.retire_time.map(|time| time.after(MAX_TOKEN_LIFE)) else { return !self.is_compromised };
        !self.is_compromised && expire_time <= last && now < last.after(TOKEN_RETENTION).after(FORGET_MARGIN)
    }

    /// Has it retire at `time`, unless it does so earlier.
    pub fn retire(&mut self, time: Time) {
        self.retire_time = Some(self.retire_time.map_or(time, |earlier| earlier.min(time)));
    }
}

/// The key that signs: of several the one that began last.
pub fn signer(keys: &[SigningKey], now: Time) -> Option<&SigningKey> {
    keys.iter().filter(|key| key.signs(now)).max_by_key(|key| (key.sign_time, &key.kid))
}

/// The key that signs last: no other has taken its place.
pub fn newest(keys: &[SigningKey]) -> Option<&SigningKey> {
    keys.iter().filter(|key| !key.is_compromised && key.retire_time.is_none()).max_by_key(|key| key.sign_time)
}

/// From when on the next key is to sign, if it is time to make it: at once where none signs, else [`PUBLISH_AHEAD`] of
/// the end of the `life` of the newest.
pub fn next_sign_time(keys: &[SigningKey], now: Time, life: Duration) -> Option<Time> {
    if signer(keys, now).is_none() {
        return Some(now);
    }
    let due = newest(keys).map(|newest| newest.sign_time.after(life.saturating_sub(PUBLISH_AHEAD)));
    due.is_none_or(|due| due <= now).then(|| now.after(PUBLISH_AHEAD))
}

/// A public key in the words of RFC 7517 and RFC 8037.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    /// Key type.
    pub kty: &'static str,
    /// Curve.
    pub crv: &'static str,
    /// The public key, base64url without padding.
    pub x: String,
    /// Key id.
    pub kid: String,
    /// Algorithm.
    pub alg: &'static str,
    /// What it is for.
    #[serde(rename = "use")]
    pub usage: &'static str,
}

/// A set of public keys, as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwks {
    /// Those that are published, the one that signs first or began last first.
    pub keys: Vec<Jwk>,
}

impl Jwks {
    /// What is published of `keys`.
    pub fn of(keys: &[SigningKey], now: Time) -> Self {
        let mut published: Vec<&SigningKey> = keys.iter().filter(|key| key.is_published(now)).collect();
        published.sort_by(|one, other| (other.sign_time, &other.kid).cmp(&(one.sign_time, &one.kid)));
        let keys = published
            .into_iter()
            .map(|key| Jwk {
                kty: "OKP",
                crv: "Ed25519",
                x: key.public_key.to_base64(),
                kid: key.kid.clone(),
                alg: "EdDSA",
                usage: "sig",
            })
            .collect();
        Self { keys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_micros(1_000_000_000_000_000);
    const HOUR: Duration = Duration::from_secs(60 * 60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

    fn key(byte: u8, sign_time: Time) -> SigningKey {
        SigningKey::new(PublicKey::from_bytes([byte; 32]), sign_time, sign_time)
    }

    #[test]
    fn the_id_is_the_thumbprint_of_the_standard() {
        // The example of RFC 8037, appendix A.3.
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let key = PublicKey::from_bytes(x.try_into().unwrap());
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_public_key_is_written_as_text_and_read_back() {
        let written = serde_json::to_string(&key(7, NOW)).unwrap();
        assert_eq!(serde_json::from_str::<SigningKey>(&written).unwrap(), key(7, NOW));
        for bad in ["\"\"", "\"AAAA\"", "\"????\"", "7"] {
            assert!(serde_json::from_str::<PublicKey>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_next_key_is_published_a_day_before_it_signs_and_the_old_one_until_its_last_token_has_expired() {
        assert_eq!(next_sign_time(&[], NOW, LIFE), Some(NOW), "the first signs at once");
        let mut keys = vec![key(1, NOW)];
        let due = NOW.after(LIFE - DAY);
        let before = Time::from_micros(due.micros() - 1);
        assert_eq!(next_sign_time(&keys, before, LIFE), None);
        let sign_time = next_sign_time(&keys, due, LIFE).unwrap();
        assert_eq!(sign_time, NOW.after(LIFE));

        keys[0].retire(sign_time);
        keys.push(key(2, sign_time));
        assert_eq!(next_sign_time(&keys, due, LIFE), None, "once is enough");
        assert_eq!(Jwks::of(&keys, due).keys.len(), 2);
        assert_eq!(signer(&keys, due).unwrap().kid, keys[0].kid);
        assert_eq!(signer(&keys, sign_time).unwrap().kid, keys[1].kid);
        let shown: Vec<String> = Jwks::of(&keys, sign_time.after(DAY)).keys.into_iter().map(|jwk| jwk.kid).collect();
        assert_eq!(shown, [keys[1].kid.clone(), keys[0].kid.clone()]);
        assert_eq!(Jwks::of(&keys, sign_time.after(DAY + HOUR)).keys.len(), 1);
    }

    #[test]
    fn after_a_long_standstill_the_next_key_is_published_first_all_the_same() {
        let keys = [key(1, NOW)];
        let late = NOW.after(10 * LIFE);
        assert!(signer(&keys, late).is_some());
        assert_eq!(next_sign_time(&keys, late, LIFE), Some(late.after(DAY)));
    }

    #[test]
    fn a_key_that_was_replaced_before_it_ever_signed_counts_no_more() {
        let mut keys = [key(1, NOW), key(2, NOW.after(LIFE)), key(3, NOW.after(HOUR))];
        keys[0].retire(NOW.after(HOUR));
        keys[1].retire(NOW.after(HOUR));
        assert_eq!(newest(&keys).unwrap().kid, keys[2].kid);
        let due = NOW.after(HOUR).after(LIFE - DAY);
        assert_eq!(signer(&keys, due).unwrap().kid, keys[2].kid);
        assert_eq!(signer(&keys, NOW.after(LIFE)).unwrap().kid, keys[2].kid);
        assert_eq!(next_sign_time(&keys, due, LIFE), Some(due.after(DAY)));
    }

    #[test]
    fn a_key_that_retired_has_signed_nothing_that_lives_longer_than_its_last_token() {
        let mut key = SigningKey::new(PublicKey::from_bytes([7; 32]), NOW, NOW);
        assert!(key.may_have_signed(NOW.after(LIFE), NOW));
        key.retire(NOW);
        let last = NOW.after(DAY);
        for now in [NOW, last, last.after(DAY)] {
            assert!(key.may_have_signed(last, now));
            assert!(!key.may_have_signed(Time::from_micros(last.micros() + 1), now));
        }
        assert!(!key.may_have_signed(last, last.after(DAY).after(HOUR)));
        key.is_compromised = true;
        assert!(!key.may_have_signed(NOW, NOW));
    }

    #[test]
    fn a_compromised_key_neither_signs_nor_is_published() {
        let mut keys = [key(1, NOW)];
        keys[0].is_compromised = true;
        assert_eq!(signer(&keys, NOW), None);
        assert!(Jwks::of(&keys, NOW).keys.is_empty());
        assert_eq!(next_sign_time(&keys, NOW, LIFE), Some(NOW));
    }
}
