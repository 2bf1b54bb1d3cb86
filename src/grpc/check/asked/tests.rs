//! What is read is what `prost` reads, from whatever bytes.

use super::*;
use crate::fuzz::fuzz;
use crate::proto::v1 as proto;
use prost::Message;

fn owned(asked: &Asked<'_>) -> proto::CheckRequest {
    let permission = |permission: &Permission<'_>| proto::Permission {
        resource: permission.resource.to_owned(),
        action: permission.action.to_owned(),
    };
    proto::CheckRequest {
        credential: asked.credential.to_owned(),
        secret_key: asked.secret_key.to_owned(),
        tenant: asked.tenant.to_owned(),
        permissions: asked.permissions.iter().map(permission).collect(),
        audience: asked.audience.to_owned(),
        context: Some(proto::CheckContext {
            source_ip: asked.source_ip.to_owned(),
            referrer: asked.referrer.to_owned(),
            ..proto::CheckContext::default()
        }),
        min_revision: asked.min_revision,
        id: asked.id.to_owned(),
    }
}

/// That without what nothing is decided by.
fn plain(mut request: proto::CheckRequest) -> proto::CheckRequest {
    request.context.get_or_insert_default().attributes.clear();
    request
}

#[track_caller]
fn compare(bytes: &[u8]) {
    let expected = proto::CheckRequest::decode(bytes).ok().map(plain);
    assert_eq!(Asked::read(bytes).ok().map(|asked| owned(&asked)), expected);

    let expected = proto::StreamCheckRequest::decode(bytes).ok().map(|said| plain(said.check.unwrap_or_default()));
    assert_eq!(Asked::read_streamed(bytes).ok().map(|asked| owned(&asked)), expected);

    let expected = proto::BatchCheckRequest::decode(bytes).ok();
    let expected: Option<Vec<_>> = expected.map(|batch| batch.checks.into_iter().map(plain).collect());
    let all = Asked::read_batch(bytes, usize::MAX).ok();
    assert_eq!(all.map(|all| all.iter().map(owned).collect::<Vec<_>>()), expected);
}

fn full() -> proto::CheckRequest {
    let permission = |resource: &str| proto::Permission { resource: resource.to_owned(), action: "read".to_owned() };
    proto::CheckRequest {
        credential: "kw_11abcdefgh_é".to_owned(),
        secret_key: "second".to_owned(),
        tenant: "tenants/acme".to_owned(),
        permissions: vec![permission("docs/1"), proto::Permission::default(), permission("docs/2")],
        audience: "api".to_owned(),
        context: Some(proto::CheckContext {
            source_ip: "192.0.2.1".to_owned(),
            referrer: "https://example.com/".to_owned(),
            attributes: [("a".to_owned(), "b".to_owned()), (String::new(), "c".to_owned())].into(),
        }),
        min_revision: -1,
        id: "7".to_owned(),
    }
}

/// Whole messages, what is in two parts, what comes twice, and what nobody declared.
fn seeds() -> Vec<Vec<u8>> {
    let one = full();
    let other = proto::CheckRequest { id: "8".to_owned(), context: None, ..proto::CheckRequest::default() };
    let context = proto::CheckContext { source_ip: "::1".to_owned(), ..proto::CheckContext::default() };
    let again = proto::CheckRequest { context: Some(context), ..proto::CheckRequest::default() };
    let checks = vec![one.clone(), proto::CheckRequest::default(), other.clone()];
    let streamed = |check: &proto::CheckRequest| proto::StreamCheckRequest { check: Some(check.clone()) };
    let unknown = [&[0x7a, 3][..], b"abc", &[0x78, 5], &[0x7d, 1, 2, 3, 4], &[0x79, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let group = [0x7b, 0x08, 1, 0x7b, 0x7c, 0x7c];
    let parts = [one.encode_to_vec(), again.encode_to_vec(), other.encode_to_vec()];
    vec![
        Vec::new(),
        one.encode_to_vec(),
        parts.concat(),
        [unknown.as_slice(), &parts.concat(), &group, &unknown].concat(),
        proto::BatchCheckRequest { checks }.encode_to_vec(),
        [streamed(&one).encode_to_vec(), streamed(&again).encode_to_vec()].concat(),
        // No text, a length beyond the end, a number for a text, a text for a number, a group that has no end.
        vec![0x0a, 1, 0xff],
        vec![0x0a, 2, b'a'],
        vec![0x08, 1],
        vec![0x3a, 1, b'a'],
        vec![0x7b, 0x08, 1],
        // A length in eleven bytes, the tag zero, a number of ten bytes.
        [&[0x0a][..], &[0x80; 10], &[0]].concat(),
        vec![0x02, 0],
        [&[0x38][..], &[0xff; 9], &[1]].concat(),
    ]
}

#[test]
fn what_is_read_is_what_prost_reads() {
    for seed in seeds() {
        compare(&seed);
        for end in 0..seed.len() {
            compare(&seed[..end]);
        }
    }
    let read = Asked::read(&full().encode_to_vec()).map(|asked| owned(&asked));
    assert_eq!(read, Ok(plain(full())));
}

#[test]
fn whatever_comes_is_read_as_prost_reads_it() {
    fuzz!("check", seeds(), |bytes| compare(bytes));
}

#[test]
fn of_too_many_checks_no_more_are_read_than_tell_that() {
    let checks = vec![full(); 5];
    let bytes = proto::BatchCheckRequest { checks }.encode_to_vec();
    for (max, count) in [(0, 1), (3, 4), (4, 5), (5, 5), (6, 5)] {
        assert_eq!(Asked::read_batch(&bytes, max).map(|all| all.len()), Ok(count), "at most {max}");
    }
}
