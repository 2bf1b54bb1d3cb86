//! What is written is what `prost` would write, whatever is answered.

use super::*;
use crate::check::Index;
use crate::check::tests::narrow::world::{Question, question, world};
use crate::domain::clock::Moment;
use crate::domain::decision::{Permission, Query};
use crate::grpc::check::principal_out;
use crate::proto::v1 as proto;
use proptest::prelude::*;
use prost::Message as _;

/// The answer as a message.
fn told(answer: &Answer, asked: &Asked<'_>) -> proto::CheckResponse {
    let permission = |permission: &Permission<'_>| proto::Permission {
        resource: permission.resource.to_owned(),
        action: permission.action.to_owned(),
    };
    let decision = &answer.decision;
    proto::CheckResponse {
        decision: decision_out(decision).into(),
        reasons: decision.reasons().iter().map(|reason| reason_out(reason).into()).collect(),
        principal: answer.principal.as_ref().map(principal_out),
        missing: decision.missing().filter_map(|place| asked.permissions.get(place)).map(permission).collect(),
        expire_time: maybe_timestamp(decision.expire_time()),
        cache_ttl: Some(prost_types::Duration::default()),
        revision: answer.revision,
        id: asked.id.to_owned(),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_what_prost_writes(
        (world, question, id) in (world(0.2), question(), "[a-z]{0,300}"),
        revision in prop::sample::select(vec![1, 127, 128, i64::MAX]),
        labels in prop::collection::btree_map("[a-z]{0,3}", "[a-z]{0,200}", 0..3),
        others in prop::collection::vec("[a-z]{1,3}", 0..3),
    ) {
        let mut world = world;
        world.key.labels = labels;
        let index = Index::default();
        index.apply(revision, world.changes());
        index.renew(Moment::MAX);
        let Question { credential, secret_key, permission, source_ip, referrer, audience, now } = question;
        let others = others.iter().map(|resource| (resource.as_str(), "read"));
        let permissions: Vec<_> = permission.into_iter().chain(others)
            .map(|(resource, action)| Permission { resource, action })
            .collect();
        let query = Query { tenant: None, secret_key, permissions: &permissions, source_ip, referrer, audience: &audience };
        let answer = index.ask(credential, &query, now).unwrap();
        let asked = Asked { permissions: permissions.clone(), id: &id, ..Asked::default() };

        let expected = told(&answer, &asked);
        let mut written = b"before".to_vec();
        write(&answer, &asked, &mut written);
        prop_assert_eq!(written.strip_prefix(b"before"), Some(&*expected.encode_to_vec()));

        let mut written = Vec::new();
        write_result(&answer, &asked, &mut written);
        write_result(&answer, &asked, &mut written);
        let results = vec![expected.clone(), expected.clone()];
        prop_assert_eq!(&written, &proto::BatchCheckResponse { results }.encode_to_vec());
        let one = proto::StreamCheckResponse { result: Some(expected) }.encode_to_vec();
        prop_assert_eq!(&*written, &[&*one, &*one].concat());
    }
}

#[test]
fn a_message_of_any_length_says_how_long_it_is() {
    for length in [0, 1, 127, 128, 16_383, 16_384, 100_000] {
        let mut written = Vec::new();
        message(1, &mut written, |to| to.resize(to.len() + length, b'a'));
        let expected = proto::Permission { resource: "a".repeat(length), action: String::new() };
        let framed = if length == 0 { vec![0x0a, 0] } else { expected.encode_to_vec() };
        assert_eq!(written, framed, "{length}");
    }
}
