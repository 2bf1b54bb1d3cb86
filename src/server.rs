//! Wiring and life: open the store, make root on the first start, load the index, bind the listeners, serve, drain.
//! Nothing is bound before root exists and the rows are loaded.

mod adopt;
mod deployment;
mod gauges;
mod introduction;
mod listen;
mod migrate;
mod ops;
mod root_key;
mod signing;
mod upkeep;
mod usage;
mod verify;

use crate::check::Index;
use crate::clock::Clock;
use crate::config::{Address, CheckAuth, Config, DatabaseUrl, Limits, ServeArgs};
use crate::desk::Desk;
use crate::desk::caps::TenantCaps;
use crate::desk::diagnosis::Deployment;
use crate::desk::passwords::Passwords;
use crate::desk::sign_ins::SignIns;
use crate::desk::tokens::Mints;
use crate::domain::credential::Credential;
use crate::domain::lease::Timing;
use crate::error::{Error, Result};
use crate::grpc::arrive::ArriveLayer;
use crate::grpc::health::Health;
use crate::grpc::load::Load;
use crate::grpc::observe::ObserveLayer;
use crate::grpc::peer::Clients;
use crate::grpc::services::Services;
use crate::grpc::{
    AdminApi, Api, ApplicationApi, CheckApi, Door, EventApi, ExtAuthzApi, KeyApi, TenantApi, TokenApi, UserApi,
};
use crate::keyring::Keyring;
use crate::mail::Post;
use crate::proto::v1::admin_service_server::AdminServiceServer;
use crate::proto::v1::application_service_server::ApplicationServiceServer;
use crate::proto::v1::event_service_server::EventServiceServer;
use crate::proto::v1::key_service_server::KeyServiceServer;
use crate::proto::v1::tenant_service_server::TenantServiceServer;
use crate::proto::v1::token_service_server::TokenServiceServer;
use crate::proto::v1::user_service_server::UserServiceServer;
use crate::replica::{Ledger, follow, settle_from_outside};
use crate::store::Store;
use crate::telemetry::{Listener, Telemetry};
pub use adopt::AdoptArgs;
use gauges::{OldestChange, Sources};
use listen::{App, Listeners, bind};
pub use migrate::MigrateArgs;
use ops::Readiness;
pub use signing::SigningKeyArgs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::service::Routes;
use usage::Usage;
pub use verify::{Verdict, VerifyArgs, verify_events};

/// All of a shutdown, and the part of it in which calls may finish.
const MAX_SHUTDOWN: Duration = Duration::from_millis(9500);
const MAX_DRAIN: Duration = Duration::from_millis(8500);

/// What closing the database needs of it at the end.
const MAX_CLOSING: Duration = Duration::from_millis(300);

/// `keyward serve`: runs until SIGTERM or SIGINT.
pub async fn serve(args: ServeArgs) -> Result<()> {
    // Before anything else: whoever sees it serve may tell it to end.
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::internal)?;
    listen::keep_memory();
    listen::take_descriptors();
    let mut server = Server::start(Config::load(args)?, Clock::default()).await?;
    server.introduce().await?;
    server
        .run_until(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
}

/// `keyward root …`: what is done to the root credential without a server.
#[derive(Debug, clap::Subcommand)]
pub enum RootArgs {
    /// Replace the root credential; the old one ends at once. On SQLite the server must be stopped
    Rotate {
        /// Where the rows are, as for `serve`
        #[arg(long, value_name = "URL", env = "KEYWARD_DATABASE_URL", hide_env_values = true)]
        database_url: DatabaseUrl,
        /// Write the credential to this file (mode 0600) instead of printing it
        #[arg(long, value_name = "PATH", env = "KEYWARD_ROOT_KEY_FILE")]
        root_key_file: Option<PathBuf>,
    },
}

/// Carries out a command on the root credential.
pub async fn root(args: RootArgs) -> Result<()> {
    let RootArgs::Rotate { database_url, root_key_file } = args;
    let store = Store::open(database_url.as_str(), Clock::default()).await?;
    let (credential, committed) = root_key::rotate(&store, root_key_file.as_deref()).await?;
    // Shown first: whatever comes of telling the replicas, there is no other any more.
    match root_key_file {
        Some(path) => print(&format!("The new root credential is in {}\n", path.display()))?,
        None => print(&format!("New root credential (shown once, keep it now):\n\n  {}\n", credential.expose()))?,
    }
    settle_from_outside(&store, committed).await?;
    store.close().await
}

/// Has every replica take a ledger that is not the continuation of the one it followed.
pub async fn adopt(args: AdoptArgs) -> Result<()> {
    print(&adopt::command(args).await?)
}

/// Carries out a command on the keys that sign JWTs.
pub async fn signing_key(args: SigningKeyArgs) -> Result<()> {
    print(&signing::command(args).await?)
}

/// Brings the schema of a database up to date.
pub async fn migrate(args: MigrateArgs) -> Result<()> {
    print(&migrate::command(args).await?)
}

/// A server that answers.
#[derive(Debug)]
pub struct Server {
    data_addr: Address,
    admin_addr: Address,
    ops_addr: Address,
    root_credential: Option<Credential>,
    is_root_kept: bool,
    has_data_tls: bool,
    health: Health,
    index: Arc<Index>,
    ledger: Ledger,
    store: Store,
    usage: Usage,
    telemetry: Telemetry,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<()>>,
    drain_timeout: Duration,
}

impl Server {
    /// Starts a server. When this returns, its listeners answer.
    pub async fn start(config: Config, clock: Clock) -> Result<Self> {
        let telemetry = Telemetry::start(&config)?;
        let listeners = Listeners::new(&config.transport, telemetry.instruments().connections.clone(), &clock)?;
        let store = Store::open_to_serve(config.database_url.as_str(), clock.clone(), config.lease).await?;
        let post = Post::new(store.clone(), clock.clone(), &config.mail, telemetry.instruments().mail.clone())?;
        let root_credential = root_key::establish(&store, config.root_key_file.as_deref()).await?;
        let master = signing::establish(&store, &config).await?;
        let index = Arc::new(Index::default());
        let ledger = follow(store.clone(), Arc::clone(&index), &clock, Timing::new(store.lease())).await?;
        let caps = TenantCaps::new(config.caps);
        let barrier = telemetry.instruments().barrier.clone();
        ledger.watch_waits(move |ended, waited| barrier.record(ended, waited));

        let keyring = Keyring::new(store.clone(), Arc::clone(&index), clock.clone(), master.clone());
        let passwords = Passwords::start()?;
        let oldest_change = OldestChange::default();
        let sources = Sources {
            store: &store,
            index: &index,
            ledger: &ledger,
            listeners: &listeners,
            caps: &caps,
            passwords: &passwords,
            oldest_change: &oldest_change,
            clock: &clock,
        };
        telemetry.show(sources.gauges());
        let sign_ins = Arc::new(SignIns::new(clock.clone(), passwords.worker_count()));
        let desk = Desk {
            store: store.clone(),
            index: Arc::clone(&index),
            ledger: ledger.clone(),
            clock: clock.clone(),
            keyring,
            mints: Mints::default(),
            caps: caps.clone(),
            passwords,
            sign_ins,
        };
        let limits = config.transport.limits;
        let api = Api::new(desk, &store.page_token_key().await?, &config.audience, limits);
        let health = Health::default();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();

        let arrive = ArriveLayer::new(Arc::clone(&index), ledger.clone());
        let observe = ObserveLayer::new(telemetry.instruments());
        let layers = |listener| {
            let load = Load::new(listener, &limits, telemetry.instruments().shed.clone());
            (observe.clone().with_load(load), arrive.clone())
        };
        let decisions = &telemetry.instruments().decisions;
        let ext_authz_config = Arc::new(config.ext_authz.clone());
        let check = |door| {
            let check = CheckApi::new(&api, door, Arc::clone(decisions));
            let ext_authz = ExtAuthzApi::new(check.clone(), Arc::clone(&ext_authz_config));
            (check, ext_authz)
        };
        let data_door = match config.check_auth {
            None | Some(CheckAuth::None) => Door::Open,
            Some(CheckAuth::Bearer) => Door::Bearer,
            Some(CheckAuth::Mtls) => Door::Mtls(Clients::new(&config.transport.clients)),
        };
        let (checks, ext_authz) = check(data_door);
        let data = Services::new(checks, ext_authz, Routes::new(health.server()));
        let (checks, ext_authz) = check(Door::Bearer);
        let (ops_bound, ops_addr) = bind(&config.ops_addr).await?;
        let (data_bound, data_addr) = bind(&config.data_addr).await?;
        let (admin_bound, admin_addr) = bind(&config.admin_addr).await?;
        let addresses = [&data_addr, &admin_addr, &ops_addr];
        let deployment = deployment::of(&config, &listeners, addresses, master.is_some());
        let admin = Services::new(checks, ext_authz, admin_routes(&api, &limits, deployment, &health, &stopped)?);
        let is_refusing = ledger.clone();
        let readiness = Readiness {
            index: Arc::clone(&index),
            health: health.clone(),
            is_refusing: Arc::new(move || is_refusing.status().refused.is_some()),
        };
        let ops = App::http(ops::router(telemetry.metrics().clone(), clock.clone(), readiness));

        listeners.open(&mut tasks, Listener::Ops, ops_bound, ops, &stopped)?;
        // The address that was bound is the issuer that the others name, unless one is given.
        index.set_issuer(&signing::issuer(&store, &config, &ops_addr).await?);
        let (data, admin) = (App::grpc(data, layers(Listener::Data)), App::grpc(admin, layers(Listener::Admin)));
        listeners.open(&mut tasks, Listener::Data, data_bound, data, &stopped)?;
        listeners.open(&mut tasks, Listener::Admin, admin_bound, admin, &stopped)?;
        tasks.spawn(post.run(stopped.clone()));
        let meter = telemetry.instruments().usage.clone();
        let usage = Usage::new(&store, Arc::clone(&index), clock.clone(), meter).await?;
        tasks.spawn(usage.clone().run(stopped.clone()));
        tasks.spawn(upkeep::sweep(store.clone(), usage.clone(), (caps, oldest_change), clock.clone(), stopped.clone()));
        if let Some(retention) = config.event_retention {
            let (store, index, clock) = (store.clone(), Arc::clone(&index), clock.clone());
            tasks.spawn(upkeep::expire_events(store, index, clock, retention, stopped.clone()));
        }
        if let Some(master) = master {
            let (store, index, life) = (store.clone(), Arc::clone(&index), config.signing_key_life);
            tasks.spawn(signing::keep_renewing(store, index, clock, master, life, stopped.clone()));
        }
        health.set_serving(true);
        tasks.spawn(upkeep::tell_health(health.clone(), Arc::clone(&index), stopped));
        ledger.announce(&admin_addr.to_string());
        tracing::info!(data = %data_addr, admin = %admin_addr, ops = %ops_addr, revision = index.applied(), "serving");
        Ok(Self {
            data_addr,
            admin_addr,
            ops_addr,
            root_credential,
            is_root_kept: config.root_key_file.is_some(),
            has_data_tls: config.transport.data_tls.is_some(),
            health,
            index,
            ledger,
            store,
            usage,
            telemetry,
            stop,
            tasks,
            drain_timeout: config.drain_timeout,
        })
    }

    /// Where Check is answered.
    pub fn data_addr(&self) -> &Address {
        &self.data_addr
    }

    /// Where everything is answered.
    pub fn admin_addr(&self) -> &Address {
        &self.admin_addr
    }

    /// Where metrics are.
    pub fn ops_addr(&self) -> &Address {
        &self.ops_addr
    }

    /// The root credential, if this start has made it; taken once.
    pub fn take_root_credential(&mut self) -> Option<Credential> {
        self.root_credential.take()
    }

    /// On a first start: tells the operator what was made, and has a first Check answered over the wire.
    pub async fn introduce(&mut self) -> Result<()> {
        let Some(credential) = self.take_root_credential() else { return Ok(()) };
        print(&introduction::text(&self.data_addr, self.has_data_tls, &credential, self.is_root_kept).await?)
    }

    /// Serves until `shutdown` completes or a listener fails, then drains.
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let failed = tokio::select! {
            () = shutdown => None,
            ended = self.tasks.join_next() => ended,
        };
        match failed {
            Some(Ok(Err(error))) => {
                tracing::error!("a listener failed: {error}");
                self.shutdown().await?;
                Err(error)
            }
            Some(Err(error)) => {
                self.shutdown().await?;
                Err(Error::internal(error))
            }
            Some(Ok(Ok(()))) | None => self.shutdown().await,
        }
    }

    /// Takes no new calls, lets those under way finish within the drain time-out, and closes everything; ten seconds
    /// after SIGTERM at the latest.
    pub async fn shutdown(mut self) -> Result<()> {
        let deadline = Instant::now() + MAX_SHUTDOWN;
        self.health.set_serving(false);
        self.health.drain();
        self.stop.send_replace(true);
        let drained = timeout(self.drain_timeout.min(MAX_DRAIN), async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok(Err(error)) = ended {
                    tracing::warn!("while draining: {error}");
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!("calls were still under way after the drain time-out and were cut off");
            self.tasks.shutdown().await;
        }
        self.index.stop();
        let closed = timeout_at(deadline, async {
            self.ledger.leave().await;
            self.usage.finish(deadline.saturating_duration_since(Instant::now()).saturating_sub(MAX_CLOSING)).await;
            let closed = self.store.close().await;
            self.telemetry.shutdown().await;
            closed
        });
        closed.await.unwrap_or_else(|_| {
            tracing::warn!("the database was not closed in time; what was committed is safe");
            Ok(())
        })
    }
}

/// Everything but Check, with reflection in both versions, each of which lists both.
fn admin_routes(
    api: &Api,
    limits: &Limits,
    deployment: Deployment,
    health: &Health,
    stopped: &watch::Receiver<bool>,
) -> Result<Routes> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(crate::proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
            .include_reflection_service(false)
    };
    let limit = limits.max_message_bytes;
    Ok(Routes::new(health.server())
        .add_service(reflection().build_v1().map_err(Error::internal)?)
        .add_service(reflection().build_v1alpha().map_err(Error::internal)?)
        .add_service(KeyServiceServer::new(KeyApi::new(api.clone())).max_decoding_message_size(limit))
        .add_service(TenantServiceServer::new(TenantApi(api.clone())).max_decoding_message_size(limit))
        .add_service(UserServiceServer::new(UserApi(api.clone())).max_decoding_message_size(limit))
        .add_service(
            EventServiceServer::new(EventApi::new(api.clone(), stopped.clone())).max_decoding_message_size(limit),
        )
        .add_service(TokenServiceServer::new(TokenApi(api.clone())).max_decoding_message_size(limit))
        .add_service(ApplicationServiceServer::new(ApplicationApi::new(api.clone())).max_decoding_message_size(limit))
        .add_service(AdminServiceServer::new(AdminApi::new(api.clone(), deployment)).max_decoding_message_size(limit)))
}

fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()).map_err(Error::internal)
}
