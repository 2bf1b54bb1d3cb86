//! One MariaDB for all tests of this run, and a database for each.

use super::daemon::{Daemon, program};
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static SERVER: OnceLock<Daemon> = OnceLock::new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A server of a test's own, or the shared one.
pub(crate) fn start(settings: &[&str]) -> Daemon {
    let prepare = |folder: &str| {
        let mut install = Command::new(program("mariadb-install-db", &["/usr/bin"]));
        install.args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ]);
        install.arg(format!("--datadir={folder}/data"));
        vec![install]
    };
    Daemon::start("mysql", prepare, |folder, port| {
        let mut command = vec![program("mariadbd", &["/usr/sbin"]), "--no-defaults".to_owned()];
        command.extend([format!("--datadir={folder}/data"), format!("--socket={folder}/socket")]);
        command.extend([format!("--port={port}"), "--bind-address=127.0.0.1".to_owned()]);
        command.extend([format!("--pid-file={folder}/pid"), "--skip-name-resolve".to_owned()]);
        command.extend(["--max-connections=400".to_owned(), "--innodb-buffer-pool-size=64M".to_owned()]);
        // Both as a careless hand might leave them: ours is seen to matter.
        command.push("--character-set-server=utf8mb4".to_owned());
        command.extend(["--collation-server=utf8mb4_general_ci".to_owned(), "--sql-mode=".to_owned()]);
        command.extend(settings.iter().map(|setting| format!("--{setting}")));
        command
    })
}

/// A connection to a database of a server, once it lets one in.
pub(crate) async fn connect(server: &Daemon, database: &str) -> MySqlConnection {
    let options = MySqlConnectOptions::new().host("127.0.0.1").port(server.port).username("root").database(database);
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
    connect(server, "mysql").await.execute(create).await.unwrap();
    format!("mysql://root@127.0.0.1:{}/{name}", server.port)
}

/// The URL of a new and empty database on the server that all tests share.
pub(crate) async fn database() -> String {
    let server = tokio::task::spawn_blocking(|| SERVER.get_or_init(|| start(&[]))).await.unwrap();
    database_on(server).await
}
