//! What the database says, sorted into what a caller can do about it; driver messages hold values and go nowhere.

use crate::error::Error;
use sea_orm::sqlx;
use sea_orm::sqlx::mysql::MySqlDatabaseError;
use sea_orm::{DbErr, RuntimeErr, SqlErr};

/// A database error without its values: only what kind it was.
pub(super) fn sort(error: DbErr) -> Error {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => {
            Error::internal("a unique constraint refused a row that the rules had let pass")
        }
        Some(_) => Error::internal("a constraint refused a row"),
        None => match &error {
            DbErr::ConnectionAcquire(_) => {
                Error::unavailable("the database gave no connection in time: it is away, or too many are in use")
            }
            DbErr::Conn(cause) | DbErr::Exec(cause) | DbErr::Query(cause) => Error::unavailable(describe(cause)),
            _ => Error::internal(kind(&error)),
        },
    }
}

/// Why a first connection was not made, or a first question not answered, as an operator needs to know it.
pub(super) fn cannot_connect(error: &sqlx::Error) -> Error {
    let refuse = |rule: &str| Error::invalid("--database-url", rule);
    match error {
        sqlx::Error::Configuration(_) => refuse(
            "cannot be understood: user, password and path must be percent-encoded, and parameters be known words",
        ),
        // Of files and sockets the operating system speaks, and repeats nothing.
        sqlx::Error::Io(cause) => {
            Error::unavailable(format!("the database of --database-url cannot be reached: {}", cause.kind()))
        }
        sqlx::Error::Tls(_) => Error::unavailable(
            "the database of --database-url and this process cannot agree on TLS: look at its certificate, and at the \
             parameters for TLS in the URL",
        ),
        sqlx::Error::Database(cause) => match &*code(&**cause) {
            "28P01" | "28000" | "1045" | "1698" => {
                refuse("names a user that the database does not let in, or a wrong password")
            }
            "3D000" | "1049" => refuse("names a database that does not exist: make it first"),
            "42501" | "1044" | "1142" => refuse("names a user who may not use that database"),
            code => Error::unavailable(meaning(code)),
        },
        _ => Error::unavailable("the database of --database-url cannot be reached"),
    }
}

fn describe(cause: &RuntimeErr) -> String {
    cause_code(cause).map_or_else(|| "the database cannot be reached".to_owned(), |code| meaning(&code))
}

/// The SQLSTATE, or the number of MySQL and SQLite, if the database itself has refused something.
pub(super) fn code_of(error: &DbErr) -> Option<String> {
    match error {
        DbErr::Conn(cause) | DbErr::Exec(cause) | DbErr::Query(cause) => cause_code(cause),
        _ => None,
    }
}

fn cause_code(cause: &RuntimeErr) -> Option<String> {
    match cause {
        RuntimeErr::SqlxError(source) => source.as_database_error().map(code),
        RuntimeErr::Internal(_) => None,
    }
}

/// The SQLSTATE; of MySQL the number, since its SQLSTATE is mostly that of anything.
fn code(error: &dyn sqlx::error::DatabaseError) -> String {
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => error.number().to_string(),
        None => error.code().unwrap_or_default().into_owned(),
    }
}

/// What a code means to whoever might try again. SQLSTATEs have five characters, numbers of MySQL four, those of SQLite
/// fewer.
fn meaning(code: &str) -> String {
    match code {
        "40001" | "40P01" | "1213" => "another mutation came first; try again".to_owned(),
        "55P03" | "1205" | "5" => "other mutations are under way for too long; try again".to_owned(),
        "57014" | "1969" | "3024" => "the database took too long; try again".to_owned(),
        "25006" | "1290" | "1792" | "1836" | "8" => {
            "the database takes no writes: it may have become a standby".to_owned()
        }
        "57P01" | "57P02" | "57P03" | "25P03" | "53300" | "1040" | "1053" | "1927" | "4031" => {
            "the database ended or refused the connection".to_owned()
        }
        _ if code.len() == 5 && code.starts_with("08") => "the database cannot be reached".to_owned(),
        _ => format!("the database refused a statement (code {code})"),
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
