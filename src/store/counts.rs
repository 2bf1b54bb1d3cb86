//! How many things each tenant has: kept in the transaction that changes them, so that a cap is decided on what cannot
//! change any more, and by one look, however many there are. The head of the ledger says up to which revision they are
//! counted. What a binary that does not count has written is caught up with from the log when the next group opens, if it is
//! little; if it is much, all is counted anew beside the groups, when a process starts or from time to time, and until then
//! no cap is in the way.

use super::draft::{Draft, SHARD};
use super::entity::{audit_event, ledger_change, ledger_head, tenant_count};
use super::failure::sort;
use super::group::Work;
use super::open::{Engine, Store};
use crate::domain::cap::{Counted, Slot, is_current, moves};
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::name::TenantId;
use crate::error::{Error, Result};
use sea_orm::ActiveValue::Set;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use std::collections::{BTreeMap, HashMap};

/// Counts anew all that the rows hold; the same for every engine. In one transaction, which holds the head from the first
/// statement on: nobody writes meanwhile.
const RECOUNT: [&str; 5] = [
    "UPDATE ledger_head SET counted_rev = rev",
    "DELETE FROM tenant_count",
    "INSERT INTO tenant_count (tenant_id, kind, end_time, number) \
     SELECT tenant_id, 'keys', 0, COUNT(*) FROM api_key \
     WHERE kind = 'regular' AND revoke_time IS NULL AND delete_time IS NULL GROUP BY tenant_id",
    "INSERT INTO tenant_count (tenant_id, kind, end_time, number) \
     SELECT tenant_id, 'applications', 0, COUNT(*) FROM application WHERE delete_time IS NULL GROUP BY tenant_id",
    // Slots of ten minutes.
    "INSERT INTO tenant_count (tenant_id, kind, end_time, number) \
     SELECT tenant_id, 'tokens', end_time, COUNT(*) FROM \
     (SELECT tenant_id, expire_time - expire_time % 600000000 + 600000000 AS end_time FROM access_token \
     WHERE digest IS NOT NULL AND revoke_time IS NULL) AS counted GROUP BY tenant_id, end_time",
];

/// So many revisions and changes are caught up with by a group, which must not take long.
const MAX_GAP: i64 = 4096;
const MAX_CHANGES: u64 = 10_000;

/// What a group knows of the counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// What was there before the group.
    before: HashMap<(TenantId, Counted), i64>,
    /// By how much the group moves it.
    moved: BTreeMap<Slot, i64>,
    /// Too much is not counted: neither is what the group moves.
    is_behind: bool,
}

impl Counts {
    /// Takes in what a mutation moves, once nothing of it can fail any more.
    pub(super) fn add(&mut self, moves: BTreeMap<Slot, i64>) {
        for (slot, by) in moves {
            let moved = self.moved.entry(slot).or_default();
            *moved = moved.saturating_add(by);
        }
    }

    fn moved(&self, tenant: &TenantId, counted: Counted, now: Time) -> i64 {
        let first = (tenant.clone(), counted, i64::MIN);
        let last = (tenant.clone(), counted, i64::MAX);
        let slots = self.moved.range(first..=last);
        slots.filter(|((_, _, end), _)| is_current(*end, now)).map(|(_, by)| by).sum()
    }

    /// Whether what the group writes is counted.
    pub(super) fn is_kept(&self) -> bool {
        !self.is_behind
    }

    /// What is to be added to the rows.
    pub(super) fn rows(&self) -> Vec<tenant_count::ActiveModel> {
        let moved = self.moved.iter().filter(|(_, by)| self.is_kept() && **by != 0);
        let row = |((tenant, counted, end_time), by): (&Slot, &i64)| tenant_count::ActiveModel {
            tenant_id: Set(tenant.as_str().to_owned()),
            kind: Set(counted.as_str().to_owned()),
            end_time: Set(*end_time),
            number: Set(*by),
        };
        moved.map(row).collect()
    }

    /// What a group knows that begins where this one has ended: of what does not end by itself.
    pub(super) fn of_next(mut self) -> Self {
        if self.is_behind {
            return Self::default();
        }
        let mut before = std::mem::take(&mut self.before);
        before.retain(|(_, counted), _| *counted != Counted::Tokens);
        for ((tenant, counted), number) in &mut before {
            *number = number.saturating_add(self.moved(tenant, *counted, Time::MIN));
        }
        Self { before, ..Self::default() }
    }

    /// How many it knows.
    pub(super) fn len(&self) -> usize {
        self.before.len()
    }
}

impl Draft {
    /// How many of these the tenant has, with what the group has written so far; none while too much is not counted.
    pub async fn count(&self, tenant: &TenantId, counted: Counted) -> Result<u64> {
        let work = self.work();
        if !work.counts.lock().is_kept() {
            return Ok(0);
        }
        let place = (tenant.clone(), counted);
        let known = work.counts.lock().before.get(&place).copied();
        let before = match known {
            Some(before) => before,
            None => {
                let before = read(self.transaction(), tenant, counted, self.now()).await?;
                work.counts.lock().before.insert(place, before);
                before
            }
        };
        let moved = work.counts.lock().moved(tenant, counted, self.now());
        Ok(u64::try_from(before.saturating_add(moved)).unwrap_or_default())
    }
}

async fn read(transaction: &DatabaseTransaction, tenant: &TenantId, counted: Counted, now: Time) -> Result<i64> {
    let slots: Vec<(i64, i64)> = tenant_count::Entity::find()
        .select_only()
        .columns([tenant_count::Column::EndTime, tenant_count::Column::Number])
        .filter(tenant_count::Column::TenantId.eq(tenant.as_str()))
        .filter(tenant_count::Column::Kind.eq(counted.as_str()))
        .into_tuple()
        .all(transaction)
        .await
        .map_err(sort)?;
    Ok(slots.into_iter().filter(|(end, _)| is_current(*end, now)).map(|(_, number)| number).sum())
}

impl Work {
    /// Counts what was written without being counted: up to `revision`, that of the head, which is locked.
    pub(super) async fn catch_up(&self, head: &ledger_head::Model) -> Result<()> {
        let (from, to) = (head.counted_rev, head.rev);
        if from == to {
            return Ok(());
        }
        let is_there = from < to && from >= head.floor_rev && to.saturating_sub(from) <= MAX_GAP;
        let moved = if is_there { self.moved_between(from, to).await? } else { None };
        let mut counts = self.counts.lock();
        match moved {
            // With the next flush, or not at all.
            Some(moved) => counts.add(moved),
            None => counts.is_behind = true,
        }
        Ok(())
    }

    /// What these revisions have moved, if the log can tell.
    async fn moved_between(&self, from: i64, to: i64) -> Result<Option<BTreeMap<Slot, i64>>> {
        let events: Vec<(i64, String)> = audit_event::Entity::find()
            .select_only()
            .columns([audit_event::Column::Revision, audit_event::Column::Kind])
            .filter(audit_event::Column::Revision.gt(from))
            .filter(audit_event::Column::Revision.lte(to))
            .into_tuple()
            .all(&self.transaction)
            .await
            .map_err(sort)?;
        let kinds: HashMap<i64, String> = events.into_iter().collect();
        let rows: Vec<(i64, String)> = ledger_change::Entity::find()
            .select_only()
            .columns([ledger_change::Column::Rev, ledger_change::Column::Payload])
            .filter(ledger_change::Column::Shard.eq(SHARD))
            .filter(ledger_change::Column::Rev.gt(from))
            .filter(ledger_change::Column::Rev.lte(to))
            .order_by_asc(ledger_change::Column::Rev)
            .order_by_asc(ledger_change::Column::Seq)
            .limit(MAX_CHANGES.saturating_add(1))
            .into_tuple()
            .all(&self.transaction)
            .await
            .map_err(sort)?;
        if rows.len() as u64 > MAX_CHANGES {
            return Ok(None);
        }
        let mut caught_up = Counts::default();
        for (revision, payload) in rows {
            let change: Option<Change> = serde_json::from_str(&payload).ok();
            let (Some(kind), Some(change)) = (kinds.get(&revision), change) else { return Ok(None) };
            caught_up.add(moves(kind, std::slice::from_ref(&change)));
        }
        Ok(Some(caught_up.moved))
    }
}

/// Counts all anew, if something is not counted: mutations of all replicas wait meanwhile, Checks and polls do not.
pub(super) async fn establish(db: &DatabaseConnection) -> Result<()> {
    let head = ledger_head::Entity::find_by_id(SHARD).one(db).await.map_err(sort)?;
    if head.is_none_or(|head| head.counted_rev == head.rev) {
        return Ok(());
    }
    let mode = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = db.begin_with_options(mode).await.map_err(sort)?;
    for statement in RECOUNT {
        transaction.execute_unprepared(statement).await.map_err(sort)?;
    }
    transaction.commit().await.map_err(sort)
}

impl Store {
    /// Counts all anew, if something is not counted.
    pub async fn establish_counts(&self) -> Result<()> {
        establish(&self.registry).await
    }

    /// The tenants that have at least `least` of these, those with the most first.
    pub async fn fullest(&self, counted: Counted, least: u64, limit: u64, now: Time) -> Result<Vec<(TenantId, u64)>> {
        let (kind, end, from, signed) = match self.engine() {
            Engine::Sqlite => ("?", "?", "?", "BIGINT"),
            Engine::Postgres => ("$1", "$2", "$3", "BIGINT"),
            Engine::MySql => ("?", "?", "?", "SIGNED"),
        };
        let sql = format!(
            "SELECT tenant_id, CAST(SUM(number) AS {signed}) AS total FROM tenant_count \
             WHERE kind = {kind} AND (end_time = 0 OR end_time > {end}) \
             GROUP BY tenant_id HAVING SUM(number) >= {from} ORDER BY total DESC LIMIT {limit}"
        );
        let least = i64::try_from(least).unwrap_or(i64::MAX);
        let values = [counted.as_str().into(), now.micros().into(), least.into()];
        let statement = Statement::from_sql_and_values(self.reader.get_database_backend(), sql, values);
        let rows = self.reader.query_all_raw(statement).await.map_err(sort)?;
        let mut fullest = Vec::with_capacity(rows.len());
        for row in rows {
            let tenant: String = row.try_get_by_index(0).map_err(sort)?;
            let total: i64 = row.try_get_by_index(1).map_err(sort)?;
            let tenant = TenantId::find(&tenant).ok_or_else(|| Error::internal("a count of no tenant"))?;
            fullest.push((tenant, u64::try_from(total).unwrap_or_default()));
        }
        Ok(fullest)
    }

    /// Deletes the counts of what has ended by itself: they count nothing any more.
    pub async fn sweep_counts(&self, now: Time) -> Result<()> {
        tenant_count::Entity::delete_many()
            .filter(tenant_count::Column::EndTime.ne(0))
            .filter(tenant_count::Column::EndTime.lt(now.micros()))
            .exec(&self.writer)
            .await
            .map(drop)
            .map_err(sort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_group_knows_what_this_one_has_moved_but_for_what_ends_by_itself() {
        let [acme, other] = ["acme", "other"].map(|id| TenantId::find(id).unwrap());
        let mut counts = Counts::default();
        counts.before.insert((acme.clone(), Counted::Keys), 7);
        counts.before.insert((acme.clone(), Counted::Tokens), 9);
        let moved = [(&acme, Counted::Keys, 2), (&acme, Counted::Applications, 3), (&other, Counted::Keys, 4)];
        counts.add(moved.map(|(tenant, counted, by)| ((tenant.clone(), counted, 0), by)).into());
        let next = counts.of_next();
        assert_eq!(next.before, HashMap::from([((acme, Counted::Keys), 9)]), "what was not read is not known");
        assert!(next.moved.is_empty() && next.rows().is_empty());
        let mut behind = Counts { is_behind: true, ..Counts::default() };
        behind.before.insert((other.clone(), Counted::Keys), 7);
        behind.add([((other, Counted::Keys, 0), 1)].into());
        assert!(behind.rows().is_empty() && behind.of_next().before.is_empty(), "what is not known is not kept");
    }

    #[test]
    fn the_statements_know_the_slots() {
        let slot = crate::domain::cap::slot_micros().to_string();
        assert!(RECOUNT.iter().any(|statement| statement.matches(&slot).count() == 2));
    }
}
