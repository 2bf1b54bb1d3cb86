use super::super::tests::{check, file, load};
use super::*;

const CERT: &str = "--data-tls-cert-file=cert.pem";
const KEY: &str = "--data-tls-key-file=key.pem";
const CLIENT_CA: &str = "--data-tls-client-ca-file=ca.pem";

#[test]
fn a_certificate_goes_with_its_key() {
    for listener in ["data", "admin", "ops"] {
        let [cert, key, ca] = ["cert", "key", "client-ca"].map(|part| flag(listener, part));
        let [with_cert, with_key, with_ca] = [&cert, &key, &ca].map(|flag| format!("{flag}=x.pem"));
        check(&[&with_cert, &with_key], None);
        check(&[&with_cert, &with_key, &with_ca], None);
        check(&[&with_cert], Some((&key, &cert)));
        check(&[&with_cert, &with_ca], Some((&key, &cert)));
        check(&[&with_key], Some((&cert, &key)));
        check(&[&with_ca], Some((&ca, &key)));
    }
    let config = load(&[CERT, KEY, CLIENT_CA]).unwrap().transport;
    let files = config.data_tls.unwrap();
    assert_eq!((files.cert.to_str(), files.key.to_str()), (Some("cert.pem"), Some("key.pem")));
    assert_eq!(files.client_ca.as_deref().and_then(std::path::Path::to_str), Some("ca.pem"));
    assert_eq!((config.admin_tls, config.ops_tls), (None, None));
}

#[test]
fn mtls_needs_authorities_and_clients() {
    let (_directory, path) = file("[[clients]]\nidentity = 'spiffe://example.org/a'\ntenant = 'tenants/acme'\n");
    let config = ["--config", &path];
    let words = |more: &[&'static str]| -> Vec<String> {
        config.iter().copied().chain(more.iter().copied()).map(str::to_owned).collect()
    };
    let check = |more: &[&'static str], refusal| {
        let words = words(more);
        check(&words.iter().map(String::as_str).collect::<Vec<_>>(), refusal);
    };
    check(&["--check-auth=mtls", CERT, KEY, CLIENT_CA], None);
    check(&["--check-auth=mtls", CERT, KEY], Some(("--check-auth", "TLS")));
    check(&["--check-auth=mtls"], Some(("--check-auth", "--data-tls-client-ca-file")));
    check(&["--check-auth=bearer", CERT, KEY, CLIENT_CA], Some(("clients", "--check-auth=mtls")));
    super::super::tests::check(&["--check-auth=mtls", CERT, KEY, CLIENT_CA], Some(("--check-auth", "[[clients]]")));
    super::super::tests::check(&["--check-auth=bearer", CERT, KEY, CLIENT_CA], None);
    super::super::tests::check(&["--data-addr=0.0.0.0:1", CERT, KEY, CLIENT_CA], Some(("--data-addr", "--check-auth")));
}

#[test]
fn a_client_is_listed_once_by_a_name_that_certificates_have() {
    let clients = |text: &str| {
        let (_directory, path) = file(text);
        load(&["--config", &path, "--check-auth=mtls", CERT, KEY, CLIENT_CA]).map(|config| config.transport.clients)
    };
    let listed = clients(
        "[[clients]]\nidentity = 'spiffe://example.org/Gate'\n[[clients]]\nidentity = 'Envoy.Example'\ntenant = 'tenants/acme'",
    );
    let listed = listed.unwrap();
    assert_eq!(
        listed.iter().map(|client| client.identity.as_str()).collect::<Vec<_>>(),
        ["spiffe://example.org/Gate", "envoy.example"]
    );
    assert_eq!(listed[0].tenant, None);
    assert_eq!(listed[1].tenant.as_ref().map(TenantId::name).as_deref(), Some("tenants/acme"));

    let same = "[[clients]]\nidentity = 'a.example'\n[[clients]]\nidentity = 'A.example'";
    for (text, rule) in [
        ("[[clients]]\nidentity = ''", "clients[0].identity"),
        ("[[clients]]\nidentity = 'spiffe://'", "clients[0].identity"),
        ("[[clients]]\nidentity = 'https://a.example'", "clients[0].identity"),
        ("[[clients]]\nidentity = 'a b'", "clients[0].identity"),
        (same, "clients[1].identity must be listed once"),
        ("[[clients]]\nidentity = 'a'\ntenant = 'acme'", "clients[0].tenant"),
        ("[[clients]]\nidentity = 'a'\ntenant = 'tenants/acme/users/kay'", "clients[0].tenant"),
        ("[[clients]]\nidentity = 'a'\ntenants = 'tenants/acme'", "unknown field `tenants`"),
        ("[[clients]]\ntenant = 'tenants/acme'", "missing field `identity`"),
    ] {
        let refusal = clients(text).unwrap_err().to_string();
        assert!(refusal.contains(rule), "{text}: {refusal}");
    }
}
