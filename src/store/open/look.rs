//! A look at an open database: whether it is still what the guarantee rests on, and what its clock says.

use super::{Engine, Store, Target, mysql, postgres, sort};
use crate::domain::clock::Time;
use crate::error::{Error, Result};
use sea_orm::{ConnectionTrait as _, Statement};

impl Store {
    /// Looks again whether the database keeps what it acknowledges: an error says what it should not be asked to stand
    /// in for, the rest is what somebody should know of.
    pub async fn examine(&self) -> Result<Vec<String>> {
        match &*self.target {
            // What we rest on is set with each connection.
            Target::Sqlite { .. } => Ok(Vec::new()),
            Target::Postgres(options) => postgres::examine(options, self.lease).await,
            Target::MySql(options, _) => mysql::examine(options).await.map(|(_, remarks)| remarks),
        }
    }

    /// The time by the database's clock; `None` if it has none of its own.
    pub async fn database_time(&self) -> Result<Option<Time>> {
        let question = match self.engine() {
            Engine::Sqlite => return Ok(None),
            Engine::Postgres => "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
            Engine::MySql => "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)",
        };
        let statement = Statement::from_string(self.reader.get_database_backend(), question);
        let row = self.reader.query_one_raw(statement).await.map_err(sort)?;
        let row = row.ok_or_else(|| Error::internal("the database does not tell the time"))?;
        row.try_get_by_index(0).map(|micros| Some(Time::from_micros(micros))).map_err(sort)
    }
}
