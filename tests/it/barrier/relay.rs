//! A TCP relay between a replica and its database, which does to their link what networks do.

use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    /// Whatever passes takes so much longer.
    Slow(Duration),
    /// Nothing passes and nobody is told. What was held arrives once the link is up again, as if it had been sent again.
    Silent,
    /// Connections are reset, and new ones too.
    Cut,
}

/// A port of its own that leads to the database.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) port: u16,
    link: watch::Sender<Link>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (link, seen) = watch::channel(Link::Up);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((client, _)) = accepted {
                        connections.spawn(carry(client, upstream, seen.clone()));
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Self { port, link, task }
    }

    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, upstream: u16, link: watch::Receiver<Link>) {
    let _sooner = client.set_nodelay(true);
    let server = tokio::select! {
        biased;
        () = is_cut(link.clone()) => None,
        server = reached(upstream, link.clone()) => server,
    };
    let Some(mut server) = server else {
        let _reset = client.set_zero_linger();
        return;
    };
    let was_cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            () = pump(from_client, to_server, link.clone()) => false,
            () = pump(from_server, to_client, link.clone()) => false,
            () = is_cut(link) => true,
        }
    };
    if was_cut {
        let _reset = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// A connection that is asked for while nothing passes is made once something does.
async fn reached(upstream: u16, mut link: watch::Receiver<Link>) -> Option<TcpStream> {
    passes(&mut link).await;
    let server = TcpStream::connect(("127.0.0.1", upstream)).await.ok()?;
    let _sooner = server.set_nodelay(true);
    Some(server)
}

async fn is_cut(mut link: watch::Receiver<Link>) {
    drop(link.wait_for(|link| *link == Link::Cut).await);
}

async fn passes(link: &mut watch::Receiver<Link>) {
    drop(link.wait_for(|link| *link != Link::Silent).await);
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut link: watch::Receiver<Link>) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
        let now = *link.borrow_and_update();
        if let Link::Slow(by) = now {
            tokio::time::sleep(by).await;
        }
        passes(&mut link).await;
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
