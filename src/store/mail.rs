//! The queue of mail. A mutation puts mail into it, in its own transaction; whoever sends takes it out again.

use super::draft::Draft;
use super::entity::{application, mail_count, mail_queue};
use super::failure::sort;
use super::open::Store;
use crate::domain::clock::Time;
use crate::domain::mail::{DAILY_MAILS_OF_TENANT, DAILY_MAILS_TO_ONE, Mail, day_of};
use crate::domain::name::{TenantId, UserId};
use crate::domain::user::canonical_email;
use crate::error::{Error, Result};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
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
        mail_queue::Entity::insert(row).exec_without_returning(self.writing().await?).await.map_err(sort)?;
        self.mail.is_set.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a mail that a tenant has us send to an address, and refuses it if it is one too many for today. What is not
    /// committed does not count; what is dropped before it was sent does.
    pub async fn count_mail(&self, tenant: &TenantId, recipient: &str) -> Result<()> {
        let (day, left) = day_of(self.now());
        let past = mail_count::Entity::delete_many().filter(mail_count::Column::Day.lt(day));
        past.exec(self.writing().await?).await.map_err(sort)?;
        for (counted, most, limit) in [
            (tenant.name(), DAILY_MAILS_OF_TENANT, "mails a day that one tenant causes"),
            (canonical_email(recipient), DAILY_MAILS_TO_ONE, "mails a day to one address"),
        ] {
            if self.count_one(day, counted).await? > most {
                return Err(Error::Exhausted { limit: format!("{most} {limit}"), retry_after: Some(left) });
            }
        }
        Ok(())
    }

    /// Counts one more of a day; how many there are with it.
    async fn count_one(&self, day: i64, counted: String) -> Result<i32> {
        let place = (day, counted.clone());
        let row = mail_count::ActiveModel { day: Set(day), counted: Set(counted), mails: Set(1) };
        let one_more = Expr::col((mail_count::Entity, mail_count::Column::Mails)).add(1);
        let conflict = OnConflict::columns([mail_count::Column::Day, mail_count::Column::Counted])
            .value(mail_count::Column::Mails, one_more)
            .to_owned();
        let insert = mail_count::Entity::insert(row).on_conflict(conflict);
        insert.exec_without_returning(self.writing().await?).await.map_err(sort)?;
        let row = mail_count::Entity::find_by_id(place).one(self.transaction()).await.map_err(sort)?;
        row.map(|row| row.mails).ok_or_else(|| Error::internal("a mail that was counted is not there"))
    }

    /// Drops what is queued about anything of a tenant.
    pub async fn drop_mail_of_tenant(&self, tenant: &TenantId) -> Result<()> {
        let queued = mail_queue::Entity::delete_many().filter(is_about_tenant(tenant));
        queued.exec(self.writing().await?).await.map_err(sort)?;
        Ok(())
    }

    /// Drops what is queued about the applications of a user.
    pub async fn drop_mail_of_user(&self, tenant: &TenantId, user: &UserId) -> Result<()> {
        // The queue is short: daily limits see to it.
        let queued: Vec<String> = mail_queue::Entity::find()
            .select_only()
            .column(mail_queue::Column::About)
            .filter(is_about_tenant(tenant))
            .into_tuple()
            .all(self.transaction())
            .await
            .map_err(sort)?;
        for about in queued {
            let id = about.rsplit('/').next().unwrap_or_default().to_owned();
            let place = (tenant.as_str().to_owned(), id);
            let row = application::Entity::find_by_id(place).one(self.transaction()).await.map_err(sort)?;
            if row.is_some_and(|row| row.owner_id == user.as_str()) {
                self.drop_mail(&about).await?;
            }
        }
        Ok(())
    }

    /// Drops what is queued about a thing: what it says no longer holds.
    pub async fn drop_mail(&self, about: &str) -> Result<()> {
        let queued = mail_queue::Entity::delete_many().filter(mail_queue::Column::About.eq(about));
        queued.exec(self.writing().await?).await.map_err(sort)?;
        Ok(())
    }
}

/// Whether mail is about something below a tenant: a range of names, which an index serves and no wildcard widens.
fn is_about_tenant(tenant: &TenantId) -> Condition {
    let name = tenant.name();
    // The character after `/` is `0`.
    let about = mail_queue::Column::About;
    Condition::all().add(about.gt(format!("{name}/"))).add(about.lt(format!("{name}0")))
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

    /// How many mails have failed and are tried again.
    pub async fn failed_mail_count(&self) -> Result<u64> {
        let failed = mail_queue::Entity::find().filter(mail_queue::Column::AttemptCount.gt(0));
        failed.count(&self.reader).await.map_err(sort)
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
