//! The master key: 32 random bytes in a file that only its owner may read, under which private halves are sealed.

use super::file::write_for_owner;
use crate::error::{Error, Result};
use crate::store::Sealed;
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The size of the key and of its file at most.
const KEY_BYTES: usize = 32;
const MAX_FILE_BYTES: u64 = 1024;

/// What begins the text that is authenticated with each private half, and the key's id ends it.
const PURPOSE: &str = "keyward signing key ";

/// A master key that was read from its file.
pub struct MasterKey {
    key: RandomizedNonceKey,
    path: PathBuf,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("path", &self.path).finish_non_exhaustive()
    }
}

impl MasterKey {
    /// Reads the file; `None` if it is not there. A file that others may read, or that holds no key, is refused.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| unreadable(path, &error))?,
        };
        let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
        if !metadata.is_file() {
            return Err(refused(path, "is not a file"));
        }
        if metadata.mode() & 0o077 != 0 {
            let mode = metadata.mode() & 0o777;
            return Err(refused(
                path,
                &format!("has mode {mode:04o}, so that others can read it; chmod 600 and consider whether they have"),
            ));
        }
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES as usize));
        (&mut file).take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        let length = STANDARD.decode_slice(text.trim_ascii(), bytes.as_mut_slice());
        if length != Ok(KEY_BYTES) {
            return Err(refused(path, "does not hold 32 bytes in base64"));
        }
        Self::new(path, &bytes).map(Some)
    }

    /// Makes a key and its file, unless it is there. For whoever holds the lock on the database.
    pub fn create(path: &Path) -> Result<Self> {
        if let Some(there) = Self::read(path)? {
            return Ok(there);
        }
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(Error::internal)?;
        let text = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        write_for_owner(path, text.as_bytes()).map_err(|error| {
            Error::unavailable(format!("the master key file {} cannot be made: {error}", path.display()))
        })?;
        Self::read(path)?.ok_or_else(|| refused(path, "is not there, although it has just been made"))
    }

    fn new(path: &Path, bytes: &[u8; KEY_BYTES]) -> Result<Self> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(Error::internal)?;
        Ok(Self { key, path: path.to_owned() })
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Seals the private half of the key of that id.
    pub fn seal(&self, kid: &str, private: &[u8]) -> Result<Sealed> {
        // With room for the tag, so that the plain text is never left behind by a larger buffer.
        let mut ciphertext = Zeroizing::new(Vec::with_capacity(private.len().saturating_add(64)));
        ciphertext.extend_from_slice(private);
        let aad = Aad::from(format!("{PURPOSE}{kid}"));
        let nonce = self.key.seal_in_place_append_tag(aad, &mut *ciphertext).map_err(Error::internal)?;
        Ok(Sealed { nonce: nonce.as_ref().to_vec(), ciphertext: ciphertext.to_vec() })
    }

    /// Opens the private half of the key of that id; `None` if it was not sealed for that key under this master key.
    pub fn open(&self, kid: &str, sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
        let nonce = Nonce::try_assume_unique_for_key(&sealed.nonce).ok()?;
        let mut text = Zeroizing::new(sealed.ciphertext.clone());
        let aad = Aad::from(format!("{PURPOSE}{kid}"));
        let length = self.key.open_in_place(nonce, aad, &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::unavailable(format!("the master key file {} cannot be read: {error}", path.display()))
}

fn refused(path: &Path, why: &str) -> Error {
    Error::precondition(format!("the master key file {}", path.display()), why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyward.db.master-key");
        (folder, path)
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let (folder, path) = folder();
        assert!(MasterKey::read(&path).unwrap().is_none());
        let made = MasterKey::create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let sealed = made.seal("one", b"secret").unwrap();
        // Whoever comes second gets what the first has made.
        let again = MasterKey::create(&path).unwrap();
        assert_eq!(again.open("one", &sealed).unwrap().as_slice(), b"secret");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
        assert!(!format!("{made:?} {sealed:?}").contains("secret"));
    }

    #[test]
    fn what_is_sealed_opens_only_whole_under_its_key_and_for_its_id() {
        let (_folder, path) = folder();
        let ours = MasterKey::create(&path).unwrap();
        let theirs = MasterKey::create(&path.with_extension("other")).unwrap();
        let sealed = ours.seal("one", b"secret").unwrap();
        assert_eq!(ours.open("one", &sealed).unwrap().as_slice(), b"secret");
        assert!(ours.open("two", &sealed).is_none());
        assert!(theirs.open("one", &sealed).is_none());
        assert_ne!(ours.seal("one", b"secret").unwrap(), sealed, "a nonce is used once");
        for at in 0..sealed.ciphertext.len() {
            let mut broken = sealed.clone();
            broken.ciphertext[at] ^= 1;
            assert!(ours.open("one", &broken).is_none());
        }
        for nonce in [vec![], vec![0; 11], vec![0; 12], vec![0; 16]] {
            assert!(ours.open("one", &Sealed { nonce, ..sealed.clone() }).is_none());
        }
        assert!(ours.open("one", &Sealed { ciphertext: Vec::new(), ..sealed }).is_none());
    }

    #[test]
    fn a_file_that_others_may_read_or_that_holds_no_key_is_refused() {
        let (folder, path) = folder();
        MasterKey::create(&path).unwrap();
        for mode in [0o644, 0o640, 0o660, 0o604, 0o610, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let text = MasterKey::read(&path).unwrap_err().to_string();
            assert!(text.contains("chmod 600") && text.contains("master-key"), "{text}");
        }
        for mode in [0o600, 0o400] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(MasterKey::read(&path).unwrap().is_some());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let cut = good.get(1..).unwrap();
        for bad in ["", "\n", "AAAA", "?", cut, &format!("{good}{good}"), &"A".repeat(5000)] {
            fs::write(&path, bad).unwrap();
            assert!(MasterKey::read(&path).unwrap_err().to_string().contains("32 bytes in base64"), "{bad:?}");
        }
        fs::write(&path, [0xff; 44]).unwrap();
        assert!(MasterKey::read(&path).is_err());
        assert!(MasterKey::read(folder.path()).is_err());
    }
}
