//! Metadata that says who calls, as anyone may send it.

use super::*;
use crate::fuzz::fuzz;
use http::{HeaderName, HeaderValue};

/// Headers, a line each.
fn headers(bytes: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.try_append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?).ok()?;
    }
    Some(headers)
}

#[test]
fn a_caller_shows_one_credential_and_it_is_in_no_error() {
    let gate =
        Gate { index: Arc::default(), clock: Clock::default(), audience: Arc::from([]), refusals: Refusals::default() };
    fuzz!("metadata", |bytes| {
        let Some(headers) = headers(bytes) else { return };
        let values: Vec<&[u8]> = ["authorization", "x-api-key"]
            .iter()
            .flat_map(|name| headers.get_all(*name))
            .map(HeaderValue::as_bytes)
            .collect();
        match credential(&headers) {
            Ok(None) => assert!(values.is_empty()),
            Ok(Some(text)) => {
                assert_eq!(values.len(), 1);
                assert!(values[0].ends_with(text.as_bytes()) && text.bytes().all(|byte| byte == b'\t' || byte >= b' '));
                let is_key = headers.contains_key("x-api-key");
                assert!(if is_key { values[0] == text.as_bytes() } else { values[0].len() >= text.len() + 7 });
            }
            Err(Error::Unauthenticated { reason }) => {
                let is_told = |value: &&[u8]| {
                    value.len() > 8 && reason.as_bytes().windows(value.len()).any(|part| part == *value)
                };
                assert!(!values.is_empty() && !values.iter().any(is_told), "{reason}");
            }
            Err(error) => panic!("{error:?}"),
        }
        // Nobody is admitted by one that knows nobody.
        assert!(gate.admit_metadata(&MetadataMap::from_headers(headers), "").is_err());
    });
}
