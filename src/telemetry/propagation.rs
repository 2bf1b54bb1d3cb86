//! Which trace a call belongs to, in the W3C form.

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use std::sync::LazyLock;

/// `version-trace-parent-flags`, in hexadecimal: 2, 32, 16 and 2 digits.
const TRACEPARENT_LENGTH: usize = 55;

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// The header, if it has the form of the standard: another could be read in two ways, here and by the library.
fn traceparent(headers: &HeaderMap) -> Option<&[u8]> {
    let text = headers.get("traceparent")?.as_bytes().trim_ascii();
    let is_good = |(place, byte): (usize, &u8)| match place {
        2 | 35 | 52 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    let first = text.get(..TRACEPARENT_LENGTH)?;
    first.iter().enumerate().all(is_good).then_some(text)
}

/// The caller's span, if `traceparent` names one.
pub fn remote_context(headers: &HeaderMap) -> Option<Context> {
    static PROPAGATOR: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);
    traceparent(headers)?;
    let context = PROPAGATOR.extract_with_context(&Context::new(), &Headers(headers));
    let is_valid = context.span().span_context().is_valid();
    is_valid.then_some(context)
}

/// Whether the caller records this trace, without taking the header apart any further: what Check can afford.
pub fn is_sampled(headers: &HeaderMap) -> bool {
    let flag = traceparent(headers).and_then(|text| text.get(TRACEPARENT_LENGTH - 1));
    flag.is_some_and(|digit| char::from(*digit).to_digit(16).is_some_and(|digit| digit & 1 == 1))
}
