//! `keyward serve` as its operator sees it: what it prints, writes, refuses, and how it ends.

use crate::harness::process::{Process, ended, keyward, serve};
use crate::harness::{Client, refused};
use hyper_util::rt::TokioIo;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

fn unix(path: &Path) -> Channel {
    let path = path.to_owned();
    Endpoint::from_static("http://unix").connect_with_connector_lazy(tower::service_fn(move |_| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
    }))
}

async fn decision(channel: Channel, credential: &str) -> Decision {
    let request = CheckRequest { credential: credential.to_owned(), ..CheckRequest::default() };
    CheckServiceClient::new(channel).check(request).await.unwrap().into_inner().decision()
}

/// The one word of a text that looks like a credential.
fn credential_in(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c == '=');
    let found: BTreeSet<&str> = words.filter(|word| word.starts_with("kw_")).collect();
    assert_eq!(found.len(), 1, "{text}");
    found.first().unwrap().to_string()
}

#[tokio::test]
async fn the_first_start_prints_root_and_the_answer_to_a_first_check_and_no_other_start_does() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let first = Process::launch(serve(&database));
    let data = first.data();
    assert_eq!(decision(data.clone(), "kw_not").await, Decision::Denied);
    let (status, printed, log) = first.terminate();
    assert!(status.success());
    let root = credential_in(&printed);
    assert!(printed.starts_with("Root credential (shown once"), "{printed}");
    assert!(printed.contains(": ALLOWED, at revision 2"), "{printed}");
    assert!(printed.contains(&format!("KEYWARD_CREDENTIAL={root} keyward check --server ")), "{printed}");
    assert!(!log.contains(&root), "root is in the log");

    let second = Process::launch(serve(&database));
    assert_eq!(decision(second.data(), &root).await, Decision::Allowed);
    let (status, printed, log) = second.terminate();
    assert!(status.success());
    assert_eq!(printed, "");
    assert!(!log.contains(&root) && !log.contains("kw_"), "{log}");
}

#[tokio::test]
async fn the_root_key_file_is_for_its_owner_only_and_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let file = folder.path().join("root.key");
    // What a start that did not commit left behind.
    std::fs::write(&file, "kw_leftover\n").unwrap();
    std::fs::write(folder.path().join("root.key.new"), "half").unwrap();
    let first = Process::start(&database, &[]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(!folder.path().join("root.key.new").exists());
    assert_eq!(decision(first.data(), text.trim_end()).await, Decision::Allowed);
    let (status, printed, log) = first.terminate();
    assert!(status.success());
    assert!(printed.contains("ALLOWED"), "{printed}");
    assert!(!printed.contains(text.trim_end()) && !log.contains(text.trim_end()));

    std::fs::write(&file, "the operator's own").unwrap();
    Process::start(&database, &[]).kill();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "the operator's own");
}

#[tokio::test]
async fn a_root_key_file_that_cannot_be_written_makes_no_root() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let mut command = serve(&database);
    command.arg("--root-key-file").arg(folder.path().join("nowhere/root.key"));
    let (code, printed, said) = ended(command);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nowhere/root.key"), "{said}");
    assert_eq!(printed, "");
    let (status, printed, _) = {
        let server = Process::launch(serve(&database));
        server.terminate()
    };
    assert!(status.success());
    credential_in(&printed);
}

#[test]
fn an_address_that_others_can_reach_is_refused_unless_it_is_said_who_may_ask() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let cases: &[(&[&str], &str)] = &[
        (&["--data-addr", "0.0.0.0:0"], "--check-auth"),
        (&["--data-addr", "[::]:0"], "--check-auth"),
        (&["--data-addr", "192.0.2.1:0"], "--check-auth"),
        (&["--admin-addr", "0.0.0.0:0"], "--admin-plaintext"),
        (&["--admin-addr", "0.0.0.0:0", "--check-auth", "bearer"], "--admin-plaintext"),
        (&["--data-addr", "0.0.0.0:0", "--admin-plaintext"], "--check-auth"),
        (&["--data-addr", "0.0.0.0:0", "--check-auth", "anybody"], "--check-auth"),
        (&["--data-addr", "nonsense"], "--data-addr"),
        (&["--data-addr", "127.0.0.1:4711", "--admin-addr", "localhost:4711"], "--admin-addr"),
        (&["--ops-addr", "unix:"], "--ops-addr"),
        (&["--drain-timeout", "10s"], "--drain-timeout"),
        (&["--config", "/nowhere.toml"], "/nowhere.toml"),
    ];
    for (flags, named) in cases {
        let mut command = keyward();
        command.arg("serve").arg("--database-url").arg(format!("sqlite:{}", database.display()));
        let said_of: BTreeSet<&str> = flags.iter().copied().filter(|flag| flag.ends_with("-addr")).collect();
        for listener in ["--data-addr", "--admin-addr", "--ops-addr"] {
            if !said_of.contains(listener) {
                command.args([listener, "127.0.0.1:0"]);
            }
        }
        let (code, printed, said) = ended({
            command.args(*flags);
            command
        });
        assert_eq!(code, Some(1), "{flags:?}: {said}");
        assert!(said.starts_with("keyward: ") && said.contains(named), "{flags:?}: {said}");
        assert_eq!(printed, "", "{flags:?}");
        assert!(!database.exists(), "{flags:?}: it went on as far as the database");
    }
}

#[tokio::test]
async fn sigterm_ends_it_in_time_whoever_still_hangs_on() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let server = Process::start(&database, &[]);
    // A watch, a stream that asks no more and does not end, and connections that say nothing or half a thing.
    let mut watch = HealthClient::new(server.data()).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let (questions, receiver) = tokio::sync::mpsc::channel::<StreamCheckRequest>(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    questions.send(StreamCheckRequest { check: Some(CheckRequest::default()) }).await.unwrap();
    let mut answers = CheckServiceClient::new(server.data()).stream_check(stream).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().result.unwrap();
    assert_eq!(answer.reasons().collect::<Vec<_>>(), [Reason::Missing]);
    let mut silent = Vec::new();
    for address in [&server.data_addr, &server.admin_addr, &server.ops_addr] {
        silent.push(TcpStream::connect(address).unwrap());
        let mut half = TcpStream::connect(address).unwrap();
        half.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
        silent.push(half);
    }
    let begin = Instant::now();
    let (status, _, log) = tokio::task::spawn_blocking(move || server.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    drop((questions, silent));
}

#[tokio::test]
async fn unix_sockets_are_addresses_too_and_a_stale_one_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let sockets: Vec<PathBuf> =
        ["data", "admin", "ops"].iter().map(|name| folder.path().join(format!("{name}.sock"))).collect();
    let start = || {
        let mut command = keyward();
        command.args(["serve", "--log-format", "json"]).arg("--database-url");
        command.arg(format!("sqlite:{}", database.display()));
        command.arg("--root-key-file").arg(folder.path().join("root.key"));
        for (flag, socket) in ["--data-addr", "--admin-addr", "--ops-addr"].iter().zip(&sockets) {
            command.arg(flag).arg(format!("unix:{}", socket.display()));
        }
        Process::launch(command)
    };
    let first = start();
    assert_eq!(first.data_addr, format!("unix:{}", sockets[0].display()));
    let root = std::fs::read_to_string(folder.path().join("root.key")).unwrap();
    assert_eq!(decision(unix(&sockets[0]), root.trim_end()).await, Decision::Allowed);
    let request = CreateTenantRequest { tenant_id: "acme".to_owned(), ..Default::default() };
    Client::at(unix(&sockets[1]), root.trim_end()).tenants().create_tenant(request).await.unwrap();
    let status = HealthClient::new(unix(&sockets[2])).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(status.into_inner().status(), ServingStatus::Serving);
    first.kill();
    assert!(sockets[0].exists(), "a killed server leaves its socket");
    let second = start();
    assert_eq!(decision(unix(&sockets[0]), root.trim_end()).await, Decision::Allowed);
    assert!(second.terminate().0.success());
}

#[tokio::test]
async fn every_listener_tells_its_health() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(&folder.path().join("keyward.db"), &[]);
    for address in [&server.data_addr, &server.admin_addr, &server.ops_addr] {
        let mut health = HealthClient::new(channel(address));
        for service in ["", "keyward.v1.CheckService", "keyward.v1.KeyService"] {
            let request = HealthCheckRequest { service: service.to_owned() };
            let status = health.check(request.clone()).await.unwrap().into_inner().status();
            assert_eq!(status, ServingStatus::Serving, "{address} {service:?}");
            let mut watch = health.watch(request).await.unwrap().into_inner();
            assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving, "{address}");
        }
        let unknown = HealthCheckRequest { service: "no.such.Service".to_owned() };
        assert_eq!(health.check(unknown.clone()).await.unwrap_err().code(), Code::NotFound);
        let mut watch = health.watch(unknown).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    }
    for (path, expected) in [("/healthz", "200"), ("/readyz", "200"), ("/metrics", "200"), ("/else", "404")] {
        let answer = http_get(&server.ops_addr, path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{path}: {answer}");
    }
}

/// The whole answer to a plain GET.
pub fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: keyward\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What reflection of one version lists; the messages of both have the same form.
macro_rules! listed {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let request = ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..ServerReflectionRequest::default()
        };
        let stream = tokio_stream::once(request);
        let mut client = ServerReflectionClient::new($channel);
        let mut answers = client.server_reflection_info(stream).await.unwrap().into_inner();
        match answers.message().await.unwrap().unwrap().message_response.unwrap() {
            MessageResponse::ListServicesResponse(list) => {
                list.service.into_iter().map(|service| service.name).collect::<BTreeSet<String>>()
            }
            other => panic!("{other:?}"),
        }
    }};
}

#[tokio::test]
async fn reflection_of_either_version_lists_every_service_and_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let server = Process::start(&folder.path().join("keyward.db"), &[]);
    let one = listed!(v1, server.admin());
    assert_eq!(one, listed!(v1alpha, server.admin()));
    let expected = [
        "envoy.service.auth.v3.Authorization",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "keyward.v1.AdminService",
        "keyward.v1.ApplicationService",
        "keyward.v1.CheckService",
        "keyward.v1.EventService",
        "keyward.v1.KeyService",
        "keyward.v1.TenantService",
        "keyward.v1.TokenService",
        "keyward.v1.UserService",
    ];
    assert_eq!(one.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn root_is_rotated_offline_and_the_old_one_ends() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let url = format!("sqlite:{}", database.display());
    let rotate = || {
        let mut command = keyward();
        command.args(["root", "rotate", "--database-url", &url]);
        command
    };
    let server = Process::start(&database, &[]);
    let old = std::fs::read_to_string(folder.path().join("root.key")).unwrap();
    let (code, _, said) = ended(rotate());
    assert_eq!(code, Some(1), "it rotated under a running server: {said}");
    assert!(server.terminate().0.success());
    let (code, printed, said) = ended(rotate());
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let new = credential_in(&printed);
    let server = Process::start(&database, &[]);
    assert_eq!(decision(server.data(), old.trim_end()).await, Decision::Denied);
    assert_eq!(decision(server.data(), &new).await, Decision::Allowed);
    let list = ListTenantsRequest::default();
    refused(
        Client::at(server.admin(), old.trim_end()).tenants().list_tenants(list.clone()).await,
        Code::Unauthenticated,
    );
    Client::at(server.admin(), &new).tenants().list_tenants(list).await.unwrap();
    assert!(server.terminate().0.success());

    let file = folder.path().join("rotated.key");
    let mut command = rotate();
    command.arg("--root-key-file").arg(&file);
    let (code, printed, _) = ended(command);
    let newest = std::fs::read_to_string(&file).unwrap();
    assert_eq!(code, Some(0));
    assert!(!printed.contains(newest.trim_end()));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let server = Process::start(&database, &[]);
    assert_eq!(decision(server.data(), &new).await, Decision::Denied);
    assert_eq!(decision(server.data(), newest.trim_end()).await, Decision::Allowed);
}

#[tokio::test]
async fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let url = |name: &str| format!("sqlite:{}", path(name).display());
    let file = format!(
        "database-url = {:?}\ndata-addr = \"unix:{}\"\nadmin-addr = \"unix:{}\"\nops-addr = \"127.0.0.1:0\"\n\
         log-format = \"human\"\nroot-key-file = {:?}\n",
        url("file.db"),
        path("file.sock").display(),
        path("file-admin.sock").display(),
        path("file.key"),
    );
    std::fs::write(path("keyward.toml"), file).unwrap();
    let mut command = keyward();
    command.args(["serve", "--log-format", "json", "--data-addr"]);
    command.arg(format!("unix:{}", path("flag.sock").display()));
    command.env("KEYWARD_CONFIG", path("keyward.toml"));
    command.env("KEYWARD_DATABASE_URL", url("environment.db"));
    command.env("KEYWARD_DATA_ADDR", format!("unix:{}", path("environment.sock").display()));
    let server = Process::launch(command);
    assert_eq!(server.data_addr, format!("unix:{}", path("flag.sock").display()));
    assert_eq!(server.admin_addr, format!("unix:{}", path("file-admin.sock").display()));
    assert!(path("environment.db").exists() && !path("file.db").exists());
    assert!(path("file.key").exists());
    assert!(server.terminate().0.success());

    std::fs::write(path("broken.toml"), "database-url = \"mysql://root:hunter2@db/x\"\nno-such-key = 1\n").unwrap();
    let mut command = keyward();
    command.arg("serve").arg("--config").arg(path("broken.toml"));
    let (code, _, said) = ended(command);
    assert_eq!(code, Some(1));
    assert!(said.contains("line 2") && said.contains("no-such-key"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
