//! The index against a model that is obviously right, and under readers that would notice a state that never was.

use super::*;
use crate::domain::change::{Change, Root};
use crate::domain::clock::Moment;
use crate::domain::credential::{Credential, CredentialId, Prefix, mint};
use crate::domain::decision::Permission;
use crate::domain::grant::Grant;
use crate::domain::key::{Key, KeyType, Retirement, Revocation, RevocationReason, Secret};
use crate::domain::name::{KeyId, Owner, TenantId, UserId};
use crate::domain::network::IpRanges;
use crate::domain::referrer::Referrers;
use crate::domain::tenant::Tenant;
use crate::domain::user::{Role, User};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use uuid::Uuid;

pub(crate) mod narrow;
mod uses;

const NOW: Time = Time::from_micros(1_000_000_000);
const LATER: Time = Time::from_micros(2_000_000_000);

fn tenant(id: &str) -> Tenant {
    Tenant {
        id: TenantId::find(id).unwrap(),
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

fn user(tenant: &str, id: &str) -> User {
    User {
        tenant: TenantId::find(tenant).unwrap(),
        id: UserId::find(id).unwrap(),
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

fn key(tenant: &str, id: &str, owner: &str, texts: &[(&str, Option<Time>)]) -> Key {
    Key {
        tenant: TenantId::find(tenant).unwrap(),
        id: KeyId::find(id).unwrap(),
        uid: Uuid::nil(),
        kind: KeyType::Regular,
        owner: Some(Owner::User(UserId::find(owner).unwrap())),
        display_name: String::new(),
        description: String::new(),
        grants: Vec::new(),
        allowed_ips: IpRanges::default(),
        allowed_referrers: Referrers::default(),
        labels: BTreeMap::new(),
        not_before_time: None,
        expire_time: None,
        is_suspended: false,
        revocation: None,
        delete_time: None,
        secrets: texts
            .iter()
            .map(|(text, retire_time)| Secret {
                digest: Digest::of(text.as_bytes()),
                id: CredentialId::find("1100000000"),
                hint: String::new(),
                revision: 1,
                create_time: NOW,
                retirement: retire_time.map(|time| Retirement { time, is_over: false }),
            })
            .collect(),
        secret_key: None,
        public_credential: None,
        tokens_end_revision: 0,
        create_time: NOW,
        update_time: NOW,
        revision: 1,
    }
}

fn resources(resource: &str, action: &str) -> Grant {
    Grant::Resources { resource: resource.to_owned(), actions: vec![action.to_owned()] }
}

/// What a thing was last made, kept as it is easiest to look at.
#[derive(Clone, Debug, Default)]
struct Model {
    tenants: BTreeMap<u8, (bool, bool)>,
    users: BTreeMap<(u8, u8), (bool, bool)>,
    keys: BTreeMap<(u8, u8), KeyModel>,
}

#[derive(Clone, Debug)]
struct KeyModel {
    owner: u8,
    docs: BTreeSet<u8>,
    is_suspended: bool,
    is_revoked: bool,
    is_deleted: bool,
    expire_second: Option<u8>,
    has_second_secret: bool,
    /// Which version of the secret, and the second in which it was or will be rotated out.
    secrets: BTreeMap<u8, Option<u8>>,
}

fn second(second: u8) -> Time {
    Time::from_micros(NOW.micros() + i64::from(second) * 1_000_000)
}

fn text(tenant: u8, key: u8, version: u8) -> String {
    format!("secret of t{tenant} k{key} v{version}")
}

impl Model {
    /// Every reason against asking for `doc` with this secret; none if it is allowed.
    fn reasons(&self, at: (u8, u8), version: u8, secret_key: &str, doc: u8, now: u8) -> Vec<Reason> {
        let Some(key) = self.keys.get(&at) else { return vec![Reason::NotFound] };
        let Some(retires) = key.secrets.get(&version) else { return vec![Reason::NotFound] };
        // What was never put in is as good as deleted.
        let (tenant_suspended, tenant_deleted) = self.tenants.get(&at.0).copied().unwrap_or((false, true));
        let (user_suspended, user_deleted) = self.users.get(&(at.0, key.owner)).copied().unwrap_or((false, true));
        let mut reasons = Vec::new();
        if key.is_deleted || tenant_deleted || user_deleted {
            reasons.push(Reason::Deleted);
        }
        if key.is_revoked {
            reasons.push(Reason::Revoked);
        }
        if retires.is_some_and(|second| now >= second) {
            reasons.push(Reason::RotatedOut);
        }
        if key.expire_second.is_some_and(|second| now >= second) {
            reasons.push(Reason::Expired);
        }
        if key.is_suspended {
            reasons.push(Reason::Suspended);
        }
        if tenant_suspended && !tenant_deleted {
            reasons.push(Reason::TenantSuspended);
        }
        if user_suspended && !user_deleted {
            reasons.push(Reason::OwnerSuspended);
        }
        if key.has_second_secret && secret_key.is_empty() {
            reasons.push(Reason::SecretKeyRequired);
        }
        if key.has_second_secret && !secret_key.is_empty() && secret_key != "second" {
            reasons.push(Reason::SecretKeyMismatch);
        }
        if !key.docs.contains(&doc) {
            reasons.push(Reason::NotGranted);
        }
        reasons
    }
}

#[derive(Clone, Debug)]
enum Step {
    Tenant(u8, bool, bool),
    User((u8, u8), bool, bool),
    Key((u8, u8), KeyModel),
}

fn flag() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.2)
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..2_u8, 0..4_u8);
    let key = (
        0..3_u8,
        prop::collection::btree_set(0..4_u8, 0..4),
        (flag(), flag(), flag(), flag()),
        prop::option::weighted(0.3, 1..20_u8),
        prop::collection::btree_map(0..4_u8, prop::option::weighted(0.5, 1..20_u8), 0..3),
    );
    let key = key.prop_map(|(owner, docs, flags, expire_second, secrets)| {
        let (is_suspended, is_revoked, is_deleted, has_second_secret) = flags;
        KeyModel { owner, docs, is_suspended, is_revoked, is_deleted, expire_second, has_second_secret, secrets }
    });
    prop_oneof![
        1 => (0..2_u8, flag(), flag()).prop_map(|(id, suspended, deleted)| Step::Tenant(id, suspended, deleted)),
        2 => ((0..2_u8, 0..3_u8), flag(), flag()).prop_map(|(id, suspended, deleted)| Step::User(id, suspended, deleted)),
        4 => (place(), key).prop_map(|(place, key)| Step::Key(place, key)),
    ]
}

/// Carries a step out on the model, and says what the follower would be told.
fn carry_out(model: &mut Model, step: Step) -> Change {
    match step {
        Step::Tenant(id, is_suspended, is_deleted) => {
            model.tenants.insert(id, (is_suspended, is_deleted));
            let delete_time = is_deleted.then_some(NOW);
            Change::Tenant(Tenant { is_suspended, delete_time, ..tenant(&format!("tenant{id}")) })
        }
        Step::User((at, id), is_suspended, is_deleted) => {
            model.users.insert((at, id), (is_suspended, is_deleted));
            let delete_time = is_deleted.then_some(NOW);
            Change::User(User { is_suspended, delete_time, ..user(&format!("tenant{at}"), &format!("user{id}")) })
        }
        Step::Key((at, id), wanted) => {
            let texts: Vec<(String, Option<Time>)> =
                wanted.secrets.iter().map(|(version, end)| (text(at, id, *version), end.map(second))).collect();
            let texts: Vec<(&str, Option<Time>)> = texts.iter().map(|(text, end)| (text.as_str(), *end)).collect();
            let plain = key(&format!("tenant{at}"), &format!("key{id}"), &format!("user{}", wanted.owner), &texts);
            let change = Key {
                grants: wanted.docs.iter().map(|doc| resources(&format!("docs/{doc}"), "read")).collect(),
                is_suspended: wanted.is_suspended,
                revocation: wanted
                    .is_revoked
                    .then_some(Revocation { time: NOW, reason: RevocationReason::Unspecified }),
                delete_time: wanted.is_deleted.then_some(NOW),
                expire_time: wanted.expire_second.map(second),
                secret_key: wanted.has_second_secret.then(|| Digest::of(b"second")),
                ..plain
            };
            model.keys.insert((at, id), wanted);
            Change::Key(Box::new(change))
        }
    }
}

fn ask(index: &Index, credential: &str, secret_key: &str, doc: u8, now: u8) -> Answer {
    let resource = format!("docs/{doc}");
    let permissions = [Permission { resource: &resource, action: "read" }];
    let query = Query { secret_key, permissions: &permissions, ..Query::default() };
    index.check(credential, &query, second(now)).unwrap()
}

proptest! {
    #[test]
    fn whatever_happens_the_index_answers_as_the_last_change_of_each_thing_says(
        revisions in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..12),
        secret_key in prop::sample::select(vec!["", "second", "another"]),
        now in 0..25_u8,
    ) {
        let index = Index::default();
        index.renew(Moment::MAX);
        let mut model = Model::default();
        let mut log = Vec::new();
        for (revision, steps) in (1..).zip(revisions) {
            let changes: Vec<Change> = steps.into_iter().map(|step| carry_out(&mut model, step)).collect();
            log.push(changes.clone());
            index.apply(revision, changes);
            for (tenant, key, version, doc) in
                (0..2).flat_map(|t| (0..4).flat_map(move |k| (0..4).flat_map(move |v| (0..4).map(move |d| (t, k, v, d)))))
            {
                let answer = ask(&index, &text(tenant, key, version), secret_key, doc, now);
                let expected = model.reasons((tenant, key), version, secret_key, doc, now);
                prop_assert_eq!(answer.decision.reasons().iter().collect::<Vec<_>>(), expected.clone());
                prop_assert_eq!(answer.decision.is_allowed(), expected.is_empty());
                prop_assert_eq!(answer.revision, revision);
            }
            let secrets: usize = model.keys.values().map(|key| key.secrets.len()).sum();
            prop_assert_eq!(index.credential_count(), secrets as i64);
        }
        // Loaded from rows: only the last form of each thing, in any order, is the same index.
        let loaded = Index::default();
        loaded.renew(Moment::MAX);
        let last: BTreeMap<String, Change> =
            log.into_iter().flatten().map(|change| (change.entity(), change)).collect();
        for change in last.into_values() {
            loaded.apply(1, vec![change]);
        }
        prop_assert_eq!(loaded.credential_count(), index.credential_count());
        for ((tenant, key), known) in &model.keys {
            for version in known.secrets.keys() {
                let live = ask(&index, &text(*tenant, *key, *version), secret_key, 1, now).decision;
                prop_assert_eq!(live, ask(&loaded, &text(*tenant, *key, *version), secret_key, 1, now).decision);
            }
        }
    }
}

#[test]
fn a_key_keeps_its_name_whatever_form_its_id_has() {
    let index = Index::default();
    index.renew(Moment::MAX);
    for id in ["ci", "sixteen-bytes-ab", "0199c0de-0000-7000-8000-000000000000", &"a".repeat(63)] {
        index.apply(1, vec![Change::Key(Box::new(key("acme", id, "ada", &[(id, None)])))]);
        let principal = index.check(id, &Query::default(), NOW).unwrap().principal.unwrap();
        assert_eq!(principal.held().unwrap().facts.name(), format!("tenants/acme/keys/{id}"));
        assert!(index.has_key(&TenantId::find("acme").unwrap(), &KeyId::find(id).unwrap()));
    }
}

#[test]
fn what_is_not_serving_decides_nothing() {
    let index = Index::default();
    index.apply(1, vec![Change::Tenant(tenant("acme"))]);
    for credential in ["", "kw_broken", "unknown"] {
        assert_eq!(index.check(credential, &Query::default(), NOW).unwrap_err(), CannotDecide, "{credential:?}");
    }
}

#[test]
fn a_root_that_was_replaced_is_rotated_out() {
    let index = Index::default();
    index.renew(Moment::MAX);
    let made = |revision| -> (Credential, Secret) {
        let (credential, id) = mint(&Prefix::default(), revision, &mut rand::rng());
        let digest = credential.digest();
        let hint = String::new();
        (credential, Secret { digest, id: Some(id), hint, revision, create_time: NOW, retirement: None })
    };
    let ((first, first_secret), (second, second_secret)) = (made(1), made(2));
    let root = Root { secrets: vec![first_secret], revision: 1 };
    index.apply(1, vec![Change::Root(root.clone())]);
    assert!(index.check(first.expose(), &Query::default(), NOW).unwrap().decision.is_allowed());
    index.apply(2, vec![Change::Root(root.rotated(second_secret, NOW))]);
    assert!(index.check(second.expose(), &Query::default(), NOW).unwrap().decision.is_allowed());
    let old = index.check(first.expose(), &Query::default(), NOW).unwrap().decision;
    assert_eq!(old.reasons().iter().collect::<Vec<_>>(), [Reason::RotatedOut]);
}

/// One revision moves a key, its owner and its tenant at once. In one state the key is suspended, in the next its owner,
/// in the third its tenant; in none is it allowed. Every answer must be that of the revision it names. Its credential is in
/// turn its newest one and an earlier one that still is good, which are found in different places.
#[test]
fn no_reader_ever_sees_a_mix_of_revisions() {
    const REVISIONS: i64 = 3000;
    let index = Index::default();
    index.renew(Moment::MAX);
    let changes = |revision: i64| {
        let state = revision % 3;
        let of_secrets = |id: &str, texts: &[(&str, Option<Time>)]| Key {
            is_suspended: state == 0,
            ..key("acme", id, "ada", texts)
        };
        let watched = if revision % 4 < 2 {
            of_secrets("watched", &[("watched", None), ("another", Some(LATER))])
        } else {
            of_secrets("watched", &[("another", None), ("watched", Some(LATER))])
        };
        // Others in between keep the view in the making for longer.
        let others = (0..40).map(|other| format!("other{other}"));
        let others = others.map(|id| Change::Key(Box::new(of_secrets(&id, &[(&id, None)]))));
        let owner = Change::User(User { is_suspended: state == 1, ..user("acme", "ada") });
        let tenant = Change::Tenant(Tenant { is_suspended: state == 2, ..tenant("acme") });
        let mut changes: Vec<Change> = [Change::Key(Box::new(watched))].into_iter().chain(others).collect();
        changes.push(owner);
        changes.push(tenant);
        // In turn, so that each state is left and entered in both orders.
        if revision % 2 == 0 {
            changes.reverse();
        }
        changes
    };
    index.apply(1, changes(1));
    let is_over = AtomicBool::new(false);
    let answers = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = 0;
                let mut count = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    let answer = index.check("watched", &Query::default(), NOW).unwrap();
                    let reasons: Vec<Reason> = answer.decision.reasons().iter().collect();
                    let expected = match answer.revision % 3 {
                        0 => Reason::Suspended,
                        1 => Reason::OwnerSuspended,
                        _ => Reason::TenantSuspended,
                    };
                    assert_eq!(reasons, [expected], "at revision {}", answer.revision);
                    assert!(answer.revision >= last, "went back from {last} to {}", answer.revision);
                    last = answer.revision;
                    count += 1;
                }
                answers.fetch_add(count, Ordering::Relaxed);
            });
        }
        for revision in 2..=REVISIONS {
            index.apply(revision, changes(revision));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(answers.load(Ordering::Relaxed) > 0, "nobody asked");
    assert_eq!(index.applied(), REVISIONS);
}
