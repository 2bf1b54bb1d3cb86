//! The migrations, oldest first. Invisible outside `store`. Expand, then contract: a migration adds what older binaries
//! can ignore, and takes away only what no supported binary reads. So two binaries can share a database while replicas are
//! replaced one by one: the newer ones migrate, the older ones go on. A migration of which that is not true writes the
//! reader that it needs (`rows::READER`) into the setting `schema_reader`, and older binaries then refuse to start.
//!
//! Strings are made by [`tables::Tables`] only, which sees to it that they compare byte for byte.

use super::entity::setting;
use super::failure::sort;
use super::rows::READER;
use crate::error::{Error, Result};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, Statement};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager, async_trait};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

mod m0001_ledger;
mod m0002_keys;
mod m0003_people;
mod m0004_mail;
mod m0005_signing;
mod m0006_passwords;
mod m0007_mail_count;
mod m0008_replica;
mod m0009_usage;
mod m0010_counts;
mod tables;

pub(in crate::store) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_ledger::Migration),
            Box::new(m0002_keys::Migration),
            Box::new(m0003_people::Migration),
            Box::new(m0004_mail::Migration),
            Box::new(m0005_signing::Migration),
            Box::new(m0006_passwords::Migration),
            Box::new(m0007_mail_count::Migration),
            Box::new(m0008_replica::Migration),
            Box::new(m0009_usage::Migration),
            Box::new(m0010_counts::Migration),
        ]
    }
}

/// How long another process may take to migrate.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// How often it is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// The setting in which a migration says which reader it needs.
const SCHEMA_READER: &str = "schema_reader";

/// What migrating did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were carried out now.
    pub applied: Vec<String>,
    /// Those that a newer binary has carried out, and that this one can do without.
    pub newer: Vec<String>,
    total: usize,
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.newer.is_empty() {
            let newer = self.newer.join(", ");
            return write!(f, "nothing to do: the schema is newer than this binary, which can read it ({newer})");
        }
        match self.applied.len() {
            0 => write!(f, "nothing to do: all {} migrations were carried out before", self.total),
            count => write!(f, "carried out {count} of {} migrations: {}", self.total, self.applied.join(", ")),
        }
    }
}

/// Brings the schema up to date on the one connection of `db`, under a lock of the database: whoever else does so waits.
pub(super) async fn run(db: &DatabaseConnection) -> Result<Migrated> {
    lock(db).await?;
    let done = up(db).await;
    let unlock = match db.get_database_backend() {
        DbBackend::Postgres => Some("SELECT pg_advisory_unlock(7230171101)"),
        DbBackend::MySql => Some("SELECT RELEASE_LOCK(CONCAT('keyward.migrate.', SHA1(DATABASE())))"),
        _ => None,
    };
    if let Some(unlock) = unlock {
        // If it fails, the connection's end lets go of the lock.
        let _ends_with_the_connection = db.execute_unprepared(unlock).await;
    }
    done
}

/// Takes the lock of the database. It dies with the connection; on SQLite the process has one already.
async fn lock(db: &DatabaseConnection) -> Result<()> {
    let backend = db.get_database_backend();
    let lock = match backend {
        DbBackend::Postgres => "SELECT CASE WHEN pg_try_advisory_lock(7230171101) THEN 1::BIGINT ELSE 0::BIGINT END",
        DbBackend::MySql => "SELECT COALESCE(GET_LOCK(CONCAT('keyward.migrate.', SHA1(DATABASE())), 0), 0)",
        _ => return Ok(()),
    };
    let until = Instant::now() + LOCK_WAIT;
    loop {
        let row = db.query_one_raw(Statement::from_string(backend, lock)).await.map_err(sort)?;
        let taken = row.map(|row| row.try_get_by_index::<i64>(0)).transpose().map_err(sort)?;
        if taken == Some(1) {
            return Ok(());
        }
        if Instant::now() >= until {
            let seconds = LOCK_WAIT.as_secs();
            return Err(Error::unavailable(format!(
                "another process has been migrating the database for {seconds} s; when it has ended, start again"
            )));
        }
        sleep(LOCK_RETRY).await;
    }
}

async fn up(db: &DatabaseConnection) -> Result<Migrated> {
    let known: BTreeSet<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
    let before = carried_out(db).await?;
    let newer: Vec<String> = before.difference(&known).cloned().collect();
    let pending: Vec<String> = known.difference(&before).cloned().collect();
    if newer.is_empty() {
        if !pending.is_empty() {
            Migrator::up(db, None).await.map_err(sort)?;
        }
    } else {
        let reader = setting::Entity::find_by_id(SCHEMA_READER).one(db).await.map_err(sort)?;
        let reader = reader.map_or(Ok(0), |row| row.value.parse::<i32>()).map_err(Error::internal)?;
        if reader > READER || !pending.is_empty() {
            return Err(Error::precondition(
                "the database",
                format!(
                    "was migrated by a newer keyward ({}), and this one cannot read it: start a newer one",
                    newer.join(", ")
                ),
            ));
        }
    }
    Ok(Migrated { applied: pending, newer, total: known.len() })
}

/// The migrations that the database says were carried out.
async fn carried_out(db: &DatabaseConnection) -> Result<BTreeSet<String>> {
    if !SchemaManager::new(db).has_table("seaql_migrations").await.map_err(sort)? {
        return Ok(BTreeSet::new());
    }
    let backend = db.get_database_backend();
    let rows = db.query_all_raw(Statement::from_string(backend, "SELECT version FROM seaql_migrations")).await;
    let names = rows.map_err(sort)?.iter().map(|row| row.try_get_by_index::<String>(0)).collect::<Result<_, _>>();
    names.map_err(sort)
}
