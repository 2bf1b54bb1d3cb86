//! How much a key is used.

use super::{Violations, maybe_timestamp, time, timestamp};
use crate::desk::KeyName;
use crate::desk::keys::Usage;
use crate::domain::clock::Time;
use crate::domain::usage::{Count, Span};
use crate::error::{Error, Result};
use crate::proto::v1 as proto;

/// The hours that are asked about, and the etag.
pub(in crate::grpc) fn usage_span(message: proto::GetKeyUsageRequest, now: Time) -> Result<(Span, String)> {
    // The name leads here.
    let proto::GetKeyUsageRequest { name: _, start_time, end_time, etag } = message;
    let mut violations = Violations::default();
    let start = violations.take(time(start_time, "start_time"));
    let end = violations.take(time(end_time, "end_time"));
    violations.finish()?;
    Ok((Span::new(start, end, now).map_err(Error::from)?, etag))
}

/// What is told of the use of a key.
pub(in crate::grpc) fn usage_out(name: &KeyName, usage: &Usage) -> proto::KeyUsage {
    let total = usage.hours.iter().fold(Count::NONE, |total, (_, count)| total.plus(*count));
    proto::KeyUsage {
        name: name.to_string(),
        start_time: Some(timestamp(usage.span.start)),
        end_time: Some(timestamp(usage.span.end)),
        allowed_count: shown(total.allowed),
        denied_count: shown(total.denied),
        last_auth_time: maybe_timestamp(usage.last_auth_time),
        hours: usage.hours.iter().map(hour_out).collect(),
    }
}

fn hour_out((start, count): &(Time, Count)) -> proto::KeyUsageHour {
    proto::KeyUsageHour {
        start_time: Some(timestamp(*start)),
        allowed_count: shown(count.allowed),
        denied_count: shown(count.denied),
    }
}

fn shown(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
