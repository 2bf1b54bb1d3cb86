//! First lines as any client may send them, and routes as an operator may write them.

use super::*;
use crate::fuzz::fuzz;

/// Every escape decoded, again and again until none is left.
fn decoded_whole(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut place = 0;
    while place < bytes.len() {
        let value = match bytes[place..] {
            [b'%', high, low, ..] => {
                digit(high).zip(digit(low)).map(|(high, low)| u8::try_from(high * 16 + low).unwrap())
            }
            _ => None,
        };
        match value {
            Some(value) => {
                bytes.splice(place..place + 3, [value]);
                // What was decoded may end an escape that begins before it.
                place = place.saturating_sub(2);
            }
            None => place += 1,
        }
    }
    bytes
}

fn split(bytes: &[u8]) -> Vec<String> {
    bytes.split(|byte| *byte == b'\n').map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

#[test]
fn a_first_line_has_one_reading_or_needs_what_nobody_holds() {
    fuzz!("route-line", |bytes| {
        let parts = split(bytes);
        let part = |place: usize| parts.get(place).map_or("", String::as_str);
        let line = RequestLine { method: part(0), host: part(1), path: part(2) };
        let needed = Routes::default().needed(&line, &Said::default());
        assert_eq!(needed.resource.is_empty(), needed.action.is_empty());
        assert_eq!((needed.tenant.as_str(), needed.mode), ("", Mode::Enforce));
        if let Some(segments) = clean_path(line.path) {
            // Its form is its own reading, and reading it once more, or wholly, leaves it in its place.
            assert_eq!(clean_path(&format!("/{}", segments.join("/"))).as_ref(), Some(&segments));
            for segment in &segments {
                let whole = decoded_whole(segment);
                let bare = whole.split(|byte| *byte == b';').next().unwrap();
                assert!(![b"".as_slice(), b".", b".."].contains(&bare), "{segment:?}");
                assert!(!whole.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0x7f | 0..=0x1f)), "{segment:?}");
            }
        }
        let [host, method] = [clean_host(line.host), clean_method(line.method)];
        assert!(host.is_none() || clean_host(host.as_deref().unwrap()) == host);
        assert!(method.is_none() || clean_method(method.as_deref().unwrap()) == method);
        if !needed.resource.is_empty() {
            assert!(is_resource(&needed.resource) && is_action(&needed.action));
            let path = clean_path(line.path).unwrap();
            assert_eq!(Some(&needed.action), method.as_ref());
            assert_eq!(needed.resource, default_resource(&host.unwrap(), &path));
        }
    });
}

#[test]
fn a_route_gives_a_resource_or_nothing_and_its_faults_are_named() {
    const FIELDS: [&str; 6] = ["host", "path", "methods", "resource", "action", "tenant"];
    fuzz!("route", |bytes| {
        let parts = split(bytes);
        let part = |place: usize| parts.get(place).cloned().unwrap_or_default();
        let text = RouteText {
            host: part(0),
            path: part(1),
            methods: part(2).split(',').filter(|method| !method.is_empty()).map(str::to_owned).collect(),
            resource: part(3),
            action: part(4),
            tenant: part(5),
            mode: part(6),
        };
        let (method, host, path) = (part(7), part(8), part(9));
        let line = RequestLine { method: &method, host: &host, path: &path };
        let routes = match Routes::parse(std::slice::from_ref(&text), "routes") {
            Ok(routes) => routes,
            Err(violations) => {
                let is_named = |field: &str| {
                    let name = field.strip_prefix("routes[0].").unwrap_or_default();
                    FIELDS.contains(&name) || name == "mode"
                };
                assert!(!violations.is_empty() && violations.iter().all(|violation| is_named(&violation.field)));
                return;
            }
        };
        let needed = routes.needed(&line, &Said::default());
        assert_eq!(needed.resource.is_empty(), needed.action.is_empty());
        assert!(needed.resource.is_empty() || (is_resource(&needed.resource) && is_action(&needed.action)));
        // A shadow run is only what the operator's word says it is.
        assert!(needed.mode == Mode::Enforce || text.mode == "observe");
        // What the proxy says goes before all routes.
        let said = Said { resource: "said", action: "say", tenant: "tenants/said", mode: "" };
        let needed = routes.needed(&line, &said);
        assert!(["", "said"].contains(&needed.resource.as_str()), "{needed:?}");
        assert_eq!((needed.tenant.as_str(), needed.mode), ("tenants/said", Mode::Enforce));
    });
}
