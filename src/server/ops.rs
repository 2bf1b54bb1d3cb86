//! The operators' listener, plain HTTP: metrics, whether the process lives, whether it may be asked, and gRPC health
//! for those who ask in that way, and the public keys that verify JWTs. Open to whoever reaches it, and so without a
//! name, an id or a secret in any answer.

use crate::check::Index;
use crate::clock::Clock;
use crate::grpc::health::Health;
use crate::telemetry::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use tonic::service::Routes;

/// How long others may keep the key set: far shorter than a key is published before it signs, and short enough for one
/// that must go at once.
const JWKS_CACHE: &str = "public, max-age=300";

/// What says whether it may be asked.
#[derive(Clone)]
pub(super) struct Readiness {
    pub(super) index: Arc<Index>,
    pub(super) health: Health,
    /// Whether the ledger is not the one that was followed.
    pub(super) is_refusing: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Readiness {
    /// Why it may not be asked; nothing if it may.
    fn reasons(&self) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        if self.health.is_draining() {
            reasons.push("draining: the server ends");
        }
        if (self.is_refusing)() {
            reasons.push("ledger refused: it is not the one that was followed; the log says why, see `keyward adopt`");
        } else if !self.index.is_serving() {
            reasons.push("no lease: the database was not read for longer than a replica may answer without");
        }
        if reasons.is_empty() && !self.health.is_serving() {
            reasons.push("starting: health is not told yet");
        }
        reasons
    }
}

/// `GET /metrics`, `/.well-known/jwks.json`, `/healthz` and `/readyz`, gRPC health, and 404 for the rest.
pub(super) fn router(metrics: Metrics, clock: Clock, readiness: Readiness) -> Router {
    let routes: Router = Routes::new(readiness.health.server()).into_axum_router();
    let index = Arc::clone(&readiness.index);
    routes
        .route("/metrics", get(show_metrics).with_state(metrics))
        .route("/.well-known/jwks.json", get(show_jwks).with_state((index, clock)))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(show_readiness).with_state(readiness))
        .fallback(nothing_here)
}

async fn show_metrics(State(metrics): State<Metrics>) -> Response {
    // Not on this thread, which may have Checks to answer.
    match tokio::task::spawn_blocking(move || metrics.text()).await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], text).into_response(),
        Ok(Err(_)) | Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be read\n").into_response(),
    }
}

/// The public keys that verify JWTs, in the words of RFC 7517: what GetJwks answers.
async fn show_jwks(State((index, clock)): State<(Arc<Index>, Clock)>) -> Response {
    match index.jwks(clock.now()).map(|jwks| serde_json::to_string(&jwks)) {
        Ok(Ok(text)) => {
            ([(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, JWKS_CACHE)], text).into_response()
        }
        Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, [(CACHE_CONTROL, "no-store")], "not serving\n").into_response(),
    }
}

/// Ready is what can decide and does not drain; what is not says why, a reason a line.
async fn show_readiness(State(readiness): State<Readiness>) -> (StatusCode, String) {
    let reasons = readiness.reasons();
    if reasons.is_empty() {
        (StatusCode::OK, "serving\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.into_iter().map(|reason| format!("{reason}\n")).collect())
    }
}

/// A gRPC client expects its own kind of "not found".
async fn nothing_here(headers: HeaderMap) -> Response {
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    if content_type.is_some_and(|content_type| content_type.starts_with(b"application/grpc")) {
        return ([("content-type", "application/grpc"), ("grpc-status", "12")], "").into_response();
    }
    (StatusCode::NOT_FOUND, "nothing here\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ServeArgs};
    use crate::domain::clock::Moment;
    use crate::telemetry::Telemetry;
    use axum::body::{Body, to_bytes};
    use axum::http::{HeaderValue, Request};
    use std::sync::atomic::{AtomicBool, Ordering};
    use tower::ServiceExt as _;

    struct Ops {
        router: Router,
        index: Arc<Index>,
        health: Health,
        is_refused: Arc<AtomicBool>,
        /// What is shut down shows nothing.
        _telemetry: Telemetry,
    }

    impl Ops {
        fn new() -> Self {
            let telemetry = Telemetry::start(&Config::load(ServeArgs::default()).unwrap()).unwrap();
            let index = Arc::new(Index::default());
            let health = Health::new();
            let is_refused: Arc<AtomicBool> = Arc::default();
            let refused = Arc::clone(&is_refused);
            let readiness = Readiness {
                index: Arc::clone(&index),
                health: health.clone(),
                is_refusing: Arc::new(move || refused.load(Ordering::Relaxed)),
            };
            let router = router(telemetry.metrics().clone(), Clock::default(), readiness);
            Self { router, index, health, is_refused, _telemetry: telemetry }
        }

        async fn ask(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
            let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
            let bytes = to_bytes(body, usize::MAX).await.unwrap();
            (parts.status, parts.headers, String::from_utf8(bytes.to_vec()).unwrap())
        }

        async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
            self.ask(Request::get(path).body(Body::empty()).unwrap()).await
        }
    }

    #[tokio::test]
    async fn a_server_that_cannot_decide_or_drains_lives_and_is_not_ready() {
        let ops = Ops::new();
        type Step<'a> = &'a dyn Fn(&Ops);
        let refuse = |ops: &Ops| {
            ops.is_refused.store(true, Ordering::Relaxed);
            ops.index.stop();
        };
        // Each with the beginnings of the lines that say why not.
        let steps: [(Step<'_>, &[&str]); 6] = [
            (&|_| (), &["no lease:"]),
            (&|ops| ops.index.renew(Moment::MAX), &["starting:"]),
            (&|ops| ops.health.set_serving(true), &[]),
            (&|ops| ops.index.stop(), &["no lease:"]),
            (&refuse, &["ledger refused:"]),
            (&|ops| ops.health.drain(), &["draining:", "ledger refused:"]),
        ];
        for (number, (step, expected)) in steps.into_iter().enumerate() {
            step(&ops);
            let (status, _, text) = ops.get("/readyz").await;
            assert_eq!(status.as_u16(), if expected.is_empty() { 200 } else { 503 }, "after step {number}");
            let lines: Vec<&str> = text.lines().collect();
            if expected.is_empty() {
                assert_eq!(lines, ["serving"]);
            } else {
                assert_eq!(lines.len(), expected.len(), "after step {number}: {text}");
                let both = lines.iter().zip(expected);
                assert!(both.into_iter().all(|(line, begin)| line.starts_with(begin)), "after step {number}: {text}");
            }
            assert_eq!(ops.get("/healthz").await.0.as_u16(), 200);
        }
    }

    #[tokio::test]
    async fn metrics_are_in_the_form_that_prometheus_reads() {
        let (status, headers, text) = Ops::new().get("/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers.get(CONTENT_TYPE), Some(&HeaderValue::from_static("text/plain; version=0.0.4")));
        assert!(text.contains("\n# TYPE keyward_check_decisions_total counter\n"), "{text}");
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_in_the_language_of_the_question() {
        let ops = Ops::new();
        for path in ["/", "/metrics/", "/metricsx", "/keyward.v1.CheckService/Check", "/../metrics"] {
            assert_eq!(ops.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
        }
        let request = Request::post("/keyward.v1.CheckService/Check").header(CONTENT_TYPE, "application/grpc");
        let (status, headers, _) = ops.ask(request.body(Body::empty()).unwrap()).await;
        assert_eq!((status, headers.get("grpc-status")), (StatusCode::OK, Some(&HeaderValue::from_static("12"))));
        let (status, _, _) = ops.ask(Request::post("/metrics").body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn health_is_told_by_grpc_too() {
        let request = Request::post("/grpc.health.v1.Health/Check").header(CONTENT_TYPE, "application/grpc");
        // An empty message: which service is not said, so the server's own health is meant.
        let empty = Body::from(vec![0_u8; 5]);
        let (status, _, text) = Ops::new().ask(request.body(empty).unwrap()).await;
        assert_eq!((status, text.as_bytes()), (StatusCode::OK, &[0, 0, 0, 0, 2, 8, 2][..]), "NOT_SERVING is 2");
    }
}
