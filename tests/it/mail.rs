//! Mail: none for what was not committed, none lost, and sent once if it was accepted once.

use crate::harness::process::Process;
use crate::harness::smtp::{Mood, Sink};
use keyward::clock::Clock;
use keyward::config::{Config, ServeArgs};
use keyward::domain::mail::Mail;
use keyward::mail::Post;
use keyward::store::{Draft, Entry, Store};
use keyward::telemetry::Telemetry;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A database with a queue, and whoever sends what is in it.
struct Office {
    folder: TempDir,
    clock: Clock,
    store: Store,
    telemetry: Telemetry,
    config: Config,
}

/// Somebody who sends, until told to stop.
struct Sending {
    stop: watch::Sender<bool>,
    task: JoinHandle<keyward::error::Result<()>>,
}

impl Sending {
    async fn stop(self) {
        self.stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it stops").unwrap().unwrap();
    }
}

impl Office {
    async fn new(words: ServeArgs) -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("keyward.db").display());
        let config = Config::load(ServeArgs { database_url: Some(url.clone().into()), ..words }).unwrap();
        let clock = Clock::default();
        let store = Store::open(&url, clock.clone()).await.unwrap();
        let telemetry = Telemetry::start(&config).unwrap();
        Self { folder, clock, store, telemetry, config }
    }

    async fn sending_to(sink: &Sink) -> Self {
        Self::new(ServeArgs { smtp_url: Some(sink.url.clone().into()), ..ServeArgs::default() }).await
    }

    fn send(&self) -> Sending {
        let meter = self.telemetry.instruments().mail.clone();
        let post = Post::new(self.store.clone(), self.clock.clone(), &self.config.mail, meter).unwrap();
        let (stop, stopped) = watch::channel(false);
        Sending { stop, task: tokio::spawn(post.run(stopped)) }
    }

    async fn draft(&self) -> Draft {
        self.store.begin().await.unwrap()
    }

    async fn queue(&self, application: &str) {
        let draft = self.draft().await;
        draft.queue_mail(&mail(&draft, application)).await.unwrap();
        commit(draft).await;
    }

    fn mails(&self) -> Vec<PathBuf> {
        let folder = self.folder.path().join("keyward-mail");
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Waits until so many mails are queued.
    async fn until_queued(&self, count: u64) {
        for _ in 0..3000 {
            if self.store.mail_count().await.unwrap() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} mails are queued", self.store.mail_count().await.unwrap());
    }
}

fn mail(draft: &Draft, application: &str) -> Mail {
    let name = format!("tenants/acme/applications/{application}");
    let token = format!("{application:T<43}");
    Mail::verification(&name, "ana@acme.example", &token, draft.now().after(DAY))
}

async fn commit(draft: Draft) {
    let entry = Entry {
        kind: "application.create",
        tenant: None,
        actor: "root".to_owned(),
        credential_id: String::new(),
        subject: "root".to_owned(),
        request_id: String::new(),
        source_ip: String::new(),
        detail: serde_json::json!({}),
    };
    draft.commit(Vec::new(), entry, None).await.unwrap();
}

fn header<'m>(mail: &'m str, name: &str) -> &'m str {
    mail.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {mail}"))
}

#[tokio::test]
async fn mail_goes_into_a_folder_when_nothing_is_said() {
    let office = Office::new(ServeArgs::default()).await;
    let sending = office.send();
    assert!(office.mails().is_empty(), "nothing is made before it is needed");
    office.queue("one").await;
    office.queue("two").await;
    office.until_queued(0).await;
    let mails = office.mails();
    assert_eq!(mails.len(), 2, "{mails:?}");
    for path in &mails {
        assert_eq!(path.extension().unwrap(), "eml");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(header(&text, "To: "), "ana@acme.example");
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let alone: Vec<&str> = body.lines().filter(|line| !line.contains([' ', '/'])).collect();
        assert_eq!(alone.len(), 1, "{text}");
        assert!(alone[0].len() == 43 && alone[0].ends_with("TTT"));
    }
    sending.stop().await;
    let metrics = office.telemetry.metrics().text().unwrap();
    assert!(metrics.contains("keyward_mail_attempts_total{outcome=\"sent\"} 2"), "{metrics}");
    assert!(metrics.contains("keyward_mail_attempts_total{outcome=\"failed\"} 0"), "{metrics}");
    assert!(metrics.contains("\nkeyward_mail_queued 0"), "{metrics}");
}

#[tokio::test]
async fn nothing_is_mailed_for_what_was_not_committed() {
    let sink = Sink::start(&[]).await;
    let office = Office::sending_to(&sink).await;
    let sending = office.send();
    let draft = office.draft().await;
    draft.queue_mail(&mail(&draft, "dropped")).await.unwrap();
    drop(draft);
    office.queue("committed").await;
    sink.until(|sink| !sink.accepted().is_empty()).await;
    office.until_queued(0).await;
    sending.stop().await;
    assert_eq!(sink.accepted().len(), 1);
    let mail = sink.accepted().remove(0);
    let (_, body) = mail.split_once("\n\n").unwrap();
    let alone: Vec<&str> = body.lines().filter(|line| !line.contains([' ', '/'])).collect();
    assert!(alone.len() == 1 && alone[0].starts_with("committedTTT"), "{mail:?}");
}

#[tokio::test]
async fn a_newer_mail_takes_the_place_of_one_not_sent_yet() {
    let sink = Sink::start(&[]).await;
    let office = Office::sending_to(&sink).await;
    office.queue("one").await;
    office.queue("other").await;
    let draft = office.draft().await;
    let newer = Mail { text: "newer".to_owned(), ..mail(&draft, "one") };
    draft.queue_mail(&newer).await.unwrap();
    draft.drop_mail("tenants/acme/applications/other").await.unwrap();
    commit(draft).await;
    office.until_queued(1).await;
    let sending = office.send();
    office.until_queued(0).await;
    sending.stop().await;
    assert_eq!(sink.accepted().len(), 1);
    assert!(sink.accepted()[0].contains("\nnewer\n"), "{:?}", sink.accepted());
}

#[tokio::test]
async fn what_a_server_does_not_accept_is_tried_again_and_accepted_once() {
    let sink = Sink::start(&[Mood::Later, Mood::Never, Mood::DropAfterData, Mood::Repeat, Mood::AcceptAndHang]).await;
    let office = Office::sending_to(&sink).await;
    let sending = office.send();
    office.queue("one").await;
    for failures in 1..=4_usize {
        sink.until(|sink| sink.connections() == failures).await;
        // Not before its time, and then soon.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!((sink.connections(), sink.accepted().len()), (failures, 0));
        office.clock.advance(Duration::from_secs(41));
    }
    sink.until(|sink| sink.accepted().len() == 1).await;
    office.until_queued(0).await;
    office.clock.advance(Duration::from_secs(60 * 60));
    office.queue("two").await;
    office.until_queued(0).await;
    sending.stop().await;
    let accepted = sink.accepted();
    assert_eq!((accepted.len(), sink.connections()), (2, 6), "{accepted:?}");
    // What may have arrived twice can be told by its id.
    let ids = [&sink.dropped()[0], &accepted[0], &accepted[1]].map(|mail| header(mail, "Message-ID: ").to_owned());
    assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    let metrics = office.telemetry.metrics().text().unwrap();
    assert!(metrics.contains("keyward_mail_attempts_total{outcome=\"failed\"} 4"), "{metrics}");
}

#[tokio::test]
async fn a_token_that_was_sent_is_nowhere_in_the_database() {
    let office = Office::new(ServeArgs::default()).await;
    // Enough for pages of their own, some of which become free.
    let names: Vec<String> = (0..60).map(|number| format!("app{number}")).collect();
    for name in &names {
        office.queue(name).await;
    }
    let found = || {
        let bytes: Vec<u8> = ["keyward.db", "keyward.db-wal"]
            .iter()
            .flat_map(|file| std::fs::read(office.folder.path().join(file)).unwrap_or_default())
            .collect();
        let holds = |name: &&String| {
            let token = format!("{name:T<43}");
            bytes.windows(token.len()).any(|window| window == token.as_bytes())
        };
        names.iter().filter(holds).count()
    };
    assert_eq!(found(), 60, "they are where they are looked for");
    let sending = office.send();
    office.until_queued(0).await;
    sending.stop().await;
    assert_eq!(office.mails().len(), 60);
    office.store.clone().close().await.unwrap();
    assert_eq!(found(), 0);
}

#[tokio::test]
async fn mail_is_given_up_when_its_token_has_expired() {
    let sink = Sink::start(&[]).await;
    sink.behave(Mood::Later);
    let office = Office::sending_to(&sink).await;
    let sending = office.send();
    office.queue("one").await;
    sink.until(|sink| sink.connections() == 1).await;
    office.clock.advance(DAY);
    office.until_queued(0).await;
    sending.stop().await;
    assert_eq!((sink.connections(), sink.accepted().len()), (1, 0));
    let metrics = office.telemetry.metrics().text().unwrap();
    assert!(metrics.contains("keyward_mail_attempts_total{outcome=\"dropped\"} 1"), "{metrics}");
}

#[tokio::test]
async fn one_mail_that_fails_does_not_keep_the_others() {
    let sink = Sink::start(&[Mood::Later]).await;
    let office = Office::sending_to(&sink).await;
    office.queue("first").await;
    office.clock.advance(Duration::from_secs(1));
    office.queue("second").await;
    let sending = office.send();
    office.until_queued(1).await;
    assert!(sink.accepted()[0].contains("secondTTT"), "{:?}", sink.accepted());
    sending.stop().await;
}

/// Queues one mail in a database that no server has open.
async fn queued(database: &std::path::Path) {
    let store = Store::open(&format!("sqlite:{}", database.display()), Clock::default()).await.unwrap();
    let draft = store.begin().await.unwrap();
    draft.queue_mail(&mail(&draft, "killed")).await.unwrap();
    commit(draft).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_before_the_mail_was_accepted_sends_it_once_after_its_restart() {
    for mood in [Mood::Silent, Mood::DropAfterData] {
        let sink = Sink::start(&[]).await;
        sink.behave(mood);
        let folder = TempDir::new().unwrap();
        let database = folder.path().join("keyward.db");
        // A first start makes root; the mail is committed while nobody sends.
        Process::start(&database, &["--smtp-url", &sink.url]).kill();
        queued(&database).await;
        let process = Process::start(&database, &["--smtp-url", &sink.url, "--log", "debug"]);
        sink.until(|sink| sink.connections() == 1).await;
        sink.until(|sink| mood == Mood::Silent || !sink.dropped().is_empty()).await;
        process.kill();
        sink.behave(Mood::Accept);
        let process = Process::start(&database, &["--smtp-url", &sink.url, "--log", "trace"]);
        sink.until(|sink| sink.accepted().len() == 1).await;
        // Whatever is sent twice would be sent again by whoever starts next.
        let (status, printed, log) = process.terminate();
        assert!(status.success());
        assert!(!printed.contains("killedTTT") && !log.contains("killedTTT"), "the mail's text is in the log");
        assert!(log.contains("a mail was sent") && log.contains("ana@acme.example"), "{log}");
        let process = Process::start(&database, &["--smtp-url", &sink.url]);
        assert!(process.terminate().0.success());
        assert_eq!(sink.accepted().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drains_finishes_the_mail_in_hand_and_one_that_hangs_does_not_keep_it() {
    let sink = Sink::start(&[]).await;
    sink.behave(Mood::Silent);
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("keyward.db");
    queued(&database).await;
    let process = Process::start(&database, &["--smtp-url", &sink.url, "--drain-timeout", "300ms"]);
    sink.until(|sink| sink.connections() == 1).await;
    let begun = std::time::Instant::now();
    assert!(process.terminate().0.success());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    sink.behave(Mood::AcceptAndHang);
    let process = Process::start(&database, &["--smtp-url", &sink.url]);
    sink.until(|sink| sink.accepted().len() == 1).await;
    assert!(process.terminate().0.success());
    let process = Process::start(&database, &["--smtp-url", &sink.url]);
    assert!(process.terminate().0.success());
    assert_eq!(sink.accepted().len(), 1);
}
