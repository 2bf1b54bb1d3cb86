//! Far more calls than the server can answer: what it answers is right, what it turns away it says so of, and afterwards
//! it is as it was. Short in `tests/run`; `KEYWARD_PROOF_OVERLOAD_SECONDS` has it go on for longer, and
//! `KEYWARD_PROOF_TIMES` says how many times as many calls there are at once as may wait. No time is asserted.

use crate::harness::process::Process;
use crate::harness::settings::{Dice, number};
use crate::harness::{Client, resources, send};
use crate::serve::http_get;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How many calls may wait for each core of the server under test, and for how long.
const QUEUED: u32 = 128;
const QUEUE_TIME: &str = "100ms";
/// How many calls of administration it carries out at once.
const IN_FLIGHT: u32 = 8;
/// How many revoke keys, and how many make some.
const REVOKERS: usize = 8;
const MAKERS: usize = 16;

const KEYS: usize = 400;
const CALLS_OF_ONE_CONNECTION: usize = 128;

/// What is known of a key: it is allowed, it is being revoked, it was acknowledged to be.
const LIVE: u8 = 0;
const ENDING: u8 = 1;
const ENDED: u8 = 2;

struct Known {
    name: String,
    credential: String,
    state: AtomicU8,
}

/// What the callers were told.
#[derive(Default)]
struct Tally {
    allowed: AtomicU64,
    denied: AtomicU64,
    shed: AtomicU64,
    undecided: AtomicU64,
    revoked: AtomicU64,
    made: AtomicU64,
}

impl Tally {
    /// Counts what is no answer: it must say that it is no answer, and when to come again.
    fn count(&self, status: &Status) {
        let counter = match status.code() {
            Code::ResourceExhausted => &self.shed,
            Code::Unavailable => &self.undecided,
            _ => panic!("{status:?}"),
        };
        let delay = status.get_error_details().retry_info().and_then(|retry| retry.retry_delay);
        assert!(delay.is_some_and(|delay| !delay.is_zero()), "{status:?}");
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> [u64; 6] {
        [&self.allowed, &self.denied, &self.shed, &self.undecided, &self.revoked, &self.made]
            .map(|counter| counter.load(Ordering::Relaxed))
    }
}

struct World {
    keys: Vec<Known>,
    tally: Tally,
    is_over: AtomicU8,
}

impl World {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) > 0
    }

    /// Asks about one key, or about several at once, and holds the answer against what is known.
    async fn ask(&self, checks: &mut CheckServiceClient<Channel>, dice: &mut Dice) -> Result<(), Status> {
        let count = if dice.roll(20) == 0 { 8 } else { 1 };
        let mut asked = Vec::new();
        for _ in 0..count {
            let key = &self.keys[dice.roll(KEYS as u64) as usize];
            let is_granted = dice.roll(8) > 0;
            let action = if is_granted { "read" } else { "write" };
            asked.push((key, is_granted, key.state.load(Ordering::SeqCst), action));
        }
        let check = |(key, _, _, action): &(&Known, bool, u8, &str)| CheckRequest {
            credential: key.credential.clone(),
            permissions: vec![Permission { resource: "doc/1".to_owned(), action: (*action).to_owned() }],
            ..CheckRequest::default()
        };
        let answers = if count == 1 {
            vec![checks.check(check(&asked[0])).await?.into_inner()]
        } else {
            let batch = BatchCheckRequest { checks: asked.iter().map(check).collect() };
            checks.batch_check(batch).await?.into_inner().results
        };
        assert_eq!(answers.len(), asked.len());
        for ((key, is_granted, before, _), answer) in asked.iter().zip(answers) {
            let after = key.state.load(Ordering::SeqCst);
            let is_allowed = answer.decision() == Decision::Allowed;
            if *before == ENDED || !is_granted {
                assert!(!is_allowed, "{} was allowed: granted {is_granted}, state {before}", key.name);
            } else if after == LIVE {
                assert!(is_allowed, "{} was denied: {answer:?}", key.name);
            }
            let counter = if is_allowed { &self.tally.allowed } else { &self.tally.denied };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Asks until it is over; how long it took to be answered, each time.
    async fn keep_asking(self: Arc<Self>, channel: Channel, seed: u64) -> Vec<Duration> {
        let mut checks = CheckServiceClient::new(channel);
        let mut dice = Dice(seed);
        let mut latencies = Vec::new();
        while !self.is_over() {
            let begin = Instant::now();
            match self.ask(&mut checks, &mut dice).await {
                Ok(()) => latencies.push(begin.elapsed()),
                Err(status) => self.tally.count(&status),
            }
        }
        latencies
    }

    /// Revokes one key after the other, each until it was acknowledged: every so-manyth of the first half.
    async fn keep_revoking(self: Arc<Self>, root: Client, first: usize) {
        for key in self.keys[..KEYS / 2].iter().skip(first).step_by(REVOKERS) {
            key.state.store(ENDING, Ordering::SeqCst);
            loop {
                if self.is_over() {
                    return;
                }
                match send!(root.keys(), revoke_key, RevokeKeyRequest { name: &*key.name }) {
                    Ok(_) => break,
                    Err(status) => self.tally.count(&status),
                }
            }
            key.state.store(ENDED, Ordering::SeqCst);
            self.tally.revoked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes keys, one after the other.
    async fn keep_making(self: Arc<Self>, root: Client) {
        while !self.is_over() {
            match root.key("tenants/acme").tried().await {
                Ok(_) => drop(self.tally.made.fetch_add(1, Ordering::Relaxed)),
                Err(status) => self.tally.count(&status),
            }
        }
    }
}

fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// How many calls the server has turned away, whatever for.
fn shed(server: &Process) -> u64 {
    let text = http_get(&server.ops_addr, "/metrics");
    let series = text.lines().filter(|line| line.starts_with("keyward_calls_shed_total{"));
    series.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// Makes a key, however often it must be asked for: a machine with other work may be too slow for a turn.
async fn made(root: &Client) -> CreateKeyResponse {
    loop {
        match root.key("tenants/acme").grant(resources("doc/*", &["read"])).tried().await {
            Ok(made) => return made,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
    }
}

async fn world(root: &Client) -> Arc<World> {
    send!(
        root.tenants(),
        create_tenant,
        CreateTenantRequest { tenant_id: "acme", owner: User { email: "a@acme.example".into(), ..User::default() } }
    )
    .unwrap();
    let mut making = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let root = root.clone();
        making.spawn(async move {
            let mut keys = Vec::new();
            for _ in 0..KEYS / IN_FLIGHT as usize {
                let made = made(&root).await;
                let (name, credential) = (made.key.unwrap().name, made.credential);
                keys.push(Known { name, credential, state: AtomicU8::new(LIVE) });
            }
            keys
        });
    }
    let keys = making.join_all().await.into_iter().flatten().collect();
    Arc::new(World { keys, tally: Tally::default(), is_over: AtomicU8::new(0) })
}

/// Has so many ask at once, besides revoking and making: how long those took that were answered, and what all were told.
async fn overload(world: &Arc<World>, server: &Process, root: &str, callers: usize, span: Duration) -> Vec<Duration> {
    let mut asking = JoinSet::new();
    let connections = callers.div_ceil(CALLS_OF_ONE_CONNECTION);
    let channels: Vec<Channel> = (0..connections).map(|_| channel(&server.data_addr)).collect();
    for number in 0..callers {
        let channel = channels[number % connections].clone();
        asking.spawn(Arc::clone(world).keep_asking(channel, number as u64));
    }
    let mut others = JoinSet::new();
    for first in 0..REVOKERS {
        others.spawn(Arc::clone(world).keep_revoking(Client::at(server.admin(), root), first));
    }
    for _ in 0..MAKERS {
        others.spawn(Arc::clone(world).keep_making(Client::at(server.admin(), root)));
    }
    tokio::time::sleep(span).await;
    // However slow the machine is, some of it is to happen meanwhile.
    while world.tally.get()[4] == 0 || world.tally.get()[5] == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.is_over.store(1, Ordering::Relaxed);
    others.join_all().await;
    asking.join_all().await.into_iter().flatten().collect()
}

/// Asks about as many as there are keys, one after the other, while there is room for all: how long that takes.
async fn calm(world: &World, server: &Process) -> Duration {
    let begun = Instant::now();
    let mut checks = CheckServiceClient::new(server.data());
    let mut dice = Dice(7);
    for _ in 0..KEYS {
        world.ask(&mut checks, &mut dice).await.unwrap();
    }
    begun.elapsed()
}

fn percentile(latencies: &[Duration], thousandth: usize) -> Duration {
    latencies.get(latencies.len() * thousandth / 1000).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_far_more_calls_than_it_can_answer_every_answer_is_right_and_it_recovers() {
    let folder = TempDir::new().unwrap();
    let (queued, in_flight) = (QUEUED.to_string(), IN_FLIGHT.to_string());
    let limits = ["--max-queued-calls", &queued, "--max-queue-time", QUEUE_TIME, "--admin-max-in-flight", &in_flight];
    let server = Process::start(&folder.path().join("keyward.db"), &limits);
    let root_credential = std::fs::read_to_string(folder.path().join("root.key")).unwrap();
    let root = Client::at(server.admin(), root_credential.trim());
    let world = world(&root).await;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let times = number("KEYWARD_PROOF_TIMES", 10) as usize;
    let callers = times * QUEUED as usize * cores;
    let span = Duration::from_secs(number("KEYWARD_PROOF_OVERLOAD_SECONDS", 3).into());
    let fresh = calm(&world, &server).await;
    // What was turned away of the callers who made the world is no part of this.
    let (before, told) = (shed(&server), world.tally.get());
    let mut latencies = overload(&world, &server, root_credential.trim(), callers, span).await;
    latencies.sort_unstable();
    let now = world.tally.get();
    let [allowed, denied, turned_away, undecided, revoked, made] =
        std::array::from_fn(|place| now[place] - told[place]);
    assert!(allowed > 0 && denied > 0, "{now:?}");
    assert_eq!(shed(&server) - before, turned_away, "what was turned away is what was told so");
    assert!(turned_away > 0, "there was room for all of them");

    // Full service again, at once: nobody is turned away, and what was revoked is.
    let recovered = calm(&world, &server).await;
    let mut checks = CheckServiceClient::new(server.data());
    for key in &world.keys {
        if key.state.load(Ordering::SeqCst) == ENDING {
            send!(root.keys(), revoke_key, RevokeKeyRequest { name: &*key.name }).unwrap();
        }
        let permission = Permission { resource: "doc/1".into(), action: "read".into() };
        let answer = send!(checks, check, CheckRequest { credential: &*key.credential, permissions: vec![permission] });
        let expected = if key.state.load(Ordering::SeqCst) == LIVE { Decision::Allowed } else { Decision::Denied };
        assert_eq!(answer.unwrap().decision(), expected, "{}", key.name);
    }
    assert_eq!(shed(&server) - before, turned_away);
    let seconds = span.as_secs_f64();
    println!(
        "overload: {callers} callers at once for {seconds:.0} s: {:.0} answers/s ({allowed} allowed, {denied} denied), \
         {:.0} turned away/s, {undecided} undecided, {revoked} revoked and {made} made meanwhile; \
         accepted calls took {:?} (median), {:?} (99 %), {:?} (99.9 %), {:?} at most; {KEYS} asked one after the other took \
         {fresh:?} before and {recovered:?} after",
        (allowed + denied) as f64 / seconds,
        turned_away as f64 / seconds,
        percentile(&latencies, 500),
        percentile(&latencies, 990),
        percentile(&latencies, 999),
        latencies.last().copied().unwrap_or_default(),
    );
    let (status, _, log) = server.terminate();
    assert!(status.success(), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
