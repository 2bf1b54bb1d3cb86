//! Whatever turns an answer from ALLOWED to DENIED must have been known to take something away; and what surely takes
//! nothing away must not wait.

use super::*;
use crate::domain::application::Application;
use crate::domain::name::{ApplicationId, SessionId, TokenId};
use crate::domain::narrow::{Window, may_narrow};
use crate::domain::signing::{PublicKey, SigningKey};
use crate::domain::token::{AccessToken, MAX_TOKEN_LIFE, Parent, Session, TokenFormat, Wanted};
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::time::Duration;

mod table;
pub(crate) mod world;

use world::*;

const BOUND: Duration = Duration::from_secs(60);
const WINDOW: Window = Window { now: NOW, bound: BOUND };

fn is_allowed(index: &Index, question: &Question) -> bool {
    let permissions: Vec<Permission<'_>> =
        question.permission.into_iter().map(|(resource, action)| Permission { resource, action }).collect();
    let query = Query {
        tenant: None,
        secret_key: question.secret_key,
        permissions: &permissions,
        source_ip: question.source_ip,
        referrer: question.referrer,
        audience: &question.audience,
    };
    index.ask(question.credential, &query, question.now).unwrap().decision.is_allowed()
}

/// One bit, two, or any.
fn mask() -> impl Strategy<Value = u32> {
    prop_oneof![6 => (0..17_u32).prop_map(|bit| 1 << bit), 2 => (0..17_u32, 0..17_u32).prop_map(|(a, b)| 1 << a | 1 << b), 1 => any::<u32>()]
}

/// Two worlds that differ in some fields of one or two things, or in that one of these is new; and what is asked of both.
#[test]
fn whatever_turns_an_answer_to_denied_was_known_to_take_something_away() {
    const CASES: u32 = 5000;
    let (turned, waiting, not_waiting) = (Cell::new(0_u32), Cell::new(0_u32), Cell::new(0_u32));
    let steps = prop::collection::vec((0..8_usize, mask()), 1..3);
    let questions = prop::collection::vec(question(), 48);
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&(world(0.03), world(0.4), steps, questions), |(before, other, steps, questions)| {
        let after = steps.iter().fold(before.clone(), |world, (number, mask)| cross(&world, &other, *number, *mask));
        let pairs: Vec<(Change, Change)> = before.changes().into_iter().zip(after.changes()).collect();
        let narrows = pairs.iter().any(|(before, after)| may_narrow(Some(before), after, WINDOW));
        let index = Index::default();
        index.renew(Moment::MAX);
        index.apply(1, before.changes());
        let allowed: Vec<&Question> = questions.iter().filter(|question| is_allowed(&index, question)).collect();
        index.apply(2, after.changes());
        let first_turned = allowed.into_iter().find(|question| !is_allowed(&index, question));
        turned.set(turned.get() + u32::from(first_turned.is_some()));
        let count = if narrows { &waiting } else { &not_waiting };
        count.set(count.get() + 1);
        prop_assert!(narrows || first_turned.is_none(), "turned to DENIED without a wait: {first_turned:?}");
        Ok(())
    });
    if let Err(failure) = ran {
        panic!("{failure}");
    }
    println!("{CASES} cases: {waiting:?} wait, {not_waiting:?} do not, {turned:?} turned an answer");
    assert!(turned.get() > CASES / 30, "hardly anything was taken away: {turned:?}");
    assert!(not_waiting.get() > CASES / 10, "nearly everything waits: {not_waiting:?} do not");
}

/// What is new, with all that rests on it, and every answer that was given without it.
#[test]
fn what_is_new_turns_no_answer_that_does_not_name_it() {
    let mut runner = TestRunner::new(Config { cases: 1500, failure_persistence: None, ..Config::default() });
    let questions = prop::collection::vec(question(), 24);
    let ran = runner.run(&(world(0.03), 5..8_usize, questions), |(world, number, questions)| {
        let name = world.changes().get(number).map(Change::entity).unwrap_or_default();
        let (mut new, known): (Vec<Change>, Vec<Change>) =
            world.changes().into_iter().partition(|change| change.entity() == name);
        let is_named = |question: &Question| {
            question.permission.is_some_and(|(resource, _)| name.ends_with(resource.trim_start_matches("keyward/")))
        };
        let index = Index::default();
        index.renew(Moment::MAX);
        index.apply(1, known);
        let allowed: Vec<&Question> =
            questions.iter().filter(|question| !is_named(question) && is_allowed(&index, question)).collect();
        new.iter_mut().for_each(|change| change.set_revision(0));
        let narrows = new.iter().any(|change| may_narrow(None, change, WINDOW));
        index.apply(2, new);
        let first_turned = allowed.into_iter().find(|question| !is_allowed(&index, question));
        prop_assert!(narrows || first_turned.is_none(), "turned to DENIED without a wait: {first_turned:?}");
        Ok(())
    });
    if let Err(failure) = ran {
        panic!("{failure}");
    }
}

proptest! {
    #![proptest_config(Config { cases: 4000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_signing_key_that_accepts_less_takes_something_away(
        retire_times in (ends(0.4), ends(0.4)),
        compromised in (prop::bool::weighted(0.3), prop::bool::weighted(0.3)),
        expire_time in any_time(),
        now in any_time(),
    ) {
        let key = |retire_time: Option<Time>, is_compromised| SigningKey {
            retire_time: retire_time.map(|time| Time::from_micros(time.micros() - MAX_TOKEN_LIFE.as_micros() as i64)),
            is_compromised,
            revision: 1,
            ..SigningKey::new(PublicKey::from_bytes([7; 32]), NOW, NOW)
        };
        let (before, after) = (key(retire_times.0, compromised.0), key(retire_times.1, compromised.1));
        if before.may_have_signed(expire_time, now) && !after.may_have_signed(expire_time, now) {
            prop_assert!(may_narrow(Some(&before.into()), &after.into(), WINDOW));
        }
    }
}
