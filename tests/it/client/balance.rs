//! Several servers behind one name.

use super::stub::{Stub, away, done};
use super::{Name, eventually};
use keyward::client::Client;
use tonic::Code;

async fn server() -> Stub {
    Stub::start(|_| async { done() }).await
}

async fn answered(client: &Client) -> bool {
    client.check("kw_1").ask().await.unwrap_err().code() == Code::NotFound
}

#[tokio::test]
async fn calls_are_spread_over_the_servers_of_a_name_as_they_come_and_go() {
    let (one, two) = (server().await, server().await);
    let name = Name::default();
    name.set(&[one.address, two.address]);
    let client = name.client().connect().await.unwrap();
    for _ in 0..200 {
        assert!(answered(&client).await);
    }
    let (first, second) = (one.seen().len(), two.seen().len());
    assert_eq!(first + second, 200);
    assert!(first > 40 && second > 40, "{first} and {second}");

    // One dies: no call fails.
    let died = one.address;
    one.stop().await;
    for _ in 0..50 {
        assert!(answered(&client).await);
    }
    assert_eq!(two.seen().len(), 50);

    // A third comes in its place, and is found.
    let three = server().await;
    name.set(&[died, two.address, three.address]);
    eventually("a call to the new server", async || {
        assert!(answered(&client).await);
        (three.count() > 0).then_some(())
    })
    .await;

    // Who is no longer behind the name is not called any more, though it is there.
    name.set(&[three.address]);
    eventually("an end of the calls to the old one", async || {
        two.seen();
        for _ in 0..50 {
            assert!(answered(&client).await);
        }
        (two.count() == 0).then_some(())
    })
    .await;
    // A name that is gone for a moment is nothing to forget servers for.
    name.set(&[]);
    for _ in 0..50 {
        assert!(answered(&client).await);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn another_server_answers_for_one_that_cannot_decide() {
    let lost = Stub::start(|_| async { away() }).await;
    let well = server().await;
    let name = Name::default();
    name.set(&[lost.address, well.address]);
    let client = name.client().connect().await.unwrap();
    for _ in 0..100 {
        assert!(answered(&client).await);
    }
    assert_eq!(well.count(), 100);
    // It is tried now and then, and not with every second call.
    assert!(lost.count() < 20, "{}", lost.count());
}

#[tokio::test]
async fn nobody_asks_for_the_addresses_once_the_client_is_gone() {
    let stub = server().await;
    let held = std::sync::Arc::new(());
    let (address, watched) = (stub.address, std::sync::Arc::downgrade(&held));
    let resolver = move |_, _| {
        let _held = &held;
        async move { Ok(vec![address]) }
    };
    let client = Client::builder("http://keyward.test:1").resolver(resolver).connect().await.unwrap();
    let clone = client.clone();
    drop(client);
    assert!(answered(&clone).await);
    assert!(watched.upgrade().is_some());
    drop(clone);
    eventually("an end of asking", async || watched.upgrade().is_none().then_some(())).await;
}
