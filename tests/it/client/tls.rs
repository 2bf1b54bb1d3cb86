//! TLS, and mutual TLS.

use crate::harness::TestServer;
use crate::transport::{Authority, Files};
use keyward::client::{BuildError, Builder, Client};
use keyward::proto::v1::Reason;
use std::net::SocketAddr;
use tonic::Code;

/// A client of the server by the name `keyward.test`.
fn client(server: &TestServer) -> Builder {
    let address: SocketAddr = server.data_addr().parse().unwrap();
    Client::builder("https://keyward.test:50051").resolver(move |_, _| async move { Ok(vec![address]) })
}

/// Asks about nobody's credential.
async fn asked(builder: Builder) -> Result<Result<Vec<Reason>, Code>, BuildError> {
    let answer = builder.connect().await?.check("nobodys").ask().await;
    Ok(answer.map(|answer| answer.allowed().unwrap_err().reasons).map_err(|status| status.code()))
}

#[track_caller]
fn unreachable(asked: Result<Result<Vec<Reason>, Code>, BuildError>) {
    // With TLS 1.3 a client may count as connected before it hears that its certificate is refused.
    assert!(matches!(asked, Err(BuildError::Unreachable(_)) | Ok(Err(Code::Unavailable))), "{asked:?}");
}

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_and_its_name() {
    let (ours, theirs, files) = (Authority::new("ours"), Authority::new("theirs"), Files::new());
    files.put_issued("data", &ours.issue(&["keyward.test"]));
    let server = TestServer::start_with(|args| files.serve_data(args, "data", None)).await;
    let answered = || Ok(Ok(vec![Reason::NotFound]));

    assert_eq!(asked(client(&server).ca(ours.pem())).await, answered());
    assert_eq!(asked(client(&server).ca(theirs.pem()).ca(ours.pem())).await, answered());
    unreachable(asked(client(&server).ca(theirs.pem())).await);
    unreachable(asked(client(&server).ca(ours.pem()).server_name("other.test")).await);
    // By its address it has another name than by its own.
    let by_address = || Client::builder(format!("https://{}", server.data_addr())).ca(ours.pem());
    unreachable(asked(by_address()).await);
    assert_eq!(asked(by_address().server_name("keyward.test")).await, answered());
    // Nothing is said to it without TLS.
    unreachable(asked(Client::builder(server.data_addr()).max_attempts(1)).await);
}

#[tokio::test]
async fn a_client_shows_its_own_certificate() {
    let (servers, clients, files) = (Authority::new("servers"), Authority::new("clients"), Files::new());
    files.put_issued("data", &servers.issue(&["keyward.test"]));
    let client_ca = files.put("clients.pem", &clients.pem());
    let server = TestServer::start_with(|args| files.serve_data(args, "data", Some(&client_ca))).await;

    let own = clients.issue(&["reports.test"]);
    let builder = client(&server).ca(servers.pem()).identity(&own.cert, &own.key);
    assert!(!format!("{builder:?}").contains("PRIVATE"), "{builder:?}");
    assert_eq!(asked(builder).await, Ok(Ok(vec![Reason::NotFound])));
    let strange = servers.issue(&["reports.test"]);
    unreachable(asked(client(&server).ca(servers.pem()).max_attempts(2)).await);
    let stranger = client(&server).ca(servers.pem()).identity(&strange.cert, &strange.key);
    unreachable(asked(stranger.max_attempts(2)).await);
}
