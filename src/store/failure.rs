//! What the database says, sorted into what a caller can do about it; driver messages hold values and go nowhere.

use crate::error::Error;
use sea_orm::{DbErr, RuntimeErr, SqlErr};

/// A database error without its values: only what kind it was.
pub(super) fn sort(error: DbErr) -> Error {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => {
            Error::internal("a unique constraint refused a row that the rules had let pass")
        }
        Some(_) => Error::internal("a constraint refused a row"),
        None => match &error {
            DbErr::ConnectionAcquire(_) => Error::unavailable("no database connection became free in time"),
            DbErr::Conn(cause) | DbErr::Exec(cause) | DbErr::Query(cause) => Error::unavailable(describe(cause)),
            _ => Error::internal(kind(&error)),
        },
    }
}

fn describe(cause: &RuntimeErr) -> String {
    let code = match cause {
        RuntimeErr::SqlxError(source) => {
            source.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
        }
        RuntimeErr::Internal(_) => None,
    };
    match code {
        Some(code) => format!("the database refused a statement (code {code})"),
        None => "the database cannot be reached".to_owned(),
    }
}

/// The variant's name: `DbErr`'s own text may hold values.
fn kind(error: &DbErr) -> &'static str {
    match error {
        DbErr::Type(_) | DbErr::TryIntoErr { .. } | DbErr::ConvertFromU64(_) => "a column of an unexpected type",
        DbErr::RecordNotFound(_) | DbErr::RecordNotInserted | DbErr::RecordNotUpdated => {
            "a row that was to be written is not there"
        }
        DbErr::Migration(_) => "a migration failed",
        _ => "the database layer failed",
    }
}
