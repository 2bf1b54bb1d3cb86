//! Heads as operators paste them, and as clients send what they have seen.

use super::*;
use crate::fuzz::fuzz;
use regex::Regex;

#[test]
fn a_head_is_read_in_the_form_in_which_it_is_exported() {
    let form = Regex::new(r"\A(?:0|[1-9][0-9]*):[0-9A-Fa-f]{64}\z").unwrap();
    fuzz!("head", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match text.parse::<Head>() {
            Ok(head) => {
                assert_eq!(head.to_string(), text.to_lowercase());
                assert_eq!(head.chain.len(), CHAIN_BYTES);
            }
            // Of what has the form, only a revision beyond all that there can be is refused.
            Err(()) => assert!(!form.is_match(&text) || text.len() > 64 + 18),
        }
    });
}
