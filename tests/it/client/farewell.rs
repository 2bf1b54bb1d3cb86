//! Connections that a server ends in good order, under calls that do not stop.

use super::stub::{Stub, done};
use crate::harness::{TestServer, send};
use keyward::client::Client;
use keyward::config::Config;
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Server;

const CALLERS: usize = 8;
const CALLS: usize = 400;

/// Calls without end over connections that live this long: what every call came to.
async fn across_ages(age: Duration) -> (Stub, Vec<Code>) {
    // An answer takes its time, so that there are always some on their way when the connection ends.
    let answer = |_| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        done()
    };
    let stub = Stub::serve(Server::builder().max_connection_age(age), answer).await;
    let client = Client::builder(stub.target()).timeout(super::LONG).connect().await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let client = client.clone();
        callers.spawn(async move {
            let mut codes = Vec::new();
            for _ in 0..CALLS / 2 {
                codes.push(client.check("kw_1").ask().await.unwrap_err().code());
                // This one must never be carried out twice, so it is sent again only if nobody has begun with it.
                let created = send!(client.keys(), create_key, CreateKeyRequest { parent: "tenants/-" });
                codes.push(created.unwrap_err().code());
            }
            codes
        });
    }
    let codes = callers.join_all().await.into_iter().flatten().collect();
    (stub, codes)
}

#[tokio::test]
async fn a_connection_that_ends_of_old_age_costs_no_call() {
    let (stub, codes) = across_ages(Duration::from_millis(20)).await;
    let failures: Vec<&Code> = codes.iter().filter(|code| **code != Code::NotFound).collect();
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(codes.len(), CALLERS * CALLS);
    let created = stub.seen().iter().filter(|seen| seen.path.ends_with("/CreateKey")).count();
    assert_eq!(created, CALLERS * CALLS / 2, "a mutation was carried out twice");
}

#[tokio::test]
async fn nor_does_it_with_the_real_server() {
    let age = |config: &mut Config| config.transport.limits.max_connection_age = Duration::from_millis(50);
    let server = TestServer::start_configured(|_| {}, age).await;
    let client = Client::builder(server.data_addr()).timeout(super::LONG).connect().await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, root) = (client.clone(), server.root.clone());
        callers.spawn(async move {
            for _ in 0..CALLS {
                client.check(&root).require().await.unwrap();
            }
        });
    }
    callers.join_all().await;
}

#[tokio::test]
async fn a_server_that_comes_back_at_its_place_is_found_again() {
    let stub = Stub::start(|_| async { done() }).await;
    let address = stub.address;
    let client = Client::builder(stub.target()).connect().await.unwrap();
    assert_eq!(client.check("kw_1").ask().await.unwrap_err().code(), Code::NotFound);
    stub.stop().await;
    assert_eq!(client.check("kw_1").ask().await.unwrap_err().code(), Code::Unavailable);
    let stub = Stub::serve_at(address, Server::builder(), |_| async { done() }).await;
    super::eventually("its return", async || {
        (client.check("kw_1").ask().await.unwrap_err().code() == Code::NotFound).then_some(())
    })
    .await;
    drop(stub);
}
