//! Opening the database: SQLite (one process, one file), PostgreSQL, or MySQL and MariaDB (many replicas).
//!
//! # What the guarantee needs of a database
//!
//! It keeps what it acknowledged, and whoever reads reads the latest. What can be looked at is looked at when it is
//! opened: **refused** stops the start and names the setting, **warned** is logged.
//!
//! | Database | Set by us, in each session | Refused | Warned | To be seen to by whoever runs it |
//! |---|---|---|---|---|
//! | SQLite | WAL, `synchronous=FULL`, `secure_delete` | a second process | | a local disk |
//! | PostgreSQL | READ COMMITTED, `idle_in_transaction_session_timeout`, `lock_timeout`, `statement_timeout`, for mutations and lists `plan_cache_mode=force_custom_plan`, for mutations `enable_seqscan=off`, `jit=off` | `synchronous_commit=off`, `fsync=off`, a standby, read only | `synchronous_commit=local` with standbys, `full_page_writes=off` | failover to synchronous standbys only |
//! | MySQL, MariaDB | READ COMMITTED, strict, idle, lock and statement time-outs | `innodb_flush_log_at_trx_commit` not 1, `read_only`, `binlog_format=STATEMENT`, no exact collation | `sync_binlog` not 1 | failover to replicas that have everything (semi-synchronous) |
//! | Galera | the same and `wsrep_sync_wait=1` | the same | that it is one | one node for all of keyward |
//! | PgBouncer | by session: nothing more. By transaction: not the start-up options | when these are not in force | | `max_prepared_statements` above 0; the settings by `ALTER ROLE … SET`; `keyward migrate` past it |
//! | CockroachDB, YugabyteDB | as PostgreSQL | the same | | no follower reads; `keyward migrate` from one place first, since they may have no advisory locks; not tested |
//! | Aurora | as its engine | the same | | the writer's endpoint, never the reader's; not tested |
//!
//! TLS to the database is asked for in the URL: `sslmode=verify-full&sslrootcert=FILE` (PostgreSQL),
//! `ssl-mode=VERIFY_IDENTITY&ssl-ca=FILE` (MySQL). Without it, TLS is used where the server offers it and nothing is verified.
//!
//! A URL holds a password and is never printed.

mod look;
mod mysql;
mod postgres;
mod purpose;
mod reading;
mod sqlite;

use super::counts;
use super::failure::{cannot_connect, sort};
use super::group::Groups;
use super::migration::{self, Migrated};
use super::recent::Recent;
use crate::clock::Clock;
use crate::domain::lease::Timing;
use crate::error::{Error, Result};
pub(super) use mysql::Flavour;
pub(super) use purpose::Purpose;
pub(super) use reading::connect_to_read;
use sea_orm::sqlx;
use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{
    AccessMode, ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, IsolationLevel, TransactionTrait,
};
#[cfg(test)]
pub(super) use sqlite::options as sqlite_options;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a connection may take to become free, or to be made.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a mutation waits for the head of the ledger.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a statement takes at most where nothing hangs on it; far above what any of ours does.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection that was idle for this long is tried before it is used.
const PING_AFTER: Duration = Duration::from_secs(1);

/// How long a replica may answer without having read the database, until the ledger says otherwise.
const DEFAULT_LEASE: Duration = Timing::DEFAULT_LEASE;

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file, of one process.
    Sqlite,
    /// PostgreSQL, or what speaks like it.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

impl Engine {
    /// The engine that a URL names.
    pub fn of_url(url: &str) -> Result<Self> {
        match url.split_once(':').map_or("", |(scheme, _)| scheme) {
            "sqlite" => Ok(Self::Sqlite),
            "postgres" | "postgresql" => Ok(Self::Postgres),
            "mysql" => Ok(Self::MySql),
            _ => Err(Error::invalid("--database-url", "must begin with sqlite:, postgres: or mysql:")),
        }
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }
}

/// Where the database is.
enum Target {
    Sqlite { path: PathBuf, lock: File },
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>, Flavour),
}

impl fmt::Debug for Target {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.engine().word())
    }
}

impl Target {
    /// Looks where a URL leads, and whether what is there can be relied on.
    async fn examined(url: &str, lease: Duration) -> Result<Self> {
        match Engine::of_url(url)? {
            Engine::Sqlite => {
                let path = sqlite::resolved(sqlite::path(url)?)?;
                let lock = sqlite::lock_beside(&path)?;
                Ok(Self::Sqlite { path, lock })
            }
            Engine::Postgres => {
                let options = postgres::parse(url)?;
                warn(&postgres::examine(&options, lease).await?);
                Ok(Self::Postgres(Box::new(options)))
            }
            Engine::MySql => {
                let options = mysql::parse(url)?;
                let (flavour, remarks) = mysql::examine(&options).await?;
                warn(&remarks);
                Ok(Self::MySql(Box::new(options), flavour))
            }
        }
    }

    fn engine(&self) -> Engine {
        match self {
            Self::Sqlite { .. } => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
            Self::MySql(..) => Engine::MySql,
        }
    }

    fn options(&self, purpose: Purpose, lease: Duration) -> ConnectOptions {
        match self {
            Self::Sqlite { path, .. } => sqlite::options(path, purpose),
            Self::Postgres(options) => postgres::pool(options, purpose, lease),
            Self::MySql(options, flavour) => mysql::pool(options, *flavour, purpose, lease),
        }
    }

    /// Connections for a purpose. Of a server, none is made before it is needed.
    async fn connect(&self, purpose: Purpose, lease: Duration) -> Result<DatabaseConnection> {
        let connected = Database::connect(self.options(purpose, lease)).await;
        connected.map_err(|error| match self {
            Self::Sqlite { path, .. } => {
                Error::unavailable(format!("cannot open the database {}: {error}", path.display()))
            }
            Self::Postgres(_) | Self::MySql(..) => sort(error),
        })
    }

    /// Brings the schema up to date.
    async fn migrate(&self, lease: Duration) -> Result<Migrated> {
        let db = self.connect(Purpose::Migration, lease).await?;
        let done = match migration::run(&db).await {
            // Not in a migration, whose transaction would keep other replicas from reading the head.
            Ok(migrated) => counts::establish(&db).await.map(|()| migrated),
            Err(error) => Err(error),
        };
        let closed = db.close().await.map_err(sort);
        done.and_then(|migrated| closed.map(|()| migrated))
    }
}

fn warn(remarks: &[String]) {
    for remark in remarks {
        tracing::warn!("{remark}");
    }
}

/// An open database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    /// On SQLite one connection: it has one writer, and waiting for it here is fair and bounded.
    pub(super) writer: DatabaseConnection,
    pub(super) reader: DatabaseConnection,
    /// One connection of the follower's own: lists must not keep it from what was revoked.
    pub(super) follower: DatabaseConnection,
    /// Another, for what replicas must know of each other while the follower is busy.
    pub(super) keeper: DatabaseConnection,
    /// Another, for what must be durable before a replica rests on it.
    pub(super) registry: DatabaseConnection,
    pub(super) clock: Clock,
    /// Where mutations wait for their turn.
    pub(super) groups: Arc<Groups>,
    pub(super) recent: Arc<Recent>,
    /// Told when mail was committed.
    pub(super) mail_queued: Arc<Notify>,
    /// How long a replica may answer without having read the database: time-outs are parts of it.
    pub(super) lease: Duration,
    target: Arc<Target>,
}

impl Store {
    /// Opens the database of `url` (`sqlite:PATH`, `postgres://…` or `mysql://…`), migrating it as needed. Of SQLite, a
    /// second process is refused; of the others, a server on which the guarantee cannot rest.
    pub async fn open(url: &str, clock: Clock) -> Result<Self> {
        let store = Self::prepared(url, clock).await?;
        let lease = store.settled_lease().await?;
        store.with_lease(lease.unwrap_or(DEFAULT_LEASE)).await
    }

    /// The same for a server: the first to come settles the lease, and one that `wanted` another later is refused.
    pub async fn open_to_serve(url: &str, clock: Clock, wanted: Option<Duration>) -> Result<Self> {
        let store = Self::prepared(url, clock).await?;
        let lease = store.settle_lease(wanted, DEFAULT_LEASE).await?;
        store.with_lease(lease).await
    }

    /// Examined, migrated and founded.
    async fn prepared(url: &str, clock: Clock) -> Result<Self> {
        let lease = DEFAULT_LEASE;
        let target = Target::examined(url, lease).await?;
        let migrated = target.migrate(lease).await?;
        if !migrated.applied.is_empty() || !migrated.newer.is_empty() {
            tracing::info!(engine = target.engine().word(), "{migrated}");
        }
        let writer = target.connect(Purpose::Writer, lease).await?;
        let reader = target.connect(Purpose::Reader, lease).await?;
        let store = Self {
            // Whoever follows takes connections of its own.
            follower: reader.clone(),
            keeper: reader.clone(),
            registry: writer.clone(),
            writer,
            reader,
            clock,
            groups: Arc::default(),
            recent: Arc::default(),
            mail_queued: Arc::default(),
            lease,
            target: Arc::new(target),
        };
        store.found().await?;
        Ok(store)
    }

    /// The same with time-outs that fit a lease.
    async fn with_lease(self, lease: Duration) -> Result<Self> {
        if self.lease == lease || self.is_alone() {
            return Ok(Self { lease, ..self });
        }
        let (writer, reader) = (self.writer.clone(), self.reader.clone());
        let store = Self { lease, ..self };
        let store = Self {
            writer: store.connect(Purpose::Writer).await?,
            reader: store.connect(Purpose::Reader).await?,
            ..store
        };
        let store = Self {
            follower: store.reader.clone(),
            keeper: store.reader.clone(),
            registry: store.writer.clone(),
            ..store
        };
        writer.close().await.map_err(sort)?;
        reader.close().await.map_err(sort)?;
        Ok(store)
    }

    /// The same with connections of its own to follow the ledger by, for a runtime of its own: neither lists nor
    /// mutations keep it from what was revoked.
    pub async fn for_follower(&self) -> Result<Self> {
        let follower = self.connect(Purpose::Follower).await?;
        let keeper = self.connect(Purpose::Keeper).await?;
        let registry = self.connect(Purpose::Registry).await?;
        Ok(Self { follower, keeper, registry, ..self.clone() })
    }

    /// Closes what [`Store::for_follower`] has opened.
    pub async fn close_follower(self) {
        for connection in [self.follower, self.keeper, self.registry] {
            // They hold nothing that is not committed.
            let _closed = connection.close().await;
        }
    }

    /// How long a replica may answer after a poll.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Whether one process at a time has this database to itself.
    pub fn is_alone(&self) -> bool {
        self.engine() == Engine::Sqlite
    }

    /// Brings the schema of the database of `url` up to date, under a lock that others who do so wait for; says what it did.
    pub async fn migrate(url: &str) -> Result<Migrated> {
        Target::examined(url, DEFAULT_LEASE).await?.migrate(DEFAULT_LEASE).await
    }

    /// Which database it is.
    pub fn engine(&self) -> Engine {
        self.target.engine()
    }

    /// Connections of their own for a purpose, which belong to the runtime that asks.
    pub(super) async fn connect(&self, purpose: Purpose) -> Result<DatabaseConnection> {
        self.target.connect(purpose, self.lease).await
    }

    /// A transaction in which everything that is read is of one moment. On SQLite any is.
    pub(super) async fn read_at_once(&self) -> Result<DatabaseTransaction> {
        let begun = match self.engine() {
            Engine::Sqlite => self.follower.begin().await,
            Engine::Postgres | Engine::MySql => {
                let (isolation, access) = (IsolationLevel::RepeatableRead, AccessMode::ReadOnly);
                self.follower.begin_with_config(Some(isolation), Some(access)).await
            }
        };
        begun.map_err(sort)
    }

    /// A file beside the database, such as `keyward.db.master-key`; none on engines that are no file.
    pub fn beside(&self, extension: &str) -> Option<PathBuf> {
        match &*self.target {
            Target::Sqlite { path, .. } => {
                let mut path = path.as_os_str().to_owned();
                path.push(".");
                path.push(extension);
                Some(PathBuf::from(path))
            }
            Target::Postgres(_) | Target::MySql(..) => None,
        }
    }

    /// Closes the connections, so that SQLite can fold its write-ahead log into the file, and lets go of the lock.
    pub async fn close(self) -> Result<()> {
        self.reader.close().await.map_err(sort)?;
        self.writer.close().await.map_err(sort)?;
        match &*self.target {
            Target::Sqlite { lock, .. } => lock.unlock().map_err(Error::internal),
            Target::Postgres(_) | Target::MySql(..) => Ok(()),
        }
    }
}

/// Takes back whatever transaction may be open on a connection that goes back to its pool. One that does not answer in time
/// is closed: the pool waits for it without end, and where it has no other, nobody would ever get one again.
async fn taken_back<C>(
    rollback: impl Future<Output = Result<C, sqlx::Error>>,
    lease: Duration,
) -> Result<bool, sqlx::Error> {
    match timeout(lease / 4, rollback).await {
        Ok(done) => done.map(|_| true),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// Waits for a first connection, which tells what is wrong; a pool would only tell that none became free.
async fn bounded_connect<T>(connecting: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T> {
    match timeout(ACQUIRE_TIMEOUT, connecting).await {
        Ok(connected) => connected.map_err(|error| cannot_connect(&error)),
        Err(_) => Err(Error::unavailable("the database of --database-url did not answer in time")),
    }
}

/// Refuses what the driver would ignore: a misspelt `sslmode` would be a connection in the clear.
fn refuse_parameters(url: &str, known: &[&str]) -> Result<()> {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        if !known.contains(&name) {
            // Not the name itself, which may be anything that stands after a question mark in a password.
            let known = known.join(", ");
            return Err(Error::invalid("--database-url", format!("has an unknown parameter; known are {known}")));
        }
    }
    Ok(())
}
