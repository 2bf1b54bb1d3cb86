use super::*;
use clap::{Args as _, Command, FromArgMatches as _};

mod matrix;

/// What the command line makes of these words, without the environment.
pub(super) fn args(words: &[&str]) -> ServeArgs {
    let command = ServeArgs::augment_args(Command::new("serve").no_binary_name(true));
    let command = command.mut_args(|arg| arg.env(None::<&str>));
    ServeArgs::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
}

pub(super) fn load(words: &[&str]) -> Result<Config> {
    Config::load(args(words))
}

/// `words` are accepted if `flag` is `None`, and otherwise refused for that flag, in a text that holds `rule`.
#[track_caller]
pub(super) fn check(words: &[&str], refusal: Option<(&str, &str)>) {
    match (load(words), refusal) {
        (Ok(_), None) => {}
        (Err(Error::Invalid(violations)), Some((flag, rule))) => {
            let found: Vec<_> = violations.iter().filter(|violation| violation.field == flag).collect();
            assert_eq!((found.len(), violations.len()), (1, 1), "{words:?}: {violations:?}");
            assert!(found.iter().all(|violation| violation.rule.contains(rule)), "{words:?}: {violations:?}");
        }
        (outcome, _) => panic!("{words:?}: {outcome:?}"),
    }
}

#[test]
fn no_flag_at_all_is_a_server_on_this_machine() {
    let config = load(&[]).unwrap();
    assert_eq!(config.database_url.as_str(), "sqlite:./keyward.db");
    assert_eq!(config.data_addr.to_string(), "127.0.0.1:50051");
    assert_eq!(config.admin_addr.to_string(), "127.0.0.1:50052");
    assert_eq!(config.ops_addr.to_string(), "127.0.0.1:50053");
    assert_eq!(config.check_auth, None);
    assert_eq!(config.drain_timeout, Duration::from_secs(8));
    assert_eq!((config.log_format, config.log_level.as_str()), (LogFormat::Human, "info"));
    assert_eq!((config.otlp_endpoint, config.root_key_file), (None, None));
    assert!(!config.admin_plaintext && config.audience.is_empty());
    assert_eq!((config.master_key_file, config.issuer), (None, None));
    assert_eq!(config.signing_key_life, Duration::from_secs(90 * 24 * 60 * 60));
}

#[test]
fn an_issuer_is_a_plain_url() {
    for issuer in ["https://keys.example", "http://127.0.0.1:50053", "https://keys.example/a/b", "http://[::1]:1"] {
        check(&["--issuer", issuer], None);
    }
    let long = format!("https://{}", "a".repeat(250));
    let bad = ["", "keys.example", "https://", "https:///a", "ftp://a", "https://a?b", "https://a#b", "https://a b"];
    for issuer in bad.into_iter().chain(["HTTPS://a", "https://é", "https://a\"b", long.as_str()]) {
        check(&["--issuer", issuer], Some(("--issuer", "URL")));
    }
}

#[test]
fn an_issuer_is_a_url_to_others_too_and_holds_no_password() {
    for issuer in
        ["https://a:b:c", "https://:80", "https://@", "https://u:p@h", "https://a:99999", "https://a:", "https://["]
    {
        check(&["--issuer", issuer], Some(("--issuer", "URL")));
    }
    for issuer in ["https://keys.example:8443/a", "http://[::1]", "http://10.0.0.1:1/"] {
        check(&["--issuer", issuer], None);
    }
}

#[test]
fn events_are_kept_for_ever_or_for_a_day_at_least() {
    assert_eq!(load(&[]).unwrap().event_retention, None);
    for retention in ["1d", "24h", "400d"] {
        check(&["--event-retention", retention], None);
    }
    for retention in ["0s", "23h"] {
        check(&["--event-retention", retention], Some(("--event-retention", "at least 1d")));
    }
    check(&["--event-retention", "ever"], Some(("--event-retention", "must be a number")));
}

#[test]
fn a_signing_key_lives_longer_than_it_is_published_ahead() {
    for life in ["2d", "48h", "90d", "4294967295d"] {
        check(&["--signing-key-life", life], None);
    }
    for life in ["1d", "47h", "0s", "172799s"] {
        check(&["--signing-key-life", life], Some(("--signing-key-life", "at least 2d")));
    }
    for life in ["", "2", "2w", "2 d", "d"] {
        check(&["--signing-key-life", life], Some(("--signing-key-life", "must be a number")));
    }
    check(&["--master-key-file", "/"], Some(("--master-key-file", "directory")));
}

#[test]
fn a_data_listener_that_others_reach_says_who_may_ask() {
    let local = ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "localhost:1", "LocalHost:1", "unix:/run/k", "127.0.0.1:0"];
    let open = [
        "0.0.0.0:1",
        "[::]:1",
        "10.0.0.1:1",
        "[::ffff:127.0.0.1]:1",
        "host.example:1",
        "localhost.example:1",
        "0.0.0.0:0",
    ];
    for address in local {
        check(&["--data-addr", address], None);
        check(&["--data-addr", address, "--check-auth=bearer"], None);
    }
    for address in open {
        for word in ["--check-auth=bearer", "--check-auth=mtls", "--check-auth=none"] {
            check(&["--data-addr", address], Some(("--data-addr", word)));
        }
        check(&["--data-addr", address, "--admin-plaintext"], Some(("--data-addr", "--check-auth")));
        check(&["--data-addr", address, "--check-auth=bearer"], None);
        check(&["--data-addr", address, "--check-auth", "none"], None);
    }
    for word in ["", "None", "bearer,none", "yes"] {
        check(&["--check-auth", word], Some(("--check-auth", "bearer, mtls or none")));
    }
}

#[test]
fn an_admin_listener_that_others_reach_needs_the_word_plaintext() {
    for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "host.example:1"] {
        check(&["--admin-addr", address], Some(("--admin-addr", "--admin-plaintext")));
        check(&["--admin-addr", address, "--check-auth=bearer"], Some(("--admin-addr", "--admin-plaintext")));
        check(&["--admin-addr", address, "--admin-plaintext"], None);
        check(&["--admin-addr", address, "--admin-tls-cert-file=a", "--admin-tls-key-file=b"], None);
        check(&["--admin-addr", address], Some(("--admin-addr", "--admin-tls-cert-file")));
        check(&["--admin-addr", address, "--admin-plaintext=false"], Some(("--admin-addr", "--admin-plaintext")));
        check(&["--ops-addr", address], None);
    }
    check(&["--admin-addr", "unix:admin.sock"], None);
}

#[test]
fn no_two_listeners_share_an_address() {
    check(&["--data-addr", "127.0.0.1:50052"], Some(("--admin-addr", "--data-addr")));
    check(&["--ops-addr", "localhost:50051"], Some(("--ops-addr", "--data-addr")));
    check(&["--ops-addr", "unix:/a", "--admin-addr", "unix:///a"], Some(("--ops-addr", "--admin-addr")));
    check(&["--ops-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data-addr", "127.0.0.1:0"], None);
    check(&["--ops-addr", "127.0.0.2:50051"], None);
}

#[test]
fn values_that_cannot_be_read_are_refused_by_the_name_of_their_flag() {
    for address in
        ["", ":1", "unix:", "unix://", "127.0.0.1", "127.1:1", "h:65536", "::1:80", "a b:1", "http://h:1", "1:2"]
    {
        check(&["--ops-addr", address], Some(("--ops-addr", "must")));
    }
    for span in ["", "8", "s", "10s", "10000ms", "1m", "8 s", "-1s", "99999999999s"] {
        check(&[&format!("--drain-timeout={span}")], Some(("--drain-timeout", "must be")));
    }
    check(&["--drain-timeout=9999ms"], None);
    check(&["--log-format=text"], Some(("--log-format", "human or json")));
    check(&["--audience=a,,b"], Some(("--audience", "empty")));
    check(&["--otlp-endpoint=https://collector:4317"], None);
    check(&["--otlp-endpoint=collector:4317"], Some(("--otlp-endpoint", "https://")));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    check(&["--root-key-file", path], Some(("--root-key-file", "directory")));
    check(&["--root-key-file", &format!("{path}/root")], None);
}

#[test]
fn a_cap_is_a_number_or_said_to_be_none() {
    use crate::domain::cap::{Cap, Caps};
    let caps = |words: &[&str]| load(words).unwrap().caps;
    assert_eq!(caps(&[]), Caps::default());
    assert_eq!(caps(&["--max-keys-per-tenant=7"]).keys, Cap::Of(7));
    assert_eq!(caps(&["--max-tokens-per-tenant=unlimited"]).tokens, Cap::Unlimited);
    let (_directory, path) = file("max-keys-per-tenant = 8\nmax-applications-per-tenant = 'unlimited'");
    let told = caps(&["--config", &path, "--max-tokens-per-tenant=9"]);
    assert_eq!(told, Caps { keys: Cap::Of(8), applications: Cap::Unlimited, tokens: Cap::Of(9) });
    for bad in ["0", "-1", "none", "1k", ""] {
        let flag = format!("--max-applications-per-tenant={bad}");
        check(&[&flag], Some(("--max-applications-per-tenant", "at least 1, or unlimited")));
    }
}

#[test]
fn every_broken_rule_is_told_at_once() {
    let Err(Error::Invalid(violations)) = load(&["--data-addr=0.0.0.0:1", "--admin-addr=0.0.0.0:2"]) else {
        panic!("accepted")
    };
    let flags: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(flags, ["--data-addr", "--admin-addr"]);
}

#[test]
fn an_address_is_written_as_it_is_read() {
    for text in ["127.0.0.1:50051", "[::1]:1", "db.example:80", "unix:/run/keyward.sock", "unix:relative.sock"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
}

pub(super) fn file(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keyward.toml");
    std::fs::write(&path, text).unwrap();
    (directory, path.to_str().unwrap().to_owned())
}

#[test]
fn a_flag_goes_before_the_file_and_that_before_the_default() {
    let (_directory, path) =
        file("data-addr = '127.0.0.1:1'\nops-addr = '127.0.0.1:2'\nadmin-plaintext = true\naudience = ['a', 'b']");
    let config = load(&["--config", &path, "--data-addr", "127.0.0.1:3", "--admin-plaintext=false"]).unwrap();
    assert_eq!(config.data_addr.port(), Some(3));
    assert_eq!(config.ops_addr.port(), Some(2));
    assert_eq!(config.admin_addr.port(), Some(50052));
    assert!(!config.admin_plaintext);
    assert_eq!(config.audience, ["a", "b"]);
    assert_eq!(load(&["--config", &path, "--audience=c"]).unwrap().audience, ["c"]);
}

#[test]
fn a_file_is_refused_by_what_is_wrong_in_it_and_not_by_its_secrets() {
    let cases = [
        ("data-addr = '127.0.0.1:1'\ndata_addr = '127.0.0.1:1'", "line 2: unknown field `data_addr`"),
        ("config = 'other.toml'", "unknown field `config`"),
        ("otel-exporter-otlp-endpoint = 'http://x'", "unknown field"),
        ("database-url = 'postgres://u:hunter2@h' x", "line 1"),
        ("database-url = ['postgres://u:hunter2@h']", "invalid type"),
        ("admin-plaintext = 'yes'", "invalid type"),
    ];
    for (text, rule) in cases {
        let (_directory, path) = file(text);
        let refusal = load(&["--config", &path]).unwrap_err().to_string();
        assert!(refusal.contains("--config") && refusal.contains(rule), "{refusal}");
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }
    check(&["--config", "/nowhere/keyward.toml"], Some(("--config", "cannot be read")));
}

#[test]
fn a_file_that_is_nested_without_end_is_refused() {
    for text in [format!("audience = {}", "[".repeat(100_000)), format!("routes = {}", "[{a=".repeat(100_000))] {
        let (_directory, path) = file(&text);
        assert!(load(&["--config", &path]).unwrap_err().to_string().contains("--config"));
    }
}

#[test]
fn a_database_url_shows_no_password() {
    for text in ["postgres://u:hunter2@h/d", "hunter2:x", "hunter2"] {
        let words = ["--database-url", text];
        let shown = format!("{:?} {:?}", args(&words), load(&words));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    check(&["--database-url", "oracle://h"], Some(("--database-url", "must begin")));
    check(&["--database-url", "mysql://h/d"], None);
}

#[test]
fn every_flag_is_a_variable_and_a_key() {
    let command = ServeArgs::augment_args(Command::new("serve"));
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let flag = arg.get_long().unwrap();
        let variable = format!("KEYWARD_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(arg.get_env().unwrap().to_str(), Some(variable.as_str()));
        assert!(arg.is_hide_env_values_set(), "--help would show {variable}");
        let refusal = toml::from_str::<ServeArgs>(&format!("{flag} = {{}}")).unwrap_err();
        assert_eq!(refusal.message().contains("unknown field"), flag == "config", "{flag}: {refusal}");
    }
}

#[test]
fn the_standard_variable_goes_after_our_own_and_before_the_file() {
    let (_directory, path) = file("otlp-endpoint = 'http://file'");
    let standard = "--otel-exporter-otlp-endpoint=http://standard";
    let endpoint = |words: &[&str]| load(words).unwrap().otlp_endpoint;
    assert_eq!(endpoint(&["--config", &path]).as_deref(), Some("http://file"));
    assert_eq!(endpoint(&["--config", &path, standard]).as_deref(), Some("http://standard"));
    assert_eq!(endpoint(&[standard, "--otlp-endpoint=http://ours"]).as_deref(), Some("http://ours"));
}
