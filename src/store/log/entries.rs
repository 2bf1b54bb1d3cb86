//! Events and changes read together: whoever follows the ledger pays for each statement with time.

use crate::store::draft::SHARD;
use crate::store::entity::{audit_event, ledger_change};
use sea_orm::sea_query::{Alias, Expr, ExprTrait, Order, Query, SelectStatement, UnionType};
use sea_orm::{DbErr, QueryResult};

/// What the log says of a revision: its event, then its changes.
pub(super) enum Logged {
    Event(Box<audit_event::Model>),
    Change { revision: i64, min_reader: i32, payload: String },
}

impl Logged {
    pub(super) fn revision(&self) -> i64 {
        match self {
            Self::Event(event) => event.revision,
            Self::Change { revision, .. } => *revision,
        }
    }
}

const IS_EVENT: i32 = 0;
const IS_CHANGE: i32 = 1;

/// What `from` led to, up to `last`: two tables as one. What a column means depends on `what`.
pub(super) fn statement(from: i64, last: i64, limit: Option<u64>) -> SelectStatement {
    use audit_event::Column as Event;
    use ledger_change::Column as Change;
    let columns = [
        ("revision", Some(Event::Revision), Some(Change::Rev)),
        ("seq", None, Some(Change::Seq)),
        ("min_reader", None, Some(Change::MinReader)),
        ("content", Some(Event::Detail), Some(Change::Payload)),
        ("kind", Some(Event::Kind), None),
        ("tenant_id", Some(Event::TenantId), None),
        ("actor", Some(Event::Actor), None),
        ("credential_id", Some(Event::CredentialId), None),
        ("subject", Some(Event::Subject), None),
        ("time", Some(Event::Time), None),
        ("request_id", Some(Event::RequestId), None),
        ("source_ip", Some(Event::SourceIp), None),
        ("changes_hash", Some(Event::ChangesHash), None),
        ("chain", Some(Event::Chain), None),
    ];
    let (mut events, mut changes) = (Query::select(), Query::select());
    events.expr_as(Expr::cust(IS_EVENT.to_string()), Alias::new("what"));
    changes.expr_as(Expr::cust(IS_CHANGE.to_string()), Alias::new("what"));
    for (name, event, change) in columns {
        events.expr_as(event.map_or_else(|| Expr::cust("NULL"), Expr::col), Alias::new(name));
        changes.expr_as(change.map_or_else(|| Expr::cust("NULL"), Expr::col), Alias::new(name));
    }
    events
        .from(audit_event::Entity)
        .and_where(Expr::col(Event::Revision).gt(from))
        .and_where(Expr::col(Event::Revision).lte(last));
    changes
        .from(ledger_change::Entity)
        .and_where(Expr::col(Change::Shard).eq(SHARD))
        .and_where(Expr::col(Change::Rev).gt(from))
        .and_where(Expr::col(Change::Rev).lte(last));
    events.union(UnionType::All, changes);
    for name in ["revision", "what", "seq"] {
        events.order_by(Alias::new(name), Order::Asc);
    }
    if let Some(limit) = limit {
        events.limit(limit);
    }
    events
}

/// Reads one row of [`statement`].
pub(super) fn read_entry(row: &QueryResult) -> Result<Logged, DbErr> {
    let revision = row.try_get("", "revision")?;
    if row.try_get::<i32>("", "what")? == IS_CHANGE {
        let (min_reader, payload) = (row.try_get("", "min_reader")?, row.try_get("", "content")?);
        return Ok(Logged::Change { revision, min_reader, payload });
    }
    Ok(Logged::Event(Box::new(audit_event::Model {
        revision,
        kind: row.try_get("", "kind")?,
        tenant_id: row.try_get("", "tenant_id")?,
        actor: row.try_get("", "actor")?,
        credential_id: row.try_get("", "credential_id")?,
        subject: row.try_get("", "subject")?,
        time: row.try_get("", "time")?,
        request_id: row.try_get("", "request_id")?,
        source_ip: row.try_get("", "source_ip")?,
        detail: row.try_get("", "content")?,
        changes_hash: row.try_get("", "changes_hash")?,
        chain: row.try_get("", "chain")?,
    })))
}
