use super::*;
use crate::cli::tests::options;
use http::StatusCode;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[test]
fn only_an_address_that_is_another_s_is_asked() {
    let cases = [
        ("10.0.0.8:50052", "http://10.0.0.7:50052", Some("http://10.0.0.8:50052")),
        ("10.0.0.8:50052", "https://keyward.example:50052", Some("https://10.0.0.8:50052")),
        ("[fd00::1]:50052", "http://10.0.0.7:50052", Some("http://[fd00::1]:50052")),
        ("127.0.0.1:50062", "http://127.0.0.1:50052", Some("http://127.0.0.1:50062")),
        ("127.0.0.1:50052", "http://127.0.0.1:50052", None),
        ("127.0.0.1:50062", "http://10.0.0.7:50052", None),
        ("0.0.0.0:50052", "http://10.0.0.7:50052", None),
        ("[::]:50052", "http://127.0.0.1:50052", None),
        ("", "http://10.0.0.7:50052", None),
        ("10.0.0.8:50052", "unix:/run/keyward.sock", None),
    ];
    for (address, server, expected) in cases {
        assert_eq!(reachable(address, server).as_deref(), expected, "{address} from {server}");
    }
}

fn replica(address: &str) -> Replica {
    Replica {
        id: "r1".to_owned(),
        address: address.to_owned(),
        state: ReplicaState::Active.into(),
        ..Replica::default()
    }
}

/// What is said of the one other replica, at `address`.
async fn said(words: &str, scheme: &str, address: &str) -> Finding {
    let server = format!("{scheme}://127.0.0.1:1");
    let [found] = ask(&options(words), &server, &[replica(address)], "r0").await.try_into().unwrap();
    found
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Whoever answers every call with this code.
fn answering(listener: TcpListener, code: &'static str) -> tokio::task::JoinHandle<()> {
    let router = axum::Router::new().fallback(move || async move {
        (StatusCode::OK, [("content-type", "application/grpc"), ("grpc-status", code), ("grpc-message", "no")], "")
    });
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_routes(router.into()).serve_with_incoming(incoming);
    tokio::spawn(async move { server.await.unwrap() })
}

#[tokio::test]
async fn why_another_replica_does_not_answer_is_told_apart() {
    let [warning, problem] = [FindingSeverity::Warning, FindingSeverity::Problem];
    let check = |found: &Finding, severity, words: &str| {
        assert_eq!(found.severity(), severity, "{found:?}");
        assert!(found.description.contains(words) && found.description.starts_with("r1"), "{found:?}");
        assert!(!found.remedy.is_empty());
    };
    let (closed, address) = listener().await;
    drop(closed);
    check(&said("--timeout 5s", "http", &address).await, warning, "cannot reach");

    // It takes connections, by the kernel at least, and nobody is there.
    let (_silent, address) = listener().await;
    check(&said("--timeout 300ms", "http", &address).await, problem, "takes connections and does not answer");

    for (code, severity, words) in [
        ("16", warning, "refuses us"),
        ("7", warning, "refuses us"),
        ("4", problem, "does not answer"),
        ("12", problem, "answers with an error"),
        ("13", problem, "answers with an error"),
    ] {
        let (listener, address) = listener().await;
        let server = answering(listener, code);
        check(&said("--timeout 5s", "http", &address).await, severity, words);
        server.abort();
    }

    // A certificate of nobody whom we trust.
    let (listener, address) = listener().await;
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let other = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.pem();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, other).unwrap();
    let server = tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _refused = acceptor.accept(stream).await;
        }
    });
    let words = format!("--timeout 5s --tls-ca-file {}", path.display());
    check(&said(&words, "https", &address).await, warning, "no TLS with");
    server.abort();
}
