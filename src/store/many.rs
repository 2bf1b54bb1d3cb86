//! Writing many rows with each statement, and looking for many. A statement's text must not depend on how many there are, or
//! the database parses it anew each time: PostgreSQL takes rows of any number as one JSON text, the others powers of two.

use super::draft::{Committed, SHARD};
use super::entity::{api_key, ledger_head, tenant_count};
use super::failure::sort;
use crate::error::{Error, Result};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbBackend, EntityName,
    EntityTrait, IdenStatic, Iterable, QueryFilter, QueryTrait, Statement, Value,
};
use serde_json::{Map, Value as Json, json};

/// How many rows one statement inserts, or asks for: below what every engine takes as parameters.
pub(super) const CHUNK: usize = 512;

/// Inserts new rows.
pub(super) async fn insert<A: ActiveModelTrait + Send>(rows: Vec<A>, transaction: &DatabaseTransaction) -> Result<()> {
    upsert(rows, "", transaction).await
}

/// Inserts rows; `ending` says, in the engine's own words, what is done with those that are there.
pub(super) async fn upsert<A: ActiveModelTrait + Send>(
    mut rows: Vec<A>,
    ending: &str,
    transaction: &DatabaseTransaction,
) -> Result<()> {
    let is_json = transaction.get_database_backend() == DbBackend::Postgres;
    while !rows.is_empty() {
        let count = rows.len().min(CHUNK);
        let rest = rows.split_off(if is_json { count } else { 1_usize << count.ilog2() });
        if is_json {
            let mut batch = Batch::new(transaction);
            batch.add(&rows, ending)?;
            batch.write().await?;
        } else {
            let mut statement = A::Entity::insert_many(rows).build(transaction.get_database_backend());
            statement.sql.push_str(ending);
            transaction.execute_raw(statement).await.map_err(sort)?;
        }
        rows = rest;
    }
    Ok(())
}

/// Writes that belong together and do not touch each other's rows: on PostgreSQL one statement, whose parts have no order,
/// on the others a few for each.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    transaction: &'a DatabaseTransaction,
    is_json: bool,
    parts: Vec<String>,
    values: Vec<Value>,
}

impl<'a> Batch<'a> {
    /// Nothing yet.
    pub(super) fn new(transaction: &'a DatabaseTransaction) -> Self {
        let is_json = transaction.get_database_backend() == DbBackend::Postgres;
        Self { transaction, is_json, parts: Vec::new(), values: Vec::new() }
    }

    /// Inserts new rows.
    pub(super) async fn insert<A: ActiveModelTrait + Send>(&mut self, rows: Vec<A>) -> Result<()> {
        if self.is_json { self.add(&rows, "") } else { insert(rows, self.transaction).await }
    }

    /// Writes keys over the rows that they have.
    pub(super) async fn overwrite_keys(&mut self, rows: Vec<api_key::ActiveModel>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let key = [api_key::Column::TenantId, api_key::Column::Id];
        let others = || {
            let columns = api_key::Column::iter();
            columns.filter(|column| !matches!(column, api_key::Column::TenantId | api_key::Column::Id))
        };
        if self.is_json {
            let others: Vec<String> = others().map(|column| format!("{0} = excluded.{0}", column.as_str())).collect();
            let others = others.join(", ");
            return self.add(&rows, &format!(" ON CONFLICT (tenant_id, id) DO UPDATE SET {others}"));
        }
        if rows.len() == 1 || self.transaction.get_database_backend() == DbBackend::MySql {
            // MySQL cannot say which unique key is meant, and would overwrite another row.
            for row in rows {
                row.reset_all().update(self.transaction).await.map_err(sort)?;
            }
            return Ok(());
        }
        let conflict = OnConflict::columns(key).update_columns(others()).to_owned();
        let insert = api_key::Entity::insert_many(rows).on_conflict(conflict);
        insert.exec_without_returning(self.transaction).await.map_err(sort).map(drop)
    }

    /// Adds these numbers to the counts that are there.
    pub(super) async fn add_counts(&mut self, rows: Vec<tenant_count::ActiveModel>) -> Result<()> {
        let sum = match self.transaction.get_database_backend() {
            DbBackend::MySql => " ON DUPLICATE KEY UPDATE number = number + VALUES(number)",
            _ => {
                " ON CONFLICT (tenant_id, kind, end_time) DO UPDATE SET number = tenant_count.number + excluded.number"
            }
        };
        if self.is_json { self.add(&rows, sum) } else { upsert(rows, sum, self.transaction).await }
    }

    /// Moves the head of the ledger; whether what it leads to is counted.
    pub(super) async fn move_head(&mut self, head: Committed, is_counted: bool) -> Result<()> {
        if self.is_json {
            let (revision, chain, shard) =
                (self.place(head.revision.into()), self.place(head.chain.to_vec().into()), self.place(SHARD.into()));
            let counted = if is_counted { format!(", counted_rev = {revision}") } else { String::new() };
            self.parts.push(format!(
                "UPDATE ledger_head SET rev = {revision}, chain = {chain}{counted} WHERE shard = {shard}"
            ));
            return Ok(());
        }
        let counted_rev = if is_counted { Set(head.revision) } else { ActiveValue::NotSet };
        let (rev, chain) = (Set(head.revision), Set(head.chain.to_vec()));
        let row = ledger_head::ActiveModel { rev, counted_rev, chain, ..Default::default() };
        let moving = ledger_head::Entity::update_many().set(row).filter(ledger_head::Column::Shard.eq(SHARD));
        moving.exec(self.transaction).await.map_err(sort).map(drop)
    }

    /// Writes what is not written yet.
    pub(super) async fn write(self) -> Result<()> {
        let Some((last, parts)) = self.parts.split_last() else { return Ok(()) };
        let parts: Vec<String> =
            parts.iter().enumerate().map(|(number, part)| format!("part_{number} AS ({part})")).collect();
        let with = if parts.is_empty() { String::new() } else { format!("WITH {} ", parts.join(", ")) };
        let sql = format!("{with}{last}");
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, self.values);
        self.transaction.execute_raw(statement).await.map_err(sort).map(drop)
    }

    /// Where a value stands in the statement.
    fn place(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    /// Rows, all of which set the columns that the first one sets.
    fn add<A: ActiveModelTrait>(&mut self, rows: &[A], ending: &str) -> Result<()> {
        let Some(first) = rows.first() else { return Ok(()) };
        let columns: Vec<_> =
            <A::Entity as EntityTrait>::Column::iter().filter(|column| !first.is_not_set(*column)).collect();
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            let mut object = Map::new();
            for column in &columns {
                let value = match row.get(*column) {
                    ActiveValue::Set(value) | ActiveValue::Unchanged(value) => json(value)?,
                    ActiveValue::NotSet => return Err(Error::internal("rows that are written together are not alike")),
                };
                object.insert(column.as_str().to_owned(), value);
            }
            list.push(Json::Object(object));
        }
        let table = A::Entity::default().table_name();
        let names: Vec<&str> = columns.iter().map(IdenStatic::as_str).collect();
        let names = names.join(", ");
        let rows = self.place(Json::Array(list).to_string().into());
        self.parts.push(format!(
            "INSERT INTO {table} ({names}) SELECT {names} \
             FROM json_populate_recordset(NULL::{table}, CAST({rows} AS json)){ending}"
        ));
        Ok(())
    }
}

/// The rows that hold one of these pairs in two columns, by a look into their index for each. PostgreSQL is told to, since
/// it takes long to plan for many pairs joined by OR.
pub(super) async fn find<E: EntityTrait>(
    [first, second]: [E::Column; 2],
    pairs: impl Iterator<Item = (Value, Value)>,
    transaction: &DatabaseTransaction,
) -> Result<Vec<E::Model>> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        let (first, second) = (first.as_str(), second.as_str());
        let wanted: Result<Vec<Json>> =
            pairs.map(|(one, other)| Ok(json!({ first: json(one)?, second: json(other)? }))).collect();
        let table = E::default();
        let table = table.table_name();
        let sql = format!(
            "SELECT found.* FROM json_populate_recordset(NULL::{table}, CAST($1 AS json)) AS wanted CROSS JOIN LATERAL \
             (SELECT * FROM {table} WHERE {first} = wanted.{first} AND {second} = wanted.{second} OFFSET 0) AS found"
        );
        let wanted = Json::Array(wanted?).to_string();
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, [wanted.into()]);
        return E::find().from_raw_sql(statement).all(transaction).await.map_err(sort);
    }
    let any = padded(pairs)
        .into_iter()
        .fold(Condition::any(), |any, (one, other)| any.add(Condition::all().add(first.eq(one)).add(second.eq(other))));
    E::find().filter(any).all(transaction).await.map_err(sort)
}

/// Values to look for, the last of them as often as it takes to make a power of two: each length is another statement.
pub(super) fn padded<T: Clone>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    if let Some(last) = values.last().cloned() {
        values.resize(values.len().next_power_of_two(), last);
    }
    values
}

/// A value as PostgreSQL reads it from JSON.
fn json(value: Value) -> Result<Json> {
    match value {
        Value::Bool(value) => Ok(value.into()),
        Value::Int(value) => Ok(value.into()),
        Value::BigInt(value) => Ok(value.into()),
        Value::String(value) => Ok(value.into()),
        Value::Bytes(value) => Ok(value.map(|bytes| hex(&bytes)).into()),
        // Not named: it may hold what must not be logged.
        _ => Err(Error::internal("a column of a type that is not written many at a time")),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(DIGITS.get(usize::from(digit)).copied().map_or('0', char::from));
        }
    }
    text
}
