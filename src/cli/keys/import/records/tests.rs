use super::*;

fn of(text: &str, format: FileFormat) -> Records<&[u8]> {
    Records::begin(text.as_bytes(), format).unwrap()
}

/// Where each record begins, and its key's id or what is wrong with it.
fn told(text: &str, format: FileFormat) -> Vec<(i64, String)> {
    let mut records = of(text, format);
    let mut all = Vec::new();
    while let Some(record) = records.next().unwrap() {
        all.push((record.line, record.entry.map_or_else(|reason| reason, |entry| entry.key_id)));
    }
    all
}

fn lines(expected: &[(i64, &str)]) -> Vec<(i64, String)> {
    expected.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
}

#[test]
fn a_bad_line_spoils_no_other() {
    let json =
        "{\"key_id\": \"a\", \"credential\": \"1\"}\r\n\n  \nnonsense\n{\"key_id\": \"b\", \"credential\": \"2\"}";
    let expected = [(1, "a"), (4, "is not JSON: it ends or goes wrong at column 2"), (5, "b")];
    assert_eq!(told(json, FileFormat::Jsonl), lines(&expected));

    let csv = "key_id,credential\r\na,1\r\n\r\nb,2,3\nc,\"3\n4\"\nd,\"5\ne,6\nf,it\"s\n";
    let expected = [
        (2, "a"),
        (4, "has 3 fields, and the first line names 2"),
        (5, "c"),
        (7, "has a quote that is not closed"),
        (8, "e"),
        (9, "f"),
    ];
    assert_eq!(told(csv, FileFormat::Csv), lines(&expected));
    assert!(Records::begin(&b""[..], FileFormat::Csv).is_err());
    assert!(Records::begin(&b"a,b\n"[..], FileFormat::Csv).is_err());
}

#[test]
fn a_file_of_one_open_quote_is_read_within_bounds() {
    let mut csv = "key_id,credential\na,\"1\n".to_owned();
    let count = 3 * MAX_RECORD_BYTES / 100;
    for number in 0..count {
        csv.push_str(&format!("k{number},{}\n", "x".repeat(90)));
    }
    let all = told(&csv, FileFormat::Csv);
    assert_eq!(all.len(), count + 1);
    assert_eq!(all[0], (2, "has a quote that is not closed".to_owned()));
    assert_eq!(all[1], (3, "k0".to_owned()));
}

#[test]
fn batches_hold_so_many_lines_or_so_many_bytes() {
    let line = |number: usize, size: usize| {
        format!("{{\"credential\": \"{number}\", \"description\": \"{}\"}}\n", "x".repeat(size))
    };
    let text: String = (1..=10).map(|number| line(number, 10)).collect();
    let ends = |records: &mut Records<&[u8]>, size, done_line| {
        let mut all = Vec::new();
        while let Some(batch) = records.batch(1, size, done_line).unwrap() {
            all.push((batch.entries.len(), batch.last_line));
        }
        all
    };
    assert_eq!(ends(&mut of(&text, FileFormat::Jsonl), 4, 0), [(4, 4), (4, 8), (2, 10)]);
    assert_eq!(ends(&mut of(&text, FileFormat::Jsonl), 4, 5), [(4, 9), (1, 10)]);
    assert_eq!(ends(&mut of(&text, FileFormat::Jsonl), 4, 10), []);
    let large: String = (1..=10).map(|number| line(number, 200 << 10)).collect();
    assert_eq!(ends(&mut of(&large, FileFormat::Jsonl), 1000, 0), [(4, 4), (4, 8), (2, 10)]);
    assert_eq!(ends(&mut of("no\nno\nno\n", FileFormat::Jsonl), 2, 0), [(0, 2), (0, 3)]);
}
