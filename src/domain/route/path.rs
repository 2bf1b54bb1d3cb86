//! One reading of a request's method, host and path, or none. What another parser on the way could read differently is
//! refused rather than repaired.

use std::net::Ipv6Addr;

const MAX_METHOD_BYTES: usize = 32;
const MAX_HOST_BYTES: usize = 253;

/// A path's segments, without query, fragment and one trailing slash. Escapes of unreserved characters are decoded once,
/// all others stay, in upper case, and what must be escaped is.
///
/// Refused: no leading slash (`*` and whole URLs therefore), empty segments, dot segments, also before a `;`, backslashes,
/// spaces, controls and bytes beyond ASCII; escapes of `/`, `\`, controls, and those that are none; and whatever would be
/// one of these after being decoded once more.
pub(super) fn clean_path(text: &str) -> Option<Vec<String>> {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let path = text.get(..end)?.strip_prefix('/')?;
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.strip_suffix('/').unwrap_or(path).split('/').map(clean_segment).collect()
}

fn clean_segment(segment: &str) -> Option<String> {
    let mut clean = String::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match *byte {
            b'%' => {
                let [high, low, tail @ ..] = tail else { return None };
                let value = escaped(*high, *low)?;
                rest = tail;
                if is_unreserved(value) {
                    clean.push(value.into());
                } else if is_forbidden(value) {
                    return None;
                } else {
                    escape(&mut clean, value);
                }
            }
            byte if byte <= b' ' || byte >= 0x7f || byte == b'\\' => return None,
            byte if is_unreserved(byte) || is_reserved(byte) => clean.push(byte.into()),
            byte => escape(&mut clean, byte),
        }
    }
    // Some servers drop what follows a `;` before they look at dots.
    let bare = clean.split(';').next().and_then(|bare| bare.split("%3B").next());
    let is_clear = !clean.split("%25").skip(1).any(|rest| hides(rest.as_bytes()));
    (is_clear && !matches!(bare, None | Some("" | "." | ".."))).then_some(clean)
}

/// Whether an escaped `%` before `rest` makes it an escape, of any depth, of what ends or leaves a segment.
fn hides(mut rest: &[u8]) -> bool {
    while let [b'2', b'5', tail @ ..] = rest {
        rest = tail;
    }
    let [high, low, ..] = rest else { return false };
    escaped(*high, *low).is_some_and(|value| matches!(value, b'.' | b';') || is_forbidden(value))
}

fn escaped(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn escape(text: &mut String, byte: u8) {
    text.push('%');
    for digit in [byte >> 4, byte & 0xf] {
        text.extend(char::from_digit(digit.into(), 16).map(|digit| digit.to_ascii_uppercase()));
    }
}

fn is_forbidden(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\' | 0x7f | 0..=0x1f)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The others that may stand in a segment as they are (RFC 3986, `pchar`).
fn is_reserved(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

/// A clean segment with every escape decoded, for comparison with one that means the same.
pub(super) fn meaning(segment: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (*byte, tail) {
            (b'%', [high, low, tail @ ..]) => {
                bytes.extend(escaped(*high, *low));
                rest = tail;
            }
            (byte, _) => bytes.push(byte),
        }
    }
    bytes
}

/// A host in lower case, without its port and the dot of the root; empty if it was.
pub(super) fn clean_host(text: &str) -> Option<String> {
    let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok() && !port.starts_with('+');
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_end = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        let address: Ipv6Addr = address.parse().ok()?;
        return is_end.then(|| format!("[{address}]"));
    }
    if text.is_empty() {
        return Some(String::new());
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_name = name.split('.').all(is_label) && name.bytes().any(|byte| byte.is_ascii_alphanumeric());
    (is_name && is_port(port) && name.len() <= MAX_HOST_BYTES).then_some(name)
}

/// A method in lower case. CONNECT asks for a tunnel, which is no thing that could be named.
pub(super) fn clean_method(text: &str) -> Option<String> {
    let is_token = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let is_method = is_token && (1..=MAX_METHOD_BYTES).contains(&text.len()) && !text.eq_ignore_ascii_case("connect");
    is_method.then(|| text.to_ascii_lowercase())
}
