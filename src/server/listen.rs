//! Listeners: TCP or Unix sockets, with or without TLS, gRPC or HTTP, each with the limits that keep one client from
//! starving the others. The loop that accepts is our own: it alone can close a connection that never says anything, count
//! those of an address, and replace a certificate.

mod accept;
mod app;
mod caps;
mod connection;
mod lanes;
mod preface;
mod tls;

use crate::clock::Clock;
use crate::config::{Address, Limits, TlsFiles, TransportConfig};
use crate::domain::clock::Time;
use crate::error::{Error, Result};
use crate::telemetry::{ConnectionMeter, Listener};
use accept::{Bound, accept};
pub(super) use app::App;
use connection::Terms;
use hyper_util::rt::TokioIo;
use lanes::Lanes;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use tls::Tls;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

/// What the mode of a Unix socket never has, whatever the umask says: connecting takes the right to write.
const OTHERS: u32 = 0o007;

/// Binds an address; what was bound, and the address it got.
pub(super) async fn bind(address: &Address) -> Result<(Bound, Address)> {
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
            let listener = UnixListener::bind(path).map_err(cannot)?;
            close_to_others(path).map_err(cannot)?;
            Ok((Bound::Unix(listener), address.clone()))
        }
    }
}

/// The owner may connect, and its group as far as the umask says so; nobody else.
fn close_to_others(path: &Path) -> std::io::Result<()> {
    let mut permissions = std::fs::symlink_metadata(path)?.permissions();
    permissions.set_mode(permissions.mode() & !OTHERS);
    std::fs::set_permissions(path, permissions)
}

/// Removes what a server that did not end cleanly left behind; a socket that somebody answers is left alone.
async fn remove_stale_socket(path: &Path) -> std::io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Takes as many descriptors as this process may have. Many systems let it begin with far fewer, from times when that was
/// meant for programs that could not count further, and one client could use them up.
pub(super) fn take_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // What is refused leaves what there was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Leaves nothing of this process's memory behind when it crashes, nor lets who is not root look into it: there are
/// credentials in flight, signing keys, and the database's password.
pub(super) fn keep_memory() {
    // What is refused leaves what there was.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// The listeners of a server, before they are bound.
#[derive(Debug)]
pub(super) struct Listeners {
    data_tls: Option<Tls>,
    admin_tls: Option<Tls>,
    ops_tls: Option<Tls>,
    limits: Limits,
    meter: ConnectionMeter,
}

impl Listeners {
    /// Reads what TLS needs.
    pub(super) fn new(config: &TransportConfig, meter: ConnectionMeter, clock: &Clock) -> Result<Self> {
        let load = |files: &Option<TlsFiles>, is_grpc| {
            files.as_ref().map(|files| Tls::load(files, is_grpc, clock)).transpose()
        };
        Ok(Self {
            data_tls: load(&config.data_tls, true)?,
            admin_tls: load(&config.admin_tls, true)?,
            ops_tls: load(&config.ops_tls, false)?,
            limits: config.limits,
            meter,
        })
    }

    /// Which of them were given files that cannot be used, which, and why; what there was goes on.
    pub(super) fn refused_files(&self) -> impl Fn() -> Vec<(&'static str, String)> + Send + Sync + use<> {
        let [data, admin, ops] = [&self.data_tls, &self.admin_tls, &self.ops_tls].map(Clone::clone);
        move || {
            let all = [("data", &data), ("admin", &admin), ("ops", &ops)];
            all.into_iter().filter_map(|(name, tls)| Some((name, tls.as_ref()?.refusal()?))).collect()
        }
    }

    /// Which of them show a certificate, and until when the one in use is good.
    pub(super) fn certificates(&self) -> impl Fn() -> Vec<(&'static str, Time)> + Send + Sync + use<> {
        let [data, admin, ops] = [&self.data_tls, &self.admin_tls, &self.ops_tls].map(Clone::clone);
        move || {
            let all = [("data", &data), ("admin", &admin), ("ops", &ops)];
            all.into_iter().filter_map(|(name, tls)| Some((name, tls.as_ref()?.end()))).collect()
        }
    }

    /// Has one that was bound served.
    pub(super) fn open(
        &self,
        tasks: &mut JoinSet<Result<()>>,
        listener: Listener,
        bound: Bound,
        app: App,
        stopped: &watch::Receiver<bool>,
    ) -> Result<()> {
        let (limits, meter) = (self.limits, self.meter.clone());
        let (tls, lanes) = match listener {
            Listener::Data => (self.data_tls.clone(), Some(Lanes::start()?)),
            Listener::Admin => (self.admin_tls.clone(), None),
            Listener::Ops => (self.ops_tls.clone(), None),
        };
        if let Some(tls) = tls.clone() {
            tasks.spawn(tls.keep_current(listener, limits, meter.clone(), stopped.clone()));
        }
        tasks.spawn(accept(bound, listener, lanes, Terms { app, tls, limits }, meter, stopped.clone()));
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::dumpable_behavior;

    #[test]
    fn a_process_that_keeps_its_memory_leaves_no_core() {
        keep_memory();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }
}
