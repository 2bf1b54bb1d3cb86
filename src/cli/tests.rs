//! What people type, and what becomes of it.

use clap::{CommandFactory as _, Parser};

use super::apps::Apps;
use super::keys::Keys;
use super::{ClientOptions, Command, check, connect, grants, value};
use crate::proto::v1::grant::Kind;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: ClientOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Parser)]
struct GrantLine {
    #[command(flatten)]
    grants: grants::GrantOptions,
}

fn parse(line: &str) -> Result<Line, String> {
    let words = std::iter::once("keyward").chain(line.split(' '));
    Line::try_parse_from(words).map_err(|error| error.to_string())
}

/// The options that these words give.
pub(super) fn options(words: &str) -> ClientOptions {
    let Line { options, command: _ } = parse(&format!("{words} doctor")).unwrap();
    options
}

#[track_caller]
fn update_mask(line: &str) -> Result<Vec<String>, String> {
    let line = parse(line)?;
    let Command::Keys(Keys::Update(update)) = line.command else { return Err("another command".to_owned()) };
    let request = update.request(&line.options).map_err(|failure| failure.to_string())?;
    Ok(request.update_mask.unwrap_or_default().paths)
}

#[test]
fn the_command_line_is_well_formed() {
    Line::command().debug_assert();
}

#[test]
fn every_command_has_an_example() {
    fn visit(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        if command.has_subcommands() {
            command.get_subcommands().for_each(|command| visit(command, &path));
            return;
        }
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Example"), "{path} has no example");
        assert!(help.contains(path.trim()), "{path} has an example of something else");
    }
    visit(&Line::command(), "");
}

#[test]
fn a_duration_is_numbers_with_units() {
    #[track_caller]
    fn check(text: &str, seconds: Option<f64>) {
        assert_eq!(value::duration(text).ok().map(|duration| duration.as_secs_f64()), seconds, "{text}");
    }
    check("30d", Some(2_592_000.0));
    check("12h", Some(43_200.0));
    check("15m", Some(900.0));
    check("1h30m", Some(5_400.0));
    check("2w", Some(1_209_600.0));
    check("250ms", Some(0.25));
    check("0s", Some(0.0));
    for refused in ["", "30", "d", "-1h", "1.5h", "1 h", "1y", "h1", "1H", "1h30", "99999999999999999999s", "٣h"] {
        check(refused, None);
    }
    check(&format!("{}w", u64::MAX), None);
    check(&format!("{}ms1s", u64::MAX), Some(18_446_744_073_709_552.615));
    assert!(value::wire_duration("30d").is_ok_and(|span| span.seconds == 2_592_000));
}

#[test]
fn a_time_is_of_rfc_3339() {
    let time = value::timestamp("2030-01-31T12:00:00.5+01:00");
    assert!(time.is_ok_and(|time| time.nanos == 500_000_000 && value::time_text(&time) == "2030-01-31T11:00:00Z"));
    assert!(value::timestamp("2030-01-31").is_err());
    assert!(value::timestamp("tomorrow").is_err());
    let before = value::timestamp("1969-12-31T23:59:59.25Z");
    assert!(before.is_ok_and(|time| time.seconds == -1 && time.nanos == 250_000_000));
}

#[test]
fn a_name_may_be_short_or_full() {
    #[track_caller]
    fn check(text: &str, name: Option<&str>) {
        assert_eq!(value::resource_name("tenants/-", "keys", text).ok().as_deref(), name, "{text}");
    }
    check("ci", Some("tenants/-/keys/ci"));
    check("keys/ci", Some("tenants/-/keys/ci"));
    check("tenants/acme/keys/ci", Some("tenants/acme/keys/ci"));
    for refused in
        ["", "/", "keys/", "users/ci", "tenants/acme/users/ci", "tenants//keys/ci", "tenants/acme/keys", "a/b"]
    {
        check(refused, None);
    }
    assert_eq!(value::tenant_name("acme").as_deref(), Ok("tenants/acme"));
    assert_eq!(value::tenant_name("tenants/acme").as_deref(), Ok("tenants/acme"));
    assert!(value::tenant_name("").is_err() && value::tenant_name("tenants/").is_err());
    assert!(value::tenant_name("acme/keys/ci").is_err());
    assert_eq!(value::parent_name("tenants/a", "users/ben").as_deref(), Ok("tenants/a/users/ben"));
    assert_eq!(value::parent_name("tenants/a", "tenants/b").as_deref(), Ok("tenants/b"));
    assert!(value::parent_name("tenants/a", "ben").is_err());
}

#[test]
fn an_empty_tenant_is_refused_and_not_taken_for_any() {
    let line = Line::try_parse_from(["keyward", "check", "--tenant", ""]);
    assert!(line.is_ok_and(|line| line.options.chosen_tenant().is_err()));
}

#[test]
fn grants_become_one_message_of_each_form() {
    let line = GrantLine::try_parse_from([
        "grants",
        "--grant",
        "doc/a=b/*=read,write",
        "--grant",
        "**=*",
        "--grant-api",
        "maps",
        "--grant-api",
        "tiles",
        "--grant-table",
        "public.roads.old=select,insert",
        "--grant-schema",
        "staging",
        "--grant-schema",
        "public=create",
        "--grant-dataservice",
        "geocoding",
    ]);
    let grants = line.map(|line| line.grants.grants()).unwrap_or_default();
    let kinds: Vec<&Kind> = grants.iter().filter_map(|grant| grant.kind.as_ref()).collect();
    let [Kind::Apis(apis), Kind::Database(database), Kind::Dataservices(_), Kind::Resources(doc), Kind::Resources(_)] =
        kinds.as_slice()
    else {
        panic!("{kinds:?}")
    };
    assert_eq!(apis.names, ["maps", "tiles"]);
    assert!(database.tables.iter().all(|table| table.schema == "public" && table.name == "roads.old"));
    assert!(database.schemas.iter().all(|schema| schema.permissions == ["create"]));
    assert_eq!((doc.resource.as_str(), doc.actions.join("+")), ("doc/a=b/*", "read+write".to_owned()));
    let lines = grants::lines(&grants);
    assert_eq!(lines.lines().count(), 8, "{lines}");
    assert!(lines.contains("table public.roads.old: select, insert"), "{lines}");
}

#[test]
fn a_grant_without_a_part_is_refused() {
    for refused in [
        "--grant=doc/*",
        "--grant==read",
        "--grant=doc/*=",
        "--grant=doc/*=read,",
        "--grant-table=roads=select",
        "--grant-table=.roads=select",
        "--grant-table=public.roads",
        "--grant-schema==create",
        "--grant-schema=public=",
    ] {
        assert!(GrantLine::try_parse_from(["grants", refused]).is_err(), "{refused}");
    }
}

#[test]
fn an_update_names_only_what_was_given() {
    let mask = update_mask("keys update ci --display-name= --allow-ip 192.0.2.0/24 --clear-grants");
    assert_eq!(mask, Ok(["display_name", "allowed_ips", "grants"].map(str::to_owned).to_vec()));
    assert!(update_mask("keys update ci").is_err());
    assert!(update_mask("keys update ci --clear-grants --grant a=b").is_err());
    assert!(update_mask("keys update ci --clear-grants --grant-api a").is_err());
    assert!(update_mask("keys update ci --label a=b --label a=c").is_err());
    assert!(parse("keys create --ttl 1h --expire-time 2030-01-31T12:00:00Z").is_err());
    assert!(parse("keys create --owner ben --parent users/ben").is_err());
}

#[test]
fn an_update_of_an_application_names_only_what_was_given() {
    let mask = |line: &str| -> Result<Vec<String>, String> {
        let line = parse(line)?;
        let Command::Apps(Apps::Update(update)) = line.command else { return Err("another command".to_owned()) };
        let request = update.request(&line.options).map_err(|failure| failure.to_string())?;
        Ok(request.update_mask.unwrap_or_default().paths)
    };
    let paths = |paths: &[&str]| Ok(paths.iter().map(|path| (*path).to_owned()).collect());
    assert_eq!(mask("apps update atlas --description= --contact-email a@b"), paths(&["description", "contact_email"]));
    assert_eq!(mask("apps update atlas --clear-grants --display-name A"), paths(&["display_name", "grants"]));
    assert_eq!(mask("apps update atlas --grant doc/*=read"), paths(&["grants"]));
    assert!(mask("apps update atlas").is_err());
    assert!(mask("apps update atlas --clear-grants --grant-api a").is_err());
}

#[test]
fn a_token_is_of_an_application_or_of_a_key() {
    for accepted in [
        "tokens create --application atlas --secret-file a --resource doc/1 --action read --audience x --audience y",
        "tokens create --credential-file a --credential-secret-key-file b --ttl 10m --format jwt",
        "tokens create",
        "tokens introspect --token-file -",
        "sessions create --user ana@acme.example --user-password-file -",
        "sessions revoke",
        "users passwd ben --password-file a --current-password-file b --etag c",
        "keys pattern --prefix kw,bo --prefix a1",
    ] {
        assert!(parse(accepted).is_ok(), "{accepted}: {:?}", parse(accepted).err());
    }
    for refused in [
        "tokens create --application atlas --credential-file a",
        "tokens create --application atlas --credential-secret-key-file a",
        "tokens create --secret-file a",
        "tokens create --format paseto",
        "tokens create --ttl soon",
        "tokens create --secret kw_secret",
        "users passwd ben --password secret",
        "users passwd",
        "sessions create --password secret",
        "apps verify atlas --token secret",
        "keys pattern --prefix Kw",
        "keys pattern --prefix kw,",
    ] {
        assert!(parse(refused).is_err(), "{refused}");
    }
}

#[test]
fn a_name_without_a_key_must_say_its_tenant() {
    assert!(value::known_tenant("tenants/acme/applications/atlas").is_ok());
    assert!(value::known_tenant("tenants/-/applications/atlas").is_err());
}

#[test]
fn resources_and_actions_come_in_pairs() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let pairs = check::pairs(&words("doc/1 doc/2"), &words("read write")).unwrap_or_default();
    let pairs: Vec<_> = pairs.iter().map(|pair| format!("{} {}", pair.action, pair.resource)).collect();
    assert_eq!(pairs, ["read doc/1", "write doc/2"]);
    assert!(check::pairs(&words("doc/1"), &words("read write")).is_err());
    assert!(check::pairs(&words("doc/1"), &[]).is_err());
    assert!(check::pairs(&[], &[]).is_ok_and(|pairs| pairs.is_empty()));
}

#[test]
fn a_server_is_a_port_a_uri_or_a_socket() {
    #[track_caller]
    fn check(text: &str, uri: Option<&str>) {
        assert_eq!(connect::server_uri(text).ok().as_deref(), uri, "{text}");
    }
    check("localhost:50051", Some("http://localhost:50051"));
    check("http://10.0.0.1:50051/", Some("http://10.0.0.1:50051"));
    check("[::1]:50051", Some("http://[::1]:50051"));
    check("https://keyward.example:443", Some("https://keyward.example:443"));
    check("unix:/run/keyward.sock", Some("unix:/run/keyward.sock"));
    check("unix:keyward.sock", Some("unix:keyward.sock"));
    for refused in [
        "",
        "localhost",
        "http://localhost",
        ":50051",
        "host:0",
        "unix:",
        "ftp://a:1",
        "http://a:b@c:1",
        "a:1/x",
        "https://a",
    ] {
        check(refused, None);
    }
}

#[test]
fn one_line_end_is_dropped_and_nothing_else() {
    #[track_caller]
    fn check(text: &str, kept: &str) {
        assert_eq!(super::secret::without_line_end(text), kept);
    }
    check("a", "a");
    check("a\n", "a");
    check("a\r\n", "a");
    check("a\n\n", "a\n");
    check(" a \r", " a \r");
    check("\n", "");
}

#[test]
fn leaked_credentials_go_out_in_batches_that_the_server_takes() {
    let long = "x".repeat(8 << 10);
    let text = format!("first\r\n\n{}\n{}\n", format!("{long}\n").repeat(150), "short\n".repeat(1_500));
    let mut lines = super::keys::Lines::new(text.as_bytes());
    let mut batches = Vec::new();
    while let Ok(batch) = lines.next_batch()
        && !batch.is_empty()
    {
        batches.push(batch);
    }
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 1_651);
    assert!(batches.iter().all(|batch| batch.len() <= 1_000));
    assert!(batches.iter().all(|batch| batch.iter().map(String::len).sum::<usize>() < 1 << 20));
    assert_eq!(batches.first().and_then(|batch| batch.first()).map(String::as_str), Some("first"));
}

#[test]
fn what_others_wrote_cannot_steer_the_terminal() {
    assert_eq!(super::output::plain("a\u{1b}[31m\r\n\u{202e}b"), "a\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}b");
}

#[test]
fn the_key_is_not_printed_for_debugging() {
    let line = parse("keys list --key kw_secret");
    assert!(line.is_ok_and(|line| !format!("{line:?}").contains("kw_secret")));
}
