//! Listeners: TCP or Unix sockets, gRPC or HTTP, each with the limits that keep one client from starving the others.

use crate::config::Address;
use crate::error::{Error, Result};
use crate::grpc::arrive::ArriveLayer;
use crate::grpc::observe::ObserveLayer;
use hyper_util::rt::TokioIo;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};

/// What h2 leaves unlimited or off (the Rapid Reset attack and its kin).
const MAX_CONCURRENT_STREAMS: u32 = 256;
const MAX_PENDING_ACCEPT_RESETS: usize = 20;

/// A peer that is silent this long is asked whether it is still there, and dropped if it does not say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

async fn bind(address: &Address) -> Result<(Bound, Address)> {
    let cannot = |error: std::io::Error| Error::unavailable(format!("cannot listen on {address}: {error}"));
    let tcp = |listener: TcpListener| {
        let local = listener.local_addr().map_err(cannot)?;
        Ok((Bound::Tcp(listener), Address::Tcp(local)))
    };
    match address {
        Address::Tcp(socket) => tcp(TcpListener::bind(socket).await.map_err(cannot)?),
        Address::Host { name, port } => tcp(TcpListener::bind((name.as_str(), *port)).await.map_err(cannot)?),
        Address::Unix(path) => {
            remove_stale_socket(path).await.map_err(cannot)?;
            Ok((Bound::Unix(UnixListener::bind(path).map_err(cannot)?), address.clone()))
        }
    }
}

/// Removes what a server that did not end cleanly left behind; a socket that somebody answers is left alone.
async fn remove_stale_socket(path: &Path) -> std::io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Binds a gRPC listener and has it served; the address it got.
pub(super) async fn grpc(
    tasks: &mut JoinSet<Result<()>>,
    address: &Address,
    routes: Routes,
    (observe, arrive): (ObserveLayer, ArriveLayer),
    mut stopped: watch::Receiver<bool>,
) -> Result<Address> {
    let (bound, local) = bind(address).await?;
    let router = tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_ACCEPT_RESETS))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(observe)
        .layer(arrive)
        .add_routes(routes);
    tasks.spawn(async move {
        let signal = async move {
            let _ended_either_way = stopped.wait_for(|stopped| *stopped).await;
        };
        let served = match bound {
            Bound::Tcp(listener) => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                router.serve_with_incoming_shutdown(incoming, signal).await
            }
            Bound::Unix(listener) => {
                router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), signal).await
            }
        };
        served.map_err(Error::internal)
    });
    Ok(local)
}

/// Binds an HTTP listener and has it served; the address it got.
pub(super) async fn http(
    tasks: &mut JoinSet<Result<()>>,
    address: &Address,
    router: axum::Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<Address> {
    let (bound, local) = bind(address).await?;
    tasks.spawn(async move {
        let signal = async move {
            let _ended_either_way = stopped.wait_for(|stopped| *stopped).await;
        };
        let served = match bound {
            Bound::Tcp(listener) => axum::serve(listener, router).with_graceful_shutdown(signal).await,
            Bound::Unix(listener) => axum::serve(listener, router).with_graceful_shutdown(signal).await,
        };
        served.map_err(Error::internal)
    });
    Ok(local)
}

/// Connects to a listener of this process.
pub(super) async fn connect(address: &Address) -> Result<Channel> {
    match address {
        Address::Unix(path) => {
            let path = path.clone();
            let connector = tower::service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            Endpoint::from_static("http://unix").connect_with_connector(connector).await.map_err(Error::internal)
        }
        Address::Tcp(socket) => {
            let mut socket = *socket;
            if socket.ip().is_unspecified() {
                socket.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
            }
            let endpoint = Endpoint::from_shared(format!("http://{socket}")).map_err(Error::internal)?;
            endpoint.connect().await.map_err(Error::internal)
        }
        Address::Host { name, port } => {
            let endpoint = Endpoint::from_shared(format!("http://{name}:{port}")).map_err(Error::internal)?;
            endpoint.connect().await.map_err(Error::internal)
        }
    }
}
