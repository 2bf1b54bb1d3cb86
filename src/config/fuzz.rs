//! What operators write: the file, and the settings that have a form of their own.

use super::file::read_text;
use super::*;
use crate::fuzz::fuzz;
use clap::{Args as _, Command};
use std::net::SocketAddr;

/// The only secret there is in the seeds.
const SECRET: &str = "hunter2";

/// Whether the secret stands nowhere but where secrets belong.
fn is_in_its_place(text: &str) -> bool {
    let Ok(mut table) = text.parse::<toml::Table>() else { return false };
    table.remove("database-url");
    table.remove("smtp-url");
    !table.to_string().contains(SECRET)
}

fn is_local(address: &Address) -> bool {
    let text = address.to_string();
    match text.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => text.starts_with("unix:") || text.to_lowercase().starts_with("localhost:"),
    }
}

/// What no server may start without, in the words of the contract.
fn is_safe(config: &Config) -> bool {
    let transport = &config.transport;
    let has_ca = transport.data_tls.as_ref().is_some_and(|files| files.client_ca.is_some());
    let has_door = is_local(&config.data_addr) || config.check_auth.is_some();
    let is_admin_hidden = is_local(&config.admin_addr) || transport.admin_tls.is_some() || config.admin_plaintext;
    let is_mtls = config.check_auth == Some(CheckAuth::Mtls);
    let is_mtls_whole = if is_mtls { has_ca && !transport.clients.is_empty() } else { transport.clients.is_empty() };
    let is_mail_hidden = match &config.mail.route {
        MailRoute::Folder(_) => true,
        MailRoute::Smtp(server) => {
            server.account.is_none()
                || matches!(server.tls, SmtpTls::Always | SmtpTls::Required)
                || ["localhost", "127.0.0.1", "::1"].contains(&server.host.as_str())
        }
    };
    let day = Duration::from_secs(24 * 60 * 60);
    has_door
        && is_admin_hidden
        && is_mtls_whole
        && is_mail_hidden
        && config.drain_timeout < Duration::from_secs(10)
        && config.signing_key_life >= day * 2
        && config.event_retention.is_none_or(|retention| retention >= day)
        && config.lease.is_none_or(|lease| (Duration::from_secs(1)..=Duration::from_secs(300)).contains(&lease))
        && config.audience.iter().all(|audience| !audience.is_empty())
}

#[test]
fn a_file_makes_a_server_that_is_safe_or_none() {
    let command = ServeArgs::augment_args(Command::new("serve"));
    let flags: Vec<String> = command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect();
    fuzz!("config-file", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let read = match read_text(&text) {
            Ok(read) => read,
            Err(rule) => {
                assert!(rule.starts_with("line "), "{rule}");
                assert!(!is_in_its_place(&text) || !rule.contains(SECRET), "{rule}");
                return;
            }
        };
        // The one file that would be opened.
        let read = ServeArgs { smtp_password_file: None, ..read };
        let shown = match Config::checked(ServeArgs::default(), read) {
            Ok(config) => {
                assert!(is_safe(&config), "{config:?}");
                format!("{config:?}")
            }
            Err(Error::Invalid(violations)) => {
                for Violation { field, rule } in &violations {
                    let is_named = flags.contains(field) || field.starts_with("clients") || field.starts_with("routes");
                    assert!(is_named && !rule.is_empty(), "{field} {rule}");
                }
                format!("{violations:?}")
            }
            Err(error) => panic!("{error:?}"),
        };
        assert!(!is_in_its_place(&text) || !shown.contains(SECRET), "{shown}");
    });
}

#[test]
fn an_address_is_local_only_if_no_other_machine_reaches_it() {
    fuzz!("config-address", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        match text.parse::<Address>() {
            Ok(address) => {
                assert_eq!(address.is_local(), is_local(&address), "{address}");
                assert!(address.is_same(&address) || address.port() == Some(0));
                // A Unix socket may have any path, and two slashes more before it.
                if !text.starts_with("unix:") {
                    assert_eq!(address.to_string().parse::<Address>(), Ok(address));
                }
            }
            Err(rule) => assert!(rule.contains("must "), "{rule}"),
        }
    });
}

#[test]
fn a_setting_is_read_in_one_way() {
    fuzz!("config-value", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let millis = match (number.parse::<u128>(), unit) {
            (Ok(number), _) if number > u128::from(u32::MAX) => None,
            (Ok(number), "ms") => Some(number),
            (Ok(number), "s") => Some(number * 1000),
            (Ok(number), "m") => Some(number * 60_000),
            (Ok(number), "h") => Some(number * 3_600_000),
            (Ok(number), "d") => Some(number * 86_400_000),
            _ => None,
        };
        assert_eq!(text.parse::<Span>().ok().map(|span| span.0.as_millis()), millis);
        let words = ["bearer", "mtls", "none"];
        assert_eq!(parse_check_auth(&text).is_ok(), words.contains(&&*text));
        if value::is_issuer(&text) {
            let url: http::Uri = text.parse().unwrap();
            assert!(url.host().is_some_and(|host| !host.is_empty()) && text.len() <= 255, "{text}");
            assert!(url.query().is_none());
        }
        // Whatever stands there, it is shown nowhere.
        let url = DatabaseUrl::from(text.to_string());
        assert!(format!("{url:?}").len() < 32);
        assert!(!url.folder().as_os_str().is_empty());
    });
}

#[test]
fn a_mail_server_gets_no_password_in_the_clear() {
    fuzz!("smtp-url", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let args = ServeArgs { smtp_url: Some(SmtpUrl::from(text.to_string())), ..ServeArgs::default() };
        match Config::checked(args, ServeArgs::default()) {
            Ok(config) => {
                assert!(is_safe(&config), "{config:?}");
                let MailRoute::Smtp(server) = &config.mail.route else { panic!("{config:?}") };
                assert!(!server.host.is_empty() && !server.host.contains(['/', '@', '?', ' ']), "{server:?}");
                let usual = text.starts_with("smtps:");
                assert_eq!(server.tls == SmtpTls::Always, usual || text.to_lowercase().starts_with("smtps:"));
                if let Some(account) = &server.account {
                    assert!(!account.user.is_empty());
                    let shown = format!("{config:?}");
                    assert!(account.password.len() < 6 || !shown.contains(&*account.password), "{shown}");
                }
            }
            Err(Error::Invalid(violations)) => {
                assert!(violations.iter().all(|violation| violation.field == "--smtp-url"), "{violations:?}");
                assert!(violations.iter().all(|violation| !violation.rule.contains(SECRET)));
            }
            Err(error) => panic!("{error:?}"),
        }
    });
}
