//! What the generated clients call: adds who calls and until when, chooses a server, and sends again what may be.

use super::balance::{self, Busy, Member};
use super::body::{Answered, Whole, collect};
use super::chance::Chance;
use super::repeat::{self, Kind};
use super::resolve::Directory;
use super::{deadline, failure};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use prost::bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::Service;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SECRET_KEY: HeaderName = HeaderName::from_static("x-secret-key");

/// The connections of a client as a service, which the generated clients are made over. Its errors are all statuses.
#[derive(Clone)]
pub struct Wire {
    shared: Arc<Shared>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

/// What all clones of a client share.
pub(super) struct Shared {
    pub(super) directory: Directory,
    pub(super) chance: Chance,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) secret_key: Option<HeaderValue>,
    pub(super) timeout: Duration,
    pub(super) mutation_timeout: Duration,
    pub(super) max_attempts: u32,
}

impl Wire {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.carry(request).await })
    }
}

/// An attempt that brought nothing.
struct Setback {
    /// What the caller gets if it was the last.
    outcome: Result<Response<Body>, Status>,
    reach: Reach,
    /// How long the server asked to be left alone.
    asked: Option<Duration>,
    /// Who failed; nobody, where no server is known.
    member: Option<Arc<Member>>,
}

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// No server has begun with it.
    Nowhere,
    /// The same, and the server had only said good-bye on that connection.
    Farewell,
    /// Perhaps a server has carried it out.
    Somewhere,
    /// Its deadline has come.
    Deadline,
}

impl Shared {
    async fn carry(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (mut parts, body) = request.into_parts();
        self.identify(&mut parts.headers);
        let kind = repeat::kind(parts.uri.path());
        let timeout = deadline::read(&parts.headers);
        let timeout = match kind {
            Kind::Stream | Kind::Watch => timeout,
            Kind::Read => Some(timeout.unwrap_or(self.timeout)),
            Kind::Ending | Kind::Keyed | Kind::Once => Some(timeout.unwrap_or(self.mutation_timeout)),
        };
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if kind == Kind::Stream {
            return self.attempt((parts, body), deadline, false, None).await.or_else(|setback| setback.outcome);
        }
        let message = collect(body).await?;
        let is_whole = kind != Kind::Watch;
        let may_repeat = repeat::may_repeat(parts.uri.path(), &message);
        let mut attempts = 0;
        let mut failed: Option<Arc<Member>> = None;
        loop {
            attempts += 1;
            let again = Body::new(Whole::new(Bytes::clone(&message)));
            let setback = match self.attempt((parts.clone(), again), deadline, is_whole, failed.as_ref()).await {
                Ok(response) => return Ok(response),
                Err(setback) => setback,
            };
            let is_allowed = match setback.reach {
                Reach::Nowhere | Reach::Farewell => true,
                Reach::Somewhere => may_repeat,
                Reach::Deadline => false,
            };
            let is_another_well = self.is_another_well(setback.member.as_ref()).await;
            let wait = self.wait(&setback, attempts, is_another_well);
            let next = Instant::now().checked_add(wait);
            let is_in_time = next.is_some_and(|next| deadline.is_none_or(|deadline| next < deadline));
            if !is_allowed || !is_in_time || attempts >= self.max_attempts {
                return setback.outcome;
            }
            tokio::time::sleep(wait).await;
            failed = setback.member;
        }
    }

    /// Adds who calls, unless the request says so itself.
    fn identify(&self, headers: &mut HeaderMap) {
        if headers.contains_key(AUTHORIZATION) || headers.contains_key(API_KEY) {
            return;
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
            if let Some(secret_key) = &self.secret_key {
                headers.insert(SECRET_KEY, secret_key.clone());
            }
        }
    }

    /// Whether there is a server to turn to after this one has failed.
    async fn is_another_well(&self, failed: Option<&Arc<Member>>) -> bool {
        let Some(failed) = failed else { return false };
        self.directory.servers().await.is_ok_and(|servers| balance::is_another_well(&servers, failed))
    }

    /// How long to wait before the next attempt.
    fn wait(&self, setback: &Setback, attempts: u32, is_another_well: bool) -> Duration {
        let backoff = self.chance.jitter(repeat::wait_after(attempts));
        match setback.reach {
            // Nothing is wrong: a new connection is all that is needed.
            Reach::Farewell if attempts == 1 => Duration::ZERO,
            Reach::Nowhere if is_another_well => Duration::ZERO,
            _ if is_another_well => backoff,
            _ => backoff.max(setback.asked.unwrap_or_default()),
        }
    }

    /// Sends a request to one server; to another than the one that failed, if there is one.
    async fn attempt(
        &self,
        (mut parts, body): (Parts, Body),
        deadline: Option<Instant>,
        is_whole: bool,
        failed: Option<&Arc<Member>>,
    ) -> Result<Response<Body>, Setback> {
        let nowhere = |status| Setback { outcome: Err(status), reach: Reach::Nowhere, asked: None, member: None };
        let late = || Setback { reach: Reach::Deadline, ..nowhere(failure::late()) };
        let servers = until(deadline, self.directory.servers()).await.ok_or_else(late)?;
        let member = servers.map(|servers| balance::choose(&servers, failed, &self.chance)).transpose();
        let member = match member.unwrap_or_else(|| Err(Status::unavailable("no server is known"))) {
            Ok(member) => member,
            Err(status) => {
                self.directory.refresh();
                return Err(nowhere(status));
            }
        };
        if let Some(deadline) = deadline {
            deadline::write(&mut parts.headers, deadline.saturating_duration_since(Instant::now()));
        }
        let busy = Busy::with(&member);
        let mut channel = member.channel.clone();
        let call = async {
            std::future::poll_fn(|context| channel.poll_ready(context)).await?;
            channel.call(Request::from_parts(parts, body)).await
        };
        let response = match until(deadline, call).await {
            Some(Ok(response)) => response,
            Some(Err(error)) => return Err(self.broken(&error, member)),
            None => {
                self.unwell(&member, None);
                return Err(Setback { member: Some(member), ..late() });
            }
        };
        let unavailable = refusal(&response);
        let deadline = deadline.filter(|_| is_whole).map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        let response = response.map(|inner| Body::new(Answered { inner, deadline, _busy: busy }));
        match unavailable {
            Some(asked) => {
                self.unwell(&member, asked);
                Err(Setback { outcome: Ok(response), reach: Reach::Somewhere, asked, member: Some(member) })
            }
            None => {
                member.is_well();
                Ok(response)
            }
        }
    }

    fn broken(&self, error: &tonic::transport::Error, member: Arc<Member>) -> Setback {
        let failure = failure::of(error);
        let reach = match &failure {
            failure if failure.status.code() == Code::DeadlineExceeded => Reach::Deadline,
            failure if failure.is_farewell => Reach::Farewell,
            failure if failure.is_unsent => Reach::Nowhere,
            _ => Reach::Somewhere,
        };
        if reach == Reach::Farewell {
            self.directory.refresh();
        } else {
            self.unwell(&member, None);
        }
        Setback { outcome: Err(failure.status), reach, asked: None, member: Some(member) }
    }

    fn unwell(&self, member: &Member, asked: Option<Duration>) {
        member.has_failed(asked, &self.chance);
        self.directory.refresh();
    }
}

/// Waits until the deadline at most.
async fn until<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

/// Whether an answer, or something on the way that has none, says `UNAVAILABLE` and no more; and how long the server asks
/// to be left alone.
fn refusal(response: &Response<Body>) -> Option<Option<Duration>> {
    match response.headers().get(Status::GRPC_STATUS) {
        Some(code) => (Code::from_bytes(code.as_bytes()) == Code::Unavailable).then(|| {
            let status = Status::from_header_map(response.headers());
            status.and_then(|status| status.get_details_retry_info()).and_then(|info| info.retry_delay)
        }),
        None => matches!(
            response.status(),
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        )
        .then_some(None),
    }
}
