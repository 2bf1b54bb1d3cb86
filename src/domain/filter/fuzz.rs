//! Filters as anyone may send them.

use super::*;
use crate::fuzz::fuzz;

const FIELDS: &[FilterField] = &[
    FilterField { name: "owner", kind: FieldKind::Text },
    FilterField { name: "create_time", kind: FieldKind::Time },
    FilterField { name: "revision", kind: FieldKind::Number },
    FilterField { name: "state", kind: FieldKind::Word(&["KEY_STATE_ACTIVE", "KEY_STATE_SUSPENDED"]) },
    FilterField { name: "labels", kind: FieldKind::Labels },
];

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The filter in its one long form; `None` if it holds a time that RFC 3339 cannot write.
fn printed(filter: &Filter) -> Option<String> {
    let term = |term: &Term| {
        let op = match term.op {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Less => "<",
            Op::LessOrEqual => "<=",
            Op::Greater => ">",
            Op::GreaterOrEqual => ">=",
        };
        let field = match term.field.strip_prefix("labels.") {
            Some(key) => format!("labels.{}", quote(key)),
            None => term.field.clone(),
        };
        let value = match &term.value {
            Value::Text(text) => quote(text),
            Value::Number(number) => quote(&number.to_string()),
            Value::Time(micros) => {
                let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(*micros) * 1000).ok()?;
                quote(&time.format(&Rfc3339).ok()?)
            }
        };
        Some(format!("{field}{op}{value}"))
    };
    Some(filter.terms.iter().map(term).collect::<Option<Vec<_>>>()?.join(" AND "))
}

#[test]
fn a_filter_means_what_its_long_form_means() {
    fuzz!("filter", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let filter = match Filter::parse(&text, FIELDS) {
            Ok(filter) => filter,
            Err(violation) => {
                assert_eq!(violation.field, "filter");
                assert!(violation.rule.starts_with("must "), "{violation:?}");
                // What is refused is not sent back: no error is as long as what was asked.
                assert!(violation.rule.len() < 512 + text.len().min(MAX_FILTER_BYTES));
                return;
            }
        };
        assert!(text.len() <= MAX_FILTER_BYTES && filter.terms.len() <= MAX_TERMS);
        assert_eq!(filter.terms.is_empty(), text.trim().is_empty());
        for term in &filter.terms {
            let is_known = FIELDS.iter().any(|field| match field.kind {
                FieldKind::Labels => term.field.strip_prefix("labels.").is_some_and(|key| !key.is_empty()),
                FieldKind::Text | FieldKind::Time | FieldKind::Number | FieldKind::Word(_) => field.name == term.field,
            });
            assert!(is_known, "{term:?}");
        }
        // Of what a thing does not have, only what is unlike it is true.
        let is_all_unlike = filter.terms.iter().all(|term| term.op == Op::NotEqual);
        assert_eq!(filter.matches(|_| None), is_all_unlike);
        let range = filter.range("revision");
        for number in [i64::MIN, -1, 0, 1, 42, i64::MAX] {
            let only = Filter { terms: filter.terms.iter().filter(|term| term.field == "revision").cloned().collect() };
            let matches = only.matches(|_| Some(FieldValue::Number(number)));
            assert!(!matches || range.contains(&number), "{range:?} without {number}");
        }
        let Some(long) = printed(&filter).filter(|long| long.len() <= MAX_FILTER_BYTES) else { return };
        assert_eq!(Filter::parse(&long, FIELDS), Ok(filter), "{long}");
    });
}
