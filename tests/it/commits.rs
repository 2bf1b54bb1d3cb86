//! Mutations that share a commit, on a real PostgreSQL: what happens to the connection is not told to anybody as a
//! success that was none, nor as a failure that was none.

use crate::harness::postgres;
use keyward::clock::Clock;
use keyward::domain::change::Change;
use keyward::domain::credential::Prefix;
use keyward::domain::name::{KeyId, TenantId};
use keyward::domain::tenant::Tenant;
use keyward::domain::usage::{Count, Hour, Span, Use};
use keyward::error::{Error, Result};
use keyward::store::{Committed, Entry, Store};
use sea_orm::sqlx::{self, Connection as _, PgConnection, Row as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

fn tenant(id: &str) -> Change {
    let now = Clock::default().now();
    Change::Tenant(Tenant {
        id: TenantId::find(id).unwrap(),
        uid: uuid::Uuid::new_v4(),
        display_name: String::new(),
        credential_prefix: Prefix::parse("kw", "prefix").unwrap(),
        is_suspended: false,
        create_time: now,
        update_time: now,
        delete_time: None,
        revision: 0,
    })
}

async fn make(store: Store, id: String) -> (String, Result<Committed>) {
    let made = async {
        let draft = store.begin().await?;
        draft.tenant(&TenantId::find(&id).unwrap()).await?;
        let entry = Entry {
            kind: "tenant.create",
            tenant: None,
            actor: "root".to_owned(),
            credential_id: String::new(),
            subject: id.clone(),
            request_id: String::new(),
            source_ip: String::new(),
            detail: serde_json::json!({}),
        };
        draft.commit(vec![tenant(&id)], entry, None).await
    };
    let made = made.await;
    (id, made)
}

/// So many at once, through these stores in turn.
async fn make_many(stores: &[Store], names: impl Iterator<Item = String>) -> BTreeMap<String, Result<Committed>> {
    let tasks: Vec<_> =
        names.zip(stores.iter().cycle()).map(|(id, store)| tokio::spawn(make(store.clone(), id))).collect();
    let mut told = BTreeMap::new();
    for task in tasks {
        let (id, made) = task.await.unwrap();
        told.insert(id, made);
    }
    told
}

/// Compares what was told with what is there, and the rows with the ledger; how many there are.
async fn assert_told(
    store: &Store,
    connection: &mut PgConnection,
    told: &BTreeMap<String, Result<Committed>>,
) -> usize {
    let sql = "SELECT e.subject, e.revision, e.chain, t.id FROM audit_event e FULL JOIN tenant t ON t.id = e.subject";
    let rows = sqlx::query(sql).fetch_all(&mut *connection).await.unwrap();
    let mut there = BTreeMap::new();
    for row in &rows {
        let (subject, tenant): (Option<String>, Option<String>) = (row.get(0), row.get(3));
        assert_eq!(subject, tenant, "rows and events agree");
        let chain: Vec<u8> = row.get(2);
        there.insert(subject.unwrap(), (row.get::<i64, _>(1), chain));
    }
    for (id, made) in told {
        match made {
            Ok(Committed { revision, chain }) => assert_eq!(there[id], (*revision, chain.to_vec())),
            Err(Error::Unavailable { what, committed }) => {
                assert_eq!(*committed, None);
                assert!(what.contains("not known") || !there.contains_key(id), "{id}: {what}");
            }
            Err(other) => panic!("{id}: {other:?}"),
        }
    }
    let head = store.verify(i64::MAX, 1_000_000).await.unwrap();
    assert_eq!(head.revision, there.len() as i64, "no gap");
    there.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_replicas_with_many_mutations_each_have_contiguous_revisions() {
    let url = postgres::database().await;
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(Store::open(&url, Clock::default()).await.unwrap());
    }
    let mut all = BTreeMap::new();
    for round in 0..5 {
        all.append(&mut make_many(&stores, (0..96).map(|place| format!("t-{round}-{place}"))).await);
    }
    assert!(all.values().all(Result::is_ok), "{all:?}");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    assert_eq!(assert_told(&stores[0], &mut connection, &all).await, all.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_database_ends_leave_rows_and_answers_that_agree() {
    let url = postgres::database().await;
    let store = Store::open(&url, Clock::default()).await.unwrap();
    let mut killer = PgConnection::connect(&url).await.unwrap();
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = current_database() AND application_name = 'keyward' AND pid <> pg_backend_pid() \
                AND xact_start IS NOT NULL";
    let mut told = BTreeMap::new();
    let mut killed = 0;
    for round in 0..30_u64 {
        let stores = [store.clone()];
        let making = make_many(&stores, (0..40).map(|place| format!("t-{round}-{place}")));
        let killing = async {
            tokio::time::sleep(Duration::from_millis(5 + 3 * round)).await;
            let row = sqlx::query(kill).fetch_one(&mut killer).await.unwrap();
            killed += row.get::<i64, _>(0);
        };
        let (mut made, ()) = tokio::join!(making, killing);
        told.append(&mut made);
    }
    let failed = told.values().filter(|made| made.is_err()).count();
    let there = assert_told(&store, &mut killer, &told).await;
    println!("{killed} connections ended: {failed} of {} mutations failed, {there} are there", told.len());
    assert!(killed > 0 && failed < told.len(), "{killed} {failed}");
    let after = make_many(std::slice::from_ref(&store), std::iter::once("after".to_owned())).await;
    assert!(after["after"].is_ok(), "it recovers by itself");
}

/// What happens to the next COMMIT.
const PASS: u8 = 0;
const LOSE_ANSWER: u8 = 1;
const LOSE_COMMIT: u8 = 2;

/// Stands between the store and its database.
async fn proxy(database_port: u16) -> (u16, Arc<AtomicU8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fault = Arc::new(AtomicU8::new(PASS));
    let shared = Arc::clone(&fault);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", database_port)).await.unwrap();
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            let (cut, is_cut) = tokio::sync::oneshot::channel();
            tokio::spawn(pass_on(from_client, to_server, Arc::clone(&shared), cut));
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    Ok(()) = is_cut => {}
                    () = copy(from_server, to_client) => {}
                }
            });
        }
    });
    (port, fault)
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ended = tokio::io::copy(&mut from, &mut to).await;
}

/// Passes on what the client says, until it is to lose something.
async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fault: Arc<AtomicU8>,
    cut: tokio::sync::oneshot::Sender<()>,
) {
    let mut buffer = vec![0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let said = &buffer[..length];
        let is_commit = said.windows(7).any(|word| word == b"COMMIT\0");
        let wanted = if is_commit { fault.swap(PASS, Ordering::SeqCst) } else { PASS };
        if wanted == LOSE_COMMIT {
            return;
        }
        if wanted == LOSE_ANSWER {
            // Nothing comes back any more, and then the connection is gone.
            let _gone = cut.send(());
            to.write_all(said).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            return;
        }
        if to.write_all(said).await.is_err() {
            return;
        }
    }
}

/// A store whose connections can lose something.
async fn store_behind_proxy(url: &str) -> (Store, Arc<AtomicU8>) {
    let (_, address) = url.split_once('@').unwrap();
    let (host, database) = address.split_once('/').unwrap();
    let (port, fault) = proxy(host.rsplit(':').next().unwrap().parse().unwrap()).await;
    let url = format!("postgres://keyward@127.0.0.1:{port}/{database}");
    (Store::open(&url, Clock::default()).await.unwrap(), fault)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_found_and_one_that_was_lost_is_not() {
    let url = postgres::database().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let (store, fault) = store_behind_proxy(&url).await;
    let mut told = make_many(std::slice::from_ref(&store), std::iter::once("before".to_owned())).await;
    for round in 0..6 {
        let wanted = if round % 2 == 0 { LOSE_ANSWER } else { LOSE_COMMIT };
        // The first comes alone, the others while it is on its way.
        fault.store(wanted, Ordering::SeqCst);
        let mut made = make_many(std::slice::from_ref(&store), (0..8).map(|place| format!("t-{round}-{place}"))).await;
        assert_eq!(fault.load(Ordering::SeqCst), PASS, "it has happened");
        let failed: Vec<_> = made.values().filter_map(|made| made.as_ref().err()).collect();
        assert_eq!(failed.is_empty(), wanted == LOSE_ANSWER, "{round}: {failed:?}");
        for error in failed {
            assert!(error.to_string().contains("nothing was changed"), "{error}");
        }
        told.append(&mut made);
    }
    assert_told(&store, &mut connection, &told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_of_usage_whose_commit_was_not_answered_counts_once() {
    let (store, fault) = store_behind_proxy(&postgres::database().await).await;
    let log = store.usage_log().await.unwrap();
    let (tenant, key) = (TenantId::find("acme").unwrap(), KeyId::find("ci").unwrap());
    let hour = Hour::of_number(499_000);
    let span = Span { start: hour.start(), end: Hour::of_number(499_001).start() };
    let mut expected = Count::NONE;
    for number in 1..=9 {
        let wanted = [LOSE_ANSWER, LOSE_COMMIT, PASS][usize::try_from(number % 3).unwrap()];
        fault.store(wanted, Ordering::SeqCst);
        let count = Count { allowed: 1 << number, denied: 1 };
        let (of, its) = (tenant.clone(), key.clone());
        let tallies =
            [Use { tenant: of, key: its, last_auth_time: Some(hour.start()), hour, count }].into_iter().collect();
        let mut tries = 1;
        while let Err(error) = log.write(number, &tallies, hour.start()).await {
            assert!(tries < 50, "{error}");
            tries += 1;
        }
        assert_eq!(fault.load(Ordering::SeqCst), PASS, "it has happened");
        assert_eq!(tries > 1, wanted != PASS, "{number} was written at try {tries}");
        expected = expected.plus(count);
        let found = store.key_usage(&tenant, &key, span).await.unwrap();
        assert_eq!(found, [(hour.start(), expected)], "{number}");
    }
}
