//! What is nested without end is refused, by whatever reads it, and nothing falls over.

use crate::authorization::raw;
use crate::harness::{TestServer, refused};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward::proto::v1::*;
use tonic::Code;
use tonic::metadata::MetadataMap;

#[tokio::test]
async fn groups_without_end_are_refused_by_every_rpc() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let key = acme.owner.key("tenants/-").may("doc/*", "read").issued().await;
    // A field of its own that begins a group, which begins one, and so on.
    let nested = vec![0x7b; 60_000];
    for method in raw::methods() {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", format!("Bearer {}", server.root).parse().unwrap());
        let answer = raw::call(&server.admin, &method, nested.clone(), metadata).await;
        refused(answer, Code::InvalidArgument);
    }
    server.check(&key.credential).may("doc/1", "read").allowed().await;
}

#[tokio::test]
async fn a_jwt_whose_claims_are_nested_without_end_is_none() {
    let server = TestServer::start().await;
    let deep = URL_SAFE_NO_PAD.encode("[".repeat(20_000));
    for (header, claims) in [
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"x"}"#.to_owned(), deep.clone()),
        (format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":{}"#, "[".repeat(20_000)), deep.clone()),
    ] {
        let text = format!("{}.{claims}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode([0; 64]));
        let answer = server.check(&text).asked().await;
        assert_eq!(answer.decision(), Decision::Denied, "{answer:?}");
    }
    server.check(&server.root).allowed().await;
}
