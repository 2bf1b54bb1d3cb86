//! Requests through a real Envoy that asks Keyward, in front of a real upstream; and Keyward asked by others.

mod direct;
mod mesh;
mod table;

use crate::harness::envoy::{Door, Envoy};
use crate::harness::{TestServer, TestTenant, send};
use keyward::domain::route::RouteText;

/// A server with every place for a credential, keys that may this and that, and Envoy with many listeners before it.
pub struct World {
    pub server: TestServer,
    pub acme: TestTenant,
    pub envoy: Envoy,
    /// May do everything at `api.example` and `127.0.0.1`, and read `docs/1` and `things/5`.
    pub good: String,
    /// The name of that key.
    pub good_name: String,
    /// May read `docs/2` and be asked for by proxies of its tenant.
    pub other: String,
    /// As `good`, from 192.0.2.0/24 only.
    pub nearby: String,
    /// As `good`, on pages of `good.example` only.
    pub paged: String,
    /// As `good`, with a second secret.
    pub double: String,
    pub secret_key: String,
    pub revoked: String,
    pub suspended: String,
    /// A master key of another tenant.
    pub foreign: String,
}

impl World {
    pub async fn start() -> Self {
        let server = TestServer::start_with(|args| {
            args.ext_authz_header = Some("x-token".to_owned());
            args.ext_authz_query_parameter = Some("api_key".to_owned());
            args.ext_authz_cookie = Some("kw".to_owned());
            args.trusted_hops = Some(2);
            args.routes = vec![RouteText {
                host: "routed.example".to_owned(),
                path: "/v1/things/{thing}".to_owned(),
                methods: vec!["GET".to_owned()],
                resource: "things/{thing}".to_owned(),
                action: "read".to_owned(),
                tenant: "tenants/acme".to_owned(),
                mode: String::new(),
            }];
        })
        .await;
        let acme = server.tenant("acme").await;
        let beta = server.tenant("beta").await;
        let key = || {
            let key = acme.owner.key("tenants/-").may("http/api.example/**", "*").may("http/api.example", "*");
            key.may("http/127.0.0.1/**", "*").may("docs/1", "read").may("things/5", "read")
        };
        let good = key().id("good").issued().await;
        let other = acme.owner.key("tenants/-").may("docs/2", "read").may("keyward/check", "use").issued().await;
        let nearby = key().with(|key| key.allowed_ips = vec!["192.0.2.0/24".to_owned()]).issued().await;
        let paged = key().with(|key| key.allowed_referrers = vec!["good.example/*".to_owned()]).issued().await;
        let (double, revoked, suspended) = (key().issued().await, key().issued().await, key().issued().await);
        let name = |made: &keyward::proto::v1::CreateKeyResponse| made.key.as_ref().unwrap().name.clone();
        let generated =
            send!(acme.owner.keys(), generate_secret_key, GenerateSecretKeyRequest { name: name(&double) }).unwrap();
        send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: name(&revoked) }).unwrap();
        send!(acme.owner.keys(), suspend_key, SuspendKeyRequest { name: name(&suspended) }).unwrap();
        let envoy = Envoy::start(&doors(&server, &other.credential, &good.credential)).await;
        Self {
            envoy,
            good_name: name(&good),
            good: good.credential,
            other: other.credential,
            nearby: nearby.credential,
            paged: paged.credential,
            double: double.credential,
            secret_key: generated.secret_key,
            revoked: revoked.credential,
            suspended: suspended.credential,
            foreign: beta.made.master_credential.clone(),
            server,
            acme,
        }
    }
}

/// Envoy's listeners: `asker` may ask, for its tenant; `stranger` may not.
fn doors(server: &TestServer, asker: &str, stranger: &str) -> Vec<Door> {
    let (data, admin) = (server.data_addr(), server.admin_addr());
    // Nobody listens there, and here nobody answers.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let slow = silent();
    vec![
        Door::new("closed", &data),
        Door::new("open", &data).failing_open(),
        Door::new("raw", &data).raw(),
        Door::new("raw-open", &data).raw().failing_open(),
        Door::new("fixed", &data).saying("resource", "docs/1").saying("action", "read"),
        Door::new("observe", &data).saying("mode", "observe"),
        Door::new("observe-fixed", &data)
            .saying("mode", "observe")
            .saying("resource", "docs/2")
            .saying("action", "read"),
        Door::new("acme", &data).saying("tenant", "tenants/acme"),
        Door::new("beta", &data).saying("tenant", "tenants/beta"),
        Door::new("nowhere-open", &data).saying("tenant", "tenants/nowhere").failing_open(),
        Door::new("ill-named-open", &data).saying("tenant", "acme").failing_open(),
        Door::new("asker", &admin).with_bearer(asker),
        Door::new("asker-beta-open", &admin).with_bearer(asker).saying("tenant", "tenants/beta").failing_open(),
        Door::new("stranger", &admin).with_bearer(stranger),
        Door::new("stranger-open", &admin).with_bearer(stranger).failing_open(),
        Door::new("dead", &dead),
        Door::new("dead-open", &dead).failing_open(),
        Door::new("slow", &slow).within("0.25s"),
        Door::new("slow-open", &slow).within("0.25s").failing_open(),
    ]
}

/// The address of somebody who takes connections and never says a word, until the test ends.
fn silent() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    listener.set_nonblocking(true).unwrap();
    tokio::spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    address
}

/// The bytes of a request with these headers, and with what a client would forge in every one.
pub fn request(method: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in FORGED.iter().chain(headers) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// The headers that tell an upstream who calls, as a client may send them.
pub const FORGED: &[(&str, &str)] = &[
    ("x-keyward-tenant", "tenants/forged"),
    ("X-Keyward-User", "tenants/forged/users/root"),
    ("x-keyward-application", "tenants/forged/applications/a"),
    ("x-keyward-key", "tenants/forged/keys/k"),
    ("x_keyward_tenant", "tenants/forged"),
    ("X-Keyward_Key", "tenants/forged/keys/k"),
    ("x-envoy-auth-failure-mode-allowed", "forged"),
];

/// A GET at `api.example`.
pub fn get(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    request("GET", "api.example", path, headers)
}
