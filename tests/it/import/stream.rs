//! `ImportKeys`: what is taken over, what is refused, and what Check says of it.

use crate::harness::{Client, TestServer, TestTenant, refused, resources, send};
use keyward::proto::v1::import_keys_entry::Material;
use keyward::proto::v1::*;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status};

/// An entry with the text of a credential.
fn text(line: i64, credential: &str) -> ImportKeysEntry {
    ImportKeysEntry {
        line,
        key: Some(Key::default()),
        material: Some(Material::Credential(credential.to_owned())),
        ..Default::default()
    }
}

/// An entry with the digest of a credential.
fn digest(line: i64, credential: &str) -> ImportKeysEntry {
    let sha256 = Sha256::digest(credential).to_vec();
    ImportKeysEntry { material: Some(Material::Sha256(sha256)), ..text(line, "") }
}

trait With {
    fn with(self, change: impl FnOnce(&mut Key)) -> Self;
    fn id(self, id: &str) -> Self;
}

impl With for ImportKeysEntry {
    fn with(mut self, change: impl FnOnce(&mut Key)) -> Self {
        change(self.key.get_or_insert_default());
        self
    }

    fn id(mut self, id: &str) -> Self {
        self.key_id = id.to_owned();
        self
    }
}

fn batch(parent: &str, sequence: i64, entries: Vec<ImportKeysEntry>) -> ImportKeysRequest {
    ImportKeysRequest { parent: parent.to_owned(), sequence, entries }
}

/// What a stream of these batches is answered with, up to its first error.
async fn sent(client: &Client, batches: Vec<ImportKeysRequest>) -> (Vec<ImportKeysResponse>, Result<(), Status>) {
    let mut answers = match client.keys().import_keys(tokio_stream::iter(batches)).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return (Vec::new(), Err(status)),
    };
    let mut all = Vec::new();
    loop {
        match answers.message().await {
            Ok(Some(answer)) => all.push(answer),
            Ok(None) => return (all, Ok(())),
            Err(status) => return (all, Err(status)),
        }
    }
}

/// What one batch is answered with.
#[track_caller]
fn import(client: &Client, parent: &str, entries: Vec<ImportKeysEntry>) -> impl Future<Output = ImportKeysResponse> {
    let place = std::panic::Location::caller();
    let sending = sent(client, vec![batch(parent, 1, entries)]);
    async move {
        let (mut answers, end) = sending.await;
        end.unwrap_or_else(|status| panic!("{place}: {status}"));
        assert_eq!(answers.len(), 1, "{place}");
        answers.remove(0)
    }
}

fn reasons(answer: &ImportKeysResponse) -> Vec<(i64, &str)> {
    answer.errors.iter().map(|error| (error.line, error.reason.as_str())).collect()
}

const OLD: &str = "sk_live_4f5d2c1b0a99887766554433";
const OLDER: &str = "ApiKey 9b2f-legacy-0001 with spaces";
/// Begins as ours do.
const BROKEN: &str = "kw_this_is_not_of_our_making";

#[tokio::test]
async fn imported_keys_work_by_their_own_text_and_live_like_any_other() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let answer = import(
        &acme.owner,
        &acme.name,
        vec![
            text(1, OLD).id("old").with(|key| {
                key.display_name = "Old".to_owned();
                key.grants = vec![resources("doc/*", &["read"])];
                key.labels.insert("from".to_owned(), "elsewhere".to_owned());
            }),
            digest(2, OLDER).id("older"),
            text(3, BROKEN).id("broken"),
        ],
    )
    .await;
    assert_eq!((answer.imported_count, answer.sequence, reasons(&answer)), (3, 1, vec![]));
    assert_eq!(answer.revision, server.revision().await);
    let check = server.check(OLD).may("doc/1", "read").allowed().await;
    let principal = check.principal.unwrap();
    assert_eq!((principal.key.as_str(), principal.labels["from"].as_str()), ("tenants/acme/keys/old", "elsewhere"));
    server.check(OLD).may("doc/1", "write").denied(&[Reason::NotGranted]).await;
    server.check(OLDER).allowed().await;
    server.check(BROKEN).allowed().await;
    let key = send!(acme.owner.keys(), get_key, GetKeyRequest { name: "tenants/acme/keys/old" }).unwrap().key.unwrap();
    assert_eq!((key.obfuscated_credential.as_str(), key.owner.as_str()), ("********", acme.owner_name.as_str()));
    assert_eq!((key.display_name.as_str(), key.r#type()), ("Old", KeyType::Regular));

    server.restart().await;
    let owner = server.bearer(&acme.made.master_credential);
    for credential in [OLD, OLDER, BROKEN] {
        server.check(credential).allowed().await;
    }
    // As a caller, too.
    refused(
        send!(server.bearer(OLD).keys(), get_key, GetKeyRequest { name: "tenants/acme/keys/old" }),
        Code::PermissionDenied,
    );
    let found = send!(owner.keys(), lookup_key, LookupKeyRequest { credential: OLDER }).unwrap().key.unwrap();
    assert_eq!(found.name, "tenants/acme/keys/older");

    send!(owner.keys(), revoke_key, RevokeKeyRequest { name: "tenants/acme/keys/old" }).unwrap();
    server.check(OLD).may("doc/1", "read").denied(&[Reason::Revoked]).await;
    let rotated = send!(owner.keys(), rotate_key, RotateKeyRequest { name: "tenants/acme/keys/older" }).unwrap();
    server.check(OLDER).denied(&[Reason::RotatedOut]).await;
    server.check(&rotated.credential).allowed().await;
    let request = RevokeCredentialsRequest { credentials: vec![BROKEN.to_owned()], ..Default::default() };
    server.nobody().keys().revoke_credentials(request).await.unwrap();
    server.check(BROKEN).denied(&[Reason::Revoked]).await;
    server.restart().await;
    server.check(OLD).may("doc/1", "read").denied(&[Reason::Revoked]).await;
    server.check(OLDER).denied(&[Reason::RotatedOut]).await;
    server.check(BROKEN).denied(&[Reason::Revoked]).await;

    // What was ended is not brought back, and not said to be in force.
    let owner = server.bearer(&acme.made.master_credential);
    let again = import(&owner, &acme.name, vec![text(1, OLD), text(2, OLDER)]).await;
    assert_eq!(again.imported_count, 0);
    let expected = [
        (1, "credential was imported before, and tenants/acme/keys/old was revoked since"),
        (2, "credential was imported before, and rotated out of tenants/acme/keys/older since"),
    ];
    assert_eq!(reasons(&again), expected);
    server.check(OLD).may("doc/1", "read").denied(&[Reason::Revoked]).await;
}

#[tokio::test]
async fn text_with_a_known_prefix_is_malformed_until_there_is_an_import_and_then_if_it_is_not_found() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    server.check("kw_whatever").denied(&[Reason::Malformed]).await;
    server.check(BROKEN).denied(&[Reason::Malformed]).await;
    server.check(OLD).denied(&[Reason::NotFound]).await;
    import(&acme.owner, &acme.name, vec![digest(1, BROKEN).id("broken")]).await;
    for _ in 0..2 {
        server.check(BROKEN).allowed().await;
        server.check("kw_whatever").denied(&[Reason::Malformed]).await;
        server.check(OLD).denied(&[Reason::NotFound]).await;
        // Another tenant's is told from an unknown one by nothing.
        let elsewhere = |credential| server.check(credential).with(|check| check.tenant.clone_from(&other.name));
        elsewhere(BROKEN).denied(&[Reason::Malformed]).await;
        elsewhere("kw_whatever").denied(&[Reason::Malformed]).await;
        server.restart().await;
    }
}

#[tokio::test]
async fn a_key_of_another_keyward_keeps_its_id() {
    let elsewhere = TestServer::start().await;
    let there = elsewhere.tenant("acme").await;
    let made = there.owner.key(&there.name).issued().await;
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    server.check(&made.credential).denied(&[Reason::NotFound]).await;
    import(&acme.owner, &acme.name, vec![text(1, &made.credential).id("moved")]).await;
    server.check(&made.credential).allowed().await;
    let key =
        send!(acme.owner.keys(), get_key, GetKeyRequest { name: "tenants/acme/keys/moved" }).unwrap().key.unwrap();
    assert_eq!(key.obfuscated_credential, made.key.unwrap().obfuscated_credential);
    // No credential of another form is there.
    server.check("kw_whatever").denied(&[Reason::Malformed]).await;
}

#[tokio::test]
async fn everything_may_be_sent_twice() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let entries = || vec![text(1, OLD).id("old"), digest(2, OLDER), text(3, OLD).id("old"), text(4, OLD)];
    let first = import(&acme.owner, &acme.name, entries()).await;
    assert_eq!((first.imported_count, reasons(&first)), (4, vec![]));
    let before = server.revision().await;
    // In another stream, and as the same message twice in one.
    let (answers, end) = sent(
        &acme.owner,
        vec![
            batch(&acme.name, 7, entries()),
            batch("", 7, entries()),
            batch(&acme.name, 8, vec![digest(5, OLD).id("old")]),
        ],
    )
    .await;
    end.unwrap();
    let counts: Vec<(i64, i64)> = answers.iter().map(|answer| (answer.sequence, answer.imported_count)).collect();
    assert_eq!(counts, [(7, 4), (7, 4), (8, 1)]);
    assert!(answers.iter().all(|answer| answer.errors.is_empty() && answer.revision == before), "{answers:?}");
    assert_eq!(server.revision().await, before, "nothing was new, so nothing is written");
    // One key each, and one event.
    let keys = send!(acme.owner.keys(), list_keys, ListKeysRequest { parent: &*acme.name }).unwrap().keys;
    assert_eq!(keys.iter().filter(|key| key.r#type() == KeyType::Regular).count(), 2);
    let events = send!(acme.owner.events(), list_events, ListEventsRequest { parent: &*acme.name }).unwrap().events;
    let imports: Vec<&Event> = events.iter().filter(|event| event.kind == "key.import").collect();
    assert_eq!(imports.len(), 1);
    assert_eq!((imports[0].subject.as_str(), imports[0].revision), (acme.owner_name.as_str(), first.revision));
}

#[tokio::test]
async fn a_bad_entry_is_told_by_its_line_and_the_good_ones_are_kept() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    acme.owner.key(&acme.name).id("taken").with(|key| key.display_name = "Taken".to_owned()).issued().await;
    import(&other.owner, &other.name, vec![text(1, "belongs to the other tenant")]).await;
    let nameless = |line| text(line, &format!("the credential of line {line}"));
    let past = prost_types::Timestamp { seconds: 1_000_000_000, nanos: 0 };
    let answer = import(
        &acme.owner,
        &acme.name,
        vec![
            nameless(1),
            nameless(2).with(|key| key.grants = vec![resources("doc//x", &["read"])]),
            ImportKeysEntry { material: None, ..nameless(3) },
            ImportKeysEntry { material: Some(Material::Sha256(vec![1; 31])), ..nameless(4) },
            text(5, ""),
            text(6, "short"),
            text(7, &"long".repeat(2049)),
            nameless(8).id("taken"),
            nameless(9).with(|key| key.display_name = "Taken".to_owned()),
            text(10, "belongs to the other tenant"),
            text(11, &server.root),
            text(12, &acme.made.master_credential),
            nameless(13).with(|key| key.r#type = KeyType::Master.into()),
            nameless(14).with(|key| key.r#type = KeyType::DefaultPublic.into()),
            nameless(15).with(|key| key.expire_time = Some(past)),
            nameless(16).id("twice").with(|key| key.display_name = "Twice".to_owned()),
            nameless(17).id("twice"),
            nameless(18).with(|key| key.display_name = "Twice".to_owned()),
            text(19, "the credential of line 16").id("thrice"),
            text(20, "told: by its own label").with(|key| {
                key.labels.insert("key".to_owned(), "is told: by its own label".to_owned());
            }),
            nameless(21).id("!!"),
            nameless(22).with(|key| key.owner = acme.owner_name.clone()),
            nameless(23),
        ],
    )
    .await;
    assert_eq!(answer.imported_count, 3, "{:?}", answer.errors);
    let expected = [
        (2, "key.grants[0].resources.resource must be"),
        (3, "credential or sha256 must be given"),
        (4, "sha256 must be 32 bytes long"),
        (5, "credential must be 16 to 8192 bytes long"),
        (6, "credential must be 16 to 8192 bytes long"),
        (7, "credential must be 16 to 8192 bytes long"),
        (8, "key_id \"taken\" is taken"),
        (9, "key.display_name \"Taken\" is taken"),
        (10, "credential belongs to another credential already"),
        (11, "credential belongs to another credential already"),
        (12, "credential belongs to another credential already"),
        (13, "key.type must be KEY_TYPE_REGULAR"),
        (14, "key.type must be KEY_TYPE_REGULAR"),
        (15, "key.expire_time must be in the future"),
        (17, "key_id \"twice\" is taken"),
        (18, "key.display_name \"Twice\" is taken"),
        (19, "credential belongs to another credential already"),
        (20, "key.labels must not hold the credential"),
        (21, "key_id must be"),
        (22, "key.owner is output only"),
    ];
    let told = reasons(&answer);
    for ((line, reason), (expected_line, expected)) in told.iter().zip(expected) {
        assert_eq!(*line, expected_line, "{reason}");
        assert!(reason.starts_with(expected), "{line}: {reason}");
        assert!(!reason.contains("told: by") && !reason.contains("the credential of"), "{reason}");
    }
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for line in [1, 16, 23] {
        server.check(&format!("the credential of line {line}")).allowed().await;
    }
    for line in [2, 8, 9, 13, 15, 17, 18, 22] {
        server.check(&format!("the credential of line {line}")).denied(&[Reason::NotFound]).await;
    }
}

#[tokio::test]
async fn nobody_imports_more_than_they_hold() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (ben, ben_client) = server.user(&acme, "ben", UserRole::Member).await;
    let (cleo, _) = server.user(&acme, "cleo", UserRole::Member).await;
    let expire_time = server.time_in(3600);
    let importer = acme
        .owner
        .key(&ben.name)
        .may("keyward/keys/*", "import")
        .may("doc/*", "read")
        .with(|key| key.expire_time = Some(expire_time))
        .issued()
        .await;
    let importer = server.bearer(&importer.credential);
    let holding = |line, resource, action: &str| {
        let grants = vec![resources(resource, &[action])];
        text(line, &format!("a credential of line {line}")).with(|key| key.grants = grants)
    };
    let later = server.time_in(7200);
    let entries = vec![
        holding(1, "doc/*", "read"),
        holding(2, "doc/*", "write"),
        holding(3, "**", "*"),
        holding(4, "doc/1", "read").id("for-ever"),
        holding(5, "doc/1", "read").with(|key| key.expire_time = Some(later)),
    ];
    let answer = import(&importer, &ben.name, entries).await;
    assert_eq!(answer.imported_count, 2, "{:?}", answer.errors);
    assert_eq!(reasons(&answer).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 5]);
    assert!(reasons(&answer).iter().all(|(_, reason)| reason.starts_with("key would hold more")), "{answer:?}");
    let kept = send!(acme.owner.keys(), get_key, GetKeyRequest { name: "tenants/acme/keys/for-ever" }).unwrap();
    assert_eq!(kept.key.unwrap().expire_time, Some(expire_time), "what lives for ever lives as long as the caller");

    // A member imports its own.
    let own = import(&ben_client, &ben.name, vec![holding(11, "doc/*", "write")]).await;
    assert_eq!(own.imported_count, 1, "{:?}", own.errors);
    let by_default = import(&ben_client, "tenants/-", vec![holding(12, "doc/*", "write").id("mine")]).await;
    assert_eq!(by_default.imported_count, 1);
    let mine = send!(ben_client.keys(), get_key, GetKeyRequest { name: "tenants/acme/keys/mine" }).unwrap();
    assert_eq!(mine.key.unwrap().owner, ben.name);
    let keyward = import(&ben_client, &ben.name, vec![holding(13, "keyward/**", "*")]).await;
    assert_eq!((keyward.imported_count, keyward.errors.len()), (0, 1));
    for parent in [&cleo.name, &acme.owner_name] {
        let (answers, end) = sent(&ben_client, vec![batch(parent, 1, vec![holding(14, "doc/*", "read")])]).await;
        assert_eq!(answers, []);
        refused(end, Code::PermissionDenied);
    }
    let other = server.tenant("other").await;
    let (_, end) = sent(&other.owner, vec![batch(&acme.name, 1, vec![holding(15, "doc/*", "read")])]).await;
    refused(end, Code::NotFound);
    server.check("a credential of line 14").denied(&[Reason::NotFound]).await;
    server.check("a credential of line 15").denied(&[Reason::NotFound]).await;
}

#[tokio::test]
async fn what_is_imported_for_an_application_holds_no_more_than_that() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let request = CreateApplicationRequest {
        parent: acme.name.clone(),
        application: Some(Application { grants: vec![resources("doc/*", &["read"])], ..Application::default() }),
        application_id: "billing".to_owned(),
        ..Default::default()
    };
    let made = acme.owner.applications().create_application(request).await.unwrap().into_inner();
    let name = made.application.unwrap().name;
    server.verified(&name).await;
    let holding = |line, resource, action: &str| {
        let grants = vec![resources(resource, &[action])];
        text(line, &format!("a credential of line {line}")).with(|key| key.grants = grants)
    };
    let entries = vec![
        holding(1, "doc/*", "read"),
        holding(2, "doc/*", "write"),
        holding(3, "doc/1", "read"),
        holding(4, "**", "*"),
        text(5, "a credential of line 5"),
    ];
    let answer = import(&acme.owner, &name, entries).await;
    assert_eq!(answer.imported_count, 3, "{:?}", answer.errors);
    assert_eq!(reasons(&answer).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4]);
    let told = format!("key would hold more than {name}: ");
    assert!(reasons(&answer).iter().all(|(_, reason)| reason.starts_with(&told)), "{answer:?}");
    server.check("a credential of line 1").may("doc/1", "read").allowed().await;
    server.check("a credential of line 2").denied(&[Reason::NotFound]).await;
    server.check("a credential of line 4").denied(&[Reason::NotFound]).await;

    // Whose the application is decides who may: a member for its own, and no admin for an owner's.
    let (member_user, member) = server.user(&acme, "max", UserRole::Member).await;
    let (_, admin) = server.user(&acme, "adam", UserRole::Admin).await;
    let request = CreateApplicationRequest {
        parent: member_user.name,
        application: Some(Application { grants: vec![resources("doc/*", &["read"])], ..Application::default() }),
        ..Default::default()
    };
    let made = member.applications().create_application(request).await.unwrap().into_inner();
    let own = made.application.unwrap().name;
    for client in [&member, &admin] {
        assert_eq!(import(client, &own, vec![holding(6, "doc/1", "read")]).await.imported_count, 1);
    }
    let (_, end) = sent(&admin, vec![batch(&name, 1, vec![holding(7, "doc/1", "read")])]).await;
    refused(end, Code::PermissionDenied);
}

#[tokio::test]
async fn a_stream_ends_with_what_is_wrong_with_a_message() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let one = |sequence| batch(&acme.name, sequence, vec![text(1, OLD)]);
    let ends = async |batches: Vec<ImportKeysRequest>, answered: usize, field: &str| {
        let (answers, end) = sent(&acme.owner, batches).await;
        assert_eq!((answers.len(), refused(end, Code::InvalidArgument).fields), (answered, vec![field.to_owned()]));
    };
    ends(vec![one(0)], 0, "sequence").await;
    ends(vec![one(3), one(5), one(4), one(6)], 2, "sequence").await;
    ends(vec![one(1), batch(&acme.owner_name, 2, vec![])], 1, "parent").await;
    ends(vec![batch("", 1, vec![])], 0, "parent").await;
    let many: Vec<ImportKeysEntry> = (0..1001).map(|line| text(line, &format!("credential number {line}"))).collect();
    let before = server.revision().await;
    ends(vec![batch(&acme.name, 1, many.clone())], 0, "entries").await;
    assert_eq!(server.revision().await, before);
    let answer = import(&acme.owner, &acme.name, many[1..].to_vec()).await;
    assert_eq!((answer.imported_count, answer.revision), (1000, before + 1));
    server.check("credential number 1000").allowed().await;
    server.check("credential number 0").denied(&[Reason::NotFound]).await;
}

/// Sends a batch, has something done, and sends another on the same stream.
async fn interrupted(
    acme: &TestTenant,
    client: &Client,
    done: impl AsyncFnOnce(),
) -> Result<Option<ImportKeysResponse>, Status> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let opening = client.keys();
    let mut opening = opening;
    sender.send(batch(&acme.name, 1, vec![text(1, OLD)])).await.unwrap();
    let mut answers =
        opening.import_keys(tokio_stream::wrappers::ReceiverStream::new(receiver)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().imported_count, 1);
    done().await;
    sender.send(batch(&acme.name, 2, vec![text(2, OLDER)])).await.unwrap();
    answers.message().await
}

#[tokio::test]
async fn a_caller_revoked_in_the_middle_imports_no_more() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let made = acme.owner.key(&acme.name).id("importer").may("keyward/keys/*", "import").issued().await;
    let importer = server.bearer(&made.credential);
    let result = interrupted(&acme, &importer, async || {
        send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: "tenants/acme/keys/importer" }).unwrap();
    })
    .await;
    refused(result, Code::Unauthenticated);
    server.check(OLD).allowed().await;
    server.check(OLDER).denied(&[Reason::NotFound]).await;
}
