//! Several real servers on one real database, each behind a relay of its own.

use super::relay::{Link, Relay};
use crate::harness::daemon::Daemon;
use crate::harness::process::{self, Process};
use crate::harness::{Client, mariadb, postgres};
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use parking_lot::Mutex;
use sea_orm::sqlx::postgres::PgConnection;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take that must happen by itself; it takes so long only if it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres,
    MariaDb,
}

/// Where a replica listens as long as its process lives.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// Several, since one connection carries only so many calls at once.
    data: Vec<Channel>,
    admin: Channel,
    admin_addr: String,
}

/// One place for a server, with its own way to the database.
pub(crate) struct Replica {
    pub(crate) relay: Relay,
    process: Mutex<Option<Process>>,
    seat: Mutex<Option<Seat>>,
    /// What the processes that ended here have logged.
    said: Mutex<String>,
}

/// All of it. Everything is stopped when it is dropped.
pub(crate) struct Site {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) daemon: Arc<Daemon>,
    pub(crate) url: String,
    /// What a tenant's owner may do everything in that tenant with.
    owner: String,
    root: String,
    folder: TempDir,
    /// What sets the wall clocks of the processes, if they can be set.
    wall_clocks: Option<PathBuf>,
    /// What seals the keys that sign JWTs, if they are to be signed.
    master_key: Option<PathBuf>,
}

/// The library that sets the wall clock of a process (Debian: `faketime`), if it is installed.
pub(crate) fn wall_clocks() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let paths = folders.map(|folder| folder.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    paths.into_iter().find(|path| path.exists())
}

fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_timeout(Duration::from_secs(5)).connect_lazy()
}

impl Replica {
    fn seat(&self) -> Seat {
        self.seat.lock().clone().expect("the replica was never started")
    }

    /// Where Checks are asked, over the connection of that number.
    pub(crate) fn data(&self, number: usize) -> Channel {
        let seat = self.seat();
        seat.data[number % seat.data.len()].clone()
    }

    pub(crate) fn admin(&self) -> Channel {
        self.seat().admin
    }

    /// What its row in the database says of it.
    pub(crate) fn admin_addr(&self) -> String {
        self.seat().admin_addr
    }

    /// Asks one Check.
    pub(crate) async fn check(&self, credential: &str) -> Result<CheckResponse, Status> {
        let request = CheckRequest { credential: credential.to_owned(), ..CheckRequest::default() };
        let mut request = tonic::Request::new(request);
        request.set_timeout(Duration::from_secs(10));
        CheckServiceClient::new(self.data(0)).check(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn allows(&self, credential: &str) -> bool {
        matches!(self.check(credential).await, Ok(answer) if answer.decision() == Decision::Allowed)
    }

    /// Sends its process a signal, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        self.process.lock().as_ref().expect("the replica does not run").signal(signal);
    }

    /// Ends it without a word.
    pub(crate) fn kill(&self) {
        let process = self.process.lock().take().expect("the replica does not run");
        self.said.lock().push_str(&(process.log.clone() + &process.logged()));
        process.kill();
    }

    /// Asks it to end: its exit code and all it logged.
    pub(crate) async fn terminate(&self) -> (Option<i32>, String) {
        let process = self.process.lock().take().expect("the replica does not run");
        let (status, _, log) = spawn_blocking(|| process.terminate()).await.unwrap();
        self.said.lock().push_str(&log);
        (status.code(), log)
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.lock().as_ref().expect("the replica does not run").id()
    }

    /// All that the processes in this place have logged.
    pub(crate) fn logged(&self) -> String {
        let process = self.process.lock();
        let now = process.as_ref().map(|process| process.log.clone() + &process.logged()).unwrap_or_default();
        self.said.lock().clone() + &now
    }
}

impl Site {
    /// Starts a database and so many replicas, whose lease is `lease`.
    pub(crate) async fn start(engine: Engine, count: usize, lease: Duration) -> Self {
        Self::start_with(engine, count, lease, None).await
    }

    /// The same with a library that sets their wall clocks.
    pub(crate) async fn start_with(
        engine: Engine,
        count: usize,
        lease: Duration,
        wall_clocks: Option<PathBuf>,
    ) -> Self {
        let mut site = Self::vacant(engine, count).await;
        site.wall_clocks = wall_clocks;
        site.begin_all(lease).await;
        site
    }

    /// The same with a master key, so that they sign JWTs.
    pub(crate) async fn start_signing(engine: Engine, count: usize, lease: Duration) -> Self {
        let mut site = Self::vacant(engine, count).await;
        let path = site.path("master.key");
        std::fs::write(&path, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        site.master_key = Some(path);
        site.begin_all(lease).await;
        site
    }

    /// A database, and places where nothing runs yet.
    async fn vacant(engine: Engine, count: usize) -> Self {
        let daemon = spawn_blocking(move || match engine {
            Engine::Postgres => postgres::start(&[]),
            Engine::MariaDb => mariadb::start(&[]),
        });
        let daemon = Arc::new(daemon.await.unwrap());
        let url = match engine {
            Engine::Postgres => postgres::database_on(&daemon).await,
            Engine::MariaDb => mariadb::database_on(&daemon).await,
        };
        let (owner, root, folder) = (String::new(), String::new(), TempDir::new().unwrap());
        let (replicas, wall_clocks, master_key) = (Vec::new(), None, None);
        let mut site = Self { replicas, daemon, url, owner, root, folder, wall_clocks, master_key };
        for _ in 0..count {
            site.add().await;
        }
        site
    }

    /// Starts them all, and makes the tenant.
    async fn begin_all(&mut self, lease: Duration) {
        let lease = format!("{}ms", lease.as_millis());
        for number in 0..self.replicas.len() {
            let begun = self.begin(number, &["--lease", &lease]).await;
            begun.unwrap_or_else(|said| panic!("replica {number}: {said}"));
        }
        if !self.replicas.is_empty() {
            self.meet().await;
        }
    }

    /// Makes the tenant.
    async fn meet(&mut self) {
        self.root = std::fs::read_to_string(self.folder.path().join("root.key")).unwrap().trim().to_owned();
        let request = CreateTenantRequest {
            tenant_id: "acme".to_owned(),
            owner: Some(User { email: "owner@acme.example".to_owned(), ..User::default() }),
            ..CreateTenantRequest::default()
        };
        let made = self.root(0).tenants().create_tenant(request).await.unwrap().into_inner();
        self.owner = made.master_credential;
    }

    /// One more place, where nothing runs yet.
    pub(crate) async fn add(&mut self) -> usize {
        let relay = Relay::start(self.daemon.port).await;
        self.replicas.push(Replica {
            relay,
            process: Mutex::default(),
            seat: Mutex::default(),
            said: Mutex::default(),
        });
        self.replicas.len() - 1
    }

    /// The URL of the database by way of a replica's relay.
    fn url_of(&self, number: usize) -> String {
        let port = self.replicas[number].relay.port;
        self.url.replace(&format!(":{}/", self.daemon.port), &format!(":{port}/"))
    }

    fn command(&self, number: usize, more: &[&str]) -> Command {
        let path = |name: &str| self.folder.path().join(name);
        let mut command = process::keyward();
        command.args(["serve", "--log-format", "json", "--data-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"]);
        command.args(["--ops-addr", "127.0.0.1:0", "--drain-timeout", "2s", "--database-url", &self.url_of(number)]);
        command.arg("--root-key-file").arg(path("root.key")).arg("--mail-dir").arg(path("mail")).args(more);
        if let Some(master_key) = &self.master_key {
            command.arg("--master-key-file").arg(master_key);
        }
        if let Some(library) = &self.wall_clocks {
            self.set_wall_clock(number, 0);
            command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", self.wall_clock_file(number));
            // Elapsed time goes on as it does.
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DISABLE_SHM", "1");
            command.env("FAKETIME_CACHE_DURATION", "1");
        }
        command
    }

    fn wall_clock_file(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("clock-{number}"))
    }

    /// Sets the wall clock of a replica so far from the true one.
    pub(crate) fn set_wall_clock(&self, number: usize, seconds: i64) {
        // At once, so that half a number is never read.
        let fresh = self.folder.path().join(format!("clock-{number}.new"));
        std::fs::write(&fresh, format!("{seconds:+}")).unwrap();
        std::fs::rename(fresh, self.wall_clock_file(number)).unwrap();
    }

    /// Starts a server in a place, and waits until it serves; what it said if it ends instead.
    pub(crate) async fn begin(&self, number: usize, more: &[&str]) -> Result<(), String> {
        let command = self.command(number, more);
        let process = spawn_blocking(move || Process::try_launch(command)).await.unwrap()?;
        let replica = &self.replicas[number];
        let data = (0..4).map(|_| channel(&process.data_addr)).collect();
        *replica.seat.lock() =
            Some(Seat { data, admin: channel(&process.admin_addr), admin_addr: process.admin_addr.clone() });
        *replica.process.lock() = Some(process);
        Ok(())
    }

    /// The same, again and again as long as it ends: the database may be away.
    pub(crate) async fn begin_at_last(&self, number: usize) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(said) = self.begin(number, &[]).await {
            assert!(Instant::now() < deadline, "replica {number} does not start:\n{said}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// The tenant's owner at a replica.
    pub(crate) fn owner(&self, number: usize) -> Client {
        Client::at(self.replicas[number].admin(), &self.owner)
    }

    pub(crate) fn root(&self, number: usize) -> Client {
        Client::at(self.replicas[number].admin(), &self.root)
    }

    /// Root's credential.
    pub(crate) fn root_credential(&self) -> &str {
        &self.root
    }

    /// What is in the folder of the site, such as `mail`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The URL of the database itself.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits until a replica answers Checks.
    pub(crate) async fn until_it_serves(&self, number: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.replicas[number].check(&self.owner).await;
            if answer.as_ref().is_ok_and(|answer| answer.decision() == Decision::Allowed) {
                return;
            }
            let log = || self.replicas[number].process.lock().as_ref().map(Process::logged).unwrap_or_default();
            assert!(Instant::now() < deadline, "replica {number} does not come back: {answer:?}\n{}", log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until all do that were ever started.
    pub(crate) async fn until_all_serve(&self) {
        for (number, replica) in self.replicas.iter().enumerate() {
            if replica.seat.lock().is_some() {
                self.until_it_serves(number).await;
            }
        }
    }

    /// Cuts or mends all links.
    pub(crate) fn set_links(&self, link: Link) {
        for replica in &self.replicas {
            replica.relay.set(link);
        }
    }

    /// Whoever works on the database by hand. PostgreSQL only.
    pub(crate) async fn hand(&self) -> PgConnection {
        postgres::connect(&self.daemon, self.url.rsplit('/').next().unwrap()).await
    }

    /// A key that every replica allows.
    pub(crate) async fn key(&self, id: &str) -> (String, String) {
        let made = self.owner(0).key("tenants/-").id(id).issued().await;
        for replica in &self.replicas {
            let deadline = Instant::now() + PATIENCE;
            while !replica.allows(&made.credential).await {
                assert!(Instant::now() < deadline, "a new key is not seen everywhere");
                sleep(Duration::from_millis(20)).await;
            }
        }
        (made.key.unwrap().name, made.credential)
    }

    /// `keyward` with a command for the database itself, such as `adopt`.
    pub(crate) fn tool(&self, command: &str) -> Command {
        let mut tool = process::keyward();
        tool.args([command, "--database-url", &self.url]);
        tool
    }
}
