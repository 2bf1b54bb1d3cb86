//! What those who share a commit do to each other: nothing.

mod ahead;

use crate::clock::Clock;
use crate::domain::change::Change;
use crate::domain::credential::Prefix;
use crate::domain::key::Key;
use crate::domain::name::TenantId;
use crate::domain::tenant::Tenant;
use crate::error::{Error, Result};
use crate::store::tests::Dropped;
use crate::store::{Committed, Draft, Entry, Replay, Store};
use sea_orm::{ConnectionTrait, Statement};
use std::collections::BTreeSet;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

async fn open() -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("keyward.db").display());
    (folder, Store::open(&url, Clock::default()).await.unwrap())
}

fn tenant(id: &str) -> Change {
    let id = TenantId::find(id).unwrap();
    let now = Clock::default().now();
    Change::Tenant(Tenant {
        id,
        uid: uuid::Uuid::new_v4(),
        display_name: String::new(),
        credential_prefix: Prefix::parse("kw", "prefix").unwrap(),
        is_suspended: false,
        create_time: now,
        update_time: now,
        delete_time: None,
        revision: 0,
    })
}

fn key(draft: &Draft, id: &str, display_name: &str) -> Key {
    let (_, secret) = draft.mint(&Prefix::parse("kw", "prefix").unwrap());
    serde_json::from_value(serde_json::json!({
        "tenant": "acme", "id": id, "uid": uuid::Uuid::new_v4(), "kind": "regular", "owner": null,
        "display_name": display_name, "description": "", "grants": [], "allowed_ips": [], "allowed_referrers": [],
        "labels": {}, "not_before_time": null, "expire_time": null, "is_suspended": false, "revocation": null,
        "delete_time": null, "secrets": [secret], "secret_key": null, "public_credential": null,
        "create_time": draft.now(), "update_time": draft.now(), "revision": 0,
    }))
    .unwrap()
}

fn entry(subject: &str) -> Entry {
    Entry {
        kind: "tenant.create",
        tenant: None,
        actor: "root".to_owned(),
        credential_id: String::new(),
        subject: subject.to_owned(),
        request_id: String::new(),
        source_ip: String::new(),
        detail: serde_json::json!({}),
    }
}

async fn make(store: Store, id: String) -> Result<Committed> {
    let draft = store.begin().await?;
    // As desk does: it is read before it is decided.
    draft.tenant(&TenantId::find(&id).unwrap()).await?;
    draft.commit(vec![tenant(&id)], entry(&id), None).await
}

async fn texts(store: &Store, sql: &str) -> BTreeSet<String> {
    let statement = Statement::from_string(store.reader.get_database_backend(), sql);
    let rows = store.reader.query_all_raw(statement).await.unwrap();
    rows.into_iter().map(|row| row.try_get_by_index::<String>(0).unwrap()).collect()
}

/// What there is agrees with the ledger, which is whole.
async fn assert_whole(store: &Store) -> BTreeSet<String> {
    let there = texts(store, "SELECT id FROM tenant").await;
    let told = texts(store, "SELECT subject FROM audit_event").await;
    assert_eq!(there, told);
    assert_eq!(store.verify(i64::MAX, 1_000_000).await.unwrap().revision, there.len() as i64);
    there
}

/// Has these mutations wait behind one another, in this order, and then go.
async fn together<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    store: &Store,
    mutations: Vec<F>,
) -> Vec<JoinHandle<T>> {
    let first = store.begin().await.unwrap();
    let mut waiting = Vec::new();
    for mutation in mutations {
        waiting.push(tokio::spawn(mutation));
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
    drop(first);
    waiting
}

#[tokio::test]
async fn sixty_four_at_once_have_contiguous_revisions_and_a_whole_chain() {
    let (_folder, store) = open().await;
    let tasks: Vec<_> = (0..64).map(|place| tokio::spawn(make(store.clone(), format!("tenant-{place}")))).collect();
    let mut revisions = BTreeSet::new();
    for task in tasks {
        let committed = task.await.unwrap().unwrap();
        revisions.insert(committed.revision);
        let sql = format!("SELECT hex(chain) FROM audit_event WHERE revision = {}", committed.revision);
        let chain: String = committed.chain.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(texts(&store, &sql).await, BTreeSet::from([chain]), "the chain that was answered is the event's");
    }
    assert!(revisions.into_iter().eq(1..=64));
    assert_eq!(assert_whole(&store).await.len(), 64);
}

#[tokio::test]
async fn one_that_fails_or_goes_away_spares_the_rest() {
    let (_folder, store) = open().await;
    make(store.clone(), "taken".to_owned()).await.unwrap();
    for polls in 1..=24 {
        let name = move |place: i32| format!("t-{polls}-{place}");
        let tasks: Vec<_> = (0..20)
            .map(|place| {
                let store = store.clone();
                tokio::spawn(async move {
                    let id = name(place);
                    match place % 5 {
                        // The row is there already: a constraint refuses it.
                        1 => make(store, "taken".to_owned()).await.map(|_| true).or(Ok(false)),
                        2 => store.begin().await.map(drop).map(|()| false),
                        3 => {
                            let future = Box::pin(make(store, id));
                            Dropped { future, polls }.await.map_or(Ok(false), |made| made.map(|_| true))
                        }
                        4 => {
                            let draft = store.begin().await?;
                            let id = TenantId::find(&id).unwrap();
                            assert!(draft.tenant(&id).await?.is_none(), "{draft:?} is dropped");
                            Err(Error::Forbidden { missing: "everything".to_owned() })
                        }
                        _ => make(store, id).await.map(|_| true),
                    }
                })
            })
            .collect();
        let mut made = Vec::new();
        for task in tasks {
            made.push(task.await.unwrap());
        }
        let there = assert_whole(&store).await;
        for (place, made) in (0..).zip(made) {
            let is_there = there.contains(&name(place));
            match place % 5 {
                1 | 2 => assert!(!made.unwrap(), "{polls} {place}"),
                // Nobody waited for the answer: either is right.
                3 => assert!(is_there || !made.unwrap(), "{polls} {place}"),
                4 => assert!(made.is_err() && !is_there, "{polls} {place}"),
                _ => assert!(made.unwrap() && is_there, "{polls} {place}"),
            }
        }
    }
}

/// Has COMMIT refused: a constraint is looked at then only.
async fn refuse_commits(store: &Store) {
    for sql in [
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER orphan AFTER UPDATE ON ledger_head BEGIN INSERT INTO child VALUES (1); END",
    ] {
        store.writer.execute_unprepared(sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_refused_is_told_to_none_of_them_as_a_success() {
    let (_folder, store) = open().await;
    make(store.clone(), "before".to_owned()).await.unwrap();
    refuse_commits(&store).await;
    let tasks: Vec<_> = (0..20).map(|place| tokio::spawn(make(store.clone(), format!("never-{place}")))).collect();
    for task in tasks {
        let refused = task.await.unwrap().unwrap_err();
        assert!(
            matches!(&refused, Error::Unavailable { what, committed: None } if what.contains("nothing was changed"))
        );
    }
    assert_eq!(assert_whole(&store).await, BTreeSet::from(["before".to_owned()]));
    store.writer.execute_unprepared("DROP TRIGGER orphan").await.unwrap();
    assert_eq!(make(store.clone(), "after".to_owned()).await.unwrap().revision, 2);
    assert_whole(&store).await;
}

#[tokio::test]
async fn who_finds_nothing_to_do_in_what_is_not_committed_waits_for_the_commit() {
    let (_folder, store) = open().await;
    make(store.clone(), "before".to_owned()).await.unwrap();
    let find = |store: Store| async move {
        let draft = store.begin().await?;
        let found = draft.tenant(&TenantId::find("acme").unwrap()).await?;
        let revision = draft.unchanged().await?;
        Ok::<_, Error>((found.is_some(), revision))
    };
    for is_refused in [true, false] {
        if is_refused {
            refuse_commits(&store).await;
        } else {
            store.writer.execute_unprepared("DROP TRIGGER orphan").await.unwrap();
        }
        let (one, other) = (store.clone(), store.clone());
        let making = async move { make(one, "acme".to_owned()).await.map(|made| (true, made.revision)) };
        type Mutation = std::pin::Pin<Box<dyn Future<Output = Result<(bool, i64)>> + Send>>;
        let mutations: Vec<Mutation> = vec![Box::pin(making), Box::pin(find(other))];
        for task in together(&store, mutations).await {
            let told = task.await.unwrap();
            assert_eq!(told.is_err(), is_refused, "{told:?}");
            assert!(is_refused || told.unwrap() == (true, 2));
        }
    }
}

#[tokio::test]
async fn a_replay_is_known_to_those_who_share_the_commit() {
    let (_folder, store) = open().await;
    let attempt = |store: Store| async move {
        let replay = Replay {
            request_id: "00000000-0000-4000-8000-000000000001".to_owned(),
            method: "CreateTenant",
            body_hash: [1; 32],
        };
        let draft = store.begin().await.unwrap();
        if let Some((subject, revision)) = draft.replayed("root", &replay).await.unwrap() {
            assert_eq!((subject.as_str(), draft.unchanged().await.unwrap()), ("acme", revision));
            return (false, revision);
        }
        (true, draft.commit(vec![tenant("acme")], entry("acme"), Some(replay)).await.unwrap().revision)
    };
    let tasks = together(&store, (0..5).map(|_| attempt(store.clone())).collect()).await;
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, [(false, 1), (false, 1), (false, 1), (false, 1), (true, 1)]);
    // And to those who come later, from its row.
    assert_eq!(attempt(store.clone()).await, (false, 1));
}

#[tokio::test]
async fn one_that_panics_or_keeps_its_turn_hangs_nobody() {
    let (_folder, store) = open().await;
    let panics = tokio::spawn({
        let store = store.clone();
        async move {
            let _draft = store.begin().await.unwrap();
            panic!("a bug");
        }
    });
    make(store.clone(), "one".to_owned()).await.unwrap();
    assert!(panics.await.is_err());
    let kept = store.begin().await.unwrap();
    let (made, ()) = tokio::join!(make(store.clone(), "two".to_owned()), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let late = kept.commit(vec![tenant("late")], entry("late"), None).await;
        assert!(matches!(late, Err(Error::Unavailable { .. })), "{late:?}");
    });
    assert_eq!(made.unwrap().revision, 2);
    assert_eq!(assert_whole(&store).await.len(), 2);
}

#[tokio::test]
async fn a_lost_answer_of_a_commit_is_found_by_its_chain() {
    use super::lost::Outcome;
    let (_folder, store) = open().await;
    let committed = make(store.clone(), "acme".to_owned()).await.unwrap();
    assert_eq!(store.find_out(committed).await, Outcome::Committed);
    let other = Committed { chain: [1; 32], ..committed };
    assert_eq!(store.find_out(other).await, Outcome::Absent, "somebody else's event stands there");
    let next = Committed { revision: committed.revision + 1, ..committed };
    assert_eq!(store.find_out(next).await, Outcome::Absent);
    make(store.clone(), "after".to_owned()).await.unwrap();
    store.writer.clone().close().await.unwrap();
    assert_eq!(store.find_out(committed).await, Outcome::Unknown);
}
