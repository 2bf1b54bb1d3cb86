//! One suite for all engines: SQLite, PostgreSQL, and MariaDB for MySQL too, which cannot be had here.

mod server;

use crate::harness::{mariadb, postgres};
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
        on_every_engine! { @on sqlite Sqlite $($property)* }
        on_every_engine! { @on postgres Postgres $($property)* }
        on_every_engine! { @on mariadb MariaDb $($property)* }
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
