//! What the table has no column for: revocation, gRPC callers, what the upstream and the filters behind are told, shadow
//! runs, and a Keyward that cannot decide.

use super::{FORGED, World, get, request};
use crate::harness::envoy::{Door, Envoy};
use crate::harness::{TestServer, ledger, send};
use serde_json::{Value, json};
use std::time::Duration;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A header of what the upstream got.
fn header<'a>(echo: &'a Value, name: &str) -> Option<&'a str> {
    echo["headers"].as_array().unwrap().iter().find(|pair| pair[0] == name).and_then(|pair| pair[1].as_str())
}

#[tokio::test]
async fn a_revoked_key_is_refused_by_the_next_request() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let data = server.data_addr();
    let envoy = Envoy::start(&[Door::new("closed", &data), Door::new("open", &data).failing_open()]).await;
    for _ in 0..20 {
        // From here: the proxy's own address is the client's where no hop is trusted.
        let key = acme.owner.key("tenants/-").may("http/api.example/**", "get");
        let key = key.with(|key| key.allowed_ips = vec!["127.0.0.1".to_owned()]).issued().await;
        let bearer = format!("Bearer {}", key.credential);
        let ask = |door: &'static str| {
            let (bearer, envoy) = (&bearer, &envoy);
            async move { envoy.send(door, &get("/a", &[("authorization", bearer), ("x-forwarded-for", "10.0.0.1")])).await }
        };
        for door in ["closed", "open"] {
            assert_eq!(ask(door).await.status, 200);
        }
        send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: key.key.unwrap().name }).unwrap();
        for door in ["closed", "open"] {
            let reply = ask(door).await;
            assert_eq!((reply.status, reply.header("x-ext-auth-reason")), (401, "REVOKED"));
        }
    }
}

#[tokio::test]
async fn a_grpc_caller_is_told_by_its_status() {
    let world = World::start().await;
    let call = |door: &'static str, credential: &str| {
        let endpoint = Endpoint::from_shared(format!("http://{}", world.envoy.address(door))).unwrap();
        let mut request = Request::new(HealthCheckRequest::default());
        if !credential.is_empty() {
            let bearer = format!("Bearer {credential}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        async move { HealthClient::new(endpoint.connect_lazy()).check(request).await.unwrap_err() }
    };
    let check = |status: Status, code: Code, message: &str| {
        assert_eq!((status.code(), status.message()), (code, message));
    };
    for door in ["closed", "open", "raw", "raw-open"] {
        // Which is what the upstream says to a gRPC call.
        check(call(door, &world.good).await, Code::Unimplemented, "reached");
        check(call(door, "").await, Code::Unauthenticated, "a credential is needed: MISSING");
        check(call(door, &world.revoked).await, Code::Unauthenticated, "the credential is refused: REVOKED");
        let message = "the credential does not hold what this needs: NOT_GRANTED";
        check(call(door, &world.other).await, Code::PermissionDenied, message);
    }
    assert_eq!(call("dead", &world.good).await.code(), Code::Unavailable);
    assert_eq!(call("slow", &world.good).await.code(), Code::Unavailable);
    check(call("dead-open", &world.good).await, Code::Unimplemented, "reached");
    check(call("slow-open", &world.good).await, Code::Unimplemented, "reached");
}

#[tokio::test]
async fn the_upstream_is_told_who_calls_and_no_secret() {
    let world = World::start().await;
    let World { good, good_name, .. } = &world;
    let user = world.acme.owner_name.as_str();
    for door in ["closed", "raw"] {
        let cookie = format!("a=b; kw={good}; c=d");
        let requests = [
            get("/a?x=y", &[("authorization", &format!("Bearer {good}"))]),
            get("/a?x=y", &[("x-api-key", good), ("authorization", "Basic eDp5"), ("x-secret-key", "unused")]),
            get(&format!("/a?x=y&api_key={good}"), &[]),
            get("/a?x=y", &[("cookie", &cookie)]),
            get("/a?x=y", &[("cookie", &format!("kw={good}"))]),
        ];
        for (place, request) in requests.iter().enumerate() {
            let reply = world.envoy.send(door, request).await;
            let echo = reply.echo().unwrap_or_else(|| panic!("{place}: {reply:?}"));
            assert_eq!(echo["path"], "/a?x=y", "{place}");
            assert!(!echo.to_string().contains(good.as_str()), "{place}: {echo}");
            assert_eq!(header(&echo, "x-keyward-tenant"), Some("tenants/acme"));
            assert_eq!(header(&echo, "x-keyward-user"), Some(user));
            assert_eq!(header(&echo, "x-keyward-key"), Some(good_name.as_str()));
            assert_eq!(header(&echo, "x-keyward-application"), None, "{place}: what nobody sets is not forged either");
            assert_eq!(header(&echo, "authorization"), (place == 1).then_some("Basic eDp5"));
            assert_eq!(header(&echo, "cookie"), (place == 3).then_some("a=b; c=d"));
        }
    }
}

#[tokio::test]
async fn a_shadow_run_turns_nobody_away_and_tells_what_it_would_have_done() {
    let world = World::start().await;
    let World { good, other, revoked, .. } = &world;
    let bearer = |credential: &str| ("authorization", format!("Bearer {credential}"));
    // Door, path, what is sent, what would have been decided, and whether the upstream sees what was sent.
    let rows = [
        ("observe", "/a", bearer(good), "ALLOWED", json!([]), false),
        ("observe", "/a", bearer(other), "DENIED", json!(["NOT_GRANTED"]), false),
        ("observe", "/a", bearer(revoked), "DENIED", json!(["REVOKED"]), false),
        ("observe", "/a", bearer("hunter2"), "DENIED", json!(["NOT_FOUND"]), true),
        ("observe", "/a", ("x-other", "nothing".to_owned()), "DENIED", json!(["MISSING"]), true),
        ("observe", "/a/../b", bearer(good), "DENIED", json!(["NOT_GRANTED"]), false),
        ("observe-fixed", "/a", bearer(other), "ALLOWED", json!([]), false),
        ("observe-fixed", "/a", bearer(good), "DENIED", json!(["NOT_GRANTED"]), false),
    ];
    for (door, path, (name, value), decision, _, is_passed_on) in &rows {
        let reply = world.envoy.send(door, &get(path, &[(name, value)])).await;
        let echo = reply.echo().unwrap_or_else(|| panic!("{reply:?}"));
        assert_eq!(header(&echo, name).is_some(), *is_passed_on, "{name}: {value}");
        let is_named = FORGED.iter().any(|(name, _)| header(&echo, &name.to_lowercase()).is_some());
        assert_eq!(is_named, *decision == "ALLOWED", "only whoever is allowed has a name: {echo}");
        assert!(!echo.to_string().contains("forged"), "{echo}");
    }
    // No client chooses it.
    let claims = [("mode", "observe"), ("x-mode", "observe"), ("x-keyward-mode", "observe")];
    let reply = world.envoy.send("closed", &get("/a?mode=observe", &claims)).await;
    assert_eq!(reply.header("x-ext-auth-reason"), "MISSING");

    let told = world.envoy.metadata(rows.len() + 1).await;
    for ((_, path, (_, value), decision, reasons, _), told) in rows.iter().zip(&told) {
        assert_eq!((&told["decision"], &told["reasons"]), (&json!(decision), reasons), "{path} {value}: {told}");
        assert_eq!(told["mode"], "observe");
    }
    assert_eq!(told[0]["tenant"], "tenants/acme");
    assert_eq!((&told[0]["key"], &told[0]["key_type"]), (&json!(world.good_name), &json!("REGULAR")));
    assert_eq!(told[3].get("tenant"), None);
    assert_eq!((&told[rows.len()]["mode"], &told[rows.len()]["decision"]), (&json!("enforce"), &json!("DENIED")));
    assert!(!format!("{told:?}").contains(good.as_str()));

    // Counted apart.
    let metrics = "GET /metrics HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n";
    let metrics = crate::harness::envoy::exchange(world.server.ops_addr().parse().unwrap(), metrics.as_bytes()).await;
    for expected in [
        "keyward_check_decisions_total{decision=\"ALLOWED\",reason=\"\",surface=\"ext_authz_observe\"} 2",
        "keyward_check_decisions_total{decision=\"DENIED\",reason=\"NOT_GRANTED\",surface=\"ext_authz_observe\"} 3",
        "keyward_check_denials_total{surface=\"ext_authz_observe\"} 6",
        "keyward_check_denials_total{surface=\"ext_authz\"} 1",
    ] {
        assert!(metrics.body.contains(expected), "{expected}\n{}", metrics.body);
    }
}

#[tokio::test]
async fn what_keyward_cannot_decide_is_for_the_proxy_to_decide() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let data = server.data_addr();
    let envoy = Envoy::start(&[
        Door::new("closed", &data),
        Door::new("open", &data).failing_open(),
        Door::new("observe", &data).saying("mode", "observe"),
    ])
    .await;
    let credential = acme.made.master_credential.clone();
    let bearer = format!("Bearer {credential}");
    let requests = [get("/a", &[("authorization", &bearer)]), get("/a", &[]), get("/a/../b", &[])];
    assert_eq!(envoy.send("closed", &requests[0]).await.status, 200);
    // A ledger that has changed its history is not followed.
    assert_eq!(ledger::execute(&server.database(), "UPDATE ledger_head SET chain = zeroblob(32)").await, 1);
    let undecided = async {
        while server.check(&credential).tried().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), undecided).await.unwrap();
    for request in &requests {
        for door in ["closed", "observe"] {
            let reply = envoy.send(door, request).await;
            assert_eq!((reply.status, reply.header("x-ext-auth-reason")), (503, ""), "{door}");
        }
        let echo = envoy.send("open", request).await.echo().unwrap();
        let mark = json!(["x-envoy-auth-failure-mode-allowed", "true"]);
        assert!(echo["headers"].as_array().unwrap().contains(&mark), "{echo}");
    }
    // What is denied whatever Keyward knows stays denied.
    let two = request("GET", "api.example", "/a", &[("authorization", &bearer), ("x-api-key", &credential)]);
    assert_eq!(envoy.send("open", &two).await.status, 401);
}
