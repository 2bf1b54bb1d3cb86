//! One suite for all engines: SQLite, PostgreSQL, and MariaDB for MySQL too, which cannot be had here.

mod audit;
mod caps;
mod ledger;
mod rows;
mod server;
mod start;
mod usage;
mod watch;

use crate::harness::ledger::connect as connect_sqlite;
use crate::harness::{mariadb, postgres};
use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{self, ConnectOptions as _};
use std::path::PathBuf;
use tempfile::TempDir;

/// The engines that Keyward runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Sqlite,
    Postgres,
    MariaDb,
}

/// A database that is new and empty.
struct Fresh {
    url: String,
    /// Where a server may keep its files.
    folder: TempDir,
}

impl Fresh {
    /// Carries out a statement past the store, whose database must be closed on SQLite.
    async fn execute(&self, sql: &'static str) {
        match self.url.split_once(':').unwrap() {
            ("sqlite", path) => sqlx::query(sql).execute(&mut connect_sqlite(path.as_ref()).await).await.map(drop),
            ("postgres", _) => {
                let options: PgConnectOptions = self.url.parse().unwrap();
                sqlx::query(sql).execute(&mut options.connect().await.unwrap()).await.map(drop)
            }
            _ => {
                let options: MySqlConnectOptions = self.url.parse().unwrap();
                sqlx::query(sql).execute(&mut options.connect().await.unwrap()).await.map(drop)
            }
        }
        .unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl On {
    async fn fresh(self) -> Fresh {
        let folder = TempDir::new().unwrap();
        let url = match self {
            Self::Sqlite => format!("sqlite:{}", folder.path().join("keyward.db").display()),
            Self::Postgres => postgres::database().await,
            Self::MariaDb => mariadb::database().await,
        };
        Fresh { url, folder }
    }
}

/// A test for each engine: `on_every_engine! { a_property, another }`.
macro_rules! on_every_engine {
    ($($property:ident),* $(,)?) => {
        on_every_engine! { @on on_sqlite Sqlite $($property)* }
        on_every_engine! { @on on_postgres Postgres $($property)* }
        on_every_engine! { @on on_mariadb MariaDb $($property)* }
    };
    (@on $module:ident $engine:ident $($property:ident)*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $property() {
                    super::$property(crate::engines::On::$engine).await;
                }
            )*
        }
    };
}
use on_every_engine;
