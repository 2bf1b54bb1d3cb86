//! Whatever is not exactly what our key has signed is refused.

#![expect(clippy::string_slice, reason = "texts of our own making, in ASCII")]

use super::*;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::{EncodingKey, Header as AnyHeader};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

pub(super) const ISSUER: &str = "http://127.0.0.1:50053";

pub(super) struct Pair {
    pair: Ed25519KeyPair,
    pub(super) public: PublicKey,
}

impl Pair {
    fn new() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = PublicKey::from_bytes(pair.public_key().as_ref().try_into().unwrap());
        Self { pair, public }
    }

    /// Signs any header and any claims, as they stand.
    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    pub(super) fn header(&self) -> Value {
        json!({"typ": TYP, "alg": "EdDSA", "kid": self.public.kid()})
    }

    pub(super) fn verify(&self, text: &str) -> Option<Claims> {
        verify(text, &self.public, ISSUER)
    }
}

pub(super) static OURS: LazyLock<Pair> = LazyLock::new(Pair::new);

pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "tenants/acme/keys/ci", "client_id": "tenants/acme/keys/ci", "aud": ["tenants/acme"],
        "exp": 2_000_000_000_i64, "iat": 1_999_996_400_i64, "jti": "0c", "scope": "read:doc/*",
        "kw_rev": 7, "kw_ver": 3, "kw_narrow": true,
    })
}

/// A token with one claim replaced, or left out where it is null.
fn with_claim(name: &str, value: Value) -> String {
    let mut claims = claims();
    let object = claims.as_object_mut().unwrap();
    object.remove(name);
    if !value.is_null() {
        object.insert(name.to_owned(), value);
    }
    OURS.sign(&OURS.header().to_string(), &claims.to_string())
}

/// A token with one header replaced, or left out where it is null.
fn with_header(name: &str, value: Value) -> String {
    let mut header = OURS.header();
    let object = header.as_object_mut().unwrap();
    object.remove(name);
    if !value.is_null() {
        object.insert(name.to_owned(), value);
    }
    OURS.sign(&header.to_string(), &claims().to_string())
}

pub(super) fn good() -> String {
    OURS.sign(&OURS.header().to_string(), &claims().to_string())
}

#[track_caller]
fn refused(text: &str) {
    assert_eq!(OURS.verify(text), None, "{text}");
}

#[test]
fn what_our_key_has_signed_is_read() {
    let expected: Claims = serde_json::from_value(claims()).unwrap();
    assert_eq!(OURS.verify(&good()), Some(expected.clone()));
    assert_eq!(kid_of(&good()), Some(OURS.public.kid()));
    assert_eq!(expected.expire_time().micros(), 2_000_000_000_000_000);
    assert_eq!((expected.revision, expected.secret_version, expected.narrowed), (7, 3, true));
    assert!(OURS.verify(&with_header("typ", json!("application/at+jwt"))).is_some());
    // Both are for the decision, with its own clock.
    assert!(OURS.verify(&with_claim("exp", json!(1))).is_some());
    assert!(OURS.verify(&with_claim("aud", json!(["https://other.example"]))).is_some());
}

#[test]
fn what_another_library_signs_with_our_key_is_the_same() {
    let der = OURS.pair.to_pkcs8v1().unwrap();
    let mut header = AnyHeader::new(Algorithm::EdDSA);
    header.typ = Some(TYP.to_owned());
    header.kid = Some(OURS.public.kid());
    let text = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_ed_der(der.as_ref())).unwrap();
    assert!(OURS.verify(&text).is_some());
}

#[test]
fn no_other_algorithm_is_believed() {
    for alg in ["none", "None", "NONE", "nOnE", "HS256", "RS256", "ES256", "PS256", "Ed25519", "eddsa", ""] {
        refused(&with_header("alg", json!(alg)));
        assert_eq!(kid_of(&with_header("alg", json!(alg))), None);
    }
    refused(&with_header("alg", json!(null)));
    refused(&with_header("alg", json!(["EdDSA"])));
    // Without a signature at all.
    let text = with_header("alg", json!("none"));
    let unsigned = &text[..=text.rfind('.').unwrap()];
    assert!(looks_like_jwt(unsigned), "it is refused as a JWT, not looked up as a key");
    refused(unsigned);
    refused(&good()[..=good().rfind('.').unwrap()]);
    // With our public key as a shared secret, as everybody knows it.
    for secret in [OURS.public.as_bytes().to_vec(), OURS.public.to_base64().into_bytes()] {
        let mut header = AnyHeader::new(Algorithm::HS256);
        header.typ = Some(TYP.to_owned());
        header.kid = Some(OURS.public.kid());
        refused(&jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&secret)).unwrap());
    }
}

#[test]
fn no_other_header_is_believed() {
    for typ in ["JWT", "jwt", "AT+JWT", "id+jwt", "", "application/jwt"] {
        refused(&with_header("typ", json!(typ)));
    }
    let others = [
        ("typ", json!(null)),
        ("kid", json!(null)),
        ("kid", json!("")),
        ("kid", json!(Pair::new().public.kid())),
        ("kid", json!("../../etc/passwd")),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("jku", json!("https://evil.example/jwks.json")),
        ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": OURS.public.to_base64()})),
        ("x5u", json!("https://evil.example/x.pem")),
        ("x5c", json!([])),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("filler", json!("x".repeat(1000))),
    ];
    for (name, value) in others {
        refused(&with_header(name, value));
    }
    let doubled = format!(r#"{{"alg":"EdDSA","alg":"EdDSA","typ":"at+jwt","kid":"{}"}}"#, OURS.public.kid());
    refused(&OURS.sign(&doubled, &claims().to_string()));
}

#[test]
fn nobody_elses_key_and_no_other_issuer_is_believed() {
    let other = Pair::new();
    // Signed by another key, under its own name and under ours.
    refused(&other.sign(&other.header().to_string(), &claims().to_string()));
    refused(&other.sign(&OURS.header().to_string(), &claims().to_string()));
    assert_eq!(verify(&good(), &other.public, ISSUER), None);
    for issuer in ["", "http://127.0.0.1:50053/", "HTTP://127.0.0.1:50053", "https://evil.example"] {
        refused(&with_claim("iss", json!(issuer)));
        assert_eq!(verify(&good(), &OURS.public, issuer), None);
    }
    refused(&with_claim("iss", json!([ISSUER])));
    refused(&with_claim("iss", json!([ISSUER, "https://evil.example"])));
}

#[test]
fn claims_that_we_do_not_write_are_refused() {
    let object = claims();
    for name in object.as_object().unwrap().keys() {
        refused(&with_claim(name, Value::Null));
        refused(&with_claim(name, json!({"a": 1})));
        let (name, value) = (json!(name), &object[name]);
        // The same claim twice, with the same value and with another.
        for again in [value.clone(), json!("other")] {
            let text = object.to_string();
            let doubled = format!("{{{name}:{again},{}", &text[1..]);
            refused(&OURS.sign(&OURS.header().to_string(), &doubled));
        }
    }
    for name in ["exp", "iat", "kw_rev", "kw_ver"] {
        for number in ["-1", "1e3", "1.0", "9223372036854775807", "9223372036854775808", "1e400", "\"7\"", "true"] {
            if let ("kw_rev" | "kw_ver", "9223372036854775807") = (name, number) {
                continue;
            }
            let text = with_claim(name, json!("PLACE"));
            let middle = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap();
            let claims = String::from_utf8(middle).unwrap().replace("\"PLACE\"", number);
            refused(&OURS.sign(&OURS.header().to_string(), &claims));
        }
    }
    refused(&with_claim("admin", json!(true)));
    refused(&with_claim("nbf", json!(1)));
    refused(&with_claim("kw_narrow", json!("false")));
    refused(&OURS.sign(&OURS.header().to_string(), &format!("{} ,", claims())));
    refused(&OURS.sign(&OURS.header().to_string(), &format!("[{}]", claims())));
}

#[test]
fn an_edited_token_is_refused() {
    let text = good();
    let (message, signature) = text.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let mut edited = claims();
    edited["sub"] = json!("tenants/acme/keys/other");
    refused(&format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(edited.to_string())));
    for ending in ["A", "=", "==", ".", ".e30", "\n", " ", "\0", "%"] {
        refused(&format!("{text}{ending}"));
        refused(&format!("{ending}{text}"));
    }
    refused(&text[..text.len() - 1]);
    refused(&text.replacen('.', "=.", 1));
    refused(&text.replacen("eyJ", "EyJ", 1));
    refused("eyJ");
    refused("eyJ..");
    refused("eyJhbGciOiJFZERTQSJ9.e30.");
    refused(&format!("eyJ{}", "A".repeat(9000)));
}

#[test]
fn the_same_signature_in_other_letters_is_refused() {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // 64 bytes are 86 letters, of which the last carries four bits too many: fifteen other letters mean the same bytes.
    let text = good();
    let last = text.as_bytes()[text.len() - 1];
    let same: Vec<&u8> = LETTERS.iter().filter(|letter| **letter != last).collect();
    for letter in same {
        refused(&format!("{}{}", &text[..text.len() - 1], char::from(*letter)));
    }
    // The signature with the order of the group added to its second half.
    let order = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10_u8,
    ];
    let (message, signature) = text.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut carry = 0_u16;
    for (byte, add) in bytes[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = (carry & 0xff) as u8;
        carry >>= 8;
    }
    refused(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes)));
}

#[test]
fn only_the_shape_of_a_jwt_is_taken_for_one() {
    assert!(looks_like_jwt(&good()));
    for text in ["", "eyJ", "kw_1_abc", "eyJ.e30", "eyJ.e30.x.y", "eyJ.e 30.x", "ey.J.x", "Bearer eyJ.e30.x", "eyJ.é.x"]
    {
        assert!(!looks_like_jwt(text), "{text}");
    }
    let long = format!("eyJ.{}.x", "A".repeat(MAX_JWT_BYTES));
    assert!(!looks_like_jwt(&long));
}

#[test]
fn a_scope_is_spelled_in_one_way() {
    let permissions = [("doc/*", "read"), ("**", "*"), ("tables/Zürich/a b", "x:y%")];
    let scope = scope_of(permissions);
    assert_eq!(scope, "read:doc/* *:** x%3Ay%25:tables/Z%C3%BCrich/a%20b");
    let back: Vec<(String, String)> = permissions.map(|(r, a)| (r.to_owned(), a.to_owned())).to_vec();
    assert_eq!(permissions_of(&scope), Some(back));
    assert_eq!(permissions_of(""), Some(Vec::new()));
    for bad in
        [" ", "read", "read:doc read", "read:a:b", "read:%2a", "read:%41", "read:%", "read:%f", "read:%FF", "é:a"]
    {
        assert_eq!(permissions_of(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn every_permission_survives_its_scope(pairs in prop::collection::vec((".{0,20}", ".{0,20}"), 0..5)) {
        let scope = scope_of(pairs.iter().map(|(resource, action)| (resource.as_str(), action.as_str())));
        prop_assert!(scope.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
        prop_assert_eq!(permissions_of(&scope), Some(pairs));
    }

    #[test]
    fn a_token_with_any_byte_changed_is_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = good().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert_eq!(OURS.verify(&text), None);
        }
    }

    #[test]
    fn any_text_is_refused_without_ado(text in ".{0,200}", tail in "[A-Za-z0-9_.-]{0,200}") {
        prop_assert_eq!(OURS.verify(&text), None);
        prop_assert_eq!(OURS.verify(&format!("eyJ{tail}")), None);
    }
}

#[test]
fn an_array_of_what_we_say_is_not_what_we_say() {
    let values: Vec<Value> = serde_json::from_str::<Claims>(&claims().to_string())
        .map(|claims| {
            let Claims { iss, sub, client_id, aud, exp, iat, jti, scope, revision, secret_version, narrowed } = claims;
            vec![
                json!(iss),
                json!(sub),
                json!(client_id),
                json!(aud),
                json!(exp),
                json!(iat),
                json!(jti),
                json!(scope),
                json!(revision),
                json!(secret_version),
                json!(narrowed),
            ]
        })
        .unwrap();
    let array = json!(values).to_string();
    assert!(serde_json::from_str::<Claims>(&array).is_ok(), "serde itself takes it");
    refused(&OURS.sign(&OURS.header().to_string(), &array));
    let header = json!(["EdDSA", TYP, OURS.public.kid()]).to_string();
    refused(&OURS.sign(&header, &claims().to_string()));
}
