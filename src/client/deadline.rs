//! The header by which a server learns how long its answer is waited for.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How long the sender of a request waits, if it says so.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(GRPC_TIMEOUT)?.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Says how long the answer is waited for, in the finest unit that eight digits allow.
pub(super) fn write(headers: &mut HeaderMap, timeout: Duration) {
    const TOO_MANY: u128 = 100_000_000;
    let units = [
        (timeout.as_nanos(), 'n'),
        (timeout.as_micros(), 'u'),
        (timeout.as_millis(), 'm'),
        (u128::from(timeout.as_secs()), 'S'),
        (u128::from(timeout.as_secs() / 60), 'M'),
    ];
    let fitting = units.into_iter().find(|(number, _)| *number < TOO_MANY);
    let (number, unit) = fitting.unwrap_or((u128::from(timeout.as_secs() / 3600).min(TOO_MANY - 1), 'H'));
    if let Ok(value) = HeaderValue::try_from(format!("{number}{unit}")) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (timeout, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(7), "7n"),
            (Duration::from_millis(5), "5000000n"),
            (Duration::from_secs(5), "5000000u"),
            (Duration::from_secs(3600), "3600000m"),
            (Duration::from_secs(10_000_000), "10000000S"),
        ] {
            let mut headers = HeaderMap::new();
            write(&mut headers, timeout);
            assert_eq!(headers.get(GRPC_TIMEOUT).unwrap(), text);
            assert_eq!(read(&headers), Some(timeout), "{text}");
        }
        let mut headers = HeaderMap::new();
        write(&mut headers, Duration::MAX);
        assert!(read(&headers).unwrap() > Duration::from_secs(1 << 32));
        assert_eq!(read(&HeaderMap::new()), None);
    }
}
