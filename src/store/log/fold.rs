//! Whether the rows are what the log says of them: each is the last change of its thing, and each last change has its row.
//!
//! What cannot be told: of a row that no kept change is about, whether it was edited, since the log was pruned before it;
//! and what is in rows that are no part of the ledger, such as hashes of passwords, sealed keys, mail and counts.

use super::audit::Audit;
use super::fault::Fault;
use crate::clock::Clock;
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::key::Secret;
use crate::error::{Error, Result};
use crate::store::draft::SHARD;
use crate::store::entity::{
    access_token, api_key, application, ledger_change, ledger_head, tenant, tenant_user, user_session,
};
use crate::store::failure::sort;
use crate::store::snapshot::read_pages;
use crate::store::{read, signing};
use sea_orm::{
    AccessMode, ColumnTrait, DbBackend, EntityTrait as _, ExprTrait as _, IsolationLevel, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, TransactionTrait as _,
};
use std::collections::{BTreeSet, HashMap};

/// How many rows and changes are compared at a time.
const STRIDE: usize = 500;

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// How many rows there are.
    pub rows: u64,
    /// Of how many of them the log has the last change no more.
    pub untold: u64,
}

/// Which thing: a word for its kind, its tenant and its id.
type Identity = (&'static str, String, String);

impl Audit {
    /// Compares every row with what the log says of it, and tells each fault; `clock` says what may have been swept.
    ///
    /// The rows are read in one transaction, as a backup reads them: while it lasts, PostgreSQL keeps what is replaced.
    pub async fn compare_rows(&self, clock: &Clock, tell: &mut (dyn FnMut(Fault) + Send)) -> Result<Compared> {
        let transaction = match self.db.get_database_backend() {
            DbBackend::Sqlite => self.db.begin().await,
            _ => {
                let (isolation, access) = (IsolationLevel::RepeatableRead, AccessMode::ReadOnly);
                self.db.begin_with_config(Some(isolation), Some(access)).await
            }
        };
        let transaction = transaction.map_err(sort)?;
        let head = ledger_head::Entity::find_by_id(SHARD).one(&transaction).await.map_err(sort)?;
        let head = head.ok_or_else(|| Error::precondition("the database", "has no ledger: its head is missing"))?;
        let mut compared = Compared::default();
        let mut pages = read_pages(transaction);
        while let Some(page) = pages.next().await? {
            for rows in page.chunks(STRIDE) {
                compared.untold = compared.untold.saturating_add(self.compare(rows, clock.now(), tell).await?);
                compared.rows = compared.rows.saturating_add(rows.len() as u64);
            }
        }
        self.missing(head.rev, clock, tell).await?;
        Ok(compared)
    }

    async fn floor(&self) -> Result<i64> {
        let head = ledger_head::Entity::find_by_id(SHARD).one(&self.db).await.map_err(sort)?;
        head.map(|head| head.floor_rev).ok_or_else(|| Error::internal("the ledger has no head"))
    }

    /// Compares rows, which come as what they stand for; how many of them the log has nothing to say of.
    async fn compare(&self, rows: &[Change], now: Time, tell: &mut (dyn FnMut(Fault) + Send)) -> Result<u64> {
        let revisions: BTreeSet<i64> = rows.iter().map(Change::revision).collect();
        let names: Vec<String> = rows.iter().map(Change::entity).collect();
        let logged = ledger_change::Entity::find()
            .filter(ledger_change::Column::Shard.eq(SHARD))
            .filter(ledger_change::Column::Rev.is_in(revisions))
            .filter(ledger_change::Column::Entity.is_in(names))
            .order_by_asc(ledger_change::Column::Seq)
            .all(&self.db)
            .await
            .map_err(sort)?;
        // Read afterwards: what was pruned meanwhile is not missed.
        let floor = self.floor().await?;
        let mut by_place: HashMap<(i64, String), String> = HashMap::new();
        for change in logged {
            by_place.insert((change.rev, change.entity), change.payload);
        }
        let mut untold = 0_u64;
        for row in rows {
            let (revision, name) = (row.revision(), row.entity());
            match by_place.get(&(revision, name.clone())) {
                Some(payload) if serde_json::from_str(payload).is_ok_and(|logged| says(&logged, row, now)) => {}
                Some(_) => tell(Fault::Row { name, revision }),
                None if revision <= floor => untold = untold.saturating_add(1),
                None => tell(Fault::RowUnlogged { name, revision }),
            }
        }
        Ok(untold)
    }

    /// Looks for things that the log has, up to `last`, and that have no row, or one of an earlier revision.
    async fn missing(&self, last: i64, clock: &Clock, tell: &mut (dyn FnMut(Fault) + Send)) -> Result<()> {
        let mut place = (self.floor().await?, i32::MAX);
        loop {
            use ledger_change::Column;
            let after = Column::Rev.gt(place.0).or(Column::Rev.eq(place.0).and(Column::Seq.gt(place.1)));
            let page = ledger_change::Entity::find()
                .filter(Column::Shard.eq(SHARD))
                .filter(Column::Rev.lte(last))
                .filter(after)
                .order_by_asc(Column::Rev)
                .order_by_asc(Column::Seq)
                .limit(STRIDE as u64)
                .all(&self.db)
                .await
                .map_err(sort)?;
            let Some(end) = page.last() else { return Ok(()) };
            place = (end.rev, end.seq);
            // Of the same thing only the last on the page. What cannot be read was told of where the log was.
            let mut newest: HashMap<Identity, (i64, Change)> = HashMap::new();
            for row in page {
                if let Ok(change) = serde_json::from_str::<Change>(&row.payload) {
                    let (kind, tenant, id) = change.identity();
                    newest.insert((kind, tenant.to_owned(), id.to_owned()), (row.rev, change));
                }
            }
            let rows = self.revisions(&newest).await?;
            // Afterwards: what was swept meanwhile is known to be.
            let now = clock.now();
            for (identity, (revision, change)) in newest {
                match rows.get(&identity) {
                    Some(row) if *row >= revision => {}
                    Some(row) => tell(Fault::RowBehind { name: change.entity(), row: *row, logged: revision }),
                    None if is_swept(&change, now) => {}
                    None => tell(Fault::RowGone { name: change.entity(), revision }),
                }
            }
        }
    }

    /// The revisions that the rows of these things have.
    async fn revisions(&self, things: &HashMap<Identity, (i64, Change)>) -> Result<HashMap<Identity, i64>> {
        let mut found = HashMap::new();
        macro_rules! look {
            ($kind:literal, $entity:ident) => {{
                use $entity::Column;
                let of_kind = || things.keys().filter(|(kind, ..)| *kind == $kind);
                if of_kind().next().is_some() {
                    let select = $entity::Entity::find().select_only();
                    let select = select.columns([Column::TenantId, Column::Id, Column::Revision]);
                    let tenants: BTreeSet<&str> = of_kind().map(|(_, tenant, _)| tenant.as_str()).collect();
                    let ids: BTreeSet<&str> = of_kind().map(|(_, _, id)| id.as_str()).collect();
                    let select = select.filter(Column::TenantId.is_in(tenants)).filter(Column::Id.is_in(ids));
                    let rows: Vec<(String, String, i64)> = select.into_tuple().all(&self.db).await.map_err(sort)?;
                    found.extend(rows.into_iter().map(|(tenant, id, revision)| (($kind, tenant, id), revision)));
                }
            }};
        }
        look!("user", tenant_user);
        look!("key", api_key);
        look!("application", application);
        look!("token", access_token);
        look!("session", user_session);
        let tenants: BTreeSet<&str> =
            things.keys().filter(|(kind, ..)| *kind == "tenant").map(|(_, tenant, _)| tenant.as_str()).collect();
        let select = tenant::Entity::find().select_only().columns([tenant::Column::Id, tenant::Column::Revision]);
        let select = select.filter(tenant::Column::Id.is_in(tenants));
        let rows: Vec<(String, i64)> = select.into_tuple().all(&self.db).await.map_err(sort)?;
        found.extend(rows.into_iter().map(|(id, revision)| (("tenant", id, String::new()), revision)));
        // There are few of these.
        let root = read::root(&self.db).await?.map(Change::Root);
        let signing = signing::keys(&self.db).await?.into_iter().map(Change::SigningKey);
        found.extend(root.into_iter().chain(signing).map(|change| {
            let (kind, tenant, id) = change.identity();
            ((kind, tenant.to_owned(), id.to_owned()), change.revision())
        }));
        Ok(found)
    }
}

/// Whether a row is what the log says of it.
fn says(logged: &Change, row: &Change, now: Time) -> bool {
    let (Change::Root(logged), Change::Root(row)) = (logged, row) else { return logged == row };
    // Older servers left the rows of root's secrets that it had forgotten.
    let is_listed = |secret: &&Secret| logged.secrets.iter().any(|listed| listed.digest == secret.digest);
    let has_retired = |secret: &&Secret| secret.retirement.is_some_and(|retirement| retirement.has_come(now));
    let secrets = row.secrets.iter().filter(|secret| is_listed(secret) || !has_retired(secret));
    logged.revision == row.revision && secrets.eq(&logged.secrets)
}

/// Whether its row may have been deleted since nobody knows it any more.
fn is_swept(change: &Change, now: Time) -> bool {
    match change {
        Change::Token(token) => token.is_forgotten(now),
        Change::Session(session) => session.is_forgotten(now),
        Change::Root(_)
        | Change::Tenant(_)
        | Change::User(_)
        | Change::Key(_)
        | Change::Application(_)
        | Change::SigningKey(_) => false,
    }
}
