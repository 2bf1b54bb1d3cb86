//! What was read ahead gives way to what those who came before have changed: each of a group decides as if it came alone.

use super::{entry, key, make, open, texts, together};
use crate::clock::Clock;
use crate::domain::change::Change;
use crate::domain::credential::Digest;
use crate::domain::decision::Query;
use crate::domain::key::{Key, Revocation, RevocationReason, Secret};
use crate::domain::name::{KeyId, Owner, TenantId, UserId};
use crate::domain::tenant::Standing;
use crate::domain::token::Proof;
use crate::domain::user::User;
use crate::error::Error;
use crate::store::tests::{mariadb, postgres};
use crate::store::{Store, Wants};
use std::collections::BTreeSet;
use std::pin::Pin;

fn acme() -> TenantId {
    TenantId::find("acme").unwrap()
}

fn ada() -> UserId {
    UserId::find("ada").unwrap()
}

fn id_of(id: &str) -> KeyId {
    KeyId::find(id).unwrap()
}

/// What somebody wants done.
#[derive(Clone, Debug)]
enum Deed {
    Create(&'static str, Digest),
    /// If it is at that revision, where one is named.
    Describe(&'static str, Option<i64>),
    Revoke(&'static str),
    Delete(&'static str),
    Rotate(&'static str, Box<Secret>),
    SuspendAda,
    SuspendAcme,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Done,
    NoSuchKey,
    Taken,
    Changed,
    Final,
    Refused,
}

/// A key that is made by itself, before the group.
async fn made(store: &Store, id: &str, owner: Option<UserId>) -> (Digest, i64) {
    let draft = store.begin().await.unwrap();
    let key = Key { owner: owner.map(Owner::User), ..key(&draft, id, id) };
    let digest = key.secrets[0].digest;
    (digest, draft.commit(vec![Change::Key(Box::new(key))], entry(id), None).await.unwrap().revision)
}

/// Does as the desk does: admits, reads, decides, commits.
async fn carry_out(store: Store, is_read_ahead: bool, by: Digest, deed: Deed) -> Told {
    let proof = Proof::Credential(by);
    let wants = match &deed {
        Deed::Create(id, _) => Wants::of(&proof).key(&acme(), &id_of(id)).name(&acme(), Some(&Owner::User(ada())), id),
        Deed::Describe(id, _) | Deed::Revoke(id) | Deed::Delete(id) | Deed::Rotate(id, _) => {
            Wants::of(&proof).key(&acme(), &id_of(id))
        }
        Deed::SuspendAda | Deed::SuspendAcme => Wants::of(&proof).name(&acme(), Some(&Owner::User(ada())), ""),
    };
    let draft = store.begin_with(if is_read_ahead { wants } else { Wants::default() }).await.unwrap();
    match draft.readmit(&proof, &Query::default()).await {
        Ok(_) => {}
        Err(Error::Unauthenticated { .. }) => return Told::Refused,
        Err(other) => panic!("{other:?}"),
    }
    let change = match deed {
        Deed::Create(id, digest) => {
            if draft.key(&acme(), &id_of(id)).await.unwrap().is_some() {
                return Told::Taken;
            }
            let mut key = key(&draft, id, id);
            key.owner = Some(Owner::User(ada()));
            key.secrets[0].digest = digest;
            if draft.is_display_name_taken(&key).await.unwrap() {
                return Told::Taken;
            }
            Change::Key(Box::new(key))
        }
        Deed::Describe(id, _) | Deed::Revoke(id) | Deed::Delete(id) | Deed::Rotate(id, _) => {
            let found = draft.key(&acme(), &id_of(id)).await.unwrap();
            let Some(mut key) = found.filter(|key| key.delete_time.is_none()) else { return Told::NoSuchKey };
            if key.revocation.is_some() {
                return Told::Final;
            }
            match deed {
                Deed::Describe(_, Some(wanted)) if wanted != key.revision => return Told::Changed,
                Deed::Describe(..) => key.description = format!("{} once more", key.description),
                Deed::Revoke(_) => {
                    key.revocation = Some(Revocation { time: draft.now(), reason: RevocationReason::Unspecified });
                }
                Deed::Delete(_) => key.delete_time = Some(draft.now()),
                Deed::Rotate(_, secret) => key.rotate(*secret, draft.now(), draft.now()),
                Deed::Create(..) | Deed::SuspendAda | Deed::SuspendAcme => panic!("no change of a key"),
            }
            Change::Key(Box::new(key))
        }
        Deed::SuspendAda => {
            let user = draft.user(&acme(), &ada()).await.unwrap().unwrap();
            Change::User(User { is_suspended: true, ..user })
        }
        Deed::SuspendAcme => {
            let mut tenant = draft.tenant(&acme()).await.unwrap().unwrap();
            tenant.is_suspended = true;
            Change::Tenant(tenant)
        }
    };
    draft.commit(vec![change], entry("deed"), None).await.unwrap();
    Told::Done
}

/// Has one group do many things to the same things, and sees that each was decided on what came before.
async fn a_group_on(store: &Store, is_read_ahead: bool) {
    make(store.clone(), "acme".to_owned()).await.unwrap();
    let draft = store.begin().await.unwrap();
    let user = serde_json::json!({
        "tenant": "acme", "id": "ada", "uid": uuid::Uuid::new_v4(), "email": "", "given_name": "", "family_name": "",
        "role": "owner", "is_suspended": false, "create_time": draft.now(), "update_time": draft.now(),
        "delete_time": null, "revision": 0,
    });
    let fresh: Vec<Secret> = (0..3).map(|_| key(&draft, "fresh", "").secrets.remove(0)).collect();
    let change = Change::User(serde_json::from_value(user).unwrap());
    draft.commit(vec![change], entry("ada"), None).await.unwrap();
    let (root, _) = made(store, "root", None).await;
    let (mallory, _) = made(store, "mallory", None).await;
    let (of_ada, _) = made(store, "of-ada", Some(ada())).await;
    let (turning, _) = made(store, "turning", None).await;
    let (_, revision) = made(store, "shared", None).await;
    for id in ["revoked", "deleted"] {
        made(store, id, None).await;
    }
    let (turned, young, spare) = (fresh[0].clone(), fresh[1].digest, fresh[2].digest);
    let unknown = Digest::of(b"nobody's");
    let deeds = vec![
        // What was revoked stays as it was.
        (root, Deed::Revoke("revoked"), Told::Done),
        (root, Deed::Describe("revoked", None), Told::Final),
        (root, Deed::Revoke("revoked"), Told::Final),
        // Of two who saw the same, one comes too late.
        (root, Deed::Describe("shared", Some(revision)), Told::Done),
        (root, Deed::Describe("shared", Some(revision)), Told::Changed),
        (root, Deed::Describe("shared", None), Told::Done),
        (root, Deed::Delete("deleted"), Told::Done),
        (root, Deed::Revoke("deleted"), Told::NoSuchKey),
        // What is made in the group is there for those who come later in it, and was not for those before.
        (root, Deed::Describe("young", None), Told::NoSuchKey),
        (young, Deed::Describe("shared", None), Told::Refused),
        (root, Deed::Create("young", young), Told::Done),
        (root, Deed::Create("young", spare), Told::Taken),
        (young, Deed::Describe("shared", None), Told::Done),
        (root, Deed::Describe("young", None), Told::Done),
        (root, Deed::Revoke("young"), Told::Done),
        (young, Deed::Describe("shared", None), Told::Refused),
        // Another secret lets in, and the one before no more.
        (turned.digest, Deed::Describe("shared", None), Told::Refused),
        (turning, Deed::Rotate("turning", Box::new(turned.clone())), Told::Done),
        (turning, Deed::Describe("shared", None), Told::Refused),
        (turned.digest, Deed::Describe("shared", None), Told::Done),
        // Whoever is revoked, or whose user is suspended, does nothing more.
        (mallory, Deed::Describe("shared", None), Told::Done),
        (root, Deed::Revoke("mallory"), Told::Done),
        (mallory, Deed::Describe("shared", None), Told::Refused),
        (of_ada, Deed::Describe("shared", None), Told::Done),
        (root, Deed::SuspendAda, Told::Done),
        (of_ada, Deed::Create("late", spare), Told::Refused),
        (unknown, Deed::SuspendAcme, Told::Refused),
        (root, Deed::SuspendAcme, Told::Done),
        (root, Deed::Describe("shared", None), Told::Refused),
    ];
    let before = store.head_revision().await.unwrap();
    let mutations =
        deeds.iter().map(|(by, deed, _)| carry_out(store.clone(), is_read_ahead, *by, deed.clone())).collect();
    for (task, (_, deed, wanted)) in together(store, mutations).await.into_iter().zip(&deeds) {
        assert_eq!(task.await.unwrap(), *wanted, "{deed:?}");
    }
    let done = deeds.iter().filter(|(_, _, wanted)| *wanted == Told::Done).count() as i64;
    assert_eq!(store.verify(i64::MAX, 1_000_000).await.unwrap().revision, before + done);
    let described = texts(store, "SELECT description FROM api_key WHERE id = 'shared'").await;
    let times =
        deeds.iter().filter(|(_, deed, wanted)| matches!(deed, Deed::Describe("shared", _)) && *wanted == Told::Done);
    assert_eq!(described, BTreeSet::from([" once more".repeat(times.count())]), "nobody's words were lost");
}

#[tokio::test]
async fn each_of_a_group_decides_on_what_those_before_it_have_changed() {
    for is_read_ahead in [false, true] {
        let (_folder, store) = open().await;
        a_group_on(&store, is_read_ahead).await;
    }
}

#[tokio::test]
async fn the_same_on_postgres() {
    for is_read_ahead in [false, true] {
        let store = Store::open(&postgres::database().await, Clock::default()).await.unwrap();
        a_group_on(&store, is_read_ahead).await;
        let sql = "SELECT DISTINCT xmin::text FROM audit_event WHERE subject = 'deed'";
        assert!(texts(&store, sql).await.len() < 8, "they have shared commits");
    }
}

#[tokio::test]
async fn the_same_on_mariadb() {
    for is_read_ahead in [false, true] {
        let store = Store::open(&mariadb::database().await, Clock::default()).await.unwrap();
        a_group_on(&store, is_read_ahead).await;
    }
}

#[tokio::test]
async fn what_waits_to_be_written_is_seen_by_those_who_share_the_commit() {
    for is_read_ahead in [false, true] {
        write_what_waits(is_read_ahead).await;
    }
}

async fn write_what_waits(is_read_ahead: bool) {
    let (_folder, store) = open().await;
    let wants = move |id: &str, name: &str| {
        let (acme, id) = (TenantId::find("acme").unwrap(), KeyId::find(id).unwrap());
        if is_read_ahead { Wants::default().key(&acme, &id).name(&acme, None, name) } else { Wants::default() }
    };
    make(store.clone(), "acme".to_owned()).await.unwrap();
    let acme = TenantId::find("acme").unwrap();
    let create = |store: Store, id: &'static str, name: &'static str| async move {
        let draft = store.begin_with(wants(id, name)).await.unwrap();
        let key = key(&draft, id, name);
        assert!(draft.key(&key.tenant, &key.id).await.unwrap().is_none());
        let (digest, is_taken) = (key.secrets[0].digest, draft.is_display_name_taken(&key).await.unwrap());
        if is_taken {
            return None;
        }
        draft.commit(vec![Change::Key(Box::new(key))], entry("key"), None).await.unwrap();
        Some(digest)
    };
    let rename = |store: Store, id: &'static str, name: &'static str| async move {
        let draft = store.begin_with(wants(id, name)).await.unwrap();
        let mut key = draft.key(&TenantId::find("acme").unwrap(), &KeyId::find(id).unwrap()).await.unwrap()?;
        key.display_name = name.to_owned();
        if draft.is_display_name_taken(&key).await.unwrap() {
            return None;
        }
        let digest = key.secrets[0].digest;
        draft.commit(vec![Change::Key(Box::new(key))], entry("key"), None).await.unwrap();
        Some(digest)
    };
    type Mutation = Pin<Box<dyn Future<Output = Option<Digest>> + Send>>;
    let mutations: Vec<Mutation> = vec![
        Box::pin(create(store.clone(), "one", "first")),
        Box::pin(create(store.clone(), "two", "first")),
        Box::pin(create(store.clone(), "two", "second")),
        Box::pin(rename(store.clone(), "one", "second")),
        Box::pin(rename(store.clone(), "one", "third")),
        Box::pin(create(store.clone(), "three", "first")),
        Box::pin(rename(store.clone(), "two", "third")),
        Box::pin(rename(store.clone(), "one", "fourth")),
        Box::pin(rename(store.clone(), "two", "third")),
        Box::pin(create(store.clone(), "four", "second")),
    ];
    let mut done = Vec::new();
    for task in together(&store, mutations).await {
        done.push(task.await.unwrap());
    }
    let is_done: Vec<bool> = done.iter().map(Option::is_some).collect();
    assert_eq!(is_done, [true, false, true, false, true, true, false, true, true, true]);
    let names = texts(&store, "SELECT id || ' ' || display_name FROM api_key").await;
    let wanted = ["four second", "one fourth", "three first", "two third"];
    assert_eq!(names, wanted.into_iter().map(str::to_owned).collect());
    assert_eq!(store.verify(i64::MAX, 1_000_000).await.unwrap().revision, 1 + 7);
    let draft = store.begin().await.unwrap();
    for digest in done.into_iter().flatten() {
        assert_eq!(draft.key_of_digest(&digest).await.unwrap().unwrap().tenant, acme);
    }
}

/// What is read ahead is read before the turns of those who come first, and must not be what they have changed.
#[tokio::test]
async fn what_was_read_ahead_gives_way_to_what_the_group_writes() {
    let (_folder, store) = open().await;
    make(store.clone(), "acme".to_owned()).await.unwrap();
    let acme = TenantId::find("acme").unwrap();
    let draft = store.begin().await.unwrap();
    let made = key(&draft, "admin", "admin");
    let digest = made.secrets[0].digest;
    draft.commit(vec![Change::Key(Box::new(made))], entry("key"), None).await.unwrap();
    let wants = || Wants::of(&Proof::Credential(digest)).key(&acme, &KeyId::find("admin").unwrap());
    let look = |store: Store, wants: Wants| async move {
        let draft = store.begin_with(wants).await.unwrap();
        let chain = draft.chain(&digest).await.unwrap().unwrap();
        draft.unchanged().await.unwrap();
        (chain.facts.particulars.is_suspended, chain.tenant == Standing::Suspended)
    };
    let suspend_key = |store: Store, wants: Wants| async move {
        let draft = store.begin_with(wants).await.unwrap();
        let mut key = draft.key_of_digest(&digest).await.unwrap().unwrap();
        key.is_suspended = true;
        draft.commit(vec![Change::Key(Box::new(key))], entry("key"), None).await.unwrap();
        (true, false)
    };
    let suspend_tenant = |store: Store, wants: Wants| async move {
        let draft = store.begin_with(wants).await.unwrap();
        let mut tenant = draft.tenant(&TenantId::find("acme").unwrap()).await.unwrap().unwrap();
        tenant.is_suspended = true;
        draft.commit(vec![Change::Tenant(tenant)], entry("acme"), None).await.unwrap();
        (true, true)
    };
    type Mutation = Pin<Box<dyn Future<Output = (bool, bool)> + Send>>;
    let mutations: Vec<Mutation> = vec![
        Box::pin(look(store.clone(), wants())),
        Box::pin(suspend_key(store.clone(), wants())),
        Box::pin(look(store.clone(), wants())),
        Box::pin(suspend_tenant(store.clone(), wants())),
        Box::pin(look(store.clone(), wants())),
    ];
    let mut seen = Vec::new();
    for task in together(&store, mutations).await {
        seen.push(task.await.unwrap());
    }
    assert_eq!(seen, [(false, false), (true, false), (true, false), (true, true), (true, true)]);
}
