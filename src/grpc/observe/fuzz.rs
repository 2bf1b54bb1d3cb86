//! Metadata that says how a call is timed and traced, as anyone may send it.

use super::*;
use crate::fuzz::fuzz;
use http::HeaderValue;

fn with(name: &'static str, bytes: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(bytes).ok()?;
    Some(HeaderMap::from_iter([(HeaderName::from_static(name), value)]))
}

#[test]
fn a_deadline_is_eight_digits_and_a_unit_or_none() {
    fuzz!("grpc-timeout", |bytes| {
        let Some(headers) = with(GRPC_TIMEOUT, bytes) else { return };
        let text = String::from_utf8_lossy(bytes);
        let unit = text.chars().last().and_then(|unit| match unit {
            'H' => Some(3_600_000_000_000_u128),
            'M' => Some(60_000_000_000),
            'S' => Some(1_000_000_000),
            'm' => Some(1_000_000),
            'u' => Some(1000),
            'n' => Some(1),
            _ => None,
        });
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        let is_good = (1..=8).contains(&digits.len()) && text.len() == digits.len() + 1;
        let expected = unit.filter(|_| is_good).map(|unit| unit * digits.parse::<u128>().unwrap());
        assert_eq!(grpc_timeout(&headers).ok().flatten().map(|timeout| timeout.as_nanos()), expected);
    });
}

#[test]
fn a_request_has_an_id_that_can_be_shown_and_one_answer_to_whether_it_is_traced() {
    fuzz!("traceparent", |bytes| {
        for name in ["traceparent", "x-request-id"] {
            let Some(headers) = with(name, bytes) else { return };
            let id = request_id(&headers);
            assert!((1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()));
            if let Some(context) = remote_context(&headers) {
                assert_eq!(context.span().span_context().is_sampled(), is_sampled(&headers));
                assert_eq!(id, context.span().span_context().trace_id().to_string());
            }
        }
    });
}
