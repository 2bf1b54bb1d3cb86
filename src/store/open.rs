//! Opening the database: one process, one file, one writing connection.

use super::failure::sort;
use super::group::Groups;
use super::migration::Migrator;
use crate::clock::Clock;
use crate::error::{Error, Result};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};
use sea_orm_migration::MigratorTrait;
use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// An open database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    /// One connection: SQLite has one writer, and waiting for it here is fair and bounded.
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
    /// Told when mail was committed.
    pub(super) mail_queued: Arc<Notify>,
    path: PathBuf,
    lock: Arc<File>,
}

impl Store {
    /// Opens the database of `url` (`sqlite:PATH`), creating and migrating it as needed. A second process is refused.
    pub async fn open(url: &str, clock: Clock) -> Result<Self> {
        let path = resolved(sqlite_path(url)?)?;
        let lock = lock_beside(&path)?;
        let writer = Database::connect(options(&path, 1)).await.map_err(|error| cannot_open(&path, error))?;
        Migrator::up(&writer, None).await.map_err(|error| cannot_open(&path, error))?;
        let reader = Database::connect(options(&path, 4)).await.map_err(|error| cannot_open(&path, error))?;
        let (follower, keeper, registry) = (reader.clone(), reader.clone(), writer.clone());
        let (mail_queued, groups, lock) = (Arc::default(), Arc::default(), Arc::new(lock));
        let store = Self { writer, reader, follower, keeper, registry, clock, groups, mail_queued, path, lock };
        store.found().await?;
        Ok(store)
    }

    /// The same with connections of its own to follow the ledger by, for a runtime of its own: neither lists nor
    /// mutations keep it from what was revoked.
    pub async fn for_follower(&self) -> Result<Self> {
        let connect =
            async || Database::connect(options(&self.path, 1)).await.map_err(|error| cannot_open(&self.path, error));
        let (follower, keeper, registry) = (connect().await?, connect().await?, connect().await?);
        Ok(Self { follower, keeper, registry, ..self.clone() })
    }

    /// Whether one process at a time has this database to itself.
    pub fn is_alone(&self) -> bool {
        true
    }

    /// Tells other replicas, if the engine has a way to, that there is something to see. Nothing depends on it.
    pub fn hint(&self, _revision: i64) {}

    /// Closes what [`Store::for_follower`] has opened.
    pub async fn close_follower(self) {
        for connection in [self.follower, self.keeper, self.registry] {
            // They hold nothing that is not committed.
            let _closed = connection.close().await;
        }
    }

    /// A file beside the database, such as `keyward.db.master-key`; none on engines that are no file.
    pub fn beside(&self, extension: &str) -> Option<PathBuf> {
        let mut path = self.path.as_os_str().to_owned();
        path.push(".");
        path.push(extension);
        Some(PathBuf::from(path))
    }

    /// Closes the connections, so that SQLite can fold its write-ahead log into the file, and lets go of the lock.
    pub async fn close(self) -> Result<()> {
        self.reader.close().await.map_err(sort)?;
        self.writer.close().await.map_err(sort)?;
        self.lock.unlock().map_err(Error::internal)
    }
}

fn sqlite_path(url: &str) -> Result<PathBuf> {
    let Some(rest) = url.strip_prefix("sqlite:") else {
        let scheme = url.split(':').next().unwrap_or_default();
        return Err(Error::invalid(
            "database-url",
            format!("must begin with sqlite: in this build, which knows no other engine yet (scheme {scheme:?})"),
        ));
    };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.contains(":memory:") || path.contains('?') {
        return Err(Error::invalid(
            "database-url",
            "must be sqlite: followed by the path of a file, without parameters",
        ));
    }
    Ok(PathBuf::from(path))
}

/// The file itself, made if it is not there: one file has one lock, by whichever links it is reached.
fn resolved(path: PathBuf) -> Result<PathBuf> {
    let made = File::options().create(true).append(true).mode(0o600).open(&path);
    made.and_then(|_| path.canonicalize())
        .map_err(|error| Error::unavailable(format!("cannot open the database {}: {error}", path.display())))
}

/// Takes the operating system's lock on a file beside the database; it dies with the process.
fn lock_beside(path: &Path) -> Result<File> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let file =
        File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(|error| {
            Error::unavailable(format!("cannot open the lock file {}: {error}", lock_path.display()))
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::precondition(
            path.display(),
            "is in use by another keyward server; SQLite serves one process, stop that one first",
        )),
        Err(TryLockError::Error(error)) => {
            Err(Error::unavailable(format!("cannot lock {}: {error}", lock_path.display())))
        }
    }
}

fn cannot_open(path: &Path, error: sea_orm::DbErr) -> Error {
    Error::unavailable(format!("cannot open the database {}: {error}", path.display()))
}

/// SQLite as the guarantee needs it: what was acknowledged survives a power cut (`synchronous=FULL` in WAL mode),
/// what was deleted is overwritten (`secure_delete`: a queued mail holds a token in clear until it was accepted), and no
/// connection goes back to the pool with a transaction open that nobody remembers.
pub(super) fn options(path: &Path, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new("sqlite::memory:");
    let path = path.to_owned();
    options
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .map_sqlx_sqlite_opts(move |options| {
            options
                .in_memory(false)
                .shared_cache(false)
                .filename(&path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(5))
                .pragma("secure_delete", "ON")
        })
        .map_sqlx_sqlite_pool_opts(|options| {
            options.after_release(|connection, _| {
                Box::pin(async move {
                    // With none open this is an error, and that is the good case.
                    let _none_open = sea_orm::sqlx::query("ROLLBACK").execute(connection).await;
                    Ok(true)
                })
            })
        });
    options
}
