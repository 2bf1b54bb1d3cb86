//! The ledger as a follower reads it: everything at one revision, and what came after.

use super::chain;
use super::draft::SHARD;
use super::entity::{
    access_token, api_key, api_key_secret, application, application_secret, audit_event, ledger_change, ledger_head,
    tenant, tenant_user, user_session,
};
use super::failure::sort;
use super::open::Store;
use super::rows::{self, check_reader};
use crate::domain::application::Application;
use crate::domain::change::{Change, Root};
use crate::domain::key::Key;
use crate::domain::signing::SigningKey;
use crate::domain::tenant::Tenant;
use crate::domain::token::{AccessToken, Session};
use crate::domain::user::User;
use crate::error::{Error, Result};
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, TransactionTrait};
use std::collections::HashMap;

/// How many revisions are verified at a time.
const VERIFY_STRIDE: i64 = 256;

/// How many changes are read at a time, where one revision does not have more.
const MAX_CHANGES: u64 = 10_000;

/// A point in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The revision.
    pub revision: i64,
    /// The hash chain after it.
    pub chain: Vec<u8>,
}

/// All rows at one revision.
#[derive(Debug)]
pub struct Snapshot {
    /// The revision they belong to.
    pub head: Head,
    /// The root credential, once there is one.
    pub root: Option<Root>,
    /// All tenants.
    pub tenants: Vec<Tenant>,
    /// All users.
    pub users: Vec<User>,
    /// All keys.
    pub keys: Vec<Key>,
    /// All applications.
    pub applications: Vec<Application>,
    /// All access tokens.
    pub tokens: Vec<AccessToken>,
    /// All sessions.
    pub sessions: Vec<Session>,
    /// All signing keys, without their private halves.
    pub signing_keys: Vec<SigningKey>,
}

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

    /// Everything, at one revision: one read transaction.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let transaction = self.follower.begin().await.map_err(sort)?;
        let head = head(&transaction).await?;
        let root = super::read::root(&transaction).await?;
        let tenants = tenant::Entity::find().all(&transaction).await.map_err(sort)?;
        let users = tenant_user::Entity::find().all(&transaction).await.map_err(sort)?;
        let mut secrets: HashMap<(String, String), Vec<api_key_secret::Model>> = HashMap::new();
        for secret in api_key_secret::Entity::find().all(&transaction).await.map_err(sort)? {
            secrets.entry((secret.tenant_id.clone(), secret.key_id.clone())).or_default().push(secret);
        }
        let keys = api_key::Entity::find().all(&transaction).await.map_err(sort)?;
        let mut application_secrets: HashMap<(String, String), Vec<application_secret::Model>> = HashMap::new();
        for secret in application_secret::Entity::find().all(&transaction).await.map_err(sort)? {
            let place = (secret.tenant_id.clone(), secret.application_id.clone());
            application_secrets.entry(place).or_default().push(secret);
        }
        let applications = application::Entity::find().all(&transaction).await.map_err(sort)?;
        let tokens = access_token::Entity::find().all(&transaction).await.map_err(sort)?;
        let sessions = user_session::Entity::find().all(&transaction).await.map_err(sort)?;
        let signing_keys = super::signing::keys(&transaction).await?;
        transaction.commit().await.map_err(sort)?;
        Ok(Snapshot {
            head,
            root,
            tenants: tenants.into_iter().map(rows::tenant).collect::<Result<_>>()?,
            users: users.into_iter().map(rows::user).collect::<Result<_>>()?,
            keys: keys
                .into_iter()
                .map(|row| {
                    let secrets = secrets.remove(&(row.tenant_id.clone(), row.id.clone())).unwrap_or_default();
                    rows::key(row, secrets)
                })
                .collect::<Result<_>>()?,
            applications: applications
                .into_iter()
                .map(|row| {
                    let place = (row.tenant_id.clone(), row.id.clone());
                    rows::application(row, application_secrets.remove(&place).unwrap_or_default())
                })
                .collect::<Result<_>>()?,
            tokens: tokens.into_iter().map(rows::access_token).collect::<Result<_>>()?,
            sessions: sessions.into_iter().map(rows::session).collect::<Result<_>>()?,
            signing_keys,
        })
    }

    /// What came after `from`, oldest first and at most `limit` revisions: contiguous, and linked to `from` by the
    /// chain. A gap or another chain is an internal error: what is followed is no longer the ledger that was read.
    pub async fn changes_after(&self, from: &Head, limit: i64) -> Result<Vec<Batch>> {
        let links = self.links_after(from, limit).await?;
        links
            .into_iter()
            .map(|(head, payloads)| {
                let changes = payloads.iter().map(|payload| serde_json::from_str(payload).map_err(Error::internal));
                Ok(Batch { head, changes: changes.collect::<Result<_>>()? })
            })
            .collect()
    }

    /// Reads the last `revisions` of the ledger again and checks that they are what was written: no revision, event or
    /// change is missing, added or edited. Answers with the head, and otherwise says where it breaks.
    pub async fn verify(&self, revisions: i64) -> Result<Head> {
        let before = self.head_revision().await?.saturating_sub(revisions);
        let event = audit_event::Entity::find_by_id(before).one(&self.follower).await.map_err(sort)?;
        let mut head = match event {
            Some(event) => Head { revision: event.revision, chain: event.chain },
            None if before <= 0 => Head { revision: 0, chain: chain::GENESIS.to_vec() },
            None => return Err(Error::internal(format!("the ledger has no event at revision {before}"))),
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
        let transaction = self.follower.begin().await.map_err(sort)?;
        let head = head(&transaction).await?;
        if head == *from {
            transaction.commit().await.map_err(sort)?;
            return Ok(Vec::new());
        }
        if head.revision <= from.revision {
            return Err(Error::internal(format!(
                "the ledger went back from revision {} to {}, or changed its history; was an older backup restored?",
                from.revision, head.revision
            )));
        }
        let last = from.revision.saturating_add(limit).min(head.revision);
        // An import changes a thousand things with each revision: of such, fewer at a time.
        let beyond = ledger_change::Entity::find()
            .select_only()
            .column(ledger_change::Column::Rev)
            .filter(ledger_change::Column::Shard.eq(SHARD))
            .filter(ledger_change::Column::Rev.gt(from.revision))
            .filter(ledger_change::Column::Rev.lte(last))
            .order_by_asc(ledger_change::Column::Rev)
            .order_by_asc(ledger_change::Column::Seq)
            .offset(MAX_CHANGES)
            .limit(1)
            .into_tuple::<i64>()
            .one(&transaction)
            .await
            .map_err(sort)?;
        let last = beyond.map_or(last, |beyond| beyond.saturating_sub(1).max(from.revision.saturating_add(1)));
        let events = audit_event::Entity::find()
            .filter(audit_event::Column::Revision.gt(from.revision))
            .filter(audit_event::Column::Revision.lte(last))
            .order_by_asc(audit_event::Column::Revision)
            .all(&transaction)
            .await
            .map_err(sort)?;
        let mut payloads: HashMap<i64, Vec<String>> = HashMap::new();
        let rows = ledger_change::Entity::find()
            .filter(ledger_change::Column::Shard.eq(SHARD))
            .filter(ledger_change::Column::Rev.gt(from.revision))
            .filter(ledger_change::Column::Rev.lte(last))
            .order_by_asc(ledger_change::Column::Rev)
            .order_by_asc(ledger_change::Column::Seq)
            .all(&transaction)
            .await
            .map_err(sort)?;
        transaction.commit().await.map_err(sort)?;
        for row in rows {
            check_reader(row.min_reader)?;
            payloads.entry(row.rev).or_default().push(row.payload);
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

async fn head(transaction: &DatabaseTransaction) -> Result<Head> {
    let row = ledger_head::Entity::find_by_id(SHARD)
        .one(transaction)
        .await
        .map_err(sort)?
        .ok_or_else(|| Error::internal("the ledger has no head"))?;
    Ok(Head { revision: row.rev, chain: row.chain })
}
