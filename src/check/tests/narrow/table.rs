//! Mutations by name: which wait, and which must not.

use super::*;
use proptest::strategy::ValueTree as _;

fn secret(revision: i64) -> Secret {
    Secret {
        digest: digest_of(&format!("key{revision}")),
        id: CredentialId::find(&format!("1{revision}00000000")),
        hint: String::new(),
        revision,
        create_time: NOW,
        retirement: None,
    }
}

fn plain_key() -> Key {
    Key {
        grants: vec![resources("docs/1", "read")],
        expire_time: Some(at(1000)),
        not_before_time: Some(at(-1000)),
        secrets: vec![secret(1)],
        ..key("acme", "key", "ada", &[])
    }
}

fn with(edit: impl FnOnce(&mut Key)) -> Key {
    let mut key = plain_key();
    edit(&mut key);
    key
}

fn narrows(before: impl Into<Change>, after: impl Into<Change>) -> bool {
    may_narrow(Some(&before.into()), &after.into(), WINDOW)
}

fn ip(texts: &[&str]) -> IpRanges {
    IpRanges::parse(texts, "f").unwrap()
}

fn pages(texts: &[&str]) -> Referrers {
    Referrers::parse(texts, "f").unwrap()
}

#[test]
fn changes_of_a_key_wait_only_where_something_is_taken_away() {
    let revocation = Some(Revocation { time: NOW, reason: RevocationReason::Unspecified });
    let limited = || with(|key| (key.allowed_ips, key.allowed_referrers) = (ip(&["10.0.0.0/8"]), pages(&["*.org"])));
    let suspended = || with(|key| key.is_suspended = true);
    let rotated = |overlap: i64| with(|key| key.rotate(secret(2), at(overlap), NOW));
    let later = with(|key| key.expire_time = Some(at(2000)));
    let second = || with(|key| key.secret_key = Some(digest_of("one")));
    let long_over = || with(|key| key.rotate(secret(2), at(-1000), at(-1000)));
    let must_not: &[(&str, Key, Key)] = &[
        ("nothing", plain_key(), plain_key()),
        ("rename", plain_key(), with(|key| key.display_name = "new".to_owned())),
        ("describe", plain_key(), with(|key| key.description = "new".to_owned())),
        ("label", plain_key(), with(|key| key.labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]))),
        ("later expiry", plain_key(), later.clone()),
        ("no expiry", plain_key(), with(|key| key.expire_time = None)),
        ("earlier begin", plain_key(), with(|key| key.not_before_time = Some(at(-2000)))),
        ("no begin", plain_key(), with(|key| key.not_before_time = None)),
        ("more grants", plain_key(), with(|key| key.grants.push(resources("docs/2", "read")))),
        ("wider grants", plain_key(), with(|key| key.grants = vec![resources("docs/**", "*")])),
        ("same grants said otherwise", plain_key(), with(|key| key.grants.push(resources("docs/1", "read")))),
        ("no addresses", limited(), with(|key| key.allowed_referrers = pages(&["*.org"]))),
        ("wider addresses", limited(), {
            let ranges = ip(&["10.0.0.0/9", "10.128.0.0/9", "::1"]);
            Key { allowed_ips: ranges, ..limited() }
        }),
        ("more pages", limited(), Key { allowed_referrers: pages(&["*.org", "*.com"]), ..limited() }),
        ("activate", suspended(), plain_key()),
        ("undelete", with(|key| key.delete_time = Some(NOW)), plain_key()),
        ("rotate with overlap", plain_key(), rotated(3600)),
        ("rotate again after an overlap", long_over(), {
            let mut key = long_over();
            key.rotate(secret(3), at(3600), NOW);
            key
        }),
        ("no second secret", second(), plain_key()),
    ];
    for (what, before, after) in must_not {
        assert!(!narrows(before.clone(), after.clone()), "{what} must not wait");
    }
    let must: &[(&str, Key, Key)] = &[
        ("suspend", plain_key(), suspended()),
        ("revoke", plain_key(), with(|key| key.revocation = revocation)),
        ("delete", plain_key(), with(|key| key.delete_time = Some(NOW))),
        ("rotate", plain_key(), rotated(0)),
        ("rotate with a short overlap", plain_key(), rotated(30)),
        ("finish a rotation", rotated(3600), {
            let mut key = rotated(3600);
            key.finish_rotation(NOW);
            key
        }),
        ("forget a secret", rotated(3600), with(|key| key.secrets = vec![secret(2)])),
        ("first second secret", plain_key(), second()),
        ("another second secret", second(), with(|key| key.secret_key = Some(digest_of("two")))),
        ("earlier expiry", later, plain_key()),
        ("an expiry", with(|key| key.expire_time = None), plain_key()),
        ("later begin", plain_key(), with(|key| key.not_before_time = Some(at(10)))),
        ("a begin", with(|key| key.not_before_time = None), plain_key()),
        ("fewer grants", with(|key| key.grants.push(resources("docs/2", "read"))), plain_key()),
        ("narrower grants", with(|key| key.grants = vec![resources("docs/*", "read")]), plain_key()),
        ("other actions", plain_key(), with(|key| key.grants = vec![resources("docs/1", "write")])),
        ("addresses", plain_key(), with(|key| key.allowed_ips = ip(&["0.0.0.0/0"]))),
        ("fewer addresses", limited(), Key { allowed_ips: ip(&["10.0.0.0/9"]), ..limited() }),
        ("pages", plain_key(), with(|key| key.allowed_referrers = pages(&["*.org"]))),
        ("fewer pages", limited(), Key { allowed_referrers: pages(&["a.org"]), ..limited() }),
        ("end of tokens", plain_key(), with(|key| key.tokens_end_revision = 7)),
        ("another owner", plain_key(), Key { owner: Some(Owner::User(UserId::find("bob").unwrap())), ..plain_key() }),
        ("another kind", plain_key(), with(|key| key.kind = KeyType::Master)),
        ("another version", plain_key(), with(|key| key.secrets[0].revision = 2)),
        ("an imported secret", plain_key(), with(|key| key.secrets.push(Secret { id: None, ..secret(2) }))),
    ];
    for (what, before, after) in must {
        assert!(narrows(before.clone(), after.clone()), "{what} must wait");
    }
}

#[test]
fn what_is_new_does_not_wait_unless_it_was_imported_or_is_a_revoked_jwt() {
    let narrows = |change: Change| may_narrow(None, &change, WINDOW);
    let new = Key { revision: 0, ..plain_key() };
    assert!(!narrows(new.clone().into()));
    assert!(!narrows(Tenant { revision: 0, ..tenant("acme") }.into()));
    assert!(!narrows(User { revision: 0, ..user("acme", "ada") }.into()));
    assert!(!narrows(Root { secrets: vec![secret(1)], revision: 0 }.into()));
    assert!(!narrows(SigningKey::new(PublicKey::from_bytes([7; 32]), NOW, NOW).into()));
    // Of another form, or of ours and of a revision of somewhere else.
    assert!(narrows(Key { secrets: vec![Secret { id: None, ..secret(1) }], ..new.clone() }.into()));
    assert!(narrows(Key { secrets: vec![Secret { revision: 2, ..secret(1) }], ..new }.into()));
    // What was there before, nobody knows how.
    assert!(narrows(plain_key().into()));
}

#[test]
fn changes_of_users_and_tenants_wait_where_somebody_can_do_less() {
    let ada = |role: Role| User { role, ..user("acme", "ada") };
    let suspended = User { is_suspended: true, ..ada(Role::Member) };
    let deleted = User { delete_time: Some(NOW), ..ada(Role::Member) };
    assert!(!narrows(ada(Role::Member), User { email: "a@b".to_owned(), ..ada(Role::Member) }));
    assert!(!narrows(ada(Role::Member), ada(Role::Admin)));
    assert!(!narrows(suspended.clone(), ada(Role::Member)));
    // Admins can do less to what is an owner's.
    assert!(narrows(ada(Role::Admin), ada(Role::Owner)));
    assert!(narrows(ada(Role::Owner), ada(Role::Admin)));
    assert!(narrows(ada(Role::Admin), ada(Role::Member)));
    assert!(narrows(ada(Role::Member), suspended.clone()));
    assert!(narrows(ada(Role::Member), deleted.clone()));
    // The suspension may not be in force everywhere yet.
    assert!(narrows(suspended, deleted));
    assert!(narrows(ada(Role::Member), User { sessions_end_revision: 4, ..ada(Role::Member) }));
    assert!(narrows(ada(Role::Member), user("acme", "bob")), "not the same user");
    assert!(narrows(ada(Role::Member), tenant("acme")), "not the same kind");

    let suspended = Tenant { is_suspended: true, ..tenant("acme") };
    assert!(narrows(tenant("acme"), suspended.clone()));
    assert!(narrows(tenant("acme"), Tenant { delete_time: Some(NOW), ..tenant("acme") }));
    assert!(!narrows(suspended, tenant("acme")));
    assert!(!narrows(tenant("acme"), Tenant { display_name: "Acme".to_owned(), ..tenant("acme") }));
}

#[test]
fn changes_of_applications_tokens_and_sessions_wait_where_somebody_can_do_less() {
    let mut runner = TestRunner::deterministic();
    let mut any = world(0.0).new_tree(&mut runner).unwrap().current();
    any.token.audience = vec!["one".to_owned()];
    any.token.permissions = Some(vec![Wanted { resource: "docs/*".to_owned(), action: "read".to_owned() }]);
    any.application.grants = vec![resources("docs/*", "read")];
    any.application.owner = UserId::find("ada").unwrap();
    any.session.user = UserId::find("ada").unwrap();
    let wanted = |what: &str, how: &str| Some(vec![Wanted { resource: what.to_owned(), action: how.to_owned() }]);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();

    let application = any.application;
    let is_waiting = |edit: &dyn Fn(&mut Application)| {
        let mut after = application.clone();
        edit(&mut after);
        narrows(application.clone(), after)
    };
    assert!(!is_waiting(&|after| after.description = "new".to_owned()));
    assert!(!is_waiting(&|after| after.grants = vec![resources("**", "*")]));
    assert!(is_waiting(&|after| after.grants = Vec::new()));
    assert!(is_waiting(&|after| after.owner = UserId::find("bob").unwrap()));
    assert!(is_waiting(&|after| after.secrets = Vec::new()));
    assert!(is_waiting(&|after| after.is_verified = false));
    assert!(is_waiting(&|after| after.revoke_time = Some(NOW)));
    assert!(is_waiting(&|after| after.tokens_end_revision = 100));
    assert!(is_waiting(&|after| after.delete_time = Some(NOW)));
    let revoked = Application { revoke_time: Some(NOW), ..application.clone() };
    assert!(!narrows(revoked, application.clone()), "activate must not wait");

    let token = any.token;
    let is_waiting = |edit: &dyn Fn(&mut AccessToken)| {
        let mut after = token.clone();
        edit(&mut after);
        narrows(token.clone(), after)
    };
    assert!(!is_waiting(&|after| after.audience = words(&["two", "one"])));
    assert!(!is_waiting(&|after| after.audience = Vec::new()));
    assert!(!is_waiting(&|after| after.permissions = None));
    assert!(!is_waiting(&|after| after.permissions = wanted("docs/**", "*")));
    assert!(is_waiting(&|after| after.audience = words(&["two"])));
    assert!(narrows(AccessToken { audience: Vec::new(), ..token.clone() }, token.clone()), "an audience must wait");
    assert!(is_waiting(&|after| after.permissions = wanted("docs/1", "read")));
    assert!(narrows(AccessToken { permissions: None, ..token.clone() }, token.clone()), "a narrower set must wait");
    assert!(is_waiting(&|after| after.expire_time = at(-8000)));
    assert!(is_waiting(&|after| after.revoke_time = Some(NOW)));
    assert!(is_waiting(&|after| after.based_revision = 1));
    assert!(is_waiting(&|after| after.secret_version = 9));
    assert!(is_waiting(&|after| after.digest = None));
    assert!(is_waiting(&|after| after.parent = Parent::Key(KeyId::find("other").unwrap())));

    // A JWT that is revoked has a row from then on; everything else that is new was nobody's before.
    let new = |token: AccessToken| may_narrow(None, &AccessToken { revision: 0, ..token }.into(), WINDOW);
    assert!(!new(token.clone()));
    assert!(new(AccessToken { revoke_time: Some(NOW), ..token.clone() }));
    assert!(new(AccessToken { format: TokenFormat::Jwt, ..token.clone() }));
    assert!(!may_narrow(None, &Session { revision: 0, ..any.session.clone() }.into(), WINDOW));
    assert!(!may_narrow(None, &Application { revision: 0, ..application.clone() }.into(), WINDOW));

    let session = any.session;
    let is_waiting = |edit: &dyn Fn(&mut Session)| {
        let mut after = session.clone();
        edit(&mut after);
        narrows(session.clone(), after)
    };
    assert!(!is_waiting(&|after| after.update_time = at(1)));
    assert!(is_waiting(&|after| after.expire_time = at(-8000)));
    assert!(is_waiting(&|after| after.revoke_time = Some(NOW)));
    assert!(is_waiting(&|after| after.based_revision = 1));
    assert!(is_waiting(&|after| after.user = UserId::find("bob").unwrap()));
    assert!(is_waiting(&|after| after.digest = digest_of("another session")));

    let signing = SigningKey { revision: 1, ..SigningKey::new(PublicKey::from_bytes([7; 32]), NOW, NOW) };
    let retired = SigningKey { retire_time: Some(at(90)), ..signing.clone() };
    assert!(narrows(signing.clone(), retired.clone()));
    assert!(!narrows(retired.clone(), signing.clone()));
    assert!(narrows(retired.clone(), SigningKey { retire_time: Some(at(80)), ..retired.clone() }));
    assert!(narrows(signing.clone(), SigningKey { is_compromised: true, ..signing.clone() }));
    assert!(narrows(signing.clone(), SigningKey { public_key: PublicKey::from_bytes([8; 32]), ..signing }));

    let root = any.root;
    assert!(!narrows(root.clone(), root.clone()));
    assert!(narrows(root.clone(), Root { secrets: vec![secret(5)], ..root }), "another root must wait");
}
