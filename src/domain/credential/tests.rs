use super::*;
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

fn minted(prefix: &str, revision: i64, seed: u64) -> (Credential, CredentialId) {
    mint(&Prefix::parse(prefix, "prefix").unwrap(), revision, &mut StdRng::seed_from_u64(seed))
}

#[test]
fn the_form_never_changes() {
    // NEVER CHANGE: credentials of this very form are in the field.
    let text = "kw_2101a2b3c4D_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg";
    let mut whole = text.to_owned();
    push_number(&mut whole, u64::from(crc32fast::hash(text.as_bytes())), 6);
    assert_eq!(whole, "kw_2101a2b3c4D_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg0JO8wy");
    assert_eq!(parse(&whole), Shape::Ours { prefix: "kw", id: "2101a2b3c4D", revision: 62 });
    assert_eq!(
        serde_json::to_string(&Digest::of(b"abc")).unwrap(),
        "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\""
    );
}

#[test]
fn only_the_form_is_ours() {
    #[track_caller]
    fn check(text: &str, expected: Shape<'_>) {
        assert_eq!(parse(text), expected, "{text:?}");
    }
    for foreign in ["", "_", "kw", "Kw_x", "0kw_x", "k-w_x", "abcdefghijklmnopq_x", "é_x", "AKIA0123456789"] {
        check(foreign, Shape::Foreign);
    }
    for broken in ["kw_", "kw__", "kw_é", "kw_1_", "kw_110000000a_", "kw_live_abc"] {
        check(broken, Shape::Broken { prefix: "kw" });
    }
    let (credential, _) = minted("kw", 7, 1);
    let text = credential.expose();
    check(&format!("{text} "), Shape::Broken { prefix: "kw" });
    check(&format!(" {text}"), Shape::Foreign);
    check(text.get(..text.len() - 1).unwrap(), Shape::Broken { prefix: "kw" });
}

#[test]
fn an_id_is_written_in_one_way() {
    #[track_caller]
    fn check(id: &str, expected: Option<i64>) {
        assert_eq!(revision_of(id), expected, "{id:?}");
    }
    check("1100000000", Some(1));
    check("21000000000", Some(62));
    check("BAzL8n0Y58m700000000", Some(i64::MAX));
    check("BAzL8n0Y58m800000000", None);
    check("Bzzzzzzzzzzz00000000", None);
    check("C10000000000000000000", None);
    check("1000000000", None);
    check("20100000000", None);
    check("000000000", None);
    check("110000000", None);
    check("11000000000", None);
    check("110000000-", None);
    check("", None);
}

#[test]
fn nothing_of_a_secret_is_printed() {
    let (credential, id) = minted("acme", 7, 1);
    assert_eq!(format!("{credential:?}{:?}", credential.digest()), "Credential(..)Digest(..)");
    assert_eq!(credential.obfuscated(), format!("acme_{id}_********"));
    assert_eq!(credential.obfuscated(), id.obfuscated(&Prefix::parse("acme", "prefix").unwrap()));
    assert_eq!(Credential::from_text("hunter2".to_owned()).obfuscated(), "********");
    let error = serde_json::from_str::<Digest>("\"ABCD\"").unwrap_err().to_string();
    assert!(!error.contains("ABCD"), "{error}");
}

#[test]
fn every_character_is_as_likely_as_any_other() {
    let mut text = String::new();
    push_random(&mut text, 62_000, &mut StdRng::seed_from_u64(7));
    for digit in 0..62 {
        let count = text.chars().filter(|character| *character == letter(digit)).count();
        assert!((850..1150).contains(&count), "{} came {count} times", letter(digit));
    }
}

#[test]
fn a_prefix_follows_its_rule() {
    assert_eq!(Prefix::default().as_str(), "kw");
    for good in ["a", "kw", "k2", "abcdefghijklmnop"] {
        assert!(Prefix::parse(good, "prefix").is_ok(), "{good:?}");
    }
    for bad in ["", "2k", "K", "k_", "k-", "é", "abcdefghijklmnopq"] {
        assert!(Prefix::parse(bad, "prefix").is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn what_is_minted_is_ours(prefix in "[a-z][a-z0-9]{0,15}", revision in 1..=i64::MAX, seed: u64) {
        let (credential, id) = minted(&prefix, revision, seed);
        let expected = Shape::Ours { prefix: &prefix, id: id.as_str(), revision };
        prop_assert_eq!(parse(credential.expose()), expected);
        prop_assert_eq!(CredentialId::find(id.as_str()), Some(id));
        let second = mint_secret_key(&mut StdRng::seed_from_u64(seed));
        prop_assert!(second.expose().len() == SECRET_CHARS && second.expose().bytes().all(is_base62));
    }

    #[test]
    fn one_wrong_character_is_noticed(revision in 1..=i64::MAX, seed: u64, place: prop::sample::Index, wrong: char) {
        let (credential, _) = minted("kw", revision, seed);
        let mut letters: Vec<char> = credential.expose().chars().collect();
        let letter = letters.get_mut(place.index(credential.expose().len())).unwrap();
        prop_assume!(*letter != wrong);
        *letter = wrong;
        let text: String = letters.into_iter().collect();
        let is_ours = matches!(parse(&text), Shape::Ours { .. });
        prop_assert!(!is_ours, "{}", text);
        prop_assert!(!Digest::of(text.as_bytes()).matches(&credential.digest()));
    }

    #[test]
    fn any_text_has_a_shape(text in "\\PC*|(kw|é)_[0-9A-Za-z_é]{0,80}|[a-z0-9_]{0,90}") {
        if let Shape::Ours { prefix, id, revision } = parse(&text) {
            let start = format!("{prefix}_{id}_");
            prop_assert!(text.starts_with(&start) && revision > 0);
            let (summed, checksum) = text.split_at(text.len() - CHECKSUM_CHARS);
            prop_assert_eq!(number(checksum.as_bytes()), Some(u64::from(crc32fast::hash(summed.as_bytes()))));
        }
    }

    #[test]
    fn a_digest_comes_back_from_its_text(bytes: [u8; 32], other: [u8; 32]) {
        let digest = Digest::from_bytes(bytes);
        let text = serde_json::to_string(&digest).unwrap();
        prop_assert!(serde_json::from_str::<Digest>(&text).unwrap().matches(&digest));
        prop_assert_eq!(digest.matches(&Digest::from_bytes(other)), bytes == other);
    }
}
