//! Credentials as anyone may send them.

use super::*;
use crate::fuzz::fuzz;
use rand::{SeedableRng as _, rngs::StdRng};
use regex::Regex;

const DIGITS: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The number of these digits; `None` beyond 2^128.
fn value(digits: &str) -> Option<u128> {
    digits.chars().try_fold(0_u128, |sum, digit| sum.checked_mul(62)?.checked_add(DIGITS.find(digit)? as u128))
}

/// The form as it is told, by a regular expression and a CRC that goes bit by bit: prefix, id and revision.
fn naive<'a>(form: &Regex, text: &'a str) -> Option<(&'a str, &'a str, i64)> {
    let found = form.captures(text)?;
    let [prefix, id, count, rest] = [1, 2, 3, 4].map(|place| found.get(place).map_or("", |part| part.as_str()));
    let (digits, _) = rest.split_at_checked(usize::try_from(value(count)?).ok()?)?;
    let is_id = rest.len() - digits.len() == 8 && !digits.is_empty() && !digits.starts_with('0');
    let (summed, sum) = text.split_at(text.len() - 6);
    let mut crc = u32::MAX;
    for byte in summed.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let revision = i64::try_from(value(digits)?).ok()?;
    (is_id && value(sum) == Some(u128::from(!crc))).then_some((prefix, id, revision))
}

#[test]
fn only_what_the_form_says_is_a_credential_of_ours() {
    let mut rng = StdRng::seed_from_u64(1);
    let revisions = [1, 61, 62, 7_000_000, i64::MAX];
    let made = revisions.map(|revision| mint(&Prefix::default(), revision, &mut rng).0.expose().as_bytes().to_vec());
    let form = Regex::new(r"\A([a-z][a-z0-9]{0,15})_(([0-9A-Za-z])([0-9A-Za-z]+))_[0-9A-Za-z]{49}\z").unwrap();
    fuzz!("credential", made.to_vec(), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let shape = parse(&text);
        match naive(&form, &text) {
            Some((prefix, id, revision)) => {
                assert_eq!(shape, Shape::Ours { prefix, id, revision });
                let id = CredentialId::find(id).unwrap();
                assert_eq!(id.revision(), revision);
                // Each revision is written in one way.
                let mut again = String::new();
                push_revision(&mut again, revision);
                assert!(id.as_str().starts_with(&again) && id.as_str().len() == again.len() + NONCE_CHARS);
                assert!(text.len() <= 90);
            }
            None => assert!(!matches!(shape, Shape::Ours { .. }), "{shape:?}"),
        }
        // What is shown holds the secret neither whole nor in part.
        let credential = Credential::from_text(text.to_string());
        let shown = credential.obfuscated();
        assert!(shown.ends_with(HIDDEN) && shown.len() <= 90);
        assert_eq!(shown == HIDDEN, !matches!(shape, Shape::Ours { .. }));
        if let Err(violation) = Prefix::parse(&text, "tenant.prefix") {
            assert_eq!(violation, Violation::new("tenant.prefix", PREFIX_RULE));
        }
        if let Ok(digest) = serde_json::from_slice::<Digest>(bytes) {
            let again = serde_json::to_string(&digest).unwrap();
            assert!(serde_json::from_str::<Digest>(&again).unwrap().matches(&digest));
            assert_eq!(again.len(), 66);
        }
    });
}
