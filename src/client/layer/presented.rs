//! What a caller shows in the headers of a request.

use super::super::question::Denied;
use crate::proto::v1::Reason;
use http::header::{AUTHORIZATION, REFERER};
use http::{HeaderMap, HeaderName, HeaderValue};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SECRET_KEY: HeaderName = HeaderName::from_static("x-secret-key");

/// A credential, and what came with it.
pub(super) struct Presented {
    pub(super) credential: String,
    pub(super) secret_key: String,
    pub(super) referrer: Option<String>,
}

impl Presented {
    /// The one credential in these headers. None, two, or what cannot be one is denied here.
    pub(super) fn find(headers: &HeaderMap) -> Result<Self, Denied> {
        let malformed = || Denied::unasked(Reason::Malformed);
        let bearers = headers.get_all(AUTHORIZATION).iter().map(|value| (true, value));
        let mut all = bearers.chain(headers.get_all(API_KEY).iter().map(|value| (false, value)));
        let Some((is_authorization, value)) = all.next() else { return Err(Denied::unasked(Reason::Missing)) };
        if all.next().is_some() {
            return Err(malformed());
        }
        let text = text(value)?;
        let credential = if is_authorization {
            let (scheme, credential) = text.split_once(' ').ok_or_else(malformed)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(malformed());
            }
            credential.trim_start_matches(' ')
        } else {
            text
        };
        if credential.is_empty() {
            return Err(Denied::unasked(Reason::Missing));
        }
        let mut secret_keys = headers.get_all(SECRET_KEY).iter();
        let secret_key = match (secret_keys.next(), secret_keys.next()) {
            (None, _) => "",
            (Some(value), None) => self::text(value)?,
            (Some(_), Some(_)) => return Err(malformed()),
        };
        let referrer = headers.get(REFERER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Self { credential: credential.to_owned(), secret_key: secret_key.to_owned(), referrer })
    }
}

fn text(value: &HeaderValue) -> Result<&str, Denied> {
    value.to_str().map_err(|_| Denied::unasked(Reason::Malformed))
}

/// The denial of a request that nobody thought of.
pub(super) fn unthought() -> Denied {
    Denied::unasked(Reason::NotGranted)
}

/// Takes the credential out of the headers.
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, API_KEY, SECRET_KEY] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(headers: &[(&'static str, &'static str)]) -> Result<(String, String), Vec<Reason>> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let found = Presented::find(&map);
        found.map(|found| (found.credential, found.secret_key)).map_err(|denied| denied.reasons)
    }

    #[track_caller]
    fn found(headers: &[(&'static str, &'static str)], credential: &str, secret_key: &str) {
        assert_eq!(find(headers), Ok((credential.to_owned(), secret_key.to_owned())));
    }

    #[test]
    fn one_credential_is_taken_from_either_header() {
        found(&[("authorization", "Bearer kw_1")], "kw_1", "");
        found(&[("authorization", "bEARER  kw_1"), ("x-secret-key", "two")], "kw_1", "two");
        found(&[("x-api-key", "kw_1")], "kw_1", "");
    }

    #[test]
    fn anything_else_is_denied_without_asking() {
        assert_eq!(find(&[]), Err(vec![Reason::Missing]));
        assert_eq!(find(&[("authorization", "Bearer ")]), Err(vec![Reason::Missing]));
        assert_eq!(find(&[("x-api-key", "")]), Err(vec![Reason::Missing]));
        let malformed: [&[(&'static str, &'static str)]; 7] = [
            &[("authorization", "Basic a3c6")],
            &[("authorization", "kw_1")],
            &[("authorization", "Bearer kw_1"), ("authorization", "Bearer kw_2")],
            &[("authorization", "Bearer kw_1"), ("x-api-key", "kw_1")],
            &[("x-api-key", "kw_1"), ("x-api-key", "kw_1")],
            &[("x-api-key", "kw_\u{e9}")],
            &[("x-api-key", "kw_1"), ("x-secret-key", "a"), ("x-secret-key", "b")],
        ];
        for headers in malformed {
            assert_eq!(find(headers), Err(vec![Reason::Malformed]), "{headers:?}");
        }
    }
}
