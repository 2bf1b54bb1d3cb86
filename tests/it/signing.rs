//! The keys that sign JWTs: made once, published before they sign and until their last token has expired, encrypted
//! under a file that must be the right one.

use crate::harness::process::{ended, keyward, serve};
use crate::harness::{DAY, TestServer, ledger};
use crate::serve::http_get;
use keyward::proto::v1::token_service_client::TokenServiceClient;
use keyward::proto::v1::*;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const HOUR: u64 = 60 * 60;

fn master_key(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".master-key");
    path.into()
}

async fn jwks(server: &TestServer) -> Vec<Jwk> {
    let mut client = TokenServiceClient::new(server.admin.clone());
    client.get_jwks(GetJwksRequest {}).await.unwrap().into_inner().keys
}

async fn kids(server: &TestServer) -> Vec<String> {
    jwks(server).await.into_iter().map(|jwk| jwk.kid).collect()
}

/// Waits until so many keys are published.
async fn published(server: &TestServer, count: usize) -> Vec<String> {
    for _ in 0..600 {
        let found = kids(server).await;
        if found.len() == count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{count} keys were to be published, not {:?}", kids(server).await);
}

#[tokio::test]
async fn the_first_start_makes_one_key_which_a_restart_keeps() {
    let mut server = TestServer::start().await;
    let first = jwks(&server).await;
    assert_eq!(first.len(), 1);
    let Jwk { kty, crv, x, kid, alg, r#use } = first[0].clone();
    assert_eq!([kty, crv, alg, r#use], ["OKP", "Ed25519", "EdDSA", "sig"]);
    assert_eq!((x.len(), kid.len()), (43, 43));
    let mode = fs::metadata(master_key(&server.database())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for _ in 0..2 {
        server.restart().await;
        assert_eq!(jwks(&server).await, first);
    }
    server.stop().await;
    let events = ledger::audit(&server.database()).await.events;
    let made: Vec<&str> =
        events.values().map(|(kind, _)| kind.as_str()).filter(|kind| kind.starts_with("signing")).collect();
    assert_eq!(made, ["signing_key.create"]);
}

#[tokio::test]
async fn the_key_set_is_the_same_by_http_and_by_rpc() {
    let server = TestServer::start().await;
    let address = server.ops_addr();
    let answer = tokio::task::spawn_blocking(move || http_get(&address, "/.well-known/jwks.json")).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/jwk-set+json"), "{head}");
    assert!(head.contains("\r\ncache-control: public, max-age=300"), "{head}");
    let keys: Vec<Value> = jwks(&server)
        .await
        .into_iter()
        .map(|Jwk { kty, crv, x, kid, alg, r#use }| {
            json!({ "kty": kty, "crv": crv, "x": x, "kid": kid, "alg": alg, "use": r#use })
        })
        .collect();
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), json!({ "keys": keys }));
}

#[tokio::test]
async fn the_next_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_have_expired() {
    let mut server = TestServer::start_with(|args| args.signing_key_life = Some("10d".to_owned())).await;
    let first = kids(&server).await;
    server.clock.advance(Duration::from_secs(9 * DAY - HOUR));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(kids(&server).await, first, "not before it is time");
    // A day before it is to sign.
    server.clock.advance(Duration::from_secs(HOUR + 60));
    let both = published(&server, 2).await;
    assert_eq!(both[1], first[0]);
    // A day later it signs; the old one is kept for those who still hold what it signed.
    server.clock.advance(Duration::from_secs(DAY));
    server.restart().await;
    assert_eq!(kids(&server).await, both);
    server.clock.advance(Duration::from_secs(DAY + HOUR));
    assert_eq!(kids(&server).await, both[..1]);
    server.stop().await;
    let events = ledger::audit(&server.database()).await.events;
    let made: Vec<(&str, &str)> = events
        .values()
        .filter(|(kind, _)| kind.starts_with("signing"))
        .map(|(kind, subject)| (kind.as_str(), subject.as_str()))
        .collect();
    let subjects = [format!("signing-keys/{}", both[1]), format!("signing-keys/{}", both[0])];
    assert_eq!(made, [("signing_key.create", subjects[0].as_str()), ("signing_key.rotate", subjects[1].as_str())]);
}

/// What a start on this database that is to fail says.
fn refused(database: &Path, more: &[&str]) -> String {
    let mut command = serve(database);
    command.args(more);
    let (code, printed, said) = ended(command);
    assert_eq!(code, Some(1), "{printed}{said}");
    said
}

fn rotate(database: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = keyward();
    command.args(["signing-key", "rotate", "--database-url", &format!("sqlite:{}", database.display())]).args(more);
    ended(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_key_that_is_not_the_right_one_is_refused_and_can_be_replaced() {
    let mut server = TestServer::start().await;
    let first = kids(&server).await;
    server.stop().await;
    let database = server.database();
    let file = master_key(&database);
    let good = fs::read_to_string(&file).unwrap();

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let said = refused(&database, &[]);
    assert!(said.contains("0644") && said.contains("chmod 600") && said.contains(file.to_str().unwrap()), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();

    let other = database.with_file_name("other.key");
    let said = refused(&database, &["--master-key-file", other.to_str().unwrap()]);
    assert!(said.contains("is not there") && said.contains("other.key"), "{said}");
    fs::write(&other, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    let said = refused(&database, &["--master-key-file", other.to_str().unwrap()]);
    assert!(said.contains("does not open") && said.contains("signing-key rotate"), "{said}");
    assert!(said.contains("other.key"), "{said}");

    fs::remove_file(&file).unwrap();
    let said = refused(&database, &[]);
    assert!(said.contains("restore it") && said.contains("signing-key rotate"), "{said}");
    assert!(!file.exists(), "a new one would open nothing");

    // Restored, it is as before.
    fs::write(&file, &good).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    server.restart().await;
    assert_eq!(kids(&server).await, first);
    server.stop().await;

    // Lost for good, there is a way out, and what was signed is still accepted.
    fs::remove_file(&file).unwrap();
    let (code, printed, said) = rotate(&database, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(printed.contains("accepted until they expire"), "{printed}");
    assert_ne!(fs::read_to_string(&file).unwrap(), good);
    server.restart().await;
    let both = kids(&server).await;
    assert_eq!((both.len(), &both[1]), (2, &first[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compromised_key_is_published_no_more() {
    let mut server = TestServer::start().await;
    let first = kids(&server).await;
    server.stop().await;
    let (code, printed, said) = rotate(&server.database(), &["--compromised"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(printed.contains("refused from now on"), "{printed}");
    server.restart().await;
    let second = kids(&server).await;
    assert_eq!(second.len(), 1);
    assert_ne!(second, first);
    server.restart().await;
    assert_eq!(kids(&server).await, second);
    let tried = rotate(&server.database(), &[]);
    assert_eq!(tried.0, Some(1), "not beside a server");
    server.stop().await;
    ledger::audit(&server.database()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_made_by_the_operator_takes_the_place_of_one_that_waits() {
    let mut server = TestServer::start().await;
    server.clock.advance(Duration::from_secs(90 * DAY - 23 * HOUR));
    let both = published(&server, 2).await;
    server.stop().await;
    assert_eq!(rotate(&server.database(), &[]).0, Some(0));
    server.restart().await;
    ledger::audit(&server.database()).await;
    let now = kids(&server).await;
    assert!(both.iter().all(|kid| *kid != now[0]) || now.len() == 1, "{both:?} {now:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_issuer_is_what_the_first_start_said() {
    let mut server = TestServer::start().await;
    let kept = format!("http://{}", server.ops_addr());
    // The next start listens elsewhere and names the same.
    server.restart().await;
    server.stop().await;
    let said = refused(&server.database(), &["--issuer", "https://keys.example"]);
    assert!(said.contains("--issuer") && said.contains(&kept), "{said}");
    server.restart().await;
}

#[tokio::test]
async fn no_private_half_is_in_the_database() {
    let mut server = TestServer::start().await;
    let published = jwks(&server).await;
    server.stop().await;
    use base64::Engine as _;
    let public = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&published[0].x).unwrap();
    let mut sealed = 0;
    for entry in fs::read_dir(server.database().parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        sealed += u32::from(holds(&public));
        // PKCS #8 of an Ed25519 key begins with its version and the name of the algorithm.
        for beginning in [&[0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70][..], b"PRIVATE KEY"] {
            assert!(!holds(beginning), "a private half is in {}", path.display());
        }
    }
    assert_ne!(sealed, 0, "the public half was to be found");
}
