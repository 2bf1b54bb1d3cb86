//! What people write on the command line.

use super::*;
use crate::fuzz::fuzz;
use regex::Regex;

#[test]
fn what_is_written_has_one_meaning() {
    let form = Regex::new(r"\A(?:([0-9]+)(ms|s|m|h|d|w))+\z").unwrap();
    let part = Regex::new(r"([0-9]+)(ms|s|m|h|d|w)").unwrap();
    fuzz!("cli-value", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match duration(&text) {
            Ok(found) => {
                assert!(form.is_match(&text));
                let millis = part.captures_iter(&text).map(|part| {
                    let unit = match &part[2] {
                        "ms" => 1,
                        "s" => 1000,
                        "m" => 60_000,
                        "h" => 3_600_000,
                        "d" => 86_400_000,
                        _ => 604_800_000,
                    };
                    part[1].parse::<u128>().unwrap() * unit
                });
                assert_eq!(found.as_millis(), millis.sum());
            }
            Err(rule) => assert!(!form.is_match(&text) || text.len() > 12, "{rule}"),
        }
        if let Ok(time) = timestamp(&text) {
            assert!((0..1_000_000_000).contains(&time.nanos));
            assert_eq!(moment(&text), Ok(time));
            let shown = time_text(&time);
            if let Ok(again) = timestamp(&shown) {
                assert_eq!((again.seconds, again.nanos), (time.seconds, 0));
            }
        }
        for collection in ["keys", "users"] {
            if let Ok(name) = resource_name("tenants/acme", collection, &text) {
                assert_eq!(resource_name("tenants/other", collection, &name).as_ref(), Ok(&name));
                assert_eq!(name.split('/').count(), 4);
            }
        }
        if let Ok(name) = tenant_name(&text) {
            assert_eq!(tenant_name(&name).as_ref(), Ok(&name));
        }
        if let Ok((key, value)) = pair(&text) {
            assert_eq!(format!("{key}={value}"), text);
        }
    });
}
