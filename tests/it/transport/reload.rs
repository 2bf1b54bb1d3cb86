//! New certificates while others are at work.

use super::{Authority, Files, ask, channel, metric, unreachable, until};
use crate::harness::TestServer;
use keyward::config::Config;
use keyward::proto::v1::Decision;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tonic::transport::Channel;

const LOADED: &str = "keyward_tls_reloads_total{listener=\"data\",outcome=\"loaded\"}";
const REFUSED: &str = "keyward_tls_reloads_total{listener=\"data\",outcome=\"refused\"}";

fn look_often(config: &mut Config) {
    config.transport.limits.tls_poll = Duration::from_millis(20);
}

/// Asks again and again, by the same connection or by a new one each time; counts the answers, all of which must be right.
async fn keep_asking(
    connect: impl Fn() -> Channel,
    is_new_each_time: bool,
    credential: String,
    done: Arc<AtomicBool>,
    answers: Arc<AtomicU32>,
) {
    let mut channel = connect();
    while !done.load(Ordering::Relaxed) {
        if is_new_each_time {
            channel = connect();
        }
        let answer = ask(&channel, &credential, "").await.unwrap();
        assert_eq!(answer.decision(), Decision::Allowed);
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_under_load_and_no_call_fails() {
    let (old, new, files) = (Authority::new("old"), Authority::new("new"), Files::new());
    files.put_issued("data", &old.issue(&["127.0.0.1"]));
    let server = TestServer::start_configured(|args| files.serve_data(args, "data", None), look_often).await;
    let (address, ops_addr) = (server.data_addr(), server.ops_addr());
    let authorities = Arc::new([old, new]);
    let (done, kept, fresh) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut asking = tokio::task::JoinSet::new();
    for (is_new_each_time, answers) in [(false, &kept), (true, &fresh), (true, &fresh)] {
        let (address, authorities) = (address.clone(), Arc::clone(&authorities));
        let connect = move || channel(&address, &authorities.each_ref(), None);
        asking.spawn(keep_asking(
            connect,
            is_new_each_time,
            server.root.clone(),
            Arc::clone(&done),
            Arc::clone(answers),
        ));
    }
    let [old, new] = &*authorities;
    // By turns, so that each time there is something to see: who trusts one of them alone.
    for round in 0..6 {
        let (next, last) = if round % 2 == 0 { (new, old) } else { (old, new) };
        files.put_issued("data", &next.issue(&["127.0.0.1"]));
        until("the new certificate is shown", async || ask(&channel(&address, &[next], None), "", "").await.is_ok())
            .await;
        unreachable(ask(&channel(&address, &[last], None), "", "").await);
        let before = (kept.load(Ordering::Relaxed), fresh.load(Ordering::Relaxed));
        until("both go on", async || {
            kept.load(Ordering::Relaxed) > before.0 + 5 && fresh.load(Ordering::Relaxed) > before.1 + 5
        })
        .await;
    }
    done.store(true, Ordering::Relaxed);
    while let Some(ended) = asking.join_next().await {
        ended.expect("no call may fail");
    }
    assert_eq!(metric(&ops_addr, LOADED).await, 6);
    assert_eq!(metric(&ops_addr, REFUSED).await, 0);
}

#[tokio::test]
async fn a_volume_that_is_swapped_by_a_link_is_noticed() {
    let (old, new, files) = (Authority::new("old"), Authority::new("new"), Files::new());
    for (folder, authority) in [("first", &old), ("second", &new)] {
        std::fs::create_dir(files.path(folder)).unwrap();
        files.put_issued(&format!("{folder}/data"), &authority.issue(&["127.0.0.1"]));
    }
    let link = |to: &str| {
        std::os::unix::fs::symlink(to, files.path("..new")).unwrap();
        std::fs::rename(files.path("..new"), files.path("..data")).unwrap();
    };
    link("first");
    let server = TestServer::start_configured(|args| files.serve_data(args, "..data/data", None), look_often).await;
    let address = server.data_addr();
    assert!(ask(&channel(&address, &[&old], None), "", "").await.is_ok());
    link("second");
    until("the new certificate is shown", async || ask(&channel(&address, &[&new], None), "", "").await.is_ok()).await;
}

#[tokio::test]
async fn authorities_of_clients_are_replaced_and_what_is_open_goes_on() {
    let (servers, old, new, files) =
        (Authority::new("servers"), Authority::new("old"), Authority::new("new"), Files::new());
    files.put_issued("data", &servers.issue(&["127.0.0.1"]));
    let client_ca = files.put("clients.pem", &old.pem());
    let server =
        TestServer::start_configured(|args| files.serve_data(args, "data", Some(&client_ca)), look_often).await;
    let address = server.data_addr();
    let [of_old, of_new] = [&old, &new].map(|authority| authority.issue(&["a.example"]));
    let by_old = || channel(&address, &[&servers], Some(&of_old));
    let by_new = || channel(&address, &[&servers], Some(&of_new));
    let kept = by_old();
    assert!(ask(&kept, "", "").await.is_ok());
    unreachable(ask(&by_new(), "", "").await);

    // Both for a while, as it is done where clients are many.
    files.put("clients.pem", &(old.pem() + &new.pem()));
    until("the new authority is trusted", async || ask(&by_new(), "", "").await.is_ok()).await;
    assert!(ask(&by_old(), "", "").await.is_ok());

    files.put("clients.pem", &new.pem());
    until("the old authority is trusted no more", async || ask(&by_old(), "", "").await.is_err()).await;
    assert!(ask(&by_new(), "", "").await.is_ok());
    assert!(ask(&kept, "", "").await.is_ok());
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_of_once_and_the_old_go_on() {
    let (old, new, files) = (Authority::new("old"), Authority::new("new"), Files::new());
    files.put_issued("data", &old.issue(&["127.0.0.1"]));
    let server = TestServer::start_configured(|args| files.serve_data(args, "data", None), look_often).await;
    let (address, ops_addr) = (server.data_addr(), server.ops_addr());
    let good = new.issue(&["127.0.0.1"]);
    type Break<'a> = &'a dyn Fn();
    let breaks: [Break<'_>; 4] = [
        &|| drop(files.put("data.pem", "not a certificate")),
        // Half of what was being written.
        &|| drop(files.put("data.pem", &good.cert[..good.cert.len() / 2])),
        // The certificate of another key.
        &|| drop(files.put("data.pem", &good.cert)),
        &|| std::fs::remove_file(files.path("data.key")).unwrap(),
    ];
    for (count, damage) in (1_i64..).zip(breaks) {
        damage();
        until("it is told", async || metric(&ops_addr, REFUSED).await == count).await;
        assert!(ask(&channel(&address, &[&old], None), "", "").await.is_ok());
    }
    files.put("data.key", &good.key);
    until("the new certificate is shown", async || ask(&channel(&address, &[&new], None), "", "").await.is_ok()).await;
    assert_eq!(metric(&ops_addr, LOADED).await, 1);
    assert_eq!(metric(&ops_addr, REFUSED).await, 4, "each once");
}
