//! How long a start with many keys takes until it serves, beside the bare driver reading the same rows into a vector. Run
//! by `cargo bench --bench load`; `-- 1000000` says how many keys (100,000 if nothing is said), `postgres` has them in a
//! PostgreSQL of its own instead of SQLite, and another word is a folder where SQLite's file is kept for the next time.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a bench may panic")]

mod fill;

/// What starts a PostgreSQL for the tests starts one here.
#[allow(dead_code, clippy::allow_attributes, reason = "the tests use more of it")]
#[path = "."]
mod harness {
    #[path = "../it/harness/daemon.rs"]
    pub(crate) mod daemon;
    #[path = "../it/harness/postgres.rs"]
    pub(crate) mod postgres;
}

use fill::{fill, open};
use keyward::check::Index;
use keyward::clock::Clock;
use keyward::config::{Config, ServeArgs};
use keyward::domain::grant::Grant;
use keyward::server::Server;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Row as _, TypeInfo as _, ValueRef as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio_stream::StreamExt as _;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let count: usize = words.iter().find_map(|word| word.parse().ok()).unwrap_or(100_000);
    let postgres = words.iter().any(|word| word == "postgres").then(|| harness::postgres::start(&[]));
    let kept = words.get(1).filter(|_| postgres.is_none()).map(PathBuf::from);
    let passing = tempfile::TempDir::new().expect("a folder");
    let path = kept.as_deref().unwrap_or(passing.path()).join("keyward.db");
    let url = match &postgres {
        Some(postgres) => harness::postgres::database_on(postgres).await,
        None => format!("sqlite:{}", path.display()),
    };
    let begun = Instant::now();
    if !path.exists() {
        fill(&url, count, |number| {
            let resource = format!("docs/{}", number % 100);
            vec![Grant::Resources { resource, actions: vec!["read".to_owned()] }]
        })
        .await;
        println!("{count} keys written in {:.1?}", begun.elapsed());
    }
    // The first reading is that of a cold cache.
    let _cold = bare(&url).await;
    let bare = fastest(async || bare(&url).await).await;
    println!("{:<44}{:>9.2} s", "the bare driver reads the rows", bare.as_secs_f64());
    let told = |what: &str, time: Duration| {
        println!("{what:<44}{:>9.2} s{:>8.2} times", time.as_secs_f64(), time.as_secs_f64() / bare.as_secs_f64());
    };
    told("rows as changes", fastest(async || snapshot(&url, None).await).await);
    told("and into the index", fastest(async || snapshot(&url, Some(Index::default())).await).await);
    told("the last revisions verified", fastest(async || verify(&url).await).await);
    told("from start to serving", fastest(async || start(&url).await).await);
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
async fn bare(url: &str) -> Duration {
    macro_rules! value {
        ($row:ident, $place:ident) => {{
            let raw = $row.try_get_raw($place).expect("a column");
            let (kind, is_null) = (raw.type_info().name().to_owned(), raw.is_null());
            drop(raw);
            match kind.as_str() {
                _ if is_null => Value::Null,
                "TEXT" | "VARCHAR" => Value::Text($row.get($place)),
                "BLOB" | "BYTEA" => Value::Bytes($row.get($place)),
                "INTEGER" | "INT8" | "BIGINT" => Value::Number($row.get($place)),
                "INT4" => Value::Number($row.get::<i32, _>($place).into()),
                "BOOL" | "BOOLEAN" => Value::Number($row.get::<bool, _>($place).into()),
                other => panic!("a column of type {other}"),
            }
        }};
    }
    macro_rules! read {
        ($connection:ty) => {{
            let mut connection = <$connection>::connect(url).await.expect("a connection");
            let begun = Instant::now();
            let mut tables = [Vec::new(), Vec::new()];
            for (table, rows) in ["SELECT * FROM api_key", "SELECT * FROM api_key_secret"].into_iter().zip(&mut tables)
            {
                let mut found = sqlx::query(table).fetch(&mut connection);
                while let Some(row) = found.next().await {
                    let row = row.expect("a row");
                    let values: Vec<Value> = (0..row.len()).map(|place| value!(row, place)).collect();
                    assert!(values.iter().map(Value::size).sum::<usize>() > 0, "an empty row");
                    rows.push(values);
                }
            }
            let [keys, secrets] = tables;
            let time = begun.elapsed();
            assert!(keys.len() == secrets.len(), "each key has one secret");
            time
        }};
    }
    if url.starts_with("sqlite:") { read!(SqliteConnection) } else { read!(PgConnection) }
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

async fn snapshot(url: &str, index: Option<Index>) -> Duration {
    let store = open(url).await;
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

async fn verify(url: &str) -> Duration {
    let store = open(url).await;
    let begun = Instant::now();
    store.verify(10_000, 50_000).await.expect("a whole ledger");
    let time = begun.elapsed();
    store.close().await.expect("closed");
    time
}

async fn start(url: &str) -> Duration {
    let args = ServeArgs {
        database_url: Some(url.to_owned().into()),
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
