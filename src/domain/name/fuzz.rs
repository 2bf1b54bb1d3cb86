//! Names and ids as anyone may send them.

use super::*;
use crate::fuzz::fuzz;
use regex::Regex;

#[test]
fn a_name_is_put_together_as_it_was_taken_apart() {
    let form = Regex::new(r"\Atenants/([^/]+)(?:/(tenants|users|keys|applications|tokens|sessions|events)/([^/]+))?\z")
        .unwrap();
    let id_form = Regex::new(r"\A[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?\z").unwrap();
    let kept_form = Regex::new(r"\A[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\z").unwrap();
    fuzz!("name", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match Path::find(&text) {
            None => assert!(!form.is_match(&text)),
            Some(Path { tenant, child: None }) => assert_eq!(["tenants", tenant].join("/"), text),
            Some(Path { tenant, child: Some((collection, id)) }) => {
                assert_eq!(["tenants", tenant, collection.as_str(), id].join("/"), text);
                assert!(form.is_match(&text));
            }
        }
        for part in text.split('/') {
            assert_eq!(KeyId::find(part).is_some(), kept_form.is_match(part), "{part:?}");
            match KeyId::parse(part, "key_id") {
                Ok(id) => assert!(id_form.is_match(part) && KeyId::find(part) == Some(id)),
                Err(violation) => {
                    assert!(!id_form.is_match(part), "{part:?}");
                    assert_eq!(violation, Violation::new("key_id", ID_RULE));
                }
            }
        }
    });
}

#[test]
fn an_id_in_few_bytes_is_the_same_id_whatever_its_text() {
    fuzz!("id", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (one, other) = text.split_once('/').unwrap_or((&text, ""));
        assert_eq!(Id::of(one).to_string(), one);
        // INVARIANT (one form): equal forms are equal ids.
        assert_eq!(Id::of(one) == Id::of(other), one == other);
    });
}
