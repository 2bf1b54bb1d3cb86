use crate::harness::{DAY, TestServer, refused, seconds, send};
use keyward::proto::v1::*;
use tonic::Code;

#[tokio::test]
async fn an_answer_says_whose_the_credential_is_and_what_it_rests_on() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let labels = [("team".to_owned(), "ops".to_owned())];
    let new = acme.owner.key("tenants/-").id("ci").may("doc/*", "read").with(|key| key.labels = labels.clone().into());
    let issued = new.asking(|request| request.ttl = seconds(600)).issued().await;
    let key = issued.key.unwrap();
    let question = server.check(&issued.credential).may("doc/1", "read").with(|request| request.id = "42".to_owned());
    let answer = question.allowed().await;
    let principal = Principal {
        tenant: "tenants/acme".to_owned(),
        user: acme.owner_name.clone(),
        key: key.name.clone(),
        key_type: KeyType::Regular.into(),
        labels: labels.into(),
        ..Principal::default()
    };
    let expected = CheckResponse {
        decision: Decision::Allowed.into(),
        principal: Some(principal.clone()),
        expire_time: key.expire_time,
        cache_ttl: seconds(0),
        revision: issued.revision,
        id: "42".to_owned(),
        ..CheckResponse::default()
    };
    assert_eq!(answer, expected);
    let question = server.check(&issued.credential).may("doc/1", "write").may("doc/1", "read").may("", "");
    let denied = question.with(|request| request.id = "x".repeat(1000)).denied(&[Reason::NotGranted]).await;
    let missing = |resource: &str, action: &str| Permission { resource: resource.into(), action: action.into() };
    assert_eq!(denied.missing, [missing("doc/1", "write"), missing("", "")]);
    assert_eq!((denied.principal, denied.id.len(), denied.cache_ttl), (Some(principal), 1000, seconds(0)));

    // Nothing is told of what is not known.
    for text in ["", "nothing"] {
        let answer = server.check(text).may("doc/1", "read").with(|request| request.id = "7".to_owned()).asked().await;
        assert_eq!((answer.decision(), answer.principal, answer.expire_time), (Decision::Denied, None, None));
        assert_eq!((&*answer.id, answer.missing.len(), answer.revision), ("7", 0, issued.revision));
    }
    let kinds = [
        (&acme.made.master_credential, KeyType::Master),
        (&acme.made.default_public_credential, KeyType::DefaultPublic),
    ];
    for (credential, kind) in kinds {
        assert_eq!(server.check(credential).allowed().await.principal.unwrap().key_type(), kind);
    }
}

#[tokio::test]
async fn text_that_is_no_credential_is_missing_malformed_or_unknown() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let tenant = Tenant { credential_prefix: "own".to_owned(), ..Tenant::default() };
    let own = send!(server.root().tenants(), create_tenant, CreateTenantRequest { tenant_id: "own", tenant: tenant })
        .unwrap();
    let good = &acme.owner.key("tenants/-").issued().await.credential;
    let check = async |text: &str, reason: Reason| {
        let answer = server.check(text).may("**", "*").denied(&[reason]).await;
        assert!(answer.principal.is_none());
    };
    server.check(good).allowed().await;
    server.check(&own.master_credential).allowed().await;
    check("", Reason::Missing).await;
    let cut = &good[..good.len() - 1];
    let swapped = good.replacen("kw_", "own_", 1);
    let longer = format!("{good}0");
    let padded = format!("{good} ");
    for broken in ["kw_", "kw_x", "kw_a_b", "own_x", cut, &longer, &padded, &*format!("{good}\n"), &swapped] {
        check(broken, Reason::Malformed).await;
    }
    for upper in [good.to_uppercase(), good.to_lowercase()] {
        let answer = server.check(&upper).asked().await;
        assert_eq!(answer.decision(), Decision::Denied);
    }
    check("eyJhbGciOiJFZERTQSJ9.e30.x", Reason::TokenSignatureInvalid).await;
    for unknown in [
        " ",
        "x",
        "kw",
        "other_x",
        "Bearer",
        &format!("Bearer {good}"),
        &format!(" {good}"),
        &format!("\"{good}\""),
        "\u{0}",
        "💥",
    ] {
        check(unknown, Reason::NotFound).await;
    }
    // A well-formed one that nobody has: of a tenant that is, then was.
    check(&"x".repeat(8192), Reason::NotFound).await;
    check(&"x".repeat(8193), Reason::Malformed).await;
    check(&"x".repeat(60_000), Reason::Malformed).await;
}

#[tokio::test]
async fn every_reason_that_applies_is_told_in_the_order_of_the_contract() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (ada, _) = server.user(&acme, "ada", UserRole::Member).await;
    let (soon, later) = (server.time_in(60), server.time_in(7200));
    let restricted = acme
        .owner
        .key(&ada.name)
        .may("doc/*", "read")
        .with(|key| {
            key.allowed_ips = vec!["10.0.0.0/8".to_owned()];
            key.allowed_referrers = vec!["example.com".to_owned()];
            key.expire_time = Some(later);
            key.not_before_time = Some(soon);
        })
        .issued()
        .await;
    let name = restricted.key.unwrap().name;
    let secret =
        send!(acme.owner.keys(), generate_secret_key, GenerateSecretKeyRequest { name: &*name }).unwrap().secret_key;
    let ask = |is_good: bool| {
        let secret = secret.clone();
        server.check(&restricted.credential).may("doc/1", if is_good { "read" } else { "write" }).with(move |request| {
            request.secret_key = if is_good { secret } else { "wrong".to_owned() };
            let (source_ip, referrer) = if is_good { ("10.1.2.3", "https://example.com/x") } else { ("", "") };
            request.context =
                Some(CheckContext { source_ip: source_ip.into(), referrer: referrer.into(), ..Default::default() });
        })
    };
    use Reason::*;
    let used = [SecretKeyMismatch, IpNotAllowed, ReferrerNotAllowed, NotGranted];
    let all = |own: &[Reason]| [own, &used].concat();
    ask(true).denied(&[NotYetValid]).await;
    ask(false).denied(&all(&[NotYetValid])).await;
    server.move_to(Some(&soon), 0);
    ask(true).allowed().await;
    ask(false).denied(&used).await;
    let no_secret = ask(false).with(|request| request.secret_key.clear());
    no_secret.denied(&[SecretKeyRequired, IpNotAllowed, ReferrerNotAllowed, NotGranted]).await;

    // One thing after the other goes wrong, and all of it is told.
    send!(acme.owner.keys(), suspend_key, SuspendKeyRequest { name: &*name }).unwrap();
    ask(true).denied(&[Suspended]).await;
    ask(false).denied(&all(&[Suspended])).await;
    send!(acme.owner.users(), suspend_user, SuspendUserRequest { name: &*ada.name }).unwrap();
    ask(true).denied(&[Suspended, OwnerSuspended]).await;
    let root = server.root();
    send!(root.tenants(), suspend_tenant, SuspendTenantRequest { name: &*acme.name }).unwrap();
    ask(true).denied(&[Suspended, TenantSuspended, OwnerSuspended]).await;
    let rotated = send!(root.keys(), rotate_key, RotateKeyRequest { name: &*name }).unwrap().credential;
    ask(true).denied(&[RotatedOut, Suspended, TenantSuspended, OwnerSuspended]).await;
    server.move_to(Some(&later), 0);
    ask(true).denied(&[RotatedOut, Expired, Suspended, TenantSuspended, OwnerSuspended]).await;
    server
        .check(&rotated)
        .denied(&[
            Expired,
            Suspended,
            TenantSuspended,
            OwnerSuspended,
            SecretKeyRequired,
            IpNotAllowed,
            ReferrerNotAllowed,
        ])
        .await;
    send!(root.keys(), revoke_key, RevokeKeyRequest { name: &*name }).unwrap();
    ask(true).denied(&[Revoked, RotatedOut, Expired, Suspended, TenantSuspended, OwnerSuspended]).await;
    send!(root.keys(), delete_key, DeleteKeyRequest { name: &*name }).unwrap();
    let everything = [Deleted, Revoked, RotatedOut, Expired, Suspended, TenantSuspended, OwnerSuspended];
    let answer = ask(false).denied(&all(&everything)).await;
    assert_eq!(answer.principal.unwrap().key, name);
    assert_eq!(answer.missing.len(), 1);
    // A month later nothing of it is known.
    server.pass(30 * DAY);
    ask(false).denied(&[NotFound]).await;
}

#[tokio::test]
async fn time_has_no_leeway() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (begin, end) = (server.time_in(600), server.time_in(1200));
    let timed =
        acme.owner.key("tenants/-").with(|key| (key.not_before_time, key.expire_time) = (Some(begin), Some(end)));
    let issued = timed.issued().await;
    let name = issued.key.unwrap().name;
    server.check(&issued.credential).denied(&[Reason::NotYetValid]).await;
    server.move_to(Some(&begin), 3);
    server.check(&issued.credential).denied(&[Reason::NotYetValid]).await;
    server.move_to(Some(&begin), 0);
    assert_eq!(server.check(&issued.credential).allowed().await.expire_time, Some(end));
    server.move_to(Some(&end), 3);
    server.check(&issued.credential).allowed().await;
    server.move_to(Some(&end), 0);
    server.check(&issued.credential).denied(&[Reason::Expired]).await;
    let key = send!(acme.owner.keys(), get_key, GetKeyRequest { name: &*name }).unwrap().key.unwrap();
    assert_eq!(key.state(), KeyState::Expired);
    let caller = server.bearer(&issued.credential);
    let refusal = refused(send!(caller.keys(), get_key, GetKeyRequest { name: &*name }), Code::Unauthenticated);
    assert!(refusal.message.contains("EXPIRED"), "{refusal:?}");
    server.pass(400 * DAY);
    server.check(&issued.credential).denied(&[Reason::Expired]).await;
}

#[tokio::test]
async fn addresses_and_pages_are_held_to_what_the_key_allows() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issue = async |ips: &[&str], referrers: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (ips, referrers) = (texts(ips), texts(referrers));
        let new = acme.owner.key("tenants/-");
        new.with(|key| (key.allowed_ips, key.allowed_referrers) = (ips, referrers)).issued().await.credential
    };
    let ask = async |credential: &str, source_ip: &str, referrer: &str, reasons: &[Reason]| {
        let context = CheckContext { source_ip: source_ip.into(), referrer: referrer.into(), ..Default::default() };
        let question = server.check(credential).with(|request| request.context = Some(context));
        let answer = question.asked().await;
        assert_eq!(answer.reasons().collect::<Vec<_>>(), reasons, "{source_ip:?} {referrer:?}");
        assert_eq!(answer.decision() == Decision::Allowed, reasons.is_empty());
    };
    let key = issue(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::ffff:198.51.100.0/120"], &[]).await;
    for good in [
        "10.0.0.0",
        "10.255.255.255",
        "192.0.2.7",
        "2001:db8::1",
        "2001:DB8:ffff::",
        "::ffff:10.1.2.3",
        "198.51.100.9",
        "::ffff:198.51.100.9",
        "::ffff:c000:207",
    ] {
        ask(&key, good, "", &[]).await;
    }
    for bad in [
        "",
        " ",
        "11.0.0.0",
        "9.255.255.255",
        "192.0.2.8",
        "2001:db9::",
        "::1",
        "::10.1.2.3",
        "10.0.0.1:80",
        "[2001:db8::1]",
        " 10.0.0.1",
        "10.0.0.1 ",
        "10.0.0",
        "010.0.0.1",
        "10.0.0.1, 10.0.0.2",
        "10.0.0.0/8",
        "0xa000001",
        "localhost",
        "2001:db8::1%eth0",
        "garbage",
        "١٠.0.0.1",
    ] {
        ask(&key, bad, "", &[Reason::IpNotAllowed]).await;
    }
    server.check(&key).denied(&[Reason::IpNotAllowed]).await;
    // All of IPv6 is none of IPv4.
    let six = issue(&["::/0"], &[]).await;
    ask(&six, "2001:db8::1", "", &[]).await;
    ask(&six, "::ffff:10.0.0.1", "", &[Reason::IpNotAllowed]).await;
    ask(&six, "10.0.0.1", "", &[Reason::IpNotAllowed]).await;
    let four = issue(&["0.0.0.0/0"], &[]).await;
    ask(&four, "::ffff:10.0.0.1", "", &[]).await;
    ask(&four, "2001:db8::1", "", &[Reason::IpNotAllowed]).await;

    let key = issue(&[], &["*.example.com/*", "https://exact.example.org/app/*", "plain.example.net"]).await;
    for good in [
        "https://www.example.com/",
        "http://a.b.example.com/x?y#z",
        "HTTPS://WWW.EXAMPLE.COM/",
        "https://exact.example.org/app/1",
        "https://plain.example.net/any",
        "http://plain.example.net/",
    ] {
        ask(&key, "", good, &[]).await;
    }
    for bad in [
        "",
        "https://example.com/",
        "https://www.example.com.evil.test/",
        "https://evilexample.com/",
        "http://exact.example.org/app/1",
        "https://exact.example.org/application",
        "https://www.example.com:8443/",
        "https://user@www.example.com/",
        "www.example.com",
        "ftp://www.example.com/",
        "garbage",
        "https://evil.test/?www.example.com",
        "https://evil.test\\.example.com/",
        "https://evil.test#.example.com/",
    ] {
        ask(&key, "", bad, &[Reason::ReferrerNotAllowed]).await;
    }
    server.check(&key).denied(&[Reason::ReferrerNotAllowed]).await;
    // Without restrictions nothing of it is looked at.
    let free = issue(&[], &[]).await;
    ask(&free, "garbage", "garbage", &[]).await;
}

#[tokio::test]
async fn a_check_about_one_tenant_knows_no_other() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let credential = acme.owner.key("tenants/-").issued().await.credential;
    let about = |credential: &str, tenant: &str| {
        let tenant = tenant.to_owned();
        server.check(credential).with(|request| request.tenant = tenant)
    };
    about(&credential, "").allowed().await;
    about(&credential, "tenants/acme").allowed().await;
    let answer = about(&credential, &other.name).may("x", "y").denied(&[Reason::NotFound]).await;
    assert!(answer.principal.is_none() && answer.missing.is_empty());
    about(&server.root, "").allowed().await;
    about(&server.root, "tenants/acme").denied(&[Reason::NotFound]).await;
    for nothing in ["tenants/none", "tenants/ACME", "tenants/a b", "tenants/!!"] {
        refused(about(&credential, nothing).tried().await, Code::NotFound);
    }
    for bad in
        ["acme", "tenants/", "tenants", "/tenants/acme", "tenants/acme/", "tenants/acme/keys/x", "tenants/-", " "]
    {
        let refusal = refused(about(&credential, bad).tried().await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["tenant"], "{bad:?}");
    }
    // A deleted tenant still is one: its credentials say so.
    send!(server.root().tenants(), delete_tenant, DeleteTenantRequest { name: &*other.name }).unwrap();
    about(&other.made.master_credential, &other.name).denied(&[Reason::Deleted]).await;

    // Who asks on the admin listener asks about its own tenant, whatever it says.
    let ask = |tenant: &str, credential: &str| {
        let (client, tenant, credential) = (acme.owner.clone(), tenant.to_owned(), credential.to_owned());
        async move { send!(client.checks(), check, CheckRequest { credential: credential, tenant: tenant }) }
    };
    for own in ["", "tenants/acme", "tenants/-"] {
        assert_eq!(ask(own, &credential).await.unwrap().decision(), Decision::Allowed);
        let others = ask(own, &other.made.master_credential).await.unwrap();
        assert_eq!((others.reasons().next(), others.principal), (Some(Reason::NotFound), None));
    }
    refused(ask("tenants/other", &credential).await, Code::NotFound);
    refused(send!(server.nobody().checks(), check, CheckRequest { credential: credential }), Code::Unauthenticated);
}

#[tokio::test]
async fn the_last_use_of_a_key_is_known_to_the_minute_and_changes_nothing_else() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let used = acme.owner.key("tenants/-").id("used").issued().await;
    let denied = acme.owner.key("tenants/-").id("denied").issued().await;
    let (before, revision) = (used.key.unwrap(), server.revision().await);
    server.check(&used.credential).allowed().await;
    server.check(&denied.credential).may("x", "y").denied(&[Reason::NotGranted]).await;
    server.pass(3600);
    let minute = server.time_in(0).seconds / 60 * 60;
    server.check(&used.credential).allowed().await;
    let minutes = minute..=server.time_in(0).seconds / 60 * 60;
    server.restart().await;
    let owner = server.bearer(&acme.made.master_credential);
    let after =
        send!(owner.keys(), get_key, GetKeyRequest { name: &*before.name, etag: &*before.etag }).unwrap().key.unwrap();
    let last = after.last_auth_time.unwrap();
    assert!(minutes.contains(&last.seconds) && last.seconds % 60 == 0 && last.nanos == 0, "{last}");
    assert_eq!(Key { last_auth_time: None, ..after }, before, "neither etag nor update_time");
    assert_eq!(server.revision().await, revision);
    let filter = "last_auth_time > 2000-01-01T00:00:00Z AND type = REGULAR";
    let listed = send!(owner.keys(), list_keys, ListKeysRequest { parent: "tenants/-", filter: filter }).unwrap().keys;
    assert_eq!(listed.into_iter().map(|key| key.name).collect::<Vec<_>>(), std::slice::from_ref(&before.name));
    // Being found by its text is no use.
    let found =
        send!(owner.keys(), lookup_key, LookupKeyRequest { credential: denied.credential }).unwrap().key.unwrap();
    assert_eq!(found.last_auth_time, None);
}
