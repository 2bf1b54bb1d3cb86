//! The real server on free ports in a temporary folder, and clients that hold only what a test is about.

pub mod daemon;
pub mod envoy;
pub mod ledger;
pub mod mailbox;
pub mod mariadb;
pub mod postgres;
pub mod process;
pub mod settings;
pub mod smtp;

use keyward::clock::Clock;
use keyward::config::{Config, ServeArgs};
use keyward::proto::v1::admin_service_client::AdminServiceClient;
use keyward::proto::v1::application_service_client::ApplicationServiceClient;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::event_service_client::EventServiceClient;
use keyward::proto::v1::key_service_client::KeyServiceClient;
use keyward::proto::v1::tenant_service_client::TenantServiceClient;
use keyward::proto::v1::token_service_client::TokenServiceClient;
use keyward::proto::v1::user_service_client::UserServiceClient;
use keyward::proto::v1::*;
use keyward::server::Server;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// A server in this process, with a clock that the test can move.
pub struct TestServer {
    server: Option<Server>,
    dir: TempDir,
    pub clock: Clock,
    pub root: String,
    pub admin: Channel,
    pub data: Channel,
}

/// What a caller sends with each call.
#[derive(Clone)]
pub struct Credentials {
    bearer: Option<MetadataValue<Ascii>>,
    secret_key: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        if let Some(secret_key) = &self.secret_key {
            request.metadata_mut().insert("x-secret-key", secret_key.clone());
        }
        Ok(request)
    }
}

pub type Wire = InterceptedService<Channel, Credentials>;

/// Somebody with a credential, or nobody.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    credentials: Credentials,
}

impl Client {
    /// The holder of a credential at any server.
    pub fn at(channel: Channel, credential: &str) -> Self {
        let bearer = Some(format!("Bearer {credential}").parse().unwrap());
        Self { channel, credentials: Credentials { bearer, secret_key: None } }
    }

    fn wire(&self) -> Wire {
        InterceptedService::new(self.channel.clone(), self.credentials.clone())
    }

    pub fn keys(&self) -> KeyServiceClient<Wire> {
        KeyServiceClient::new(self.wire())
    }

    pub fn tenants(&self) -> TenantServiceClient<Wire> {
        TenantServiceClient::new(self.wire())
    }

    pub fn users(&self) -> UserServiceClient<Wire> {
        UserServiceClient::new(self.wire())
    }

    pub fn tokens(&self) -> TokenServiceClient<Wire> {
        TokenServiceClient::new(self.wire())
    }

    pub fn applications(&self) -> ApplicationServiceClient<Wire> {
        ApplicationServiceClient::new(self.wire())
    }

    pub fn replicas(&self) -> AdminServiceClient<Wire> {
        AdminServiceClient::new(self.wire())
    }

    pub fn events(&self) -> EventServiceClient<Wire> {
        EventServiceClient::new(self.wire())
    }

    pub fn checks(&self) -> CheckServiceClient<Wire> {
        CheckServiceClient::new(self.wire())
    }

    /// The same caller at another listener.
    pub fn through(mut self, channel: &Channel) -> Self {
        self.channel = channel.clone();
        self
    }

    pub fn with_secret_key(mut self, secret_key: &str) -> Self {
        self.credentials.secret_key = Some(secret_key.parse().unwrap());
        self
    }

    /// A regular key to be made under `parent`.
    pub fn key(&self, parent: &str) -> NewKey {
        NewKey {
            client: self.clone(),
            request: CreateKeyRequest { parent: parent.to_owned(), key: Some(Key::default()), ..Default::default() },
        }
    }
}

/// A key in the making: `client.key("tenants/acme").may("doc/*", "read").issued().await`.
pub struct NewKey {
    client: Client,
    pub request: CreateKeyRequest,
}

impl NewKey {
    pub fn id(mut self, id: &str) -> Self {
        self.request.key_id = id.to_owned();
        self
    }

    pub fn may(self, resource: &str, action: &str) -> Self {
        self.grant(resources(resource, &[action]))
    }

    pub fn grant(mut self, grant: Grant) -> Self {
        self.request.key.get_or_insert_default().grants.push(grant);
        self
    }

    /// Changes the request in any other way.
    pub fn asking(mut self, change: impl FnOnce(&mut CreateKeyRequest)) -> Self {
        change(&mut self.request);
        self
    }

    /// Changes the key in any other way.
    pub fn with(mut self, change: impl FnOnce(&mut Key)) -> Self {
        change(self.request.key.get_or_insert_default());
        self
    }

    pub async fn tried(self) -> Result<CreateKeyResponse, Status> {
        self.client.keys().create_key(self.request).await.map(tonic::Response::into_inner)
    }

    #[track_caller]
    pub fn issued(self) -> impl Future<Output = CreateKeyResponse> {
        let place = std::panic::Location::caller();
        async move { self.tried().await.unwrap_or_else(|status| panic!("{place}: {status}")) }
    }
}

/// Sends a request whose other fields are empty: `send!(acme.owner.keys(), get_key, GetKeyRequest { name: &*name })`.
macro_rules! send {
    ($client:expr, $method:ident, $request:ident { $($field:ident: $value:expr),* $(,)? }) => {
        $client
            .$method(keyward::proto::v1::$request { $($field: $value.into(),)* ..Default::default() })
            .await
            .map(tonic::Response::into_inner)
    };
}
pub(crate) use send;

/// So many seconds as a span.
pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// A mask of these paths.
pub fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

pub const DAY: u64 = 24 * 60 * 60;

pub fn resources(resource: &str, actions: &[&str]) -> Grant {
    Grant {
        kind: Some(grant::Kind::Resources(ResourcesGrant {
            resource: resource.to_owned(),
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
        })),
    }
}

/// A tenant with its owner's master key at work.
pub struct TestTenant {
    pub name: String,
    pub owner_name: String,
    pub owner: Client,
    pub made: CreateTenantResponse,
}

fn args(dir: &TempDir) -> ServeArgs {
    ServeArgs {
        database_url: Some(format!("sqlite:{}", dir.path().join("keyward.db").display()).into()),
        data_addr: Some("127.0.0.1:0".to_owned()),
        admin_addr: Some("127.0.0.1:0".to_owned()),
        ops_addr: Some("127.0.0.1:0".to_owned()),
        log: Some("warn".to_owned()),
        ..ServeArgs::default()
    }
}

fn channel(address: &keyward::config::Address) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A server with other settings.
    pub async fn start_with(change: impl FnOnce(&mut ServeArgs)) -> Self {
        Self::start_configured(change, |_| {}).await
    }

    /// The same with settings that no flag has.
    pub async fn start_configured(change: impl FnOnce(&mut ServeArgs), configure: impl FnOnce(&mut Config)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut args = args(&dir);
        change(&mut args);
        let mut config = Config::load(args).unwrap();
        configure(&mut config);
        let clock = Clock::default();
        let mut server = Server::start(config, clock.clone()).await.unwrap();
        let root = server.take_root_credential().map(|root| root.expose().to_owned()).unwrap_or_default();
        let (admin, data) = (channel(server.admin_addr()), channel(server.data_addr()));
        Self { server: Some(server), dir, clock, root, admin, data }
    }

    /// Stops the server and starts it again on the same database.
    pub async fn restart(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown().await.unwrap();
        }
        self.start_again().await;
    }

    /// Starts the server on its database after [`TestServer::stop`].
    pub async fn start_again(&mut self) {
        self.start_again_with(|_| {}).await;
    }

    /// The same with other settings.
    pub async fn start_again_with(&mut self, change: impl FnOnce(&mut ServeArgs)) {
        let mut args = args(&self.dir);
        change(&mut args);
        let server = Server::start(Config::load(args).unwrap(), self.clock.clone()).await.unwrap();
        self.admin = channel(server.admin_addr());
        self.data = channel(server.data_addr());
        self.server = Some(server);
    }

    /// The server's time in so many seconds.
    pub fn time_in(&self, seconds: i64) -> prost_types::Timestamp {
        let micros = self.clock.now().micros() + seconds * 1_000_000;
        let nanos = i32::try_from(micros.rem_euclid(1_000_000)).unwrap() * 1000;
        prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
    }

    /// Moves the clock on to `time`, less so many seconds.
    pub fn move_to(&self, time: Option<&prost_types::Timestamp>, seconds_before: i64) {
        let time = time.unwrap();
        let wanted = (time.seconds - seconds_before) * 1_000_000 + i64::from(time.nanos / 1000);
        let span = wanted - self.clock.now().micros();
        self.clock.advance(Duration::from_micros(u64::try_from(span).expect("the clock only moves on")));
    }

    /// Moves the clock on by so many seconds.
    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The revision that Checks rest on.
    pub async fn revision(&self) -> i64 {
        self.check("").asked().await.revision
    }

    /// Stops the server for good; its database stays until the end of the test.
    pub async fn stop(&mut self) {
        self.server.take().unwrap().shutdown().await.unwrap();
    }

    pub fn database(&self) -> PathBuf {
        self.dir.path().join("keyward.db")
    }

    /// Where the running server has its metrics.
    pub fn ops_addr(&self) -> String {
        self.server.as_ref().unwrap().ops_addr().to_string()
    }

    /// The mails about an application so far, oldest first, once there are `count`.
    pub async fn mailed(&self, application: &str, count: usize) -> Vec<mailbox::Mail> {
        mailbox::about(&self.dir.path().join("keyward-mail"), application, count).await
    }

    /// Verifies an application by the last mail about it: its secret.
    pub async fn verified(&self, application: &str) -> String {
        let token = self.mailed(application, 1).await.pop().unwrap().token;
        let request = VerifyApplicationRequest {
            name: application.to_owned(),
            verification_token: token,
            ..VerifyApplicationRequest::default()
        };
        self.nobody().applications().verify_application(request).await.unwrap().into_inner().secret
    }

    /// Where the running server answers Check.
    pub fn data_addr(&self) -> String {
        self.server.as_ref().unwrap().data_addr().to_string()
    }

    /// Where the running server answers everything.
    pub fn admin_addr(&self) -> String {
        self.server.as_ref().unwrap().admin_addr().to_string()
    }

    /// The admin listener as it is reached from another address of this machine.
    pub fn admin_from(&self, address: &str) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.server.as_ref().unwrap().admin_addr())).unwrap();
        endpoint.local_address(Some(address.parse().unwrap())).connect_lazy()
    }

    pub fn nobody(&self) -> Client {
        Client { channel: self.admin.clone(), credentials: Credentials { bearer: None, secret_key: None } }
    }

    pub fn bearer(&self, credential: &str) -> Client {
        let bearer = Some(format!("Bearer {credential}").parse().unwrap());
        Client { channel: self.admin.clone(), credentials: Credentials { bearer, secret_key: None } }
    }

    pub fn root(&self) -> Client {
        self.bearer(&self.root)
    }

    pub async fn tenant(&self, id: &str) -> TestTenant {
        let request = CreateTenantRequest {
            tenant_id: id.to_owned(),
            owner: Some(User { email: format!("owner@{id}.example"), ..User::default() }),
            ..CreateTenantRequest::default()
        };
        let made = self.root().tenants().create_tenant(request).await.unwrap().into_inner();
        TestTenant {
            name: made.tenant.as_ref().unwrap().name.clone(),
            owner_name: made.owner.as_ref().unwrap().name.clone(),
            owner: self.bearer(&made.master_credential),
            made,
        }
    }

    /// A further user of a tenant, with its master key at work.
    pub async fn user(&self, tenant: &TestTenant, id: &str, role: UserRole) -> (User, Client) {
        let request = CreateUserRequest {
            parent: tenant.name.clone(),
            user_id: id.to_owned(),
            user: Some(User { email: format!("{id}@example.com"), role: role.into(), ..User::default() }),
            ..CreateUserRequest::default()
        };
        let made = tenant.owner.users().create_user(request).await.unwrap().into_inner();
        (made.user.unwrap(), self.bearer(&made.master_credential))
    }

    /// A question for the data listener.
    pub fn check(&self, credential: &str) -> Question {
        let request = CheckRequest { credential: credential.to_owned(), ..CheckRequest::default() };
        Question { channel: self.data.clone(), request }
    }
}

/// A Check in the making: `server.check(&text).may("doc/1", "read").allowed().await`.
pub struct Question {
    channel: Channel,
    pub request: CheckRequest,
}

impl Question {
    pub fn may(mut self, resource: &str, action: &str) -> Self {
        self.request.permissions.push(Permission { resource: resource.to_owned(), action: action.to_owned() });
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut CheckRequest)) -> Self {
        change(&mut self.request);
        self
    }

    pub async fn tried(self) -> Result<CheckResponse, Status> {
        CheckServiceClient::new(self.channel).check(self.request).await.map(tonic::Response::into_inner)
    }

    #[track_caller]
    pub fn asked(self) -> impl Future<Output = CheckResponse> {
        let place = std::panic::Location::caller();
        async move { self.tried().await.unwrap_or_else(|status| panic!("{place}: {status}")) }
    }

    #[track_caller]
    pub fn allowed(self) -> impl Future<Output = CheckResponse> {
        let place = std::panic::Location::caller();
        let asked = self.asked();
        async move {
            let answer = asked.await;
            assert_eq!(answer.decision(), Decision::Allowed, "{place}: {answer:?}");
            assert!(answer.reasons.is_empty(), "{place}: {answer:?}");
            answer
        }
    }

    /// Denied for exactly these reasons, in this order.
    #[track_caller]
    pub fn denied(self, reasons: &[Reason]) -> impl Future<Output = CheckResponse> {
        let place = std::panic::Location::caller();
        let reasons: Vec<Reason> = reasons.to_vec();
        let asked = self.asked();
        async move {
            let answer = asked.await;
            assert_eq!(answer.decision(), Decision::Denied, "{place}: {answer:?}");
            assert_eq!(answer.reasons().collect::<Vec<_>>(), reasons, "{place}");
            answer
        }
    }
}

/// Asserts that a call was refused with this code; its `ErrorInfo` reason and field violations.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: tonic::Code) -> Refusal {
    use tonic_types::StatusExt as _;
    let status = result.expect_err("was to be refused");
    assert_eq!(status.code(), code, "{status}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status}"));
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    assert_eq!(code == tonic::Code::InvalidArgument, !violations.is_empty(), "{status}");
    Refusal {
        reason: info.reason.clone(),
        message: status.message().to_owned(),
        fields: violations.into_iter().map(|violation| violation.field).collect(),
    }
}

/// What a refused call said.
#[derive(Debug)]
pub struct Refusal {
    pub reason: String,
    pub message: String,
    pub fields: Vec<String>,
}
