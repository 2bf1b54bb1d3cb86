//! A server that answers as a test says, without a message: every answer is a status.

use axum::body::Body;
use http::{HeaderMap, Request, Response};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};

/// What came.
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
}

/// A running server.
pub(super) struct Stub {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

/// An answer; the last one that a client gets.
pub(super) fn done() -> Status {
    Status::new(Code::NotFound, "answered")
}

/// No answer now.
pub(super) fn away() -> Status {
    Status::unavailable("not now")
}

impl Stub {
    /// A server that is asked for the answer to each call by its number from 1.
    pub(super) async fn start<F, Answer>(answer: F) -> Self
    where
        F: Fn(usize) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Status> + Send + 'static,
    {
        Self::serve(Server::builder(), answer).await
    }

    /// The same by a server with settings of its own.
    pub(super) async fn serve<F, Answer>(server: Server, answer: F) -> Self
    where
        F: Fn(usize) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Status> + Send + 'static,
    {
        Self::serve_at("127.0.0.1:0".parse().unwrap(), server, answer).await
    }

    /// The same at an address.
    pub(super) async fn serve_at<F, Answer>(address: SocketAddr, mut server: Server, answer: F) -> Self
    where
        F: Fn(usize) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Status> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (shared, answer) = (Arc::clone(&seen), Arc::new(answer));
        let router = axum::Router::new().fallback(move |request: Request<Body>| {
            let mut seen = shared.lock().unwrap();
            seen.push(Seen { path: request.uri().path().to_owned(), headers: request.headers().clone() });
            let count = seen.len();
            let answer = Arc::clone(&answer);
            async move {
                // As a real server, it answers who has asked to the end.
                axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
                let response: Response<Body> = answer(count).await.into_http();
                response
            }
        });
        let router = server.add_routes(Routes::from(router));
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            let signal = async move { drop(stopped.await) };
            router.serve_with_incoming_shutdown(TcpIncoming::from(listener), signal).await.unwrap();
        });
        Self { address, seen, stop: Some(stop), running }
    }

    pub(super) fn target(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many calls came so far.
    pub(super) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The calls that came since this was last asked for.
    pub(super) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// Says good-bye to all connections, ends them, and waits until that is done.
    pub(super) async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.running).await.unwrap();
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.running.abort();
    }
}
