//! A file of keys, read on a thread of its own and no faster than it is sent.

use std::io::{self, Read};
use std::path::Path;

use prost::Message as _;
use tokio::sync::mpsc;

use super::FileFormat;
use super::entry::{Column, Entries};
use super::lines::{Line, Lines, MAX_RECORD_BYTES, Quotes};
use crate::cli::failure::Failure;
use crate::cli::secret;
use crate::proto::v1::ImportKeysEntry;

/// Below the server's 1 MiB for one message.
const MAX_BATCH_BYTES: usize = 900 << 10;

/// Lines that are sent together.
#[derive(Debug)]
pub(super) struct Batch {
    /// Its number, above zero and rising.
    pub(super) sequence: i64,
    /// The keys.
    pub(super) entries: Vec<ImportKeysEntry>,
    /// The lines that hold no key, and why.
    pub(super) refused: Vec<(i64, String)>,
    /// Where it ends.
    pub(super) last_line: i64,
    /// How much of the file was read when it was complete.
    pub(super) bytes: u64,
}

/// One key of a file.
pub(super) struct Record {
    /// Where it begins.
    pub(super) line: i64,
    /// Where it ends.
    pub(super) last_line: i64,
    /// The key, or why there is none.
    pub(super) entry: Result<ImportKeysEntry, String>,
}

/// The batches of a file, after what was done before.
pub(super) fn read(
    path: &Path,
    format: FileFormat,
    size: usize,
    done_line: i64,
) -> Result<mpsc::Receiver<Result<Batch, Failure>>, Failure> {
    let source = secret::open(path)?;
    let unreadable = {
        let path = path.to_owned();
        move |cause: String| secret::unreadable(&path, &cause)
    };
    let mut records = Records::begin(source, format).map_err(&unreadable)?;
    let (sender, batches) = mpsc::channel(1);
    let mut sequence = 0;
    // Not the runtime's, which would wait for standard input to end.
    std::thread::spawn(move || {
        loop {
            sequence += 1;
            let batch = match records.batch(sequence, size, done_line) {
                Ok(Some(batch)) => Ok(batch),
                Ok(None) => return,
                Err(error) => Err(unreadable(error.to_string())),
            };
            let is_last = batch.is_err();
            if sender.blocking_send(batch).is_err() || is_last {
                return;
            }
        }
    });
    Ok(batches)
}

/// The keys of a file, one after the other.
pub(super) struct Records<R> {
    lines: Lines<R>,
    entries: Entries,
    /// Of CSV.
    columns: Option<Vec<Column>>,
    /// What did not fit into the batch before.
    held: Option<Record>,
}

impl<R: Read> Records<R> {
    /// Reads as far as the header, if there is one.
    pub(super) fn begin(source: R, format: FileFormat) -> Result<Self, String> {
        let entries = Entries::new().map_err(|failure| failure.to_string())?;
        let mut lines = Lines::new(source);
        let columns = match format {
            FileFormat::Jsonl => None,
            FileFormat::Csv => {
                let (_, _, header) = row(&mut lines).map_err(|error| error.to_string())?.ok_or("it is empty")?;
                Some(entries.columns(header?.iter())?)
            }
        };
        Ok(Self { lines, entries, columns, held: None })
    }

    /// The next batch; none at the end.
    fn batch(&mut self, sequence: i64, size: usize, done_line: i64) -> io::Result<Option<Batch>> {
        let mut batch = Batch { sequence, entries: Vec::new(), refused: Vec::new(), last_line: 0, bytes: 0 };
        let mut bytes = 0_usize;
        while batch.entries.len() < size && batch.refused.len() < size {
            let next = match self.held.take() {
                Some(record) => Some(record),
                None => self.next()?,
            };
            let Some(record) = next else { break };
            if record.last_line <= done_line {
                continue;
            }
            if let Ok(entry) = &record.entry {
                bytes = bytes.saturating_add(entry.encoded_len()).saturating_add(8);
                if bytes > MAX_BATCH_BYTES && !batch.entries.is_empty() {
                    self.held = Some(record);
                    break;
                }
            }
            batch.last_line = record.last_line;
            match record.entry {
                Ok(entry) => batch.entries.push(entry),
                Err(reason) => batch.refused.push((record.line, reason)),
            }
        }
        batch.bytes = self.lines.bytes();
        Ok((batch.last_line > 0).then_some(batch))
    }

    /// The next key; none at the end. Empty lines are skipped.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        if let Some(columns) = &self.columns {
            let Some((line, last_line, row)) = row(&mut self.lines)? else { return Ok(None) };
            let entry = row.and_then(|row| self.entries.of_row(line, columns, &row.iter().collect::<Vec<_>>()));
            return Ok(Some(Record { line, last_line, entry }));
        }
        loop {
            let Some((line, text)) = self.lines.next()? else { return Ok(None) };
            let entry = match text.as_deref().map(std::str::from_utf8) {
                Some(Ok(text)) if text.trim().is_empty() => continue,
                Some(Ok(text)) => self.entries.of_json(line, text),
                Some(Err(_)) => Err("is not UTF-8".to_owned()),
                None => Err(too_long()),
            };
            return Ok(Some(Record { line, last_line: line, entry }));
        }
    }
}

fn too_long() -> String {
    format!("is longer than {MAX_RECORD_BYTES} bytes")
}

/// A row, or what is wrong with it, with the lines where it begins and ends.
type Row = (i64, i64, Result<csv::StringRecord, String>);

/// The next row of CSV with the lines where it begins and ends.
///
/// A quote that is never closed would swallow the rest of the file: then its line is bad, and the next is looked at anew.
fn row<R: Read>(lines: &mut Lines<R>) -> io::Result<Option<Row>> {
    loop {
        let Some((first, text)) = lines.next()? else { return Ok(None) };
        let Some(mut text) = text else { return Ok(Some((first, first, Err(too_long())))) };
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut last = first;
        let mut further: Vec<Line> = Vec::new();
        let mut quotes = Quotes::default().after(&text);
        while quotes == Quotes::Within {
            let line = lines.next()?;
            let is_at_end = line.is_none();
            further.extend(line);
            match further.last() {
                Some((number, Some(more))) if !is_at_end && text.len() + more.len() <= MAX_RECORD_BYTES => {
                    last = *number;
                    quotes = quotes.after(more);
                    text.extend_from_slice(more);
                }
                _ => {
                    lines.put_back(further);
                    return Ok(Some((first, first, Err("has a quote that is not closed".to_owned()))));
                }
            }
        }
        return Ok(Some((first, last, parse(&text))));
    }
}

fn parse(text: &[u8]) -> Result<csv::StringRecord, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(text.len().max(1))
        .from_reader(text);
    let mut row = csv::StringRecord::new();
    match reader.read_record(&mut row) {
        Ok(true) => Ok(row),
        Ok(false) => Err("is empty".to_owned()),
        // Without the text, which may be the credential.
        Err(_) => Err("is not UTF-8, or no CSV".to_owned()),
    }
}

#[cfg(test)]
mod tests;
