//! What is done to replicas, to their links and to their database while the clients go on.

use super::history::Fact;
use super::load::Load;
use super::relay::Link;
use super::site::Site;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// One of them. Spans are in leases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// SIGSTOP, and SIGCONT after it.
    Pause(f64),
    /// SIGKILL, and a new process after it.
    Kill,
    /// SIGTERM: it leaves, and another joins.
    Leave,
    /// Its connections are reset, and it gets no new ones.
    Cut(f64),
    /// Nothing reaches the database, or comes from it, and nobody is told.
    Silence(f64),
    /// Everything takes longer on the way.
    Slow(f64),
    /// Its wall clock jumps by so many seconds, and back after a lease.
    WallClock(i64),
}

/// What is done to the database.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outage {
    /// This signal to its first process, and a start after it.
    Stop(&'static str, f64),
    /// All of its processes stopped where they are.
    Freeze(f64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pause(_) => f.write_str("pause"),
            Self::Kill => f.write_str("kill"),
            Self::Leave => f.write_str("leave"),
            Self::Cut(_) => f.write_str("cut"),
            Self::Silence(_) => f.write_str("silence"),
            Self::Slow(_) => f.write_str("slow"),
            Self::WallClock(_) => f.write_str("wall clock"),
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop(..) => f.write_str("database stop"),
            Self::Freeze(_) => f.write_str("database freeze"),
        }
    }
}

/// How often what was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Done(pub(crate) BTreeMap<String, u32>);

impl Done {
    pub(crate) fn count(&mut self, what: impl fmt::Display) {
        *self.0.entry(what.to_string()).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what.clone()).or_default() += count;
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(what, count)| format!("{what} {count}")).collect();
        f.write_str(&all.join(", "))
    }
}

/// Does it to a replica, and waits until that serves again, which it must by itself.
pub(crate) async fn inflict(site: &Site, lease: Duration, number: usize, fault: Fault) {
    let replica = &site.replicas[number];
    match fault {
        Fault::Pause(leases) => {
            replica.signal("STOP");
            sleep(lease.mul_f64(leases)).await;
            replica.signal("CONT");
        }
        Fault::Kill => {
            replica.kill();
            site.begin_at_last(number).await;
        }
        Fault::Leave => {
            let (code, log) = replica.terminate().await;
            assert_eq!(code, Some(0), "it does not leave cleanly:\n{log}");
            site.begin_at_last(number).await;
        }
        Fault::Cut(leases) => during(site, number, Link::Cut, lease.mul_f64(leases)).await,
        Fault::Silence(leases) => during(site, number, Link::Silent, lease.mul_f64(leases)).await,
        Fault::Slow(leases) => {
            // The fraction of a lease that one way takes: slower than this no poll succeeds.
            during(site, number, Link::Slow(lease / 12), lease.mul_f64(leases)).await;
        }
        Fault::WallClock(seconds) => {
            site.set_wall_clock(number, seconds);
            sleep(lease).await;
            site.set_wall_clock(number, 0);
        }
    }
    site.until_it_serves(number).await;
}

async fn during(site: &Site, number: usize, link: Link, span: Duration) {
    let relay = &site.replicas[number].relay;
    relay.set(link);
    sleep(span).await;
    relay.set(Link::Up);
}

/// Does it to the database, and waits until every replica serves again, which all must by themselves.
pub(super) async fn darken(load: &Load, lease: Duration, outage: Outage) {
    let now = || load.now();
    let (from, until) = go_dark(&load.site, lease, outage, &now).await;
    load.note(Fact::Dark { from, until });
    load.site.until_all_serve().await;
}

/// The same without waiting: from when to when nobody could reach the database.
pub(crate) async fn go_dark(
    site: &Site,
    lease: Duration,
    outage: Outage,
    now: &(dyn Fn() -> Duration + Sync),
) -> (Duration, Duration) {
    let daemon = Arc::clone(&site.daemon);
    match outage {
        Outage::Stop(signal, leases) => {
            let stopping = Arc::clone(&daemon);
            spawn_blocking(move || stopping.stop(signal)).await.unwrap();
            let from = now();
            sleep(lease.mul_f64(leases)).await;
            let until = now();
            spawn_blocking(move || daemon.begin()).await.unwrap();
            (from, until)
        }
        Outage::Freeze(leases) => {
            let frozen = Arc::clone(&daemon);
            spawn_blocking(move || frozen.freeze()).await.unwrap();
            let from = now();
            sleep(lease.mul_f64(leases)).await;
            let until = now();
            spawn_blocking(move || daemon.thaw()).await.unwrap();
            (from, until)
        }
    }
}
