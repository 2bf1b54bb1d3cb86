//! How far an import has come: on the terminal, and in a file for the next run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::records::Batch;
use crate::cli::failure::Failure;
use crate::cli::output::{plain, remark};
use crate::cli::secret;
use crate::proto::v1::ImportKeysResponse;

/// How far it has come.
pub(super) struct Progress {
    bar: ProgressBar,
    file: PathBuf,
    resume_file: Option<PathBuf>,
    done_line: i64,
    imported: u64,
    refused: u64,
}

impl Progress {
    /// Begins where the last run ended, if that is known. The bar is drawn on a terminal only.
    pub(super) fn begin(file: &Path, resume_file: Option<&Path>) -> Result<Self, Failure> {
        let done_line = resume_file.map_or(Ok(0), |path| read(path, file))?;
        let size = fs::metadata(file).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
        let (bar, template) = match size {
            Some(size) => {
                (ProgressBar::new(size), "{wide_bar} {percent}%  {msg}  {elapsed_precise}, {eta_precise} to go")
            }
            None => (ProgressBar::no_length(), "{spinner} {msg}  {elapsed_precise}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if done_line > 0 {
            remark(&format!("going on after line {done_line}"));
        }
        let resume_file = resume_file.map(Path::to_owned);
        Ok(Self { bar, file: file.to_owned(), resume_file, done_line, imported: 0, refused: 0 })
    }

    /// The line up to which everything is done.
    pub(super) fn done_line(&self) -> i64 {
        self.done_line
    }

    /// Notes what the server said of a batch, and tells of its bad lines.
    pub(super) fn note(&mut self, batch: Batch, answer: ImportKeysResponse) {
        let mut refused = batch.refused;
        refused.extend(answer.errors.into_iter().map(|error| (error.line, error.reason)));
        refused.sort_unstable_by_key(|(line, _)| *line);
        self.bar.suspend(|| {
            for (line, reason) in &refused {
                remark(&format!("line {line}: {}", plain(reason)));
            }
        });
        self.imported = self.imported.saturating_add(u64::try_from(answer.imported_count).unwrap_or(0));
        self.refused = self.refused.saturating_add(u64::try_from(refused.len()).unwrap_or(0));
        self.done_line = batch.last_line;
        if let Some(path) = &self.resume_file
            && let Err(error) = write(path, &self.file, self.done_line)
        {
            self.bar.suspend(|| remark(&format!("cannot write {}: {error}", path.display())));
        }
        self.bar.set_position(batch.bytes);
        self.bar.set_message(format!("{} imported, {} refused", self.imported, self.refused));
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// What to do after a failure.
    pub(super) fn how_to_go_on(&self) -> String {
        let (line, next) = (self.done_line, self.done_line.saturating_add(1));
        let how = match &self.resume_file {
            Some(_) => "run the same again to go on there",
            None => "run the same again: what is imported already is not harmed",
        };
        format!(
            "stopped: the lines up to {line} are done ({} imported, {} refused), resume from line {next}; {how}",
            self.imported, self.refused
        )
    }

    /// How many were imported and refused. The next run begins anew: with what was refused put right, say.
    pub(super) fn finish(self) -> Result<(u64, u64), Failure> {
        if let Some(path) = &self.resume_file
            && let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(Failure::Usage(format!("cannot remove {}: {error}", path.display())));
        }
        Ok((self.imported, self.refused))
    }
}

/// The line up to which a run on that file came; 0 if there was none.
fn read(path: &Path, file: &Path) -> Result<i64, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(secret::unreadable(path, &error)),
    };
    let mut lines = text.lines();
    let line = lines.next().and_then(|line| line.parse().ok()).filter(|line| *line >= 0);
    match (line, lines.next()) {
        (Some(line), Some(of)) if of == file.display().to_string() => Ok(line),
        (Some(_), Some(of)) => Err(secret::unreadable(path, &format!("it is of another import, that of {of}"))),
        _ => Err(secret::unreadable(path, &"it is no --resume-file")),
    }
}

/// Writes it beside and puts it in place at once: one cut in half would be no help.
fn write(path: &Path, file: &Path, line: i64) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, format!("{line}\n{}\n", file.display()))?;
    fs::rename(&beside, path)
}
