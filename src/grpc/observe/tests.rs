use super::*;
use crate::config::{Config, ServeArgs};
use crate::proto;
use crate::telemetry::Telemetry;
use crate::telemetry::tests::{Exported, Lines};
use axum::body::Bytes;
use http_body::Frame;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Mutex;
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

const CHECK: &str = "/keyward.v1.CheckService/Check";
const CREATE: &str = "/keyward.v1.KeyService/CreateKey";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

type Headers<'h> = &'h [(&'static str, &'h str)];

/// A body of these frames.
#[derive(Default)]
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

fn message() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(&[0; 5]))
}

fn trailers(status: &str) -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([(HeaderName::from_static(GRPC_STATUS), status.parse().unwrap())]))
}

fn answer<const N: usize>(frames: [Frame<Bytes>; N]) -> Response<Frames> {
    Response::new(Frames(frames.into()))
}

fn trailers_only(status: &str, message: &str) -> Response<Frames> {
    let mut response = answer([]);
    response.headers_mut().insert(GRPC_STATUS, status.parse().unwrap());
    response.headers_mut().insert(GRPC_MESSAGE, message.parse().unwrap());
    response
}

async fn frames(body: &mut ObservedBody<Frames>) -> Vec<Frame<Bytes>> {
    let mut frames = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        frames.push(frame.unwrap());
    }
    frames
}

struct Observed {
    telemetry: Telemetry,
    layer: ObserveLayer,
}

impl Observed {
    fn new() -> Self {
        let telemetry = Telemetry::start(&Config::load(ServeArgs::default()).unwrap()).unwrap();
        let layer = ObserveLayer::new(telemetry.instruments());
        Self { telemetry, layer }
    }

    fn tracing() -> Self {
        let Self { telemetry, .. } = Self::new();
        let instruments = Instruments { is_tracing: true, ..telemetry.instruments().clone() };
        Self { layer: ObserveLayer::new(&instruments), telemetry }
    }

    /// Calls `path` with these headers; `serve` answers.
    async fn call<F>(&self, path: &str, headers: Headers<'_>, serve: F) -> Response<ObservedBody<Frames>>
    where
        F: AsyncFn(Request<()>) -> Response<Frames>,
    {
        let mut request = Request::post(path).body(()).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let service = self.layer.layer(tower::service_fn(async |request| Ok::<_, Infallible>(serve(request).await)));
        service.oneshot(request).await.unwrap()
    }

    /// How many calls were counted for a method, with each code there was.
    fn counted(&self, label: &str) -> Vec<(String, u64)> {
        let name = "rpc_server_call_duration_seconds_count{";
        let method = format!("rpc_method=\"{label}\",rpc_response_status_code=\"");
        let text = self.telemetry.metrics().text().unwrap();
        let lines = text.lines().filter_map(|line| {
            let (before, rest) = line.strip_prefix(name)?.split_once(&method)?;
            let (code, count) = rest.split_once("\",rpc_system_name=\"grpc\"} ")?;
            // What has failed by the server's fault says so once more, and nothing else does.
            let is_fault = is_servers_fault((0..17).map(Code::from_i32).find(|known| name_of(*known) == code).unwrap());
            let error_type = if is_fault { format!("error_type=\"{code}\",") } else { String::new() };
            assert_eq!(before, error_type, "{line}");
            Some((code.to_owned(), count.parse().unwrap()))
        });
        let mut counted: Vec<(String, u64)> = lines.collect();
        counted.retain(|(_, count)| *count > 0);
        counted.sort();
        counted
    }

    #[track_caller]
    fn assert_counted(&self, path: &str, expected: &[(&str, u64)]) {
        let expected: Vec<_> = expected.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect();
        assert_eq!(self.counted(path.trim_start_matches('/')), expected);
    }
}

#[tokio::test]
async fn a_call_is_counted_by_the_code_in_its_trailers_when_they_come() {
    let observed = Observed::new();
    let mut response = observed.call(CHECK, &[], async |_| answer([message(), trailers("0")])).await;
    observed.assert_counted(CHECK, &[]);
    assert_eq!(frames(response.body_mut()).await.len(), 2);
    observed.assert_counted(CHECK, &[("OK", 1)]);
    drop(response);
    let mut response = observed.call(CREATE, &[], async |_| answer([message(), trailers("13")])).await;
    frames(response.body_mut()).await;
    observed.assert_counted(CREATE, &[("INTERNAL", 1)]);
    observed.assert_counted(CHECK, &[("OK", 1)]);
}

#[tokio::test]
async fn a_call_without_a_body_is_counted_by_the_code_in_its_headers() {
    let observed = Observed::new();
    observed.call(CHECK, &[], async |_| trailers_only("14", "away")).await;
    observed.call(CHECK, &[], async |_| trailers_only("1", "operation was canceled")).await;
    observed.call(CHECK, &[], async |_| trailers_only("99", "")).await;
    observed.call(CHECK, &[], async |_| answer([])).await;
    observed.assert_counted(CHECK, &[("CANCELLED", 1), ("UNAVAILABLE", 1), ("UNKNOWN", 2)]);
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_and_never_a_success() {
    let observed = Observed::new();
    let pending = observed.call(CHECK, &[], async |_| std::future::pending().await);
    assert!(tokio::time::timeout(Duration::from_millis(5), pending).await.is_err());
    observed.assert_counted(CHECK, &[("CANCELLED", 1)]);

    let mut response = observed.call(CHECK, &[], async |_| answer([message(), trailers("0")])).await;
    let body = response.body_mut();
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await.unwrap().unwrap();
    drop(response);
    observed.assert_counted(CHECK, &[("CANCELLED", 2)]);

    let mut response = observed.call(CHECK, &[], async |_| answer([message()])).await;
    frames(response.body_mut()).await;
    observed.assert_counted(CHECK, &[("CANCELLED", 2), ("UNKNOWN", 1)]);
}

#[tokio::test]
async fn a_handler_that_panics_is_an_internal_error() {
    let observed = Arc::new(Observed::new());
    let calling = Arc::clone(&observed);
    let task = tokio::spawn(async move {
        calling.call(CHECK, &[], async |_| panic!("a bug")).await;
    });
    assert!(task.await.unwrap_err().is_panic());
    observed.assert_counted(CHECK, &[("INTERNAL", 1)]);
}

#[tokio::test]
async fn only_declared_methods_have_labels() {
    let observed = Observed::new();
    for path in [
        "/x.Y/Z",
        "/",
        "/keyward.v1.CheckService/check",
        "/keyward.v1.CheckService/Check/",
        "//keyward.v1.CheckService/Check",
    ] {
        observed.call(path, &[], async |_| trailers_only("12", "")).await;
    }
    observed.assert_counted("_OTHER", &[("UNIMPLEMENTED", 5)]);
    let known = [
        "/envoy.service.auth.v3.Authorization/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/keyward.v1.AdminService/GetStatus",
    ];
    for path in known {
        observed.call(path, &[], async |_| trailers_only("0", "")).await;
        observed.assert_counted(path, &[("OK", 1)]);
    }
    observed.assert_counted("_OTHER", &[("UNIMPLEMENTED", 5)]);
}

#[test]
fn every_method_of_the_contract_is_there_at_zero() {
    use prost::Message as _;
    let text = Observed::new().telemetry.metrics().text().unwrap();
    let set = prost_types::FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    let mut methods = 0;
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                methods += 1;
                let label = format!("{}.{}/{}", file.package(), service.name(), method.name());
                let series = format!(
                    "_count{{rpc_method=\"{label}\",rpc_response_status_code=\"OK\",rpc_system_name=\"grpc\"}} 0\n"
                );
                assert!(text.contains(&series), "{label}");
            }
        }
    }
    assert!(methods > 50, "{methods}");
    assert!(text.contains("le=\"0.000025\"") && text.contains("le=\"10\""), "{text}");
    assert!(text.contains("rpc_method=\"keyward.v1.CheckService/Check\",rpc_response_status_code=\"UNAVAILABLE\""));
}

#[tokio::test]
async fn a_deadline_that_passes_is_told_as_such() {
    let observed = Observed::new();
    let never = async |_| std::future::pending().await;
    let response = observed.call(CHECK, &[("grpc-timeout", "5m")], never).await;
    assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), Code::DeadlineExceeded);
    assert!(response.body().is_end_stream());

    let observed = Observed { layer: observed.layer.clone().with_timeout(Duration::from_millis(5)), ..observed };
    let response = observed.call(CHECK, &[("grpc-timeout", "1H")], never).await;
    assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), Code::DeadlineExceeded);

    for message in ["Timeout expired", "Timeout%20expired"] {
        let response = observed.call(CHECK, &[], async |_| trailers_only("1", message)).await;
        assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), Code::DeadlineExceeded);
    }
    observed.assert_counted(CHECK, &[("DEADLINE_EXCEEDED", 4)]);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_the_clients_fault() {
    let observed = Observed::new();
    let cases = [
        ("13", "failed to decode Protobuf message: invalid wire type", Code::InvalidArgument),
        ("13", "failed%20to%20decode%20Protobuf%20message:%20x", Code::InvalidArgument),
        ("11", "Error,%20decoded%20message%20length%20too%20large", Code::ResourceExhausted),
        ("13", "internal%20error", Code::Internal),
    ];
    for (code, message, expected) in cases {
        let response = observed.call(CHECK, &[], async |_| trailers_only(code, message)).await;
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), expected, "{message}");
        assert_eq!(status.get_error_details().error_info().is_some(), expected != Code::Internal);
    }
    observed.assert_counted(CHECK, &[("INTERNAL", 1), ("INVALID_ARGUMENT", 2), ("RESOURCE_EXHAUSTED", 1)]);
}

#[test]
fn a_deadline_is_read_as_grpc_writes_it() {
    let cases = [
        ("1H", Some(Duration::from_secs(3600))),
        ("2M", Some(Duration::from_secs(120))),
        ("3S", Some(Duration::from_secs(3))),
        ("4m", Some(Duration::from_millis(4))),
        ("5u", Some(Duration::from_micros(5))),
        ("99999999n", Some(Duration::from_nanos(99_999_999))),
        ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
        ("999999999n", None),
        ("1", None),
        ("S", None),
        ("", None),
        ("-1S", None),
        ("1s", None),
    ];
    for (text, expected) in cases {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(GRPC_TIMEOUT), text.parse().unwrap())]);
        assert_eq!(grpc_timeout(&headers), expected.map(Some).ok_or(Malformed), "{text}");
    }
    assert_eq!(grpc_timeout(&HeaderMap::new()), Ok(None));
}

/// tonic's own timer answers CANCELLED; ours, inside it, must be first.
#[tokio::test]
async fn inside_a_real_server_our_deadline_comes_before_tonics() {
    let observed = Observed::new();
    let limit = Duration::from_millis(10);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let never = axum::Router::new().route(CHECK, axum::routing::post(std::future::pending::<&str>));
    let server = tonic::transport::Server::builder()
        .timeout(limit)
        .layer(observed.layer.clone().with_timeout(limit))
        .add_routes(never.into())
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let mut client = proto::v1::check_service_client::CheckServiceClient::new(channel);
    for _ in 0..10 {
        let status = client.check(proto::v1::CheckRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }
    observed.assert_counted(CHECK, &[("DEADLINE_EXCEEDED", 10)]);
    server.abort();
}

#[tokio::test]
async fn an_administrative_call_has_an_id_and_a_check_has_none() {
    let observed = Observed::new();
    let (fit, long) = ("x".repeat(128), "x".repeat(129));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    // Each with the id expected; none means a new one.
    let cases: [(Headers<'_>, Option<&str>); 7] = [
        (&[("x-request-id", "abc-1")], Some("abc-1")),
        (&[("x-request-id", "abc-1"), ("traceparent", SAMPLED)], Some("abc-1")),
        (&[("x-request-id", &fit)], Some(&fit)),
        (&[("x-request-id", &long), ("traceparent", NOT_SAMPLED)], Some(trace)),
        (&[("x-request-id", "a b"), ("traceparent", "00-zz")], None),
        (&[("x-request-id", "")], None),
        (&[], None),
    ];
    for (headers, expected) in cases {
        let seen = Mutex::new(None);
        let response = observed
            .call(CREATE, headers, async |request| {
                *seen.lock().unwrap() = request.extensions().get::<RequestId>().cloned();
                trailers_only("0", "")
            })
            .await;
        let RequestId(id) = seen.lock().unwrap().clone().unwrap();
        assert_eq!(response.headers().get(REQUEST_ID).unwrap().to_str().unwrap(), id);
        match expected {
            Some(expected) => assert_eq!(id, expected),
            None => assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 7),
        }
        let response = observed
            .call(CHECK, headers, async |request| {
                assert!(request.extensions().get::<RequestId>().is_none());
                trailers_only("0", "")
            })
            .await;
        assert!(!response.headers().contains_key(REQUEST_ID));
    }
}

#[tokio::test]
async fn a_line_in_the_log_tells_of_the_call_and_not_what_was_said() {
    let observed = Observed::new();
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let headers = [("x-request-id", "id-7"), ("authorization", "Bearer canary"), ("x-api-key", "canary")];
    observed.call(CREATE, &headers, async |_| trailers_only("5", "canary")).await;
    observed.call(CREATE, &headers, async |_| trailers_only("13", "canary")).await;
    observed.call(CHECK, &headers, async |_| trailers_only("0", "canary")).await;
    observed.call(CHECK, &headers, async |_| trailers_only("13", "canary")).await;
    drop(guard);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        ["DEBUG", "call ended", "keyward.v1.KeyService/CreateKey", "NOT_FOUND", "duration_us=", "id-7"],
        ["WARN", "call failed", "keyward.v1.KeyService/CreateKey", "INTERNAL", "duration_us=", "id-7"],
        ["WARN", "call failed", "keyward.v1.CheckService/Check", "INTERNAL", "duration_us=", ""],
    ];
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, words) in lines.iter().zip(expected) {
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn a_check_has_a_span_only_if_its_caller_records_one() {
    let exported = Exported::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans));
    let serve = async |_| {
        tracing::info_span!("inside").in_scope(|| ());
        trailers_only("14", "")
    };
    let take = || {
        let spans = std::mem::take(&mut *exported.0.lock().unwrap());
        spans.into_iter().filter(|span| span.name != "inside").collect::<Vec<_>>()
    };

    let observed = Observed::tracing();
    observed.call(CHECK, &[], serve).await;
    observed.call(CHECK, &[("traceparent", NOT_SAMPLED)], serve).await;
    assert_eq!(take().len(), 0);
    for malformed in [
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz1",
    ] {
        observed.call(CHECK, &[("traceparent", malformed)], serve).await;
        assert_eq!(take().len(), 0, "{malformed}");
    }
    observed.call(CHECK, &[("traceparent", SAMPLED)], serve).await;
    let spans = take();
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(span.name, "keyward.v1.CheckService/Check");
    assert_eq!(span.span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert_eq!(span.span_kind, opentelemetry::trace::SpanKind::Server);
    let attributes: Vec<_> = span.attributes.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
    for expected in [
        "rpc.system.name=grpc",
        "rpc.method=keyward.v1.CheckService/Check",
        "rpc.response.status_code=UNAVAILABLE",
        "error.type=UNAVAILABLE",
    ] {
        assert!(attributes.iter().any(|attribute| attribute == expected), "{attributes:?}");
    }
    observed.call(CREATE, &[("traceparent", SAMPLED)], serve).await;
    let spans = take();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert!(spans.iter().all(|span| span.parent_span_id.to_string() == "00f067aa0ba902b7"));

    let observed = Observed::new();
    observed.call(CHECK, &[("traceparent", SAMPLED)], serve).await;
    assert_eq!(take().len(), 0, "nobody collects them");
}
