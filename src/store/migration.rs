//! The migrations, oldest first. Invisible outside `store`. Expand, then contract: a migration adds what older binaries
//! can ignore, and takes away only what no supported binary reads.

use sea_orm_migration::{MigrationTrait, MigratorTrait, async_trait};

mod m0001_ledger;
mod m0002_keys;
mod m0003_people;
mod m0004_mail;
mod m0005_signing;
mod m0006_passwords;
mod m0007_mail_count;
mod m0008_replica;

pub(in crate::store) struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_ledger::Migration),
            Box::new(m0002_keys::Migration),
            Box::new(m0003_people::Migration),
            Box::new(m0004_mail::Migration),
            Box::new(m0005_signing::Migration),
            Box::new(m0006_passwords::Migration),
            Box::new(m0007_mail_count::Migration),
            Box::new(m0008_replica::Migration),
        ]
    }
}
