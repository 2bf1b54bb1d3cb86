//! Hints from replica to replica that there is something to see, by PostgreSQL's LISTEN and NOTIFY. They are sent after
//! the commit, since within it they would hold up everybody's, and nothing depends on them: where the engine has none, or
//! something on the way does not let them through, the next poll sees the same.

use super::open::{Engine, Purpose, Store};
use crate::error::{Error, Result};
use sea_orm::sqlx::postgres::PgListener;
use sea_orm::{ConnectionTrait, Statement};
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

const CHANNEL: &str = "keyward";

/// How long a connection to listen on may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that hears hints.
pub struct Hints(PgListener);

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hints")
    }
}

impl Hints {
    /// Waits for the next hint: a revision that somebody has committed. An error if the connection is gone.
    pub async fn next(&mut self) -> Result<i64> {
        let hint = self.0.try_recv().await.map_err(|_| gone())?.ok_or_else(gone)?;
        // Whoever else writes to the channel wakes us for nothing.
        Ok(hint.payload().parse().unwrap_or(i64::MAX))
    }
}

fn gone() -> Error {
    Error::unavailable("the connection that hears hints is gone")
}

impl Store {
    /// Starts to listen; none where the engine has no hints.
    pub async fn hints(&self) -> Result<Option<Hints>> {
        if self.engine() != Engine::Postgres {
            return Ok(None);
        }
        let listening = async {
            let db = self.connect(Purpose::Follower).await?;
            let mut listener = PgListener::connect_with(db.get_postgres_connection_pool()).await.map_err(|_| gone())?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await.map_err(|_| gone())?;
            Ok(Some(Hints(listener)))
        };
        timeout(CONNECT_TIMEOUT, listening).await.unwrap_or_else(|_| Err(gone()))
    }

    /// Tells other replicas, if the engine has a way to, that there is something to see.
    pub async fn hint(&self, revision: i64) {
        if self.engine() != Engine::Postgres {
            return;
        }
        let values = [CHANNEL.into(), revision.to_string().into()];
        let notify =
            Statement::from_sql_and_values(self.keeper.get_database_backend(), "SELECT pg_notify($1, $2)", values);
        let told = timeout(Duration::from_secs(1), self.keeper.execute_raw(notify)).await;
        if !matches!(told, Ok(Ok(_))) {
            tracing::debug!(revision, "other replicas could not be told of a revision; they will see it");
        }
    }
}
