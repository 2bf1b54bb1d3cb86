//! How much there may be at once of what strangers and callers send, and how large it may be.

use super::ServeArgs;
use super::file::parse_if;
use super::value::Span;
use crate::error::Violation;
use std::ops::RangeInclusive;
use std::time::Duration;

const SHORTEST_CONNECTION_AGE: Duration = Duration::from_secs(1);

/// What has no bound but what the machine has.
const ANY: RangeInclusive<usize> = 1..=usize::MAX;
const CALLS: RangeInclusive<usize> = 1..=65_536;
/// A credential of the longest form must have room.
const HEADER_BYTES: RangeInclusive<usize> = 12 * 1024..=1024 * 1024;
const CHECK_BYTES: RangeInclusive<usize> = 16 * 1024..=1024 * 1024;
const MESSAGE_BYTES: RangeInclusive<usize> = 64 * 1024..=64 * 1024 * 1024;
/// A batch is committed under the lock that all mutations wait for.
const BATCH: RangeInclusive<usize> = 1..=10_000;

/// What the connections of a listener may take, and their calls. Only the last three cannot be set from outside.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of one listener.
    pub max_connections: usize,
    /// Those of them that come from one address.
    pub max_connections_per_address: usize,
    /// After about this long a connection is told to end; a few percent more or less, so that not all go at once.
    pub max_connection_age: Duration,
    /// Calls that one connection has under way, streams among them.
    pub max_calls_per_connection: u32,
    /// Calls that wait for one core.
    pub max_queued_calls: usize,
    /// How long they do at most, if many wait.
    pub max_queue_time: Duration,
    /// Calls of administration that are carried out at once.
    pub admin_max_in_flight: usize,
    /// Streams of one listener whose callers were admitted; those of health are not counted.
    pub max_streams: usize,
    /// Streams of reflection, which anybody may open.
    pub max_reflections: usize,
    /// The headers of a request, each with 32 bytes more than it has, as HTTP/2 counts them.
    pub max_header_bytes: u32,
    /// A message, but that of a Check by itself.
    pub max_message_bytes: usize,
    /// A Check, also within a batch or a stream.
    pub max_check_bytes: usize,
    /// Checks, credentials or keys in one message.
    pub max_batch: usize,
    /// By when a connection must have said which protocol it speaks, TLS included.
    pub handshake: Duration,
    /// How long the head of an HTTP/1 request may take, the wait for it included.
    pub head: Duration,
    /// How often the files of TLS are looked at.
    pub tls_poll: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: 1024,
            max_connection_age: Duration::from_secs(30 * 60),
            max_calls_per_connection: 256,
            max_queued_calls: 65_536,
            max_queue_time: Duration::from_secs(10),
            admin_max_in_flight: 1024,
            max_streams: 1024,
            max_reflections: 64,
            max_header_bytes: 16 * 1024,
            max_message_bytes: 1024 * 1024,
            max_check_bytes: 64 * 1024,
            max_batch: 1000,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(30),
            tls_poll: Duration::from_secs(5),
        }
    }
}

/// What is said of limits by `args` and, where they are silent, by `file`.
pub(super) fn checked(broken: &mut Vec<Violation>, args: &ServeArgs, file: &ServeArgs) -> Limits {
    let default = Limits::default();
    let mut count = |flag: &str, of: fn(&ServeArgs) -> Option<usize>, default: usize, bounds: RangeInclusive<usize>| {
        let count = of(args).or(of(file)).unwrap_or(default);
        if !bounds.contains(&count) {
            broken.push(Violation::new(flag, rule(&bounds)));
        }
        count
    };
    let limits = Limits {
        max_connections: count("--max-connections", |args| args.max_connections, default.max_connections, ANY),
        max_connections_per_address: count(
            "--max-connections-per-address",
            |args| args.max_connections_per_address,
            default.max_connections_per_address,
            ANY,
        ),
        max_calls_per_connection: small(count(
            "--max-calls-per-connection",
            |args| args.max_calls_per_connection,
            large(default.max_calls_per_connection),
            CALLS,
        )),
        max_queued_calls: count("--max-queued-calls", |args| args.max_queued_calls, default.max_queued_calls, ANY),
        admin_max_in_flight: count(
            "--admin-max-in-flight",
            |args| args.admin_max_in_flight,
            default.admin_max_in_flight,
            ANY,
        ),
        max_streams: count("--max-streams", |args| args.max_streams, default.max_streams, ANY),
        max_reflections: count("--max-reflections", |args| args.max_reflections, default.max_reflections, ANY),
        max_header_bytes: small(count(
            "--max-header-bytes",
            |args| args.max_header_bytes,
            large(default.max_header_bytes),
            HEADER_BYTES,
        )),
        max_message_bytes: count(
            "--max-message-bytes",
            |args| args.max_message_bytes,
            default.max_message_bytes,
            MESSAGE_BYTES,
        ),
        max_check_bytes: count("--max-check-bytes", |args| args.max_check_bytes, default.max_check_bytes, CHECK_BYTES),
        max_batch: count("--max-batch", |args| args.max_batch, default.max_batch, BATCH),
        ..default
    };
    if limits.max_check_bytes > limits.max_message_bytes && broken.is_empty() {
        broken.push(Violation::new("--max-check-bytes", "must not be more than --max-message-bytes"));
    }
    let mut span = |flag: &str, of: fn(&ServeArgs) -> &Option<String>, default: Duration| {
        let given = of(args).clone().or(of(file).clone());
        parse_if(broken, flag, given).map_or(default, |Span(span)| span)
    };
    let max_queue_time = span("--max-queue-time", |args| &args.max_queue_time, default.max_queue_time);
    let age = "--max-connection-age";
    let max_connection_age = span(age, |args| &args.max_connection_age, default.max_connection_age);
    if max_connection_age < SHORTEST_CONNECTION_AGE {
        broken.push(Violation::new(age, "must be at least 1s"));
    }
    Limits { max_queue_time, max_connection_age, ..limits }
}

fn rule(bounds: &RangeInclusive<usize>) -> String {
    let (least, most) = (bounds.start(), bounds.end());
    if *most == usize::MAX { format!("must be at least {least}") } else { format!("must be from {least} to {most}") }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn large(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
