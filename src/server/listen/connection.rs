//! One connection from its first byte to its last.

use super::app::{App, Peer};
use super::preface::{Begun, Wire};
use super::tls::{self, Tls};
use crate::config::Limits;
use crate::telemetry::Refusal;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What h2 leaves unlimited or off (the Rapid Reset attack and its kin).
const MAX_PENDING_ACCEPT_RESETS: usize = 20;
const MAX_LOCAL_ERROR_RESETS: usize = 1024;

/// A peer that is silent this long is asked whether it is still there, and dropped if it does not say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What all connections of a listener share.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) app: App,
    pub(super) tls: Option<Tls>,
    pub(super) limits: Limits,
}

/// Completes once the server stops.
pub(super) async fn until(mut stopped: watch::Receiver<bool>) {
    let _ended_either_way = stopped.wait_for(|stopped| *stopped).await;
}

/// Serves a connection until it ends. Once it is old, or the server stops, it is told by GOAWAY, and the calls that it
/// has under way may finish. An error says why it never began.
pub(super) async fn serve(
    wire: Box<dyn Wire>,
    mut peer: Peer,
    terms: Terms,
    stopped: watch::Receiver<bool>,
) -> Result<(), Refusal> {
    let address = peer.tcp.as_ref().and_then(|tcp| tcp.remote_addr);
    let began = tokio::select! {
        () = until(stopped.clone()) => return Ok(()),
        began = timeout(terms.limits.handshake, begin(wire, &mut peer, terms.tls.as_ref())) => began,
    };
    let (begun, is_http2) = match began {
        Ok(Ok(begun)) => begun,
        // One who looks whether the port is open, most likely.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
        Ok(Err(error)) => {
            tracing::debug!(?address, "a connection could not begin: {error}");
            return Err(Refusal::Handshake);
        }
        Err(_) => return Err(Refusal::Silent),
    };
    if terms.app.is_grpc() && !is_http2 {
        tracing::debug!(?address, "a connection to a gRPC listener does not speak HTTP/2");
        return Err(Refusal::Handshake);
    }

    let builder = builder(&terms.limits, is_http2);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(begun), terms.app.of(peer)));
    // Its end is waited for apart: whatever is here is looked at with every frame that comes.
    let mut leaving = JoinSet::new();
    leaving.spawn(leave(terms.limits.max_connection_age, stopped));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        _ = leaving.join_next() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?address, "a connection ended: {error}");
    }
    Ok(())
}

/// TLS, if there is to be, and the first bytes of what is inside.
async fn begin(wire: Box<dyn Wire>, peer: &mut Peer, tls: Option<&Tls>) -> io::Result<(Begun, bool)> {
    let Some(tls) = tls else { return Begun::read(wire).await };
    let stream = tls.acceptor().accept(wire).await?;
    let (_, session) = stream.get_ref();
    peer.identity = session.peer_certificates().and_then(tls::identity);
    Begun::read(Box::new(stream)).await
}

fn builder(limits: &Limits, is_http2: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_calls_per_connection)
        .max_pending_accept_reset_streams(MAX_PENDING_ACCEPT_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_ERROR_RESETS)
        // It refuses what is as large as it may be.
        .max_header_list_size(limits.max_header_bytes.saturating_add(1))
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    if is_http2 { builder.http2_only() } else { builder.http1_only() }
}

/// Completes once the server stops, or the connection is old.
async fn leave(age: Duration, stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = until(stopped) => {}
        () = sleep(life(age, rand::random())) => {}
    }
}

/// Nine to eleven tenths of the age, by a random number from 0 to 1: those who came at once do not go at once.
fn life(age: Duration, random: f64) -> Duration {
    age.mul_f64(0.9 + 0.2 * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_about_as_long_as_the_age() {
        let lives = [0.0, 0.5, 1.0].map(|random| life(Duration::from_secs(1000), random).as_millis());
        assert_eq!(lives, [900_000, 1_000_000, 1_100_000]);
        // The longest age that a flag can say.
        assert!(life(Duration::from_secs(u64::from(u32::MAX) * 24 * 60 * 60), 1.0) > Duration::from_secs(1));
    }
}
