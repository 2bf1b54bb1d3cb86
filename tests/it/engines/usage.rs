//! The use of keys on each engine.

use super::{Fresh, On, on_every_engine};
use crate::harness::{TestServer, send};
use crate::usage::{HELD, ask_everywhere, told_of, usage_of};
use keyward::clock::Clock;
use keyward::domain::clock::Time;
use keyward::domain::name::{KeyId, TenantId};
use keyward::domain::usage::{Count, Hour, Span, Tallies, Use};
use keyward::proto::v1::*;
use keyward::store::{Store, UsageLog};
use std::time::Duration;
use tokio::task::JoinSet;

on_every_engine! {
    every_check_of_a_key_is_counted_once_in_its_hour,
    flushes_of_many_at_once_that_are_tried_again_count_once,
    what_is_older_than_ninety_days_is_deleted,
}

async fn server(fresh: &Fresh) -> TestServer {
    TestServer::start_with(|args| {
        args.database_url = Some(fresh.url.clone().into());
        args.mail_dir = Some(fresh.path("mail"));
    })
    .await
}

async fn every_check_of_a_key_is_counted_once_in_its_hour(on: On) {
    let fresh = on.fresh().await;
    let mut first = server(&fresh).await;
    let acme = first.tenant("acme").await;
    let key = HELD.iter().fold(acme.owner.key("tenants/-"), |key, (resource, action)| key.may(resource, action));
    let made = key.issued().await;
    let quiet = acme.owner.key("tenants/-").issued().await;
    let name = made.key.unwrap().name;
    // So that no hour begins meanwhile.
    let hour = (first.time_in(0).seconds / 3600 + 1) * 3600;
    first.move_to(Some(&prost_types::Timestamp { seconds: hour, nanos: 0 }), -600);
    let told = ask_everywhere(&first.data, &made.credential).await;
    // No Checks of the key: one of its token, and calls of its own.
    let token = send!(acme.owner.tokens(), create_token, CreateTokenRequest { key: &*made.credential }).unwrap().token;
    first.check(&token).allowed().await;
    let revision = first.revision().await;
    let own = first.bearer(&quiet.credential);
    send!(own.keys(), get_key, GetKeyRequest { name: &*name }).unwrap_err();
    first.pass(3600);
    first.check(&made.credential).allowed().await;
    assert_eq!(first.revision().await, revision, "counting is no mutation");
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: &*name }).unwrap();
    for _ in 0..2 {
        first.check(&made.credential).may("doc/1", "read").denied(&[Reason::Revoked]).await;
    }
    first.stop().await;
    let mut second = server(&fresh).await;
    let owner = second.bearer(&acme.made.master_credential);
    let usage = usage_of(&owner, &name).await;
    let hours: Vec<_> =
        usage.hours.iter().map(|of| (of.start_time.unwrap().seconds, (of.allowed_count, of.denied_count))).collect();
    assert_eq!(hours, [(hour, told), (hour + 3600, (1, 2))]);
    assert_eq!(usage.last_auth_time.unwrap().seconds, hour + 3600 + 600);
    let quiet = usage_of(&owner, &quiet.key.unwrap().name).await;
    assert_eq!((quiet.hours.len(), quiet.allowed_count), (0, 0));
    assert_eq!(quiet.last_auth_time.unwrap().seconds, hour + 600, "but it was accepted");
    // Another process adds to what is there.
    second.check(&made.credential).denied(&[Reason::Revoked]).await;
    second.stop().await;
    let mut third = server(&fresh).await;
    let owner = third.bearer(&acme.made.master_credential);
    assert_eq!(told_of(&owner, &name).await, (told.0 + 1, told.1 + 3));
    third.stop().await;
}

fn key(number: u32) -> (TenantId, KeyId) {
    (TenantId::find("acme").unwrap(), KeyId::find(&format!("key-{number}")).unwrap())
}

fn used(number: u32, hour: u32, count: Count) -> Use {
    let (tenant, key) = key(number);
    let hour = Hour::of_number(hour);
    Use { tenant, key, last_auth_time: (count.allowed > 0).then_some(hour.start()), hour, count }
}

async fn written(log: &UsageLog, number: i64, tallies: &Tallies) {
    // Whoever deadlocks with another is told so, and tries again.
    for _ in 0..100 {
        if log.write(number, tallies, Time::from_micros(0)).await.is_ok() {
            return;
        }
    }
    panic!("it never succeeds");
}

async fn flushes_of_many_at_once_that_are_tried_again_count_once(on: On) {
    const WRITERS: u32 = 4;
    const FLUSHES: i64 = 6;
    const KEYS: u32 = 700;
    let fresh = on.fresh().await;
    let store = Store::open(&fresh.url, Clock::default()).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let log = store.usage_log().await.unwrap();
        writers.spawn(async move {
            for number in 1..=FLUSHES {
                let uses = (0..KEYS).map(|place| {
                    let count = Count { allowed: u64::from(place), denied: u64::from(writer) };
                    used((place * 31) % KEYS, 499_000 + u32::try_from(number % 2).unwrap(), count)
                });
                let tallies = uses.collect();
                written(&log, number, &tallies).await;
                written(&log, number, &tallies).await;
            }
            log.close().await.unwrap();
        });
    }
    writers.join_all().await;
    let span = Span { start: Hour::of_number(499_000).start(), end: Hour::of_number(499_002).start() };
    for place in 0..KEYS {
        let (tenant, key) = key((place * 31) % KEYS);
        let hours = store.key_usage(&tenant, &key, span).await.unwrap();
        let flushes = u64::from(WRITERS) * (FLUSHES as u64 / 2);
        let each = Count { allowed: flushes * u64::from(place), denied: (FLUSHES as u64 / 2) * 6 };
        let of = |hour| (Hour::of_number(hour).start(), each);
        assert_eq!(hours, [of(499_000), of(499_001)], "{place}");
    }
    store.close().await.unwrap();
}

async fn what_is_older_than_ninety_days_is_deleted(on: On) {
    let fresh = on.fresh().await;
    let store = Store::open(&fresh.url, Clock::default()).await.unwrap();
    let log = store.usage_log().await.unwrap();
    let now = Hour::of_number(499_000);
    let one = Count { allowed: 1, denied: 0 };
    let old = (0..2500).map(|number| used(number, 499_000 - 90 * 24 - 1, one));
    let kept = [used(0, 499_000 - 90 * 24, one), used(0, 499_000, one)];
    log.write(1, &old.chain(kept).collect(), now.start()).await.unwrap();
    while log.prune(now.start().after(Duration::from_secs(1800))).await.unwrap() {}
    let span = Span { start: Hour::of_number(0).start(), end: now.start().after(Duration::from_secs(3600)) };
    let (tenant, first) = key(0);
    let left: Vec<Time> =
        store.key_usage(&tenant, &first, span).await.unwrap().into_iter().map(|(start, _)| start).collect();
    assert_eq!(left, [Hour::of_number(499_000 - 90 * 24).start(), now.start()]);
    for number in [1, 999, 1000, 2499] {
        let (tenant, key) = key(number);
        assert_eq!(store.key_usage(&tenant, &key, span).await.unwrap(), [], "{number}");
    }
    log.close().await.unwrap();
    store.close().await.unwrap();
}
