//! What was taken away before, and is not in force everywhere yet, is waited for by whoever takes it away once more, also
//! where that adds something else: no answer leans on an earlier one that was never given.

use super::relay::Link;
use super::site::{Engine, Site};
use crate::harness::{mask, send};
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use std::time::Duration;
use tonic::{Code, Request};

const LEASE: Duration = Duration::from_secs(4);

/// Too short for a replica to be shut out in.
const SHORT: Duration = Duration::from_secs(1);

fn in_short<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(SHORT);
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_away_what_is_not_gone_everywhere_waits_for_everybody() {
    let site = Site::start(Engine::Postgres, 2, LEASE).await;
    let owner = site.owner(0);
    let user = User { email: "ben@example.com".to_owned(), ..User::default() };
    let made = send!(owner.users(), create_user, CreateUserRequest { parent: "tenants/-", user: user }).unwrap();
    let (user, master) = (made.user.unwrap(), made.master_credential);
    let made = owner.key("tenants/-").may("doc/1", "read").issued().await;
    let (key, credential) = (made.key.unwrap(), made.credential);
    let reads = async |at: usize| {
        let permission = Permission { resource: "doc/1".to_owned(), action: "read".to_owned() };
        let credential = credential.clone();
        let request = CheckRequest { credential, permissions: vec![permission], ..CheckRequest::default() };
        let answer = CheckServiceClient::new(site.replicas[at].data(0)).check(request).await;
        answer.is_ok_and(|answer| answer.into_inner().decision() == Decision::Allowed)
    };
    assert!(reads(1).await && site.replicas[1].allows(&master).await);

    // From here on the other replica hears of nothing, and answers from memory as long as its lease lasts.
    site.replicas[1].relay.set(Link::Silent);
    let (mut users, mut keys) = (owner.users(), owner.keys());
    let suspend = SuspendUserRequest { name: user.name.clone(), ..SuspendUserRequest::default() };
    let update = |description: &str, paths: &[&str]| UpdateKeyRequest {
        key: Some(Key { name: key.name.clone(), description: description.to_owned(), ..Key::default() }),
        update_mask: mask(paths),
    };
    let (suspended, narrowed) =
        tokio::join!(users.suspend_user(in_short(suspend)), keys.update_key(in_short(update("", &["grants"]))));
    for status in [suspended.map(|_| ()).unwrap_err(), narrowed.map(|_| ()).unwrap_err()] {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    }
    let deleted = async {
        send!(owner.users(), delete_user, DeleteUserRequest { name: &*user.name }).unwrap();
        site.replicas[1].allows(&master).await
    };
    let described = async {
        owner.keys().update_key(update("reads nothing", &["description", "grants"])).await.unwrap();
        reads(1).await
    };
    assert_eq!(tokio::join!(deleted, described), (false, false), "ALLOWED after the answer");
}
