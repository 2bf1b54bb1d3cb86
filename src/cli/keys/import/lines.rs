//! A file line by line, each with its number; what is longer than any key is skipped unread.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

/// No key is longer than this in a file.
pub(super) const MAX_RECORD_BYTES: usize = 256 << 10;

/// A line and what is in it, with its line end; `None` if it is too long.
pub(super) type Line = (i64, Option<Vec<u8>>);

/// Lines, some of which may be put back.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    number: i64,
    bytes: u64,
    back: VecDeque<Line>,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(read: R) -> Self {
        Self { reader: BufReader::new(read), number: 0, bytes: 0, back: VecDeque::new() }
    }

    /// How many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line; nothing at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        if let Some(line) = self.back.pop_front() {
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        let length = self.part(&mut line)?;
        if length == 0 {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        let mut is_too_long = false;
        while line.last() != Some(&b'\n') && line.len() > MAX_RECORD_BYTES {
            is_too_long = true;
            line.clear();
            if self.part(&mut line)? == 0 {
                break;
            }
        }
        is_too_long |= line.len() > MAX_RECORD_BYTES;
        // What a spreadsheet puts before everything else.
        if self.number == 1 && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        Ok(Some((self.number, (!is_too_long).then_some(line))))
    }

    /// Reads on to the line's end, but no further than one byte too far.
    fn part(&mut self, line: &mut Vec<u8>) -> io::Result<usize> {
        let limit = u64::try_from(MAX_RECORD_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        let length = (&mut self.reader).take(limit).read_until(b'\n', line)?;
        self.bytes = self.bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        Ok(length)
    }

    /// Puts back lines that were read one after the other.
    pub(super) fn put_back(&mut self, lines: Vec<Line>) {
        for line in lines.into_iter().rev() {
            self.back.push_front(line);
        }
    }
}

/// Whether text that was cut at line ends is within quotes, as CSV has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Quotes {
    /// Where a field begins.
    #[default]
    Before,
    /// In a field without quotes, where they mean nothing.
    Without,
    /// In a field with quotes.
    Within,
    /// After a quote in such a field: its end, or the first of two that stand for one.
    After,
}

impl Quotes {
    /// What it is after `text`.
    pub(super) fn after(self, text: &[u8]) -> Self {
        text.iter().fold(self, |quotes, byte| match (quotes, byte) {
            (Self::Before, b'"') | (Self::After, b'"') => Self::Within,
            (Self::Within, b'"') => Self::After,
            (Self::Within, _) => Self::Within,
            (Self::Before | Self::Without | Self::After, b',') => Self::Before,
            (Self::Before | Self::Without | Self::After, _) => Self::Without,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Line> {
        let mut lines = Lines::new(text.as_bytes());
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_counted() {
        let long = "x".repeat(MAX_RECORD_BYTES * 3);
        let lines = all(&format!("a\r\n{long}\n\nb"));
        let expected =
            vec![(1, Some(b"a\r\n".to_vec())), (2, None), (3, Some(b"\n".to_vec())), (4, Some(b"b".to_vec()))];
        assert_eq!(lines, expected);
        assert_eq!(all(&long), [(1, None)]);
        let longest = "x".repeat(MAX_RECORD_BYTES - 1) + "\n";
        assert_eq!(all(&longest.repeat(2)).iter().filter(|(_, line)| line.is_some()).count(), 2);
        assert_eq!(all("\u{feff}a\n\u{feff}b"), [(1, Some(b"a\n".to_vec())), (2, Some("\u{feff}b".into()))]);
        assert_eq!(all(""), []);
    }

    #[test]
    fn quotes_are_counted_as_csv_has_them() {
        let is_open = |text: &str| Quotes::default().after(text.as_bytes()) == Quotes::Within;
        for open in ["\"", "a,\"b", "a,\"b\n", "\"a\"\"", "\"a\"\"b", "a,\"b,\"\""] {
            assert!(is_open(open), "{open}");
        }
        for closed in ["", "a", "a\"b", "a,b\"", "\"a\"", "\"a\"\"b\",c", "\"\"", "\"a,\",\"b\"\n"] {
            assert!(!is_open(closed), "{closed}");
        }
    }
}
