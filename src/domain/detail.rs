//! What an event tells besides who and what: compact, and never longer than fits.

use serde_json::{Map, Value, json};

/// How long the detail of an event is at most, as it is stored.
pub const MAX_BYTES: usize = 32 * 1024;

/// How long what stays of a value is at most, where a detail is too long: less and less until it fits.
const LONGEST: usize = 30 * 1024;
const SHORTEST: usize = 32;

/// The detail as it is stored: of `before` and `after` what differs, and what is too long cut, which it says.
pub fn text(mut detail: Value) -> Result<String, serde_json::Error> {
    leave_what_differs(&mut detail);
    let whole = serde_json::to_string(&detail)?;
    if whole.len() <= MAX_BYTES {
        return Ok(whole);
    }
    let mut most = LONGEST;
    while most > SHORTEST {
        let mut shorter = detail.clone();
        cut(&mut shorter, most);
        let text = serde_json::to_string(&shorter)?;
        if text.len() <= MAX_BYTES {
            return Ok(text);
        }
        most /= 2;
    }
    Ok(json!({ "cut": true, "bytes": whole.len() }).to_string())
}

/// Takes out of `before` and `after` what is the same in both.
fn leave_what_differs(detail: &mut Value) {
    let mut side = |name: &str| match detail.get_mut(name) {
        Some(Value::Object(fields)) => Some(std::mem::take(fields)),
        Some(_) | None => None,
    };
    let (before, after) = (side("before"), side("after"));
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => {
            let differs = |fields: &Map<String, Value>, others: &Map<String, Value>| -> Map<String, Value> {
                let differing = fields.iter().filter(|(name, value)| others.get(*name) != Some(value));
                differing.map(|(name, value)| (name.clone(), value.clone())).collect()
            };
            (Some(differs(&before, &after)), Some(differs(&after, &before)))
        }
        one => one,
    };
    for (name, fields) in [("before", before), ("after", after)] {
        if let (Some(place), Some(fields)) = (detail.get_mut(name), fields) {
            *place = Value::Object(fields);
        }
    }
}

/// Cuts the values of an object that are longer than `most`, those of `before` and `after` each for itself.
fn cut(detail: &mut Value, most: usize) {
    let Some(fields) = detail.as_object_mut() else { return };
    for (name, value) in fields.iter_mut() {
        match value {
            Value::Object(side) if name == "before" || name == "after" => {
                side.values_mut().for_each(|value| shorten(value, most));
            }
            value => shorten(value, most),
        }
    }
}

/// What is left of a value that is too long: its beginning, and that it was cut.
fn shorten(value: &mut Value, most: usize) {
    let length = value.to_string().len();
    if length <= most {
        return;
    }
    *value = match value {
        Value::String(text) => {
            let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            json!({ "cut": true, "bytes": text.len(), "first": text.get(..end).unwrap_or_default() })
        }
        Value::Array(values) => {
            let mut left = most;
            let first: Vec<Value> = values
                .iter()
                .map_while(|value| {
                    left = left.checked_sub(value.to_string().len().saturating_add(1))?;
                    Some(value.clone())
                })
                .collect();
            json!({ "cut": true, "count": values.len(), "first": first })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => json!({ "cut": true, "bytes": length }),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn stored(detail: Value) -> Value {
        let text = text(detail).unwrap();
        assert!(text.len() <= MAX_BYTES, "{}", text.len());
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn only_what_differs_is_told_of_a_change_and_all_of_what_was_made() {
        let before = json!({ "a": 1, "b": [1, 2], "c": null, "gone": "x" });
        let after = json!({ "a": 1, "b": [2, 1], "c": null, "new": null });
        let told = stored(json!({ "before": before, "after": after, "reason": "R" }));
        let differing =
            json!({ "before": { "b": [1, 2], "gone": "x" }, "after": { "b": [2, 1], "new": null }, "reason": "R" });
        assert_eq!(told, differing);
        for whole in [json!({ "after": after }), json!({ "before": "a", "after": "a" }), json!({}), json!(null)] {
            assert_eq!(stored(whole.clone()), whole);
        }
        let same = stored(json!({ "before": { "a": 1 }, "after": { "a": 1 } }));
        assert_eq!(same, json!({ "before": {}, "after": {} }));
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let grants: Vec<Value> = (0..5000).map(|number| json!({ "resource": format!("doc/{number}") })).collect();
        let told = stored(json!({ "after": { "grants": grants, "display_name": "CI" }, "reason": "R" }));
        let cut = &told["after"]["grants"];
        assert_eq!((&cut["cut"], &cut["count"]), (&json!(true), &json!(5000)));
        let first = cut["first"].as_array().unwrap();
        assert!(first.len() > 100 && first.iter().eq(grants.iter().take(first.len())));
        assert_eq!((&told["after"]["display_name"], &told["reason"]), (&json!("CI"), &json!("R")));

        let told = stored(json!({ "before": { "text": "é".repeat(40_000) }, "after": { "text": "x" } }));
        assert_eq!((&told["before"]["text"]["bytes"], &told["after"]["text"]), (&json!(80_000), &json!("x")));
        let labels: Map<String, Value> = (0..4000).map(|number| (format!("label-{number}"), json!("value"))).collect();
        let told = stored(json!({ "after": { "labels": labels } }));
        assert_eq!(told["after"]["labels"]["cut"], true);
        // However many things there are.
        let many: Map<String, Value> = (0..4000).map(|number| (format!("field-{number}"), json!("value"))).collect();
        assert_eq!(stored(json!({ "after": many.clone() }))["cut"], true);
        assert_eq!(stored(Value::Object(many))["cut"], true);
    }
}
