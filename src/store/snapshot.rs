//! Everything there is at one revision, a page at a time: what is read is put away before much more is read, so that
//! loading takes little more memory than what is loaded. One task reads, a thread makes sense of what was read, and the
//! caller puts it away, each while the others go on.

use super::entity::{
    access_token, api_key, api_key_secret, application, application_secret, tenant, tenant_user, user_session,
};
use super::failure::sort;
use super::log::{Head, head};
use super::open::Store;
use super::rows;
use crate::domain::change::Change;
use crate::error::{Error, Result};
use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, ExprTrait, FromQueryResult, QueryFilter,
    QueryOrder, QueryResult, QuerySelect, QueryTrait, Select,
};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

/// How many rows are read at a time.
const STRIDE: u64 = 4000;

/// How many pages wait for each step.
const AHEAD: usize = 2;

/// Where a page ended: a tenant and an id in it.
type Place = (String, String);

/// Rows that were read, and how to make sense of them.
type Page = Box<dyn FnOnce() -> Result<Vec<Change>> + Send>;

impl Store {
    /// Reads all rows in one read transaction and hands them on as changes, what others refer to first. Answers with the
    /// point in the ledger to which they belong. Whatever becomes of the caller, nothing is handed on behind its back.
    pub async fn snapshot(&self, mut put: impl FnMut(&Head, Vec<Change>)) -> Result<Head> {
        let transaction = self.read_at_once().await?;
        let head = head(&transaction).await?;
        let mut pages = read_pages(transaction);
        while let Some(changes) = pages.next().await? {
            put(&head, changes);
        }
        Ok(head)
    }
}

/// Reads all rows of what `transaction` sees.
pub(super) fn read_pages(transaction: DatabaseTransaction) -> Made {
    let (pages, read) = channel(AHEAD);
    let (changes, made) = channel(AHEAD);
    let reading = tokio::spawn(read_all(transaction, Pages(pages)));
    let making = tokio::task::spawn_blocking(move || make_all(read, &changes));
    Made { made, ended: Some((reading, making)) }
}

/// What is done beside, and how it ended.
type Beside = JoinHandle<Result<()>>;

/// Pages of rows as what they stand for, as they are read.
pub(super) struct Made {
    made: Receiver<Vec<Change>>,
    /// Who reads and who makes, until both were waited for.
    ended: Option<(Beside, Beside)>,
}

impl Made {
    /// The next page; none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Change>>> {
        if let Some(changes) = self.made.recv().await {
            return Ok(Some(changes));
        }
        if let Some((reading, making)) = self.ended.take() {
            making.await.map_err(Error::internal)??;
            reading.await.map_err(Error::internal)??;
        }
        Ok(None)
    }
}

/// Makes sense of page after page.
fn make_all(mut pages: Receiver<Page>, changes: &Sender<Vec<Change>>) -> Result<()> {
    while let Some(page) = pages.blocking_recv() {
        if changes.blocking_send(page()?).is_err() {
            break;
        }
    }
    Ok(())
}

/// Where what was read goes.
struct Pages(Sender<Page>);

impl Pages {
    async fn push(&self, page: impl FnOnce() -> Result<Vec<Change>> + Send + 'static) -> Result<()> {
        // Whoever stops to listen knows why.
        self.0.send(Box::new(page)).await.map_err(|_| Error::internal("nobody wants the snapshot any more"))
    }
}

async fn read_all(transaction: DatabaseTransaction, pages: Pages) -> Result<()> {
    let root = super::read::root(&transaction).await?;
    let keys = super::signing::keys(&transaction).await?;
    pages.push(move || Ok(root.map(Change::Root).into_iter().collect())).await?;
    pages.push(move || Ok(keys.into_iter().map(Change::SigningKey).collect())).await?;
    read_tenants(&transaction, &pages).await?;
    {
        use tenant_user::{Column, Entity};
        let change = |row| rows::user(row).map(Change::User);
        read_things(&transaction, &pages, Entity::find(), (Column::TenantId, Column::Id), change).await?;
    }
    read_applications(&transaction, &pages).await?;
    read_keys(&transaction, &pages).await?;
    {
        use access_token::{Column, Entity};
        let change = |row| rows::access_token(row).map(|token| Change::Token(Box::new(token)));
        read_things(&transaction, &pages, Entity::find(), (Column::TenantId, Column::Id), change).await?;
    }
    {
        use user_session::{Column, Entity};
        let change = |row| rows::session(row).map(|session| Change::Session(Box::new(session)));
        read_things(&transaction, &pages, Entity::find(), (Column::TenantId, Column::Id), change).await?;
    }
    transaction.commit().await.map_err(sort)
}

/// What comes after `place` in the order of two columns. SQLite and PostgreSQL look up two columns compared as one in an
/// index, and would read the whole table for the same written with `OR`; MySQL and MariaDB the other way about.
fn after(backend: DbBackend, (first, second): (impl ColumnTrait, impl ColumnTrait), place: &Place) -> SimpleExpr {
    match backend {
        DbBackend::MySql => {
            let further = second.gt(place.1.as_str());
            first.gt(place.0.as_str()).or(first.eq(place.0.as_str()).and(further))
        }
        _ => pair((first, second)).gt(pair_of(place)),
    }
}

/// What comes no later than `place`.
fn up_to(backend: DbBackend, (first, second): (impl ColumnTrait, impl ColumnTrait), place: &Place) -> SimpleExpr {
    match backend {
        DbBackend::MySql => {
            let as_far = second.lte(place.1.as_str());
            first.lt(place.0.as_str()).or(first.eq(place.0.as_str()).and(as_far))
        }
        _ => pair((first, second)).lte(pair_of(place)),
    }
}

/// Two columns as one value.
fn pair(columns: (impl ColumnTrait, impl ColumnTrait)) -> SimpleExpr {
    Expr::tuple([Expr::col(columns.0.as_column_ref()), Expr::col(columns.1.as_column_ref())])
}

fn pair_of(place: &Place) -> SimpleExpr {
    Expr::tuple([Expr::value(place.0.as_str()), Expr::value(place.1.as_str())])
}

/// The rows that `select` finds, not yet looked at.
async fn raw<E: EntityTrait>(transaction: &DatabaseTransaction, select: Select<E>) -> Result<Vec<QueryResult>> {
    transaction.query_all(select.as_query()).await.map_err(sort)
}

fn models<M: FromQueryResult>(rows: Vec<QueryResult>) -> Result<Vec<M>> {
    rows.iter().map(|row| M::from_query_result(row, "").map_err(sort)).collect()
}

/// A page of a table whose rows are named by two columns, after `last` in their order; and where it ends, unless there is
/// nothing on it.
async fn page<E: EntityTrait, C: ColumnTrait>(
    transaction: &DatabaseTransaction,
    select: Select<E>,
    columns: (C, C),
    last: &Place,
) -> Result<(Vec<QueryResult>, Option<Place>)> {
    let rows = select
        .filter(after(transaction.get_database_backend(), columns, last))
        .order_by_asc(columns.0)
        .order_by_asc(columns.1);
    let rows = raw(transaction, rows.limit(STRIDE)).await?;
    let text = |row: &QueryResult, column: C| row.try_get::<String>("", column.as_str()).map_err(sort);
    let place = |row: &QueryResult| -> Result<Place> { Ok((text(row, columns.0)?, text(row, columns.1)?)) };
    let end = rows.last().map(place).transpose()?;
    Ok((rows, end))
}

async fn read_tenants(transaction: &DatabaseTransaction, pages: &Pages) -> Result<()> {
    let mut last = String::new();
    loop {
        let page = tenant::Entity::find().filter(tenant::Column::Id.gt(last.as_str()));
        let page = page.order_by_asc(tenant::Column::Id).limit(STRIDE).all(transaction).await.map_err(sort)?;
        let Some(end) = page.last().map(|row| row.id.clone()) else { return Ok(()) };
        last = end;
        pages.push(|| page.into_iter().map(|row| rows::tenant(row).map(Change::Tenant)).collect()).await?;
    }
}

/// All rows of a table that stand for themselves.
async fn read_things<E, C, F>(
    transaction: &DatabaseTransaction,
    pages: &Pages,
    all: Select<E>,
    columns: (C, C),
    change: F,
) -> Result<()>
where
    E: EntityTrait,
    C: ColumnTrait,
    F: Fn(E::Model) -> Result<Change> + Copy + Send + 'static,
{
    let mut last = Place::default();
    while let (found, Some(end)) = page(transaction, all.clone(), columns, &last).await? {
        last = end;
        pages.push(move || models::<E::Model>(found)?.into_iter().map(change).collect()).await?;
    }
    Ok(())
}

/// All rows of a table with those of the secrets of each, which come in the same order.
macro_rules! read_holders {
    ($transaction:expr, $pages:expr, $holder:ident, $secret:ident, $holder_id:ident, $column:ident, $change:expr) => {{
        let columns = ($holder::Column::TenantId, $holder::Column::Id);
        let theirs = ($secret::Column::TenantId, $secret::Column::$column);
        let mut last = Place::default();
        while let (found, Some(end)) = page($transaction, $holder::Entity::find(), columns, &last).await? {
            let secrets = $secret::Entity::find()
                .filter(after($transaction.get_database_backend(), theirs, &last))
                .filter(up_to($transaction.get_database_backend(), theirs, &end))
                .order_by_asc(theirs.0)
                .order_by_asc(theirs.1);
            let secrets = raw($transaction, secrets).await?;
            last = end;
            let page = move || {
                let mut secrets = models::<$secret::Model>(secrets)?.into_iter().peekable();
                let change = |row: $holder::Model| {
                    let is_its =
                        |secret: &$secret::Model| secret.$holder_id == row.id && secret.tenant_id == row.tenant_id;
                    let own = std::iter::from_fn(|| secrets.next_if(is_its)).collect();
                    $change(row, own)
                };
                let changes = models::<$holder::Model>(found)?.into_iter().map(change).collect::<Result<_>>()?;
                // Neither is one left out nor read in another order than its holder.
                if secrets.peek().is_some() { Err(Error::internal("a secret belongs to nothing")) } else { Ok(changes) }
            };
            $pages.push(page).await?;
        }
    }};
}

async fn read_applications(transaction: &DatabaseTransaction, pages: &Pages) -> Result<()> {
    let change = |row, secrets| Ok(Change::Application(Box::new(rows::application(row, secrets)?)));
    read_holders!(transaction, pages, application, application_secret, application_id, ApplicationId, change);
    Ok(())
}

async fn read_keys(transaction: &DatabaseTransaction, pages: &Pages) -> Result<()> {
    let change = |row, secrets| Ok(Change::Key(Box::new(rows::key(row, secrets)?)));
    read_holders!(transaction, pages, api_key, api_key_secret, key_id, KeyId, change);
    Ok(())
}
