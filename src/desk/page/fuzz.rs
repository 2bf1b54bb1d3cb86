//! Page tokens as anyone may send them back.

use super::*;
use crate::fuzz::fuzz;

#[test]
fn no_page_token_is_taken_but_those_that_were_given_out() {
    let list = Binding::new(b"key", &["ListKeys", "tenants/acme"]).unwrap();
    let other = Binding::new(b"key", &["ListUsers", "tenants/acme"]).unwrap();
    let made = ["k7", "", "é", "tenants/acme/keys/ci"].map(|after| list.token(after).into_bytes());
    fuzz!("page-token", made.to_vec(), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match list.part(0, &text) {
            Ok(Part { size, after }) => {
                assert_eq!(size, DEFAULT_SIZE);
                // In no other spelling either.
                assert!(text.is_empty() || list.token(&after) == text);
                assert!(text.is_empty() || other.part(0, &text).is_err());
            }
            Err(Error::Invalid(violations)) => {
                let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
                assert_eq!(fields, ["page_token"]);
            }
            Err(error) => panic!("{error:?}"),
        }
        let token = list.token(&text);
        assert_eq!(list.part(7, &token).ok(), Some(Part { size: 7, after: text.to_string() }));
        assert!(other.part(7, &token).is_err());
    });
}
