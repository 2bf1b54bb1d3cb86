//! A database with many keys, written as an import writes them, and the credentials that these have.

use keyward::clock::Clock;
use keyward::domain::change::Change;
use keyward::domain::credential::{Credential, CredentialId, Prefix, mint};
use keyward::domain::grant::Grant;
use keyward::domain::key::{Key, KeyType, Secret};
use keyward::domain::name::{KeyId, Owner, TenantId, UserId};
use keyward::domain::tenant::Tenant;
use keyward::domain::user::{Role, User};
use keyward::store::{Entry, Store};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use uuid::Uuid;

/// How many keys one mutation brings, as an import does.
const BATCH: usize = 1000;

/// The store at `url`.
pub(crate) async fn open(url: &str) -> Store {
    Store::open(url, Clock::default()).await.expect("a store")
}

/// Writes so many keys, each with what `grants` says of its number. They are of `tenants/acme/users/ada`.
pub(crate) async fn fill(url: &str, count: usize, grants: impl Fn(usize) -> Vec<Grant>) {
    let store = open(url).await;
    let tenant = TenantId::find("acme").expect("an id");
    let owner = UserId::find("ada").expect("an id");
    commit(&store, |_| {
        let now = Clock::default().now();
        let made = Tenant {
            id: tenant.clone(),
            uid: Uuid::now_v7(),
            display_name: "Acme".to_owned(),
            credential_prefix: Prefix::default(),
            is_suspended: false,
            create_time: now,
            update_time: now,
            delete_time: None,
            revision: 0,
        };
        let user = User {
            tenant: tenant.clone(),
            id: owner.clone(),
            uid: Uuid::now_v7(),
            email: "ada@example.com".to_owned(),
            given_name: "Ada".to_owned(),
            family_name: "Lovelace".to_owned(),
            role: Role::Owner,
            is_suspended: false,
            sessions_end_revision: 0,
            create_time: now,
            update_time: now,
            delete_time: None,
            revision: 0,
        };
        vec![Change::Tenant(made), Change::User(user)]
    })
    .await;
    for first in (0..count).step_by(BATCH) {
        let numbers = first..count.min(first + BATCH);
        let key = |number| key(number, &tenant, &owner, grants(number));
        commit(&store, |revision| {
            assert_eq!(revision, revision_of(first), "the database was not new");
            numbers.map(key).collect()
        })
        .await;
    }
    store.close().await.expect("closed");
}

/// The revision that brings a key: the first brings the owner of all.
fn revision_of(number: usize) -> i64 {
    i64::try_from(number / BATCH).expect("few") + 2
}

/// The credential of a key, the same each time.
pub(crate) fn credential(number: usize) -> (Credential, CredentialId) {
    mint(&Prefix::default(), revision_of(number), &mut StdRng::seed_from_u64(number as u64))
}

/// The id of a key, the same each time.
pub(crate) fn key_id(number: usize) -> Uuid {
    Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 + number as u128)
}

fn key(number: usize, tenant: &TenantId, owner: &UserId, grants: Vec<Grant>) -> Change {
    let now = Clock::default().now();
    let uid = key_id(number);
    let (credential, id) = credential(number);
    let secret = Secret {
        digest: credential.digest(),
        id: Some(id),
        hint: credential.obfuscated(),
        revision: revision_of(number),
        create_time: now,
        retirement: None,
    };
    Change::Key(Box::new(Key {
        tenant: tenant.clone(),
        id: KeyId::of_uid(uid),
        uid,
        kind: KeyType::Regular,
        owner: Some(Owner::User(owner.clone())),
        display_name: format!("key {number}"),
        description: "Made elsewhere and imported".to_owned(),
        grants,
        allowed_ips: Default::default(),
        allowed_referrers: Default::default(),
        labels: Default::default(),
        not_before_time: None,
        expire_time: None,
        is_suspended: false,
        revocation: None,
        delete_time: None,
        secrets: vec![secret],
        secret_key: None,
        public_credential: None,
        tokens_end_revision: 0,
        create_time: now,
        update_time: now,
        revision: 0,
    }))
}

async fn commit(store: &Store, changes: impl FnOnce(i64) -> Vec<Change>) {
    let draft = store.begin().await.expect("the head");
    let changes = changes(draft.revision());
    let entry = Entry {
        kind: "key.import",
        tenant: None,
        actor: "operator".to_owned(),
        credential_id: String::new(),
        subject: "tenants/acme".to_owned(),
        request_id: String::new(),
        source_ip: String::new(),
        detail: serde_json::Value::Null,
    };
    draft.commit(changes, entry, None).await.expect("a commit");
}
