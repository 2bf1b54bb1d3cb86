//! A password as a person types it. How it is kept, and what checking one costs, is the desk's.

use super::user::canonical_email;
use crate::error::Violation;
use std::fmt;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The fewest and the most characters, counted after NFKC.
const CHARACTERS: std::ops::RangeInclusive<usize> = 8..=256;

/// No text longer than this is looked at: bringing it into its one form costs no more than that.
const MAX_BYTES: usize = 4096;

/// A password in its one form: NFKC, so that it is the same from every keyboard. Spaces count. Overwritten when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl fmt::Debug for Password {
    /// Nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(********)")
    }
}

impl Password {
    /// A password to be set: 8 to 256 characters after NFKC, of whatever kind, but for control characters. Those come
    /// from a script (the line end of `echo`), not from a person, and whoever types the password later cannot type them.
    pub fn parse(text: String, field: &str) -> Result<Self, Violation> {
        let password = Self::normalized(Zeroizing::new(text), field)?;
        if !CHARACTERS.contains(&password.0.chars().count()) {
            return Err(length(field));
        }
        if password.0.chars().any(char::is_control) {
            return Err(Violation::new(field, "must not hold control characters, such as a line end"));
        }
        Ok(password)
    }

    /// A password shown in proof: of any length that was ever asked for, since a short one is only wrong.
    pub fn shown(text: String, field: &str) -> Result<Self, Violation> {
        Self::normalized(Zeroizing::new(text), field)
    }

    fn normalized(text: Zeroizing<String>, field: &str) -> Result<Self, Violation> {
        if text.is_empty() {
            return Err(Violation::new(field, "is required"));
        }
        if text.len() > MAX_BYTES {
            return Err(length(field));
        }
        // Room for all of it at once, as what a growing string leaves behind is not overwritten. One character more than
        // may be: that is enough to be too long.
        let most = CHARACTERS.end().saturating_add(1);
        let mut normal = Zeroizing::new(String::with_capacity(most.saturating_mul(4)));
        normal.extend(text.nfkc().take(most));
        Ok(Self(normal))
    }

    /// Refuses what anybody would try first who knows the email: the email itself, or what stands before its `@`.
    pub fn refuse_email(&self, email: &str, field: &str) -> Result<(), Violation> {
        let email = canonical_email(email);
        let local = email.split_once('@').map_or("", |(local, _)| local);
        let lower = Zeroizing::new(canonical_email(&self.0));
        if !lower.is_empty() && (*lower == email || *lower == local) {
            return Err(Violation::new(field, "must not be the email, or what stands before its @"));
        }
        Ok(())
    }

    /// What is hashed. The caller keeps it nowhere.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What is kept of a password: an argon2id hash with its salt and parameters, as a PHC string.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl fmt::Debug for PasswordHash {
    /// Nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(********)")
    }
}

impl PasswordHash {
    /// As it stands in a row.
    pub fn of_row(text: String) -> Self {
        Self(text)
    }

    /// For a row.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn length(field: &str) -> Violation {
    let (least, most) = (CHARACTERS.start(), CHARACTERS.end());
    Violation::new(field, format!("must be {least} to {most} characters after Unicode normalization (NFKC)"))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn rule(text: &str) -> String {
        let violation = Password::parse(text.to_owned(), "password").unwrap_err();
        assert_eq!(violation.field, "password");
        violation.rule
    }

    #[test]
    fn a_password_has_8_to_256_characters_of_any_kind() {
        for good in ["12345678", "pass word", "ααααααα α", &"a".repeat(256), &"🦀".repeat(256), "        "] {
            assert!(Password::parse(good.to_owned(), "password").is_ok(), "{good}");
        }
        for bad in ["1234567", "🦀🦀🦀🦀🦀🦀🦀", &"a".repeat(257), &"a".repeat(1 << 20)] {
            assert!(rule(bad).contains("8 to 256 characters"), "{}", bad.len());
        }
        assert_eq!(rule(""), "is required");
        assert!(rule("correct horse\n").contains("control"));
        assert!(rule("correct\0horse").contains("control"));
    }

    #[test]
    fn it_is_counted_and_compared_after_nfkc() {
        let same = |one: &str, other: &str| {
            let password = |text: &str| Password::parse(text.to_owned(), "f").unwrap();
            assert_eq!(password(one).expose(), password(other).expose());
        };
        same("caf\u{e9} au lait", "cafe\u{301} au lait");
        same("ｐａｓｓｗｏｒｄ", "password");
        // Eight letters of which each is written with two characters, and one character that is four letters.
        assert!(Password::parse("e\u{301}".repeat(7), "f").is_err());
        assert!(Password::parse("e\u{301}".repeat(8), "f").is_ok());
        assert!(Password::parse("\u{fb03}\u{fb03}\u{fb03}".to_owned(), "f").is_ok(), "ffi three times");
        assert!(Password::parse("\u{fdfa}".repeat(20), "f").is_err(), "18 characters each");
    }

    #[test]
    fn what_is_shown_in_proof_may_be_short_but_not_endless() {
        assert!(Password::shown("x".to_owned(), "f").is_ok());
        assert!(Password::shown("x\n".to_owned(), "f").is_ok());
        assert!(Password::shown(String::new(), "f").is_err());
        assert!(Password::shown("x".repeat(4097), "f").is_err());
        let long = Password::shown("x".repeat(4096), "f").unwrap();
        assert_eq!(long.expose().len(), 257);
    }

    #[test]
    fn the_email_is_no_password() {
        let refused = |text: &str, email: &str| {
            Password::parse(text.to_owned(), "f").unwrap().refuse_email(email, "password").is_err()
        };
        for bad in ["Ada.Lovelace", "ada.lovelace@example.com", "ADA.LOVELACE@EXAMPLE.COM "] {
            assert!(refused(bad, "Ada.Lovelace@example.com"), "{bad}");
        }
        assert!(!refused("ada.lovelace!", "ada.lovelace@example.com"));
        assert!(!refused("        ", ""));
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let password = Password::parse("correct horse".to_owned(), "f").unwrap();
        assert_eq!(format!("{password:?}"), "Password(********)");
    }
}
