//! `keyward descriptors`: the contract as other tools read it.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::Failure;
use crate::proto::FILE_DESCRIPTOR_SET;

/// Write the contract as an encoded google.protobuf.FileDescriptorSet.
#[derive(Debug, Args)]
#[command(after_help = "\
Needs no server. Comments and options such as google.api.http are kept.

Example:
  keyward descriptors --out keyward.binpb && grpcurl -protoset keyward.binpb list")]
pub struct Descriptors {
    /// Where to write, `-` for standard output [default: standard output, unless that is a terminal]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Descriptors {
    /// Writes the bytes.
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self.out.as_deref() {
            Some(path) if path != Path::new("-") => std::fs::write(path, FILE_DESCRIPTOR_SET)
                .map_err(|error| Failure::Usage(format!("cannot write {}: {error}", path.display()))),
            None if io::stdout().is_terminal() => Err(Failure::Usage(
                "these are bytes for programs: give --out FILE, or `--out -` to see them".to_owned(),
            )),
            Some(_) | None => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(FILE_DESCRIPTOR_SET)?;
                Ok(stdout.flush()?)
            }
        }
    }
}
