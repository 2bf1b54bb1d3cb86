//! The table of outcomes, row by row, through Envoy.

use super::{World, get, request};
use crate::harness::envoy::Reply;
use serde_json::Value;

/// What comes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It reached the upstream.
    Passed,
    /// It did since nothing could be decided and Envoy fails open; it is marked so.
    Undecided,
    /// Keyward turned it away, for these reasons.
    Denied(u16, &'static str),
    /// Nothing could be decided, and Envoy fails closed.
    Failed,
    /// Envoy would not take it, and asked nobody.
    Unasked(u16),
}

use Outcome::{Denied, Failed, Passed, Unasked, Undecided};

struct Row {
    door: &'static str,
    what: &'static str,
    request: Vec<u8>,
    expected: Outcome,
}

fn row(door: &'static str, what: &'static str, request: Vec<u8>, expected: Outcome) -> Row {
    Row { door, what, request, expected }
}

/// The request's first line and headers with some bytes put in raw.
fn with_bytes(head: &str, bytes: &[u8], tail: &str) -> Vec<u8> {
    [head.as_bytes(), bytes, tail.as_bytes()].concat()
}

fn rows(world: &World) -> Vec<Row> {
    let World { good, other, nearby, paged, double, secret_key, revoked, suspended, foreign, .. } = world;
    let bearer = |credential: &str| format!("Bearer {credential}");
    let with = |credential: &str| get("/a", &[("authorization", &bearer(credential))]);
    let near = |credential: &str, client: &str| {
        get("/a", &[("authorization", &bearer(credential)), ("x-forwarded-for", client)])
    };
    let on = |credential: &str, page: &str| get("/a", &[("x-api-key", credential), ("referer", page)]);
    let at = |path: &str| get(path, &[("x-api-key", good)]);
    let mut broken = good.clone();
    broken.pop();
    broken.push('!');
    let tail = format!("\r\nx-api-key: {good}\r\nhost: api.example\r\nconnection: close\r\n\r\n");
    let mut rows = Vec::new();
    // Each through both forms of headers, and fail-open as well as fail-closed: a denial is one everywhere.
    for door in ["closed", "open", "raw", "raw-open"] {
        rows.extend([
            row(door, "a good key", with(good), Passed),
            row(door, "by x-api-key", get("/a", &[("x-api-key", good)]), Passed),
            row(door, "by a header of the configuration", get("/a", &[("x-token", good)]), Passed),
            row(door, "by a query parameter", get(&format!("/a?b=c&api_key={good}&d"), &[]), Passed),
            row(door, "by a cookie", get("/a", &[("cookie", &format!("a=b; kw={good}; c=d"))]), Passed),
            row(door, "the scheme in any case", get("/a", &[("authorization", &format!("bEARER {good}"))]), Passed),
            row(
                door,
                "beside another scheme",
                get("/a", &[("authorization", "Basic eDp5"), ("x-api-key", good)]),
                Passed,
            ),
            row(
                door,
                "with its second secret",
                get("/a", &[("x-api-key", double), ("x-secret-key", secret_key)]),
                Passed,
            ),
            row(door, "any method", request("DELETE", "API.example:81", "/a/", &[("x-api-key", good)]), Passed),
            row(door, "no credential", get("/a", &[]), Denied(401, "MISSING")),
            row(door, "another scheme only", get("/a", &[("authorization", "Basic eDp5")]), Denied(401, "MISSING")),
            row(door, "Bearer and nothing", get("/a", &[("authorization", "Bearer")]), Denied(401, "MISSING")),
            row(door, "not one of ours", with("hunter2"), Denied(401, "NOT_FOUND")),
            row(door, "a broken checksum", with(&broken), Denied(401, "MALFORMED")),
            row(door, "a revoked key", with(revoked), Denied(401, "REVOKED")),
            row(door, "a suspended key", with(suspended), Denied(401, "SUSPENDED")),
            row(door, "no second secret", with(double), Denied(401, "SECRET_KEY_REQUIRED")),
            row(
                door,
                "another second secret",
                get("/a", &[("x-api-key", double), ("x-secret-key", "no")]),
                Denied(401, "SECRET_KEY_MISMATCH"),
            ),
            row(door, "a key that may do something else", with(other), Denied(403, "NOT_GRANTED")),
            row(
                door,
                "another host",
                request("GET", "other.example", "/a", &[("x-api-key", good)]),
                Denied(403, "NOT_GRANTED"),
            ),
            row(door, "from there", near(nearby, "192.0.2.7"), Passed),
            row(door, "from elsewhere", near(nearby, "198.51.100.7"), Denied(403, "IP_NOT_ALLOWED")),
            row(door, "forged further left", near(nearby, "192.0.2.7, 198.51.100.7"), Denied(403, "IP_NOT_ALLOWED")),
            row(door, "from nowhere known", with(nearby), Denied(403, "IP_NOT_ALLOWED")),
            row(door, "on its page", on(paged, "https://good.example/x"), Passed),
            row(
                door,
                "on another page",
                on(paged, "https://bad.example/good.example/"),
                Denied(403, "REFERRER_NOT_ALLOWED"),
            ),
            row(door, "on no page", with(paged), Denied(403, "REFERRER_NOT_ALLOWED")),
            // Two credentials, of which somebody else might take the other.
            row(
                door,
                "two headers",
                get("/a", &[("authorization", &bearer(good)), ("x-api-key", good)]),
                Denied(401, "MALFORMED"),
            ),
            row(
                door,
                "one header twice",
                get("/a", &[("x-api-key", good), ("x-api-key", other)]),
                Denied(401, "MALFORMED"),
            ),
            row(
                door,
                "authorization twice",
                get("/a", &[("authorization", &bearer(good)), ("authorization", &bearer(good))]),
                Denied(401, "MALFORMED"),
            ),
            row(
                door,
                "another scheme and ours",
                get("/a", &[("authorization", "Basic eDp5"), ("authorization", &bearer(good))]),
                Denied(401, "MALFORMED"),
            ),
            row(
                door,
                "header and query",
                get(&format!("/a?api_key={good}"), &[("x-api-key", good)]),
                Denied(401, "MALFORMED"),
            ),
            row(
                door,
                "the query twice",
                get(&format!("/a?api_key={good}&api_key={good}"), &[]),
                Denied(401, "MALFORMED"),
            ),
            row(
                door,
                "the query spelled otherwise",
                get(&format!("/a?api%5fkey={good}"), &[]),
                Denied(401, "MALFORMED"),
            ),
            row(
                door,
                "the cookie twice",
                get("/a", &[("cookie", &format!("kw={good}; kw={good}"))]),
                Denied(401, "MALFORMED"),
            ),
            // Values that no header should have.
            row(door, "a newline in a value", get("/a?api_key=a%0d%0ax-injected:%20b", &[]), Denied(401, "NOT_FOUND")),
            row(door, "not ASCII in the query", get("/a?api_key=%c3%a9", &[]), Denied(401, "NOT_FOUND")),
            row(door, "a bare newline", get("/a", &[("x-api-key", "a\nx-injected: b")]), Denied(401, "NOT_FOUND")),
            row(door, "a bare return", get("/a", &[("x-api-key", "a\rx-injected: b")]), Denied(401, "NOT_FOUND")),
            row(door, "a NUL", get("/a", &[("x-api-key", "a\0b")]), Unasked(400)),
            // Paths that could be read in another way.
            row(door, "/", at("/"), Passed),
            row(door, "a query", at("/a?b=/../c"), Passed),
            row(door, "an escaped letter", at("/%61"), Passed),
            row(door, "//admin", at("//admin"), Denied(403, "NOT_GRANTED")),
            row(door, "/a//b", at("/a//b"), Denied(403, "NOT_GRANTED")),
            row(door, "/./", at("/./"), Denied(403, "NOT_GRANTED")),
            row(door, "/a/../b", at("/a/../b"), Denied(403, "NOT_GRANTED")),
            row(door, "/%2e%2e/b", at("/%2e%2e/b"), Denied(403, "NOT_GRANTED")),
            row(door, "/a/%2E./b", at("/a/%2E./b"), Denied(403, "NOT_GRANTED")),
            row(door, "/..;/b", at("/..;/b"), Denied(403, "NOT_GRANTED")),
            row(door, "a backslash", at("/a\\b"), Denied(403, "NOT_GRANTED")),
            row(door, "%2f", at("/a%2fb"), Denied(403, "NOT_GRANTED")),
            row(door, "%5C", at("/a%5Cb"), Denied(403, "NOT_GRANTED")),
            row(door, "%00", at("/a%00b"), Denied(403, "NOT_GRANTED")),
            row(door, "an escape of an escape", at("/%252e%252e/b"), Denied(403, "NOT_GRANTED")),
            row(door, "no escape", at("/a%zz"), Denied(403, "NOT_GRANTED")),
            row(door, "a wildcard", at("/**"), Denied(403, "NOT_GRANTED")),
            row(door, "no slash", at("admin"), Unasked(400)),
            row(door, "OPTIONS *", request("OPTIONS", "api.example", "*", &[("x-api-key", good)]), Unasked(404)),
            row(
                door,
                "a tunnel",
                request("CONNECT", "api.example:443", "api.example:443", &[("x-api-key", good)]),
                Unasked(404),
            ),
            row(door, "a whole URL", at("http://api.example/a"), Passed),
            row(door, "a whole URL of another host", at("http://other.example/a"), Denied(403, "NOT_GRANTED")),
            row(door, "not ASCII", with_bytes("GET /\u{e9}", b"", &format!(" HTTP/1.1{tail}")), Unasked(400)),
            row(door, "a long path", at(&format!("/{}", "a".repeat(60_000))), Denied(403, "NOT_GRANTED")),
            row(door, "a deep path", at(&"/a".repeat(1_000)), Denied(403, "NOT_GRANTED")),
            row(door, "a long header", get("/a", &[("x-long", &"a".repeat(60_000))]), Denied(401, "MISSING")),
            row(door, "a long credential", with(&"a".repeat(60_000)), Denied(401, "MALFORMED")),
            // Larger than ext_authz takes, whatever the credential.
            row(
                door,
                "far too long a header",
                get("/a", &[("x-api-key", good), ("x-long", &"a".repeat(1_100_000))]),
                Denied(403, "NOT_GRANTED"),
            ),
        ]);
    }
    // What is no text: as bytes it is refused, as text Envoy has made something else of it.
    let bytes = || {
        with_bytes("GET /a HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\nx-api-key: ", b"\xff\xfe", "\r\n\r\n")
    };
    // Joined by a comma, which may also be part of another cookie.
    let cookies = || get("/a", &[("cookie", "a=b"), ("cookie", &format!("kw={good}"))]);
    rows.extend([
        row("raw", "the cookie in a second header", cookies(), Passed),
        row("closed", "the cookie in a second header", cookies(), Denied(401, "MALFORMED")),
        row("raw", "not UTF-8", bytes(), Denied(401, "MALFORMED")),
        row("closed", "not UTF-8", bytes(), Denied(401, "NOT_FOUND")),
    ]);
    let routed = |method: &str, path: &str, credential: &str| {
        request(method, "routed.example", path, &[("x-api-key", credential)])
    };
    rows.extend([
        row("closed", "by a route", routed("GET", "/v1/things/5", good), Passed),
        row("closed", "by a route, another thing", routed("GET", "/v1/things/6", good), Denied(403, "NOT_GRANTED")),
        row("closed", "by a route, another method", routed("POST", "/v1/things/5", good), Denied(403, "NOT_GRANTED")),
        row("closed", "by a route, another tenant", routed("GET", "/v1/things/5", foreign), Denied(401, "NOT_FOUND")),
        row(
            "closed",
            "a path that steps into a route",
            routed("GET", "/x/../v1/things/5", good),
            Denied(403, "NOT_GRANTED"),
        ),
        row("fixed", "what the listener says", request("GET", "other.example", "/x", &[("x-api-key", good)]), Passed),
        row("fixed", "what the listener says, not held", with(other), Denied(403, "NOT_GRANTED")),
        row("fixed", "and still a path with one reading", at("/x/../a"), Denied(403, "NOT_GRANTED")),
        row("acme", "of its tenant", with(good), Passed),
        row("acme", "of another tenant", with(foreign), Denied(401, "NOT_FOUND")),
        row("beta", "of another tenant", with(good), Denied(401, "NOT_FOUND")),
        row("beta", "of its tenant", with(foreign), Passed),
        row("nowhere-open", "a tenant that is not there", with(good), Denied(401, "NOT_FOUND")),
        row("ill-named-open", "a tenant's name gone wrong", with(good), Denied(401, "NOT_FOUND")),
        row("asker", "by a proxy with a credential", with(good), Passed),
        row("asker", "another tenant's", with(foreign), Denied(401, "NOT_FOUND")),
        row("asker-beta-open", "a proxy of another tenant", with(foreign), Denied(401, "NOT_FOUND")),
    ]);
    // Where nothing can be decided, Envoy's configuration does; whatever is sent.
    for (door, expected) in [
        ("stranger", Failed),
        ("stranger-open", Undecided),
        ("dead", Failed),
        ("dead-open", Undecided),
        ("slow", Failed),
        ("slow-open", Undecided),
    ] {
        rows.push(row(door, "a good key", with(good), expected));
        rows.push(row(door, "no credential", get("/a", &[]), expected));
    }
    rows
}

/// What came of it, and that nobody was told what is not for them.
fn outcome(world: &World, reply: &Reply, reached: &[Value]) -> Outcome {
    let secrets = [&world.good, &world.double, &world.secret_key, &world.nearby, &world.paged, &world.revoked];
    let text = format!("{reply:?}");
    let Some(echo) = reply.echo() else {
        assert!(reached.is_empty(), "{reached:?}");
        assert!(
            !text.contains("forged")
                && !text.contains("injected")
                && !secrets.iter().any(|secret| text.contains(*secret))
        );
        return match reply.header("x-ext-auth-reason") {
            "" if reply.status == 503 => Failed,
            "" => Unasked(reply.status),
            reason => {
                let body: Value = serde_json::from_str(&reply.body).unwrap();
                assert_eq!(body["code"], if reply.status == 401 { 16 } else { 7 });
                assert!(reply.header("www-authenticate").starts_with("Bearer realm=\"keyward\""), "{text}");
                Denied(reply.status, reason.to_owned().leak())
            }
        };
    };
    assert_eq!(reached, std::slice::from_ref(&echo));
    let header = |name: &str| {
        let all = echo["headers"].as_array().unwrap().iter().filter(|pair| pair[0] == name);
        all.map(|pair| pair[1].as_str().unwrap()).collect::<Vec<_>>()
    };
    // Envoy's own, beside what a client sent.
    if header("x-envoy-auth-failure-mode-allowed").contains(&"true") {
        return Undecided;
    }
    assert!(!text.contains("forged") && !secrets.iter().any(|secret| text.contains(*secret)), "{text}");
    for name in ["x-api-key", "x-secret-key", "x-token"] {
        assert!(header(name).is_empty());
    }
    assert_eq!((header("x-keyward-tenant").len(), header("x-keyward-key").len()), (1, 1), "{text}");
    Passed
}

#[tokio::test]
async fn the_outcome_of_each_request_is_the_one_in_the_table() {
    let world = World::start().await;
    let mut wrong = Vec::new();
    let rows = rows(&world);
    for Row { door, what, request, expected } in &rows {
        world.envoy.reached();
        let reply = world.envoy.send(door, request).await;
        let found = outcome(&world, &reply, &world.envoy.reached());
        if found != *expected {
            wrong.push(format!("{door}: {what}: {found:?}, and was to be {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
