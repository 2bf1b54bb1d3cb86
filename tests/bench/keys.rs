//! An index full of keys for the benches: any number of them, each of which can be made again from its number.

use keyward::check::Index;
use keyward::domain::change::Change;
use keyward::domain::clock::{Moment, Time};
use keyward::domain::credential::{Credential, CredentialId, Prefix, mint};
use keyward::domain::grant::Grant;
use keyward::domain::key::{Key, KeyType, Secret};
use keyward::domain::name::{KeyId, Owner, TenantId, UserId};
use keyward::domain::network::IpRanges;
use keyward::domain::referrer::Referrers;
use keyward::domain::tenant::Tenant;
use keyward::domain::user::{Role, User};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// When all of it happens.
pub(crate) const NOW: Time = Time::from_micros(1_800_000_000_000_000);

/// Keys of one user, and keys of one tenant.
const OF_USER: u64 = 1_000;
const OF_TENANT: u64 = 10_000;

/// Keys in one revision.
const AT_ONCE: u64 = 1_000;

/// The credential of the key of that number.
pub(crate) fn credential(number: u64) -> (Credential, CredentialId) {
    let revision = i64::try_from(number / AT_ONCE).unwrap_or_default() + 1;
    mint(&Prefix::default(), revision, &mut StdRng::seed_from_u64(number))
}

/// An index that serves, with keys 0 to `count`, each with these grants.
pub(crate) fn index_of(count: u64, grants: &[Grant]) -> Index {
    let index = Index::default();
    for (revision, first) in (1..).zip((0..count).step_by(AT_ONCE as usize)) {
        let numbers = first..count.min(first + AT_ONCE);
        let owners = numbers.clone().filter(|number| number % OF_USER == 0).flat_map(owners_from);
        let keys = numbers.map(|number| Change::Key(Box::new(key(number, grants))));
        index.apply(revision, owners.chain(keys).collect());
    }
    index.renew(Moment::MAX);
    index
}

/// The floor: the same digests in a plain map.
pub(crate) fn plain_of(count: u64) -> HashMap<[u8; 32], u64> {
    (0..count).map(|number| (*credential(number).0.digest().as_bytes(), number)).collect()
}

fn owners_from(number: u64) -> Vec<Change> {
    let tenant = number.is_multiple_of(OF_TENANT).then(|| Change::Tenant(tenant(number)));
    tenant.into_iter().chain([Change::User(user(number))]).collect()
}

fn tenant_id(number: u64) -> TenantId {
    TenantId::of_uid(Uuid::from_u64_pair(1, number / OF_TENANT))
}

fn user_id(number: u64) -> UserId {
    UserId::of_uid(Uuid::from_u64_pair(2, number / OF_USER))
}

fn tenant(number: u64) -> Tenant {
    Tenant {
        id: tenant_id(number),
        uid: Uuid::nil(),
        display_name: String::new(),
        credential_prefix: Prefix::default(),
        is_suspended: false,
        create_time: NOW,
        update_time: NOW,
        delete_time: None,
        revision: 1,
    }
}

fn user(number: u64) -> User {
    User {
        tenant: tenant_id(number),
        id: user_id(number),
        uid: Uuid::nil(),
        email: String::new(),
        given_name: String::new(),
        family_name: String::new(),
        role: Role::Member,
        is_suspended: false,
        sessions_end_revision: 0,
        create_time: NOW,
        update_time: NOW,
        delete_time: None,
        revision: 1,
    }
}

/// A key as it is made when no id is chosen: a UUID is its id.
fn key(number: u64, grants: &[Grant]) -> Key {
    let (credential, id) = credential(number);
    let revision = id.revision();
    let secret = Secret {
        digest: credential.digest(),
        id: Some(id),
        hint: credential.obfuscated(),
        revision,
        create_time: NOW,
        retirement: None,
    };
    Key {
        tenant: tenant_id(number),
        id: KeyId::of_uid(Uuid::from_u64_pair(3, number)),
        uid: Uuid::nil(),
        kind: KeyType::Regular,
        owner: Some(Owner::User(user_id(number))),
        display_name: String::new(),
        description: String::new(),
        grants: grants.to_vec(),
        allowed_ips: IpRanges::default(),
        allowed_referrers: Referrers::default(),
        labels: BTreeMap::new(),
        not_before_time: None,
        expire_time: None,
        is_suspended: false,
        revocation: None,
        delete_time: None,
        secrets: vec![secret],
        secret_key: None,
        public_credential: None,
        tokens_end_revision: 0,
        create_time: NOW,
        update_time: NOW,
        revision,
    }
}
