//! What a group writes: of each mutation its rows at once, and the log of all together at the end.

use super::Work;
use super::delayed::Delayed;
use crate::domain::cap::moves;
use crate::domain::change::{Change, Event};
use crate::domain::clock::Time;
use crate::error::{Error, Result};
use crate::store::draft::{Committed, Entry, REPLAY_WINDOW, Replay, SHARD};
use crate::store::entity::{audit_event, ledger_change, replay};
use crate::store::failure::sort;
use crate::store::import::{is_bulk, write_new_keys};
use crate::store::many::Batch;
use crate::store::recent::Link;
use crate::store::rows::{self, READER};
use crate::store::{chain, write};
use sea_orm::ActiveValue::Set;
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};
use std::collections::HashMap;

/// The part of the ledger that no mutation reads, kept until the group ends; but for replays, which are looked up here.
#[derive(Debug, Default)]
pub(in crate::store) struct Record {
    changes: Vec<ledger_change::ActiveModel>,
    events: Vec<audit_event::Model>,
    links: Vec<Link>,
    replays: HashMap<(String, String), replay::Model>,
    last_time: Option<Time>,
}

impl Record {
    /// What an earlier mutation of the group did under this request id.
    pub(in crate::store) fn replay(&self, place: &(String, String)) -> Option<replay::Model> {
        self.replays.get(place).cloned()
    }
}

impl Work {
    /// Whether the rows of these changes can be written later, together with those of others.
    pub(super) fn may_wait(&self, changes: &[Change]) -> bool {
        self.delayed.lock().may_take(changes, &self.cache.lock())
    }

    /// Writes the rows that wait.
    pub(super) async fn write_delayed(&self) -> Result<()> {
        let delayed = std::mem::take(&mut *self.delayed.lock());
        let mut batch = Batch::new(&self.transaction);
        delayed.write(&mut batch).await?;
        batch.write().await
    }

    /// Writes a mutation after `head`, or what of it may not wait; the head it leads to.
    pub(super) async fn write(
        &self,
        head: Committed,
        mut changes: Vec<Change>,
        entry: Entry,
        replay: Option<Replay>,
        now: Time,
        may_wait: bool,
    ) -> Result<Committed> {
        self.cache.lock().forget(&changes);
        let moves = moves(entry.kind, &changes);
        let revision = head.revision.saturating_add(1);
        let mut payloads = Vec::with_capacity(changes.len());
        let mut log = Vec::with_capacity(changes.len());
        let mut delayed = Delayed::default();
        let is_bulk = !may_wait && is_bulk(&changes);
        for (place, change) in changes.iter_mut().enumerate() {
            let is_new = change.is_new();
            change.set_revision(revision);
            if let (true, Change::Key(key)) = (may_wait, &*change) {
                delayed.take(key, is_new)?;
            } else if !is_bulk {
                write::write(&self.transaction, change, is_new).await?;
            }
            let payload = serde_json::to_string(&change).map_err(Error::internal)?;
            log.push(ledger_change::ActiveModel {
                shard: Set(SHARD),
                rev: Set(revision),
                seq: Set(i32::try_from(place).map_err(Error::internal)?),
                kind: Set(change.kind().to_owned()),
                entity: Set(change.entity()),
                min_reader: Set(READER),
                at: Set(now.micros()),
                payload: Set(payload.clone()),
            });
            payloads.push(payload);
        }
        if is_bulk {
            write_new_keys(&self.transaction, &changes).await?;
        }
        let replay = replay.map(|replay| replay_row(&entry, replay, revision, now));
        let Entry { kind, tenant, actor, credential_id, subject, request_id, source_ip, detail } = entry;
        let event = Event {
            revision,
            kind: kind.to_owned(),
            tenant,
            actor,
            credential_id,
            subject,
            time: now,
            request_id,
            source_ip,
            detail,
            chain: Vec::new(),
        };
        let mut event = rows::event_row(event, chain::changes_hash(payloads.iter().map(String::as_str)))?;
        let chain = chain::link(&head.chain, &event);
        event.chain = chain.to_vec();
        if !is_storable(&event) {
            return Err(Error::internal("an event has a text that its column does not take"));
        }
        // Nothing can fail any more that is this mutation's own.
        self.counts.lock().add(moves);
        self.delayed.lock().append(delayed);
        let committed = Committed { revision, chain };
        let mut record = self.record.lock();
        record.links.push(Link { before: head.chain, committed, payloads });
        record.changes.append(&mut log);
        record.events.push(event);
        if let Some(row) = replay {
            record.replays.insert((row.actor.clone(), row.request_id.clone()), row);
        }
        record.last_time = record.last_time.max(Some(now));
        Ok(committed)
    }

    /// Writes everything that waits, and the head it leads to; what led there, for when it is committed.
    pub(super) async fn flush(&self, head: Committed) -> Result<Vec<Link>> {
        let delayed = std::mem::take(&mut *self.delayed.lock());
        let Record { changes, events, links, replays, last_time } = std::mem::take(&mut *self.record.lock());
        if let (Some(now), false) = (last_time, replays.is_empty()) {
            let outdated = now.micros().saturating_sub(REPLAY_WINDOW.as_micros() as i64);
            replay::Entity::delete_many()
                .filter(replay::Column::Time.lte(outdated))
                .exec(&self.transaction)
                .await
                .map_err(sort)?;
        }
        let events = events.into_iter().map(|event| audit_event::ActiveModel::from(event).reset_all());
        let replays = replays.into_values().map(|row| row.into_active_model().reset_all());
        let mut batch = Batch::new(&self.transaction);
        let (counts, is_counted) = {
            let counts = self.counts.lock();
            (counts.rows(), counts.is_kept())
        };
        delayed.write(&mut batch).await?;
        batch.add_counts(counts).await?;
        batch.insert(changes).await?;
        batch.insert(events.collect()).await?;
        batch.insert(replays.collect()).await?;
        batch.move_head(head, is_counted).await?;
        batch.write().await?;
        Ok(links)
    }
}

/// Whether every engine stores the texts of an event as they are: written together, one that is refused is everybody's.
fn is_storable(event: &audit_event::Model) -> bool {
    let audit_event::Model { kind, actor, credential_id, subject, request_id, source_ip, .. } = event;
    [(kind, 64), (actor, 255), (credential_id, 64), (subject, 255), (request_id, 128), (source_ip, 64)]
        .into_iter()
        .all(|(text, most)| text.chars().count() <= most && !text.contains('\0'))
}

fn replay_row(entry: &Entry, replay: Replay, revision: i64, now: Time) -> replay::Model {
    replay::Model {
        actor: entry.actor.clone(),
        request_id: replay.request_id,
        method: replay.method.to_owned(),
        body_hash: replay.body_hash.to_vec(),
        subject: entry.subject.clone(),
        revision,
        time: now.micros(),
    }
}
