//! A client that watches all events and goes on after each break, and one that pages through all lists.

use super::askers::timed;
use super::world::{World, bump};
use crate::harness::settings::Dice;
use keyward::proto::v1::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(10);

/// How long a watch is kept before another replica is asked.
const WATCH: Duration = Duration::from_secs(15);

/// Pages are small, so that there are many, and things change between them.
const PAGE: i32 = 40;

/// The most pages that are asked for of one list.
const PAGES: usize = 50;

/// Starts whoever pages. Whoever watches is started by [`watch`].
pub(super) fn spawn(world: &Arc<World>, tasks: &mut JoinSet<()>) {
    let world = Arc::clone(world);
    tasks.spawn(async move {
        let mut dice = Dice(0x9a9e);
        while !world.is_over() {
            for what in 0..5 {
                list(&world, what, &mut dice).await;
                sleep(Duration::from_millis(300)).await;
            }
        }
    });
}

/// Each event as it was told: revision, kind, subject and chain, in the order in which they came.
pub(super) type Told = Vec<(i64, String, String, String)>;

/// Watches until it is over and all up to `last` were told.
pub(super) async fn watch(world: Arc<World>, last: tokio::sync::watch::Receiver<i64>) -> Told {
    let dice = &mut Dice(0x3a7c);
    let mut told: Told = Vec::new();
    let is_done = |told: &Told| {
        let last = *last.borrow();
        last > 0 && told.last().is_some_and(|(revision, ..)| *revision >= last)
    };
    while !is_done(&told) {
        let at = world.anywhere(dice);
        let (after_revision, after_chain) =
            told.last().map(|(revision, .., chain)| (*revision, chain.clone())).unwrap_or_default();
        let request = WatchEventsRequest { after_revision, after_chain, ..WatchEventsRequest::default() };
        let mut events = world.site.root(at).events();
        let Some(mut watched) = world.call("WatchEvents", at, events.watch_events(request)).await else { continue };
        bump(&world.counts.watches);
        let begun = world.now();
        while world.now() < begun + WATCH && !is_done(&told) {
            let sent = world.now();
            // While nothing changes nothing is told.
            let Ok(message) = timeout(Duration::from_millis(500), watched.message()).await else { continue };
            match message {
                Ok(Some(WatchEventsResponse { event: Some(event), .. })) => {
                    let expected = told.last().map_or(1, |(revision, ..)| revision + 1);
                    if event.revision != expected {
                        world.wrong(format!("watch: revision {} came for {expected}", event.revision));
                    }
                    told.push((event.revision, event.kind, event.subject, event.chain));
                }
                Ok(Some(_)) => world.wrong("watch: no event in a message".to_owned()),
                // The replica leaves.
                Ok(None) => break,
                Err(status) => {
                    world.failed("WatchEvents", at, sent, &status);
                    sleep(Duration::from_millis(50)).await;
                    break;
                }
            }
        }
    }
    told
}

/// One list, page by page, each at another replica; nothing may come twice.
async fn list(world: &World, what: usize, dice: &mut Dice) {
    let mut seen = BTreeSet::new();
    let mut page_token = String::new();
    for _ in 0..PAGES {
        let at = world.anywhere(dice);
        let Some(_turn) = world.turn().await else { return };
        let Some((names, next)) = page(world, what, at, page_token).await else { return };
        bump(&world.counts.pages);
        for name in names {
            if !seen.insert(name.clone()) {
                world.wrong(format!("list {what}: {name} came twice"));
            }
        }
        if next.is_empty() {
            return;
        }
        page_token = next;
    }
}

async fn page(world: &World, what: usize, at: usize, page_token: String) -> Option<(Vec<String>, String)> {
    let owner = world.site.owner(at);
    let (parent, page_size) = ("tenants/-".to_owned(), PAGE);
    Some(match what {
        0 => {
            let request = ListKeysRequest { parent, page_size, page_token, show_deleted: true, ..Default::default() };
            let page = world.call("ListKeys", at, owner.keys().list_keys(timed(request, LIMIT))).await?;
            (page.keys.into_iter().map(|key| key.name).collect(), page.next_page_token)
        }
        1 => {
            let request = ListUsersRequest { parent, page_size, page_token, ..Default::default() };
            let page = world.call("ListUsers", at, owner.users().list_users(timed(request, LIMIT))).await?;
            (page.users.into_iter().map(|user| user.name).collect(), page.next_page_token)
        }
        2 => {
            let request = ListApplicationsRequest { parent, page_size, page_token, ..Default::default() };
            let mut service = owner.applications();
            let page = world.call("ListApplications", at, service.list_applications(timed(request, LIMIT))).await?;
            (page.applications.into_iter().map(|one| one.name).collect(), page.next_page_token)
        }
        3 => {
            let request = ListSessionsRequest { parent, page_size, page_token, ..Default::default() };
            let page = world.call("ListSessions", at, owner.tokens().list_sessions(timed(request, LIMIT))).await?;
            (page.sessions.into_iter().map(|session| session.name).collect(), page.next_page_token)
        }
        _ => {
            let request = ListEventsRequest { parent, page_size, page_token, ..Default::default() };
            let page = world.call("ListEvents", at, owner.events().list_events(timed(request, LIMIT))).await?;
            (page.events.into_iter().map(|event| event.revision.to_string()).collect(), page.next_page_token)
        }
    })
}
