//! Keyward asked without Envoy: by callers that send less than it does, and by what is too large or no message at all.

use crate::harness::{TestServer, send};
use envoy::attribute_context::{HttpRequest, Peer, Request as AboutRequest};
use envoy::authorization_client::AuthorizationClient;
use envoy::check_response::HttpResponse;
use keyward::proto::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress, address};
use keyward::proto::envoy::service::auth::v3 as envoy;
use keyward::proto::google::rpc;
use keyward::proto::v1::{CheckContext, Decision};
use prost_types::value::Kind;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A request as gRPC's own ext_authz filter tells it (gRFC A92): raw headers, no host, nothing said by a configuration.
fn about(path: &str, headers: &[(&str, &[u8])]) -> envoy::CheckRequest {
    let headers = headers.iter().map(|(name, value)| HeaderValue {
        key: (*name).to_owned(),
        raw_value: value.to_vec(),
        ..HeaderValue::default()
    });
    let http = HttpRequest {
        method: "POST".to_owned(),
        path: path.to_owned(),
        header_map: Some(HeaderMap { headers: headers.collect() }),
        ..HttpRequest::default()
    };
    let request = Some(AboutRequest { http: Some(http), ..AboutRequest::default() });
    envoy::CheckRequest { attributes: Some(envoy::AttributeContext { request, ..Default::default() }) }
}

/// The status and, of a denial, the HTTP status.
fn told(reply: Result<envoy::CheckResponse, Status>) -> (i32, i32) {
    let reply = reply.unwrap();
    let status = reply.status.unwrap().code;
    match reply.http_response.unwrap() {
        HttpResponse::DeniedResponse(denied) => (status, denied.status.unwrap().code),
        HttpResponse::OkResponse(_) => (status, 200),
        HttpResponse::ErrorResponse(_) => panic!("never sent"),
    }
}

async fn ask(channel: &Channel, request: impl tonic::IntoRequest<envoy::CheckRequest>) -> (i32, i32) {
    let mut client = AuthorizationClient::new(channel.clone());
    told(client.check(request).await.map(tonic::Response::into_inner))
}

const ALLOWED: (i32, i32) = (0, 200);
const UNAUTHENTICATED: (i32, i32) = (16, 401);
const FORBIDDEN: (i32, i32) = (7, 403);

#[tokio::test]
async fn a_caller_that_sends_raw_headers_and_no_host_is_answered() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let key = acme.owner.key("tenants/-").may("http/-/pkg.Service/Method", "post").issued().await;
    let bearer = format!("Bearer {}", key.credential);
    let with = ("authorization", bearer.as_bytes());
    let method = "/pkg.Service/Method";
    assert_eq!(ask(&server.data, about(method, &[with])).await, ALLOWED);
    assert_eq!(ask(&server.data, about("", &[with, (":path", method.as_bytes())])).await, ALLOWED);
    assert_eq!(ask(&server.data, about(method, &[])).await, UNAUTHENTICATED);
    assert_eq!(ask(&server.data, about(method, &[with, with])).await, UNAUTHENTICATED);
    assert_eq!(ask(&server.data, about(method, &[("x-api-key", b"\xff")])).await, UNAUTHENTICATED);
    assert_eq!(ask(&server.data, about("/pkg.Service/Other", &[with])).await, FORBIDDEN);
    // A host that is told is another resource.
    assert_eq!(ask(&server.data, about(method, &[with, (":authority", b"h")])).await, FORBIDDEN);
    for path in ["", "*", "pkg.Service/Method", "//pkg.Service/Method", "/pkg.Service/../pkg.Service/Method"] {
        assert_eq!(ask(&server.data, about(path, &[with])).await, FORBIDDEN, "{path}");
    }
}

/// One text of the dynamic metadata; empty if it is not there.
fn text(told: &prost_types::Struct, name: &str) -> String {
    match told.fields.get(name).and_then(|value| value.kind.clone()) {
        Some(Kind::StringValue(text)) => text,
        None => String::new(),
        other => panic!("{name}: {other:?}"),
    }
}

fn reasons(told: &prost_types::Struct) -> Vec<String> {
    let Some(Kind::ListValue(list)) = told.fields["reasons"].kind.clone() else { panic!("{told:?}") };
    let values = list.values.into_iter();
    values.map(|value| if let Some(Kind::StringValue(text)) = value.kind { text } else { panic!("{told:?}") }).collect()
}

#[tokio::test]
async fn both_doors_decide_alike() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let beta = server.tenant("beta").await;
    let key = || acme.owner.key("tenants/-").may("docs/*", "read");
    let (plain, revoked) = (key().issued().await, key().issued().await);
    let bound = key().with(|key| {
        key.allowed_ips = vec!["192.0.2.0/24".to_owned()];
        key.allowed_referrers = vec!["good.example".to_owned()];
    });
    let bound = bound.issued().await;
    let name = revoked.key.as_ref().unwrap().name.clone();
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: name }).unwrap();
    let credentials = [
        plain.credential.as_str(),
        bound.credential.as_str(),
        revoked.credential.as_str(),
        acme.made.master_credential.as_str(),
        acme.made.default_public_credential.as_str(),
        beta.made.master_credential.as_str(),
        server.root.as_str(),
        "hunter2",
        "",
    ];
    let permissions =
        [("docs/1", "read"), ("docs/1", "write"), ("docs/a/b", "read"), ("keyward/keys/1", "get"), ("docs//1", "read")];
    let circumstances = [("192.0.2.1", "https://good.example/"), ("198.51.100.1", "https://bad.example/"), ("", "")];
    let mut client = AuthorizationClient::new(server.data.clone());
    let mut allowed = 0;
    for (place, credential) in credentials.into_iter().enumerate() {
        for (resource, action) in permissions {
            for tenant in ["", "tenants/acme", "tenants/beta"] {
                for (source_ip, referrer) in circumstances {
                    let asked = server.check(credential).may(resource, action).with(|request| {
                        let (source_ip, referrer) = (source_ip.to_owned(), referrer.to_owned());
                        request.tenant = tenant.to_owned();
                        request.context = Some(CheckContext { source_ip, referrer, ..CheckContext::default() });
                    });
                    let check = asked.asked().await;

                    let headers = [("x-api-key", credential.as_bytes()), ("referer", referrer.as_bytes())];
                    let mut message = about("/a", &headers);
                    let attributes = message.attributes.as_mut().unwrap();
                    let socket = SocketAddress { address: source_ip.to_owned(), ..SocketAddress::default() };
                    let address = Address { address: Some(address::Address::SocketAddress(socket)) };
                    attributes.source = Some(Peer { address: Some(address), ..Peer::default() });
                    for (name, value) in [("resource", resource), ("action", action), ("tenant", tenant)] {
                        attributes.context_extensions.insert(name.to_owned(), value.to_owned());
                    }
                    let reply = client.check(message).await.unwrap().into_inner();
                    let told = reply.dynamic_metadata.unwrap();

                    let what = format!("{place} {resource} {action} {tenant} {source_ip}: {check:?} {told:?}");
                    let is_allowed = check.decision() == Decision::Allowed;
                    allowed += u32::from(is_allowed);
                    assert_eq!(reply.status.unwrap().code == 0, is_allowed, "{what}");
                    assert_eq!(text(&told, "decision"), if is_allowed { "ALLOWED" } else { "DENIED" }, "{what}");
                    let names: Vec<String> =
                        check.reasons().map(|reason| reason.as_str_name().replace("REASON_", "")).collect();
                    assert_eq!(reasons(&told), names, "{what}");
                    let principal = check.principal.clone().unwrap_or_default();
                    assert_eq!(text(&told, "tenant"), principal.tenant, "{what}");
                    assert_eq!(text(&told, "key"), principal.key, "{what}");
                    assert_eq!(text(&told, "user"), principal.user, "{what}");
                }
            }
        }
    }
    assert!(allowed > 20, "{allowed}");
}

#[tokio::test]
async fn what_is_too_large_or_no_message_is_denied_and_no_error() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let bearer = format!("Bearer {}", acme.made.master_credential);
    let large = |bytes: usize| {
        let long = vec![b'a'; bytes];
        about("/a", &[("authorization", bearer.as_bytes()), ("x-long", &long)])
    };
    assert_eq!(ask(&server.data, large(1_000_000)).await, ALLOWED);
    assert_eq!(ask(&server.data, large(1_100_000)).await, FORBIDDEN);
    assert_eq!(ask(&server.data, large(10_000_000)).await, FORBIDDEN);
    for empty in [envoy::CheckRequest::default(), envoy::CheckRequest { attributes: Some(Default::default()) }] {
        assert_ne!(ask(&server.data, empty).await.0, 0);
    }

    // Another message under the name of this one: its first field is a number.
    let mut client = tonic::client::Grpc::new(server.data.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<rpc::Status, envoy::CheckResponse>::default();
    let other = rpc::Status { code: 5, ..rpc::Status::default() };
    let reply = client.unary(Request::new(other), CHECK.parse().unwrap(), codec).await;
    assert_eq!(told(reply.map(tonic::Response::into_inner)), FORBIDDEN);

    // Two messages, none, a compressed one, half of one, and what only looks like a compression we do not know.
    let frame = |flag: u8, message: &[u8]| {
        let mut bytes = vec![flag];
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
        bytes
    };
    let good = prost::Message::encode_to_vec(&about("/a", &[("authorization", bearer.as_bytes())]));
    let half = frame(0, &good)[..20].to_vec();
    for (bytes, expected) in [
        (frame(0, &good), "0"),
        ([frame(0, &good), frame(0, &good)].concat(), "7"),
        (Vec::new(), "7"),
        (frame(1, &good), "7"),
        (half, "7"),
        (vec![0, 0xff, 0xff, 0xff, 0xff], "7"),
    ] {
        let reply = posted(&server.data_addr(), bytes.clone()).await;
        assert_eq!(reply.status.unwrap().code.to_string(), expected, "{bytes:?}");
    }
}

/// Posts the bytes of a body as a call, in a compression that nobody here knows, and reads the message of an OK reply.
async fn posted(address: &str, body: Vec<u8>) -> envoy::CheckResponse {
    use tower::{Service as _, ServiceExt as _};
    let mut channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let request = http::Request::post(format!("http://{address}{CHECK}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", "zstd")
        .body(tonic::body::Body::new(axum::body::Body::from(body)))
        .unwrap();
    let response = channel.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.headers().get("grpc-status"), None, "{response:?}");
    let bytes = axum::body::to_bytes(axum::body::Body::new(response.into_body()), 1 << 20).await.unwrap();
    prost::Message::decode(&bytes[5..]).unwrap()
}

#[tokio::test]
async fn a_proxy_that_is_not_let_in_gets_an_error() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let asker = acme.owner.key("tenants/-").may("keyward/check", "use").issued().await;
    let stranger = acme.owner.key("tenants/-").may("other", "use").issued().await;
    let good = format!("Bearer {}", acme.made.master_credential);
    let question = || about("/a", &[("authorization", good.as_bytes())]);
    let as_asker = |credential: &str, message: envoy::CheckRequest| {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {credential}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    };
    assert_eq!(ask(&server.admin, as_asker(&asker.credential, question())).await, ALLOWED);
    let mut client = AuthorizationClient::new(server.admin.clone());
    for message in [question(), envoy::CheckRequest::default()] {
        let refused = client.check(as_asker(&stranger.credential, message.clone())).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        let refused = client.check(as_asker("hunter2", message.clone())).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(client.check(message).await.unwrap_err().code(), Code::Unauthenticated);
    }
}

/// A credential made at a revision that nobody has seen is waited for no longer than the call, and then is nobody's.
#[tokio::test]
async fn a_credential_of_a_later_revision_is_looked_for_and_not_taken_for_good() {
    let server = TestServer::start().await;
    let (later, _) = keyward::domain::credential::mint(&Default::default(), 1 << 40, &mut rand::rng());
    let bearer = format!("Bearer {}", later.expose());
    let mut request = Request::new(about("/a", &[("authorization", bearer.as_bytes())]));
    request.set_timeout(Duration::from_secs(20));
    assert_eq!(ask(&server.data, request).await, UNAUTHENTICATED);
}
