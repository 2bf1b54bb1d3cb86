//! What signs JWTs, from the command line to the rows: the master key file, the issuer, the first key, and the next ones
//! in good time.

use crate::check::Index;
use crate::clock::Clock;
use crate::config::{Address, Config, DatabaseUrl};
use crate::desk::signing;
use crate::error::{Error, Result};
use crate::keyring::{MasterKey, check_master};
use crate::replica::settle_from_outside;
use crate::store::Store;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How often it is looked whether it is time for the next signing key; looking costs nothing.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long it is left alone when the next signing key could not be made.
const PAUSE: Duration = Duration::from_secs(60);

/// Under which name the issuer is kept.
const ISSUER: &str = "issuer";

/// What the file beside a SQLite database is called after it.
const BESIDE: &str = "master-key";

/// `keyward signing-key …`: what is done to signing keys without a server.
#[derive(Debug, clap::Subcommand)]
pub enum SigningKeyArgs {
    /// Make a signing key that signs at once; the old ones sign no more. On SQLite the server must be stopped
    Rotate {
        /// Where the rows are, as for `serve`
        #[arg(long, value_name = "URL", env = "KEYWARD_DATABASE_URL", hide_env_values = true)]
        database_url: DatabaseUrl,
        /// The master key file, as for `serve`
        #[arg(long, value_name = "PATH", env = "KEYWARD_MASTER_KEY_FILE", hide_env_values = true)]
        master_key_file: Option<PathBuf>,
        /// Also refuse every JWT that the old ones have signed: somebody else may have them
        #[arg(long)]
        compromised: bool,
    },
}

/// Carries out a command on signing keys; what it says when it is done.
pub(super) async fn command(args: SigningKeyArgs) -> Result<String> {
    let SigningKeyArgs::Rotate { database_url, master_key_file, compromised } = args;
    let store = Store::open(database_url.as_str(), Clock::default()).await?;
    // A master key that opens nothing is no hindrance here: this is how one gets out of that.
    let master = match (&master_key_file, store.beside(BESIDE)) {
        (Some(path), _) => given(path)?,
        (None, Some(path)) => match MasterKey::read(&path)? {
            Some(master) => master,
            None => MasterKey::create(&path)?,
        },
        (None, None) => return Err(Error::invalid("--master-key-file", "must be given on this database")),
    };
    let committed = signing::rotate(&store, &master, compromised).await?;
    settle_from_outside(&store, committed).await?;
    store.close().await?;
    let revision = committed.revision;
    let fate = if compromised { "refused from now on" } else { "accepted until they expire" };
    Ok(format!(
        "A new key signs JWTs as of revision {revision}; those of the old ones are {fate}.\n\
         Services that keep the key set for long must fetch it again.\n"
    ))
}

/// The master key, and with it the first signing key. One that opens nothing is refused.
pub(super) async fn establish(store: &Store, config: &Config) -> Result<Option<Arc<MasterKey>>> {
    let keys = store.signing_keys().await?;
    let master = match (&config.master_key_file, store.beside(BESIDE)) {
        (Some(path), _) => given(path)?,
        (None, Some(path)) => match MasterKey::read(&path)? {
            Some(master) => master,
            None if keys.is_empty() => MasterKey::create(&path)?,
            None => {
                return Err(Error::precondition(
                    format!("the master key file {}", path.display()),
                    "is not there, and the database has signing keys that only it opens; restore it, say where it is by \
                     --master-key-file, or make a new signing key by `keyward signing-key rotate`",
                ));
            }
        },
        (None, None) => return Ok(None),
    };
    check_master(store, &master, &keys).await?;
    signing::renew(store, &master, config.signing_key_life).await?;
    Ok(Some(Arc::new(master)))
}

/// A file that was named must be there: a new one in its place would open nothing elsewhere.
fn given(path: &Path) -> Result<MasterKey> {
    MasterKey::read(path)?.ok_or_else(|| {
        Error::precondition(
            format!("the master key file {}", path.display()),
            "is not there; make one with `(umask 077; head -c 32 /dev/urandom | base64 > FILE)`",
        )
    })
}

/// The issuer of JWTs: what the first start said, or where that process told its key set.
pub(super) async fn issuer(store: &Store, config: &Config, ops_addr: &Address) -> Result<String> {
    let wanted = config.issuer.clone();
    let scheme = if config.transport.ops_tls.is_some() { "https" } else { "http" };
    let default = || match ops_addr {
        Address::Tcp(_) | Address::Host { .. } => format!("{scheme}://{ops_addr}"),
        Address::Unix(_) => "http://localhost".to_owned(),
    };
    let kept = store.settle(ISSUER, &wanted.clone().unwrap_or_else(default)).await?;
    match wanted {
        Some(wanted) if wanted != kept => Err(Error::invalid(
            "--issuer",
            format!("must be {kept}, as the first start has it: every JWT names it, and so do those who verify them"),
        )),
        Some(_) | None => Ok(kept),
    }
}

/// Makes the next signing key whenever it is time to.
pub(super) async fn keep_renewing(
    store: Store,
    index: Arc<Index>,
    clock: Clock,
    master: Arc<MasterKey>,
    life: Duration,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let mut pause = INTERVAL;
    while timeout(pause, stopped.wait_for(|stopped| *stopped)).await.is_err() {
        pause = INTERVAL;
        if !index.is_serving() || !signing::is_due(&index.signing_keys(), clock.now(), life) {
            continue;
        }
        match signing::renew(&store, &master, life).await {
            Ok(Some(made)) => tracing::info!(made.revision, "made the next signing key"),
            // Somebody else has, and this index does not know it yet.
            Ok(None) => {}
            Err(error) => {
                pause = PAUSE;
                tracing::error!("the next signing key could not be made: {error}");
            }
        }
    }
    Ok(())
}
