//! Reading the whole ledger to see whether it is what was written. Whoever can write to the database can write it anew
//! from any revision on, chain and head with it: that is found only by a head that was kept elsewhere.

use super::entries::{Logged, read_entry, statement};
use super::fault::Fault;
use super::{chain, expire};
use crate::domain::change::Head;
use crate::error::{Error, Result};
use crate::store::draft::SHARD;
use crate::store::entity::{audit_event, ledger_head};
use crate::store::failure::sort;
use crate::store::open::{Store, connect_to_read};
use sea_orm::sea_query::{Alias, Expr, ExprTrait as _, Query};
use sea_orm::{ConnectionTrait, DatabaseConnection, EntityTrait as _};
use std::collections::HashMap;

/// How many revisions are read at a time, and how many changes, where one revision does not have more.
const STRIDE: i64 = 500;
const MAX_CHANGES: u64 = 10_000;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// What stands before the first event that is kept.
    pub start: Head,
    /// The head of the ledger.
    pub end: Head,
    /// How many events there are.
    pub events: u64,
    /// Of how many of them the log still has the changes.
    pub compared: u64,
    /// Whether the exported head could be compared; none if there was none.
    pub is_anchored: Option<bool>,
}

/// A database that is only read; on SQLite beside the server that may have it open.
#[derive(Debug)]
pub struct Audit {
    pub(super) db: DatabaseConnection,
}

/// Where the ledger ends, by one statement.
struct End {
    head: Head,
    floor: i64,
    last: i64,
}

impl Audit {
    /// Opens the database of `url`, which must be there.
    pub async fn open(url: &str) -> Result<Self> {
        Ok(Self { db: connect_to_read(url).await? })
    }

    /// Reads everything, and tells each fault. `anchor` is a head that was exported earlier.
    pub async fn run(&self, anchor: Option<&Head>, tell: &mut (dyn FnMut(Fault) + Send)) -> Result<Audited> {
        let (start, end) = self.bounds().await?;
        let mut walk = Walk::new(start.clone(), end.floor, anchor, tell);
        if end.last > end.head.revision {
            (walk.tell)(Fault::Beyond { head: end.head.revision, last: end.last });
        }
        self.walk(&mut walk, &end.head).await?;
        let Walk { events, compared, is_explained, is_anchored, .. } = walk;
        if start.revision > 0 && !is_explained {
            tell(Fault::Unexplained(start.revision));
        }
        if let Some(anchor) = anchor
            && anchor.revision > end.head.revision
        {
            tell(Fault::CutOff { last: end.head.revision, exported: anchor.revision });
        }
        Ok(Audited { start, end: end.head, events, compared, is_anchored: anchor.map(|_| is_anchored) })
    }

    /// Whether retention has removed more since `start` stood before the first event: then what was read may have faults that
    /// are none.
    pub async fn has_moved(&self, start: &Head) -> Result<bool> {
        Ok(expire::checkpoint(&self.db).await? != *start)
    }

    /// What stands before the first event, and the end after it was put there.
    async fn bounds(&self) -> Result<(Head, End)> {
        loop {
            let start = expire::checkpoint(&self.db).await?;
            let end = self.end().await?;
            if !self.has_moved(&start).await? {
                return Ok((start, end));
            }
        }
    }

    /// Reads what comes after where the walk begins, up to the head.
    async fn walk(&self, walk: &mut Walk<'_>, head: &Head) -> Result<()> {
        let mut read = walk.revision;
        while read < head.revision {
            let (rows, last) = self.read(read, Ord::min(read.saturating_add(STRIDE), head.revision)).await?;
            if walk.is_short_of_changes(&rows) {
                // A server may have pruned the log meanwhile.
                walk.floor = self.end().await?.floor;
            }
            walk.stride(rows);
            read = last;
        }
        walk.end(head);
        Ok(())
    }

    /// Closes the connections.
    pub async fn close(self) -> Result<()> {
        self.db.close().await.map_err(sort)
    }

    /// All of it at one moment: a mutation moves the head and adds its event together.
    async fn end(&self) -> Result<End> {
        use ledger_head::Column;
        let last =
            Query::select().expr(Expr::col(audit_event::Column::Revision).max()).from(audit_event::Entity).to_owned();
        let mut query = Query::select();
        query
            .columns([Column::Rev, Column::Chain, Column::FloorRev])
            .expr_as(Expr::from(last), Alias::new("last_event"))
            .from(ledger_head::Entity)
            .and_where(Expr::col(Column::Shard).eq(SHARD));
        let row = self.db.query_one(&query).await.map_err(sort)?;
        let row = row.ok_or_else(|| Error::precondition("the database", "has no ledger: its head is missing"))?;
        let head =
            Head { revision: row.try_get("", "rev").map_err(sort)?, chain: row.try_get("", "chain").map_err(sort)? };
        let last: Option<i64> = row.try_get("", "last_event").map_err(sort)?;
        Ok(End { head, floor: row.try_get("", "floor_rev").map_err(sort)?, last: last.unwrap_or_default() })
    }

    /// What there is after one revision and up to another, or to an earlier one, which is told, where that is much.
    async fn read(&self, from: i64, last: i64) -> Result<(Vec<Row>, i64)> {
        let limit = MAX_CHANGES.saturating_add(1);
        let rows = self.rows(from, last, Some(limit)).await?;
        if (rows.len() as u64) < limit {
            return Ok((rows, last));
        }
        // The last revision of these may not be whole.
        let beyond = rows.iter().map(Row::revision).max().unwrap_or(last);
        let whole = beyond.saturating_sub(1);
        if whole > from {
            return Ok((rows.into_iter().filter(|row| row.revision() <= whole).collect(), whole));
        }
        Ok((self.rows(from, beyond, None).await?, beyond))
    }

    async fn rows(&self, from: i64, last: i64, limit: Option<u64>) -> Result<Vec<Row>> {
        let rows = self.db.query_all(&statement(from, last, limit)).await.map_err(sort)?;
        let read = |row| match read_entry(row) {
            Ok(entry) => Ok(Row::Read(entry)),
            // A number where a text was, or the like.
            Err(_) => Ok(Row::Unreadable(row.try_get("", "revision").map_err(sort)?)),
        };
        rows.iter().map(read).collect()
    }
}

impl Store {
    /// Reads the last `count` events again, and tells what is wrong with them.
    pub async fn audit_recent(&self, count: i64) -> Result<Vec<Fault>> {
        let audit = Audit { db: self.reader.clone() };
        let (kept, end) = audit.bounds().await?;
        let first = end.head.revision.saturating_sub(count);
        let start = if first <= kept.revision {
            kept
        } else {
            match audit_event::Entity::find_by_id(first).one(&audit.db).await.map_err(sort)? {
                Some(event) => Head { revision: first, chain: event.chain },
                None => return Ok(vec![Fault::Missing { first, last: first }]),
            }
        };
        let mut faults = Vec::new();
        let mut tell = |fault| faults.push(fault);
        let mut walk = Walk::new(start, end.floor, None, &mut tell);
        audit.walk(&mut walk, &end.head).await?;
        Ok(faults)
    }
}

/// A row of the log.
enum Row {
    Read(Logged),
    Unreadable(i64),
}

impl Row {
    fn revision(&self) -> i64 {
        match self {
            Self::Read(entry) => entry.revision(),
            Self::Unreadable(revision) => *revision,
        }
    }
}

/// How far it was read, and what was found.
struct Walk<'a> {
    tell: &'a mut (dyn FnMut(Fault) + Send),
    anchor: Option<&'a Head>,
    start: Head,
    floor: i64,
    revision: i64,
    /// The chain after that; none where it cannot be known.
    chain: Option<Vec<u8>>,
    events: u64,
    compared: u64,
    is_explained: bool,
    is_anchored: bool,
}

impl<'a> Walk<'a> {
    fn new(start: Head, floor: i64, anchor: Option<&'a Head>, tell: &'a mut (dyn FnMut(Fault) + Send)) -> Self {
        let (revision, chain) = (start.revision, Some(start.chain.clone()));
        let (events, compared) = (0, 0);
        let mut walk = Self {
            tell,
            anchor,
            start,
            floor,
            revision,
            chain,
            events,
            compared,
            is_explained: false,
            is_anchored: false,
        };
        let start = walk.start.clone();
        walk.compare_with_anchor(&start);
        walk
    }

    /// Whether a revision above the floor has no changes though its event was written with some.
    fn is_short_of_changes(&self, rows: &[Row]) -> bool {
        let mut counts: HashMap<i64, (bool, usize)> = HashMap::new();
        let empty = chain::changes_hash([]);
        for row in rows {
            match row {
                Row::Read(Logged::Event(event)) => {
                    counts.entry(event.revision).or_default().0 = event.changes_hash != empty;
                }
                Row::Read(Logged::Change { revision, .. }) => counts.entry(*revision).or_default().1 += 1,
                Row::Unreadable(_) => {}
            }
        }
        counts.iter().any(|(revision, (has_some, count))| *revision > self.floor && *has_some && *count == 0)
    }

    fn stride(&mut self, rows: Vec<Row>) {
        let mut events = Vec::new();
        let mut payloads: HashMap<i64, Vec<String>> = HashMap::new();
        let mut unreadable = Vec::new();
        for row in rows {
            match row {
                Row::Read(Logged::Event(event)) => events.push(*event),
                Row::Read(Logged::Change { revision, payload, .. }) => {
                    payloads.entry(revision).or_default().push(payload)
                }
                Row::Unreadable(revision) => unreadable.push(revision),
            }
        }
        for event in events {
            for revision in unreadable.extract_if(.., |revision| *revision < event.revision).collect::<Vec<_>>() {
                self.unreadable(revision);
            }
            let payloads = payloads.remove(&event.revision).unwrap_or_default();
            self.step(&event, &payloads);
        }
        for revision in unreadable {
            self.unreadable(revision);
        }
    }

    /// Notes that what comes next is of `revision`.
    fn reach(&mut self, revision: i64) {
        let next = self.revision.saturating_add(1);
        if revision > next {
            (self.tell)(Fault::Missing { first: next, last: revision.saturating_sub(1) });
            self.chain = None;
        }
    }

    fn unreadable(&mut self, revision: i64) {
        if revision > self.revision {
            self.reach(revision);
            self.revision = revision;
        }
        (self.tell)(Fault::Edited(revision));
        self.chain = None;
    }

    fn step(&mut self, event: &audit_event::Model, payloads: &[String]) {
        self.reach(event.revision);
        // The hash does not tell an empty tenant from none.
        let is_linked = self.chain.as_ref().is_none_or(|before| chain::link(before, event).as_slice() == event.chain);
        if !is_linked || event.tenant_id.as_deref() == Some("") {
            (self.tell)(Fault::Edited(event.revision));
        }
        if event.revision > self.floor {
            self.compared = self.compared.saturating_add(1);
            if chain::changes_hash(payloads.iter().map(String::as_str)).as_slice() != event.changes_hash {
                (self.tell)(Fault::Changes(event.revision));
            }
        }
        self.is_explained |= expire::explains(event, &self.start);
        self.events = self.events.saturating_add(1);
        let head = Head { revision: event.revision, chain: event.chain.clone() };
        self.compare_with_anchor(&head);
        (self.revision, self.chain) = (head.revision, Some(head.chain));
    }

    fn compare_with_anchor(&mut self, head: &Head) {
        if let Some(anchor) = self.anchor
            && anchor.revision == head.revision
        {
            self.is_anchored = true;
            if anchor.chain != head.chain {
                (self.tell)(Fault::Rewritten(head.revision));
            }
        }
    }

    fn end(&mut self, head: &Head) {
        if self.revision < head.revision {
            (self.tell)(Fault::Missing { first: self.revision.saturating_add(1), last: head.revision });
        } else if self.chain.as_ref().is_some_and(|chain| *chain != head.chain) {
            (self.tell)(Fault::Head(head.revision));
        }
    }
}
