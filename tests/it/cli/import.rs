//! `keyward keys import`: files of either format, bad lines, and going on after a cut.

use super::terminal::{Terminal, text};
use crate::harness::process::keyward;
use sha2::{Digest as _, Sha256};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

fn is_good(t: &Terminal, credential: &str) -> bool {
    t.line("check").variable("KEYWARD_CREDENTIAL", credential).run().code == 0
}

fn hex(credential: &str) -> String {
    Sha256::digest(credential).iter().map(|byte| format!("{byte:02X}")).collect()
}

#[test]
fn a_file_of_either_format_is_taken_over_and_its_bad_lines_are_told() {
    let t = Terminal::new();
    let json = format!(
        r#"{{"key_id": "one", "credential": "kw_credential_number_one", "displayName": "One", "labels": {{"team": "maps"}}}}
{{"keyId": "two", "sha256": "{}", "grants": [{{"resources": {{"resource": "doc/*", "actions": ["read"]}}}}]}}

{{"key_id": "three", "credential": "credential number three",}}
{{"key_id": "four", "credential": "credential number four", "display_name": "One"}}
{{"key_id": "five", "credential": "credential number five", "colour": "red"}}
{{"key_id": "six", "credential": "short"}}
{{"key_id": "seven", "credential": "credential number seven"}}
"#,
        hex("credential number two"),
    );
    let path = t.file("keys.jsonl", &json).display().to_string();
    let done = t.as_owner("keys import").word(&path).exits(1);
    assert_eq!(done.out, "imported 3, refused 4\n");
    let told: Vec<&str> = done.err.lines().collect();
    assert_eq!(told.len(), 5, "{done:?}");
    for (line, begins) in told.iter().zip([
        "line 4: is not JSON",
        "line 5: key.display_name \"One\" is taken",
        "line 6: is no key: ",
        "line 7: credential must be 16 to 8192 bytes long",
        "error: 4 lines were refused",
    ]) {
        assert!(line.starts_with(begins), "{line}");
        assert!(!line.contains("number") && !line.contains("short"), "{line}");
    }
    t.line("check --resource doc/1 --action read").variable("KEYWARD_CREDENTIAL", "credential number two").ok();
    assert!(is_good(&t, "kw_credential_number_one") && is_good(&t, "credential number seven"));
    assert!(!is_good(&t, "credential number five"));
    // Put right and run again: what is there already is not harmed.
    let json = json.replace("\"One\"}\n", "\"Four\"}\n").replace("\",}", "\"}").replace("short", "no longer too short");
    let json = json.replace(", \"colour\": \"red\"", "");
    let again = t.as_owner("keys import --batch 2 -").stdin(&json).json();
    assert_eq!((again["imported"].as_u64(), again["refused"].as_u64()), (Some(7), Some(0)));
    assert!(is_good(&t, "credential number five"));

    let csv = format!(
        "key_id,credential,sha256,display_name,allowed_ips,labels.team,grants\r\n\
         eight,\"credential, \"\"number\"\" eight\",,Eight,192.0.2.0/24;2001:db8::/32,maps,\r\n\
         nine,,{},,,,\"[{{\"\"apis\"\": {{\"\"names\"\": [\"\"maps\"\"]}}}}]\"\r\n\
         ten,credential number ten\r\n\
         eleven,,,,,,\r\n\
         twelve,\"credential of\ntwo lines\",,,,,\r\n\
         thirteen,credential number thirteen,,,nowhere,,\r\n",
        hex("credential number nine")
    );
    let path = t.file("keys.CSV", &csv).display().to_string();
    let done = t.as_owner("keys import --parent tenants/acme").word(&path).exits(1);
    assert_eq!(done.out, "imported 3, refused 3\n");
    done.says("line 4: has 2 fields, and the first line names 7").says("line 5: credential or sha256 must be given");
    done.says("line 8: key.allowed_ips[0] ");
    assert!(is_good(&t, "credential number nine") && is_good(&t, "credential of\ntwo lines"));
    let key = t.as_owner("keys get eight").json()["key"].clone();
    assert_eq!((key["allowedIps"].as_array().unwrap().len(), text(&key["labels"]["team"])), (2, "maps".to_owned()));
    t.line("check --source-ip 192.0.2.9").variable("KEYWARD_CREDENTIAL", "credential, \"number\" eight").ok();

    t.as_owner("keys import /nonexistent/file").exits(2).says("cannot read /nonexistent/file");
    t.as_owner("keys import --format csv -").stdin("a secret of old,b\n").exits(2).says("must name the columns");
    t.as_owner("keys import --parent tenants/other -")
        .stdin(&json)
        .exits(1)
        .says("NOT_FOUND")
        .says("resume from line 1");
    t.line("keys import -").stdin(&json).exits(1).says("UNAUTHENTICATED").says("no key was given");
    let empty = t.as_owner("keys import -").ok();
    assert_eq!(empty.out, "imported 0, refused 0\n");
}

#[test]
fn an_import_that_was_cut_off_goes_on_after_the_last_line_that_is_done() {
    let t = Terminal::new();
    let line = |number: u32| format!("{{\"key_id\": \"k{number}\", \"credential\": \"credential number {number}\"}}\n");
    let text: String = (1..=9).map(line).collect();
    let path = t.file("keys.jsonl", &text).display().to_string();
    let resume = t.dir.path().join("progress");
    let import = || t.as_owner("keys import --batch 2 --resume-file").word(resume.display().to_string()).word(&path);
    // Cut: a pipe of which the first four lines came, and then the importer was ended.
    let mut command = keyward();
    command.args(["keys", "import", "-", "--format", "jsonl", "--batch", "2", "--resume-file"]).arg(&resume);
    command.env("KEYWARD_SERVER", &t.server.admin_addr).env("KEYWARD_KEY", &t.owner);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all((1..=5).map(line).collect::<String>().as_bytes()).unwrap();
    stdin.flush().unwrap();
    let begun = std::time::Instant::now();
    let done_line = || std::fs::read_to_string(&resume).ok().and_then(|text| text.lines().next()?.parse::<i64>().ok());
    while done_line() != Some(4) {
        assert!(begun.elapsed().as_secs() < 30, "{:?}", done_line());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    assert!(is_good(&t, "credential number 4") && !is_good(&t, "credential number 5"));

    import().exits(2).says("it is of another import, that of -");
    std::fs::write(&resume, format!("4\n{path}\n")).unwrap();
    let done = import().ok();
    assert_eq!(done.out, "imported 5, refused 0\n");
    done.says("going on after line 4");
    assert!(!resume.exists(), "the next run begins anew");
    assert_eq!(import().ok().out, "imported 9, refused 0\n");
    std::fs::write(&resume, "nonsense").unwrap();
    import().exits(2).says("it is no --resume-file");
}

#[test]
fn a_server_that_goes_away_is_waited_for_a_little_and_then_the_line_is_told() {
    let mut t = Terminal::new();
    let mut command = keyward();
    let resume = t.dir.path().join("progress");
    command
        .args(["keys", "import", "-", "--format", "jsonl", "--batch", "1", "--timeout", "2s", "--resume-file"])
        .arg(&resume);
    command.env("KEYWARD_SERVER", &t.server.admin_addr).env("KEYWARD_KEY", &t.owner);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"credential\": \"credential number 1\"}\n").unwrap();
    let begun = std::time::Instant::now();
    // Until the answer has come.
    while !std::fs::read_to_string(&resume).is_ok_and(|text| text.starts_with("1\n")) {
        assert!(begun.elapsed().as_secs() < 30);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let other = tempfile::TempDir::new().unwrap();
    let next = crate::harness::process::Process::start(&other.path().join("keyward.db"), &[]);
    std::mem::replace(&mut t.server, next).kill();
    stdin.write_all(b"{\"credential\": \"credential number 2\"}\n").unwrap();
    let said: Vec<String> = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{said:?}");
    assert!(
        said[0].starts_with("stopped: the lines up to 1 are done (1 imported, 0 refused), resume from line 2"),
        "{said:?}"
    );
}
