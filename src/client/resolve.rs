//! Which servers there are: what a name stands for, asked again every now and then and when one of them fails.

use super::balance::Member;
use super::builder::Template;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tonic::Status;

/// Asks for the addresses of a host at a port.
pub(super) type Resolver = Arc<dyn Fn(String, u16) -> Lookup + Send + Sync>;
/// Addresses that are on their way.
pub(super) type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Nobody is asked for a name more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// An answer is waited for no longer than this.
const LONGEST_LOOKUP: Duration = Duration::from_secs(10);

/// What the system says.
pub(super) fn system() -> Resolver {
    Arc::new(|host, port| Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }))
}

/// The addresses of a host, each once; none is an error.
pub(super) async fn look_up(resolver: &Resolver, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let lookup = tokio::time::timeout(LONGEST_LOOKUP, resolver(host.to_owned(), port));
    let mut addresses = lookup.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(addresses) }
}

/// The servers, as far as they are known.
#[derive(Clone)]
enum Servers {
    Unknown,
    Unresolved(String),
    Known(Arc<[Arc<Member>]>),
}

/// The servers behind a target. Stops asking for them when it is dropped.
pub(super) struct Directory {
    servers: watch::Receiver<Servers>,
    wanted: Arc<Notify>,
    follower: Option<AbortHandle>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

impl Directory {
    /// A server that has no name to ask for.
    pub(super) fn fixed(member: Member) -> Self {
        let (_, servers) = watch::channel(Servers::Known([Arc::new(member)].into()));
        Self { servers, wanted: Arc::default(), follower: None }
    }

    /// The servers behind a name; some may be known already.
    pub(super) fn following(
        template: Template,
        resolver: Resolver,
        (host, port): (String, u16),
        period: Duration,
        known: Vec<Arc<Member>>,
    ) -> Self {
        let first = if known.is_empty() { Servers::Unknown } else { Servers::Known(known.clone().into()) };
        let (sender, servers) = watch::channel(first);
        let wanted = Arc::<Notify>::default();
        let follower = Follower { template, resolver, host, port, period, known, sender, wanted: Arc::clone(&wanted) };
        let follower = tokio::spawn(follower.run()).abort_handle();
        Self { servers, wanted, follower: Some(follower) }
    }

    /// The servers there are; waits for the first answer, and fails if it is none.
    pub(super) async fn servers(&self) -> Result<Arc<[Arc<Member>]>, Status> {
        let mut servers = self.servers.clone();
        let known = servers.wait_for(|servers| !matches!(servers, Servers::Unknown)).await;
        match known.as_deref() {
            Ok(Servers::Known(members)) => Ok(Arc::clone(members)),
            Ok(Servers::Unresolved(trouble)) => Err(Status::unavailable(trouble.clone())),
            Ok(Servers::Unknown) | Err(_) => Err(Status::unavailable("the client has ended")),
        }
    }

    /// Has the name asked for again soon: something has changed.
    pub(super) fn refresh(&self) {
        self.wanted.notify_one();
    }
}

/// Keeps a directory up to date.
struct Follower {
    template: Template,
    resolver: Resolver,
    host: String,
    port: u16,
    period: Duration,
    known: Vec<Arc<Member>>,
    sender: watch::Sender<Servers>,
    wanted: Arc<Notify>,
}

impl Follower {
    async fn run(mut self) {
        let pause = self.period.min(SHORTEST_PAUSE);
        if self.known.is_empty() {
            self.look().await;
        }
        loop {
            tokio::time::sleep(pause).await;
            let _either_way = tokio::time::timeout(self.period.saturating_sub(pause), self.wanted.notified()).await;
            self.look().await;
        }
    }

    /// Asks once. Who was known stays so while there is no answer.
    async fn look(&mut self) {
        match look_up(&self.resolver, &self.host, self.port).await {
            Ok(addresses) => self.know(&addresses),
            Err(error) => {
                tracing::debug!(host = self.host, %error, "cannot find the addresses of Keyward");
                if self.known.is_empty() {
                    let trouble = format!("cannot find the addresses of {}: {error}", self.host);
                    self.sender.send_replace(Servers::Unresolved(trouble));
                }
            }
        }
    }

    fn know(&mut self, addresses: &[SocketAddr]) {
        let member = |address: &SocketAddr| {
            let text = address.to_string();
            let known = self.known.iter().find(|member| member.address == text);
            known.cloned().or_else(|| self.template.member(*address).ok().map(Arc::new))
        };
        let members: Vec<Arc<Member>> = addresses.iter().filter_map(member).collect();
        let is_same = |(one, other): (&Arc<Member>, &Arc<Member>)| Arc::ptr_eq(one, other);
        if members.len() != self.known.len() || !members.iter().zip(&self.known).all(is_same) {
            self.known.clone_from(&members);
            self.sender.send_replace(Servers::Known(members.into()));
        }
    }
}
