use super::*;
use crate::config::ServeArgs;
use crate::domain::decision::{Decision, Reason};
use http::HeaderMap;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;
use tracing::{Level, Subscriber as _};

fn config(change: impl FnOnce(&mut ServeArgs)) -> Config {
    let mut args = ServeArgs::default();
    change(&mut args);
    Config::load(args).unwrap()
}

fn started() -> Telemetry {
    Telemetry::start(&config(|_| ())).unwrap()
}

/// Keeps what is written.
#[derive(Clone, Default)]
pub(crate) struct Lines(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What nobody asked for is not even looked at, so that the libraries of the wire make no span of every frame.
#[test]
fn the_most_that_is_looked_at_is_what_was_asked_for() {
    for (directives, most) in [("warn", Level::WARN), ("info", Level::INFO), ("warn,h2=debug", Level::DEBUG)] {
        let config = config(|args| args.log = Some(directives.to_owned()));
        let subscriber = log::subscriber(&config, std::io::sink, false, None).unwrap();
        assert_eq!(subscriber.max_level_hint(), Some(most.into()), "{directives}");
        let is_wanted = tracing::subscriber::with_default(subscriber, || tracing::enabled!(target: "h2", Level::TRACE));
        assert!(!is_wanted, "{directives}");
    }
    let traces = SdkTracerProvider::builder().build();
    let config = config(|args| args.log = Some("warn".to_owned()));
    let subscriber = log::subscriber(&config, std::io::sink, false, Some(&traces)).unwrap();
    assert_eq!(subscriber.max_level_hint(), Some(Level::INFO.into()), "our own spans are of this level");
}

/// Keeps the spans that are exported.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exported(pub(crate) Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Exported {
    async fn export(&self, batch: Vec<SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

#[test]
fn a_span_says_what_was_called_and_not_where_in_the_source_or_on_which_thread() {
    let exported = Exported::default();
    let traces = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).build();
    let subscriber = log::subscriber(&config(|_| ()), std::io::sink, false, Some(&traces)).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!(target: "keyward", "rpc", rpc.method = "Check").in_scope(|| {
            tracing::info!(target: "keyward", "an event");
        });
    });
    let spans = exported.0.lock().unwrap();
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    let names: Vec<&str> = span.attributes.iter().map(|pair| pair.key.as_str()).collect();
    assert!(names.contains(&"rpc.method"), "{names:?}");
    let events = span.events.iter().flat_map(|event| event.attributes.iter().map(|pair| pair.key.as_str()));
    for name in names.iter().copied().chain(events) {
        let is_noise = name.starts_with("code.") || name.starts_with("thread.") || name.ends_with("_ns");
        assert!(!is_noise, "{name}: {spans:?}");
    }
}

#[test]
fn the_service_has_the_name_that_its_operator_gives_it() {
    let named = |name: &str| {
        let config = config(|args| args.otel_service_name = Some(name.to_owned()));
        Telemetry::start(&config).unwrap().metrics().text().unwrap()
    };
    assert!(named("gate").contains("service_name=\"gate\""));
    assert!(named("").contains("service_name=\"keyward\""));
}

/// What is written while `act` runs under `--log directives`.
fn logged(directives: &str, format: &str, act: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let config = config(|args| {
        args.log = Some(directives.to_owned());
        args.log_format = Some(format.to_owned());
    });
    let subscriber = log::subscriber(&config, move || writer.clone(), false, None).unwrap();
    tracing::subscriber::with_default(subscriber, act);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn statements_are_not_logged_whatever_is_asked_for() {
    for directives in ["trace", "sqlx=trace", "sqlx::query=trace,sea_orm=trace,h2=trace", "keyward=trace,trace"] {
        let text = logged(directives, "human", || {
            tracing::info!(target: "sqlx::query", "canary");
            tracing::debug!(target: "sea_orm::driver::sqlx_sqlite", "canary");
            tracing::debug!(target: "sea_orm_migration", "canary");
            tracing::trace!(target: "h2::codec", "canary");
            tracing::trace!(target: "hyper::proto", "canary");
        });
        assert_eq!(text, "", "{directives}");
    }
    let text = logged("trace", "human", || {
        tracing::warn!(target: "sqlx::query", "slow");
        tracing::debug!(target: "h2::codec", "frame");
        tracing::trace!(target: "keyward::store", "step");
    });
    for word in ["slow", "frame", "step"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn the_log_is_for_people_or_for_machines() {
    let line = || tracing::info!(target: "keyward", revision = 7, "applied");
    assert!(logged("info", "human", line).contains("applied revision=7"));
    let text = logged("info", "json", line);
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(object.pointer("/fields/revision"), Some(&7.into()), "{text}");
    assert_eq!(logged("warn", "human", line), "");
    let refused = Telemetry::start(&config(|args| args.log = Some("keyward=loud".to_owned()))).unwrap_err();
    assert!(refused.to_string().contains("--log"), "{refused}");
}

#[test]
fn every_label_is_there_before_anything_is_counted() {
    let text = started().metrics().text().unwrap();
    for surface in ["check", "batch", "stream", "ext_authz", "ext_authz_observe"] {
        let allowed =
            format!("keyward_check_decisions_total{{decision=\"ALLOWED\",reason=\"\",surface=\"{surface}\"}} 0");
        assert!(text.contains(&allowed), "{text}");
        assert!(text.contains(&format!("keyward_check_denials_total{{surface=\"{surface}\"}} 0")), "{text}");
        for reason in Reason::ALL {
            let labels = format!("{{decision=\"DENIED\",reason=\"{}\",surface=\"{surface}\"}} 0", reason.as_str());
            assert!(text.contains(&format!("keyward_check_decisions_total{labels}")), "{labels}");
        }
    }
    for part in ["service_name=\"keyward\"", "service_version=", "service_instance_id="] {
        assert!(text.contains(part), "{part} is missing from {text}");
    }
}

#[test]
fn a_decision_is_counted_by_surface_and_reason_on_every_thread() {
    let telemetry = started();
    let decisions = &telemetry.instruments().decisions;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    decisions.count(Surface::Check, &Decision::denied(Reason::Revoked));
                    decisions.count(Surface::Batch, &Decision::denied(Reason::NotFound));
                    decisions.count(Surface::Stream, &Decision::default());
                }
            });
        }
    });
    let text = telemetry.metrics().text().unwrap();
    let expected = [
        ("decisions_total{decision=\"DENIED\",reason=\"REVOKED\",surface=\"check\"}", 4000),
        ("decisions_total{decision=\"DENIED\",reason=\"NOT_FOUND\",surface=\"check\"}", 0),
        ("decisions_total{decision=\"DENIED\",reason=\"NOT_FOUND\",surface=\"batch\"}", 4000),
        ("decisions_total{decision=\"DENIED\",reason=\"UNSPECIFIED\",surface=\"stream\"}", 4000),
        ("denials_total{surface=\"check\"}", 4000),
        ("decisions_total{decision=\"ALLOWED\",reason=\"\",surface=\"check\"}", 0),
    ];
    for (series, count) in expected {
        assert!(text.contains(&format!("keyward_check_{series} {count}\n")), "{series} {count}: {text}");
    }
}

#[test]
fn gauges_are_read_when_they_are_asked_for() {
    let telemetry = started();
    let revision = Arc::new(std::sync::atomic::AtomicI64::new(5));
    let read = Arc::clone(&revision);
    telemetry.show(Gauges {
        credentials: Box::new(|| 3),
        revision: Box::new(move || read.load(std::sync::atomic::Ordering::Relaxed)),
        is_serving: Box::new(|| true),
        replica: Box::new(|| ReplicaState {
            lease_remaining: Duration::from_millis(9_500),
            lease_age: Duration::from_millis(500),
            lag: 4,
            outstanding: 2,
            waiting: 3,
            is_refusing: false,
        }),
        certificates: Box::new(|| vec![("data", crate::domain::clock::Time::from_micros(7_000_000))]),
        caps: Arc::new(|| vec![CapGauge { kind: "keys", refused: 2, fullest: 0.75 }]),
        resources: Arc::new(|| Resources {
            passwords: PasswordState { workers: 4, busy: 3, queued: 9 },
            pools: vec![PoolState { pool: "lists", used: 2, idle: 1, max: 8 }],
            log_age: Some(Duration::from_secs(90)),
        }),
    });
    revision.store(6, std::sync::atomic::Ordering::Relaxed);
    let text = telemetry.metrics().text().unwrap();
    for line in [
        "keyward_index_credentials 3\n",
        "keyward_ledger_revision 6\n",
        "keyward_serving 1\n",
        "keyward_lease_remaining_seconds 9.5\n",
        "keyward_lease_age_seconds 0.5\n",
        "keyward_replica_lag_revisions 4\n",
        "keyward_replica_refusing 0\n",
        "keyward_barrier_outstanding_replicas 2\n",
        "keyward_barrier_waiting_mutations 3\n",
        "keyward_tls_certificate_expiry_seconds{listener=\"data\"} 7\n",
        "keyward_caps_refused_total{kind=\"keys\"} 2\n",
        "keyward_caps_fullest_ratio{kind=\"keys\"} 0.75\n",
        "keyward_passwords_workers 4\n",
        "keyward_passwords_busy 3\n",
        "keyward_passwords_queued 9\n",
        "keyward_database_connections{pool=\"lists\",state=\"used\"} 2\n",
        "keyward_database_connections{pool=\"lists\",state=\"idle\"} 1\n",
        "keyward_database_connections_max{pool=\"lists\"} 8\n",
        "keyward_ledger_log_age_seconds 90\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn waits_at_the_barrier_are_there_at_zero_and_counted_by_how_they_ended() {
    let telemetry = started();
    let barrier = &telemetry.instruments().barrier;
    let count = |outcome: &str, count: u32| {
        let line = format!("keyward_barrier_wait_seconds_count{{outcome=\"{outcome}\"}} {count}\n");
        let text = telemetry.metrics().text().unwrap();
        assert!(text.contains(&line), "{line}: {text}");
    };
    ["settled", "unfinished", "lost", "unreadable"].into_iter().for_each(|outcome| count(outcome, 0));
    barrier.record(&Ok(()), Duration::from_millis(3));
    barrier.record(&Ok(()), Duration::from_secs(15));
    barrier.record(&Err(Error::Unfinished { revision: 7, outstanding: Vec::new() }), Duration::from_secs(1));
    barrier.record(&Err(Error::internal("lost")), Duration::from_secs(1));
    barrier.record(&Err(Error::unavailable("unreadable")), Duration::from_secs(1));
    for (outcome, number) in [("settled", 2), ("unfinished", 1), ("lost", 1), ("unreadable", 1)] {
        count(outcome, number);
    }
    let text = telemetry.metrics().text().unwrap();
    for bucket in ["le=\"0.005\"} 1", "le=\"12.5\"} 1", "le=\"20\"} 2"] {
        let line = format!("keyward_barrier_wait_seconds_bucket{{outcome=\"settled\",{bucket}\n");
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[tokio::test]
async fn a_collector_that_hangs_does_not_hold_up_the_end() {
    // It accepts the connection and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let telemetry = Telemetry::start(&config(|args| args.otlp_endpoint = Some(endpoint))).unwrap();
    assert!(telemetry.instruments().is_tracing);
    telemetry.instruments().decisions.count(Surface::Check, &Decision::default());
    let begin = Instant::now();
    telemetry.shutdown().await;
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn what_was_counted_and_traced_last_reaches_the_collector() {
    use axum::http::Uri;
    use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
    let received: Arc<Mutex<Vec<String>>> = Arc::default();
    let receive = Arc::clone(&received);
    let collector = axum::Router::new().fallback(move |uri: Uri, body: axum::body::Bytes| {
        receive.lock().unwrap().push(format!("{uri} {}", String::from_utf8_lossy(&body)));
        std::future::ready([("content-type", "application/grpc"), ("grpc-status", "0")])
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let collector = tonic::transport::Server::builder().add_routes(collector.into()).serve_with_incoming(incoming);
    let collector = tokio::spawn(collector);

    let telemetry = Telemetry::start(&config(|args| args.otlp_endpoint = Some(endpoint))).unwrap();
    telemetry.tracer_provider.as_ref().unwrap().tracer("test").start("a span").end();
    telemetry.shutdown().await;
    collector.abort();
    let received = received.lock().unwrap();
    for (signal, content) in [("MetricsService/Export", "keyward.check.decisions"), ("TraceService/Export", "a span")] {
        let has_come = |call: &String| call.contains(signal) && call.contains(content) && call.contains("service.name");
        assert!(received.iter().any(has_come), "no {signal} with {content} in {received:?}");
    }
}

#[test]
fn a_trace_is_followed_if_it_is_whole_and_recorded_if_it_is_sampled() {
    let cases = [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true, true),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", true, false),
        // Space around it is forgiven by both.
        (" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\t", true, true),
        (" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", true, false),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-00", false, false),
        // The library would take both.
        ("0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false, false),
        ("00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false, false),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736", false, false),
        ("", false, false),
    ];
    for (text, is_whole, is_recorded) in cases {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", text.parse().unwrap());
        let context = remote_context(&headers);
        assert_eq!(context.is_some(), is_whole, "{text}");
        assert_eq!(is_sampled(&headers), is_recorded, "{text}");
        if let Some(context) = context {
            assert_eq!(context.span().span_context().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(context.span().span_context().is_sampled(), is_recorded);
        }
    }
    assert!(remote_context(&HeaderMap::new()).is_none() && !is_sampled(&HeaderMap::new()));
}
