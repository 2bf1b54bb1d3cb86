//! Watching events on each engine, on one replica while another writes.

use super::server::server;
use super::{On, on_every_engine};
use crate::harness::Client;
use crate::watch::{list, next, watch};
use tonic::transport::Channel;

on_every_engine! {
    a_watch_misses_nothing_through_new_connections_and_a_restart,
}

/// Makes so many keys, several at once.
async fn write(client: Client, word: &'static str, count: usize) {
    let made = (0..count).map(|number| tokio::spawn(client.key("tenants/-").id(&format!("{word}-{number}")).issued()));
    for made in made.collect::<Vec<_>>() {
        made.await.unwrap();
    }
}

/// Watches until `count` more revisions were told, with a new watch after every few.
async fn collect(client: &Client, channel: &Channel, told: &mut Vec<i64>, count: usize) {
    let client = client.clone().through(channel);
    let wanted = told.len() + count;
    while told.len() < wanted {
        let mut watched = watch(&client, "tenants/-", told.last().copied().unwrap_or(0)).await.unwrap();
        for _ in 0..7.min(wanted - told.len()) {
            told.push(next(&mut watched).await.unwrap().unwrap().revision);
        }
    }
}

async fn a_watch_misses_nothing_through_new_connections_and_a_restart(on: On) {
    const EACH: usize = 60;
    let fresh = on.fresh().await;
    let mut first = server(&fresh).await;
    let acme = first.tenant("acme").await;
    // Of SQLite there is one process, whose writers cannot go on while it is restarted.
    let mut second = if on == On::Sqlite { None } else { Some(server(&fresh).await) };
    let writer = |channel: &Channel| acme.owner.clone().through(channel);
    let mut told = Vec::new();

    let elsewhere = second.as_ref().map_or_else(|| first.admin.clone(), |second| second.admin.clone());
    let writing = tokio::spawn(write(writer(&elsewhere), "a", EACH));
    collect(&acme.owner, &first.admin, &mut told, EACH / 2).await;
    if on == On::Sqlite {
        writing.await.unwrap();
        collect(&acme.owner, &first.admin, &mut told, EACH / 4).await;
        let last = told.last().copied().unwrap();
        let mut open = watch(&acme.owner, "tenants/-", last).await.unwrap();
        first.stop().await;
        while let Ok(Some(event)) = next(&mut open).await {
            told.push(event.revision);
        }
        first = server(&fresh).await;
        let writing = tokio::spawn(write(writer(&first.admin), "b", EACH));
        let missing = 1 + 2 * EACH - told.len();
        collect(&acme.owner, &first.admin, &mut told, missing).await;
        writing.await.unwrap();
    } else {
        let more = tokio::spawn(write(writer(&elsewhere), "b", EACH));
        let mut open = watch(&acme.owner, "tenants/-", told.last().copied().unwrap()).await.unwrap();
        first.stop().await;
        while let Ok(Some(event)) = next(&mut open).await {
            told.push(event.revision);
        }
        first = server(&fresh).await;
        let missing = 1 + 2 * EACH - told.len();
        collect(&acme.owner, &first.admin, &mut told, missing).await;
        writing.await.unwrap();
        more.await.unwrap();
    }
    let listed: Vec<i64> = list(&acme.owner.clone().through(&first.admin), "tenants/-", 0)
        .await
        .iter()
        .map(|event| event.revision)
        .collect();
    assert_eq!(listed.len(), 1 + 2 * EACH);
    assert_eq!(told, listed);
    if let Some(mut second) = second.take() {
        second.stop().await;
    }
    first.stop().await;
}
