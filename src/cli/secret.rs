//! Secrets from files, standard input and the environment, so that none need be in the arguments.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::failure::Failure;

/// Where a command finds the credential that it is about.
#[derive(Debug, Args)]
pub(super) struct CredentialSource {
    /// A file with the credential, `-` for standard input; one trailing line end is dropped [env: KEYWARD_CREDENTIAL
    /// holds the credential itself]
    #[arg(long, value_name = "PATH")]
    credential_file: Option<std::path::PathBuf>,
}

impl CredentialSource {
    /// The credential, if one is given.
    pub(super) fn find(&self) -> Result<Option<String>, Failure> {
        read_or_environment(self.credential_file.as_deref(), "KEYWARD_CREDENTIAL")
    }

    /// The credential, as it was presented.
    pub(super) fn credential(&self) -> Result<String, Failure> {
        self.find()?.ok_or_else(|| {
            Failure::Usage(
                "no credential: give --credential-file PATH (`-` is standard input) or KEYWARD_CREDENTIAL".to_owned(),
            )
        })
    }
}

/// A secret from a file, else from an environment variable, if there is one.
pub(super) fn read_or_environment(path: Option<&Path>, variable: &str) -> Result<Option<String>, Failure> {
    match path {
        Some(path) => read(path).map(Some),
        None => environment(variable),
    }
}

/// A password that is to be set, if one is given. An empty one is refused, not taken for none.
pub(super) fn new_password(path: Option<&Path>) -> Result<Option<String>, Failure> {
    match read_or_environment(path, "KEYWARD_NEW_PASSWORD")? {
        Some(password) if password.is_empty() => Err(Failure::Usage("the new password is empty".to_owned())),
        password => Ok(password),
    }
}

/// A secret from a file or standard input, without one trailing line end.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(unreadable(path, &"too long for a secret"));
    }
    let text = String::from_utf8(bytes).map_err(|_| unreadable(path, &"not UTF-8"))?;
    Ok(without_line_end(&text).to_owned())
}

/// A file's or standard input's bytes. Standard input can be had once.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if path != Path::new("-") && path != Path::new("/dev/stdin") {
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        return Ok(Box::new(file));
    }
    if IS_STDIN_TAKEN.swap(true, Ordering::Relaxed) {
        return Err(Failure::Usage("standard input can be read for one thing only".to_owned()));
    }
    Ok(Box::new(io::stdin()))
}

/// The error for a file that cannot be used; never with what is in it.
pub(super) fn unreadable(path: &Path, cause: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("cannot read {}: {cause}", path.display()))
}

/// The text without one `\n` or `\r\n` at its end.
pub(super) fn without_line_end(text: &str) -> &str {
    match text.strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "clap has no option without an argument, and secrets stay out of arguments"
)]
fn environment(variable: &str) -> Result<Option<String>, Failure> {
    match std::env::var(variable) {
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        // Without the value, which may be a secret.
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::Usage(format!("{variable} is not UTF-8"))),
    }
}

/// More than any credential; what is longer than 8 KiB the server refuses as malformed.
const MAX_SECRET_BYTES: u64 = 48 << 10;

static IS_STDIN_TAKEN: AtomicBool = AtomicBool::new(false);
