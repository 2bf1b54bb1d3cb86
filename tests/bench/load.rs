//! How long a start with many keys takes until it serves, beside the bare driver reading the same rows into a vector. Run
//! by `cargo bench --bench load`; `-- 1000000` says how many keys (100,000 if nothing is said), and a folder after it
//! where the database is kept for the next time.

#![expect(clippy::expect_used, reason = "a bench may panic")]

mod fill;

use fill::{fill, open};
use keyward::check::Index;
use keyward::clock::Clock;
use keyward::config::{Config, ServeArgs};
use keyward::domain::grant::Grant;
use keyward::server::Server;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions as _, Row as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_stream::StreamExt as _;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let count: usize = words.next().map_or(100_000, |word| word.parse().expect("how many keys"));
    let kept = words.next().map(PathBuf::from);
    let passing = tempfile::TempDir::new().expect("a folder");
    let path = kept.as_deref().unwrap_or(passing.path()).join("keyward.db");
    let begun = Instant::now();
    if !path.exists() {
        fill(&path, count, |number| {
            let resource = format!("docs/{}", number % 100);
            vec![Grant::Resources { resource, actions: vec!["read".to_owned()] }]
        })
        .await;
        println!("{count} keys written in {:.1?}", begun.elapsed());
    }
    // The first reading is that of a cold cache.
    let _cold = bare(&path).await;
    let bare = fastest(async || bare(&path).await).await;
    println!("{:<44}{:>9.2} s", "the bare driver reads the rows", bare.as_secs_f64());
    let told = |what: &str, time: Duration| {
        println!("{what:<44}{:>9.2} s{:>8.2} times", time.as_secs_f64(), time.as_secs_f64() / bare.as_secs_f64());
    };
    told("rows as changes", fastest(async || snapshot(&path, None).await).await);
    told("and into the index", fastest(async || snapshot(&path, Some(Index::default())).await).await);
    told("the last revisions verified", fastest(async || verify(&path).await).await);
    told("from start to serving", fastest(async || start(&path).await).await);
}

/// The least of three, since whatever else runs only adds.
async fn fastest(run: impl AsyncFn() -> Duration) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..3 {
        least = least.min(run().await);
    }
    least
}

/// Reads all columns of all keys and secrets, in the order of their tables.
async fn bare(path: &Path) -> Duration {
    let mut connection: SqliteConnection =
        SqliteConnectOptions::new().filename(path).disable_statement_logging().connect().await.expect("a connection");
    let begun = Instant::now();
    let (mut keys, mut secrets) = (Vec::new(), Vec::new());
    {
        let mut rows = sqlx::query("SELECT * FROM api_key").fetch(&mut connection);
        while let Some(row) = rows.next().await {
            keys.push(values(&row.expect("a row")));
        }
    }
    {
        let mut rows = sqlx::query("SELECT * FROM api_key_secret").fetch(&mut connection);
        while let Some(row) = rows.next().await {
            secrets.push(values(&row.expect("a row")));
        }
    }
    let time = begun.elapsed();
    assert!(keys.len() == secrets.len(), "each key has one secret");
    time
}

/// What a column holds.
enum Value {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    fn size(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Number(number) => usize::from(*number != 0),
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

fn values(row: &SqliteRow) -> Vec<Value> {
    use sqlx::{TypeInfo as _, ValueRef as _};
    let value = |place: usize| {
        let raw = row.try_get_raw(place).expect("a column");
        let kind = raw.type_info().name().to_owned();
        match kind.as_str() {
            _ if raw.is_null() => Value::Null,
            "TEXT" => Value::Text(row.get(place)),
            "BLOB" => Value::Bytes(row.get(place)),
            _ => Value::Number(row.get_unchecked(place)),
        }
    };
    let values: Vec<Value> = (0..row.len()).map(value).collect();
    assert!(values.iter().map(Value::size).sum::<usize>() > 0, "an empty row");
    values
}

async fn snapshot(path: &Path, index: Option<Index>) -> Duration {
    let store = open(path).await;
    let begun = Instant::now();
    let mut count = 0;
    store
        .snapshot(|head, changes| {
            count += changes.len();
            if let Some(index) = &index {
                index.apply(head.revision, changes);
            }
        })
        .await
        .expect("a snapshot");
    let time = begun.elapsed();
    assert!(count > 0, "nothing was read");
    store.close().await.expect("closed");
    time
}

async fn verify(path: &Path) -> Duration {
    let store = open(path).await;
    let begun = Instant::now();
    store.verify(10_000, 50_000).await.expect("a whole ledger");
    let time = begun.elapsed();
    store.close().await.expect("closed");
    time
}

async fn start(path: &Path) -> Duration {
    let args = ServeArgs {
        database_url: Some(format!("sqlite:{}", path.display()).into()),
        data_addr: Some("127.0.0.1:0".to_owned()),
        admin_addr: Some("127.0.0.1:0".to_owned()),
        ops_addr: Some("127.0.0.1:0".to_owned()),
        log: Some("error".to_owned()),
        ..ServeArgs::default()
    };
    let begun = Instant::now();
    let server = Server::start(Config::load(args).expect("a configuration"), Clock::default()).await.expect("a server");
    let time = begun.elapsed();
    server.shutdown().await.expect("a clean end");
    time
}
