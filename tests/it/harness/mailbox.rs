//! Mail as its recipient finds it in the folder of a server that writes it there.

use std::path::Path;
use std::time::Duration;

/// A mail that brought a token.
#[derive(Clone, Debug)]
pub struct Mail {
    pub to: String,
    pub token: String,
}

/// The mails about an application, oldest first, once there are `count` or more.
pub async fn about(folder: &Path, application: &str, count: usize) -> Vec<Mail> {
    for _ in 0..3000 {
        let found = read(folder, application);
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no mail about {application}");
}

/// Those that are there so far, oldest first.
pub fn read(folder: &Path, application: &str) -> Vec<Mail> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "eml"))
    {
        let text = std::fs::read_to_string(&entry).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        if !body.lines().any(|line| line.trim() == application) {
            continue;
        }
        let to = head.lines().find_map(|line| line.strip_prefix("To: ")).unwrap().to_owned();
        let mut alone = body.lines().filter(|line| !line.contains([' ', '/']));
        let token = alone.next().unwrap().to_owned();
        assert_eq!(alone.next(), None, "{text}");
        found.push((entry.metadata().unwrap().modified().unwrap(), Mail { to, token }));
    }
    found.sort_by_key(|(time, _)| *time);
    found.into_iter().map(|(_, mail)| mail).collect()
}
