//! Addresses as anyone may send them.

use super::*;
use crate::fuzz::fuzz;

#[test]
fn an_address_is_one_to_whoever_sends_mail_there_too() {
    fuzz!("mail-address", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match parse_address(&text, "application.email") {
            Ok(address) => {
                assert_eq!(parse_address(&address, "f").as_ref(), Ok(&address));
                assert!(address.len() <= 254 && address.bytes().all(|byte| byte.is_ascii_graphic()));
                assert_eq!(address.matches('@').count(), 1);
                // Nothing in it ends an address, or begins another, in a header or at a relay.
                assert!(!address.contains(['<', '>', ',', ';', ':', '"', '\\', '(', ')', '[', ']']), "{address}");
            }
            Err(violation) => {
                assert_eq!(violation.field, "application.email");
                assert!(violation.rule.len() < 200);
            }
        }
    });
}
