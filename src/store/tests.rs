//! What the pool must be for a mutation not to be lost; what the engine does is tested through the server.

use super::open::{Purpose, Store, sqlite_options as options};
use crate::clock::Clock;
use sea_orm::sqlx;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbErr, Statement, TransactionTrait};
use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Polls a future so many times, as often as it asks to be polled, and then drops it.
pub(super) struct Dropped<F> {
    pub(super) future: Pin<Box<F>>,
    pub(super) polls: u32,
}

impl<F: Future> Future for Dropped<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.polls -= 1;
        match self.future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

// The harness of the integration tests, for what no test outside of this crate can reach.
#[expect(dead_code, reason = "other tests freeze and restart it")]
#[path = "../../tests/it/harness/daemon.rs"]
mod daemon;
#[path = "../../tests/it/harness/mariadb.rs"]
pub(super) mod mariadb;
#[path = "../../tests/it/harness/postgres.rs"]
pub(super) mod postgres;

async fn number(db: &DatabaseConnection, sql: &str) -> Result<i64, DbErr> {
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    row.unwrap().try_get_by_index::<i64>(0)
}

/// Starts a transaction on a pool of one connection, goes away after `polls` polls of `BEGIN`, then mutates on the same
/// pool: what another connection sees of the mutation.
async fn seen_after_begin_was_dropped(path: &Path, polls: u32) -> Result<i64, DbErr> {
    let pool = Database::connect(options(path, Purpose::Writer)).await?;
    pool.execute_unprepared("CREATE TABLE IF NOT EXISTS thing (revoked BIGINT)").await?;
    pool.execute_unprepared("DELETE FROM thing").await?;
    pool.execute_unprepared("INSERT INTO thing VALUES (0)").await?;
    drop(Dropped { future: Box::pin(pool.begin()), polls }.await);
    let changed = pool.execute_unprepared("UPDATE thing SET revoked = 1").await?;
    assert_eq!(changed.rows_affected(), 1, "the mutation was acknowledged");
    let other = Database::connect(options(path, Purpose::Writer)).await?;
    let seen = number(&other, "SELECT revoked FROM thing").await;
    other.close().await?;
    pool.close().await?;
    seen
}

/// On SQLite it passes without the pool's hook too: there the driver itself takes back a `BEGIN` that nobody waits for.
/// What the hook is for is shown by `a_connection_comes_back_to_the_pool_without_a_transaction`.
#[tokio::test]
async fn a_begin_that_was_dropped_in_flight_swallows_no_later_mutation() {
    let folder = tempfile::tempdir().unwrap();
    for polls in 1..=6 {
        for attempt in 0..20 {
            let path = folder.path().join(format!("{polls}.db"));
            let seen = seen_after_begin_was_dropped(&path, polls).await.unwrap();
            assert_eq!(seen, 1, "lost after {polls} polls, attempt {attempt}");
        }
    }
}

/// The same on a pool of one connection of a database server.
async fn nothing_is_lost_on(url: &str) {
    let store = Store::open(url, Clock::default()).await.unwrap();
    let follower = store.for_follower().await.unwrap();
    store.writer.execute_unprepared("CREATE TABLE thing (revoked BIGINT)").await.unwrap();
    for polls in 1..=6 {
        for attempt in 0..10 {
            store.writer.execute_unprepared("DELETE FROM thing").await.unwrap();
            store.writer.execute_unprepared("INSERT INTO thing VALUES (0)").await.unwrap();
            drop(Dropped { future: Box::pin(follower.registry.begin()), polls }.await);
            let changed = follower.registry.execute_unprepared("UPDATE thing SET revoked = 1").await.unwrap();
            assert_eq!(changed.rows_affected(), 1, "the mutation was acknowledged");
            let seen = number(&store.reader, "SELECT revoked FROM thing").await.unwrap();
            assert_eq!(seen, 1, "lost after {polls} polls, attempt {attempt}");
        }
    }
    follower.close_follower().await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_that_was_dropped_in_flight_swallows_nothing_on_postgres() {
    nothing_is_lost_on(&postgres::database().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_that_was_dropped_in_flight_swallows_nothing_on_mariadb() {
    nothing_is_lost_on(&mariadb::database().await).await;
}

#[tokio::test]
async fn every_connection_of_the_store_writes_ahead_and_syncs_fully() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyward.db");
    let store = Store::open(&format!("sqlite:{}", path.display()), Clock::default()).await.unwrap();
    for db in [&store.writer, &store.reader] {
        let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), "PRAGMA journal_mode")).await;
        assert_eq!(row.unwrap().unwrap().try_get_by_index::<String>(0).unwrap(), "wal");
        assert_eq!(number(db, "PRAGMA synchronous").await.unwrap(), 2, "2 is FULL");
        assert_eq!(number(db, "PRAGMA foreign_keys").await.unwrap(), 1);
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_connection_comes_back_to_the_pool_without_a_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyward.db");
    let pool = Database::connect(options(&path, Purpose::Writer)).await.unwrap();
    pool.execute_unprepared("CREATE TABLE thing (id BIGINT)").await.unwrap();
    // Nobody but the connection itself knows of this one.
    let sqlite = pool.get_sqlite_connection_pool();
    let mut connection = sqlite.acquire().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.unwrap();
    sqlx::query("INSERT INTO thing VALUES (1)").execute(&mut *connection).await.unwrap();
    drop(connection);
    assert_eq!(number(&pool, "SELECT count(*) FROM thing").await.unwrap(), 0);
    pool.execute_unprepared("INSERT INTO thing VALUES (2)").await.unwrap();
    let other = Database::connect(options(&path, Purpose::Writer)).await.unwrap();
    assert_eq!(number(&other, "SELECT id FROM thing").await.unwrap(), 2);
}

#[tokio::test]
async fn what_was_deleted_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("keyward.db").display());
    let store = Store::open(&url, Clock::default()).await.unwrap();
    for pool in [&store.writer, &store.reader, &store.follower] {
        assert_eq!(number(pool, "PRAGMA secure_delete").await.unwrap(), 1);
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_draft_that_is_dropped_leaves_nothing_behind_and_lets_the_next_one_begin() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("keyward.db").display());
    let store = Store::open(&url, Clock::default()).await.unwrap();
    for polls in 1..=12 {
        // In flight, or begun and not committed: either way it is gone.
        drop(Dropped { future: Box::pin(store.begin()), polls }.await);
        let draft = pin!(store.begin()).await.unwrap();
        assert_eq!((draft.head(), draft.revision()), (0, 1));
    }
    assert_eq!(store.verify(i64::MAX, 1_000_000).await.unwrap().revision, 0);
    store.close().await.unwrap();
}
