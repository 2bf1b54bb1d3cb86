//! A layer that asks Keyward before a service of axum, of tonic, or of anything else that speaks HTTP is called.
//!
//! The credential is taken from `authorization: Bearer …` or `x-api-key`, and the second secret from `x-secret-key`; two
//! credentials in a request are refused, as is another scheme. What is needed for a request is what [`ProtectLayer::new`]
//! is told, or, request by request, what the function given to [`ProtectLayer::choosing`] says.
//!
//! - On a permission the service is called. It finds a [`Principal`] in the extensions of the request, and
//!   the three headers are taken out, so that credentials end here ([`ProtectLayer::keep_credential`] leaves them in).
//! - On a denial the caller gets 401 with `WWW-Authenticate` if another credential is needed, and otherwise 403, with the
//!   reasons as JSON; a gRPC caller (`content-type: application/grpc…`) gets `UNAUTHENTICATED` or `PERMISSION_DENIED`.
//! - Where nothing can be decided, be Keyward away or this service's own credential refused, it gets 503 or `UNAVAILABLE`.
//!
//! The service is never called without a permission; there is no setting for that.
//!
//! # An axum service
//!
//! ```no_run
//! use axum::extract::{Extension, Path};
//! use axum::{Router, routing::get};
//! use keyward::client::layer::{Need, ProtectLayer};
//! use keyward::client::{Client, Principal};
//!
//! async fn report(Path(id): Path<String>, Extension(who): Extension<Principal>) -> String {
//!     format!("report {id} for {}", who.key)
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let keyward = Client::builder("http://127.0.0.1:50051").connect_lazy()?;
//! // `GET /reports/q3` needs `read` on `reports/q3`; what is not thought of here is denied.
//! let protect = ProtectLayer::choosing(keyward, |request| {
//!     let action = if request.method == http::Method::GET { "read" } else { "write" };
//!     let resource = request.uri.path().strip_prefix('/')?;
//!     Some(Need::may(resource, action).in_tenant("tenants/acme"))
//! });
//! let app = Router::new().route("/reports/{id}", get(report)).layer(protect);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! // So that keys that are bound to addresses can be used.
//! let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
//! axum::serve(listener, app).await?;
//! # Ok(())
//! # }
//! ```
//! Where the rest of this crate is not compiled, the address is read from axum's `ConnectInfo` with the feature `axum` only;
//! behind a proxy it must be told by [`ProtectLayer::source_ip`].
//!
//! # A tonic service
//!
//! ```no_run
//! use keyward::client::layer::{Need, ProtectLayer};
//! use keyward::client::{Client, Principal};
//! # use keyward::proto::v1::admin_service_server::{AdminService, AdminServiceServer};
//! # use keyward::proto::v1::{DiagnoseRequest, DiagnoseResponse, GetStatusRequest, GetStatusResponse};
//! # use keyward::proto::v1::{ListReplicasRequest, ListReplicasResponse};
//! use tonic::{Request, Response, Status, transport::Server};
//!
//! struct Ours;
//!
//! #[tonic::async_trait]
//! impl AdminService for Ours {
//!     async fn get_status(&self, request: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
//!         // Always there behind the layer.
//!         let who = request.extensions().get::<Principal>().ok_or_else(|| Status::internal("no layer"))?;
//!         println!("called by {}", who.key);
//!         Ok(Response::new(GetStatusResponse::default()))
//!     }
//! #   async fn list_replicas(&self, _: Request<ListReplicasRequest>) -> Result<Response<ListReplicasResponse>, Status> {
//! #       Err(Status::unimplemented(""))
//! #   }
//! #   async fn diagnose(&self, _: Request<DiagnoseRequest>) -> Result<Response<DiagnoseResponse>, Status> {
//! #       Err(Status::unimplemented(""))
//! #   }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let keyward = Client::builder("http://127.0.0.1:50051").connect_lazy()?;
//! let protect = ProtectLayer::new(keyward, Need::may("apis/status", "use").in_tenant("tenants/acme"));
//! Server::builder()
//!     .layer(protect)
//!     .add_service(AdminServiceServer::new(Ours))
//!     .serve("127.0.0.1:8081".parse()?)
//!     .await?;
//! # Ok(())
//! # }
//! ```

mod presented;
mod refusal;

pub use self::refusal::ProtectedBody;

use self::presented::Presented;
use super::{Client, Principal, Question, Refused, deadline};
use http::request::Parts;
use http::{Request, Response};
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::server::NamedService;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tower::{Layer, Service};

/// What a request needs to be let through.
#[must_use = "a need protects nothing by itself"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    permissions: Vec<(String, String)>,
    tenant: String,
    audience: String,
}

impl Need {
    /// This permission.
    pub fn may(resource: impl Into<String>, action: impl Into<String>) -> Self {
        Self::any_credential().and_may(resource, action)
    }

    /// This permission too.
    pub fn and_may(mut self, resource: impl Into<String>, action: impl Into<String>) -> Self {
        self.permissions.push((resource.into(), action.into()));
        self
    }

    /// A credential that is good, whatever it is good for.
    pub fn any_credential() -> Self {
        Self::default()
    }

    /// A credential of this tenant, `tenants/{tenant}`. Without it, unless Keyward binds the asker to one, those of any
    /// tenant are let through, and the service must compare [`Principal::tenant`] itself.
    pub fn in_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// A token must be made for this audience, if it is made for one.
    pub fn for_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = audience.into();
        self
    }
}

type Choose = dyn Fn(&Parts) -> Option<Need> + Send + Sync;
type FindAddress = dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync;

/// Puts a Check in front of a service.
#[derive(Clone)]
pub struct ProtectLayer {
    client: Client,
    choose: Arc<Choose>,
    find_address: Arc<FindAddress>,
    keeps_credential: bool,
}

impl fmt::Debug for ProtectLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectLayer").finish_non_exhaustive()
    }
}

impl ProtectLayer {
    /// All requests need the same.
    pub fn new(client: Client, need: Need) -> Self {
        Self::choosing(client, move |_| Some(need.clone()))
    }

    /// Each request needs what this function says; nobody is let through where it says nothing.
    pub fn choosing(client: Client, choose: impl Fn(&Parts) -> Option<Need> + Send + Sync + 'static) -> Self {
        Self { client, choose: Arc::new(choose), find_address: Arc::new(peer_address), keeps_credential: false }
    }

    /// Takes the bearer's address from what this function says, such as a header that a trusted proxy sets, rather than
    /// from the connection.
    #[must_use]
    pub fn source_ip(mut self, find: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.find_address = Arc::new(find);
        self
    }

    /// Leaves the credential in the request, for a service that hands it on.
    #[must_use]
    pub fn keep_credential(mut self) -> Self {
        self.keeps_credential = true;
        self
    }

    /// Whose request this is, if it is permitted.
    async fn admit(&self, parts: &mut Parts) -> Result<Principal, Refused> {
        let presented = Presented::find(&parts.headers).map_err(Refused::Denied)?;
        let need = (self.choose)(parts).ok_or(Refused::Denied(presented::unthought()))?;
        let mut question = self.client.check(presented.credential);
        question =
            need.permissions.into_iter().fold(question, |question, (resource, action)| question.may(resource, action));
        question = question.tenant(need.tenant).audience(need.audience).secret_key(presented.secret_key);
        question = (self.find_address)(parts).into_iter().fold(question, Question::source_ip);
        question = presented.referrer.into_iter().fold(question, Question::referrer);
        question = deadline::read(&parts.headers).into_iter().fold(question, Question::timeout);
        let allowed = question.require().await?;
        if !self.keeps_credential {
            presented::strip(&mut parts.headers);
        }
        Ok(allowed.principal)
    }
}

/// The address at the other end of the connection, as tonic and axum tell it.
fn peer_address(parts: &Parts) -> Option<IpAddr> {
    let plain = parts.extensions.get::<TcpConnectInfo>();
    let tls = parts.extensions.get::<TlsConnectInfo<TcpConnectInfo>>().map(TlsConnectInfo::get_ref);
    let address = plain.or(tls).and_then(TcpConnectInfo::remote_addr).or_else(|| axum_address(parts));
    address.map(|address| address.ip())
}

#[cfg(feature = "axum")]
fn axum_address(parts: &Parts) -> Option<SocketAddr> {
    parts.extensions.get::<axum::extract::ConnectInfo<SocketAddr>>().map(|info| info.0)
}

#[cfg(not(feature = "axum"))]
fn axum_address(_parts: &Parts) -> Option<SocketAddr> {
    None
}

impl<S> Layer<S> for ProtectLayer {
    type Service = Protect<S>;

    fn layer(&self, inner: S) -> Protect<S> {
        Protect { inner, layer: self.clone() }
    }
}

/// A service behind a [`ProtectLayer`].
#[derive(Clone, Debug)]
pub struct Protect<S> {
    inner: S,
    layer: ProtectLayer,
}

impl<S, B, R> Service<Request<B>> for Protect<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<ProtectedBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready, not its clone.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let layer = self.layer.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            // INVARIANT (fail closed): the service is called below and nowhere else.
            match layer.admit(&mut parts).await {
                Ok(principal) => {
                    parts.extensions.insert(principal);
                    let response = inner.call(Request::from_parts(parts, body)).await?;
                    Ok(response.map(ProtectedBody::of_service))
                }
                Err(refused) => Ok(refusal::response(refused, &parts.headers)),
            }
        })
    }
}

impl<S: NamedService> NamedService for Protect<S> {
    const NAME: &'static str = S::NAME;
}
