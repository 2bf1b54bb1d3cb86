//! One in-process Check at growing numbers of keys, beside its floor in the same run: SHA-256 of the credential and one
//! lookup in a plain hash map of the same size. Run by `cargo bench --bench check`; the ratio is what counts.

#![expect(clippy::expect_used, reason = "a bench may panic")]

use keyward::check::Index;
use keyward::domain::change::Change;
use keyward::domain::clock::{Moment, Time};
use keyward::domain::credential::{Prefix, mint};
use keyward::domain::decision::{Permission, Query};
use keyward::domain::grant::Grant;
use keyward::domain::key::{Key, KeyType, Secret};
use keyward::domain::name::{KeyId, Owner, TenantId, UserId};
use keyward::domain::network::IpRanges;
use keyward::domain::referrer::Referrers;
use keyward::domain::tenant::Tenant;
use keyward::domain::user::{Role, User};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::time::{Duration, Instant};

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
/// Checks in a block; a block of Checks and a block of floors take turns.
const BLOCK: usize = 2_000;
const ROUNDS: usize = 150;

fn main() {
    println!("| keys | Check, ns | floor, ns | Check / floor |");
    println!("|---:|---:|---:|---:|");
    for size in SIZES {
        let (check, floor) = measure(size);
        let ratio = check.as_secs_f64() / floor.as_secs_f64();
        println!("| {size} | {} | {} | {ratio:.2} |", check.as_nanos(), floor.as_nanos());
    }
}

/// The median times of one Check and of its floor.
fn measure(size: usize) -> (Duration, Duration) {
    let mut rng = StdRng::seed_from_u64(7);
    let index = Index::default();
    let now = Time::from_micros(1_800_000_000_000_000);
    let tenant = TenantId::find("acme").expect("an id");
    let user = UserId::find("ada").expect("an id");
    index.apply(1, vec![Change::Tenant(tenant_of(&tenant, now)), Change::User(user_of(&tenant, &user, now))]);
    let mut plain: HashMap<[u8; 32], u64> = HashMap::with_capacity(size);
    let mut credentials = Vec::with_capacity(size);
    for number in 0..size {
        let revision = i64::try_from(number).expect("few") + 2;
        let (credential, id) = mint(&Prefix::default(), revision, &mut rng);
        let secret = Secret {
            digest: credential.digest(),
            id: Some(id),
            hint: credential.obfuscated(),
            revision,
            create_time: now,
            retirement: None,
        };
        plain.insert(*secret.digest.as_bytes(), number as u64);
        index.apply(revision, vec![Change::Key(Box::new(key_of(&tenant, &user, number, secret, now)))]);
        credentials.push(credential.expose().to_owned());
    }
    index.renew(Moment::MAX);
    credentials.shuffle(&mut rng);

    let permissions = [Permission { resource: "apis/maps", action: "use" }];
    let query = Query { permissions: &permissions, ..Query::default() };
    let mut order = credentials.iter().cycle();
    let (mut checks, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let block: Vec<&String> = order.by_ref().take(BLOCK).collect();
        let begin = Instant::now();
        for credential in &block {
            let answer = index.check(black_box(credential), &query, now).expect("it serves");
            assert!(answer.decision.is_allowed());
        }
        checks.push(begin.elapsed());
        let block: Vec<&String> = order.by_ref().take(BLOCK).collect();
        let begin = Instant::now();
        for credential in &block {
            let digest: [u8; 32] = Sha256::digest(black_box(credential).as_bytes()).into();
            assert!(black_box(plain.get(&digest)).is_some());
        }
        floors.push(begin.elapsed());
    }
    (median(checks), median(floors))
}

fn median(mut blocks: Vec<Duration>) -> Duration {
    blocks.sort();
    blocks.get(blocks.len() / 2).copied().unwrap_or_default() / u32::try_from(BLOCK).unwrap_or(1)
}

fn tenant_of(id: &TenantId, now: Time) -> Tenant {
    Tenant {
        id: id.clone(),
        uid: uuid::Uuid::nil(),
        display_name: String::new(),
        credential_prefix: Prefix::default(),
        is_suspended: false,
        create_time: now,
        update_time: now,
        delete_time: None,
        revision: 1,
    }
}

fn user_of(tenant: &TenantId, id: &UserId, now: Time) -> User {
    User {
        tenant: tenant.clone(),
        id: id.clone(),
        uid: uuid::Uuid::nil(),
        email: String::new(),
        given_name: String::new(),
        family_name: String::new(),
        role: Role::Member,
        is_suspended: false,
        sessions_end_revision: 0,
        create_time: now,
        update_time: now,
        delete_time: None,
        revision: 1,
    }
}

/// A key with three permissions.
fn key_of(tenant: &TenantId, user: &UserId, number: usize, secret: Secret, now: Time) -> Key {
    Key {
        tenant: tenant.clone(),
        id: KeyId::find(&format!("k{number}")).expect("an id"),
        uid: uuid::Uuid::nil(),
        kind: KeyType::Regular,
        owner: Some(Owner::User(user.clone())),
        display_name: String::new(),
        description: String::new(),
        grants: vec![
            Grant::Apis(vec!["maps".to_owned(), "sql".to_owned()]),
            Grant::Resources { resource: "doc/*".to_owned(), actions: vec!["read".to_owned()] },
        ],
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
        create_time: now,
        update_time: now,
        revision: 2,
    }
}
