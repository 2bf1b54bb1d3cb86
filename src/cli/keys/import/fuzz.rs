//! Files of keys as other systems write them.

use super::records::Records;
use super::*;
use crate::fuzz::fuzz;
use crate::proto::v1::import_keys_entry::Material;

/// The only credential there is in the seeds.
const SECRET: &str = "CANARY-0123456789";

/// Reads all of a file: as many lines as there are, each once, and no credential told.
fn read_whole(bytes: &[u8], format: FileFormat) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let mut records = match Records::begin(bytes, format) {
        Ok(records) => records,
        Err(reason) => return assert!(!reason.contains(SECRET), "{reason}"),
    };
    let mut last = 0;
    let mut count = 0;
    while let Some(record) = records.next().unwrap() {
        count += 1;
        assert!(count <= lines, "more keys than lines");
        assert!(record.line > last && record.last_line >= record.line);
        assert!(usize::try_from(record.last_line).unwrap() <= lines);
        last = record.last_line;
        match record.entry {
            Ok(entry) => {
                assert_eq!(entry.line, record.line);
                assert!(entry.key.is_some());
                match entry.material {
                    Some(Material::Sha256(digest)) => assert_eq!(digest.len(), 32),
                    Some(Material::Credential(_)) => {}
                    None => panic!("neither a credential nor a digest"),
                }
            }
            Err(reason) => {
                // It may be told where it stands for something else.
                let line = bytes.split(|byte| *byte == b'\n').nth(usize::try_from(record.line - 1).unwrap()).unwrap();
                let is_credential = serde_json::from_slice::<serde_json::Value>(line)
                    .is_ok_and(|line| line.get("credential").is_some_and(|credential| credential == SECRET));
                let is_told = reason.contains(SECRET);
                assert!(!reason.is_empty(), "nothing is told");
                assert!(!is_credential || !is_told, "{reason}");
            }
        }
    }
}

#[test]
fn a_file_of_json_is_read_line_by_line_and_tells_no_credential() {
    fuzz!("import-jsonl", |bytes| read_whole(bytes, FileFormat::Jsonl));
}

#[test]
fn a_file_of_csv_is_read_row_by_row() {
    fuzz!("import-csv", |bytes| read_whole(bytes, FileFormat::Csv));
}
