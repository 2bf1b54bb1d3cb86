//! A secret is shown once, kept as a digest, and found nowhere else: everything is done against a process that logs and
//! exports all it can, and then every place that anything was written to is searched.

use crate::harness::process::Process;
use crate::harness::{Client, ledger, mailbox, resources};
use crate::serve::http_get;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tonic::Status;

/// A collector that keeps every byte it is sent.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    let received = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&received);
    let router = axum::Router::new().fallback(move |request: Request<Body>| {
        let keep = Arc::clone(&keep);
        async move {
            let (parts, body) = request.into_parts();
            let mut bytes = format!("{parts:?}").into_bytes();
            bytes.extend_from_slice(&to_bytes(body, usize::MAX).await.unwrap());
            keep.lock().unwrap().extend_from_slice(&bytes);
            ([("content-type", "application/grpc"), ("grpc-status", "0")], "")
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, received)
}

/// All secrets that were shown, and all places where something was written.
#[derive(Default)]
struct Hunt {
    secrets: BTreeMap<&'static str, String>,
    places: Vec<(&'static str, Vec<u8>)>,
    refusals: Vec<u8>,
}

impl Hunt {
    fn hide(&mut self, what: &'static str, secret: &str) -> String {
        assert!(secret.len() >= 43, "{what} is no secret: {secret:?}");
        self.secrets.insert(what, secret.to_owned());
        secret.to_owned()
    }

    /// Keeps what a refusal says, in its message and its details.
    fn refused<T: std::fmt::Debug>(&mut self, result: Result<T, Status>) {
        let status = result.expect_err("was to be refused");
        self.refusals.extend_from_slice(status.message().as_bytes());
        self.refusals.extend_from_slice(status.details());
        self.refusals.extend_from_slice(format!("{status:?}\n").as_bytes());
    }

    /// How a secret is found out: by its text, by the secret part of it, and by its digest in any form.
    fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
        let digest = Sha256::digest(secret.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let decimal = digest.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let tail = secret.rsplit_once('_').map_or(secret, |(_, tail)| tail);
        vec![
            ("the text", secret.as_bytes().to_vec()),
            // A JWT may hold an underscore anywhere.
            ("the secret part", tail.get(..40).unwrap_or(secret).as_bytes().to_vec()),
            ("the digest", digest.to_vec()),
            ("the digest in upper case", hex.to_uppercase().into_bytes()),
            ("the digest in base64", STANDARD_NO_PAD.encode(digest).into_bytes()),
            ("the digest in base64 for URLs", URL_SAFE_NO_PAD.encode(digest).into_bytes()),
            ("the digest in decimal", decimal.into_bytes()),
            ("the digest in hex", hex.into_bytes()),
        ]
    }

    /// Every place where a secret was found.
    fn found(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (place, bytes) in &self.places {
            for (what, secret) in &self.secrets {
                for (form, needle) in Self::forms(secret) {
                    let may_be_there = match *place {
                        // A fast digest of a password can be guessed.
                        "database" if what.ends_with("password") => false,
                        // Until it was sent; `mail` has a test that it is wiped then.
                        "database" if *what == "mailed token" => true,
                        "database" => form.starts_with("the digest") || *what == "public",
                        "page" | "key" => *what == "public",
                        _ => false,
                    };
                    if !may_be_there && bytes.windows(needle.len()).any(|window| window == needle) {
                        found.push(format!("{form} of {what} in {place}"));
                    }
                }
            }
        }
        found
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_and_no_digest_is_written_anywhere() {
    let (endpoint, received) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let process = Process::start(&database, &["--log", "trace", "--otlp-endpoint", &endpoint]);
    let mut hunt = Hunt::default();
    let root = std::fs::read_to_string(folder.path().join("root.key")).unwrap();
    let master_key = std::fs::read_to_string(folder.path().join("keyward.db.master-key")).unwrap();
    hunt.hide("master key", master_key.trim_end());
    let root = Client::at(process.admin(), &hunt.hide("root", root.trim_end()));

    // Everything that shows a secret.
    let tenant = Some(Tenant { credential_prefix: "acme".to_owned(), ..Tenant::default() });
    let request = CreateTenantRequest { tenant_id: "acme".to_owned(), tenant, ..CreateTenantRequest::default() };
    let made = root.tenants().create_tenant(request).await.unwrap().into_inner();
    hunt.hide("public", &made.default_public_credential);
    let master = hunt.hide("first master key", &made.master_credential);
    let owner_name = made.owner.unwrap().name;
    let first = Client::at(process.admin(), &master);
    let request = RotateMasterKeyRequest { name: owner_name, ..RotateMasterKeyRequest::default() };
    let rotated = first.users().rotate_master_key(request).await.unwrap().into_inner();
    let master = hunt.hide("master key", &rotated.master_credential);
    let owner = Client::at(process.admin(), &master);
    let request = CreateUserRequest { parent: "tenants/-".to_owned(), ..CreateUserRequest::default() };
    let user = owner.users().create_user(request).await.unwrap().into_inner();
    hunt.hide("member's master key", &user.master_credential);
    let password = hunt.hide("password", &format!("a password that nobody would ever write down {}", 4_711));
    let set = |password: &str, current: &str| SetPasswordRequest {
        name: user.user.as_ref().unwrap().name.clone(),
        password: password.to_owned(),
        current_password: current.to_owned(),
        ..Default::default()
    };
    let patch = Some(User {
        name: user.user.as_ref().unwrap().name.clone(),
        email: "ada@example.com".to_owned(),
        ..User::default()
    });
    owner.users().update_user(UpdateUserRequest { user: patch, update_mask: None }).await.unwrap();
    owner.users().set_password(set(&password, "")).await.unwrap();
    let wrong_password = hunt.hide("wrong password", &format!("{password}!"));
    hunt.refused(owner.users().set_password(set(&password, &wrong_password)).await);
    hunt.refused(owner.users().set_password(set(&password.repeat(10), "")).await);
    let sign_in = |email: &str, password: &str| CreateSessionRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        ..Default::default()
    };
    let session = root.tokens().create_session(sign_in("ada@example.com", &password)).await.unwrap().into_inner();
    hunt.hide("session", &session.session_token);
    hunt.refused(root.tokens().create_session(sign_in("ada@example.com", &wrong_password)).await);
    hunt.refused(root.tokens().create_session(sign_in(&password, &password)).await);
    let issued = owner.key("tenants/-").id("canary").grant(resources("doc/*", &["read"])).issued().await;
    let old = hunt.hide("rotated key", &issued.credential);
    let name = issued.key.unwrap().name;
    let request_id = "0198c0de-0000-4000-8000-000000000001".to_owned();
    let request = RotateKeyRequest { name: name.clone(), request_id, ..RotateKeyRequest::default() };
    let answer = owner.keys().rotate_key(request.clone()).await.unwrap().into_inner();
    let credential = hunt.hide("key", &answer.credential);
    owner.keys().rotate_key(request).await.unwrap();
    let request = GenerateSecretKeyRequest { name: name.clone(), ..GenerateSecretKeyRequest::default() };
    let secret_key = owner.keys().generate_secret_key(request).await.unwrap().into_inner().secret_key;
    let second = hunt.hide("second secret", &secret_key);
    let leaked = owner.key("tenants/-").issued().await;
    let leaked = hunt.hide("leaked key", &leaked.credential);

    let new = CreateApplicationRequest {
        parent: "tenants/-".to_owned(),
        application_id: "canary".to_owned(),
        application: Some(Application {
            contact_email: "bo@example.com".to_owned(),
            grants: vec![resources("doc/*", &["read"])],
            ..Application::default()
        }),
        ..Default::default()
    };
    let application =
        owner.applications().create_application(new).await.unwrap().into_inner().application.unwrap().name;
    let mails = mailbox::about(&folder.path().join("keyward-mail"), &application, 1).await;
    let verification_token = hunt.hide("mailed token", &mails[0].token);
    let verify = |verification_token: String| VerifyApplicationRequest {
        name: application.clone(),
        verification_token,
        ..Default::default()
    };
    hunt.refused(owner.applications().verify_application(verify(format!("{verification_token}x"))).await);
    let secret = owner.applications().verify_application(verify(verification_token)).await.unwrap().into_inner().secret;
    let secret = hunt.hide("application secret", &secret);
    let mut tokens = Vec::new();
    for (what, format) in [("opaque token", TokenFormat::Opaque), ("JWT", TokenFormat::Jwt)] {
        let request = CreateTokenRequest {
            application: application.clone(),
            secret: secret.clone(),
            format: format.into(),
            ..Default::default()
        };
        let made = root.tokens().create_token(request).await.unwrap().into_inner().token;
        tokens.push(hunt.hide(what, &made));
        let inspected = IntrospectTokenRequest { token: made.clone() };
        owner.tokens().introspect_token(inspected).await.unwrap();
        let request = CreateTokenRequest { key: made, ..Default::default() };
        hunt.refused(root.tokens().create_token(request).await);
    }
    let imported = hunt.hide("imported key", "a text that somebody else once made up for a key of theirs");
    let entry = |key_id: &str, credential: &str| ImportKeysEntry {
        key_id: key_id.to_owned(),
        material: Some(import_keys_entry::Material::Credential(credential.to_owned())),
        ..Default::default()
    };
    let batch = ImportKeysRequest {
        parent: "tenants/-".to_owned(),
        sequence: 1,
        entries: vec![entry("imported", &imported), entry(&imported, &imported), entry("taken", &secret)],
    };
    let answer = owner.keys().import_keys(tokio_stream::iter([batch])).await.unwrap().into_inner().message().await;
    let answer = answer.unwrap().unwrap();
    assert_eq!((answer.imported_count, answer.errors.len()), (1, 2));
    hunt.refusals.extend_from_slice(format!("{answer:?}\n").as_bytes());

    // Questions, good and bad, by every road.
    let wrong = hunt.hide("text of nobody", &format!("{}x", credential));
    let mut checks = CheckServiceClient::new(process.data());
    let mut batch = Vec::new();
    for credential in [&credential, &old, &wrong, &leaked, &second, &secret, &tokens[0], &tokens[1], &imported] {
        for secret_key in ["", &second, &leaked] {
            let permissions = vec![Permission { resource: "doc/1".to_owned(), action: "read".to_owned() }];
            batch.push(CheckRequest {
                credential: credential.clone(),
                secret_key: secret_key.to_owned(),
                permissions,
                ..CheckRequest::default()
            });
        }
    }
    for question in &batch {
        // A caller that is traced has its span exported.
        let mut request = tonic::Request::new(question.clone());
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
        checks.check(request).await.unwrap();
    }
    checks.batch_check(BatchCheckRequest { checks: batch.clone() }).await.unwrap();
    let stream = tokio_stream::iter(batch.clone().into_iter().map(|check| StreamCheckRequest { check: Some(check) }));
    let mut answers = checks.stream_check(stream).await.unwrap().into_inner();
    let mut count = 0;
    while answers.message().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, batch.len());
    let lookup = |credential: &str| LookupKeyRequest { credential: credential.to_owned() };
    owner.keys().lookup_key(lookup(&credential)).await.unwrap();
    hunt.refused(owner.keys().lookup_key(lookup(&wrong)).await);
    let keyed = Client::at(process.admin(), &credential).with_secret_key(&second);
    hunt.refused(keyed.keys().list_keys(ListKeysRequest::default()).await);
    let unkeyed = Client::at(process.admin(), &credential).with_secret_key(&leaked);
    hunt.refused(unkeyed.keys().list_keys(ListKeysRequest::default()).await);
    hunt.refused(Client::at(process.admin(), &wrong).keys().list_keys(ListKeysRequest::default()).await);

    // Secrets where they do not belong.
    for secret in [credential.clone(), leaked.clone(), second.clone()] {
        let secret = secret.as_str();
        for name in [secret.to_owned(), format!("tenants/acme/keys/{secret}"), format!("tenants/{secret}/keys/a")] {
            let request = GetKeyRequest { name: name.clone(), ..GetKeyRequest::default() };
            hunt.refused(owner.keys().get_key(request).await);
            let request = RevokeKeyRequest { name, ..RevokeKeyRequest::default() };
            hunt.refused(owner.keys().revoke_key(request).await);
        }
        let list = |page_token: &str, filter: &str| ListKeysRequest {
            parent: "tenants/-".to_owned(),
            page_token: page_token.to_owned(),
            filter: filter.to_owned(),
            ..ListKeysRequest::default()
        };
        hunt.refused(owner.keys().list_keys(list(secret, "")).await);
        hunt.refused(owner.keys().list_keys(list("", secret)).await);
        hunt.refused(owner.keys().list_keys(list("", &format!("{secret} = 1"))).await);
        let key = Some(Key { name: name.clone(), etag: secret.to_owned(), ..Key::default() });
        hunt.refused(owner.keys().update_key(UpdateKeyRequest { key, update_mask: None }).await);
        let key = Some(Key { name: name.clone(), ..Key::default() });
        let update_mask = Some(prost_types::FieldMask { paths: vec![secret.to_owned()] });
        hunt.refused(owner.keys().update_key(UpdateKeyRequest { key, update_mask }).await);
        hunt.refused(owner.key("tenants/-").id(secret).tried().await);
        hunt.refused(owner.key(secret).tried().await);
        let ips = vec![secret.to_owned()];
        hunt.refused(owner.key("tenants/-").with(|key| key.allowed_ips = ips).tried().await);
        let referrers = vec![format!("{secret} x")];
        hunt.refused(owner.key("tenants/-").with(|key| key.allowed_referrers = referrers).tried().await);
        let tenant = CheckRequest { tenant: secret.to_owned(), ..batch[0].clone() };
        hunt.refused(checks.check(tenant).await);
        let tenant = CheckRequest { tenant: format!("tenants/{secret}"), ..batch[0].clone() };
        hunt.refused(checks.check(tenant).await);
    }

    // Ended by possession, and paged through.
    let request = RevokeCredentialsRequest { credentials: vec![leaked, wrong], ..Default::default() };
    root.keys().revoke_credentials(request).await.unwrap();
    let list = ListKeysRequest { parent: "tenants/-".to_owned(), page_size: 1, ..ListKeysRequest::default() };
    let page = owner.keys().list_keys(list.clone()).await.unwrap().into_inner();
    assert!(!page.next_page_token.is_empty());
    hunt.places.push(("page", page.encode_to_vec()));
    let next = ListKeysRequest { page_token: page.next_page_token, ..list };
    hunt.places.push(("page", owner.keys().list_keys(next).await.unwrap().into_inner().encode_to_vec()));
    let request = GetKeyRequest { name, ..GetKeyRequest::default() };
    hunt.places.push(("key", owner.keys().get_key(request).await.unwrap().into_inner().encode_to_vec()));
    let request = ListEventsRequest { page_size: 1000, ..ListEventsRequest::default() };
    let events = root.events().list_events(request).await.unwrap().into_inner();
    assert!(events.events.iter().any(|event| event.kind == "credential.revoke"));
    hunt.places.push(("events", format!("{events:?}").into_bytes()));
    hunt.places.push(("events", events.encode_to_vec()));
    hunt.places.push(("metrics", http_get(&process.ops_addr, "/metrics").into_bytes()));

    let (status, printed, log) = process.terminate();
    assert!(status.success());
    assert!(log.lines().count() > 100, "it did not log at trace level");
    assert!(log.contains("KeyService/RotateKey"), "calls are not in the log");
    hunt.places.push(("log", log.into_bytes()));
    hunt.places.push(("stdout", printed.into_bytes()));
    let exported = received.lock().unwrap().clone();
    let has = |needle: &[u8]| exported.windows(needle.len()).any(|window| window == needle);
    assert!(has(b"/opentelemetry.proto.collector.trace"), "no spans were exported");
    assert!(has(b"/opentelemetry.proto.collector.metrics"), "no metrics were exported");
    hunt.places.push(("export", exported));
    hunt.places.push(("refusals", std::mem::take(&mut hunt.refusals)));
    let mut files = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("keyward.db") && !name.ends_with(".master-key") {
            hunt.places.push(("database", std::fs::read(path).unwrap()));
            files += 1;
        }
    }
    assert!(files >= 2, "the database was not found");
    assert!(ledger::audit(&database).await.keys >= 5);

    assert_eq!(hunt.found(), Vec::<String>::new());

    // It would have been found.
    for what in ["key", "second secret"] {
        for (form, needle) in Hunt::forms(&hunt.secrets[what]) {
            let mut planted = Hunt { secrets: hunt.secrets.clone(), ..Hunt::default() };
            planted.places.push(("log", [b"before ".to_vec(), needle, b" after".to_vec()].concat()));
            assert!(!planted.found().is_empty(), "{form} of {what} is not found");
        }
    }
}
