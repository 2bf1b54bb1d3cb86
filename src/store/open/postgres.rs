//! PostgreSQL. Settings travel as start-up options of each connection, so that they hold from its first statement on and
//! nothing has to be set again; whoever takes them away (PgBouncer with `ignore_startup_parameters`) is found out at start.

use super::{
    ACQUIRE_TIMEOUT, LOCK_TIMEOUT, PING_AFTER, Purpose, STATEMENT_TIMEOUT, bounded_connect, refuse_parameters,
    taken_back,
};
use crate::error::{Error, Result};
use crate::store::failure::cannot_connect;
use sea_orm::ConnectOptions;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, Row as _};
use std::time::Duration;

/// What a URL may say after its question mark.
const PARAMETERS: [&str; 14] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-mode",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Where a URL leads. Statements are not logged: they hold digests.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions> {
    refuse_parameters(url, &PARAMETERS)?;
    let options: PgConnectOptions = url.parse().map_err(|error| cannot_connect(&error))?;
    let options = if options.get_application_name().is_some() { options } else { options.application_name("keyward") };
    Ok(options.disable_statement_logging())
}

/// The options of a session for a purpose. READ COMMITTED, since under anything higher almost all mutations fail that meet
/// at the head; no notices, which would tell of each `ROLLBACK` that had nothing to do.
fn session(options: &PgConnectOptions, purpose: Purpose, lease: Duration) -> PgConnectOptions {
    let quarter = lease / 4;
    let millis = |span: Duration| span.as_millis().max(1).to_string();
    let options = options.clone().options([
        ("default_transaction_isolation", "read committed".to_owned()),
        ("client_min_messages", "error".to_owned()),
        ("lock_timeout", millis(LOCK_TIMEOUT)),
    ]);
    match purpose {
        Purpose::Writer | Purpose::Registry | Purpose::Usage => options.options([
            // In a small table one index is as good as another, and none better than reading all. A plan that was made then
            // must not be kept until the table is large.
            ("enable_seqscan", "off".to_owned()),
            ("plan_cache_mode", "force_custom_plan".to_owned()),
            // Where a small table is read whole all the same, that counts as so dear that it would be compiled each time.
            ("jit", "off".to_owned()),
            ("idle_in_transaction_session_timeout", millis(quarter)),
            ("statement_timeout", millis(STATEMENT_TIMEOUT)),
        ]),
        Purpose::Reader => options.options([
            ("plan_cache_mode", "force_custom_plan".to_owned()),
            ("idle_in_transaction_session_timeout", millis(STATEMENT_TIMEOUT)),
            ("statement_timeout", millis(STATEMENT_TIMEOUT)),
        ]),
        // It writes acknowledgements only, which a crash may lose: whoever waits for one then waits for the lease.
        Purpose::Follower | Purpose::Keeper => options.options([
            ("idle_in_transaction_session_timeout", millis(STATEMENT_TIMEOUT)),
            ("statement_timeout", millis(quarter)),
            ("synchronous_commit", "off".to_owned()),
        ]),
        Purpose::Migration => options,
    }
}

/// The pool for a purpose. Nothing is connected before it is asked.
pub(super) fn pool(options: &PgConnectOptions, purpose: Purpose, lease: Duration) -> ConnectOptions {
    let session = session(options, purpose, lease);
    let mut pool = ConnectOptions::new("postgres://localhost");
    pool.max_connections(purpose.connections())
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .test_before_acquire_if_idle_for(PING_AFTER)
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .connect_lazy(true)
        .map_sqlx_postgres_opts(move |_| session.clone())
        .map_sqlx_postgres_pool_opts(move |options| {
            // A `BEGIN` that was dropped in flight leaves a transaction open that nobody knows of.
            options.after_release(move |connection, _| {
                Box::pin(taken_back(sqlx::Executor::execute(connection, "ROLLBACK"), lease))
            })
        });
    pool
}

/// Connects once and looks whether the server keeps what it acknowledges. What is not refused and somebody should know of
/// is returned.
pub(super) async fn examine(options: &PgConnectOptions, lease: Duration) -> Result<Vec<String>> {
    let session = session(options, Purpose::Writer, lease);
    let mut connection = bounded_connect(session.connect()).await?;
    let judged = judge(&mut connection).await;
    let _gone_either_way = connection.close().await;
    judged
}

async fn judge(connection: &mut PgConnection) -> Result<Vec<String>> {
    let names = [
        "synchronous_commit",
        "fsync",
        "full_page_writes",
        "synchronous_standby_names",
        "default_transaction_isolation",
        "default_transaction_read_only",
        "idle_in_transaction_session_timeout",
        "server_encoding",
    ];
    let mut values = Vec::with_capacity(names.len());
    for name in names {
        // `true`: what takes its place may not know all of them.
        let row = sqlx::query("SELECT current_setting($1, true)").bind(name).fetch_one(&mut *connection).await;
        let value: Option<String> = row.map_err(|error| cannot_connect(&error))?.get(0);
        values.push((name, value.unwrap_or_default()));
    }
    let value = |name: &str| values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value.as_str());
    let refuse = |name: &str, rule: &str| {
        Err(Error::precondition(format!("the database's setting {name}"), format!("is {}: {rule}", value(name))))
    };
    let standby = sqlx::query("SELECT pg_is_in_recovery()").fetch_one(&mut *connection).await;
    if standby.is_ok_and(|row| row.get::<bool, _>(0)) {
        return Err(Error::precondition(
            "the database of --database-url",
            "is a standby (pg_is_in_recovery): name the primary, since a standby lags and takes no writes",
        ));
    }
    if value("synchronous_commit") == "off" {
        return refuse("synchronous_commit", "an acknowledged revocation could be lost; set it to on");
    }
    if value("fsync") == "off" {
        return refuse("fsync", "an acknowledged revocation could be lost; set it to on");
    }
    if value("default_transaction_read_only") == "on" {
        return refuse("default_transaction_read_only", "nothing could be revoked; set it to off");
    }
    if value("idle_in_transaction_session_timeout") == "0" || value("default_transaction_isolation") != "read committed"
    {
        return Err(Error::precondition(
            "the database's settings idle_in_transaction_session_timeout and default_transaction_isolation",
            "are not what the connection asked for: if a pooler ignores start-up options, give them to the role by \
             ALTER ROLE … SET, or connect without it",
        ));
    }
    if !["UTF8", ""].contains(&value("server_encoding")) {
        return refuse("server_encoding", "names could not be kept; make the database with ENCODING 'UTF8'");
    }
    let mut remarks = Vec::new();
    if value("synchronous_commit") == "local" && !value("synchronous_standby_names").is_empty() {
        remarks
            .push("synchronous_commit is local: a failover to a standby may lose acknowledged revocations".to_owned());
    }
    if value("full_page_writes") == "off" {
        remarks.push("full_page_writes is off: a crash of the database's machine may damage it".to_owned());
    }
    Ok(remarks)
}
