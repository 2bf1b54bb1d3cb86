//! What secret scanners need to find our credentials in text: the form as a regular expression, and the checksum that
//! tells a credential from what only looks like one. Made of the numbers that make credentials.

use super::{CHECKSUM_CHARS, MAX_PREFIX_CHARS, MAX_REVISION_DIGITS, NONCE_CHARS, Prefix, SECRET_CHARS, letter};

/// How to find credentials in text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// A regular expression that RE2, PCRE and most others understand alike.
    pub regex: String,
    /// How many characters at the end are the checksum of all before them.
    pub checksum_chars: usize,
    /// The digits of that number, zero first; the most significant one leads.
    pub alphabet: String,
    /// Which checksum it is, by its name in the catalogues of CRCs.
    pub checksum: &'static str,
}

/// The pattern of all credentials that begin with one of these prefixes, or with any if none is named.
///
/// It matches every credential, and other text of the same form, which the checksum then tells apart.
pub fn pattern(prefixes: &[Prefix]) -> Pattern {
    let prefix = if prefixes.is_empty() {
        format!("[a-z][a-z0-9]{{0,{}}}", MAX_PREFIX_CHARS - 1)
    } else {
        let names: Vec<&str> = prefixes.iter().map(Prefix::as_str).collect();
        format!("(?:{})", names.join("|"))
    };
    // The count of the revision's digits, the first of them, which is no zero, and the others with the random characters.
    let counts: String = (1..=MAX_REVISION_DIGITS).filter_map(|count| u8::try_from(count).ok()).map(letter).collect();
    let (fewest, most) = (NONCE_CHARS, NONCE_CHARS + MAX_REVISION_DIGITS - 1);
    let secret = SECRET_CHARS + CHECKSUM_CHARS;
    Pattern {
        regex: format!("{prefix}_[{counts}][1-9A-Za-z][0-9A-Za-z]{{{fewest},{most}}}_[0-9A-Za-z]{{{secret}}}"),
        checksum_chars: CHECKSUM_CHARS,
        alphabet: (0..62).map(letter).collect(),
        checksum: "CRC-32/ISO-HDLC",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Shape, mint, parse};
    use super::*;
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};
    use regex::Regex;

    fn whole(prefixes: &[&str]) -> Regex {
        let prefixes: Vec<Prefix> = prefixes.iter().map(|prefix| Prefix::parse(prefix, "prefix").unwrap()).collect();
        Regex::new(&format!("^(?:{})$", pattern(&prefixes).regex)).unwrap()
    }

    /// The rule as it is told, by another road: bit by bit.
    fn checksum_agrees(text: &str, pattern: &Pattern) -> bool {
        assert_eq!(pattern.checksum, "CRC-32/ISO-HDLC");
        let (summed, told) = text.split_at(text.len() - pattern.checksum_chars);
        let mut crc = u32::MAX;
        for byte in summed.bytes() {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        let value = told.chars().try_fold(0_u64, |sum, digit| {
            pattern.alphabet.find(digit).map(|digit| sum * 62 + u64::try_from(digit).unwrap())
        });
        value == Some(u64::from(!crc))
    }

    #[test]
    fn the_pattern_is_told_to_scanners_and_does_not_change() {
        assert_eq!(pattern(&[]).regex, "[a-z][a-z0-9]{0,15}_[123456789AB][1-9A-Za-z][0-9A-Za-z]{8,18}_[0-9A-Za-z]{49}");
        let named = pattern(&[Prefix::default(), Prefix::parse("bo", "prefix").unwrap()]).regex;
        assert!(named.starts_with("(?:kw|bo)_[1"), "{named}");
        assert_eq!(pattern(&[]).alphabet, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    }

    #[test]
    fn what_is_not_of_the_form_is_not_found() {
        let (any, named) = (whole(&[]), whole(&["kw", "bo"]));
        for other in ["", "kw_", "kw_live_abcdef", "AKIA0123456789", "kw_1100000000_short"] {
            assert!(!any.is_match(other) && !named.is_match(other), "{other}");
        }
        let (credential, _) = mint(&Prefix::parse("other", "prefix").unwrap(), 7, &mut StdRng::seed_from_u64(1));
        assert!(any.is_match(credential.expose()) && !named.is_match(credential.expose()));
    }

    proptest! {
        #[test]
        fn every_credential_is_found_and_its_checksum_agrees(
            prefix in "[a-z][a-z0-9]{0,15}", revision in 1..=i64::MAX, bits in 0..63_u32, seed in any::<u64>()
        ) {
            let prefix = Prefix::parse(&prefix, "prefix").unwrap();
            let (credential, _) = mint(&prefix, revision >> bits, &mut StdRng::seed_from_u64(seed));
            let text = credential.expose();
            prop_assert!(whole(&[]).is_match(text));
            prop_assert!(whole(&["kw", prefix.as_str()]).is_match(text));
            let within = format!("url=https://x/?key={text}&y=1 ");
            let found = Regex::new(&pattern(&[prefix]).regex).unwrap().find(&within).map(|found| found.as_str().to_owned());
            prop_assert_eq!(found.as_deref(), Some(text));
            prop_assert!(checksum_agrees(text, &pattern(&[])));
        }

        #[test]
        fn the_checksum_tells_a_credential_from_what_looks_like_one(
            text in "kw_1[1-9A-Za-z][0-9A-Za-z]{8}_[0-9A-Za-z]{49}"
        ) {
            prop_assert!(whole(&[]).is_match(&text));
            prop_assert_eq!(checksum_agrees(&text, &pattern(&[])), matches!(parse(&text), Shape::Ours { .. }));
        }
    }
}
