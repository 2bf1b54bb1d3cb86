//! What replicas read and write about each other: the one statement of a poll, the one statement of a barrier, and the
//! rows by which they join, confirm, are shut out and leave. None of it is part of the ledger.
//!
//! Who joins, is shut out or leaves says so in a transaction that is durable before anything rests on it. What is
//! confirmed need not be durable: a confirmation that is lost is waited for again.

use super::draft::SHARD;
use super::entity::{audit_event, ledger_head, replica};
use super::failure::sort;
use super::many::padded;
use super::open::{Engine, Store};
use super::recent::MAX_LINKS;
use super::rows::READER;
use crate::error::{Error, Result};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, JoinType, Query, SelectStatement, UnionType};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect};
use std::collections::BTreeMap;
use std::time::Duration;

const ACTIVE: &str = "active";
const FENCING: &str = "fencing";

/// A row of the table `replica`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRow {
    /// Random for each time that a process joins.
    pub id: String,
    /// Whether it was shut out.
    pub is_fencing: bool,
    /// Where it serves, for people to read.
    pub address: String,
    /// The last revision that it has confirmed; -1 before it has loaded.
    pub applied: i64,
    /// Its lease.
    pub lease: Duration,
}

/// What one statement says to a replica that polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The revision of the head.
    pub revision: i64,
    /// The chain of the head.
    pub chain: Vec<u8>,
    /// Below this revision the log was pruned.
    pub floor: i64,
    /// Which ledger it is.
    pub cluster_id: String,
    /// Of the own row: whether it is fencing, and what it has confirmed. None if there is no such row.
    pub own: Option<(bool, i64)>,
    /// The chain of the event at the revision that was asked about.
    pub chain_at: Option<Vec<u8>>,
    /// How many events there are of the 1024 revisions after it.
    pub events_after: i64,
    /// Whether any replica is being shut out.
    pub is_any_fencing: bool,
}

/// What one statement says to a replica that has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    /// The lease that the head names, if one was settled.
    pub lease: Option<Duration>,
    /// All replicas.
    pub replicas: Vec<ReplicaRow>,
    /// The chains of the events that were asked about.
    pub chains: BTreeMap<i64, Vec<u8>>,
}

fn millis(lease_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(lease_ms).unwrap_or_default())
}

fn lease_ms(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
}

impl From<replica::Model> for ReplicaRow {
    fn from(row: replica::Model) -> Self {
        Self {
            id: row.id,
            is_fencing: row.state != ACTIVE,
            address: row.address,
            applied: row.applied,
            lease: millis(row.lease_ms),
        }
    }
}

impl Store {
    /// The lease that the first server to join has settled.
    pub(super) async fn settled_lease(&self) -> Result<Option<Duration>> {
        let row = ledger_head::Entity::find_by_id(SHARD).one(&self.reader).await.map_err(sort)?;
        Ok(row.and_then(|row| row.lease_ms).map(millis))
    }

    /// The lease that all replicas of this database share: `wanted`, or else `default`, if this is the first to join; and
    /// what the first has said otherwise. One that wants another is refused.
    pub(super) async fn settle_lease(&self, wanted: Option<Duration>, default: Duration) -> Result<Duration> {
        ledger_head::Entity::update_many()
            .set(ledger_head::ActiveModel {
                lease_ms: Set(Some(lease_ms(wanted.unwrap_or(default)))),
                ..Default::default()
            })
            .filter(ledger_head::Column::Shard.eq(SHARD))
            .filter(ledger_head::Column::LeaseMs.is_null())
            .exec(&self.writer)
            .await
            .map_err(sort)?;
        let row = ledger_head::Entity::find_by_id(SHARD).one(&self.writer).await.map_err(sort)?;
        let settled = row.and_then(|row| row.lease_ms).ok_or_else(|| Error::internal("the ledger has no head"))?;
        let settled = millis(settled);
        match wanted {
            Some(wanted) if wanted != settled => Err(Error::invalid(
                "--lease",
                format!("must be {settled:?}, which the first server on this database has settled, or be left out"),
            )),
            Some(_) | None => Ok(settled),
        }
    }

    /// Joins under a new id: durable before anything is loaded (R1).
    pub async fn join(&self, id: &str, address: &str, lease: Duration) -> Result<()> {
        let row = replica::ActiveModel {
            id: Set(id.to_owned()),
            state: Set(ACTIVE.to_owned()),
            address: Set(address.to_owned()),
            applied: Set(-1),
            lease_ms: Set(lease_ms(lease)),
            reader: Set(READER),
        };
        replica::Entity::insert(row).exec_without_returning(&self.registry).await.map_err(sort)?;
        Ok(())
    }

    /// Deletes all rows but this one: where one process has the database to itself, the others are dead.
    pub async fn remove_all_but(&self, id: &str) -> Result<()> {
        let others = replica::Entity::delete_many().filter(replica::Column::Id.ne(id));
        others.exec(&self.registry).await.map_err(sort)?;
        Ok(())
    }

    /// Says where this replica serves.
    pub async fn announce(&self, id: &str, address: &str) -> Result<()> {
        let row = replica::ActiveModel { address: Set(address.to_owned()), ..Default::default() };
        let own = replica::Entity::update_many().set(row).filter(replica::Column::Id.eq(id));
        own.exec(&self.registry).await.map_err(sort)?;
        Ok(())
    }

    /// Takes the own row away: after this process has stopped answering (R4).
    pub async fn leave(&self, id: &str) -> Result<()> {
        replica::Entity::delete_by_id(id).exec(&self.registry).await.map_err(sort)?;
        Ok(())
    }

    /// Shuts out those of these replicas that have still not confirmed `below` (V6).
    pub async fn fence(&self, ids: &[String], below: i64) -> Result<()> {
        replica::Entity::update_many()
            .set(replica::ActiveModel { state: Set(FENCING.to_owned()), ..Default::default() })
            .filter(replica::Column::Id.is_in(ids))
            .filter(replica::Column::State.eq(ACTIVE))
            .filter(replica::Column::Applied.lt(below))
            .exec(&self.registry)
            .await
            .map_err(sort)?;
        Ok(())
    }

    /// Deletes those of these rows that are fencing (V6).
    pub async fn remove_fenced(&self, ids: &[String]) -> Result<()> {
        replica::Entity::delete_many()
            .filter(replica::Column::Id.is_in(ids))
            .filter(replica::Column::State.eq(FENCING))
            .exec(&self.registry)
            .await
            .map_err(sort)?;
        Ok(())
    }

    /// Confirms that everything up to `revision` is published (R2), unless this replica was shut out.
    pub async fn confirm(&self, id: &str, revision: i64) -> Result<()> {
        replica::Entity::update_many()
            .set(replica::ActiveModel { applied: Set(revision), ..Default::default() })
            .filter(replica::Column::Id.eq(id))
            .filter(replica::Column::State.eq(ACTIVE))
            .exec(&self.follower)
            .await
            .map_err(sort)?;
        Ok(())
    }

    /// Makes the follower's connection anew, if it is lost. A poll has too little time for it on a busy machine: whoever has
    /// failed to poll waits here for longer.
    pub async fn reconnect_follower(&self) -> Result<()> {
        self.follower.ping().await.map_err(sort)
    }

    /// The same for what is read of other replicas.
    pub async fn reconnect_keeper(&self) -> Result<()> {
        self.keeper.ping().await.map_err(sort)
    }

    /// Polls (R2): the head, the own row, and the event at `applied`, in one statement.
    pub async fn poll(&self, id: &str, applied: i64) -> Result<Poll> {
        let row = self.follower.query_one(&poll_statement(id, applied, self.engine())).await.map_err(sort)?;
        let row = row.ok_or_else(|| Error::internal("the ledger has no head"))?;
        // What lags behind must not renew a lease: after a fail-over the connection may lead to one that was the primary.
        if row.try_get::<i64>("", "standby").map_err(sort)? != 0 {
            return Err(Error::unavailable("the database is a standby, or read-only"));
        }
        read_poll(&row).map_err(sort)
    }

    /// Reads the head, all replicas, and the events at `revisions`, in one statement (V2).
    pub async fn roll(&self, revisions: &[i64]) -> Result<Roll> {
        let rows = self.keeper.query_all(&roll_statement(revisions)).await.map_err(sort)?;
        let mut roll = Roll { lease: None, replicas: Vec::new(), chains: BTreeMap::new() };
        let mut has_head = false;
        for row in &rows {
            match row.try_get::<i32>("", "what").map_err(sort)? {
                IS_HEAD => {
                    has_head = true;
                    roll.lease = row.try_get::<Option<i64>>("", "lease_ms").map_err(sort)?.map(millis);
                }
                IS_REPLICA => roll.replicas.push(read_replica(row).map_err(sort)?),
                _ => {
                    let chain = row.try_get::<Option<Vec<u8>>>("", "chain").map_err(sort)?.unwrap_or_default();
                    roll.chains.insert(row.try_get("", "revision").map_err(sort)?, chain);
                }
            }
        }
        if has_head { Ok(roll) } else { Err(Error::internal("the ledger has no head")) }
    }

    /// All replicas in the order of their ids, after this one.
    pub async fn replicas(&self, after: &str, limit: u64) -> Result<Vec<ReplicaRow>> {
        let rows = replica::Entity::find().filter(replica::Column::Id.gt(after)).order_by_asc(replica::Column::Id);
        let rows = rows.limit(limit).all(&self.reader).await.map_err(sort)?;
        Ok(rows.into_iter().map(ReplicaRow::from).collect())
    }
}

/// Whether the database takes no writes, as a number.
fn standby(engine: Engine) -> Expr {
    match engine {
        Engine::Sqlite => Expr::cust("0"),
        Engine::Postgres => Expr::cust("CAST(CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END AS BIGINT)"),
        Engine::MySql => Expr::cust("CAST(@@global.read_only AS SIGNED)"),
    }
}

fn poll_statement(id: &str, applied: i64, engine: Engine) -> SelectStatement {
    let fencing = Query::select()
        .expr(Expr::col(replica::Column::Id).count())
        .from(replica::Entity)
        .and_where(Expr::col(replica::Column::State).eq(FENCING))
        .to_owned();
    let last = applied.saturating_add(MAX_LINKS as i64);
    let after = Query::select()
        .expr(Expr::col(audit_event::Column::Revision).count())
        .from(audit_event::Entity)
        .and_where(Expr::col(audit_event::Column::Revision).gt(applied))
        .and_where(Expr::col(audit_event::Column::Revision).lte(last))
        .to_owned();
    let own = Expr::col((replica::Entity, replica::Column::Id)).eq(id);
    let event = Expr::col((audit_event::Entity, audit_event::Column::Revision)).eq(applied);
    Query::select()
        .expr_as(Expr::col((ledger_head::Entity, ledger_head::Column::Rev)), Alias::new("rev"))
        .expr_as(Expr::col((ledger_head::Entity, ledger_head::Column::Chain)), Alias::new("chain"))
        .expr_as(Expr::col((ledger_head::Entity, ledger_head::Column::FloorRev)), Alias::new("floor_rev"))
        .expr_as(Expr::col((ledger_head::Entity, ledger_head::Column::ClusterId)), Alias::new("cluster_id"))
        .expr_as(Expr::col((replica::Entity, replica::Column::State)), Alias::new("state"))
        .expr_as(Expr::col((replica::Entity, replica::Column::Applied)), Alias::new("applied"))
        .expr_as(Expr::col((audit_event::Entity, audit_event::Column::Chain)), Alias::new("chain_at"))
        .expr_as(Expr::SubQuery(None, Box::new(fencing.into())), Alias::new("fencing"))
        .expr_as(Expr::SubQuery(None, Box::new(after.into())), Alias::new("events_after"))
        .expr_as(standby(engine), Alias::new("standby"))
        .from(ledger_head::Entity)
        .join(JoinType::LeftJoin, replica::Entity, own)
        .join(JoinType::LeftJoin, audit_event::Entity, event)
        .and_where(Expr::col((ledger_head::Entity, ledger_head::Column::Shard)).eq(SHARD))
        .to_owned()
}

fn read_poll(row: &QueryResult) -> Result<Poll, sea_orm::DbErr> {
    let state: Option<String> = row.try_get("", "state")?;
    let applied: Option<i64> = row.try_get("", "applied")?;
    Ok(Poll {
        revision: row.try_get("", "rev")?,
        chain: row.try_get("", "chain")?,
        floor: row.try_get("", "floor_rev")?,
        cluster_id: row.try_get("", "cluster_id")?,
        own: state.zip(applied).map(|(state, applied)| (state != ACTIVE, applied)),
        chain_at: row.try_get("", "chain_at")?,
        events_after: row.try_get("", "events_after")?,
        is_any_fencing: row.try_get::<i64>("", "fencing")? > 0,
    })
}

const IS_HEAD: i32 = 0;
const IS_REPLICA: i32 = 1;
const IS_EVENT: i32 = 2;

/// Three tables as one: what a column means depends on `what`.
fn roll_statement(revisions: &[i64]) -> SelectStatement {
    let none = || Expr::cust("NULL");
    let columns = ["what", "id", "state", "address", "revision", "lease_ms", "chain"];
    let select = |what: i32, values: [Expr; 6]| {
        let mut select = Query::select();
        for (value, column) in std::iter::once(Expr::cust(what.to_string())).chain(values).zip(columns) {
            select.expr_as(value, Alias::new(column));
        }
        select
    };
    // Replicas first: their columns give the types.
    let mut all = select(
        IS_REPLICA,
        [
            Expr::col(replica::Column::Id),
            Expr::col(replica::Column::State),
            Expr::col(replica::Column::Address),
            Expr::col(replica::Column::Applied),
            Expr::col(replica::Column::LeaseMs),
            none(),
        ],
    );
    all.from(replica::Entity);
    let mut events = select(
        IS_EVENT,
        [
            none(),
            none(),
            none(),
            Expr::col(audit_event::Column::Revision),
            none(),
            Expr::col(audit_event::Column::Chain),
        ],
    );
    events
        .from(audit_event::Entity)
        .and_where(Expr::col(audit_event::Column::Revision).is_in(padded(revisions.iter().copied())));
    let mut head = select(
        IS_HEAD,
        [
            none(),
            none(),
            none(),
            Expr::col(ledger_head::Column::Rev),
            Expr::col(ledger_head::Column::LeaseMs),
            Expr::col(ledger_head::Column::Chain),
        ],
    );
    head.from(ledger_head::Entity).and_where(Expr::col(ledger_head::Column::Shard).eq(SHARD));
    all.union(UnionType::All, head).union(UnionType::All, events).to_owned()
}

fn read_replica(row: &QueryResult) -> Result<ReplicaRow, sea_orm::DbErr> {
    Ok(ReplicaRow {
        id: row.try_get("", "id")?,
        is_fencing: row.try_get::<String>("", "state")? != ACTIVE,
        address: row.try_get("", "address")?,
        applied: row.try_get("", "revision")?,
        lease: millis(row.try_get("", "lease_ms")?),
    })
}
