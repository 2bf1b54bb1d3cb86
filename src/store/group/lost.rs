//! What became of a group whose COMMIT was not answered by a plain success.

use super::lead::{OPENING, locked_head};
use crate::error::{Error, Result};
use crate::store::draft::Committed;
use crate::store::entity::audit_event;
use crate::store::failure::sort;
use crate::store::open::Store;
use sea_orm::{EntityTrait, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(200);

/// What became of a COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is durable.
    Committed,
    /// It did not happen and will not.
    Absent,
    /// The database did not say in time.
    Unknown,
}

impl Outcome {
    pub(super) fn into_result(self) -> Result<()> {
        match self {
            Self::Committed => Ok(()),
            Self::Absent => Err(Error::unavailable("the database did not commit; nothing was changed, try again")),
            Self::Unknown => Err(Error::unavailable(
                "the database did not say whether it committed: it is not known whether this was carried out; try again, \
                 with the same request_id where there is one",
            )),
        }
    }
}

impl Store {
    /// Looks, under the head lock, for the event that leads to `head`. The lock is free only once the transaction that
    /// would have written it is over, one way or the other.
    pub(super) async fn find_out(&self, head: Committed) -> Outcome {
        let asking = async {
            loop {
                match self.is_there(head).await {
                    Ok(true) => return Outcome::Committed,
                    Ok(false) => return Outcome::Absent,
                    Err(_) => sleep(PAUSE).await,
                }
            }
        };
        timeout(OPENING, asking).await.unwrap_or(Outcome::Unknown)
    }

    async fn is_there(&self, wanted: Committed) -> Result<bool> {
        let mode = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = self.writer.begin_with_options(mode).await.map_err(sort)?;
        locked_head(&transaction).await?;
        // Rows of others may stand there by now: what counts is the chain.
        let event = audit_event::Entity::find_by_id(wanted.revision).one(&transaction).await.map_err(sort)?;
        transaction.rollback().await.map_err(sort)?;
        Ok(event.is_some_and(|event| event.chain == wanted.chain))
    }
}
