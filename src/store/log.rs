//! The ledger as a follower reads it: everything at one revision, and what came after.

mod audit;
mod entries;
mod expire;
mod fault;
mod fold;

use super::chain;
use super::draft::{Draft, SHARD};
use super::entity::{audit_event, ledger_change, ledger_head};
use super::failure::sort;
use super::open::Store;
use super::rows::check_reader;
use crate::domain::change::Change;
pub use crate::domain::change::Head;
use crate::domain::clock::Time;
use crate::error::{Error, Result};
pub use audit::{Audit, Audited};
use entries::{Logged, read_entry, statement};
pub use expire::KIND as EXPIRE;
pub use fault::Fault;
pub use fold::Compared;
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::HashMap;

/// How many revisions are verified at a time.
const VERIFY_STRIDE: i64 = 256;

/// How many changes are read at a time, where one revision does not have more.
const MAX_CHANGES: u64 = 10_000;

/// How many revisions are deleted from the log at a time.
const PRUNE_STRIDE: i64 = 1000;

/// What one revision changed.
#[derive(Debug)]
pub struct Batch {
    /// Where it leads.
    pub head: Head,
    /// The things in their new form.
    pub changes: Vec<Change>,
}

impl Store {
    /// Makes the head of a new ledger, if there is none.
    pub(super) async fn found(&self) -> Result<()> {
        let head = ledger_head::ActiveModel {
            shard: Set(SHARD),
            rev: Set(0),
            chain: Set(chain::GENESIS.to_vec()),
            floor_rev: Set(0),
            cluster_id: Set(uuid::Uuid::new_v4().to_string()),
            page_token_key: Set(rand::random::<[u8; 32]>().to_vec()),
            lease_ms: Set(None),
            counted_rev: Set(0),
        };
        ledger_head::Entity::insert(head)
            .on_conflict_do_nothing_on([ledger_head::Column::Shard])
            .exec_without_returning(&self.writer)
            .await
            .map_err(sort)?;
        Ok(())
    }

    /// The revision of the last mutation.
    pub async fn head_revision(&self) -> Result<i64> {
        let row = ledger_head::Entity::find_by_id(SHARD).one(&self.reader).await.map_err(sort)?;
        row.map(|row| row.rev).ok_or_else(|| Error::internal("the ledger has no head"))
    }

    /// What came after `from`, oldest first and at most `limit` revisions: contiguous, and linked to `from` by the
    /// chain. A gap or another chain is an internal error: what is followed is no longer the ledger that was read.
    pub async fn changes_after(&self, from: &Head, limit: i64) -> Result<Vec<Batch>> {
        batches(self.links_after(from, limit).await?)
    }

    /// The same, up to `to`, which was read as the head together with how many `events` there are after `from`. What this
    /// process has committed itself is not read.
    pub async fn changes_between(&self, from: &Head, to: &Head, events: i64, limit: i64) -> Result<Vec<Batch>> {
        match self.recent.between(from, to, events) {
            Some(links) => batches(links),
            None => batches(self.links_between(from, to.revision, limit).await?),
        }
    }

    /// Reads the end of the ledger again, at most so many `revisions` and about so many `changes`, and checks that they are
    /// what was written: no revision, event or change is missing, added or edited. Answers with the head, and otherwise
    /// says where it breaks.
    pub async fn verify(&self, revisions: i64, changes: u64) -> Result<Head> {
        let first: Option<i64> = ledger_change::Entity::find()
            .select_only()
            .column(ledger_change::Column::Rev)
            .filter(ledger_change::Column::Shard.eq(SHARD))
            .order_by_desc(ledger_change::Column::Rev)
            .order_by_desc(ledger_change::Column::Seq)
            .offset(changes)
            .limit(1)
            .into_tuple()
            .one(&self.follower)
            .await
            .map_err(sort)?;
        let row = ledger_head::Entity::find_by_id(SHARD).one(&self.follower).await.map_err(sort)?;
        let row = row.ok_or_else(|| Error::internal("the ledger has no head"))?;
        let before = row.rev.saturating_sub(revisions).max(first.unwrap_or_default()).max(row.floor_rev);
        let start = expire::checkpoint(&self.follower).await?;
        let event = audit_event::Entity::find_by_id(before).one(&self.follower).await.map_err(sort)?;
        let mut head = match event {
            Some(event) if before > start.revision => Head { revision: event.revision, chain: event.chain },
            _ if before <= start.revision => start,
            Some(_) | None => return Err(Error::internal(format!("the ledger has no event at revision {before}"))),
        };
        loop {
            match self.links_after(&head, VERIFY_STRIDE).await?.pop() {
                Some((last, _)) => head = last,
                None => return Ok(head),
            }
        }
    }

    /// The points that the ledger led to after `from`, each with the stored form of what changed.
    async fn links_after(&self, from: &Head, limit: i64) -> Result<Vec<(Head, Vec<String>)>> {
        let head = head(&self.follower).await?;
        if head == *from {
            return Ok(Vec::new());
        }
        if head.revision <= from.revision {
            return Err(Error::internal(format!(
                "the ledger went back from revision {} to {}, or changed its history; was an older backup restored?",
                from.revision, head.revision
            )));
        }
        self.links_between(from, head.revision, limit).await
    }

    /// The same up to `to`, which is known to exist. What is committed there changes no more, so that several statements see
    /// the same without a transaction.
    async fn links_between(&self, from: &Head, to: i64, limit: i64) -> Result<Vec<(Head, Vec<String>)>> {
        let last = from.revision.saturating_add(limit).min(to);
        // An import changes a thousand things with each revision: of such, fewer at a time.
        let mut rows = self.log_rows(from.revision, last, Some(MAX_CHANGES.saturating_add(1))).await?;
        let mut last = last;
        if rows.len() as u64 > MAX_CHANGES {
            let beyond = rows.last().map_or(last, Logged::revision);
            last = beyond.saturating_sub(1).max(from.revision.saturating_add(1));
            if last == beyond {
                rows = self.log_rows(from.revision, last, None).await?;
            }
            rows.retain(|row| row.revision() <= last);
        }
        let mut events = Vec::new();
        let mut payloads: HashMap<i64, Vec<String>> = HashMap::new();
        for row in rows {
            match row {
                Logged::Event(event) => events.push(*event),
                Logged::Change { revision, min_reader, payload } => {
                    check_reader(min_reader)?;
                    payloads.entry(revision).or_default().push(payload);
                }
            }
        }
        let mut links = Vec::with_capacity(events.len());
        let mut before = from.clone();
        for event in events {
            let payloads = payloads.remove(&event.revision).unwrap_or_default();
            before = verify(&before, &event, &payloads)?;
            links.push((before.clone(), payloads));
        }
        if before.revision == last {
            Ok(links)
        } else {
            Err(Error::internal(format!("the ledger has a gap after revision {}", before.revision)))
        }
    }

    async fn log_rows(&self, from: i64, last: i64, limit: Option<u64>) -> Result<Vec<Logged>> {
        let rows = self.follower.query_all(&statement(from, last, limit)).await.map_err(sort)?;
        rows.iter().map(|row| read_entry(row).map_err(sort)).collect()
    }

    /// Raises the floor of the log to `floor`; whether it was lower.
    pub async fn raise_floor(&self, floor: i64) -> Result<bool> {
        let raised = ledger_head::Entity::update_many()
            .set(ledger_head::ActiveModel { floor_rev: Set(floor), ..Default::default() })
            .filter(ledger_head::Column::Shard.eq(SHARD))
            .filter(ledger_head::Column::FloorRev.lt(floor))
            .exec(&self.registry)
            .await
            .map_err(sort)?;
        Ok(raised.rows_affected > 0)
    }

    /// Deletes a stride of what the log has up to `floor`, which has been raised; whether there is more.
    pub async fn prune(&self, floor: i64) -> Result<bool> {
        let Some(first) = self.first_change(&self.registry).await?.filter(|first| *first <= floor) else {
            return Ok(false);
        };
        let last = first.saturating_add(PRUNE_STRIDE).min(floor);
        ledger_change::Entity::delete_many()
            .filter(ledger_change::Column::Shard.eq(SHARD))
            .filter(ledger_change::Column::Rev.lte(last))
            .exec(&self.registry)
            .await
            .map_err(sort)?;
        Ok(last < floor)
    }

    /// When the oldest change was made that the log still has; none if it has none.
    pub async fn oldest_change_time(&self) -> Result<Option<Time>> {
        let Some(first) = self.first_change(&self.reader).await? else { return Ok(None) };
        // Retention may have removed its event, but not the one after all that it has removed.
        let time: Option<i64> = audit_event::Entity::find()
            .select_only()
            .column(audit_event::Column::Time)
            .filter(audit_event::Column::Revision.gte(first))
            .order_by_asc(audit_event::Column::Revision)
            .limit(1)
            .into_tuple()
            .one(&self.reader)
            .await
            .map_err(sort)?;
        Ok(time.map(Time::from_micros))
    }

    async fn first_change(&self, db: &DatabaseConnection) -> Result<Option<i64>> {
        let first = ledger_change::Entity::find()
            .select_only()
            .column(ledger_change::Column::Rev)
            .filter(ledger_change::Column::Shard.eq(SHARD))
            .order_by_asc(ledger_change::Column::Rev)
            .limit(1);
        first.into_tuple().one(db).await.map_err(sort)
    }
}

fn batches(links: Vec<(Head, Vec<String>)>) -> Result<Vec<Batch>> {
    let batch = |(head, payloads): (Head, Vec<String>)| {
        let changes = payloads.iter().map(|payload| serde_json::from_str(payload).map_err(Error::internal));
        Ok(Batch { head, changes: changes.collect::<Result<_>>()? })
    };
    links.into_iter().map(batch).collect()
}

impl Draft {
    /// Gives the ledger another id, by which its followers know that it is another. Answers with the earlier one.
    pub async fn rename_cluster(&self, id: &str) -> Result<String> {
        let transaction = self.writing().await?;
        let row = ledger_head::Entity::find_by_id(SHARD).one(transaction).await.map_err(sort)?;
        let row = row.ok_or_else(|| Error::internal("the ledger has no head"))?;
        ledger_head::Entity::update_many()
            .set(ledger_head::ActiveModel { cluster_id: Set(id.to_owned()), ..Default::default() })
            .filter(ledger_head::Column::Shard.eq(SHARD))
            .exec(transaction)
            .await
            .map_err(sort)?;
        Ok(row.cluster_id)
    }
}

/// Checks that `event` and its changes follow `before`; the point they lead to.
///
/// INVARIANT (no gap): what does not follow is never applied.
fn verify(before: &Head, event: &audit_event::Model, payloads: &[String]) -> Result<Head> {
    let is_next = event.revision == before.revision.saturating_add(1);
    let is_whole = chain::changes_hash(payloads.iter().map(String::as_str)).as_slice() == event.changes_hash;
    let is_linked = chain::link(&before.chain, event).as_slice() == event.chain;
    if is_next && is_whole && is_linked {
        Ok(Head { revision: event.revision, chain: event.chain.clone() })
    } else {
        Err(Error::internal(format!("the ledger's chain breaks at revision {}", event.revision)))
    }
}

pub(super) async fn head(db: &impl ConnectionTrait) -> Result<Head> {
    let row = ledger_head::Entity::find_by_id(SHARD)
        .one(db)
        .await
        .map_err(sort)?
        .ok_or_else(|| Error::internal("the ledger has no head"))?;
    Ok(Head { revision: row.rev, chain: row.chain })
}
