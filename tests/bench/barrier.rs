//! What the revocation barrier costs: three replicas, each a process of its own, on one PostgreSQL (or, by `-- mariadb`, on
//! one MariaDB). SuspendKey and RevokeKey wait for every replica; ActivateKey writes the same row, event and log entry and
//! waits for its own replica alone. They take turns in one run, so that the differences mean something and the times
//! little. Run by `cargo bench --bench barrier`.

#![expect(clippy::expect_used, reason = "a bench may panic")]

/// What starts a database for the tests starts one here.
#[allow(dead_code, clippy::allow_attributes, reason = "the tests use more of it")]
#[path = "."]
mod harness {
    #[path = "../it/harness/daemon.rs"]
    pub(crate) mod daemon;
    #[path = "../it/harness/mariadb.rs"]
    pub(crate) mod mariadb;
    #[path = "../it/harness/postgres.rs"]
    pub(crate) mod postgres;
}

use keyward::proto::v1::admin_service_client::AdminServiceClient;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::key_service_client::KeyServiceClient;
use keyward::proto::v1::tenant_service_client::TenantServiceClient;
use keyward::proto::v1::*;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

const LEASE: &str = "2s";
const ROUNDS: usize = 200;

/// A replica. Killed when dropped.
struct Replica {
    process: Child,
    data: String,
    admin: String,
}

impl Drop for Replica {
    fn drop(&mut self) {
        // A process that is stopped can be killed too; one that has ended need not.
        let _killed = self.process.kill().and_then(|()| self.process.wait());
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").to_string()
}

async fn connect(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match endpoint.connect().await {
            Ok(channel) => return channel,
            Err(error) => assert!(Instant::now() < deadline, "a replica does not come up: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn start(url: &str, folder: &Path) -> Replica {
    let (data, admin) = (free_address(), free_address());
    let process = Command::new(env!("CARGO_BIN_EXE_keyward"))
        .args(["serve", "--database-url", url, "--lease", LEASE, "--log", "error"])
        .args(["--data-addr", &data, "--admin-addr", &admin, "--ops-addr", "127.0.0.1:0"])
        .arg("--root-key-file")
        .arg(folder.join("root.key"))
        .arg("--mail-dir")
        .arg(folder.join("mail"))
        .stdout(Stdio::null())
        .spawn()
        .expect("a replica");
    let replica = Replica { process, data, admin };
    connect(&replica.admin).await;
    replica
}

fn by<T>(credential: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {credential}").parse().expect("a credential");
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// How long each took of one kind of call.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn at(&mut self, part: f64) -> f64 {
        self.0.sort();
        let place = (self.0.len() as f64 * part) as usize;
        self.0.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3
    }

    fn row(&mut self, what: &str, beside: f64) {
        let (median, late) = (self.at(0.5), self.at(0.99));
        println!("| {what} | {} | {median:.2} | {late:.2} | {:+.2} |", self.0.len(), median - beside);
    }
}

async fn timed<T>(times: &mut Times, call: impl Future<Output = T>) -> T {
    let begin = Instant::now();
    let answer = call.await;
    times.0.push(begin.elapsed());
    answer
}

/// Somebody who mutates at one replica and asks at another.
struct Client {
    keys: KeyServiceClient<Channel>,
    elsewhere: CheckServiceClient<Channel>,
    owner: String,
}

#[derive(Default)]
struct Measured {
    activate: Times,
    suspend: Times,
    revoke: Times,
    create: Times,
    /// The first Check of a new key at another replica, sent when CreateKey has answered.
    first_check: Times,
    /// The same Check again.
    second_check: Times,
}

impl Client {
    async fn round(&mut self, measured: &mut Measured) {
        let owner = &self.owner;
        let create = by(owner, CreateKeyRequest { parent: "tenants/-".to_owned(), ..CreateKeyRequest::default() });
        let made = timed(&mut measured.create, self.keys.create_key(create)).await.expect("a key").into_inner();
        let check = || CheckRequest { credential: made.credential.clone(), ..CheckRequest::default() };
        for times in [&mut measured.first_check, &mut measured.second_check] {
            let answer = timed(times, self.elsewhere.check(check())).await.expect("an answer").into_inner();
            assert_eq!(answer.decision(), Decision::Allowed, "a new key is known everywhere");
        }
        let name = made.key.expect("a key").name;
        let suspend = by(owner, SuspendKeyRequest { name: name.clone(), ..SuspendKeyRequest::default() });
        timed(&mut measured.suspend, self.keys.suspend_key(suspend)).await.expect("suspended");
        let activate = by(owner, ActivateKeyRequest { name: name.clone(), ..ActivateKeyRequest::default() });
        timed(&mut measured.activate, self.keys.activate_key(activate)).await.expect("activated");
        let revoke = by(owner, RevokeKeyRequest { name, ..RevokeKeyRequest::default() });
        timed(&mut measured.revoke, self.keys.revoke_key(revoke)).await.expect("revoked");
        let answer = self.elsewhere.check(check()).await.expect("an answer").into_inner();
        assert_eq!(answer.decision(), Decision::Denied, "a revoked key is refused everywhere");
    }
}

fn show(title: &str, measured: &mut Measured) {
    println!(
        "\n{title}\n\n| call | calls | median ms | 99th percentile ms | above ActivateKey |\n|---|---:|---:|---:|---:|"
    );
    let bare = measured.activate.at(0.5);
    measured.activate.row("ActivateKey: the same commit, no barrier", bare);
    measured.suspend.row("SuspendKey: with the barrier", bare);
    measured.revoke.row("RevokeKey: with the barrier", bare);
    measured.create.row("CreateKey", bare);
    measured.first_check.row("first Check of the new key at another replica", bare);
    measured.second_check.row("the same Check again", bare);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let is_mariadb = std::env::args().any(|word| word == "mariadb");
    let folder = TempDir::new().expect("a folder");
    let database = if is_mariadb { harness::mariadb::start(&[]) } else { harness::postgres::start(&[]) };
    let url = if is_mariadb {
        harness::mariadb::database_on(&database).await
    } else {
        harness::postgres::database_on(&database).await
    };
    let first = start(&url, folder.path()).await;
    let second = start(&url, folder.path()).await;
    let third = start(&url, folder.path()).await;

    let root = std::fs::read_to_string(folder.path().join("root.key")).expect("root");
    let root = root.trim();
    let mut tenants = TenantServiceClient::new(connect(&first.admin).await);
    let tenant = by(root, CreateTenantRequest { tenant_id: "acme".to_owned(), ..CreateTenantRequest::default() });
    let owner = tenants.create_tenant(tenant).await.expect("a tenant").into_inner().master_credential;
    let mut client = Client {
        keys: KeyServiceClient::new(connect(&first.admin).await),
        elsewhere: CheckServiceClient::new(connect(&second.data).await),
        owner,
    };
    let mut warm = Measured::default();
    for _ in 0..10 {
        client.round(&mut warm).await;
    }
    let mut healthy = Measured::default();
    for _ in 0..ROUNDS {
        client.round(&mut healthy).await;
    }
    let engine = if is_mariadb { "MariaDB" } else { "PostgreSQL" };
    show(&format!("Three replicas on {engine}, lease {LEASE}"), &mut healthy);

    let stopped = Command::new("kill").args(["-STOP", &third.process.id().to_string()]).status();
    assert!(stopped.is_ok_and(|status| status.success()), "the third replica is stopped");
    let mut late = Measured::default();
    client.round(&mut late).await;
    let waited = late.suspend.at(1.0).max(late.revoke.at(1.0)).max(late.suspend.at(0.0));
    println!(
        "\nOne replica stopped (SIGSTOP): the first barrier took {waited:.0} ms (W is 2650 ms for a lease of {LEASE})."
    );
    let mut admin = AdminServiceClient::new(connect(&first.admin).await);
    loop {
        let request = by(root, ListReplicasRequest::default());
        if admin.list_replicas(request).await.expect("the replicas").into_inner().replicas.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut without = Measured::default();
    for _ in 0..ROUNDS / 4 {
        client.round(&mut without).await;
    }
    show("Once its row is gone", &mut without);
}
