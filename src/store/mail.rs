//! The queue of mail. A mutation puts mail into it, in its own transaction; whoever sends takes it out again.

use super::draft::Draft;
use super::entity::mail_queue;
use super::failure::sort;
use super::open::Store;
use crate::domain::clock::Time;
use crate::domain::mail::Mail;
use crate::error::Result;
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// A mail that was committed and is not known to have been accepted.
#[derive(Clone, Debug)]
pub struct QueuedMail {
    /// Its own, the same in each attempt.
    pub id: String,
    /// What is to be sent.
    pub mail: Mail,
    /// When it was queued.
    pub create_time: Time,
    /// How often it has failed.
    pub attempt_count: u32,
}

/// Whether a draft has queued mail, and whom to tell once it is committed.
#[derive(Debug)]
pub(super) struct MailMark {
    is_set: AtomicBool,
    listener: Arc<Notify>,
}

impl MailMark {
    pub(super) fn committed(&self) {
        if self.is_set.load(Ordering::Relaxed) {
            self.listener.notify_one();
        }
    }
}

impl Draft {
    /// Queues a mail, to be sent once this is committed; never, if it is not. One about the same thing that was not
    /// sent yet is dropped: what it says no longer holds.
    pub async fn queue_mail(&self, mail: &Mail) -> Result<()> {
        self.drop_mail(&mail.about).await?;
        let row = mail_queue::ActiveModel {
            id: Set(uuid::Uuid::new_v4().to_string()),
            about: Set(mail.about.clone()),
            recipient: Set(mail.recipient.clone()),
            subject: Set(mail.subject.clone()),
            body: Set(mail.text.clone()),
            create_time: Set(self.now().micros()),
            attempt_count: Set(0),
            next_attempt_time: Set(self.now().micros()),
            give_up_time: Set(mail.give_up_time.micros()),
        };
        mail_queue::Entity::insert(row).exec_without_returning(&self.transaction).await.map_err(sort)?;
        self.mail.is_set.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Drops what is queued about a thing: what it says no longer holds.
    pub async fn drop_mail(&self, about: &str) -> Result<()> {
        let queued = mail_queue::Entity::delete_many().filter(mail_queue::Column::About.eq(about));
        queued.exec(&self.transaction).await.map_err(sort)?;
        Ok(())
    }
}

impl Store {
    pub(super) fn mail_mark(&self) -> MailMark {
        MailMark { is_set: AtomicBool::new(false), listener: Arc::clone(&self.mail_queued) }
    }

    /// Waits until this process has committed mail since it was last asked.
    pub async fn mail_queued(&self) {
        self.mail_queued.notified().await;
    }

    /// The mail whose turn it is, if it is due.
    pub async fn due_mail(&self) -> Result<Option<QueuedMail>> {
        let due = mail_queue::Entity::find()
            .filter(mail_queue::Column::NextAttemptTime.lte(self.clock.now().micros()))
            .order_by_asc(mail_queue::Column::NextAttemptTime)
            .order_by_asc(mail_queue::Column::Id)
            .limit(1);
        let row = due.one(&self.reader).await.map_err(sort)?;
        Ok(row.map(|row| QueuedMail {
            id: row.id,
            mail: Mail {
                about: row.about,
                recipient: row.recipient,
                subject: row.subject,
                text: row.body,
                give_up_time: Time::from_micros(row.give_up_time),
            },
            create_time: Time::from_micros(row.create_time),
            attempt_count: u32::try_from(row.attempt_count).unwrap_or_default(),
        }))
    }

    /// How many mails are queued, due or not.
    pub async fn mail_count(&self) -> Result<u64> {
        mail_queue::Entity::find().count(&self.reader).await.map_err(sort)
    }

    /// Takes a mail out of the queue: it was accepted, or given up.
    pub async fn remove_mail(&self, id: &str) -> Result<()> {
        mail_queue::Entity::delete_by_id(id).exec(&self.writer).await.map_err(sort)?;
        Ok(())
    }

    /// Notes that a mail has failed `attempt_count` times, and tries it again after `pause`.
    pub async fn postpone_mail(&self, id: &str, attempt_count: u32, pause: Duration) -> Result<()> {
        let next_attempt_time = self.clock.now().after(pause);
        mail_queue::Entity::update_many()
            .set(mail_queue::ActiveModel {
                attempt_count: Set(i32::try_from(attempt_count).unwrap_or(i32::MAX)),
                next_attempt_time: Set(next_attempt_time.micros()),
                ..Default::default()
            })
            .filter(mail_queue::Column::Id.eq(id))
            .exec(&self.writer)
            .await
            .map_err(sort)?;
        Ok(())
    }
}
