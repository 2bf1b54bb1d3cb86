use super::*;
use proptest::prelude::*;

const FIELDS: &[FilterField] = &[
    FilterField { name: "display_name", kind: FieldKind::Text },
    FilterField { name: "state", kind: FieldKind::Word(&["ACTIVE", "REVOKED"]) },
    FilterField { name: "create_time", kind: FieldKind::Time },
    FilterField { name: "delete_time", kind: FieldKind::Time },
    FilterField { name: "last_auth_time", kind: FieldKind::Time },
    FilterField { name: "revision", kind: FieldKind::Number },
    FilterField { name: "type", kind: FieldKind::Word(&["KEY_TYPE_MASTER", "KEY_TYPE_DEFAULT_PUBLIC", "TYPE_MASTER"]) },
    FilterField { name: "labels", kind: FieldKind::Labels },
];

/// A thing with a name, a state, one label, made one second after the epoch, and nothing else.
fn get(field: &str) -> Option<FieldValue<'static>> {
    match field {
        "display_name" => Some(FieldValue::Text("a \"b\" \\c")),
        "state" => Some(FieldValue::Text("ACTIVE")),
        "create_time" => Some(FieldValue::Time(1_000_000)),
        "last_auth_time" => Some(FieldValue::Never),
        "revision" => Some(FieldValue::Number(10)),
        "type" => Some(FieldValue::Text("KEY_TYPE_DEFAULT_PUBLIC")),
        "labels.my key" => Some(FieldValue::Text("x")),
        _ => None,
    }
}

#[test]
fn a_filter_holds_when_all_its_terms_do() {
    #[track_caller]
    fn check(text: &str, expected: bool) {
        assert_eq!(Filter::parse(text, FIELDS).unwrap().matches(get), expected, "{text:?}");
    }
    check("", true);
    check("  \n", true);
    check("state=ACTIVE", true);
    check("state = \"ACTIVE\"", true);
    check("state != ACTIVE", false);
    check("state = ACTIVE AND state = REVOKED", false);
    check("state=ACTIVE AND create_time>=1970-01-01T00:00:01Z", true);
    check(r#"display_name = "a \"b\" \\c""#, true);
    check("display_name = a*", false);
    check("display_name = \"AND\" AND state=ACTIVE", false);
    check("labels.\"my key\" = x", true);
    check("labels.other = x", false);
    check("labels.other != x", true);
    check("labels.a-b/c.d != \"\"", true);
    check("create_time < 1970-01-01T00:00:01Z", false);
    check("create_time <= \"1970-01-01T02:00:01+02:00\"", true);
    check("create_time > 1970-01-01T00:00:00.999999Z", true);
    check("create_time = 1970-01-01T00:00:01.0000009Z", true);
    check("create_time != 1970-01-01T00:00:01Z", false);
    for (op, holds_of_never) in [("<", true), ("<=", true), ("!=", true), ("=", false), (">=", false), (">", false)] {
        check(&format!("last_auth_time {op} 0001-01-01T00:00:00Z"), holds_of_never);
        check(&format!("delete_time {op} 9999-01-01T00:00:00Z"), op == "!=");
    }
    check("revision > 9", true);
    check("revision>=10 AND revision <= \"10\"", true);
    check("revision < 9", false);
    check("revision != -10", true);
    check("type = DEFAULT_PUBLIC", true);
    check("type = PUBLIC", true);
    check("type != KEY_TYPE_DEFAULT_PUBLIC", false);
    check("type = TYPE_MASTER", false);
}

#[test]
fn what_cannot_be_filtered_by_is_said() {
    #[track_caller]
    fn check(text: &str, part: &str) {
        let violation = Filter::parse(text, FIELDS).unwrap_err();
        assert_eq!(violation.field, "filter");
        assert!(violation.rule.contains(part), "{text:?} {}", violation.rule);
    }
    check(
        "colour = red",
        "display_name, state, create_time, delete_time, last_auth_time, revision, type, labels.{key}",
    );
    check("labels = red", "labels.{key}");
    check("labels. = red", "labels.{key}");
    check("labels.\"\" = red", "labels.{key}");
    check("state = active", "ACTIVE, REVOKED");
    for text in ["type = MASTER", "type = UBLIC", "type = \"\"", "type = _PUBLIC", "type = KEY_TYPE"] {
        check(text, "with one of");
    }
    check("type > MASTER", "= or !=");
    for text in
        ["revision > 1.5", "revision > x", "revision > 0x1", "revision = 9223372036854775808", "revision = \"\""]
    {
        check(text, "whole number");
    }
    check("state < ACTIVE", "= or !=");
    check("display_name > a", "= or !=");
    check("create_time > yesterday", "RFC 3339");
    check("create_time > 2026-02-30T00:00:00Z", "RFC 3339");
    check("create_time > 2026-01-01", "RFC 3339");
    for text in [
        "state = ACTIVE OR state = REVOKED",
        "NOT state = ACTIVE",
        "-state = ACTIVE",
        "(state = ACTIVE)",
        "state = ACTIVE and state = ACTIVE",
        "state = (ACTIVE)",
        "state = AND",
        "state = NOT",
    ] {
        check(text, "only terms joined by AND");
    }
    for text in [
        "state",
        "state =",
        "= ACTIVE",
        "state ACTIVE",
        "state = ACTIVE state = ACTIVE",
        "state = ACTIVE AND",
        "state == ACTIVE",
        "state =! ACTIVE",
        "state ! ACTIVE",
        "\"state\" = ACTIVE",
        "state = ACTIVE \"AND\" state = ACTIVE",
        "state = ACTIVE\0",
    ] {
        check(text, "joined by AND");
    }
    check("AND state = ACTIVE", "fields");
    check("state:ACTIVE", "fields");
    check("state = \"ACTIVE", "close");
    check("state = \"AC\\n\"", "escapes");
    check(&" ".repeat(MAX_FILTER_BYTES + 1), "4096");
    check(&vec!["state=ACTIVE"; MAX_TERMS + 1].join(" AND "), "at most 20");
    assert_eq!(Filter::parse(&vec!["state=ACTIVE"; MAX_TERMS].join(" AND "), FIELDS).unwrap().terms.len(), MAX_TERMS);
}

#[test]
fn a_time_is_read_strictly() {
    assert_eq!(find_time("2026-01-31T12:00:00.123456Z"), Some(1_769_860_800_123_456));
    assert_eq!(find_time("1969-12-31T23:59:59.9999999Z"), Some(-1));
    for bad in [
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31T24:00:00Z",
        "20260131T120000Z",
        "1769860800",
        "2026-01-31T12:00:00Z ",
    ] {
        assert_eq!(find_time(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_filter_or_not(text in "\\PC*|((state|create_time|labels\\.|AND|OR|\"|\\\\|=|<|!|é|\\(|1970) ?){0,12}") {
        if let Ok(filter) = Filter::parse(&text, FIELDS) {
            let _ = filter.matches(get);
        }
    }

    #[test]
    fn every_value_can_be_quoted(value: String) {
        prop_assume!(value.len() < 1000);
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        let filter = Filter::parse(&format!("display_name=\"{quoted}\" AND state!=REVOKED"), FIELDS).unwrap();
        prop_assert_eq!(&filter.terms.first().unwrap().value, &Value::Text(value));
        prop_assert_eq!(filter.terms.len(), 2);
    }
}

#[test]
fn a_filter_says_between_which_numbers_it_matches() {
    let allowed = [FilterField { name: "revision", kind: FieldKind::Number }];
    let range = |text: &str| Filter::parse(text, &allowed).map(|filter| filter.range("revision")).ok();
    for (text, expected) in [
        ("", i64::MIN..=i64::MAX),
        ("revision > 5", 6..=i64::MAX),
        ("revision >= 5 AND revision < 9", 5..=8),
        ("revision <= 9 AND revision > 2 AND revision > 1", 3..=9),
        ("revision = 7", 7..=7),
        ("revision != 7", i64::MIN..=i64::MAX),
    ] {
        assert_eq!(range(text), Some(expected), "{text}");
    }
}
