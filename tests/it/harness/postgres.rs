//! One PostgreSQL for all tests of this run, and a database for each.

use super::daemon::{Daemon, program};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static SERVER: OnceLock<Daemon> = OnceLock::new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A server of a test's own, or the shared one.
pub(crate) fn start(settings: &[&str]) -> Daemon {
    let found: Vec<String> = (12..30).rev().map(|version| format!("/usr/lib/postgresql/{version}/bin")).collect();
    let folders: Vec<&str> = found.iter().map(String::as_str).collect();
    let prepare = |folder: &str| {
        let mut initdb = Command::new(program("initdb", &folders));
        // The collation is not that of bytes, so that ours is seen to matter.
        initdb.args(["-D", &format!("{folder}/data"), "-U", "keyward", "-A", "trust", "-E", "UTF8", "--no-sync"]);
        initdb.args(["--locale-provider=icu", "--icu-locale=en-US"]);
        vec![initdb]
    };
    Daemon::start("postgres", prepare, |folder, port| {
        let mut command = vec![program("postgres", &folders)];
        command.extend(["-D".to_owned(), format!("{folder}/data"), "-p".to_owned(), port.to_string()]);
        let socket = format!("unix_socket_directories={folder}");
        let ours = ["listen_addresses=127.0.0.1", "max_connections=400", "shared_buffers=32MB", &*socket];
        for setting in ours.iter().chain(settings) {
            command.extend(["-c".to_owned(), (*setting).to_owned()]);
        }
        command
    })
}

/// A connection to a database of a server, once it lets one in.
pub(crate) async fn connect(server: &Daemon, database: &str) -> PgConnection {
    let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(server.port);
    let options = options.username("keyward").database(database);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match options.connect().await {
            Ok(connection) => return connection,
            Err(error) => assert!(Instant::now() < deadline, "{error}\n{}", server.log()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The URL of a new and empty database on a server.
pub(crate) async fn database_on(server: &Daemon) -> String {
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connect(server, "postgres").await.execute(create).await.unwrap();
    format!("postgres://keyward@127.0.0.1:{}/{name}", server.port)
}

/// The URL of a new and empty database on the server that all tests share.
pub(crate) async fn database() -> String {
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(|| start(&[]))).await.unwrap();
    database_on(server).await
}
