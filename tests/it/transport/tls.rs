//! TLS of each listener, and who is let in by a certificate.

use super::{Authority, Files, Issued, LONG, ask, channel, raw, unreachable};
use crate::harness::{TestServer, process, refused, send};
use keyward::config::{Config, ServeArgs};
use keyward::proto::envoy::service::auth::v3 as envoy;
use keyward::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use keyward::proto::envoy::service::auth::v3::{AttributeContext, attribute_context};
use keyward::proto::v1::*;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A connection with TLS, and nothing said on it yet.
pub async fn connect(
    address: &str,
    authority: &Authority,
    protocol: &[u8],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn each_listener_has_a_certificate_of_its_own() {
    let authorities = ["data", "admin", "ops"].map(Authority::new);
    let files = Files::new();
    for (authority, name) in authorities.iter().zip(["data", "admin", "ops"]) {
        files.put_issued(name, &authority.issue(&["127.0.0.1"]));
    }
    let mut server = TestServer::start_with(|args| {
        files.serve_data(args, "data", None);
        args.admin_tls_cert_file = Some(files.path("admin.pem"));
        args.admin_tls_key_file = Some(files.path("admin.key"));
        args.ops_tls_cert_file = Some(files.path("ops.pem"));
        args.ops_tls_key_file = Some(files.path("ops.key"));
    })
    .await;
    let [data, admin, ops] = &authorities;
    let (data_addr, admin_addr, ops_addr) = (server.data_addr(), server.admin_addr(), server.ops_addr());
    server.data = channel(&data_addr, &[data], None);
    server.admin = channel(&admin_addr, &[admin], None);
    let acme = server.tenant("acme").await;
    server.check(&acme.made.master_credential).may("doc/1", "read").allowed().await;

    // Health over gRPC, and what people look at.
    let health = HealthClient::new(channel(&ops_addr, &[ops], None)).check(HealthCheckRequest::default()).await;
    assert_eq!(health.unwrap().into_inner().status, 1);
    let mut stream = connect(&ops_addr, ops, b"http/1.1").await;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await.unwrap();
    let answer = String::from_utf8(raw::ended(&mut stream).await).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("\r\n\r\nserving\n"), "{answer}");

    // Of another authority, of another listener, or in the clear.
    for (address, wrong) in [(&data_addr, admin), (&admin_addr, ops), (&ops_addr, data)] {
        unreachable(ask(&channel(address, &[wrong], None), "", "").await);
        let clear = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        unreachable(ask(&clear, "", "").await);
    }
    // The keys of JWTs are found by https then.
    let jwks = connect(&ops_addr, ops, b"h2").await;
    assert_eq!(jwks.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

/// A server whose data listener lets in clients of an authority: `spiffe://example.org/envoy` for acme and
/// `gate.example` for all tenants.
async fn guarded(files: &Files, servers: &Authority, clients: &Authority) -> TestServer {
    files.put_issued("data", &servers.issue(&["127.0.0.1"]));
    let client_ca = files.put("clients.pem", &clients.pem());
    let config = files.put(
        "keyward.toml",
        "[[clients]]\nidentity = 'spiffe://example.org/envoy'\ntenant = 'tenants/acme'\n\
         [[clients]]\nidentity = 'gate.example'\n",
    );
    TestServer::start_with(|args| {
        args.config = Some(config);
        args.check_auth = Some("mtls".to_owned());
        files.serve_data(args, "data", Some(&client_ca));
    })
    .await
}

#[tokio::test]
async fn a_client_is_let_in_by_its_certificate_for_its_tenant() {
    let (servers, clients, files) = (Authority::new("servers"), Authority::new("clients"), Files::new());
    let server = guarded(&files, &servers, &clients).await;
    let (acme, other) = (server.tenant("acme").await, server.tenant("other").await);
    let (ours, theirs) = (&acme.made.master_credential, &other.made.master_credential);
    let address = server.data_addr();
    let by = |issued: &Issued| channel(&address, &[&servers], Some(issued));

    // Whatever else the certificate names, its SPIFFE ID is who it is.
    let envoy = by(&clients.issue(&["gate.example", "spiffe://example.org/envoy", "127.0.0.1"]));
    for tenant in ["", "tenants/acme", "tenants/-"] {
        assert_eq!(ask(&envoy, ours, tenant).await.unwrap().decision(), Decision::Allowed, "{tenant}");
        for credential in [theirs, &server.root] {
            let answer = ask(&envoy, credential, tenant).await.unwrap();
            assert_eq!(
                (answer.decision(), answer.reasons().collect::<Vec<_>>()),
                (Decision::Denied, vec![Reason::NotFound])
            );
        }
    }
    refused(ask(&envoy, ours, "tenants/other").await, Code::NotFound);
    refused(ask(&envoy, ours, "tenants/nobody").await, Code::NotFound);

    let gate = by(&clients.issue(&["Gate.Example", "gate2.example"]));
    for (credential, tenant) in [(ours, ""), (theirs, ""), (ours, "tenants/acme"), (theirs, "tenants/other")] {
        assert_eq!(ask(&gate, credential, tenant).await.unwrap().decision(), Decision::Allowed, "{tenant}");
    }
    assert_eq!(ask(&gate, ours, "tenants/other").await.unwrap().decision(), Decision::Denied);
    refused(ask(&gate, ours, "tenants/-").await, Code::InvalidArgument);

    // Each question of a batch and of a stream is asked by the same client.
    let batch =
        BatchCheckRequest { checks: vec![CheckRequest { credential: theirs.clone(), ..CheckRequest::default() }; 2] };
    let mut checks = check_service_client::CheckServiceClient::new(envoy.clone());
    let results = checks.batch_check(batch).await.unwrap().into_inner().results;
    assert!(results.len() == 2 && results.iter().all(|result| result.decision() == Decision::Denied), "{results:?}");
    let question = CheckRequest { tenant: "tenants/other".to_owned(), ..CheckRequest::default() };
    let questions = tokio_stream::once(StreamCheckRequest { check: Some(question) });
    let answers = checks.stream_check(questions).await;
    refused(async { answers?.into_inner().message().await }.await, Code::NotFound);
}

#[tokio::test]
async fn a_certificate_that_is_not_listed_lets_nobody_in() {
    let (servers, clients, files) = (Authority::new("servers"), Authority::new("clients"), Files::new());
    let server = guarded(&files, &servers, &clients).await;
    let address = server.data_addr();
    let by = |issued: &Issued| channel(&address, &[&servers], Some(issued));
    let (root, listed) = (&server.root, ["spiffe://example.org/envoy"]);
    for names in [
        &["spiffe://example.org/envoy2"][..],
        &["spiffe://example.org/Envoy"],
        &["spiffe://example.org/other", "spiffe://example.org/envoy"],
        &["spiffe://example.org/other", "gate.example"],
        &["https://example.org/envoy"],
        &["x.gate.example"],
        &["*.example"],
        &["127.0.0.1"],
        &[],
    ] {
        let channel = by(&clients.issue(names));
        let refusal = refused(ask(&channel, root, "").await, Code::Unauthenticated);
        assert!(refusal.message.contains("[[clients]]"), "{names:?}: {refusal:?}");
        // A credential in the metadata is no way around.
        let bearer = crate::harness::Client::at(channel, root);
        refused(bearer.checks().check(CheckRequest::default()).await, Code::Unauthenticated);
    }
    let itself = Authority::new("clients");
    unreachable(ask(&by(&itself.issue(&listed)), root, "").await);
    unreachable(ask(&channel(&address, &[&servers], None), root, "").await);
    assert_eq!(ask(&by(&clients.issue(&listed)), root, "").await.unwrap().decision(), Decision::Denied);
}

#[tokio::test]
async fn a_proxy_asks_by_its_certificate_too() {
    let (servers, clients, files) = (Authority::new("servers"), Authority::new("clients"), Files::new());
    let server = guarded(&files, &servers, &clients).await;
    let (acme, other) = (server.tenant("acme").await, server.tenant("other").await);
    let address = server.data_addr();
    let code = async |identity: &str, credential: &str| {
        let http = attribute_context::HttpRequest {
            method: "GET".to_owned(),
            host: "api.example".to_owned(),
            path: "/v1/things".to_owned(),
            headers: [("authorization".to_owned(), format!("Bearer {credential}"))].into(),
            ..Default::default()
        };
        let request = attribute_context::Request { http: Some(http), ..Default::default() };
        let attributes = AttributeContext { request: Some(request), ..Default::default() };
        let own = clients.issue(&[identity]);
        let mut proxy = AuthorizationClient::new(channel(&address, &[&servers], Some(&own)));
        let answer = proxy.check(envoy::CheckRequest { attributes: Some(attributes) }).await?.into_inner();
        Ok::<_, tonic::Status>(answer.status.unwrap().code)
    };
    let (ours, theirs) = (&acme.made.master_credential, &other.made.master_credential);
    assert_eq!(code("spiffe://example.org/envoy", ours).await.unwrap(), Code::Ok as i32);
    assert_eq!(code("spiffe://example.org/envoy", theirs).await.unwrap(), Code::Unauthenticated as i32);
    assert_eq!(code("gate.example", theirs).await.unwrap(), Code::Ok as i32);
    let refusal = code("spiffe://example.org/other", ours).await.unwrap_err();
    assert!(matches!(refusal.code(), Code::Unauthenticated | Code::Unavailable), "{refusal:?}");
}

#[tokio::test]
async fn an_event_names_the_certificate_of_its_connection() {
    let (servers, clients, files) = (Authority::new("servers"), Authority::new("clients"), Files::new());
    files.put_issued("admin", &servers.issue(&["127.0.0.1"]));
    let client_ca = files.put("clients.pem", &clients.pem());
    let mut server = TestServer::start_with(|args| {
        args.admin_tls_cert_file = Some(files.path("admin.pem"));
        args.admin_tls_key_file = Some(files.path("admin.key"));
        args.admin_tls_client_ca_file = Some(client_ca);
    })
    .await;
    let own = clients.issue(&["spiffe://example.org/console"]);
    server.admin = channel(&server.admin_addr(), &[&servers], Some(&own));
    let acme = server.tenant("acme").await;
    let request = ListEventsRequest { parent: acme.name.clone(), ..Default::default() };
    let events = acme.owner.events().list_events(request).await.unwrap().into_inner().events;
    let event = events.iter().find(|event| event.kind == "tenant.create").unwrap();
    let client = event.detail.as_ref().and_then(|detail| detail.fields.get("client")).unwrap();
    let text = prost_types::value::Kind::StringValue("spiffe://example.org/console".to_owned());
    assert_eq!(client.kind, Some(text));
    assert_eq!(event.source_ip, "127.0.0.1");
    // A certificate is no credential.
    refused(send!(server.nobody().keys(), list_keys, ListKeysRequest { parent: &*acme.name }), Code::Unauthenticated);
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start_by_the_name_of_their_flag() {
    let (authority, files) = (Authority::new("servers"), Files::new());
    files.put_issued("good", &authority.issue(&["127.0.0.1"]));
    files.put_issued("other", &authority.issue(&["127.0.0.1"]));
    files.put("empty.pem", "");
    files.put("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    files.put("half.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let good = ("good.pem", "good.key", "good.pem");
    for ((cert, key, client_ca), flag) in [
        (("none.pem", good.1, good.2), "--data-tls-cert-file"),
        (("empty.pem", good.1, good.2), "--data-tls-cert-file"),
        (("garbage.pem", good.1, good.2), "--data-tls-cert-file"),
        (("good.key", good.1, good.2), "--data-tls-cert-file"),
        ((good.0, "none.key", good.2), "--data-tls-key-file"),
        ((good.0, "good.pem", good.2), "--data-tls-key-file"),
        ((good.0, "other.key", good.2), "--data-tls-cert-file"),
        ((good.0, good.1, "none.pem"), "--data-tls-client-ca-file"),
        ((good.0, good.1, "half.pem"), "--data-tls-client-ca-file"),
        ((good.0, good.1, "garbage.pem"), "--data-tls-client-ca-file"),
    ] {
        let args = ServeArgs {
            database_url: Some(format!("sqlite:{}", files.path("keyward.db").display()).into()),
            data_addr: Some("127.0.0.1:0".to_owned()),
            data_tls_cert_file: Some(files.path(cert)),
            data_tls_key_file: Some(files.path(key)),
            data_tls_client_ca_file: Some(files.path(client_ca)),
            ..ServeArgs::default()
        };
        let started =
            keyward::server::Server::start(Config::load(args).unwrap(), keyward::clock::Clock::default()).await;
        let refusal = started.map(drop).unwrap_err().to_string();
        assert!(refusal.contains(flag), "{cert} {key} {client_ca}: {refusal}");
        assert!(!refusal.contains("PRIVATE"), "{refusal}");
    }
    assert!(!files.path("keyward.db").exists(), "before anything else is done");
}

/// Nothing is asked over plain HTTP/1, nor answered.
#[tokio::test]
async fn a_listener_of_grpc_speaks_nothing_else() {
    let server = TestServer::start().await;
    let clear: Channel = server.data.clone();
    assert!(ask(&clear, "", "").await.is_ok());
    let answer = raw::http(&server.data_addr(), "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(answer, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_reached_by_tls_if_its_address_says_so() {
    let (authority, files) = (Authority::new("collectors"), Files::new());
    let issued = authority.issue(&["127.0.0.1"]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let cert = CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();

    let mut command = process::serve(&files.path("keyward.db"));
    command.args(["--otlp-endpoint", &format!("https://{}", listener.local_addr().unwrap())]);
    command.env("SSL_CERT_FILE", files.put("collectors.pem", &authority.pem()));
    let server = process::Process::launch(command);
    // At the latest it sends what it has when it ends.
    let ending = tokio::task::spawn_blocking(move || server.terminate());
    let received = tokio::time::timeout(LONG, async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
        let mut bytes = [0; raw::PREFACE.len()];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes
    });
    assert_eq!(received.await.unwrap(), raw::PREFACE);
    drop(listener);
    assert!(ending.await.unwrap().0.success());
}
