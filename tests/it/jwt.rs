//! JWTs: others can verify them, and a Check refuses them as soon as what they stand for is gone.

use crate::harness::{DAY, TestServer, TestTenant, refused, seconds, send};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward::proto::v1::*;
use serde_json::{Value, json};
use tonic::{Code, Status};

async fn asked(server: &TestServer, mut request: CreateTokenRequest) -> Result<CreateTokenResponse, Status> {
    request.format = TokenFormat::Jwt.into();
    server.nobody().tokens().create_token(request).await.map(tonic::Response::into_inner)
}

async fn jwt(server: &TestServer, key: &str) -> CreateTokenResponse {
    asked(server, CreateTokenRequest { key: key.to_owned(), ..Default::default() }).await.unwrap()
}

fn part(text: &str, place: usize) -> Value {
    let part = text.split('.').nth(place).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The same token, with one of its parts replaced.
fn altered(text: &str, place: usize, value: &Value) -> String {
    let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
    parts[place] = URL_SAFE_NO_PAD.encode(value.to_string());
    parts.join(".")
}

async fn revoke(tenant: &TestTenant, token: &str) -> i64 {
    send!(tenant.owner.tokens(), revoke_token, RevokeTokenRequest { token: token }).unwrap().revision
}

#[tokio::test]
async fn a_jwt_says_what_rfc_9068_asks_for_and_nothing_is_written_for_it() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let made = acme.owner.key("tenants/-").id("ci").may("doc/a b/*", "read").issued().await;
    let before = server.revision().await;
    let minted = jwt(&server, &made.credential).await;
    assert_eq!(server.revision().await, before, "no mutation");
    assert_eq!(minted.revision, before);
    let header = part(&minted.token, 0);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("EdDSA")));
    let jwks = server.nobody().tokens().get_jwks(GetJwksRequest {}).await.unwrap().into_inner().keys;
    assert_eq!(header["kid"], jwks[0].kid);
    let claims = part(&minted.token, 1);
    assert_eq!(claims["sub"], "tenants/acme/keys/ci");
    assert_eq!(claims["client_id"], claims["sub"]);
    assert_eq!(claims["aud"], json!(["tenants/acme"]));
    assert_eq!(claims["scope"], "read:doc/a%20b/*");
    assert!(claims["iss"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    assert_eq!(claims["exp"].as_i64().unwrap(), minted.expire_time.unwrap().seconds);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    let resource = minted.access_token.unwrap();
    assert_eq!(resource.name, format!("tenants/acme/tokens/{}", claims["jti"].as_str().unwrap()));

    let answer = server.check(&minted.token).may("doc/a b/1", "read").allowed().await;
    let principal = answer.principal.unwrap();
    assert_eq!((principal.token, principal.key), (resource.name.clone(), "tenants/acme/keys/ci".to_owned()));
    assert_eq!(answer.expire_time, minted.expire_time);
    server.check(&minted.token).may("doc/1", "read").denied(&[Reason::NotGranted]).await;
    // The default audience counts as none.
    server.check(&minted.token).with(|request| request.audience = "other".into()).allowed().await;
    let found = send!(acme.owner.tokens(), introspect_token, IntrospectTokenRequest { token: &*minted.token }).unwrap();
    assert_eq!((found.active, found.token), (Some(true), resource.name));

    server.restart().await;
    server.check(&minted.token).may("doc/a b/1", "read").allowed().await;
    server.move_to(minted.expire_time.as_ref(), 0);
    server.check(&minted.token).denied(&[Reason::Expired]).await;
    server.pass(DAY);
    server.check(&minted.token).denied(&[Reason::NotFound]).await;
}

#[tokio::test]
async fn whatever_is_altered_about_a_jwt_is_refused() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let key = acme.owner.key("tenants/-").may("doc/*", "read").issued().await.credential;
    let good = jwt(&server, &key).await.token;
    server.check(&good).allowed().await;
    let (header, claims) = (part(&good, 0), part(&good, 1));
    let with = |value: &Value, name: &str, new: Value| {
        let mut value = value.clone();
        value[name] = new;
        value
    };
    let none = altered(&good, 0, &with(&header, "alg", json!("none")));
    let unsigned = format!("{}.", none.rsplit_once('.').unwrap().0);
    let elsewhere = TestServer::start().await;
    let other = elsewhere.tenant("acme").await;
    let foreign = jwt(&elsewhere, &other.owner.key("tenants/-").issued().await.credential).await.token;
    let bad = [
        none,
        unsigned,
        altered(&good, 0, &with(&header, "alg", json!("HS256"))),
        altered(&good, 0, &with(&header, "alg", json!("RS256"))),
        altered(&good, 0, &with(&header, "kid", json!("another"))),
        altered(&good, 0, &with(&header, "typ", json!("JWT"))),
        altered(&good, 0, &with(&header, "crit", json!(["exp"]))),
        altered(&good, 1, &with(&claims, "scope", json!("*:**"))),
        altered(&good, 1, &with(&claims, "exp", json!(99_999_999_999_i64))),
        altered(&good, 1, &with(&claims, "sub", json!("tenants/acme/keys/other"))),
        altered(&good, 1, &with(&claims, "jti", json!("01a20621-3651-7cda-bd83-7525e6d161bd"))),
        altered(&good, 1, &with(&claims, "kw_rev", json!(1_000_000))),
        foreign.clone(),
        format!("{good}A"),
    ];
    for token in &bad {
        server.check(token).denied(&[Reason::TokenSignatureInvalid]).await;
        refused(
            send!(server.bearer(token).keys(), list_keys, ListKeysRequest { parent: "tenants/-" }),
            Code::Unauthenticated,
        );
        // An unknown one is ended already.
        revoke(&acme, token).await;
    }
    elsewhere.check(&foreign).allowed().await;
    server.check(&good).allowed().await;
}

#[tokio::test]
async fn a_jwt_dies_with_its_own_id_and_with_all_it_stands_for_and_stays_dead_after_a_restart() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (max, _) = server.user(&acme, "max", UserRole::Member).await;
    let key = async |id: &str, owner: &str| acme.owner.key(owner).id(id).issued().await.credential;
    let own = jwt(&server, &key("own", "tenants/-").await).await.token;
    let by_text = jwt(&server, &key("by-text", "tenants/-").await).await.token;
    let of_revoked = jwt(&server, &key("revoked", "tenants/-").await).await.token;
    let of_rotated = jwt(&server, &key("rotated", "tenants/-").await).await.token;
    let of_deleted = jwt(&server, &key("deleted", "tenants/-").await).await.token;
    let of_user = jwt(&server, &key("user", &max.name).await).await.token;
    for token in [&own, &by_text, &of_revoked, &of_rotated, &of_deleted, &of_user] {
        server.check(token).allowed().await;
    }
    let ended = revoke(&acme, &own).await;
    assert_eq!(revoke(&acme, &own).await, ended, "twice is once");
    let request =
        RevokeCredentialsRequest { credentials: vec![by_text.clone(), by_text.clone()], ..Default::default() };
    server.nobody().keys().revoke_credentials(request).await.unwrap();
    let mut keys = acme.owner.keys();
    send!(keys, revoke_key, RevokeKeyRequest { name: "tenants/acme/keys/revoked" }).unwrap();
    send!(keys, rotate_key, RotateKeyRequest { name: "tenants/acme/keys/rotated" }).unwrap();
    send!(keys, delete_key, DeleteKeyRequest { name: "tenants/acme/keys/deleted" }).unwrap();
    send!(keys, undelete_key, UndeleteKeyRequest { name: "tenants/acme/keys/deleted" }).unwrap();
    send!(acme.owner.users(), suspend_user, SuspendUserRequest { name: &*max.name }).unwrap();
    for _ in 0..2 {
        server.check(&own).denied(&[Reason::Revoked]).await;
        server.check(&by_text).denied(&[Reason::Revoked]).await;
        server.check(&of_revoked).denied(&[Reason::Revoked]).await;
        server.check(&of_rotated).denied(&[Reason::RotatedOut]).await;
        server.check(&of_deleted).denied(&[Reason::Revoked]).await;
        server.check(&of_user).denied(&[Reason::OwnerSuspended]).await;
        server.restart().await;
    }
    let owner = server.bearer(&acme.made.master_credential);
    send!(owner.users(), activate_user, ActivateUserRequest { name: &*max.name }).unwrap();
    server.check(&of_user).allowed().await;
    send!(server.root().tenants(), suspend_tenant, SuspendTenantRequest { name: &*acme.name }).unwrap();
    server.check(&of_user).denied(&[Reason::TenantSuspended]).await;
    send!(server.root().tenants(), delete_tenant, DeleteTenantRequest { name: &*acme.name }).unwrap();
    server.check(&of_user).denied(&[Reason::Deleted]).await;
}

#[tokio::test]
async fn a_jwt_calls_keyward_until_it_is_revoked() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let token = jwt(&server, &acme.made.master_credential).await;
    let caller = server.bearer(&token.token);
    let made = caller.key("tenants/-").id("made").issued().await.key.unwrap();
    assert_eq!(made.expire_time, token.expire_time, "what it makes lives no longer");
    revoke(&acme, &token.token).await;
    let again = CreateKeyRequest { parent: "tenants/-".into(), ..Default::default() };
    refused(caller.keys().create_key(again).await, Code::Unauthenticated);
}

#[tokio::test]
async fn an_audience_and_a_life_that_were_asked_for_are_in_it() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let key = acme.owner.key("tenants/-").may("doc/**", "read").issued().await.credential;
    let request = CreateTokenRequest {
        key: key.clone(),
        audience: vec!["a".into(), "b".into()],
        ttl: seconds(60),
        permissions: vec![Permission { resource: "doc/1".into(), action: "read".into() }],
        ..Default::default()
    };
    let token = asked(&server, request).await.unwrap().token;
    let claims = part(&token, 1);
    assert_eq!((&claims["aud"], &claims["scope"]), (&json!(["a", "b"]), &json!("read:doc/1")));
    server.check(&token).denied(&[Reason::TokenAudienceMismatch]).await;
    server.check(&token).with(|request| request.audience = "b".into()).may("doc/1", "read").allowed().await;
    let wider = server.check(&token).with(|request| request.audience = "b".into()).may("doc/2", "read");
    wider.denied(&[Reason::NotGranted]).await;
    let short = prost_types::Duration { seconds: 0, nanos: 1000 };
    let request = CreateTokenRequest { key, ttl: Some(short), ..Default::default() };
    assert_eq!(refused(asked(&server, request).await, Code::InvalidArgument).fields, ["ttl"]);
}
