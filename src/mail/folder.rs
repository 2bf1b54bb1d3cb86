//! Mail as files in a folder: what works on a fresh start, and in tests. Only their owner may read them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A folder that mail is written into. It is made with the first mail.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Writes `{id}.eml`, whole or not at all; the same mail written again is the same file.
    pub(super) async fn write(&self, id: &str, message: Vec<u8>) -> Result<(), String> {
        let folder = self.0.clone();
        let name = format!("{id}.eml");
        let written = tokio::task::spawn_blocking(move || write(&folder, &name, &message));
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("it cannot be written into {}: {error}", self.0.display())),
            Err(error) => Err(format!("writing it did not finish: {error}")),
        }
    }
}

fn write(folder: &Path, name: &str, message: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // The name is not that of a mail, and one that a crash left is written over.
    let unfinished = folder.join(format!(".{name}.new"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(message)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn a_mail_is_a_whole_file_for_its_owner_only_and_the_same_mail_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some").join("mail");
        let folder = Folder::new(path.clone());
        folder.write("one", b"first".to_vec()).await.unwrap();
        fs::write(path.join(".one.eml.new"), "half").unwrap();
        folder.write("one", b"again".to_vec()).await.unwrap();
        let names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["one.eml"]);
        assert_eq!(fs::read(path.join("one.eml")).unwrap(), b"again");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("one.eml"))), (0o700, 0o600));
        let blocked = Folder::new(path.join("one.eml"));
        assert!(blocked.write("two", Vec::new()).await.unwrap_err().contains("one.eml"));
    }
}
