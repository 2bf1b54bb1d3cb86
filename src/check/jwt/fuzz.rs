//! What is read of a JWT before its signature is.

use super::*;
use crate::fuzz::fuzz;

#[test]
fn what_is_not_signed_leads_nowhere() {
    let index = Index::default();
    let now = Time::from_micros(0);
    fuzz!("jwt-unverified", |bytes| {
        // The text itself, and as the middle of one that has the right shape.
        let text = String::from_utf8_lossy(bytes).into_owned();
        let middle = format!("eyJ.{}.", URL_SAFE_NO_PAD.encode(bytes));
        for text in [text, middle] {
            assert!(index.jwt(&text, now).is_none());
            let said = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap_or("!")).unwrap_or_default();
            let said = serde_json::from_str::<serde_json::Value>(&String::from_utf8_lossy(&said)).unwrap_or_default();
            let name = said.get("sub").and_then(serde_json::Value::as_str);
            let is_name = name
                .and_then(Path::find)
                .is_some_and(|path| path.child.is_some() && TenantId::find(path.tenant).is_some());
            assert!(is_name || unverified_subject(&text).is_none());
            let revision = said.get("kw_rev").and_then(serde_json::Value::as_i64);
            assert!(unverified_revision(&text).is_none_or(|found| Some(found) == revision));
        }
    });
}
