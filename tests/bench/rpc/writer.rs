//! Somebody who creates and revokes keys all the time, as a process of its own on the servers' core.

use keyward::proto::v1::key_service_client::KeyServiceClient;
use keyward::proto::v1::*;
use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// Mutations a second: every other one creates a key, and the one after it revokes that.
const RATE: u32 = 500;
/// So many keys are on their way at most.
const IN_FLIGHT: usize = 64;

/// Writes from a line `go` to the next line `stop`, and then says how many mutations a second there were.
pub(crate) fn play(admin: &str, root: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let is_on = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let (switch, counted) = (Arc::clone(&is_on), Arc::clone(&done));
    let listening = std::thread::spawn(move || {
        let mut begin = Instant::now();
        for line in std::io::stdin().lock().lines() {
            match line.expect("a line").as_str() {
                "go" => {
                    counted.store(0, Ordering::SeqCst);
                    begin = Instant::now();
                    switch.store(true, Ordering::SeqCst);
                }
                _ => {
                    switch.store(false, Ordering::SeqCst);
                    println!("{:.0}", counted.load(Ordering::SeqCst) as f64 / begin.elapsed().as_secs_f64());
                }
            }
        }
        std::process::exit(0);
    });
    runtime.block_on(write(admin, root, is_on, done));
    listening.join().expect("an end");
}

async fn write(admin: &str, root: &str, is_on: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let endpoint = Endpoint::from_shared(format!("http://{admin}")).expect("an address");
    let channel = endpoint.connect().await.expect("a connection");
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut ticks = interval(Duration::from_secs(2) / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let bearer = format!("Bearer {root}");
    loop {
        ticks.tick().await;
        if !is_on.load(Ordering::SeqCst) {
            ticks.reset();
            continue;
        }
        let place = Arc::clone(&places).acquire_owned().await.expect("open");
        let (channel, bearer, done) = (channel.clone(), bearer.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let _place = place;
            create_and_revoke(channel, &bearer, &done).await;
        });
    }
}

async fn create_and_revoke(channel: Channel, bearer: &str, done: &AtomicUsize) {
    let mut keys = KeyServiceClient::new(channel);
    let parent = "tenants/acme/users/ada".to_owned();
    let created = keys.create_key(bearing(bearer, CreateKeyRequest { parent, ..CreateKeyRequest::default() })).await;
    let key = created.expect("a key").into_inner().key.expect("a key");
    done.fetch_add(1, Ordering::SeqCst);
    let revoke = RevokeKeyRequest { name: key.name, ..RevokeKeyRequest::default() };
    keys.revoke_key(bearing(bearer, revoke)).await.expect("revoked");
    done.fetch_add(1, Ordering::SeqCst);
}

fn bearing<T>(bearer: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", bearer.parse().expect("a credential"));
    request
}
