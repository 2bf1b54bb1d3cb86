//! Takes the connections of one listener, and waits for them in the end.

use super::app::{App, Peer};
use super::caps::Caps;
use super::connection::{Terms, serve, until};
use super::lanes::Lanes;
use super::preface::Wire;
use crate::error::Result;
use crate::telemetry::{ConnectionMeter, Listener};
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::transport::server::TcpConnectInfo;

/// How long nothing is accepted after the machine refused it, for want of descriptors most likely. What was asked for
/// stays in the queue meanwhile; asking again at once would take a whole core.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that others can connect to.
#[derive(Debug)]
pub(in crate::server) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was taken, and that no runtime looks after yet.
enum Taken {
    Tcp(std::net::TcpStream),
    Unix(StdUnixStream),
}

impl Taken {
    /// Has the runtime that this is called on look after it.
    fn wire(self) -> io::Result<Box<dyn Wire>> {
        Ok(match self {
            Self::Tcp(stream) => Box::new(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Box::new(UnixStream::from_std(stream)?),
        })
    }
}

impl Bound {
    async fn accept(&self) -> io::Result<(Taken, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                // Fails only on a connection that is gone, which is found soon enough.
                let _ = stream.set_nodelay(true);
                let tcp = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: Some(remote) };
                Ok((Taken::Tcp(stream.into_std()?), Peer { tcp: Some(tcp), identity: None }))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Taken::Unix(stream.into_std()?), Peer::default()))
            }
        }
    }
}

/// Counts a connection as open until dropped.
struct Counted(ConnectionMeter, Listener);

impl Counted {
    fn new(meter: &ConnectionMeter, listener: Listener) -> Self {
        meter.opened(listener);
        Self(meter.clone(), listener)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.closed(self.1);
    }
}

/// Takes connections until the server stops, and then waits for those that there are; dropped, it cuts them off. They are
/// served on `lanes`, or else on the runtime that this is called on.
pub(super) async fn accept(
    bound: Bound,
    listener: Listener,
    lanes: Option<Lanes>,
    terms: Terms,
    meter: ConnectionMeter,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let caps = Caps::new(&terms.limits);
    // What waits on a lane is counted there.
    let of_lanes: Vec<App> = (0..lanes.as_ref().map_or(0, Lanes::count)).map(|_| terms.app.of_another()).collect();
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(until(stopped.clone()));
    let mut is_refused = false;
    loop {
        let accepted = tokio::select! {
            () = stop.as_mut() => break,
            Some(_ended) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = bound.accept() => accepted,
        };
        let (taken, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                if !std::mem::replace(&mut is_refused, true) {
                    tracing::warn!(listener = listener.as_str(), "no connection can be accepted: {error}");
                }
                tokio::select! {
                    () = stop.as_mut() => break,
                    () = sleep(PAUSE) => continue,
                }
            }
        };
        is_refused = false;
        let address = peer.tcp.as_ref().and_then(|tcp| tcp.remote_addr).map(|address| address.ip());
        let permit = match caps.admit(address) {
            Ok(permit) => permit,
            Err(reason) => {
                meter.refused(listener, reason);
                continue;
            }
        };
        let (mut terms, meter, stopped) = (terms.clone(), meter.clone(), stopped.clone());
        let (place, lane) = lanes.as_ref().and_then(Lanes::place).unzip();
        if let Some(app) = lane.and_then(|lane| of_lanes.get(lane.number)) {
            terms.app = app.clone();
        }
        let served = async move {
            let _held = (permit, place, Counted::new(&meter, listener));
            // Fails only if it is gone, or descriptors are.
            let Ok(wire) = taken.wire() else { return };
            if let Err(reason) = serve(wire, peer, terms, stopped).await {
                meter.refused(listener, reason);
            }
        };
        match lane {
            Some(lane) => connections.spawn_on(served, &lane.handle),
            None => connections.spawn(served),
        };
    }
    // Nobody is to wait in a queue that is not looked at any more.
    drop(bound);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Whether the next connection may be asked for at once: this one was gone before it was taken.
fn is_of_one_connection(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionRefused];
    kinds.contains(&error.kind()) || error.kind() == io::ErrorKind::Interrupted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_descriptors_there_is_a_pause() {
        // EMFILE, ENFILE, ENOBUFS, ENOMEM.
        for code in [24, 23, 105, 12] {
            assert!(!is_of_one_connection(&io::Error::from_raw_os_error(code)), "{code}");
        }
        // ECONNABORTED, ECONNRESET, EINTR.
        for code in [103, 104, 4] {
            assert!(is_of_one_connection(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
