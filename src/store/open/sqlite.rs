//! SQLite: one process, one file, one writing connection.

use super::Purpose;
use crate::error::{Error, Result};
use sea_orm::ConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file that a URL names.
pub(super) fn path(url: &str) -> Result<PathBuf> {
    let rest = url.strip_prefix("sqlite:").unwrap_or_default();
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
pub(super) fn resolved(path: PathBuf) -> Result<PathBuf> {
    let made = File::options().create(true).append(true).mode(0o600).open(&path);
    made.and_then(|_| path.canonicalize())
        .map_err(|error| Error::unavailable(format!("cannot open the database {}: {error}", path.display())))
}

/// Takes the operating system's lock on a file beside the database; it dies with the process.
pub(super) fn lock_beside(path: &Path) -> Result<File> {
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

/// SQLite as the guarantee needs it: what was acknowledged survives a power cut (`synchronous=FULL` in WAL mode),
/// what was deleted is overwritten (`secure_delete`: a queued mail holds a token in clear until it was accepted), and no
/// connection goes back to the pool with a transaction open that nobody remembers.
pub(in crate::store) fn options(path: &Path, purpose: Purpose) -> ConnectOptions {
    let mut options = ConnectOptions::new("sqlite::memory:");
    let path = path.to_owned();
    let connections = match purpose {
        Purpose::Reader => 4,
        Purpose::Writer
        | Purpose::Follower
        | Purpose::Keeper
        | Purpose::Registry
        | Purpose::Usage
        | Purpose::Migration => 1,
    };
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
                // Far fewer changes of thread while many rows are read.
                .row_buffer_size(1024)
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

/// SQLite to be read only, beside a server or without one. The file must be there.
pub(super) fn to_read(path: PathBuf) -> ConnectOptions {
    let mut options = ConnectOptions::new("sqlite::memory:");
    options
        // One sees everything at one moment, beside one that asks about it.
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(5))
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .map_sqlx_sqlite_opts(move |options| {
            options
                .in_memory(false)
                .shared_cache(false)
                .filename(&path)
                .create_if_missing(false)
                .busy_timeout(Duration::from_secs(5))
                .row_buffer_size(1024)
                .pragma("query_only", "ON")
        });
    options
}
