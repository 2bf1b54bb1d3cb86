//! Grants as anyone may send them, and as rows have them.

use super::*;
use crate::fuzz::fuzz;

#[test]
fn what_is_broken_in_a_grant_is_named_and_permits_nothing_more() {
    fuzz!("grants", |bytes| {
        let Ok(grants) = serde_json::from_slice::<Vec<Grant>>(bytes) else { return };
        let again = serde_json::to_string(&grants).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Grant>>(&again).unwrap(), grants);
        let violations = validate(&grants, "key.grants");
        assert!(violations.len() <= MAX_VIOLATIONS);
        assert!(violations.iter().all(|violation| violation.field.starts_with("key.grants")), "{violations:?}");
        // Whatever is permitted is permitted by one of them that is whole by itself, or in part.
        let all = compile(&grants);
        let apart: Vec<_> = grants.iter().map(|grant| compile(std::slice::from_ref(grant))).collect();
        for (pattern, actions) in all.iter() {
            for action in actions.iter() {
                assert!(apart.iter().any(|one| one.covers_pattern(pattern.as_str(), action)), "{pattern} {action}");
            }
        }
        if violations.is_empty() {
            assert!(apart.iter().all(|one| !one.is_empty() && all.covers(one)));
        }
        // No name brings a wildcard with it: only what is about resources has any.
        let is_literal = |grant: &&Grant| !matches!(grant, Grant::Resources { .. });
        let literal: Vec<Grant> = grants.iter().filter(is_literal).cloned().collect();
        assert!(compile(&literal).iter().all(|(pattern, _)| !pattern.as_str().contains('*')));
    });
}
