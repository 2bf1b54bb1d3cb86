//! Mutations a second on PostgreSQL, beside the bare row that numbers them: the same database, the same run, blocks taking
//! turns. The bare row is what a mutation cannot do without: BEGIN, lock the head, move it, insert an event, COMMIT.
//! Clients and server share the machine with the database. Run by `cargo bench --bench commits`; the ratios are what
//! counts. `cargo bench --bench commits -- sqlite` takes SQLite instead, without the bare row.

#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a bench may panic")]

/// What starts a PostgreSQL for the tests starts one here.
#[allow(dead_code, clippy::allow_attributes, reason = "the tests use more of it")]
#[path = "."]
mod harness {
    #[path = "../it/harness/daemon.rs"]
    pub(crate) mod daemon;
    #[path = "../it/harness/postgres.rs"]
    pub(crate) mod postgres;
}

use keyward::clock::Clock;
use keyward::config::{Config, ServeArgs};
use keyward::proto::v1::key_service_client::KeyServiceClient;
use keyward::proto::v1::tenant_service_client::TenantServiceClient;
use keyward::proto::v1::*;
use keyward::server::Server;
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::collections::VecDeque;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

const BLOCK: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
const MANY: usize = 64;
/// So many clients share a connection.
const PER_CHANNEL: usize = 8;

type Metadata = MetadataValue<tonic::metadata::Ascii>;

/// What one block did: how many, in what time, and how long each took.
#[derive(Default)]
struct Load(Vec<Duration>, Duration);

impl Load {
    fn add(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
        self.1 += other.1;
    }

    fn a_second(&self) -> f64 {
        self.0.len() as f64 / self.1.as_secs_f64()
    }

    fn row(&mut self, what: &str, clients: usize, bare: f64) {
        self.0.sort();
        let at = |part: f64| {
            let place = (self.0.len() as f64 * part) as usize;
            self.0.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        let (rate, median, late) = (self.a_second(), at(0.5), at(0.99));
        println!("| {what} | {clients} | {rate:.0} | {median:.2} | {late:.2} | {:.2} |", rate / bare);
    }
}

/// The bare row with so many clients.
async fn bare(pool: &PgPool, clients: usize) -> Load {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let pool = pool.clone();
        tasks.spawn(async move {
            let mut connection = pool.acquire().await.expect("a connection");
            let mut latencies = Vec::new();
            while begin.elapsed() < BLOCK {
                let sent = Instant::now();
                let mut transaction = sqlx::Connection::begin(&mut *connection).await.expect("BEGIN");
                let (rev,): (i64,) = sqlx::query_as("SELECT rev FROM bench_head WHERE shard = 1 FOR UPDATE")
                    .fetch_one(&mut *transaction)
                    .await
                    .expect("the head");
                sqlx::query("UPDATE bench_head SET rev = $1 WHERE shard = 1")
                    .bind(rev + 1)
                    .execute(&mut *transaction)
                    .await
                    .expect("an update");
                sqlx::query("INSERT INTO bench_event (rev, payload) VALUES ($1, $2)")
                    .bind(rev + 1)
                    .bind("x".repeat(400))
                    .execute(&mut *transaction)
                    .await
                    .expect("an event");
                transaction.commit().await.expect("COMMIT");
                latencies.push(sent.elapsed());
            }
            latencies
        });
    }
    Load(tasks.join_all().await.concat(), begin.elapsed())
}

/// Somebody who mutates: over a connection, by a credential, in a tenant.
#[derive(Clone)]
struct Client {
    keys: KeyServiceClient<Channel>,
    bearer: Metadata,
    parent: String,
    mine: VecDeque<String>,
}

impl Client {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request
    }

    async fn create(&mut self, number: u64) {
        let key = Key { display_name: format!("key {number}"), ..Key::default() };
        let message = CreateKeyRequest { parent: self.parent.clone(), key: Some(key), ..CreateKeyRequest::default() };
        let request = self.request(message);
        let made = self.keys.create_key(request).await.expect("a key").into_inner();
        self.mine.push_back(made.key.expect("a key").name);
    }

    async fn revoke(&mut self) -> bool {
        let Some(name) = self.mine.pop_front() else { return false };
        let request = self.request(RevokeKeyRequest { name, ..RevokeKeyRequest::default() });
        self.keys.revoke_key(request).await.expect("a revoked key");
        true
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Create,
    Revoke,
}

/// Has every client do this, one after the other, for the time of a block, or until it has nothing left to revoke.
async fn block(clients: &mut Vec<Client>, verb: Verb, count: usize) -> Load {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for mut client in clients.drain(..count) {
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while begin.elapsed() < BLOCK {
                let sent = Instant::now();
                match verb {
                    Verb::Create => client.create(NUMBER.fetch_add(1, Ordering::Relaxed)).await,
                    Verb::Revoke => {
                        if !client.revoke().await {
                            break;
                        }
                    }
                }
                latencies.push(sent.elapsed());
            }
            (client, latencies)
        });
    }
    let mut load = Load(Vec::new(), Duration::ZERO);
    for (client, mut latencies) in tasks.join_all().await {
        load.0.append(&mut latencies);
        clients.push(client);
    }
    load.1 = begin.elapsed();
    load
}

async fn connect(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await.expect("a connection")
}

/// Clients of `tenants` tenants, each by the master key of its owner.
async fn clients(address: &str, root: &str, word: &str, tenants: usize) -> Vec<Client> {
    let bearer: Metadata = format!("Bearer {root}").parse().expect("a credential");
    let mut admin = TenantServiceClient::new(connect(address).await);
    let mut owners = Vec::new();
    for number in 0..tenants {
        let id = format!("{word}-{number}");
        let mut request = Request::new(CreateTenantRequest { tenant_id: id.clone(), ..CreateTenantRequest::default() });
        request.metadata_mut().insert("authorization", bearer.clone());
        let made = admin.create_tenant(request).await.expect("a tenant").into_inner();
        let bearer: Metadata = format!("Bearer {}", made.master_credential).parse().expect("a credential");
        owners.push((format!("tenants/{id}"), bearer));
    }
    let mut clients = Vec::new();
    let mut channel = connect(address).await;
    for (number, (parent, bearer)) in owners.iter().cycle().take(MANY).enumerate() {
        if number % PER_CHANNEL == 0 {
            channel = connect(address).await;
        }
        let (parent, bearer) = (parent.clone(), bearer.clone());
        clients.push(Client { keys: KeyServiceClient::new(channel.clone()), bearer, parent, mine: VecDeque::new() });
    }
    clients
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let is_sqlite = std::env::args().any(|word| word == "sqlite");
    let folder = TempDir::new().expect("a folder");
    let postgres = (!is_sqlite).then(|| harness::postgres::start(&["shared_buffers=128MB"]));
    let (url, pool) = match &postgres {
        Some(postgres) => {
            let url = harness::postgres::database_on(postgres).await;
            let pool = bare_tables(&url).await;
            (url, Some(pool))
        }
        None => (format!("sqlite:{}", folder.path().join("keyward.db").display()), None),
    };
    let master = folder.path().join("master.key");
    let file = std::fs::File::options().create_new(true).write(true).mode(0o600).open(&master);
    file.and_then(|mut file| file.write_all(b"dGhlIG1hc3RlciBrZXkgb2YgYSBiZW5jaDogMzIgYnk=\n")).expect("a master key");
    let args = ServeArgs {
        database_url: Some(url.into()),
        data_addr: Some("127.0.0.1:0".to_owned()),
        admin_addr: Some("127.0.0.1:0".to_owned()),
        ops_addr: Some("127.0.0.1:0".to_owned()),
        root_key_file: Some(folder.path().join("root.key")),
        master_key_file: Some(master),
        mail_dir: Some(folder.path().join("mail")),
        log: Some("error".to_owned()),
        ..ServeArgs::default()
    };
    let server = Server::start(Config::load(args).expect("a configuration"), Clock::default()).await.expect("a server");
    let root = std::fs::read_to_string(folder.path().join("root.key")).expect("root");
    let address = server.admin_addr().to_string();
    let mut of_one = clients(&address, root.trim(), "one", 1).await;
    let mut of_many = clients(&address, root.trim(), "many", MANY).await;

    let mut rows: [Load; 8] = Default::default();
    for _ in 0..ROUNDS {
        if let Some(pool) = &pool {
            rows[0].add(bare(pool, 1).await);
            rows[1].add(bare(pool, MANY).await);
        }
        rows[2].add(block(&mut of_one, Verb::Create, 1).await);
        of_one.rotate_right(1);
        rows[3].add(block(&mut of_one, Verb::Revoke, 1).await);
        rows[4].add(block(&mut of_one, Verb::Create, MANY).await);
        rows[5].add(block(&mut of_one, Verb::Revoke, MANY).await);
        rows[6].add(block(&mut of_many, Verb::Create, MANY).await);
        rows[7].add(block(&mut of_many, Verb::Revoke, MANY).await);
    }
    let bare_many = rows[1].a_second();
    println!("| what | clients | a second | median ms | 99th percentile ms | beside the bare row of 64 clients |");
    println!("|---|---:|---:|---:|---:|---:|");
    let names = [
        ("the bare row", 1),
        ("the bare row", MANY),
        ("CreateKey", 1),
        ("RevokeKey", 1),
        ("CreateKey", MANY),
        ("RevokeKey", MANY),
        ("CreateKey, a tenant each", MANY),
        ("RevokeKey, a tenant each", MANY),
    ];
    for (load, (what, clients)) in rows.iter_mut().zip(names) {
        load.row(what, clients, bare_many);
    }
    server.shutdown().await.expect("a clean end");
}

async fn bare_tables(url: &str) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(u32::try_from(MANY).expect("a number"));
    let pool = pool.connect(url).await.expect("PostgreSQL");
    for sql in [
        "CREATE TABLE bench_head (shard INT PRIMARY KEY, rev BIGINT NOT NULL)",
        "INSERT INTO bench_head VALUES (1, 0)",
        "CREATE TABLE bench_event (rev BIGINT PRIMARY KEY, payload TEXT NOT NULL)",
    ] {
        sqlx::query(sql).execute(&pool).await.expect("a table");
    }
    pool
}
