//! How much keys are used: no part of the ledger, without revision, event or etag. It is written by a connection of its
//! own, in flushes that are numbered for each process that counts. The number of the last one is in the same transaction:
//! one whose COMMIT was not answered is tried again under its number, and found if it was there.

use super::entity::{api_key_usage, api_key_use, usage_flush};
use super::failure::sort;
use super::many::upsert;
use super::open::{Engine, Purpose, Store};
use crate::domain::clock::Time;
use crate::domain::name::{KeyId, TenantId};
use crate::domain::usage::{Count, Span, Tallies, kept_from};
use crate::error::Result;
use sea_orm::ActiveValue::Set;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};

/// How many rows of old hours are deleted by one statement.
const PRUNE_STRIDE: usize = 1000;

/// Where one process writes what it has counted.
#[derive(Debug)]
pub struct UsageLog {
    db: DatabaseConnection,
    engine: Engine,
    /// Random for each process.
    writer: String,
}

impl Store {
    /// Where what was counted is written, under a name of this process's own.
    pub async fn usage_log(&self) -> Result<UsageLog> {
        let engine = self.engine();
        // SQLite has one writer, and waiting for it there is fair and bounded.
        let db = if engine == Engine::Sqlite { self.writer.clone() } else { self.connect(Purpose::Usage).await? };
        Ok(UsageLog { db, engine, writer: uuid::Uuid::new_v4().to_string() })
    }

    /// How often a key was checked in each hour of a span, oldest first; hours in which it was not are left out.
    pub async fn key_usage(&self, tenant: &TenantId, key: &KeyId, span: Span) -> Result<Vec<(Time, Count)>> {
        let rows = api_key_usage::Entity::find()
            .filter(api_key_usage::Column::TenantId.eq(tenant.as_str()))
            .filter(api_key_usage::Column::KeyId.eq(key.as_str()))
            .filter(api_key_usage::Column::StartTime.gte(span.start.micros()))
            .filter(api_key_usage::Column::StartTime.lt(span.end.micros()))
            .order_by_asc(api_key_usage::Column::StartTime)
            .all(&self.reader)
            .await
            .map_err(sort)?;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let hour = |row: api_key_usage::Model| {
            let of_hour = Count { allowed: count(row.allowed_count), denied: count(row.denied_count) };
            (Time::from_micros(row.start_time), of_hour)
        };
        Ok(rows.into_iter().map(hour).collect())
    }
}

impl UsageLog {
    /// Writes flush `number` of this process, the first of which is 1, unless it is there already: tried again until it
    /// succeeds, it counts once. None is to be begun before the one before it has succeeded.
    pub async fn write(&self, number: i64, tallies: &Tallies, now: Time) -> Result<()> {
        let transaction = self.begin().await?;
        // A transaction that was given up, and that the database has not ended yet, is waited for here, or at its rows.
        let flush = usage_flush::Entity::find_by_id(self.writer.as_str()).lock_exclusive().one(&transaction).await;
        let last = flush.map_err(sort)?.map(|flush| flush.number);
        if last.is_some_and(|last| last >= number) {
            return transaction.rollback().await.map_err(sort);
        }
        self.add(tallies, &transaction).await?;
        let flush = usage_flush::ActiveModel {
            writer: Set(self.writer.clone()),
            number: Set(number),
            flush_time: Set(now.micros()),
        };
        // Not written over one that came in between, which makes this fail, and found the next time.
        let written = if last.is_some() {
            usage_flush::Entity::update(flush).exec(&transaction).await.map(drop)
        } else {
            usage_flush::Entity::insert(flush).exec_without_returning(&transaction).await.map(drop)
        };
        written.map_err(sort)?;
        transaction.commit().await.map_err(sort)
    }

    /// Adds to what is there; a later time is never overwritten.
    async fn add(&self, tallies: &Tallies, transaction: &DatabaseTransaction) -> Result<()> {
        let number = |count: u64| Set(i64::try_from(count).unwrap_or(i64::MAX));
        let counts = tallies.counts.iter().map(|((tenant, key, hour), count)| api_key_usage::ActiveModel {
            tenant_id: Set(tenant.as_str().to_owned()),
            key_id: Set(key.as_str().to_owned()),
            start_time: Set(hour.start().micros()),
            allowed_count: number(count.allowed),
            denied_count: number(count.denied),
        });
        let times = tallies.last_auth_times.iter().map(|((tenant, key), time)| api_key_use::ActiveModel {
            tenant_id: Set(tenant.as_str().to_owned()),
            key_id: Set(key.as_str().to_owned()),
            last_auth_time: Set(time.micros()),
        });
        let (sum, later) = match self.engine {
            Engine::Sqlite | Engine::Postgres => (
                " ON CONFLICT (tenant_id, key_id, start_time) DO UPDATE SET \
                 allowed_count = api_key_usage.allowed_count + excluded.allowed_count, \
                 denied_count = api_key_usage.denied_count + excluded.denied_count",
                " ON CONFLICT (tenant_id, key_id) DO UPDATE SET last_auth_time = excluded.last_auth_time \
                 WHERE excluded.last_auth_time > api_key_use.last_auth_time",
            ),
            Engine::MySql => (
                " ON DUPLICATE KEY UPDATE allowed_count = allowed_count + VALUES(allowed_count), \
                 denied_count = denied_count + VALUES(denied_count)",
                " ON DUPLICATE KEY UPDATE last_auth_time = GREATEST(last_auth_time, VALUES(last_auth_time))",
            ),
        };
        upsert(counts.collect(), sum, transaction).await?;
        upsert(times.collect(), later, transaction).await
    }

    /// Deletes some of the counts of hours that are not kept any more, and what is left of processes that died as long ago;
    /// whether there may be more.
    pub async fn prune(&self, now: Time) -> Result<bool> {
        let before = kept_from(now).micros();
        let some = |value| {
            format!(
                "DELETE FROM api_key_usage WHERE (tenant_id, key_id, start_time) IN (SELECT tenant_id, key_id, start_time \
                 FROM api_key_usage WHERE start_time < {value} LIMIT {PRUNE_STRIDE})"
            )
        };
        let sql = match self.engine {
            Engine::Sqlite => some("?"),
            Engine::Postgres => some("$1"),
            Engine::MySql => format!("DELETE FROM api_key_usage WHERE start_time < ? LIMIT {PRUNE_STRIDE}"),
        };
        let backend = self.db.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, [before.into()]);
        let deleted = self.db.execute_raw(statement).await.map_err(sort)?.rows_affected();
        let dead = usage_flush::Entity::delete_many().filter(usage_flush::Column::FlushTime.lt(before));
        dead.exec(&self.db).await.map_err(sort)?;
        Ok(deleted >= PRUNE_STRIDE as u64)
    }

    /// Ends it: once everything was written, the number of the last flush is needed no longer.
    pub async fn close(self) -> Result<()> {
        usage_flush::Entity::delete_by_id(self.writer).exec(&self.db).await.map_err(sort)?;
        if self.engine == Engine::Sqlite { Ok(()) } else { self.db.close().await.map_err(sort) }
    }

    async fn begin(&self) -> Result<DatabaseTransaction> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.db.begin_with_options(options).await.map_err(sort)
    }
}
