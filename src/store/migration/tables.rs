//! What the engines need of a table beyond what a migration says: that names compare byte for byte and that spaces at
//! their end count, so that `Foo` is not `foo` and pages go on where they ended; and room for what is long.

use crate::store::failure::code_of;
use crate::store::open::Flavour;
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use sea_orm_migration::SchemaManager;
use sea_orm_migration::prelude::*;

/// Makes tables and indexes as the engine at hand needs them. On SQLite there is nothing to add.
///
/// MySQL and MariaDB commit each of these by itself, so that a migration may end half way there: what an earlier attempt
/// has made is left as it is.
pub(super) struct Tables<'a> {
    manager: &'a SchemaManager<'a>,
    backend: DbBackend,
    /// Of MySQL and MariaDB.
    collation: Option<&'static str>,
}

impl<'a> Tables<'a> {
    pub(super) async fn of(manager: &'a SchemaManager<'a>) -> Result<Self, DbErr> {
        let db = manager.get_connection();
        let backend = manager.get_database_backend();
        if backend != DbBackend::MySql {
            return Ok(Self { manager, backend, collation: None });
        }
        let row = db.query_one_raw(Statement::from_string(backend, "SELECT VERSION()")).await?;
        let version = row.map(|row| row.try_get_by_index::<String>(0)).transpose()?.unwrap_or_default();
        let flavour = if version.contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
        Ok(Self { manager, backend, collation: Some(flavour.collation()) })
    }

    pub(super) async fn create_table(&self, plain: TableCreateStatement) -> Result<(), DbErr> {
        if self.backend == DbBackend::Sqlite {
            return self.manager.create_table(plain).await;
        }
        let mut table = Table::create();
        if let Some(name) = plain.get_table_name() {
            table.table(name.clone());
        }
        for column in plain.get_columns() {
            table.col(self.exact(column.clone()));
        }
        for index in plain.get_indexes() {
            table.index(&mut index.clone());
        }
        if let Some(collation) = self.collation {
            table.if_not_exists().engine("InnoDB").character_set("utf8mb4").collate(collation);
        }
        self.manager.create_table(table).await
    }

    /// `text` holds 64 KiB on MySQL, and as many bytes as one likes elsewhere.
    fn exact(&self, mut column: ColumnDef) -> ColumnDef {
        let kind = column.get_column_type().cloned();
        let is_long = matches!(kind, Some(ColumnType::Text));
        if self.backend == DbBackend::Postgres && (is_long || matches!(kind, Some(ColumnType::String(_)))) {
            column.extra("COLLATE \"C\"");
        } else if self.backend == DbBackend::MySql && is_long {
            column.custom("longtext");
        }
        column
    }

    pub(super) async fn create_index(&self, index: IndexCreateStatement) -> Result<(), DbErr> {
        self.unless_made(self.manager.create_index(index).await)
    }

    /// Adds columns of numbers; one of text would need its collation.
    pub(super) async fn alter_table(&self, table: TableAlterStatement) -> Result<(), DbErr> {
        self.unless_made(self.manager.alter_table(table).await)
    }

    fn unless_made(&self, done: Result<(), DbErr>) -> Result<(), DbErr> {
        match done {
            Err(error) if self.backend == DbBackend::MySql && is_made(&error) => Ok(()),
            done => done,
        }
    }
}

/// Whether an index or column is there already.
fn is_made(error: &DbErr) -> bool {
    matches!(code_of(error).as_deref(), Some("1060" | "1061"))
}
