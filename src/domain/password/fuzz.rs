//! Passwords and emails as anyone may send them.

use super::*;
use crate::domain::user::validate_email;
use crate::fuzz::fuzz;

#[test]
fn a_password_has_one_form_and_is_in_no_error() {
    fuzz!("password", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match Password::parse(text.to_string(), "password") {
            Ok(password) => {
                assert!(text.len() <= MAX_BYTES && CHARACTERS.contains(&password.0.chars().count()));
                let again = Password::parse(password.0.to_string(), "password").unwrap();
                assert_eq!(*again.0, *password.0, "its form is a form of its own");
                // What may be set can be shown.
                assert_eq!(*Password::shown(text.to_string(), "password").unwrap().0, *password.0);
            }
            Err(violation) => {
                assert_eq!(violation.field, "password");
                assert!(violation.rule.len() < 200 && (text.len() < 8 || !violation.rule.contains(&*text)));
            }
        }
        match validate_email(&text, "user.email") {
            Ok(()) => {
                let canonical = canonical_email(&text);
                assert_eq!(canonical_email(&canonical), canonical);
                assert!(text.is_empty() || canonical.matches('@').count() == 1);
                assert!(text.len() <= 254);
            }
            Err(violation) => assert_eq!(violation.field, "user.email"),
        }
    });
}
