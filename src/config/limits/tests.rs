use super::super::tests::{args, check, file, load};
use super::*;
use crate::config::Config;
use clap::{Args as _, Command};

#[test]
fn connections_are_counted_and_grow_old() {
    let limits = load(&[]).unwrap().transport.limits;
    assert_eq!((limits.max_connections, limits.max_connections_per_address), (10_000, 1024));
    assert_eq!(limits.max_connection_age, Duration::from_secs(30 * 60));
    let words = ["--max-connections=7", "--max-connections-per-address=3", "--max-connection-age=90s"];
    let limits = load(&words).unwrap().transport.limits;
    assert_eq!((limits.max_connections, limits.max_connections_per_address), (7, 3));
    assert_eq!(limits.max_connection_age, Duration::from_secs(90));
    check(&["--max-connections=0"], Some(("--max-connections", "at least 1")));
    check(&["--max-connections-per-address=0"], Some(("--max-connections-per-address", "at least 1")));
    check(&["--max-connection-age=999ms"], Some(("--max-connection-age", "at least 1s")));
    check(&["--max-connection-age=old"], Some(("--max-connection-age", "must be a number")));
}

/// Every count: its flag, what it is by default, the least and the most, and how to read it.
type Count = (&'static str, usize, usize, usize, fn(&Limits) -> usize);

const COUNTS: [Count; 11] = [
    ("max-connections", 10_000, 1, usize::MAX, |limits| limits.max_connections),
    ("max-connections-per-address", 1024, 1, usize::MAX, |limits| limits.max_connections_per_address),
    ("max-calls-per-connection", 256, 1, 65_536, |limits| limits.max_calls_per_connection as usize),
    ("max-queued-calls", 65_536, 1, usize::MAX, |limits| limits.max_queued_calls),
    ("admin-max-in-flight", 1024, 1, usize::MAX, |limits| limits.admin_max_in_flight),
    ("max-streams", 1024, 1, usize::MAX, |limits| limits.max_streams),
    ("max-reflections", 64, 1, usize::MAX, |limits| limits.max_reflections),
    ("max-header-bytes", 16_384, 12_288, 1_048_576, |limits| limits.max_header_bytes as usize),
    ("max-message-bytes", 1_048_576, 65_536, 67_108_864, |limits| limits.max_message_bytes),
    ("max-check-bytes", 65_536, 16_384, 1_048_576, |limits| limits.max_check_bytes),
    ("max-batch", 1000, 1, 10_000, |limits| limits.max_batch),
];

#[test]
fn each_count_is_a_flag_a_variable_and_a_key_of_the_file_and_has_bounds() {
    let command = ServeArgs::augment_args(Command::new("serve"));
    for (name, default, least, most, read) in COUNTS {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name)).unwrap();
        let variable = format!("KEYWARD_{}", name.replace('-', "_").to_uppercase());
        assert_eq!(arg.get_env().and_then(|variable| variable.to_str()), Some(variable.as_str()));
        assert!(arg.get_help().unwrap().to_string().contains(&format!("[default: {default}]")), "{name}");

        let flag = format!("--{name}");
        assert_eq!(read(&load(&[]).unwrap().transport.limits), default, "{name}");
        for good in [least, most.min(1 << 40)] {
            assert_eq!(read(&load(&[&format!("{flag}={good}")]).unwrap().transport.limits), good, "{name}");
            let (_directory, path) = file(&format!("{name} = {good}\n"));
            assert_eq!(read(&load(&["--config", &path]).unwrap().transport.limits), good, "{name}");
            let words = ["--config", &path, &format!("{flag}={default}")];
            assert_eq!(read(&load(&words).unwrap().transport.limits), default, "{name}: the flag goes before the file");
        }
        let rule = if most == usize::MAX { format!("at least {least}") } else { format!("from {least} to {most}") };
        for bad in [least.checked_sub(1), most.checked_add(1)].into_iter().flatten() {
            check(&[&format!("{flag}={bad}")], Some((&flag, &rule)));
            let (_directory, path) = file(&format!("{name} = {bad}\n"));
            check(&["--config", &path], Some((&flag, &rule)));
        }
    }
}

#[test]
fn a_check_is_no_larger_than_a_message() {
    check(&["--max-check-bytes=65537", "--max-message-bytes=65537"], None);
    check(
        &["--max-check-bytes=65537", "--max-message-bytes=65536"],
        Some(("--max-check-bytes", "--max-message-bytes")),
    );
}

#[test]
fn what_is_not_said_is_the_default() {
    let limits = Config::load(args(&[])).unwrap().transport.limits;
    assert_eq!(format!("{limits:?}"), format!("{:?}", Limits::default()));
}
