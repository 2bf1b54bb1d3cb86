//! Patterns and resources as anyone may send them.

use super::*;
use crate::fuzz::fuzz;

/// A pattern as it is told, one segment after the other.
fn naive(pattern: &[&str], resource: &[&str]) -> bool {
    match (pattern, resource) {
        (["**"], rest) => !rest.is_empty(),
        (["*"], rest) => rest.len() == 1,
        ([one, pattern @ ..], [other, resource @ ..]) => one == other && naive(pattern, resource),
        ([], rest) => rest.is_empty(),
        (_, []) => false,
    }
}

fn is_literal(segment: &str) -> bool {
    (1..=256).contains(&segment.len())
        && segment != "."
        && segment != ".."
        && !segment.contains(['/', '*'])
        && !segment.chars().any(char::is_control)
}

#[test]
fn a_pattern_covers_what_is_told_of_it_and_no_more() {
    fuzz!("permission", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (one, resource) = text.split_once('\n').unwrap_or((&text, ""));
        let segments: Vec<&str> = resource.split('/').collect();
        let is_good = segments.len() <= 16 && segments.iter().all(|segment| is_literal(segment));
        assert_eq!(is_resource(resource), is_good, "{resource:?}");
        assert_eq!(is_action(resource), is_literal(resource));
        let own: Vec<&str> = one.split('/').collect();
        let (last, parents) = own.split_last().unwrap();
        let is_pattern = own.len() <= 16
            && parents.iter().all(|segment| is_literal(segment))
            && (["*", "**"].contains(last) || is_literal(last));
        let Some(pattern) = Pattern::parse(one) else {
            assert!(!is_pattern, "{one:?}");
            return;
        };
        assert!(is_pattern && pattern.as_str() == one && Pattern::parse(pattern.as_str()) == Some(pattern.clone()));
        let grants: Grants = [(pattern.clone(), Actions::of(["read"]))].into_iter().collect();
        let expected = is_good && naive(&own, &segments);
        assert_eq!(grants.allows(resource, "read"), expected, "{one:?} {resource:?}");
        assert!(!grants.allows(resource, "write") && !grants.allows(resource, "*"));
        assert!(pattern.covers_pattern(&pattern) && Pattern::everything().covers_pattern(&pattern));
        if let Some(other) = Pattern::parse(resource) {
            // What covers a pattern covers what is in it.
            let wider = Grants::from_iter([(other.clone(), Actions::Any)]);
            assert_eq!(wider.covers(&grants), other.covers_pattern(&pattern), "{other} {pattern}");
            if is_resource(one) {
                assert_eq!(other.covers_pattern(&pattern), naive(&segments, &own));
            }
        }
    });
}
