//! The layer in front of a service of axum and of one of tonic, as in its documentation, against the real server.

use crate::harness::{TestServer, TestTenant, send};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Extension, Path};
use axum::routing::get;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use keyward::client::layer::{Need, Protect, ProtectLayer};
use keyward::client::{Client, Principal};
use keyward::proto::v1::admin_service_client::AdminServiceClient;
use keyward::proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use keyward::proto::v1::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::AbortHandle;
use tonic::transport::{Channel, Endpoint, server::TcpIncoming};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{Layer as _, ServiceExt as _};

type Headers = Vec<(&'static str, String)>;

fn bearer(credential: &str) -> Headers {
    vec![("authorization", format!("Bearer {credential}"))]
}

fn map(headers: &Headers) -> HeaderMap {
    let pair = |(name, value): &(&'static str, String)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    headers.iter().map(pair).collect()
}

async fn report(Path(id): Path<String>, Extension(who): Extension<Principal>, headers: HeaderMap) -> String {
    let secrets = ["authorization", "x-api-key", "x-secret-key"].map(|name| headers.contains_key(name));
    format!("report {id} for {}, credentials {}", who.key, secrets.contains(&true))
}

/// `GET /reports/q3` needs `read` on `reports/q3`.
fn protect(client: Client) -> ProtectLayer {
    ProtectLayer::choosing(client, |request| {
        let action = if request.method == http::Method::GET { "read" } else { "write" };
        let resource = request.uri.path().strip_prefix('/')?;
        Some(Need::may(resource, action).in_tenant("tenants/acme"))
    })
}

fn app(layer: ProtectLayer) -> Router {
    Router::new().route("/reports/{id}", get(report)).layer(layer)
}

/// What an HTTP caller gets for `GET /reports/q3` from an address.
async fn http(app: &Router, headers: &Headers, from: &str) -> Response<String> {
    let mut request = Request::get("/reports/q3").body(Body::empty()).unwrap();
    *request.headers_mut() = map(headers);
    request.extensions_mut().insert(ConnectInfo(from.parse::<SocketAddr>().unwrap()));
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Response::from_parts(parts, String::from_utf8(body.to_vec()).unwrap())
}

/// A service of tonic that counts its calls and says who called.
#[derive(Clone, Default)]
struct Ours(Arc<AtomicUsize>);

#[tonic::async_trait]
impl AdminService for Ours {
    async fn get_status(
        &self,
        request: tonic::Request<GetStatusRequest>,
    ) -> Result<tonic::Response<GetStatusResponse>, Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        assert!(request.metadata().get("authorization").is_none() && request.metadata().get("x-api-key").is_none());
        let who = request.extensions().get::<Principal>().unwrap().key.clone();
        let mut response = tonic::Response::new(GetStatusResponse::default());
        response.metadata_mut().insert("who", who.parse().unwrap());
        Ok(response)
    }

    async fn list_replicas(
        &self,
        _request: tonic::Request<ListReplicasRequest>,
    ) -> Result<tonic::Response<ListReplicasResponse>, Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(tonic::Response::new(ListReplicasResponse::default()))
    }

    async fn diagnose(
        &self,
        _request: tonic::Request<DiagnoseRequest>,
    ) -> Result<tonic::Response<DiagnoseResponse>, Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(tonic::Response::new(DiagnoseResponse::default()))
    }
}

/// A running server of it, which ends with the test.
struct OursServed {
    channel: Channel,
    ours: Ours,
    running: AbortHandle,
}

impl Drop for OursServed {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl OursServed {
    async fn behind(layer: ProtectLayer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let ours = Ours::default();
        let router =
            tonic::transport::Server::builder().layer(layer).add_service(AdminServiceServer::new(ours.clone()));
        let served = router.serve_with_incoming(TcpIncoming::from(listener));
        let running = tokio::spawn(async move { served.await.unwrap() }).abort_handle();
        Self { channel: endpoint.connect_lazy(), ours, running }
    }

    /// What a gRPC caller gets.
    async fn call(&self, headers: &Headers) -> Result<String, Status> {
        let mut request = tonic::Request::new(GetStatusRequest::default());
        *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(map(headers));
        let response = AdminServiceClient::new(self.channel.clone()).get_status(request).await?;
        Ok(response.metadata().get("who").unwrap().to_str().unwrap().to_owned())
    }

    fn count(&self) -> usize {
        self.ours.0.load(Ordering::SeqCst)
    }
}

/// A way to be refused.
struct Row {
    what: &'static str,
    headers: Headers,
    reasons: &'static str,
    status: u16,
    challenge: &'static str,
}

const REALM: &str = r#"Bearer realm="keyward""#;
const INVALID: &str = r#"Bearer realm="keyward", error="invalid_token""#;
const SCOPE: &str = r#"Bearer realm="keyward", error="insufficient_scope""#;

async fn table(acme: &TestTenant, other: &TestTenant) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |what, headers: Headers, reasons, status, challenge| {
        rows.push(Row { what, headers, reasons, status, challenge });
    };
    let key = || acme.owner.key("tenants/-").may("reports/*", "read").may("apis/status", "use");
    let good = key().issued().await.credential;
    add("nothing", vec![], "MISSING", 401, REALM);
    add("empty", bearer(""), "MISSING", 401, REALM);
    add("another scheme", vec![("authorization", "Basic a3c6a3c".into())], "MALFORMED", 401, INVALID);
    add("two bearers", [bearer(&good), bearer(&good)].concat(), "MALFORMED", 401, INVALID);
    let both = [bearer(&good), vec![("x-api-key", good.clone())]].concat();
    add("a bearer and a key", both, "MALFORMED", 401, INVALID);
    add("two in one header", bearer(&format!("{good}, {good}")), "MALFORMED", 401, INVALID);
    add("a broken checksum", bearer(&format!("{good}x")), "MALFORMED", 401, INVALID);
    add("not visible ASCII", bearer("kw_\u{e9}"), "MALFORMED", 401, INVALID);
    add("nobody's", bearer("nobodys"), "NOT_FOUND", 401, INVALID);
    add("another tenant's", bearer(&other.made.master_credential), "NOT_FOUND", 401, INVALID);

    let name = |made: &CreateKeyResponse| made.key.as_ref().unwrap().name.clone();
    let revoked = key().issued().await;
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: name(&revoked) }).unwrap();
    add("revoked", bearer(&revoked.credential), "REVOKED", 401, INVALID);
    let suspended = key().issued().await;
    send!(acme.owner.keys(), suspend_key, SuspendKeyRequest { name: name(&suspended) }).unwrap();
    add("suspended", bearer(&suspended.credential), "SUSPENDED", 401, INVALID);
    let deleted = key().issued().await;
    send!(acme.owner.keys(), delete_key, DeleteKeyRequest { name: name(&deleted) }).unwrap();
    add("deleted", bearer(&deleted.credential), "DELETED", 401, INVALID);
    let rotated = key().issued().await;
    send!(acme.owner.keys(), rotate_key, RotateKeyRequest { name: name(&rotated) }).unwrap();
    add("rotated out", bearer(&rotated.credential), "ROTATED_OUT", 401, INVALID);
    let with_secret = key().issued().await;
    send!(acme.owner.keys(), generate_secret_key, GenerateSecretKeyRequest { name: name(&with_secret) }).unwrap();
    add("no second secret", bearer(&with_secret.credential), "SECRET_KEY_REQUIRED", 401, INVALID);
    let wrong = [bearer(&with_secret.credential), vec![("x-secret-key", "wrong".into())]].concat();
    add("a wrong second secret", wrong, "SECRET_KEY_MISMATCH", 401, INVALID);

    let narrow = acme.owner.key("tenants/-").may("reports/q4", "read").issued().await.credential;
    add("not granted", bearer(&narrow), "NOT_GRANTED", 403, SCOPE);
    let elsewhere = key().with(|key| key.allowed_ips = vec!["192.0.2.0/24".into()]).issued().await.credential;
    add("another address", bearer(&elsewhere), "IP_NOT_ALLOWED", 403, REALM);
    let referred = key().with(|key| key.allowed_referrers = vec!["example.com/*".into()]).issued().await.credential;
    add("no referrer", bearer(&referred), "REFERRER_NOT_ALLOWED", 403, REALM);
    rows
}

#[tokio::test]
async fn every_denial_is_told_as_http_and_as_grpc_and_the_service_is_not_called() {
    let server = TestServer::start().await;
    let (acme, other) = (server.tenant("acme").await, server.tenant("other").await);
    let client = Client::builder(server.data_addr()).connect().await.unwrap();
    let app = app(protect(client.clone()));
    let need = Need::may("apis/status", "use").in_tenant("tenants/acme");
    let ours = OursServed::behind(ProtectLayer::new(client, need)).await;
    let rows = table(&acme, &other).await;
    assert!(rows.len() > 15);
    for Row { what, headers, reasons, status, challenge } in rows {
        let response = http(&app, &headers, "127.0.0.1:1").await;
        assert_eq!(response.status().as_u16(), status, "{what}: {}", response.body());
        assert_eq!(response.headers()["www-authenticate"], challenge, "{what}");
        assert_eq!(response.headers()["x-ext-auth-reason"], reasons, "{what}");
        assert_eq!(response.headers()["content-type"], "application/json", "{what}");
        let told: serde_json::Value = serde_json::from_str(response.body()).unwrap();
        let code = if status == 401 { Code::Unauthenticated } else { Code::PermissionDenied };
        assert_eq!(told["code"], i32::from(code), "{what}");
        assert_eq!(told["reasons"], serde_json::json!([reasons]), "{what}");

        let refused = ours.call(&headers).await.unwrap_err();
        assert_eq!(refused.code(), code, "{what}: {refused}");
        assert!(refused.message().ends_with(&format!(": {reasons}")), "{what}: {refused}");
        assert_eq!(refused.get_details_error_info().unwrap().metadata["reasons"], reasons, "{what}");
        for (_, value) in &headers {
            let secret = value.trim_start_matches("Bearer ");
            assert!(secret.len() < 3 || !format!("{response:?} {refused:?}").contains(secret), "{what}");
        }
    }
    assert_eq!(ours.count(), 0);
}

#[tokio::test]
async fn who_is_let_through_is_told_to_the_service_and_the_credential_is_not() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let client = Client::builder(server.data_addr()).connect().await.unwrap();
    let app = app(protect(client.clone()));
    let need = Need::may("apis/status", "use").and_may("reports/q3", "read").in_tenant("tenants/acme");
    let ours = OursServed::behind(ProtectLayer::new(client, need)).await;
    let key = acme.owner.key("tenants/-").id("ci").may("reports/*", "read").may("apis/status", "use");
    let key = key.with(|key| {
        key.allowed_ips = vec!["127.0.0.0/8".into()];
        key.allowed_referrers = vec!["example.com/*".into()];
    });
    let issued = key.issued().await;
    let name = "tenants/acme/keys/ci";
    let secret = send!(acme.owner.keys(), generate_secret_key, GenerateSecretKeyRequest { name: name });
    let more = vec![("x-secret-key", secret.unwrap().secret_key), ("referer", "https://example.com/page".into())];
    for credential in [bearer(&issued.credential), vec![("x-api-key", issued.credential.clone())]] {
        let headers = [credential, more.clone()].concat();
        let response = http(&app, &headers, "127.0.0.9:1").await;
        assert_eq!(response.body(), "report q3 for tenants/acme/keys/ci, credentials false");
        assert_eq!(http(&app, &headers, "192.0.2.1:1").await.status(), StatusCode::FORBIDDEN);
        assert_eq!(ours.call(&headers).await.unwrap(), name);
    }
    assert_eq!(ours.count(), 2);

    // The next request after RevokeKey has returned.
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: name }).unwrap();
    let headers = [bearer(&issued.credential), more].concat();
    assert_eq!(http(&app, &headers, "127.0.0.9:1").await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ours.call(&headers).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(ours.count(), 2);
}

#[tokio::test]
async fn what_nobody_thought_of_is_denied_and_the_rest_is_as_the_service_says() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let headers = bearer(&acme.made.master_credential);
    let client = Client::builder(server.data_addr()).connect().await.unwrap();
    let nothing = app(ProtectLayer::choosing(client.clone(), |_| None));
    assert_eq!(http(&nothing, &headers, "127.0.0.1:1").await.status(), StatusCode::FORBIDDEN);
    let root_only = app(ProtectLayer::new(client.clone(), Need::may("keyward/check", "use").and_may("a//b", "read")));
    assert_eq!(http(&root_only, &headers, "127.0.0.1:1").await.status(), StatusCode::FORBIDDEN);

    let any = ProtectLayer::new(client.clone(), Need::any_credential().for_audience("reports")).keep_credential();
    let response = http(&app(any), &headers, "127.0.0.1:1").await;
    assert!(response.body().ends_with("credentials true"), "{response:?}");

    let bound = acme.owner.key("tenants/-").with(|key| key.allowed_ips = vec!["192.0.2.7".into()]).issued().await;
    let proxied = ProtectLayer::new(client.clone(), Need::any_credential())
        .source_ip(|request| request.headers.get("x-real-ip")?.to_str().ok()?.parse().ok());
    let headers = [bearer(&bound.credential), vec![("x-real-ip", "192.0.2.7".into())]].concat();
    assert_eq!(http(&app(proxied), &headers, "127.0.0.1:1").await.status(), StatusCode::OK);

    // A service by itself keeps its name, and so fits among others.
    let one: Protect<AdminServiceServer<Ours>> =
        ProtectLayer::new(client, Need::any_credential()).layer(AdminServiceServer::new(Ours::default()));
    let _routes = tonic::service::Routes::new(one);
}

#[tokio::test]
async fn where_nothing_can_be_decided_nobody_is_let_through_until_it_can() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let headers = bearer(&acme.made.master_credential);
    let name = super::Name::default();
    name.set(&[server.data_addr().parse().unwrap()]);
    let client = name.client().connect().await.unwrap();
    let app = app(protect(client.clone()));
    let ours = OursServed::behind(ProtectLayer::new(client.clone(), Need::any_credential())).await;
    assert_eq!(http(&app, &headers, "127.0.0.1:1").await.status(), StatusCode::OK);

    server.stop().await;
    let response = http(&app, &headers, "127.0.0.1:1").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(serde_json::from_str::<serde_json::Value>(response.body()).unwrap()["code"], 14);
    assert_eq!(ours.call(&headers).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(ours.count(), 0);

    server.start_again().await;
    name.set(&[server.data_addr().parse().unwrap()]);
    let ended = "the end of the outage";
    super::eventually(ended, async || (http(&app, &headers, "127.0.0.1:1").await.status() == 200).then_some(())).await;
    super::eventually(ended, async || ours.call(&headers).await.ok()).await;

    // This service's own credential is refused: its callers are not told that theirs is.
    let refused = Client::builder(server.admin_addr()).credential("kw_not").connect().await.unwrap();
    let ours = OursServed::behind(ProtectLayer::new(refused.clone(), Need::any_credential())).await;
    assert_eq!(ours.call(&headers).await.unwrap_err().code(), Code::Unavailable);
    let app = self::app(protect(refused));
    assert_eq!(http(&app, &headers, "127.0.0.1:1").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ours.count(), 0);
}

#[tokio::test]
async fn the_address_of_the_connection_counts() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let bound = acme.owner.key("tenants/-").with(|key| key.allowed_ips = vec!["127.0.0.1".into()]).issued().await;
    let client = Client::builder(server.data_addr()).connect().await.unwrap();
    let layer = ProtectLayer::new(client, Need::any_credential());
    let ours = OursServed::behind(layer.clone()).await;
    ours.call(&bearer(&bound.credential)).await.unwrap();
    // Without an address a key that is bound to some is of no use.
    let mut request = Request::get("/reports/q3").body(Body::empty()).unwrap();
    *request.headers_mut() = map(&bearer(&bound.credential));
    assert_eq!(app(layer).oneshot(request).await.unwrap().status(), StatusCode::FORBIDDEN);
}
