//! JWTs as anyone may send them.

use super::tests::{ISSUER, OURS, claims, good};
use super::*;
use crate::fuzz::fuzz;

#[test]
fn nothing_is_believed_but_what_was_signed() {
    let whole = good();
    let mut made = vec![whole.clone().into_bytes()];
    for header in [r#"{"alg":"none","typ":"at+jwt","kid":"K"}"#, r#"{"alg":"HS256","typ":"at+jwt","kid":"K"}"#] {
        made.push(OURS.sign(&header.replace('K', &OURS.public.kid()), &claims().to_string()).into_bytes());
    }
    fuzz!("jwt", made, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let kid = kid_of(&text);
        assert!(kid.is_none() || looks_like_jwt(&text));
        assert!(!looks_like_jwt(&text) || (text.len() <= MAX_JWT_BYTES && text.is_ascii()));
        // Not another spelling either, of text that was signed.
        assert_eq!(OURS.verify(&text).is_some(), text == whole);
    });
}

/// As [`nothing_is_believed_but_what_was_signed`] never gets beyond the signature.
#[test]
fn what_was_signed_is_believed_only_in_our_own_form() {
    fuzz!("jwt-claims", vec![claims().to_string().into_bytes()], |bytes| {
        let said = String::from_utf8_lossy(bytes);
        let Some(read) = OURS.verify(&OURS.sign(&OURS.header().to_string(), &said)) else { return };
        assert_eq!(read.iss, ISSUER);
        assert!(read.exp >= 0 && read.iat >= 0 && read.revision >= 0 && read.secret_version >= 0);
        assert!(read.expire_time() <= Time::MAX && read.issue_time() <= Time::MAX);
        let again = OURS.sign(&OURS.header().to_string(), &serde_json::to_string(&read).unwrap());
        assert!(again.len() > MAX_JWT_BYTES || OURS.verify(&again) == Some(read));
        // As a reader sees it that knows nothing of us: no claim that we have not read, and none twice.
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&said).unwrap();
        assert_eq!(object.len(), 11);
    });
}

#[test]
fn a_header_is_read_only_in_our_own_form() {
    let header = OURS.header().to_string().into_bytes();
    fuzz!("jwt-header", vec![header], |bytes| {
        let said = String::from_utf8_lossy(bytes);
        if OURS.verify(&OURS.sign(&said, &claims().to_string())).is_none() {
            return;
        }
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&said).unwrap();
        let word = |name: &str| object.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        assert_eq!((object.len(), word("alg"), word("kid")), (3, "EdDSA", OURS.public.kid().as_str()));
        assert!(["at+jwt", "application/at+jwt"].contains(&word("typ")));
    });
}

#[test]
fn a_scope_has_one_spelling() {
    fuzz!("jwt-scope", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Some(permissions) = permissions_of(&text) {
            let pairs = permissions.iter().map(|(resource, action)| (resource.as_str(), action.as_str()));
            assert_eq!(scope_of(pairs), text);
        }
        let (resource, action) = text.split_at_checked(text.len() / 2).unwrap_or((&text, ""));
        let scope = scope_of([(resource, action), (action, resource)]);
        assert!(scope.is_ascii());
        let expected = [(resource.to_owned(), action.to_owned()), (action.to_owned(), resource.to_owned())];
        assert_eq!(permissions_of(&scope).as_deref(), Some(expected.as_slice()));
    });
}
