//! How the pools of connections are used. Whoever waits for one is not told of: the driver does not count them.

use super::open::{Engine, Store};
use sea_orm::DatabaseConnection;
use sea_orm::sqlx::{Database, Pool as SqlxPool};

/// The connections of one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// What they are for: `mutations` or `lists`.
    pub name: &'static str,
    /// How many are in use.
    pub used: u32,
    /// How many wait to be used.
    pub idle: u32,
    /// How many there may be.
    pub max: u32,
}

impl Pool {
    fn of<D: Database>(name: &'static str, pool: &SqlxPool<D>) -> Self {
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        Self { name, used: pool.size().saturating_sub(idle), idle, max: pool.options().get_max_connections() }
    }
}

impl Store {
    /// Those that many share; who follows the ledger has one of its own.
    pub fn pools(&self) -> [Pool; 2] {
        let look = |name, connection: &DatabaseConnection| match self.engine() {
            Engine::Sqlite => Pool::of(name, connection.get_sqlite_connection_pool()),
            Engine::Postgres => Pool::of(name, connection.get_postgres_connection_pool()),
            Engine::MySql => Pool::of(name, connection.get_mysql_connection_pool()),
        };
        [look("mutations", &self.writer), look("lists", &self.reader)]
    }
}
