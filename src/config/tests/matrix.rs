//! Every combination of the settings that security rests on: it starts, or is refused in exactly the words that name the
//! setting and its rule. What is expected is told once more here, by rules that know nothing of how it is judged.

use super::super::transport::ClientEntry;
use super::*;
use std::path::PathBuf;

/// What is expected to be said of a setting.
type Refusals = Vec<(&'static str, String)>;

/// The settings that can be seen from the network.
#[derive(Clone, Copy, Debug)]
struct Reach {
    data: &'static str,
    check_auth: Option<&'static str>,
    data_tls: [bool; 3],
    has_clients: bool,
    admin: &'static str,
    admin_tls: [bool; 3],
    admin_plaintext: Option<bool>,
    ops: &'static str,
    ops_tls: [bool; 3],
}

/// Those that are about what the server holds, whom it believes and what it sends.
#[derive(Clone, Copy, Debug)]
struct Trust {
    database: &'static str,
    master_key: Option<&'static str>,
    root_key: Option<&'static str>,
    issuer: Option<&'static str>,
    audience: Option<&'static str>,
    mail_dir: bool,
    smtp: Option<&'static str>,
    smtp_ca: bool,
    header: Option<&'static str>,
}

const PLAIN_REACH: Reach = Reach {
    data: "127.0.0.1:1",
    check_auth: None,
    data_tls: [false; 3],
    has_clients: false,
    admin: "127.0.0.1:2",
    admin_tls: [false; 3],
    admin_plaintext: None,
    ops: "127.0.0.1:3",
    ops_tls: [false; 3],
};

const PLAIN_TRUST: Trust = Trust {
    database: "sqlite:./k.db",
    master_key: None,
    root_key: None,
    issuer: None,
    audience: None,
    mail_dir: false,
    smtp: None,
    smtp_ca: false,
    header: None,
};

/// Certificate, key and the clients' authorities: all that may be given of the three.
const TLS: [[bool; 3]; 8] = [
    [false, false, false],
    [true, true, false],
    [true, true, true],
    [true, false, false],
    [false, true, false],
    [false, false, true],
    [true, false, true],
    [false, true, true],
];

const CHECK_AUTH: [Option<&str>; 5] = [None, Some("bearer"), Some("mtls"), Some("none"), Some("anybody")];

fn reaches() -> Vec<Reach> {
    let mut all = Vec::new();
    for data in ["127.0.0.1:1", "[::1]:1", "unix:/run/data", "0.0.0.0:1", "[::ffff:127.0.0.1]:1", "host.example:1"] {
        for check_auth in CHECK_AUTH {
            for data_tls in TLS {
                for has_clients in [false, true] {
                    all.push(Reach { data, check_auth, data_tls, has_clients, ..PLAIN_REACH });
                }
            }
        }
    }
    for admin in ["localhost:2", "unix:/run/admin", "[::]:2", "10.0.0.1:2"] {
        for admin_tls in TLS {
            for admin_plaintext in [None, Some(true), Some(false)] {
                for ops in ["127.0.0.1:3", "0.0.0.0:3", "127.0.0.1:1", "unix:/run/admin"] {
                    for ops_tls in TLS {
                        all.push(Reach { admin, admin_tls, admin_plaintext, ops, ops_tls, ..PLAIN_REACH });
                    }
                }
            }
        }
    }
    all
}

const SMTP: [Option<&str>; 8] = [
    None,
    Some("smtps://mail.example"),
    Some("smtps://kay:secret@mail.example"),
    Some("smtp://kay:secret@mail.example"),
    Some("smtp://kay:secret@mail.example?tls=opportunistic"),
    Some("smtp://kay:secret@localhost?tls=none"),
    Some("smtp://mail.example?tls=none"),
    Some("smtps://kay@mail.example"),
];

fn trusts() -> Vec<Trust> {
    let mut all = Vec::new();
    for database in ["sqlite:./k.db", "postgres://u:secret@h/d", "mysql://h/d", "oracle://h/d"] {
        for (master_key, root_key) in
            [(None, None), (Some("m.key"), Some("r.key")), (Some("/"), None), (None, Some("/"))]
        {
            for issuer in [None, Some("https://keys.example"), Some("keys.example"), Some("")] {
                for audience in [None, Some("api"), Some("")] {
                    for header in [None, Some("x-token"), Some("authorization"), Some("x-keyward-user")] {
                        all.push(Trust { database, master_key, root_key, issuer, audience, header, ..PLAIN_TRUST });
                    }
                }
            }
        }
    }
    for mail_dir in [false, true] {
        for smtp in SMTP {
            for smtp_ca in [false, true] {
                all.push(Trust { mail_dir, smtp, smtp_ca, ..PLAIN_TRUST });
            }
        }
    }
    all
}

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text))
}

fn files([cert, key, ca]: [bool; 3]) -> [Option<PathBuf>; 3] {
    let given = |is_given: bool, name: &str| is_given.then(|| PathBuf::from(name));
    [given(cert, "cert.pem"), given(key, "key.pem"), given(ca, "ca.pem")]
}

fn asked(reach: &Reach, trust: &Trust) -> Result<Config> {
    let [data_tls_cert_file, data_tls_key_file, data_tls_client_ca_file] = files(reach.data_tls);
    let [admin_tls_cert_file, admin_tls_key_file, admin_tls_client_ca_file] = files(reach.admin_tls);
    let [ops_tls_cert_file, ops_tls_key_file, ops_tls_client_ca_file] = files(reach.ops_tls);
    let client = ClientEntry { identity: "gateway.example".to_owned(), tenant: None };
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let args = ServeArgs {
        database_url: Some(trust.database.to_owned().into()),
        master_key_file: trust.master_key.and_then(path),
        root_key_file: trust.root_key.and_then(path),
        issuer: owned(trust.issuer),
        audience: trust.audience.map(|audience| vec![audience.to_owned()]),
        mail_dir: trust.mail_dir.then(|| PathBuf::from("mail")),
        smtp_url: owned(trust.smtp).map(SmtpUrl::from),
        smtp_ca_file: trust.smtp_ca.then(|| PathBuf::from("ca.pem")),
        ext_authz_header: owned(trust.header),
        data_addr: Some(reach.data.to_owned()),
        admin_addr: Some(reach.admin.to_owned()),
        ops_addr: Some(reach.ops.to_owned()),
        check_auth: owned(reach.check_auth),
        admin_plaintext: reach.admin_plaintext,
        data_tls_cert_file,
        data_tls_key_file,
        data_tls_client_ca_file,
        admin_tls_cert_file,
        admin_tls_key_file,
        admin_tls_client_ca_file,
        ops_tls_cert_file,
        ops_tls_key_file,
        ops_tls_client_ca_file,
        ..ServeArgs::default()
    };
    // Clients are in the file only.
    let clients = reach.has_clients.then_some(client).into_iter().collect();
    Config::checked(args, ServeArgs { clients, ..ServeArgs::default() })
}

/// What cannot be read by itself; while there is any of it, nothing else is said.
fn unreadable(reach: &Reach, trust: &Trust) -> Refusals {
    let mut told = Refusals::new();
    let mut refuse = |flag, rule: &str| told.push((flag, rule.to_owned()));
    if trust.database.starts_with("oracle") {
        refuse("--database-url", "must begin with sqlite:, postgres: or mysql:");
    }
    match (trust.mail_dir, trust.smtp) {
        (true, Some(_)) => {
            refuse("--mail-dir", "must not be given with --smtp-url: mail goes one way");
            refuse("--smtp-url", "must not be given with --mail-dir: mail goes one way");
        }
        (_, None) if trust.smtp_ca => refuse("--smtp-ca-file", "must not be given without --smtp-url"),
        (_, Some(url)) if url.contains("secret") && url.contains("opportunistic") => {
            refuse("--smtp-url", "would send a password in the clear: use smtps: or tls=required");
        }
        (_, Some(url)) if url.contains("kay@") => {
            refuse("--smtp-url", "names a user: give the password by --smtp-password-file");
        }
        (_, Some(url)) if url.contains("tls=none") && trust.smtp_ca => {
            refuse("--smtp-ca-file", "must not be given with tls=none");
        }
        (_, _) => {}
    }
    if matches!(trust.header, Some("authorization" | "x-keyward-user")) {
        refuse("--ext-authz-header", "must be the name of a header in lower case that has no other meaning here");
    }
    let listeners = [
        (["--data-tls-cert-file", "--data-tls-key-file", "--data-tls-client-ca-file"], reach.data_tls),
        (["--admin-tls-cert-file", "--admin-tls-key-file", "--admin-tls-client-ca-file"], reach.admin_tls),
        (["--ops-tls-cert-file", "--ops-tls-key-file", "--ops-tls-client-ca-file"], reach.ops_tls),
    ];
    for ([cert, key, ca], given) in listeners {
        match given {
            [true, true, _] | [false, false, false] => {}
            [true, false, _] => refuse(key, &format!("must be given with {cert}")),
            [false, true, _] => refuse(cert, &format!("must be given with {key}")),
            [false, false, true] => refuse(ca, &format!("must not be given without {cert} and {key}")),
        }
    }
    if reach.check_auth == Some("anybody") {
        refuse("--check-auth", "must be bearer, mtls or none");
    }
    told
}

/// What is wrong between several.
fn unsafe_together(reach: &Reach, trust: &Trust) -> Refusals {
    let mut told = Refusals::new();
    let mut refuse = |flag, rule: &str| told.push((flag, rule.to_owned()));
    let Reach { data, admin, ops, .. } = *reach;
    let is_open = |address: &str| {
        ["0.0.0.0", "[::]", "[::ffff", "10.", "host.example"].iter().any(|start| address.starts_with(start))
    };
    if is_open(data) && reach.check_auth.is_none() {
        let who =
            "say who may ask there by --check-auth=bearer, --check-auth=mtls, or --check-auth=none if everybody may";
        refuse("--data-addr", &format!("{data} can be reached by others: {who}"));
    }
    if is_open(admin) && reach.admin_tls == [false; 3] && reach.admin_plaintext != Some(true) {
        let how = "give --admin-tls-cert-file and --admin-tls-key-file, or allow it by --admin-plaintext";
        let rule = format!("{admin} can be reached by others, and credentials would travel in the clear: {how}");
        refuse("--admin-addr", &rule);
    }
    match (reach.check_auth, reach.data_tls, reach.has_clients) {
        (Some("mtls"), [true, true, true], true) => {}
        (Some("mtls"), [true, true, true], false) => {
            let rule = "mtls lets nobody in without [[clients]] in the file of --config, each with an identity";
            refuse("--check-auth", rule);
        }
        (Some("mtls"), _, _) => {
            let how = "give --data-tls-cert-file, --data-tls-key-file and --data-tls-client-ca-file";
            let rule = format!("mtls needs TLS with clients' certificates on the data listener: {how}");
            refuse("--check-auth", &rule);
        }
        (_, _, true) => refuse("clients", "must not be listed without --check-auth=mtls"),
        (_, _, false) => {}
    }
    for (first, flag, second) in
        [(("--data-addr", data), "--ops-addr", ops), (("--admin-addr", admin), "--ops-addr", ops)]
    {
        if first.1 == second {
            refuse(flag, &format!("must not be the address of {}, {}", first.0, first.1));
        }
    }
    if trust.master_key == Some("/") {
        refuse("--master-key-file", "must name a file, and is a directory");
    }
    if trust.root_key == Some("/") {
        refuse("--root-key-file", "must name a file, and is a directory");
    }
    if matches!(trust.issuer, Some("" | "keys.example")) {
        refuse("--issuer", "must be an http:// or https:// URL of at most 255 characters, without ? and #");
    }
    if trust.audience == Some("") {
        refuse("--audience", "must not be empty");
    }
    told
}

/// Tries one; whether it starts.
#[track_caller]
fn tried(reach: &Reach, trust: &Trust) -> bool {
    let mut expected = unreadable(reach, trust);
    if expected.is_empty() {
        expected = unsafe_together(reach, trust);
    }
    let mut found = match asked(reach, trust) {
        Ok(_) => Vec::new(),
        Err(Error::Invalid(violations)) => violations,
        Err(error) => panic!("{reach:?} {trust:?}: {error}"),
    };
    found.sort_by(|one, other| (&one.field, &one.rule).cmp(&(&other.field, &other.rule)));
    expected.sort();
    let expected: Vec<Violation> = expected.into_iter().map(|(field, rule)| Violation::new(field, rule)).collect();
    assert_eq!(found, expected, "{reach:?} {trust:?}");
    assert!(found.iter().all(|violation| !violation.rule.contains("secret")));
    found.is_empty()
}

#[test]
fn each_combination_of_settings_starts_or_is_refused_by_name_and_rule() {
    let (reaches, trusts) = (reaches(), trusts());
    let mut count = 0_usize;
    let mut started = 0_usize;
    let mut note = |starts: bool| {
        count += 1;
        started += usize::from(starts);
    };
    for reach in &reaches {
        note(tried(reach, &PLAIN_TRUST));
    }
    for trust in &trusts {
        note(tried(&PLAIN_REACH, trust));
    }
    // Of both together some, another few for each, so that every value of one comes with every value of the other.
    for (place, reach) in reaches.iter().enumerate() {
        for trust in trusts.iter().skip(place % 401).step_by(401) {
            note(tried(reach, trust));
        }
    }
    println!("matrix: {count} combinations, {started} start");
    assert!(started > 100 && count > 10_000, "{started} of {count}");
}
