//! Reading how the replicas are.

use super::Desk;
use super::page::Part;
use crate::error::Result;
use crate::replica::Status;
use crate::store::{Page, ReplicaRow};

/// How the answering replica is, and what its rows are in.
#[derive(Debug)]
pub struct Report {
    /// How it is.
    pub status: Status,
    /// `sqlite`, `postgres` or `mysql`.
    pub engine: &'static str,
}

/// A page of the replicas in the database, by id.
pub async fn list(desk: &Desk, part: &Part) -> Result<Page<ReplicaRow>> {
    let wanted = u64::try_from(part.size).unwrap_or(u64::MAX);
    let mut items = desk.store.replicas(&part.after, wanted.saturating_add(1)).await?;
    let has_more = items.len() > part.size;
    items.truncate(part.size);
    let next = items.last().filter(|_| has_more).map(|row| row.id.clone());
    // Of this one its own word is newer than its row; where one process has the database to itself, there is no other.
    let own = desk.ledger.status();
    for row in items.iter_mut().filter(|row| row.id == own.replica_id) {
        row.applied = row.applied.max(own.applied);
    }
    Ok(Page { items, next })
}

/// How the answering replica is.
pub fn status(desk: &Desk) -> Report {
    Report { status: desk.ledger.status(), engine: desk.store.engine().word() }
}
