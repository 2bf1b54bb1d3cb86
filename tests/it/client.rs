//! The Rust client and its layer, against the real server, and against servers that fail as they are told.

mod balance;
mod farewell;
mod layer;
mod repeat;
mod stub;
mod tls;

use crate::harness::{TestServer, send};
use keyward::client::{BuildError, Builder, Client, Refused};
use keyward::proto::v1::*;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// Longer than any answer takes that comes at all.
const LONG: Duration = Duration::from_secs(60);

/// What a name stands for, as the test says.
#[derive(Clone, Default)]
struct Name(Arc<Mutex<Vec<SocketAddr>>>);

impl Name {
    fn set(&self, addresses: &[SocketAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }

    /// A client of whoever the name stands for, which asks for that all the time.
    fn client(&self) -> Builder {
        let name = self.clone();
        let resolver = move |host: String, port: u16| {
            assert_eq!((host.as_str(), port), ("keyward.test", 50051));
            let addresses = name.0.lock().unwrap().clone();
            async move { Ok(addresses) }
        };
        Client::builder("http://keyward.test:50051").resolver(resolver).resolve_every(Duration::from_millis(20))
    }
}

/// Tries until it holds.
async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        assert!(Instant::now() < deadline, "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[track_caller]
fn undecided(refused: Result<keyward::client::Allowed, Refused>) -> Status {
    match refused {
        Err(Refused::Undecided(status)) => status,
        other => panic!("was not to be decided: {other:?}"),
    }
}

#[tokio::test]
async fn a_service_asks_and_is_answered() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").id("ci").may("doc/*", "read").issued().await;
    let client = Client::builder(server.data_addr()).connect().await.unwrap();

    let allowed = client.check(&issued.credential).may("doc/1", "read").require().await.unwrap();
    assert_eq!(allowed.principal.key, "tenants/acme/keys/ci");
    assert!(allowed.revision >= issued.revision);
    let allowed = client.check(&issued.credential).tenant("tenants/acme").min_revision(issued.revision).require().await;
    assert_eq!(allowed.unwrap().principal.tenant, "tenants/acme");

    let answer = client.check(&issued.credential).may("doc/1", "read").may("doc/1", "write").ask().await.unwrap();
    assert!(!answer.is_allowed());
    let denied = answer.allowed().unwrap_err();
    assert_eq!(denied.reasons, [Reason::NotGranted]);
    assert_eq!(denied.missing, [Permission { resource: "doc/1".into(), action: "write".into() }]);
    assert_eq!(denied.principal.unwrap().key, "tenants/acme/keys/ci");
    server.tenant("other").await;
    let elsewhere = client.check(&issued.credential).tenant("tenants/other").ask().await.unwrap().allowed();
    assert_eq!(elsewhere.unwrap_err().reasons, [Reason::NotFound]);
}

#[tokio::test]
async fn a_caller_shows_its_credential_with_each_call_and_nowhere_else() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let builder = Client::builder(format!("http://{}", server.admin_addr()));
    let builder = builder.credential(&acme.made.master_credential).secret_key("the-second-secret");
    let told = format!("{builder:?}");
    let client = builder.connect_lazy().unwrap();
    let question = client.check(&acme.made.master_credential).secret_key("the-second-secret");
    let told = format!("{told} {client:?} {:?} {question:?} {:?}", client.wire(), client.keys());
    assert!(told.contains("Builder") && told.contains("Client") && told.contains("Question"), "{told}");
    for secret in [&*acme.made.master_credential, "the-second-secret"] {
        assert!(!told.contains(secret), "{told}");
    }

    let keys = send!(client.keys(), list_keys, ListKeysRequest { parent: "tenants/-" }).unwrap().keys;
    assert_eq!(keys.len(), 2);
    // On the admin listener a Check has a caller too.
    client.check(&acme.made.master_credential).may("doc/1", "read").require().await.unwrap();
    // What a request carries itself comes before what the client has.
    let mut request = tonic::Request::new(ListKeysRequest { parent: "tenants/-".into(), ..Default::default() });
    request.metadata_mut().insert("x-api-key", "kw_not".parse().unwrap());
    assert_eq!(client.keys().list_keys(request).await.unwrap_err().code(), Code::Unauthenticated);
    let nobody = Client::builder(server.admin_addr()).connect().await.unwrap();
    let refused = send!(nobody.keys(), list_keys, ListKeysRequest { parent: "tenants/-" }).unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // That nobody may ask is no denial of who is asked about.
    let status = undecided(nobody.check(&acme.made.master_credential).require().await);
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn what_cannot_be_a_client_is_refused_when_it_is_made() {
    let invalid = |builder: Builder| match builder.connect_lazy() {
        Err(BuildError::Invalid { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(invalid(Client::builder("keyward")), "the target");
    assert_eq!(invalid(Client::builder("http://keyward:1").ca("")), "the target");
    assert_eq!(invalid(Client::builder("unix:keyward.sock").server_name("keyward")), "the target");
    assert_eq!(invalid(Client::builder("https://keyward:1").identity("not", "PEM")), "TLS");
    for credential in ["", "kw_1\n", "kw 1", "kw_\u{e9}"] {
        assert_eq!(invalid(Client::builder("keyward:1").credential(credential)), "the credential");
    }
    assert_eq!(invalid(Client::builder("keyward:1").secret_key("\t")), "the secret key");

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for builder in [
        Client::builder(closed.to_string()),
        Client::builder("http://name:1").resolver(move |_, _| async move { Ok(vec![closed]) }),
        Client::builder("http://name:1").resolver(|_, _| async { Ok(Vec::new()) }),
        Client::builder("http://name:1").resolver(|_, _| async { Err(io::Error::other("no such name")) }),
        Client::builder("unix:/nowhere/keyward.sock"),
    ] {
        let told = format!("{builder:?}");
        assert!(matches!(builder.connect().await, Err(BuildError::Unreachable(_))), "{told}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_a_target_too() {
    let folder = tempfile::tempdir().unwrap();
    let target = format!("unix:{}", folder.path().join("data.sock").display());
    let server = TestServer::start_with(|args| args.data_addr = Some(target.clone())).await;
    let client = Client::builder(&target).connect().await.unwrap();
    let answer = client.check("nobodys").ask().await.unwrap();
    assert_eq!(answer.allowed().unwrap_err().reasons, [Reason::NotFound]);
    drop(server);
}

#[tokio::test]
async fn an_outage_is_an_error_and_ends_by_itself() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let name = Name::default();
    name.set(&[server.data_addr().parse().unwrap()]);
    let client = name.client().connect().await.unwrap();
    let credential = &acme.made.master_credential;
    client.check(credential).require().await.unwrap();

    server.stop().await;
    for _ in 0..3 {
        assert_eq!(undecided(client.check(credential).require().await).code(), Code::Unavailable);
    }
    // Nobody is asked about a name that is not known, either.
    let lost = Name::default().client().connect_lazy().unwrap();
    assert_eq!(undecided(lost.check(credential).require().await).code(), Code::Unavailable);

    server.start_again().await;
    name.set(&[server.data_addr().parse().unwrap()]);
    eventually("the end of the outage", async || client.check(credential).require().await.ok()).await;
}
