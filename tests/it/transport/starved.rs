//! The real program without descriptors: it answers whom it has, takes no core for asking, and ends when it is told.

use super::raw::{hello, is_alive};
use super::{LONG, ask, until};
use crate::harness::process::{Process, limited, serve};
use keyward::proto::v1::Decision;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Enough for the program itself and some tens of connections.
const DESCRIPTORS: u32 = 100;
/// More than that.
const CONNECTIONS: usize = 150;

/// How much processor time a process has used, in hundredths of a second.
fn used(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // Its name is in brackets; then the state, ten numbers, and the two that are meant.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// What share of a core a process takes while it is left alone, in percent.
async fn idle_share(id: u32) -> u64 {
    let (begin, before) = (Instant::now(), used(id));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let hundredths = u64::try_from(begin.elapsed().as_millis() / 10).unwrap();
    (used(id) - before) * 100 / hundredths
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_it_answers_whom_it_has_and_takes_no_core() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(&folder.path().join("keyward.db"));
    command.arg("--root-key-file").arg(folder.path().join("root.key"));
    let server = Process::launch(limited(&command, &format!("-n {DESCRIPTORS}")));
    let root = std::fs::read_to_string(folder.path().join("root.key")).unwrap().trim().to_owned();
    let channel = server.data();
    assert_eq!(ask(&channel, &root, "").await.unwrap().decision(), Decision::Allowed);
    let before = idle_share(server.id()).await;

    // They speak, and so they stay.
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&server.data_addr).await.unwrap();
        stream.write_all(&hello()).await.unwrap();
        held.push(stream);
    }
    until("it has no more descriptors", async || server.logged().contains("no connection can be accepted")).await;
    for _ in 0..100 {
        assert_eq!(ask(&channel, &root, "").await.unwrap().decision(), Decision::Allowed);
    }
    assert!(is_alive(&mut held[0]).await);
    let starved = idle_share(server.id()).await;
    assert!(starved <= before + 25, "{starved} % of a core without descriptors, {before} % before");
    assert_eq!(server.logged().matches("no connection can be accepted").count(), 1, "told once");

    // Once there are some again, those come in who have waited.
    let mut last = held.pop().unwrap();
    drop(held);
    assert!(tokio::time::timeout(LONG, is_alive(&mut last)).await.unwrap());
    let fresh = server.data();
    assert_eq!(ask(&fresh, &root, "").await.unwrap().decision(), Decision::Allowed);
    let after = idle_share(server.id()).await;
    assert!(after <= before + 25, "{after} % of a core afterwards, {before} % before");
    let (status, _, log) = server.terminate();
    assert!(status.success(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_in_time_though_it_has_no_descriptors_and_nobody_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(&folder.path().join("keyward.db"));
    command.arg("--root-key-file").arg(folder.path().join("root.key")).args(["--drain-timeout", "500ms"]);
    let server = Process::launch(limited(&command, &format!("-n {DESCRIPTORS}")));
    let mut held = Vec::new();
    for place in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&server.data_addr).await.unwrap();
        // Half of them say nothing, and none answers when it is told to go.
        if place % 2 == 0 {
            stream.write_all(&hello()).await.unwrap();
        }
        held.push(stream);
    }
    until("it has no more descriptors", async || server.logged().contains("no connection can be accepted")).await;
    let (status, _, log) = server.terminate();
    assert!(status.success(), "{log}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_may_be_raised_is_raised() {
    let folder = tempfile::tempdir().unwrap();
    let limit = format!("-Sn {DESCRIPTORS}");
    let server = Process::launch(limited(&serve(&folder.path().join("keyward.db")), &limit));
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&server.data_addr).await.unwrap();
        stream.write_all(&hello()).await.unwrap();
        assert!(is_alive(&mut stream).await);
        held.push(stream);
    }
    assert!(ask(&server.data(), "", "").await.is_ok());
}
