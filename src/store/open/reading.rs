//! Opening a database to look at it, and to change nothing.

use super::{DEFAULT_LEASE, Engine, Purpose, mysql, postgres, sqlite};
use crate::error::Result;
use crate::store::failure::sort;
use sea_orm::{Database, DatabaseConnection};

/// Connections that only read, to a database that must be there and is neither migrated nor founded; of SQLite, beside the
/// server that may have it open.
pub(in crate::store) async fn connect_to_read(url: &str) -> Result<DatabaseConnection> {
    let options = match Engine::of_url(url)? {
        Engine::Sqlite => sqlite::to_read(sqlite::path(url)?),
        Engine::Postgres => postgres::pool(&postgres::parse(url)?, Purpose::Reader, DEFAULT_LEASE),
        Engine::MySql => {
            let options = mysql::parse(url)?;
            let (flavour, _) = mysql::examine(&options).await?;
            mysql::pool(&options, flavour, Purpose::Reader, DEFAULT_LEASE)
        }
    };
    Database::connect(options).await.map_err(sort)
}
