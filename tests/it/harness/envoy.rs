//! The real Envoy on free ports, in front of a real upstream: a listener for each way of asking Keyward.

use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Where `tests/run` installs it.
fn program() -> PathBuf {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/python/lib");
    let versions = std::fs::read_dir(&lib).into_iter().flatten().flatten();
    let found =
        versions.map(|version| version.path().join("site-packages/envoy/_bin/envoy")).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no Envoy below {}: `bash tests/run` installs it", lib.display()))
}

/// A listener of Envoy's.
pub struct Door {
    name: String,
    authorizer: String,
    fails_open: bool,
    is_raw: bool,
    timeout: &'static str,
    bearer: Option<String>,
    context: Vec<(String, String)>,
}

impl Door {
    /// One that asks the authorizer at this address, and turns requests away if that cannot decide.
    pub fn new(name: &str, authorizer: &str) -> Self {
        Self {
            name: name.to_owned(),
            authorizer: authorizer.to_owned(),
            fails_open: false,
            is_raw: false,
            timeout: "10s",
            bearer: None,
            context: Vec::new(),
        }
    }

    /// Lets requests pass if the authorizer cannot decide.
    pub fn failing_open(self) -> Self {
        Self { fails_open: true, ..self }
    }

    /// Tells headers as bytes, each as often as it was sent.
    pub fn raw(self) -> Self {
        Self { is_raw: true, ..self }
    }

    /// Waits no longer for an answer.
    pub fn within(self, timeout: &'static str) -> Self {
        Self { timeout, ..self }
    }

    /// Shows a credential of its own.
    pub fn with_bearer(self, credential: &str) -> Self {
        Self { bearer: Some(format!("Bearer {credential}")), ..self }
    }

    /// Says something about every request.
    pub fn saying(mut self, name: &str, value: &str) -> Self {
        self.context.push((name.to_owned(), value.to_owned()));
        self
    }

    fn listener(&self) -> Value {
        let mut metadata = Vec::new();
        if let Some(bearer) = &self.bearer {
            metadata.push(json!({ "key": "authorization", "value": bearer }));
        }
        let context: HashMap<_, _> = self.context.iter().cloned().collect();
        let ext_authz = json!({
            "name": "envoy.filters.http.ext_authz",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "transport_api_version": "V3",
                "grpc_service": {
                    "envoy_grpc": { "cluster_name": self.name },
                    "timeout": self.timeout,
                    "initial_metadata": metadata,
                },
                "failure_mode_allow": self.fails_open,
                "failure_mode_allow_header_add": true,
                "status_on_error": { "code": "ServiceUnavailable" },
                "encode_raw_headers": self.is_raw,
            },
        });
        let router = json!({
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        });
        let log = json!({
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": "/dev/stdout",
                "log_format": { "text_format_source": {
                    "inline_string": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%\n",
                } },
            },
        });
        let mut route = json!({ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } });
        if !context.is_empty() {
            route["typed_per_filter_config"] = json!({ "envoy.filters.http.ext_authz": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "check_settings": { "context_extensions": context },
            } });
        }
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": self.name,
            "codec_type": "AUTO",
            "use_remote_address": true,
            "max_request_headers_kb": 8192,
            "access_log": [log],
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
            "http_filters": [ext_authz, router],
        });
        json!({
            "name": self.name,
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }] }],
        })
    }

    fn cluster(&self) -> Value {
        cluster(&self.name, &self.authorizer)
    }
}

/// A cluster of one address that speaks HTTP/2.
fn cluster(name: &str, address: &str) -> Value {
    let address: SocketAddr = address.parse().unwrap();
    let endpoint = json!({ "address": { "socket_address": {
        "address": address.ip().to_string(), "port_value": address.port(),
    } } });
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": endpoint }] }] },
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} },
        } },
    })
}

/// A running Envoy; killed when dropped.
pub struct Envoy {
    child: Child,
    folder: TempDir,
    addresses: HashMap<String, SocketAddr>,
    upstream: Upstream,
}

impl Envoy {
    /// Starts it with these listeners, and waits until they are bound.
    pub async fn start(doors: &[Door]) -> Self {
        let upstream = Upstream::start().await;
        let folder = tempfile::Builder::new().prefix("keyward-it-").tempdir().unwrap();
        let mut clusters: Vec<Value> = doors.iter().map(Door::cluster).collect();
        clusters.push(cluster("upstream", &upstream.address.to_string()));
        let config = json!({
            "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } } },
            "static_resources": {
                "listeners": doors.iter().map(Door::listener).collect::<Vec<_>>(),
                "clusters": clusters,
            },
        });
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("envoy.json"), config.to_string()).unwrap();
        let mut command = Command::new(program());
        command.args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warning",
            "--file-flush-interval-msec",
            "50",
            "-c",
        ]);
        command.arg(path("envoy.json")).arg("--admin-address-path").arg(path("admin"));
        let (told, said) = (path("access"), path("log"));
        command.stdin(Stdio::null()).stdout(std::fs::File::create(told).unwrap());
        let child = command.stderr(std::fs::File::create(said).unwrap()).spawn().unwrap();
        // From here on it is killed whatever happens.
        let mut envoy = Self { child, folder, addresses: HashMap::new(), upstream };
        let deadline = Instant::now() + Duration::from_secs(60);
        while envoy.addresses.len() < doors.len() {
            assert!(Instant::now() < deadline, "Envoy does not listen:\n{}", envoy.log());
            assert!(envoy.child.try_wait().unwrap().is_none(), "Envoy has ended:\n{}", envoy.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
            envoy.addresses = envoy.listeners().await.unwrap_or_default();
        }
        envoy
    }

    /// Where its listeners are, once they are told.
    async fn listeners(&self) -> Option<HashMap<String, SocketAddr>> {
        let admin: SocketAddr = std::fs::read_to_string(self.folder.path().join("admin")).ok()?.parse().ok()?;
        let question = "GET /listeners?format=json HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n";
        let reply = exchange(admin, question.as_bytes()).await;
        let told: Value = serde_json::from_str(&reply.body).ok()?;
        let listeners = told["listener_statuses"].as_array()?.iter().filter_map(|listener| {
            let socket = &listener["local_address"]["socket_address"];
            let address = format!("{}:{}", socket["address"].as_str()?, socket["port_value"].as_u64()?);
            Some((listener["name"].as_str()?.to_owned(), address.parse().ok()?))
        });
        Some(listeners.collect())
    }

    /// Where a listener is.
    pub fn address(&self, door: &str) -> SocketAddr {
        self.addresses[door]
    }

    /// Sends the bytes of a request, and reads the reply to its end.
    pub async fn send(&self, door: &str, request: &[u8]) -> Reply {
        exchange(self.address(door), request).await
    }

    /// What the upstream got since this was asked the last time.
    pub fn reached(&self) -> Vec<Value> {
        std::mem::take(&mut *self.upstream.reached.lock())
    }

    /// The dynamic metadata of requests, a line each, once there are so many.
    pub async fn metadata(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let text = std::fs::read_to_string(self.folder.path().join("access")).unwrap();
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if lines.len() >= count {
                return lines;
            }
            assert!(Instant::now() < deadline, "not so many in {text}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    /// One header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// What the upstream got, if it was the one to answer.
    pub fn echo(&self) -> Option<Value> {
        (self.header("x-upstream") == "echo").then(|| serde_json::from_str(&self.body).unwrap())
    }
}

/// One exchange over a connection of its own.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Reply {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Envoy may answer before it has read everything.
        let _sent_or_answered = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let _closed_either_way = stream.read_to_end(&mut bytes).await;
        bytes
    };
    let bytes = tokio::time::timeout(Duration::from_secs(60), talk).await.expect("no reply");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_default();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if is_chunked { unchunked(body) } else { body.to_owned() };
    Reply { status, headers, body }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// What stands behind Envoy: tells what it got. To a gRPC call it says UNIMPLEMENTED and that it was reached.
struct Upstream {
    address: SocketAddr,
    reached: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    async fn start() -> Self {
        let reached: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&reached);
        let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let kept = Arc::clone(&kept);
            async move {
                let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
                let headers: Vec<(String, String)> =
                    request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
                let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
                let echo = json!({ "method": request.method().as_str(), "path": path, "headers": headers });
                kept.lock().push(echo.clone());
                let is_grpc = request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
                let response = http::Response::builder().header("x-upstream", "echo");
                let response = if is_grpc {
                    let response = response.header("content-type", "application/grpc");
                    response.header("grpc-status", "12").header("grpc-message", "reached").body(String::new())
                } else {
                    response.body(echo.to_string())
                };
                response.unwrap().map(axum::body::Body::from)
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, reached, task }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
