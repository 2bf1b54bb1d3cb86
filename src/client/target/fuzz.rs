//! Where a Keyward is, as users may write it.

use super::*;
use crate::fuzz::fuzz;

#[test]
fn a_target_is_written_as_it_is_read() {
    fuzz!("client-target", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(target) = Target::parse(&text) else { return };
        let written = match &target {
            Target::Unix(path) => format!("unix:{path}"),
            Target::Tcp { is_tls, host, port } => {
                assert!(*port > 0 && !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']));
                // No text that asks for TLS is taken for one that does not.
                assert_eq!(*is_tls, text.starts_with("https://"));
                let scheme = if *is_tls { "https" } else { "http" };
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                format!("{scheme}://{host}:{port}")
            }
        };
        assert_eq!(Target::parse(&written).ok().as_ref(), Some(&target), "{written}");
    });
}
