//! TLS, and mutual TLS.

use super::stub::{Stub, done};
use keyward::client::{BuildError, Builder, Client};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::Code;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// An authority, and what it certifies.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for a name, and its private key.
    fn certify(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A client of the stub by the name `keyward.test`.
fn client(stub: &Stub) -> Builder {
    let address = stub.address;
    Client::builder("https://keyward.test:50051").resolver(move |_, _| async move { Ok(vec![address]) })
}

async fn answered(builder: Builder) -> Result<Code, BuildError> {
    Ok(builder.connect().await?.check("kw_1").ask().await.unwrap_err().code())
}

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_and_its_name() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.certify("keyward.test");
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    let stub = Stub::serve(Server::builder().tls_config(tls).unwrap(), |_| async { done() }).await;

    assert_eq!(answered(client(&stub).ca(&ours.pem)).await, Ok(Code::NotFound));
    assert_eq!(answered(client(&stub).ca(&theirs.pem).ca(&ours.pem)).await, Ok(Code::NotFound));
    for refused in [
        client(&stub).ca(&theirs.pem),
        client(&stub).ca(&ours.pem).server_name("other.test"),
        // Found by its address, it has another name.
        Client::builder(format!("https://{}", stub.address)).ca(&ours.pem),
    ] {
        let refused = answered(refused).await;
        assert!(matches!(refused, Err(BuildError::Unreachable(_))), "{refused:?}");
    }
    let by_address = Client::builder(format!("https://{}", stub.address)).ca(&ours.pem).server_name("keyward.test");
    assert_eq!(answered(by_address).await, Ok(Code::NotFound));
    assert_eq!(stub.count(), 3);
}

#[tokio::test]
async fn a_client_shows_its_own_certificate() {
    let ours = Authority::new();
    let (certificate, key) = ours.certify("keyward.test");
    let identity = Identity::from_pem(certificate, key);
    let tls = ServerTlsConfig::new().identity(identity).client_ca_root(Certificate::from_pem(&ours.pem));
    let stub = Stub::serve(Server::builder().tls_config(tls).unwrap(), |_| async { done() }).await;

    let (certificate, key) = ours.certify("reports.test");
    let builder = client(&stub).ca(&ours.pem).identity(certificate, &key);
    assert!(!format!("{builder:?}").contains("PRIVATE"), "{builder:?}");
    assert_eq!(answered(builder).await, Ok(Code::NotFound));
    let (certificate, key) = Authority::new().certify("reports.test");
    let strangers = [client(&stub).ca(&ours.pem), client(&stub).ca(&ours.pem).identity(certificate, key)];
    for stranger in strangers {
        // A server of TLS 1.3 refuses after the client counts as connected.
        let refused = answered(stranger.max_attempts(2)).await;
        assert!(matches!(refused, Ok(Code::Unavailable) | Err(BuildError::Unreachable(_))), "{refused:?}");
    }
    assert_eq!(stub.count(), 1);
}
