//! The methods there are, and the histogram of each by code. What is not in a descriptor set has no label of its own:
//! otherwise anybody could make as many as they like.

use crate::grpc::load::Flow;
use crate::proto;
use hashbrown::HashMap;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tonic::Code;

/// How many status codes there are.
const CODES: usize = 17;

/// The label of every method that nobody declared.
const OTHER: &str = "_OTHER";

/// What a Check may end with; shown from the start, so that the first of each is seen as an increase.
const OF_CHECK: [Code; 9] = [
    Code::Ok,
    Code::Cancelled,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::Internal,
    Code::Unavailable,
    Code::Unauthenticated,
];

/// What is done for a call besides timing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: it is a Check, ours or Envoy's.
    Check,
    /// A request id, a line in the log, a span.
    Administrative,
    /// Nothing: health, reflection, or a method that nobody declared.
    Other,
}

/// One method.
#[derive(Debug)]
pub(super) struct Method {
    /// `package.Service/Method`.
    pub(super) label: Arc<str>,
    pub(super) kind: Kind,
    pub(super) flow: Flow,
    call_duration: Histogram<f64>,
    by_code: [OnceLock<BoundHistogram<f64>>; CODES],
}

impl Method {
    fn new(label: &str, (kind, flow): (Kind, Flow), call_duration: &Histogram<f64>) -> Self {
        let by_code = std::array::from_fn(|_| OnceLock::new());
        let method = Self { label: label.into(), kind, flow, call_duration: call_duration.clone(), by_code };
        let known: &[Code] = match (kind, label) {
            (_, OTHER) => &[Code::Unimplemented],
            (Kind::Check, _) => &OF_CHECK,
            (Kind::Administrative | Kind::Other, _) => &[Code::Ok],
        };
        for code in known {
            method.bound(*code);
        }
        method
    }

    /// Counts a call and how long it took.
    pub(super) fn record(&self, code: Code, duration: Duration) {
        if let Some(bound) = self.bound(code) {
            bound.record(duration.as_secs_f64());
        }
    }

    fn bound(&self, code: Code) -> Option<&BoundHistogram<f64>> {
        let bind = || {
            let mut labels = vec![
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", Arc::clone(&self.label)),
                KeyValue::new("rpc.response.status_code", name_of(code)),
            ];
            if is_servers_fault(code) {
                labels.push(KeyValue::new("error.type", name_of(code)));
            }
            self.call_duration.bind(&labels)
        };
        self.by_code.get(code as usize).map(|bound| bound.get_or_init(bind))
    }
}

/// Every method, by the path of its requests.
#[derive(Debug)]
pub(super) struct Methods {
    by_path: HashMap<Box<str>, Arc<Method>>,
    other: Arc<Method>,
}

impl Methods {
    /// Those of every service that a listener may have.
    pub(super) fn new(call_duration: &Histogram<f64>) -> Self {
        let sets = [
            proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut by_path = HashMap::new();
        for (path, is_stream) in sets.into_iter().flat_map(paths) {
            let label = path.trim_start_matches('/');
            let method = Method::new(label, (kind_of(label), flow_of(label, is_stream)), call_duration);
            by_path.insert(path.as_str().into(), Arc::new(method));
        }
        Self { by_path, other: Arc::new(Method::new(OTHER, (Kind::Other, Flow::Call), call_duration)) }
    }

    /// The method of a request with this path.
    pub(super) fn find(&self, path: &str) -> &Arc<Method> {
        self.by_path.get(path).unwrap_or(&self.other)
    }
}

/// `/package.Service/Method` of every method in an encoded descriptor set, and whether it streams. A set that does not
/// decode has none; a test sees that they do.
fn paths(encoded: &[u8]) -> Vec<(String, bool)> {
    let set = FileDescriptorSet::decode(encoded).unwrap_or_default();
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                paths.push((path, method.client_streaming() || method.server_streaming()));
            }
        }
    }
    paths
}

fn kind_of(label: &str) -> Kind {
    let service = label.split_once('/').map_or(label, |(service, _)| service);
    match service {
        "keyward.v1.CheckService" | "envoy.service.auth.v3.Authorization" => Kind::Check,
        _ if service.starts_with("keyward.v1.") => Kind::Administrative,
        _ => Kind::Other,
    }
}

fn flow_of(label: &str, is_stream: bool) -> Flow {
    let is_health = label.starts_with("grpc.health.v1.");
    match (is_health, is_stream) {
        (true, _) => Flow::Always,
        (false, true) if label.starts_with("grpc.reflection.") => Flow::Reflection,
        (false, true) => Flow::Stream,
        // INVARIANT (no denial is an error): it would let pass, at an Envoy that fails open.
        (false, false) if label.starts_with("envoy.") => Flow::Always,
        (false, false) => Flow::Call,
    }
}

/// Whether a call with that code has failed by the server's fault, as the semantic conventions of RPC have it.
pub(super) fn is_servers_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The name of a code as the contract of gRPC writes it.
pub(super) const fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
