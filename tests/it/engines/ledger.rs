//! The ledger and the schema on each engine, through the store alone.

use super::{Fresh, On, on_every_engine};
use keyward::clock::Clock;
use keyward::domain::change::Change;
use keyward::domain::clock::Time;
use keyward::domain::credential::Prefix;
use keyward::domain::name::TenantId;
use keyward::domain::tenant::Tenant;
use keyward::store::{Entry, Head, Store};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

on_every_engine! {
    a_follower_misses_nothing_of_what_many_commit_at_once,
    names_and_times_come_back_to_the_byte,
    a_page_goes_on_where_it_ended_while_rows_come_and_go,
    migrating_again_does_nothing_and_a_newer_schema_is_read_if_it_may_be,
}

fn entry(kind: &'static str) -> Entry {
    Entry {
        kind,
        tenant: None,
        actor: "root".to_owned(),
        credential_id: String::new(),
        subject: "root".to_owned(),
        request_id: String::new(),
        source_ip: String::new(),
        detail: serde_json::json!({}),
    }
}

fn tenant(id: &str, display_name: &str, time: Time) -> Change {
    Change::Tenant(Tenant {
        id: TenantId::find(id).unwrap(),
        uid: uuid::Uuid::new_v4(),
        display_name: display_name.to_owned(),
        credential_prefix: Prefix::parse("kw", "prefix").unwrap(),
        is_suspended: false,
        create_time: time,
        update_time: time,
        delete_time: None,
        revision: 0,
    })
}

pub(super) async fn make(store: &Store, id: &str, display_name: &str, time: Time) -> i64 {
    let draft = store.begin().await.unwrap();
    let revision = draft.revision();
    let committed = draft.commit(vec![tenant(id, display_name, time)], entry("tenant.create"), None).await.unwrap();
    assert_eq!(committed.revision, revision);
    revision
}

pub(super) async fn open(fresh: &Fresh) -> Store {
    Store::open(&fresh.url, Clock::default()).await.unwrap()
}

async fn genesis(store: &Store) -> Head {
    store.verify(i64::MAX, 1_000_000).await.unwrap()
}

/// Two processes' worth of writers where the engine serves several, and a follower of its own.
async fn a_follower_misses_nothing_of_what_many_commit_at_once(on: On) {
    const WRITERS: usize = 16;
    const EACH: usize = 70;
    let fresh = on.fresh().await;
    let first = open(&fresh).await;
    let second = if on == On::Sqlite { first.clone() } else { open(&fresh).await };
    let reader = second.for_follower().await.unwrap();
    let mut head = genesis(&first).await;
    assert_eq!(head.revision, 0);
    let is_over = Arc::new(AtomicBool::new(false));
    let follower = tokio::spawn({
        let is_over = Arc::clone(&is_over);
        async move {
            let (mut seen, mut polls) = (Vec::new(), 0_u32);
            loop {
                let is_last = is_over.load(Ordering::SeqCst);
                let batches = reader.changes_after(&head, 50).await.unwrap();
                polls += 1;
                let is_empty = batches.is_empty();
                for batch in batches {
                    assert_eq!(batch.head.revision, head.revision + 1);
                    head = batch.head;
                    seen.extend(batch.changes.iter().map(Change::entity));
                }
                if is_last && is_empty {
                    reader.close_follower().await;
                    return (seen, polls);
                }
            }
        }
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = if writer % 2 == 0 { first.clone() } else { second.clone() };
            tokio::spawn(async move {
                let mut revisions = Vec::new();
                for number in 0..EACH {
                    let id = format!("t-{writer}-{number}");
                    revisions.push(make(&store, &id, "", Time::from_micros(1)).await);
                }
                revisions
            })
        })
        .collect();
    let mut revisions = BTreeSet::new();
    for writer in writers {
        for revision in writer.await.unwrap() {
            assert!(revisions.insert(revision), "{revision} was given twice");
        }
    }
    is_over.store(true, Ordering::SeqCst);
    let (seen, polls) = follower.await.unwrap();
    let total = WRITERS * EACH;
    assert!(revisions.iter().copied().eq(1..=total as i64), "revisions are not contiguous");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), total, "the follower has missed something");
    assert_eq!(seen.len(), total, "the follower has seen something twice");
    println!("engines: {on:?}: {total} commits of {WRITERS} writers, {polls} polls, nothing missed");
    assert_eq!(genesis(&first).await.revision, total as i64);
    if on != On::Sqlite {
        second.close().await.unwrap();
    }
    first.close().await.unwrap();
}

async fn names_and_times_come_back_to_the_byte(on: On) {
    let fresh = on.fresh().await;
    let store = open(&fresh).await;
    let odd = [1, 999_999, 1_700_000_000_123_457, Time::MAX.micros(), -1];
    // Whatever an engine might hold to be the same, or trim, or cut off: of tenants and of what a mutation remembers.
    let long = "ä".repeat(128);
    let names = ["Foo", "foo", "foo ", "foo  ", "f\u{f6}o", "FOO", " foo", "fo\u{301}o", "f\u{f3}o", "😀", &*long];
    for (place, name) in names.iter().enumerate() {
        let time = Time::from_micros(odd[place % odd.len()]);
        make(&store, &format!("t{place}"), name, time).await;
        // The first one stays, for each name is another.
        assert_eq!(store.settle(name.get(..64).unwrap_or(name), &place.to_string()).await.unwrap(), place.to_string());
    }
    for (place, name) in names.iter().enumerate() {
        let found = store.tenant(&TenantId::find(&format!("t{place}")).unwrap()).await.unwrap().unwrap();
        assert_eq!(found.display_name, *name);
        assert_eq!(found.create_time.micros(), odd[place % odd.len()], "{name}");
        assert_eq!(store.setting(name.get(..64).unwrap_or(name)).await.unwrap(), Some(place.to_string()), "{name:?}");
    }
    assert_eq!(store.setting("fOo").await.unwrap(), None);
    assert_eq!(store.setting("foo   ").await.unwrap(), None);
    // Larger than what MySQL calls a text.
    let large = "x".repeat(3_000_000);
    assert_eq!(store.settle("large", &large).await.unwrap().len(), large.len());
    let mut loaded = Vec::new();
    let head = store.snapshot(|_, changes| loaded.extend(changes)).await.unwrap();
    assert_eq!(head.revision, names.len() as i64);
    assert_eq!(loaded.len(), names.len());
    store.close().await.unwrap();
}

async fn a_page_goes_on_where_it_ended_while_rows_come_and_go(on: On) {
    let fresh = on.fresh().await;
    let store = open(&fresh).await;
    // In another order than a dictionary would have them: `-` comes before digits and letters.
    let ids = ["a", "a-1", "a-b", "a0", "a1", "aa", "ab", "b", "b-b", "b0"];
    for id in ids.iter().rev() {
        make(&store, id, "", Time::from_micros(1)).await;
    }
    let (mut after, mut listed, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let page = store.tenants(&after, false, 3, |_| true).await.unwrap();
        listed.extend(page.items.iter().map(|tenant| tenant.id.as_str().to_owned()));
        // Before and after where the page ended.
        make(&store, &format!("a-0{pages}"), "", Time::from_micros(1)).await;
        make(&store, &format!("z{pages}"), "", Time::from_micros(1)).await;
        pages += 1;
        match page.next {
            Some(next) if pages < 20 => after = next,
            _ => break,
        }
    }
    assert!(listed.is_sorted(), "{listed:?}");
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "{listed:?}");
    for id in ids {
        assert!(listed.iter().any(|listed| listed == id), "{id} is missing in {listed:?}");
    }
    store.close().await.unwrap();
}

async fn migrating_again_does_nothing_and_a_newer_schema_is_read_if_it_may_be(on: On) {
    let fresh = on.fresh().await;
    let first = Store::migrate(&fresh.url).await.unwrap();
    assert!(first.applied.len() >= 8, "{first}");
    let again = Store::migrate(&fresh.url).await.unwrap();
    assert!(again.applied.is_empty() && again.newer.is_empty(), "{again}");
    fresh.execute("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_future', 0)").await;
    let newer = Store::migrate(&fresh.url).await.unwrap();
    assert_eq!(newer.newer, ["m9999_future"]);
    let store = open(&fresh).await;
    make(&store, "acme", "", Time::from_micros(1)).await;
    assert_eq!(store.settle("schema_reader", "1000000").await.unwrap(), "1000000");
    store.close().await.unwrap();
    let refused = Store::open(&fresh.url, Clock::default()).await.unwrap_err().to_string();
    assert!(refused.contains("newer keyward") && refused.contains("m9999_future"), "{refused}");
}
