//! How servers start on each engine, and what they refuse.

use super::{On, on_every_engine};
use crate::harness::process::{ended, keyward};
use crate::harness::{mariadb, postgres};
use keyward::clock::Clock;
use keyward::store::Store;

on_every_engine! {
    migrate_tells_what_it_did,
}

async fn migrate_tells_what_it_did(on: On) {
    let fresh = on.fresh().await;
    let migrate = || {
        let mut command = keyward();
        command.args(["migrate", "--database-url", &fresh.url]);
        tokio::task::spawn_blocking(|| ended(command))
    };
    let (code, printed, said) = migrate().await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(printed.starts_with("carried out ") && printed.contains("m0001_ledger"), "{printed}");
    let (code, printed, said) = migrate().await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(printed.starts_with("nothing to do"), "{printed}");
}

async fn ten_stores_open_at_once(url: String) {
    let opening: Vec<_> = (0..10)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { Store::open(&url, Clock::default()).await.unwrap() })
        })
        .collect();
    let mut keys = Vec::new();
    for store in opening {
        let store = store.await.unwrap();
        keys.push(store.page_token_key().await.unwrap());
        store.close().await.unwrap();
    }
    keys.dedup();
    assert_eq!(keys.len(), 1, "all share one ledger");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_open_an_empty_database_at_once() {
    ten_stores_open_at_once(postgres::database().await).await;
    ten_stores_open_at_once(mariadb::database().await).await;
}

async fn refused(url: &str) -> String {
    Store::open(url, Clock::default()).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_wrong_url_is_refused_without_repeating_it() {
    let good = postgres::database().await;
    let other = mariadb::database().await;
    let wrong = [
        ("oracle://u:s3cret@h/d".to_owned(), "must begin with"),
        (good.replace("keyward@", "keyward:s3cret@").replace("test_", "absent_"), "does not exist"),
        (other.replace("root@", "nobody:s3cret@"), "does not let in"),
        (other.replace("test_", "absent_"), "does not exist"),
        ("postgres://u:s3cret@127.0.0.1:1/d".to_owned(), "cannot be reached"),
        ("mysql://u:s3cret@127.0.0.1:1/d".to_owned(), "cannot be reached"),
        ("mysql://u:s3cret@127.0.0.1:1".to_owned(), "must name a database"),
        ("postgres://u:s3cret@127.0.0.1:1/d?sslmod=verify-full".to_owned(), "unknown parameter"),
        ("postgres://u:s3c/ret@127.0.0.1:port/d".to_owned(), "cannot be understood"),
    ];
    for (url, rule) in wrong {
        let refused = refused(&url).await;
        assert!(refused.contains("database-url") && refused.contains(rule), "{refused}");
        assert!(!refused.contains("s3c"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_may_lose_what_it_acknowledged_is_refused_by_the_setting() {
    let lossy = tokio::task::spawn_blocking(|| postgres::start(&["synchronous_commit=off"])).await.unwrap();
    let refused_by = refused(&postgres::database_on(&lossy).await).await;
    assert!(refused_by.contains("synchronous_commit is off"), "{refused_by}");
    drop(lossy);
    let settings = ["innodb-flush-log-at-trx-commit=2"];
    let lossy = tokio::task::spawn_blocking(move || mariadb::start(&settings)).await.unwrap();
    let refused_by = refused(&mariadb::database_on(&lossy).await).await;
    assert!(refused_by.contains("innodb_flush_log_at_trx_commit is 2"), "{refused_by}");
}
