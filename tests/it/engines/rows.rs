//! Rows are what the log says of them, after whatever was done; and one that was changed behind its back is found.

use super::server::server;
use super::{Fresh, On, on_every_engine};
use crate::harness::{TestServer, mask, seconds, send};
use keyward::clock::Clock;
use keyward::desk::{root, signing};
use keyward::keyring::MasterKey;
use keyward::proto::v1::import_keys_entry::Material;
use keyward::proto::v1::*;
use keyward::store::{Audit, Compared, Fault, Store};
use std::time::Duration;

on_every_engine! {
    a_row_that_was_changed_behind_the_log_is_found_and_named,
}

/// How many keys are taken over at once.
const IMPORTED: i64 = 60;

/// Longer than tokens and sessions are remembered.
const LATER: Duration = Duration::from_secs(90 * 24 * 60 * 60);

async fn compared(fresh: &Fresh, clock: &Clock) -> (Vec<Fault>, Compared) {
    let audit = Audit::open(&fresh.url).await.unwrap();
    let mut faults = Vec::new();
    let compared = audit.compare_rows(clock, &mut |fault| faults.push(fault)).await.unwrap();
    audit.close().await.unwrap();
    (faults, compared)
}

/// A bit of everything that writes rows.
async fn everything(server: &TestServer, fresh: &Fresh) {
    let acme = server.tenant("acme").await;
    let keys = || acme.owner.keys();
    for id in ["one", "two", "ended", "gone", "back"] {
        acme.owner.key("tenants/-").id(id).may("doc/*", "read").with(|key| key.display_name = id.into()).issued().await;
    }
    let name = |id: &str| format!("tenants/acme/keys/{id}");
    for _ in 0..2 {
        send!(keys(), rotate_key, RotateKeyRequest { name: name("one"), overlap: seconds(60) }).unwrap();
    }
    send!(keys(), finish_key_rotation, FinishKeyRotationRequest { name: name("one") }).unwrap();
    send!(keys(), generate_secret_key, GenerateSecretKeyRequest { name: name("one") }).unwrap();
    let key = Key {
        name: name("two"),
        description: "changed".into(),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        ..Key::default()
    };
    send!(keys(), update_key, UpdateKeyRequest { key: key, update_mask: mask(&["description", "labels"]) }).unwrap();
    send!(keys(), suspend_key, SuspendKeyRequest { name: name("two") }).unwrap();
    send!(keys(), activate_key, ActivateKeyRequest { name: name("two") }).unwrap();
    send!(keys(), revoke_key, RevokeKeyRequest { name: name("ended") }).unwrap();
    for id in ["gone", "back"] {
        send!(keys(), delete_key, DeleteKeyRequest { name: name(id) }).unwrap();
    }
    send!(keys(), undelete_key, UndeleteKeyRequest { name: name("back") }).unwrap();
    let entries = (1..=IMPORTED).map(|line| ImportKeysEntry {
        line,
        key: Some(Key::default()),
        material: Some(Material::Credential(format!("an-old-credential-{line}"))),
        ..Default::default()
    });
    let batch = ImportKeysRequest { parent: "tenants/-".into(), sequence: 1, entries: entries.collect() };
    let mut answers = keys().import_keys(tokio_stream::once(batch)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().imported_count, IMPORTED);

    let (ada, _) = server.user(&acme, "ada", UserRole::Admin).await;
    let (bo, bos) = server.user(&acme, "bo", UserRole::Member).await;
    bos.key("tenants/-").issued().await;
    let password = "correct horse battery";
    let set = SetPasswordRequest { name: ada.name.clone(), password: password.into(), ..Default::default() };
    acme.owner.users().set_password(set).await.unwrap();
    let sign_in = || CreateSessionRequest { email: ada.email.clone(), password: password.into(), ..Default::default() };
    let mut tokens = server.nobody().tokens();
    let first = tokens.create_session(sign_in()).await.unwrap().into_inner();
    tokens.create_session(sign_in()).await.unwrap();
    let revoke = RevokeTokenRequest { token: first.session_token.clone(), ..Default::default() };
    server.bearer(&first.session_token).tokens().revoke_token(revoke).await.unwrap();
    send!(acme.owner.users(), rotate_master_key, RotateMasterKeyRequest { name: &*ada.name }).unwrap();
    send!(acme.owner.users(), delete_user, DeleteUserRequest { name: &*bo.name }).unwrap();

    let whole = acme.owner.key("tenants/-").id("whole").may("doc/*", "read").issued().await;
    for _ in 0..2 {
        let request = CreateTokenRequest { key: whole.credential.clone(), ..Default::default() };
        let made = server.nobody().tokens().create_token(request).await.unwrap().into_inner();
        let revoke = RevokeTokenRequest { token: made.token, ..Default::default() };
        acme.owner.tokens().revoke_token(revoke).await.unwrap();
    }
    let request = CreateTokenRequest { key: whole.credential.clone(), ..Default::default() };
    server.nobody().tokens().create_token(request).await.unwrap();
    send!(
        acme.owner.applications(),
        create_application,
        CreateApplicationRequest { parent: "tenants/-", application: Application::default() }
    )
    .unwrap();
    for id in ["held", "over"] {
        server.tenant(id).await;
    }
    send!(server.root().tenants(), suspend_tenant, SuspendTenantRequest { name: "tenants/held" }).unwrap();
    send!(server.root().tenants(), delete_tenant, DeleteTenantRequest { name: "tenants/over" }).unwrap();
    let (faults, _) = compared(fresh, &Clock::default()).await;
    assert_eq!(faults, [], "beside a server that has it open");
}

/// So often, and so long apart, that its oldest secrets are forgotten.
async fn rotate_root(fresh: &Fresh) {
    let clock = Clock::default();
    let store = Store::open(&fresh.url, clock.clone()).await.unwrap();
    for _ in 0..3 {
        clock.advance(LATER);
        root::rotate(&store, async |_| Ok(())).await.unwrap();
    }
    store.close().await.unwrap();
}

/// The first signing key, and another since somebody may have the first.
async fn compromise_signing(fresh: &Fresh) {
    let store = Store::open(&fresh.url, Clock::default()).await.unwrap();
    let master = MasterKey::create(&fresh.path("master.key")).unwrap();
    // With SQLite the server has made the first.
    let made = usize::from(fresh.url.starts_with("sqlite:"));
    for is_compromised in [false, true].into_iter().skip(made) {
        signing::rotate(&store, &master, is_compromised).await.unwrap();
    }
    store.close().await.unwrap();
}

async fn a_row_that_was_changed_behind_the_log_is_found_and_named(on: On) {
    let fresh = on.fresh().await;
    let mut running = server(&fresh).await;
    everything(&running, &fresh).await;
    running.stop().await;
    compromise_signing(&fresh).await;
    rotate_root(&fresh).await;
    let clock = Clock::default();
    let (faults, whole) = compared(&fresh, &clock).await;
    assert_eq!((faults, whole.untold), (vec![], 0));
    assert!(whole.rows > 60, "{whole:?}");

    // Each with how it is taken back, and what is said meanwhile; none is said of what is as it was.
    let key = |name: &str| format!("the row of tenants/acme/keys/{name} was edited");
    let edits: [(&'static str, &'static str, String); 6] = [
        (
            "UPDATE api_key SET is_suspended = NOT is_suspended WHERE id = 'one'",
            "UPDATE api_key SET is_suspended = NOT is_suspended WHERE id = 'one'",
            key("one"),
        ),
        (
            "UPDATE api_key SET update_time = update_time + 1 WHERE id = 'ended'",
            "UPDATE api_key SET update_time = update_time - 1 WHERE id = 'ended'",
            key("ended"),
        ),
        (
            "UPDATE api_key_secret SET retire_time = retire_time + 1 WHERE key_id = 'one' AND retire_time IS NOT NULL",
            "UPDATE api_key_secret SET retire_time = retire_time - 1 WHERE key_id = 'one' AND retire_time IS NOT NULL",
            key("one"),
        ),
        (
            "UPDATE tenant_user SET family_name = 'x' WHERE id = 'ada'",
            "UPDATE tenant_user SET family_name = '' WHERE id = 'ada'",
            "the row of tenants/acme/users/ada was edited".to_owned(),
        ),
        (
            "UPDATE tenant SET is_suspended = NOT is_suspended WHERE id = 'held'",
            "UPDATE tenant SET is_suspended = NOT is_suspended WHERE id = 'held'",
            "the row of tenants/held was edited".to_owned(),
        ),
        (
            "UPDATE signing_key SET is_compromised = FALSE WHERE is_compromised",
            "UPDATE signing_key SET is_compromised = TRUE WHERE retire_time IS NOT NULL",
            "the row of signing-keys/".to_owned(),
        ),
    ];
    for (edit, back, words) in edits {
        fresh.execute(edit).await;
        let (faults, _) = compared(&fresh, &clock).await;
        assert_eq!(faults.len(), 1, "{edit}: {faults:?}");
        let told = faults[0].to_string();
        assert!(told.starts_with(&words) && told.contains(" was edited: "), "{edit}: {told}");
        fresh.execute(back).await;
        assert_eq!(compared(&fresh, &clock).await, (vec![], whole), "{back}");
    }

    // A row of another revision than its last, and one that is gone.
    fresh.execute("UPDATE api_key SET revision = revision - 1 WHERE id = 'two'").await;
    let (faults, _) = compared(&fresh, &clock).await;
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|fault| fault.starts_with("the row of tenants/acme/keys/two was ")), "{told:?}");
    assert!(matches!(faults[1], Fault::RowBehind { .. }), "{faults:?}");
    fresh.execute("UPDATE api_key SET revision = revision + 1 WHERE id = 'two'").await;

    for gone in ["DELETE FROM access_token", "DELETE FROM user_session"] {
        fresh.execute(gone).await;
    }
    let (faults, _) = compared(&fresh, &clock).await;
    assert!(faults.len() >= 5 && faults.iter().all(|fault| matches!(fault, Fault::RowGone { .. })), "{faults:?}");
    // What nobody knows any more may be swept away.
    let later = Clock::default();
    later.advance(LATER);
    assert_eq!(compared(&fresh, &later).await.0, []);
    fresh.execute("DELETE FROM api_key_secret WHERE key_id = 'back'").await;
    fresh.execute("DELETE FROM api_key WHERE id = 'back'").await;
    let (faults, _) = compared(&fresh, &later).await;
    assert!(
        matches!(faults.as_slice(), [Fault::RowGone { name, .. }] if name == "tenants/acme/keys/back"),
        "{faults:?}"
    );

    // The root credential before the last, put back.
    fresh.execute("DELETE FROM root_secret WHERE retire_time IS NULL").await;
    let (faults, _) = compared(&fresh, &later).await;
    let is_roots = |fault: &&Fault| matches!(fault, Fault::RowBehind { name, .. } if name == "root");
    assert_eq!(faults.iter().filter(is_roots).count(), 1, "{faults:?}");

    // Of what the log has not got any more nothing is said, and that is told.
    fresh.execute("UPDATE ledger_head SET floor_rev = rev").await;
    fresh.execute("DELETE FROM ledger_change").await;
    let (faults, pruned) = compared(&fresh, &later).await;
    assert_eq!((faults, pruned.untold), (vec![], pruned.rows));
}
