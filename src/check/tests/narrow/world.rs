//! Everything there is, at random, and what is asked about it.

use super::*;

pub(super) fn at(seconds: i64) -> Time {
    Time::from_micros(NOW.micros() + seconds * 1_000_000)
}

/// Everything there is, of each kind one or two.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) root: Root,
    pub(crate) tenant: Tenant,
    pub(crate) users: [User; 2],
    pub(crate) application: Application,
    pub(crate) key: Key,
    pub(crate) token: AccessToken,
    pub(crate) session: Session,
}

impl World {
    pub(crate) fn changes(&self) -> Vec<Change> {
        let users = self.users.iter().cloned().map(Change::from);
        let first: [Change; 2] = [self.root.clone().into(), self.tenant.clone().into()];
        let last: [Change; 4] = [
            self.application.clone().into(),
            self.key.clone().into(),
            self.token.clone().into(),
            self.session.clone().into(),
        ];
        first.into_iter().chain(users).chain(last).collect()
    }
}

/// Takes over from the second thing the fields whose bits are set.
macro_rules! cross {
    ($mask:expr, $one:expr, $other:expr, $($field:ident),*) => {{
        let mut crossed = $one.clone();
        let mut mask: u32 = $mask;
        $(
            if mask & 1 == 1 {
                crossed.$field = $other.$field.clone();
            }
            mask >>= 1;
        )*
        let _all_named = mask;
        crossed
    }};
}

/// `one`, of which the thing of that number took over some fields of `other`.
pub(super) fn cross(one: &World, other: &World, number: usize, mask: u32) -> World {
    let mut crossed = one.clone();
    match number {
        0 => crossed.root = cross!(mask, one.root, other.root, secrets),
        1 => crossed.tenant = cross!(mask, one.tenant, other.tenant, is_suspended, delete_time, display_name),
        2 | 3 => {
            let (user, other) = (&one.users[number - 2], &other.users[number - 2]);
            crossed.users[number - 2] =
                cross!(mask, user, other, role, is_suspended, sessions_end_revision, delete_time, email);
        }
        4 => {
            let (application, other) = (&one.application, &other.application);
            crossed.application = cross!(
                mask,
                application,
                other,
                owner,
                grants,
                secrets,
                is_verified,
                revoke_time,
                tokens_end_revision,
                delete_time,
                description
            );
        }
        5 => {
            crossed.key = cross!(
                mask,
                one.key,
                other.key,
                kind,
                owner,
                grants,
                allowed_ips,
                allowed_referrers,
                not_before_time,
                expire_time,
                is_suspended,
                revocation,
                delete_time,
                secrets,
                secret_key,
                tokens_end_revision,
                labels
            );
        }
        6 => {
            crossed.token = cross!(
                mask,
                one.token,
                other.token,
                parent,
                secret_version,
                based_revision,
                permissions,
                audience,
                digest,
                expire_time,
                revoke_time,
                format
            );
        }
        _ => {
            crossed.session = cross!(
                mask,
                one.session,
                other.session,
                user,
                digest,
                based_revision,
                expire_time,
                revoke_time,
                create_time
            );
        }
    }
    crossed
}

pub(super) fn ends(odds: f64) -> impl Strategy<Value = Option<Time>> {
    prop::option::weighted(odds.mul_add(0.5, 0.2), any_time())
}

pub(super) fn any_time() -> impl Strategy<Value = Time> {
    prop::sample::select(vec![-7200, -90, -61, -30, 0, 20, 30, 90, 7200]).prop_map(at)
}

/// A time at which something that always ends does so: mostly far ahead.
pub(super) fn expiry(odds: f64) -> impl Strategy<Value = Time> {
    ends(odds).prop_map(|time| time.unwrap_or(at(7200)))
}

pub(super) fn marks(odds: f64) -> impl Strategy<Value = Option<Time>> {
    prop::bool::weighted(odds).prop_map(|is_set| is_set.then_some(NOW))
}

pub(super) fn epochs() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![0_i64, 0, 0, 3, 6])
}

pub(super) fn digest_of(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// Two secrets at most, each by its revision, which is in its text.
pub(super) fn secrets(of: &'static str, odds: f64) -> impl Strategy<Value = Vec<Secret>> {
    let retirement = prop::option::of(
        (any_time(), prop::bool::weighted(odds)).prop_map(|(time, is_over)| Retirement { time, is_over }),
    );
    let secret = move |(revision, retirement): (i64, Option<Retirement>)| Secret {
        digest: digest_of(&format!("{of}{revision}")),
        id: CredentialId::find(&format!("1{revision}00000000")),
        hint: String::new(),
        revision,
        create_time: NOW,
        retirement,
    };
    prop::collection::btree_map(1..3_i64, retirement, 1..3)
        .prop_map(move |versions| versions.into_iter().rev().map(secret).collect())
}

pub(super) fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let some = [
        ("docs/1", "read"),
        ("docs/1", "write"),
        ("docs/*", "read"),
        ("docs/**", "*"),
        ("**", "*"),
        ("keyward/**", "*"),
        ("keyward/keys/*", "delete"),
        ("keyward/keys/key", "delete"),
    ];
    prop::collection::vec(prop::sample::select(some.to_vec()).prop_map(|(what, how)| resources(what, how)), 0..4)
}

pub(super) fn ranges() -> impl Strategy<Value = IpRanges> {
    let some = ["10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.0.0.1/32", "::1/128"];
    let several = prop::collection::vec(prop::sample::select(some.to_vec()), 1..3);
    prop_oneof![3 => Just(IpRanges::default()), 2 => several.prop_map(|texts| IpRanges::parse(&texts, "f").unwrap())]
}

pub(super) fn referrers() -> impl Strategy<Value = Referrers> {
    let some = ["*.example.com/*", "www.example.com", "https://www.example.com/a", "*.org"];
    let several = prop::collection::vec(prop::sample::select(some.to_vec()), 1..3);
    prop_oneof![3 => Just(Referrers::default()), 2 => several.prop_map(|texts| Referrers::parse(&texts, "f").unwrap())]
}

pub(super) fn user_id() -> impl Strategy<Value = UserId> {
    prop::sample::select(vec!["ada", "bob"]).prop_map(|id| UserId::find(id).unwrap())
}

pub(super) fn a_user(id: &'static str, odds: f64) -> impl Strategy<Value = User> {
    let role = prop::sample::select(vec![Role::Member, Role::Admin, Role::Owner]);
    (role, prop::bool::weighted(odds), epochs(), marks(odds)).prop_map(
        move |(role, is_suspended, sessions_end_revision, delete_time)| User {
            role,
            is_suspended,
            sessions_end_revision,
            delete_time,
            ..user("acme", id)
        },
    )
}

pub(super) fn an_application(odds: f64) -> impl Strategy<Value = Application> {
    (user_id(), grants(), secrets("app", odds), prop::bool::weighted(odds), marks(odds), epochs(), marks(odds))
        .prop_map(|(owner, grants, secrets, is_unverified, revoke_time, tokens_end_revision, delete_time)| {
            Application {
                tenant: TenantId::find("acme").unwrap(),
                id: ApplicationId::find("app").unwrap(),
                uid: Uuid::nil(),
                owner,
                display_name: String::new(),
                description: String::new(),
                contact_email: String::new(),
                grants,
                secrets,
                is_verified: !is_unverified,
                verification: None,
                revoke_time,
                tokens_end_revision,
                create_time: NOW,
                update_time: NOW,
                delete_time,
                revision: 1,
            }
        })
}

pub(super) fn a_key(odds: f64) -> impl Strategy<Value = Key> {
    let kind = prop::sample::select(vec![KeyType::Regular, KeyType::Regular, KeyType::Master, KeyType::DefaultPublic]);
    let owner = prop_oneof![
        4 => user_id().prop_map(|id| Some(Owner::User(id))),
        2 => Just(Some(Owner::Application(ApplicationId::find("app").unwrap()))),
        1 => Just(None),
    ];
    let secret_key = prop::sample::select(vec![None, None, None, Some("one"), Some("two")]);
    let limits = (ranges(), referrers(), ends(odds), ends(odds));
    let states = (prop::bool::weighted(odds), marks(odds), marks(odds), epochs());
    (kind, owner, grants(), limits, states, secrets("key", odds), secret_key).prop_map(
        |(kind, owner, grants, limits, states, secrets, secret_key)| {
            let (allowed_ips, allowed_referrers, not_before_time, expire_time) = limits;
            let (is_suspended, revoke_time, delete_time, tokens_end_revision) = states;
            Key {
                kind,
                owner,
                grants,
                allowed_ips,
                allowed_referrers,
                not_before_time,
                expire_time,
                is_suspended,
                revocation: revoke_time.map(|time| Revocation { time, reason: RevocationReason::Unspecified }),
                delete_time,
                secrets,
                secret_key: secret_key.map(digest_of),
                tokens_end_revision,
                ..key("acme", "key", "ada", &[])
            }
        },
    )
}

pub(super) fn a_token(odds: f64) -> impl Strategy<Value = AccessToken> {
    let parents =
        [Parent::Key(KeyId::find("key").unwrap()), Parent::Application(ApplicationId::find("app").unwrap())].to_vec();
    let wanted = prop::sample::select(vec![("docs/1", "read"), ("docs/*", "read"), ("**", "*"), ("keyward/**", "*")]);
    let wanted = wanted.prop_map(|(what, how)| Wanted { resource: what.to_owned(), action: how.to_owned() });
    let permissions = prop_oneof![2 => Just(None), 2 => prop::collection::vec(wanted, 1..3).prop_map(Some)];
    let audience = prop::sample::select(vec![vec![], vec![], vec!["one"], vec!["two"], vec!["one", "two"]]);
    let rest = (expiry(odds), marks(odds), prop::sample::select(vec!["token", "token", "token", "another"]));
    (prop::sample::select(parents), 1..3_i64, prop::sample::select(vec![2_i64, 5, 5]), permissions, audience, rest)
        .prop_map(|(parent, secret_version, based_revision, permissions, audience, rest)| AccessToken {
            tenant: TenantId::find("acme").unwrap(),
            id: TokenId::find("token").unwrap(),
            uid: Uuid::nil(),
            parent,
            secret_version,
            based_revision,
            permissions,
            audience: audience.into_iter().map(str::to_owned).collect(),
            format: TokenFormat::Opaque,
            digest: Some(digest_of(rest.2)),
            credential_id: None,
            create_time: NOW,
            update_time: NOW,
            expire_time: rest.0,
            revoke_time: rest.1,
            revision: 1,
        })
}

pub(super) fn a_session(odds: f64) -> impl Strategy<Value = Session> {
    let text = prop::sample::select(vec!["session", "session", "session", "other"]);
    (user_id(), prop::sample::select(vec![2_i64, 5, 5]), expiry(odds), marks(odds), text).prop_map(
        |(user, based_revision, expire_time, revoke_time, text)| Session {
            tenant: TenantId::find("acme").unwrap(),
            id: SessionId::find("session").unwrap(),
            uid: Uuid::nil(),
            user,
            digest: digest_of(text),
            credential_id: CredentialId::find("1100000000").unwrap(),
            based_revision,
            create_time: NOW,
            update_time: NOW,
            expire_time,
            revoke_time,
            revision: 1,
        },
    )
}

/// Everything there is, of which each thing that refuses is there with these odds.
pub(crate) fn world(odds: f64) -> impl Strategy<Value = World> {
    let root = secrets("root", odds).prop_map(|secrets| Root { secrets, revision: 1 });
    let acme = (prop::bool::weighted(odds), marks(odds)).prop_map(|(is_suspended, delete_time)| Tenant {
        is_suspended,
        delete_time,
        ..tenant("acme")
    });
    (
        root,
        acme,
        [a_user("ada", odds), a_user("bob", odds)],
        an_application(odds),
        a_key(odds),
        a_token(odds),
        a_session(odds),
    )
        .prop_map(|(root, tenant, users, application, key, token, session)| World {
            root,
            tenant,
            users,
            application,
            key,
            token,
            session,
        })
}

/// What is asked at some time.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) credential: &'static str,
    pub(crate) secret_key: &'static str,
    pub(crate) permission: Option<(&'static str, &'static str)>,
    pub(crate) source_ip: &'static str,
    pub(crate) referrer: &'static str,
    pub(crate) audience: Vec<String>,
    pub(crate) now: Time,
}

pub(crate) fn question() -> impl Strategy<Value = Question> {
    let credentials =
        ["root1", "root2", "key1", "key1", "key2", "app1", "app2", "token", "token", "session", "session"];
    let permissions = [
        None,
        Some(("docs/1", "read")),
        Some(("docs/1", "write")),
        Some(("docs/1/2", "read")),
        Some(("keyward/check", "use")),
        Some(("keyward/keys/key", "delete")),
        Some(("keyward/users/bob", "update")),
        Some(("keyward/applications/app", "get")),
        Some(("keyward/tenants/acme", "update")),
    ];
    let audiences = [vec![], vec!["one".to_owned()], vec!["two".to_owned()], vec!["one".to_owned(), "two".to_owned()]];
    let addresses = ["10.0.0.1", "10.0.0.1", "10.200.0.1", "::1", ""];
    let pages = ["https://www.example.com/a", "http://www.example.com/b", "https://a.org/", ""];
    (
        prop::sample::select(credentials.to_vec()),
        prop::sample::select(vec!["", "one", "two"]),
        prop::sample::select(permissions.to_vec()),
        prop::sample::select(addresses.to_vec()),
        prop::sample::select(pages.to_vec()),
        prop::sample::select(audiences.to_vec()),
        prop::sample::select(vec![-59, -20, 0, 25, 59]),
    )
        .prop_map(|(credential, secret_key, permission, source_ip, referrer, audience, now)| Question {
            credential,
            secret_key,
            permission,
            source_ip,
            referrer,
            audience,
            now: at(now),
        })
}
