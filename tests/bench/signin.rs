//! Whether the time of a refused sign-in tells anything: an unknown user, a wrong password and an account that has been
//! tried too often, in random order; the last from addresses that have used up what they have, the others each from one of
//! its own. Run by `cargo bench --bench signin`. It reports medians and, for each pair, the rank sum's z: beyond about 3
//! the two can be told apart by so many tries.

#![expect(clippy::expect_used, reason = "a bench may panic, and speaks gRPC")]

use keyward::clock::Clock;
use keyward::config::{Config, ServeArgs};
use keyward::proto::v1::tenant_service_client::TenantServiceClient;
use keyward::proto::v1::token_service_client::TokenServiceClient;
use keyward::proto::v1::user_service_client::UserServiceClient;
use keyward::proto::v1::*;
use keyward::server::Server;
use rand::seq::SliceRandom as _;
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

/// Tries of each kind.
const TRIES: usize = 200;
const KINDS: [&str; 3] = ["unknown user", "wrong password", "throttled account"];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let dir = tempfile::TempDir::new().expect("a folder");
    let args = ServeArgs {
        database_url: Some(format!("sqlite:{}", dir.path().join("keyward.db").display()).into()),
        data_addr: Some("127.0.0.1:0".to_owned()),
        admin_addr: Some("127.0.0.1:0".to_owned()),
        ops_addr: Some("127.0.0.1:0".to_owned()),
        log: Some("error".to_owned()),
        ..ServeArgs::default()
    };
    let clock = Clock::default();
    let mut server =
        Server::start(Config::load(args).expect("a configuration"), clock.clone()).await.expect("a server");
    let root = server.take_root_credential().expect("root").expose().to_owned();
    let address = format!("http://{}", server.admin_addr());
    let mut sources =
        (0_u32..).map(|number| format!("127.{}.{}.{}", 1 + (number >> 16), number >> 8 & 255, number & 255));
    let mut source = || sources.next().expect("an address");
    prepare(&address, &root).await;

    let mut order: Vec<usize> = (0..KINDS.len() * TRIES).map(|place| place % KINDS.len()).collect();
    order.shuffle(&mut rand::rng());
    // From a fresh address even that account would be tried.
    let used_up: Vec<String> = (0..10).map(|_| source()).collect();
    for source in used_up.iter().cycle().take(120) {
        clock.advance(Duration::from_millis(100));
        try_once(&address, source, "throttled@example.com").await;
    }
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); KINDS.len()];
    for (place, kind) in order.into_iter().enumerate() {
        // What all strangers together have comes back meanwhile.
        clock.advance(Duration::from_millis(100));
        let email = match kind {
            0 => format!("nobody{place}@example.com"),
            1 => format!("user{}@example.com", place % TRIES),
            _ => "throttled@example.com".to_owned(),
        };
        let source = match used_up.get(place % used_up.len()) {
            Some(used_up) if kind == 2 => used_up.clone(),
            _ => source(),
        };
        let (code, time) = try_once(&address, &source, &email).await;
        let wanted = if kind == 2 { Code::ResourceExhausted } else { Code::Unauthenticated };
        if code == wanted
            && let Some(times) = times.get_mut(kind)
        {
            times.push(time.as_secs_f64() * 1000.0);
        }
    }
    println!("| refused for | tries | median, ms | 5 % | 95 % |");
    println!("|---|---:|---:|---:|---:|");
    for (kind, times) in KINDS.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default();
        println!("| {kind} | {} | {:.2} | {:.2} | {:.2} |", times.len(), at(0.5), at(0.05), at(0.95));
    }
    println!("\n| pair | z of the rank sum |\n|---|---:|");
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        if let (Some(left), Some(right)) = (times.get(one), times.get(other)) {
            let names = KINDS.get(one).zip(KINDS.get(other)).expect("names");
            println!("| {} and {} | {:+.2} |", names.0, names.1, rank_sum_z(left, right));
        }
    }
    server.shutdown().await.expect("an end");
}

/// A tenant with a user for each try of a wrong password, and one for the account that is throttled.
async fn prepare(address: &str, root: &str) {
    let channel = Endpoint::from_shared(address.to_owned()).expect("an address").connect_lazy();
    let request = CreateTenantRequest { tenant_id: "acme".to_owned(), ..CreateTenantRequest::default() };
    TenantServiceClient::new(channel.clone()).create_tenant(with(root, request)).await.expect("a tenant");
    let mut users = UserServiceClient::new(channel);
    let emails = (0..TRIES).map(|number| format!("user{number}@example.com"));
    for email in emails.chain(["throttled@example.com".to_owned()]) {
        let request = CreateUserRequest {
            parent: "tenants/acme".to_owned(),
            user: Some(User { email, ..User::default() }),
            password: "correct horse".to_owned(),
            ..CreateUserRequest::default()
        };
        users.create_user(with(root, request)).await.expect("a user");
    }
}

fn with<T>(root: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {root}").parse().expect("metadata"));
    request
}

/// One try on a connection of its own, made beforehand.
async fn try_once(address: &str, source: &str, email: &str) -> (Code, Duration) {
    let endpoint = Endpoint::from_shared(address.to_owned()).expect("an address");
    let channel: Channel =
        endpoint.local_address(Some(source.parse().expect("an address"))).connect().await.expect("a connection");
    let request = CreateSessionRequest {
        email: email.to_owned(),
        password: "a wrong guess".to_owned(),
        ..CreateSessionRequest::default()
    };
    let mut client = TokenServiceClient::new(channel);
    let begin = Instant::now();
    let status = client.create_session(request).await.expect_err("it is refused");
    (status.code(), begin.elapsed())
}

/// How many standard deviations the rank sum of `left` is from what it would be if both were alike (Mann and Whitney).
fn rank_sum_z(left: &[f64], right: &[f64]) -> f64 {
    let (n, m) = (left.len() as f64, right.len() as f64);
    let above = |value: &f64| right.iter().filter(|other| *other < value).count() as f64;
    let u: f64 = left.iter().map(above).sum();
    (u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}
