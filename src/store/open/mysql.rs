//! MySQL and MariaDB. Settings are set once by each new connection: neither has start-up options. A proxy that shares
//! sessions among transactions (ProxySQL with multiplexing) is not supported.

use super::{
    ACQUIRE_TIMEOUT, LOCK_TIMEOUT, PING_AFTER, Purpose, STATEMENT_TIMEOUT, bounded_connect, refuse_parameters,
    taken_back,
};
use crate::error::{Error, Result};
use crate::store::failure::cannot_connect;
use sea_orm::ConnectOptions;
use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _};
use std::collections::HashMap;
use std::time::Duration;

/// What a URL may say after its question mark.
const PARAMETERS: [&str; 9] =
    ["socket", "ssl-ca", "ssl-cert", "ssl-key", "ssl-mode", "sslcert", "sslkey", "sslmode", "statement-cache-capacity"];

/// Which of the two it is: they name their settings, and their collations, differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Flavour {
    MySql,
    MariaDb,
}

impl Flavour {
    /// A collation that tells `Foo` from `foo` and counts trailing spaces. There is none that both have.
    pub(in crate::store) fn collation(self) -> &'static str {
        match self {
            Self::MySql => "utf8mb4_0900_bin",
            Self::MariaDb => "utf8mb4_nopad_bin",
        }
    }
}

/// Where a URL leads. Statements are not logged: they hold digests.
pub(super) fn parse(url: &str) -> Result<MySqlConnectOptions> {
    refuse_parameters(url, &PARAMETERS)?;
    let options: MySqlConnectOptions = url.parse().map_err(|error| cannot_connect(&error))?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(Error::invalid("--database-url", "must name a database, as in mysql://user@host/keyward"));
    }
    Ok(options.timezone(None).disable_statement_logging())
}

/// What each new connection for a purpose is told. READ COMMITTED, since otherwise what is read under the head lock would
/// be older than the lock; strict, since otherwise what is too long would be cut off in silence.
fn session(flavour: Flavour, purpose: Purpose, lease: Duration) -> String {
    let quarter = lease / 4;
    let lock = LOCK_TIMEOUT.as_secs().max(1);
    let idle = quarter.as_secs().max(1);
    let statement = match purpose {
        Purpose::Writer | Purpose::Registry | Purpose::Usage | Purpose::Reader => STATEMENT_TIMEOUT,
        Purpose::Follower | Purpose::Keeper => quarter,
        Purpose::Migration => Duration::ZERO,
    };
    let is_bounded = matches!(purpose, Purpose::Writer | Purpose::Registry | Purpose::Usage);
    let mut settings = vec![
        "sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')".to_owned(),
        format!("innodb_lock_wait_timeout = {lock}"),
        format!("lock_wait_timeout = {lock}"),
    ];
    match flavour {
        Flavour::MariaDb => {
            settings.push(format!("max_statement_time = {}", statement.as_secs_f64()));
            // On a Galera node, whatever was committed anywhere is read here.
            settings.push("wsrep_sync_wait = 1".to_owned());
            if is_bounded {
                settings.push(format!("idle_transaction_timeout = {idle}"));
            }
        }
        Flavour::MySql => {
            settings.push(format!("max_execution_time = {}", statement.as_millis()));
            if is_bounded {
                settings.push(format!("wait_timeout = {idle}"));
            }
        }
    }
    format!("SET SESSION {}", settings.join(", SESSION "))
}

/// The pool for a purpose. Nothing is connected before it is asked.
pub(super) fn pool(
    options: &MySqlConnectOptions,
    flavour: Flavour,
    purpose: Purpose,
    lease: Duration,
) -> ConnectOptions {
    let options = options.clone();
    let settings = session(flavour, purpose, lease);
    let mut pool = ConnectOptions::new("mysql://localhost");
    pool.max_connections(purpose.connections())
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .test_before_acquire_if_idle_for(PING_AFTER)
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .connect_lazy(true)
        .map_sqlx_mysql_opts(move |_| options.clone())
        .map_sqlx_mysql_pool_opts(move |pool| {
            let settings = settings.clone();
            pool.after_connect(move |connection, _| {
                let settings = settings.clone();
                Box::pin(async move {
                    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                    connection.execute(AssertSqlSafe(settings)).await?;
                    Ok(())
                })
            })
            // A `BEGIN` that was dropped in flight leaves a transaction open that nobody knows of.
            .after_release(move |connection, _| Box::pin(taken_back(connection.execute("ROLLBACK"), lease)))
        });
    pool
}

/// Connects once and looks which server it is, and whether it keeps what it acknowledges. What is not refused and somebody
/// should know of is returned.
pub(super) async fn examine(options: &MySqlConnectOptions) -> Result<(Flavour, Vec<String>)> {
    let mut connection = bounded_connect(options.connect()).await?;
    let judged = judge(&mut connection).await;
    let _gone_either_way = connection.close().await;
    judged
}

async fn judge(connection: &mut MySqlConnection) -> Result<(Flavour, Vec<String>)> {
    let rows = sqlx::query(
        "SHOW VARIABLES WHERE Variable_name IN ('version', 'innodb_flush_log_at_trx_commit', 'sync_binlog', 'log_bin', \
         'binlog_format', 'read_only', 'super_read_only', 'tx_read_only', 'transaction_read_only', 'wsrep_on')",
    );
    let rows = rows.fetch_all(&mut *connection).await.map_err(|error| cannot_connect(&error))?;
    let settings: HashMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let value = |name: &str| settings.get(name).map_or("", String::as_str);
    let refuse = |name: &str, rule: &str| {
        Err(Error::precondition(format!("the database's setting {name}"), format!("is {}: {rule}", value(name))))
    };
    let flavour = if value("version").contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
    if value("innodb_flush_log_at_trx_commit") != "1" {
        return refuse("innodb_flush_log_at_trx_commit", "an acknowledged revocation could be lost; set it to 1");
    }
    for name in ["read_only", "super_read_only", "tx_read_only", "transaction_read_only"] {
        if value(name) == "ON" {
            return refuse(name, "nothing could be revoked; name the primary, or set it to OFF");
        }
    }
    let mut remarks = Vec::new();
    if value("log_bin") == "ON" {
        if value("binlog_format") == "STATEMENT" {
            return refuse("binlog_format", "READ COMMITTED needs another; set it to ROW");
        }
        if value("sync_binlog") != "1" {
            remarks.push("sync_binlog is not 1: a crash or a failover may lose acknowledged revocations".to_owned());
        }
    }
    if value("wsrep_on") == "ON" {
        let galera =
            "Galera: mutations that meet on several nodes fail and are to be retried; let all of keyward use one node";
        remarks.push(galera.to_owned());
    }
    // Names are compared byte for byte, and spaces at their end count: by the collation that the tables are made with.
    let collation = flavour.collation();
    let question = format!("SELECT _utf8mb4'a' COLLATE {collation} IN (_utf8mb4'A', _utf8mb4'a ')");
    let same = sqlx::query(AssertSqlSafe(question)).fetch_one(&mut *connection).await;
    match same.map(|row| row.get::<i64, _>(0)) {
        Ok(0) => Ok((flavour, remarks)),
        Ok(_) | Err(_) => Err(Error::precondition(
            "the database",
            format!(
                "does not compare names exactly by the collation {collation}: MySQL 8.0.17 or MariaDB 10.6 is needed"
            ),
        )),
    }
}
