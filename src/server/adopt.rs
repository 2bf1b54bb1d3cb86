//! `keyward adopt`: has every replica take a ledger that is not the continuation of the one it followed.

use crate::clock::Clock;
use crate::config::DatabaseUrl;
use crate::desk::root;
use crate::error::Result;
use crate::store::Store;

/// `keyward adopt`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
When a database was restored from a backup, or a fail-over has lost commits, keys that were revoked since then are valid in
it again. So replicas that have followed it refuse it, answer UNAVAILABLE and say why. Look at what was lost (the audit log
ends earlier), revoke again what has to be, then adopt it: all replicas load it anew and serve.

Example:
  keyward adopt --database-url postgres://keyward@db.example/keyward")]
pub struct AdoptArgs {
    /// Where the rows are, as for `serve`
    #[arg(long, value_name = "URL", env = "KEYWARD_DATABASE_URL", hide_env_values = true)]
    database_url: DatabaseUrl,
}

/// Carries it out; says what was done.
pub(super) async fn command(args: AdoptArgs) -> Result<String> {
    let store = Store::open(args.database_url.as_str(), Clock::default()).await?;
    let (revision, cluster_id) = root::adopt(&store).await?;
    store.close().await?;
    Ok(format!("Adopted as cluster {cluster_id} at revision {revision}; replicas load it anew\n"))
}
