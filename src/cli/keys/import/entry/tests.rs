#![expect(clippy::string_slice, reason = "texts of our own making, in ASCII")]

use super::*;
use crate::proto::v1::{Grant, ResourcesGrant, grant};

const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn of_json(text: &str) -> Result<ImportKeysEntry, String> {
    Entries::new().unwrap().of_json(7, text)
}

fn of_rows(header: &str, row: &str) -> Result<ImportKeysEntry, String> {
    let entries = Entries::new().unwrap();
    let columns = entries.columns(header.split('|'))?;
    let cells: Vec<&str> = row.split('|').collect();
    entries.of_row(7, &columns, &cells)
}

fn wanted() -> ImportKeysEntry {
    let resources = ResourcesGrant { resource: "doc/*".to_owned(), actions: vec!["read".to_owned()] };
    ImportKeysEntry {
        line: 7,
        key_id: "ci".to_owned(),
        material: Some(Material::Credential("a key of old".to_owned())),
        key: Some(Key {
            display_name: "CI".to_owned(),
            grants: vec![Grant { kind: Some(grant::Kind::Resources(resources)) }],
            expire_time: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 }),
            allowed_ips: vec!["192.0.2.0/24".to_owned(), "::1".to_owned()],
            labels: [("team".to_owned(), "maps".to_owned())].into(),
            ..Key::default()
        }),
    }
}

#[test]
fn json_and_csv_say_the_same_by_either_name() {
    let grants = r#"[{"resources": {"resource": "doc/*", "actions": ["read"]}}]"#;
    for [id, display_name, expire_time, allowed_ips] in
        [["key_id", "display_name", "expire_time", "allowed_ips"], ["keyId", "displayName", "expireTime", "allowedIps"]]
    {
        let json = format!(
            r#"{{"{id}": "ci", "credential": "a key of old", "{display_name}": "CI", "grants": {grants},
                "{expire_time}": "2030-03-17T17:46:40Z", "{allowed_ips}": ["192.0.2.0/24", "::1"],
                "labels": {{"team": "maps"}}, "description": null}}"#
        );
        assert_eq!(of_json(&json), Ok(wanted()));
        let header = format!("{id}|credential|{display_name}|grants|{expire_time}|{allowed_ips}|labels.team|sha256");
        for ips in ["192.0.2.0/24; ::1", r#"["192.0.2.0/24", "::1"]"#] {
            let row = format!("ci|a key of old|CI|{grants}|2030-03-17T17:46:40Z|{ips}|maps|");
            assert_eq!(of_rows(&header, &row), Ok(wanted()), "{row}");
        }
    }
    let both = of_rows("credential|labels|labels.b", r#"c|{"a": "1"}|2"#).unwrap().key.unwrap().labels;
    assert_eq!(both, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into());
}

#[test]
fn a_digest_is_hex_or_base64() {
    let wanted = digest(HEX).unwrap();
    assert_eq!(wanted.len(), 32);
    assert_eq!(digest(&HEX.to_uppercase()), Some(wanted.clone()));
    for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        assert_eq!(digest(&engine.encode(&wanted)), Some(wanted.clone()));
    }
    let entry = of_json(&format!(r#"{{"sha256": "{HEX}"}}"#)).unwrap();
    assert_eq!(entry.material, Some(Material::Sha256(wanted)));
    for bad in ["", "ba78", &HEX[1..], &format!("{}g", &HEX[1..]), "YWJj"] {
        assert_eq!(digest(bad), None, "{bad}");
    }
}

#[test]
fn a_bad_line_says_why_and_not_what() {
    #[track_caller]
    fn check(result: Result<ImportKeysEntry, String>, says: &str) {
        let reason = result.unwrap_err();
        assert!(reason.contains(says), "{reason}");
        assert!(!reason.contains("hidden"), "{reason}");
    }
    check(of_json(r#"{"credential": "hidden"#), "is not JSON");
    check(of_json(r#"{"credential": "hidden",}"#), "is not JSON");
    check(of_json(r#""hidden""#), "is no object of JSON");
    check(of_json(r#"{"credential": ["hidden"]}"#), "credential must be a string");
    check(of_json(r#"{"credential": "hidden", "sha256": "hidden"}"#), "must not both be given");
    check(of_json(r#"{"display_name": "CI"}"#), "credential or sha256 must be given");
    check(of_json(r#"{"sha256": "hidden"}"#), "sha256 must be 32 bytes in hex or base64");
    check(of_json(r#"{"credential": "hidden", "colour": "red"}"#), "colour");
    check(of_json(r#"{"credential": "hidden", "type": "hidden"}"#), "is no key");
    check(of_json(r#"{"credential": "hidden", "allowedIps": "hidden"}"#), "is no key");
    check(of_json(r#"{"credential": "hidden", "expireTime": "hidden"}"#), "is no key");
    check(of_json(r#"{"credential": "c", "key_id": "a", "keyId": "b"}"#), "key_id is given twice");
    check(of_rows("credential|display_name", "hidden"), "has 1 fields, and the first line names 2");
    check(of_rows("credential|grants", "hidden|doc/*=read"), "grants must be JSON");
    check(of_rows("credential|labels|labels.a", "hidden|[]|b"), "labels must be");
    check(of_rows("credential|hidden", "a|b"), "the 2. is none");
    check(of_rows("credential|labels.", "a|b"), "the 2. is none");
    check(of_rows("credential|credential", "a|b"), "names credential twice");
}

#[test]
fn a_line_that_is_nested_without_end_is_refused() {
    for text in ["[".repeat(100_000), format!(r#"{{"grants": {}"#, "[".repeat(100_000)), r#"{"key":"#.repeat(100_000)] {
        assert!(of_json(&text).is_err());
    }
}
