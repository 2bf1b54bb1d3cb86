//! Where the root credential goes: to the operator's file, written and synced before it counts, or to the terminal.

use crate::desk::root;
use crate::domain::credential::Credential;
use crate::error::{Error, Result};
use crate::store::Store;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Makes root if there is none; whoever made it gets the credential.
pub(super) async fn establish(store: &Store, file: Option<&Path>) -> Result<Option<Credential>> {
    root::establish(store, async |credential| keep(file, credential)).await
}

/// Replaces root offline: the credential goes to `file`, or is returned to be shown once.
pub(super) async fn rotate(store: &Store, file: Option<&Path>) -> Result<Credential> {
    root::rotate(store, async |credential| keep(file, credential)).await
}

fn keep(file: Option<&Path>, credential: &Credential) -> Result<()> {
    let Some(path) = file else { return Ok(()) };
    write(path, credential.expose().as_bytes()).map_err(|error| {
        Error::unavailable(format!("the root credential cannot be written to {}: {error}", path.display()))
    })
}

/// Writes a file of mode 0600 whole or not at all, and durably: a neighbour is written, synced and renamed.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut neighbour = path.as_os_str().to_owned();
    neighbour.push(".new");
    let neighbour = PathBuf::from(neighbour);
    match fs::remove_file(&neighbour) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&neighbour)?;
    file.write_all(text)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&neighbour, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
