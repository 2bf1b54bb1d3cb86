//! Referrers as any page may send them, and patterns as anyone may set them.

use super::*;
use crate::fuzz::fuzz;

#[test]
fn a_page_is_the_page_that_others_read_in_its_url() {
    fuzz!("referrer", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Some(page) = Page::find(&text) else { return };
        assert!(text.len() <= MAX_REFERRER_BYTES);
        // Where others can read it at all; a query they may not, and we need not.
        let Ok(url) = text.split(['?', '#']).next().unwrap().parse::<http::Uri>() else { return };
        assert_eq!(url.host(), Some(page.host));
        let usual = if url.scheme_str() == Some("https") { 443 } else { 80 };
        assert_eq!(url.port_u16().unwrap_or(usual), page.port);
        assert_eq!(url.path(), page.path);
        // The pattern of exactly this page allows it, and that of another host does not.
        let [own, other] = [page.host, "other.invalid"]
            .map(|host| format!("{}://{host}:{}{}", url.scheme_str().unwrap(), page.port, page.path));
        if let Ok(own) = Referrers::parse(&[own], "f") {
            assert!(own.allows(&text));
        }
        if let Ok(other) = Referrers::parse(&[other], "f") {
            assert!(page.host.eq_ignore_ascii_case("other.invalid") || !other.allows(&text));
        }
    });
}

#[test]
fn a_pattern_is_kept_as_it_was_given_and_covers_itself() {
    fuzz!("referrer-pattern", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (patterns, page) = text.split_once(' ').unwrap_or((&text, ""));
        let texts: Vec<&str> = patterns.split(',').collect();
        match Referrers::parse(&texts, "key.allowed_referrers") {
            Ok(referrers) => {
                assert!(texts.len() <= MAX_REFERRERS && texts.iter().all(|text| text.len() <= MAX_PATTERN_BYTES));
                assert_eq!(referrers.to_strings(), texts);
                assert!(referrers.covers(&referrers) && !referrers.covers(&Referrers::ANYWHERE));
                // What is allowed is allowed by one of them alone, which the others cover or not.
                let alone = |text: &&str| Referrers::parse(&[*text], "f").unwrap();
                let allowing = texts.iter().map(alone).filter(|alone| alone.allows(page)).count();
                assert_eq!(referrers.allows(page), allowing > 0);
                assert!(texts.iter().map(alone).all(|alone| referrers.covers(&alone)));
            }
            Err(violations) => {
                assert!(!violations.is_empty() && violations.len() <= MAX_REFERRERS);
                assert!(violations.iter().all(|violation| violation.field.starts_with("key.allowed_referrers")));
            }
        }
    });
}
