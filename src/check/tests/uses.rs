//! Every Check of a key is told once, in its hour, whatever becomes of its entry meanwhile.

use super::*;
use crate::domain::name::Collection;
use crate::domain::usage::{Count, Hour, Tallies};

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A Check of a key, of one of its secrets, that asks for nothing or for what it does not hold.
    Check { key: u8, secret: u8, is_allowed: bool },
    /// A key is shown to Keyward itself.
    Admit { key: u8 },
    /// A key gets another entry: it is changed, or gets another secret.
    Change { key: u8, secret: u8 },
    /// Everything is loaded anew.
    Reload,
    /// Minutes go by.
    Pass(u32),
    /// What is there is taken.
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3_u8, 0..2_u8, any::<bool>()).prop_map(|(key, secret, is_allowed)| Step::Check { key, secret, is_allowed }),
        1 => (0..3_u8).prop_map(|key| Step::Admit { key }),
        2 => (0..3_u8, 0..2_u8).prop_map(|(key, secret)| Step::Change { key, secret }),
        1 => Just(Step::Reload),
        2 => (1..200_u32).prop_map(Step::Pass),
        1 => Just(Step::Take),
    ]
}

fn id(number: u8) -> String {
    format!("key-{number}")
}

fn text_of(number: u8, secret: u8) -> String {
    format!("secret {secret} of key {number}")
}

fn load(index: &Index, secrets: &BTreeMap<u8, u8>) {
    let changes = [Change::Tenant(tenant("acme")), Change::User(user("acme", "ada"))];
    let keys = secrets.iter().map(|(number, secret)| change(*number, *secret));
    index.apply(1, changes.into_iter().chain(keys).collect());
    index.renew(Moment::MAX);
}

fn change(number: u8, secret: u8) -> Change {
    Change::Key(Box::new(key("acme", &id(number), "ada", &[(&text_of(number, secret), None)])))
}

fn take_into(told: &mut Tallies, index: &Index) {
    for _ in 0..index.use_parts() {
        for one in index.take_uses() {
            let place = (one.tenant.clone(), one.key.clone(), one.hour);
            if one.count != Count::NONE {
                let sum = told.counts.entry(place).or_default();
                *sum = sum.plus(one.count);
            }
            if let Some(time) = one.last_auth_time {
                let last = told.last_auth_times.entry((one.tenant, one.key)).or_insert(time);
                *last = (*last).max(time);
            }
        }
    }
    assert_eq!(index.take_uses(), []);
}

proptest! {
    #[test]
    fn what_was_checked_is_told_once_whatever_becomes_of_the_entry(steps in prop::collection::vec(step(), 0..150)) {
        let index = Index::default();
        let mut secrets: BTreeMap<u8, u8> = (0..3).map(|number| (number, 0)).collect();
        load(&index, &secrets);
        let mut minute = 29_000_000_u32;
        let (mut told, mut expected) = (Tallies::default(), Tallies::default());
        let acme = TenantId::find("acme").unwrap();
        let refused = [Permission { resource: "docs/1", action: "read" }];
        for step in steps.into_iter().chain([Step::Take]) {
            let now = Time::from_micros(i64::from(minute) * 60_000_000 + 59_999_999);
            let whole = Time::from_micros(i64::from(minute) * 60_000_000);
            match step {
                Step::Check { key, secret, is_allowed } => {
                    let query = Query { permissions: if is_allowed { &[] } else { &refused }, ..Query::default() };
                    let answer = index.check(&text_of(key, secret), &query, now).unwrap();
                    let is_known = secrets[&key] == secret;
                    prop_assert_eq!(answer.decision.is_allowed(), is_allowed && is_known);
                    if is_known {
                        let place = (acme.clone(), KeyId::find(&id(key)).unwrap());
                        if is_allowed {
                            expected.last_auth_times.insert(place.clone(), whole);
                        }
                        let one = Count { allowed: is_allowed.into(), denied: (!is_allowed).into() };
                        let sum = expected.counts.entry((place.0, place.1, Hour::of_minute(minute))).or_default();
                        *sum = sum.plus(one);
                    }
                }
                Step::Admit { key } => {
                    index.admit(&text_of(key, secrets[&key]), &Query::default(), now).unwrap();
                    expected.last_auth_times.insert((acme.clone(), KeyId::find(&id(key)).unwrap()), whole);
                }
                Step::Change { key, secret } => {
                    secrets.insert(key, secret);
                    index.apply(index.applied() + 1, vec![change(key, secret)]);
                }
                Step::Reload => {
                    index.clear();
                    load(&index, &secrets);
                }
                Step::Pass(minutes) => minute += minutes,
                Step::Take => take_into(&mut told, &index),
            }
        }
        prop_assert_eq!(told, expected);
        prop_assert_eq!(index.take_dropped_uses(), 0);
    }
}

#[test]
fn only_a_key_that_was_shown_itself_is_counted() {
    let index = Index::default();
    load(&index, &BTreeMap::from([(1, 0)]));
    for unknown in ["", "nobody's", "kw_broken"] {
        index.check(unknown, &Query::default(), NOW).unwrap();
    }
    // Of another tenant, and so not recognised.
    let query = Query { tenant: Some("other"), ..Query::default() };
    index.check(&text_of(1, 0), &query, NOW).unwrap();
    index.ask(&text_of(1, 0), &Query::default(), NOW).unwrap();
    assert_eq!(index.use_parts(), 0);
    assert!(index.has_thing(&TenantId::find("acme").unwrap(), Collection::Keys, "key-1"));
    let accepted = index.accept(&text_of(1, 0), &Query::default(), NOW).unwrap();
    assert!(accepted.decision.is_allowed());
    let [used] = index.take_uses().try_into().unwrap();
    assert_eq!((used.count, used.last_auth_time.map(Time::minutes)), (Count::NONE, Some(NOW.minutes())));
}
