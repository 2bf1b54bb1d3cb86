//! What is answered, written as the bytes of a message: the same that `prost` would write of a `CheckResponse`, which the
//! tests hold it to, without putting together one that is thrown away.

use super::asked::Asked;
use super::{ROOT, decision_out, reason_out};
use crate::check::Answer;
use crate::grpc::convert::{Child, Named, key_type_out, maybe_timestamp};
use prost::encoding::{self, WireType, encode_key, encode_varint};
use uuid::fmt::Hyphenated;

/// How many bytes most answers take at most.
pub(super) const ROOM: usize = 256;

/// Writes a `CheckResponse`.
pub(super) fn write(answer: &Answer, asked: &Asked<'_>, to: &mut Vec<u8>) {
    let Answer { decision, principal, revision } = answer;
    number(1, enumerated(decision_out(decision)), to);
    let mut reasons = decision.reasons().iter().map(reason_out).peekable();
    if reasons.peek().is_some() {
        message(2, to, |to| reasons.for_each(|reason| encode_varint(enumerated(reason), to)));
    }
    if let Some(principal) = principal {
        message(3, to, |to| match principal.held() {
            Some(held) => write_principal(&Named::of(&held, &mut [0; Hyphenated::LENGTH]), to),
            None => text(4, &[ROOT], to),
        });
    }
    for permission in decision.missing().filter_map(|place| asked.permissions.get(place)) {
        message(4, to, |to| {
            text(1, &[permission.resource], to);
            text(2, &[permission.action], to);
        });
    }
    if let Some(expire_time) = maybe_timestamp(decision.expire_time()) {
        encoding::message::encode(5, &expire_time, to);
    }
    // A `cache_ttl` of no time at all.
    message(6, to, |_| ());
    number(7, revision.cast_unsigned(), to);
    text(8, &[asked.id], to);
}

/// Writes those of a `BatchCheckResponse` and that of a `StreamCheckResponse`, one at a time.
pub(super) fn write_result(answer: &Answer, asked: &Asked<'_>, to: &mut Vec<u8>) {
    message(1, to, |to| write(answer, asked, to));
}

fn write_principal(named: &Named<'_>, to: &mut Vec<u8>) {
    let Named { tenant, user, application, key, key_type, token, labels } = *named;
    let name = |tag, child: Option<Child<'_>>, to: &mut Vec<u8>| {
        if let Some((collection, id)) = child {
            text(tag, &["tenants/", tenant.as_str(), "/", collection.as_str(), "/", id], to);
        }
    };
    text(1, &["tenants/", tenant.as_str()], to);
    name(2, user, to);
    name(3, application, to);
    name(4, key, to);
    number(5, key_type.map_or(0, |kind| enumerated(key_type_out(kind))), to);
    name(6, token, to);
    for (label, value) in labels {
        message(7, to, |to| {
            text(1, &[label], to);
            text(2, &[value], to);
        });
    }
}

/// A number, unless it is zero.
fn number(tag: u32, number: u64, to: &mut Vec<u8>) {
    if number != 0 {
        encode_key(tag, WireType::Varint, to);
        encode_varint(number, to);
    }
}

fn enumerated(value: impl Into<i32>) -> u64 {
    i64::from(value.into()).cast_unsigned()
}

/// A text that is put together of these, unless it is empty.
fn text(tag: u32, parts: &[&str], to: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length > 0 {
        encode_key(tag, WireType::LengthDelimited, to);
        encode_varint(length as u64, to);
        parts.iter().for_each(|part| to.extend_from_slice(part.as_bytes()));
    }
}

/// A message, or numbers without their tags, that `write` appends.
fn message(tag: u32, to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(tag, WireType::LengthDelimited, to);
    let place = to.len();
    to.push(0);
    write(to);
    let length = to.len().saturating_sub(place).saturating_sub(1);
    match u8::try_from(length) {
        Ok(length @ ..0x80) => to.iter_mut().skip(place).take(1).for_each(|byte| *byte = length),
        _ => {
            // Seldom: what was written makes room.
            let mut prefix = Vec::new();
            encode_varint(length as u64, &mut prefix);
            to.splice(place..=place, prefix);
        }
    }
}

#[cfg(test)]
mod tests;
