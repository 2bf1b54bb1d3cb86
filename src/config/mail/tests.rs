use super::*;
use crate::config::tests::{args, check, file, load};
use crate::config::{Config, DatabaseUrl};

fn smtp(url: &str) -> SmtpServer {
    match load(&["--smtp-url", url]).map(|config| config.mail.route) {
        Ok(MailRoute::Smtp(server)) => *server,
        other => panic!("{url}: {other:?}"),
    }
}

#[test]
fn with_nothing_said_mail_goes_into_a_folder_beside_the_database() {
    let folder = |words: &[&str]| match load(words).unwrap().mail.route {
        MailRoute::Folder(path) => path.display().to_string(),
        MailRoute::Smtp(server) => panic!("{server:?}"),
    };
    assert_eq!(folder(&[]), "./keyward-mail");
    assert_eq!(folder(&["--database-url=sqlite:/var/lib/k.db"]), "/var/lib/keyward-mail");
    assert_eq!(folder(&["--database-url=sqlite:///var/lib/k.db"]), "/var/lib/keyward-mail");
    assert_eq!(folder(&["--database-url=mysql://host/d"]), "./keyward-mail");
    assert_eq!(folder(&["--mail-dir=elsewhere"]), "elsewhere");
    assert_eq!(DatabaseUrl::from("sqlite:k.db".to_owned()).folder(), Path::new("."));
    assert_eq!(load(&[]).unwrap().mail.from, "Keyward <keyward@localhost>");
}

#[test]
fn mail_goes_one_way() {
    let Err(crate::error::Error::Invalid(violations)) = load(&["--mail-dir=a", "--smtp-url=smtps://host"]) else {
        panic!("accepted")
    };
    let told: Vec<_> = violations.iter().map(|violation| (violation.field.as_str(), violation.rule.as_str())).collect();
    assert!(told[0].0 == "--mail-dir" && told[0].1.contains("--smtp-url"), "{told:?}");
    assert!(told[1].0 == "--smtp-url" && told[1].1.contains("--mail-dir"), "{told:?}");
    // A flag goes before the file as a whole, the way of the file included.
    let (_directory, path) = file("smtp-url = 'smtps://host'\nsmtp-ca-file = 'ca.pem'\nmail-from = 'a@b.example'");
    let config = load(&["--config", &path, "--mail-dir=elsewhere"]).unwrap();
    assert!(matches!(config.mail.route, MailRoute::Folder(_)), "{config:?}");
    assert_eq!(config.mail.from, "a@b.example");
    let config = load(&["--config", &path]).unwrap();
    assert!(matches!(config.mail.route, MailRoute::Smtp(_)), "{config:?}");
}

#[test]
fn the_url_says_when_the_connection_is_encrypted() {
    for (url, host, port, tls) in [
        ("smtps://mail.example", "mail.example", 465, SmtpTls::Always),
        ("smtps://mail.example:4650/", "mail.example", 4650, SmtpTls::Always),
        ("smtp://25:25", "25", 25, SmtpTls::Required),
        ("smtps://465", "465", 465, SmtpTls::Always),
        ("smtp://1025:11025?tls=none", "1025", 11025, SmtpTls::Never),
        ("smtp://mail.example", "mail.example", 587, SmtpTls::Required),
        ("smtp://mail.example:25?tls=required", "mail.example", 25, SmtpTls::Required),
        ("smtp://mail.example?tls=opportunistic", "mail.example", 587, SmtpTls::Opportunistic),
        ("smtp://127.0.0.1?tls=none", "127.0.0.1", 25, SmtpTls::Never),
        ("smtp://[::1]:2525?tls=none", "::1", 2525, SmtpTls::Never),
        ("smtps://[::1]", "::1", 465, SmtpTls::Always),
    ] {
        let server = smtp(url);
        assert_eq!((server.host.as_str(), server.port, server.tls), (host, port, tls), "{url}");
        assert!(server.account.is_none());
    }
    for url in [
        "",
        "host",
        "host:25",
        "http://host",
        "smtp:host",
        "smtp://",
        "smtp://:25",
        "smtp://host:x",
        "smtp://host:65536",
        "smtp://host?tls=maybe",
        "smtps://host?tls=none",
        "smtp://host?tls=none&x=y",
        "smtp://host/path",
        "smtp://host:",
    ] {
        check(&["--smtp-url", url], Some(("--smtp-url", "must be smtp://")));
    }
}

#[test]
fn brackets_in_the_url_hold_an_address() {
    for url in ["smtp://[]", "smtps://[]:25", "smtp://[[::1]]", "smtp://a[::1]b", "smtp://a]"] {
        check(&["--smtp-url", url], Some(("--smtp-url", "must be smtp://")));
    }
}

#[test]
fn a_password_comes_from_the_url_or_from_a_file_and_is_shown_nowhere() {
    let account = |server: SmtpServer| server.account.map(|one| (one.user, one.password.to_string()));
    let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
    assert_eq!(account(smtp("smtps://kay:hunter2@host")), pair("kay", "hunter2"));
    assert_eq!(account(smtp("smtps://kay%40a.example:p%3A%2f%C3%A4@host")), pair("kay@a.example", "p:/ä"));
    let (_directory, path) = file("hunter2\n");
    let from_file = |url: &str| load(&["--smtp-url", url, "--smtp-password-file", &path]);
    match from_file("smtps://kay@host").unwrap().mail.route {
        MailRoute::Smtp(server) => assert_eq!(account(*server), pair("kay", "hunter2")),
        MailRoute::Folder(path) => panic!("{path:?}"),
    }
    assert!(from_file("smtps://kay:other@host").unwrap_err().to_string().contains("--smtp-password-file"));
    assert!(from_file("smtps://host").unwrap_err().to_string().contains("must name the user"));
    check(&["--smtp-url=smtps://kay@host"], Some(("--smtp-url", "--smtp-password-file")));
    check(&["--smtp-url=smtps://:hunter2@host"], Some(("--smtp-url", "must name the user")));
    check(&["--smtp-url=smtps://kay:%4@host"], Some(("--smtp-url", "must be")));
    check(&["--smtp-url=smtps://kay:%ff@host"], Some(("--smtp-url", "must be")));
    check(
        &["--smtp-url=smtps://kay@host", "--smtp-password-file=/nowhere"],
        Some(("--smtp-password-file", "cannot be read")),
    );
    for tls in ["none", "opportunistic"] {
        check(&[&format!("--smtp-url=smtp://k:p@host?tls={tls}")], Some(("--smtp-url", "in the clear")));
        check(&[&format!("--smtp-url=smtp://k:p@localhost?tls={tls}")], None);
    }
    for text in ["smtps://kay:hunter2@host", "hunter2", "smtp://u:hunter2@h?tls=hunter2", "hunter2://u@h"] {
        let words = ["--smtp-url", text];
        let shown = format!("{:?} {:?}", args(&words), load(&words));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn what_belongs_to_a_server_needs_one() {
    check(&["--smtp-ca-file=a"], Some(("--smtp-ca-file", "--smtp-url")));
    check(&["--smtp-password-file=a"], Some(("--smtp-password-file", "--smtp-url")));
    check(&["--smtp-ca-file=a", "--smtp-url=smtp://host?tls=none"], Some(("--smtp-ca-file", "tls=none")));
    for from in ["", "keyward", "a@b@c", "K <k>", "a@b\nBcc: c@d"] {
        check(&["--mail-from", from], Some(("--mail-from", "must be an address")));
    }
    assert_eq!(Config::load(args(&["--mail-from=k@x.example"])).unwrap().mail.from, "k@x.example");
}
