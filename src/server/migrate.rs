//! `keyward migrate`: the schema, without a server.

use crate::config::DatabaseUrl;
use crate::error::Result;
use crate::store::Store;

/// Where the rows are whose schema is to be brought up to date.
#[derive(Clone, Debug, clap::Args)]
pub struct MigrateArgs {
    /// Where the rows are, as for `serve`
    #[arg(long, value_name = "URL", env = "KEYWARD_DATABASE_URL", hide_env_values = true)]
    database_url: DatabaseUrl,
}

/// Carries out what is pending, and tells what that was.
pub(super) async fn command(args: MigrateArgs) -> Result<String> {
    let migrated = Store::migrate(args.database_url.as_str()).await?;
    Ok(format!("{migrated}\n"))
}
