//! Where the root credential goes: to the operator's file, written and synced before it counts, or to the terminal.

use crate::desk::root;
use crate::domain::credential::Credential;
use crate::error::{Error, Result};
use crate::keyring::write_for_owner;
use crate::store::{Committed, Store};
use std::path::Path;

/// Makes root if there is none; whoever made it gets the credential.
pub(super) async fn establish(store: &Store, file: Option<&Path>) -> Result<Option<Credential>> {
    root::establish(store, async |credential| keep(file, credential)).await
}

/// Replaces root offline: the credential goes to `file`, or is returned to be shown once.
pub(super) async fn rotate(store: &Store, file: Option<&Path>) -> Result<(Credential, Committed)> {
    root::rotate(store, async |credential| keep(file, credential)).await
}

fn keep(file: Option<&Path>, credential: &Credential) -> Result<()> {
    let Some(path) = file else { return Ok(()) };
    write_for_owner(path, credential.expose().as_bytes()).map_err(|error| {
        Error::unavailable(format!("the root credential cannot be written to {}: {error}", path.display()))
    })
}
