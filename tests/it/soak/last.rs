//! What must be true once all of it is over: everything acknowledged is there, nothing else, and all serve.

use super::applications::look_of_application;
use super::changes::AFTER_AN_ERROR;
use super::keys::{ABSENT, look};
use super::readers::Told;
use super::users::look_of_user;
use super::world::{Life, SLACK, Watched, World};
use crate::barrier::site::PATIENCE;
use crate::harness::process::{ended, keyward};
use crate::harness::send;
use crate::usage::question;
use crate::watch::list;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tonic::Code;

/// How many Checks are asked at once.
const BATCH: usize = 100;

/// What a replica may log with level ERROR while it is cut off from its database, or stood still: then it answers for a
/// lease and refuses after it (G4), and says so.
const EXPLAINED: &[&str] = &["the ledger cannot be followed: cannot decide: ", "the lease is lost: "];

/// What it may log at any time: on a busy machine a poll may be late, which costs nobody anything unless the lease is lost.
const LATE_POLL: &str = "the ledger cannot be followed: cannot decide: the database does not answer";

/// All things as they are told now, by name.
async fn found(world: &World) -> BTreeMap<String, String> {
    let owner = world.site.owner(2);
    let mut found = BTreeMap::new();
    let parent = || "tenants/acme".to_owned();
    let mut page_token = String::new();
    loop {
        let request =
            ListKeysRequest { parent: parent(), page_size: 1000, page_token, show_deleted: true, ..Default::default() };
        let page = owner.keys().list_keys(request).await.unwrap().into_inner();
        for key in page.keys {
            found.insert(key.name.clone(), look(key.state(), &key.description, key.grants.len()));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    loop {
        let request = ListUsersRequest {
            parent: parent(),
            page_size: 1000,
            page_token,
            show_deleted: true,
            ..Default::default()
        };
        let page = owner.users().list_users(request).await.unwrap().into_inner();
        found.extend(page.users.iter().map(|user| (user.name.clone(), look_of_user(user))));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    loop {
        let request = ListApplicationsRequest {
            parent: parent(),
            page_size: 1000,
            page_token,
            show_deleted: true,
            ..Default::default()
        };
        let page = owner.applications().list_applications(request).await.unwrap().into_inner();
        found.extend(page.applications.iter().map(|one| (one.name.clone(), look_of_application(one))));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

/// Every thing looks as it must: a line for the table.
pub(super) async fn things(world: &World) -> String {
    let found = found(world).await;
    let model = world.model.lock().clone();
    for (name, looks) in &model {
        let now = found.get(name).map_or(ABSENT, String::as_str);
        if *looks != [now] {
            world.wrong(format!("{name} looks like {now}, and must look like {looks:?}"));
        }
    }
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (repeated, found_done) = (count(&world.counts.repeated), count(&world.counts.found_done));
    format!(
        "{} things are as acknowledged; {repeated} mutations were sent again, {found_done} found done by then",
        model.len()
    )
}

/// Every credential is decided everywhere as it must: a line for the table.
pub(super) async fn credentials(world: &World) -> String {
    let all = world.all.lock().clone();
    let now = world.now();
    // Those that end by themselves while this is asked are nobody's.
    let is_certain = |until: Duration| until + SLACK < now || until > now + PATIENCE;
    let is_judged = |life| matches!(life, Life::Live | Life::Ended);
    let judged: Vec<_> = all.iter().filter(|one| is_judged(one.life()) && one.until.is_none_or(is_certain)).collect();
    let is_live = |one: &Watched| one.life() == Life::Live && one.until.is_none_or(|until| until > now);
    for replica in 0..world.site.replicas.len() {
        for some in judged.chunks(BATCH) {
            let asked =
                some.iter().map(|one| CheckRequest { min_revision: one.revision, ..question(&one.text, "doc/1") });
            let answers = answered(world, replica, BatchCheckRequest { checks: asked.collect() }).await;
            assert_eq!(answers.len(), some.len());
            for (one, answer) in some.iter().zip(answers) {
                let is_allowed = answer.decision() == Decision::Allowed;
                if is_allowed != is_live(one) {
                    let life = one.life();
                    world.wrong(format!("credential {} is {life:?}: {answer:?} at replica {replica}", one.number));
                }
            }
        }
    }
    let live = judged.iter().filter(|one| is_live(one)).count();
    format!("{live} live and {} ended credentials are decided so at every replica", judged.len() - live)
}

/// What a replica answers, however often it must be asked: the machine may stand still even now.
async fn answered(world: &World, replica: usize, request: BatchCheckRequest) -> Vec<CheckResponse> {
    let begun = world.now();
    loop {
        let mut client = CheckServiceClient::new(world.site.replicas[replica].data(0));
        match client.batch_check(request.clone()).await {
            Ok(answer) => return answer.into_inner().results,
            Err(status) => assert!(status.code() == Code::Unavailable && world.now() < begun + PATIENCE, "{status}"),
        }
        sleep(AFTER_AN_ERROR).await;
    }
}

/// Whether an event is of what has no history: a token or session, whose making may not have been answered, or what was made
/// before anybody began.
fn is_of_no_thing(kind: &str, revision: i64, first: i64) -> bool {
    revision <= first || kind.starts_with("token.") || kind.starts_with("session.")
}

/// Every acknowledged mutation has its event, and every thing no others; and the watch has told all events once and in
/// order: a line for the table.
pub(super) async fn events(world: &World, told: &Told) -> String {
    let events = list(&world.site.root(1), "", 0).await;
    let listed: Told = events.into_iter().map(|one| (one.revision, one.kind, one.subject, one.chain)).collect();
    for (place, (revision, ..)) in listed.iter().enumerate() {
        if *revision != place as i64 + 1 {
            world.wrong(format!("event {revision} is in place {place}"));
            break;
        }
    }
    if listed != *told {
        let first = listed.iter().zip(told).position(|(listed, told)| listed != told);
        world.wrong(format!("watched {} events, listed {}; first other at {first:?}", told.len(), listed.len()));
    }
    let by_revision: HashMap<i64, _> = listed.iter().map(|event| (event.0, event)).collect();
    let acknowledged = world.acknowledged.lock().clone();
    for one in &acknowledged {
        let event = by_revision.get(&one.revision);
        // What revokes by possession may have another kind and subject.
        let is_it = event.is_some_and(|(_, kind, subject, _)| {
            one.kind.is_empty() || (kind == one.kind && (one.subject.is_empty() || *subject == one.subject))
        });
        if !is_it {
            world.wrong(format!("acknowledged, and not in the log: {one:?}; there is {event:?}"));
        }
    }
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (revision, kind, subject, _) in &listed {
        if !is_of_no_thing(kind, *revision, world.first) {
            found.entry(subject).or_default().push(kind);
        }
    }
    let histories = world.histories.lock().clone();
    let names: BTreeSet<&str> = histories.keys().map(String::as_str).chain(found.keys().copied()).collect();
    for name in names {
        let (wanted, found) = (histories.get(name), found.get(name));
        if wanted.map(Vec::as_slice) != found.map(Vec::as_slice) {
            world.wrong(format!("{name} has the events {found:?}, and must have {wanted:?}"));
        }
    }
    format!(
        "{} acknowledged mutations are among {} events, each watched once, in order; {} things have theirs and no others",
        acknowledged.len(),
        told.len(),
        histories.len()
    )
}

/// The program finds the chain whole: a line for the table.
pub(super) async fn chain(world: &World) -> String {
    let head = world.site.path("head");
    let mut export = keyward();
    export.args(["events", "export", "--all-tenants", "--server", &world.site.replicas[0].admin_addr()]);
    export.arg("--head-file").arg(&head).env("KEYWARD_KEY", world.site.root_credential());
    let (code, printed, said) = spawn_blocking(|| ended(export)).await.unwrap();
    if code != Some(0) {
        world.wrong(format!("events export: {code:?} {said}"));
    }
    let exported = printed.lines().count();
    let mut verify = keyward();
    verify.args(["events", "verify", "--database-url", world.site.url()]).arg("--head-file").arg(&head);
    let (code, printed, said) = spawn_blocking(|| ended(verify)).await.unwrap();
    if code != Some(0) {
        world.wrong(format!("events verify: {code:?} {printed} {said}"));
    }
    format!("{exported} events exported; verify: {}", printed.lines().last().unwrap_or_default())
}

/// Every replica answers, holds its lease and is well: a line for the table.
pub(super) async fn service(world: &World) -> String {
    let mut applied = Vec::new();
    for (number, replica) in world.site.replicas.iter().enumerate() {
        world.site.until_it_serves(number).await;
        let status = send!(world.site.root(number).replicas(), get_status, GetStatusRequest {});
        match status {
            Ok(status) => {
                let remaining = status.lease_remaining.unwrap_or_default();
                if (remaining.seconds, remaining.nanos) <= (0, 0) {
                    world.wrong(format!("replica {number} has no lease: {status:?}"));
                }
                applied.push(status.applied_revision);
            }
            Err(status) => world.wrong(format!("replica {number}: {status}")),
        }
        let mut doctor = keyward();
        doctor.args(["doctor", "--server", &replica.admin_addr()]).env("KEYWARD_KEY", world.site.root_credential());
        let (code, printed, said) = spawn_blocking(|| ended(doctor)).await.unwrap();
        if code != Some(0) {
            world.wrong(format!("doctor at replica {number}: {code:?} {printed} {said}"));
        }
    }
    if applied.iter().any(|one| *one != applied[0]) {
        world.wrong(format!("the replicas are not at one revision: {applied:?}"));
    }
    match world.site.owner(1).key("tenants/-").id("last").tried().await {
        Ok(_) => world.must_have("tenants/acme/keys/last", "key.create"),
        Err(status) => world.wrong(format!("nothing can be made in the end: {status}")),
    }
    format!(
        "{} replicas answer, with a lease, at revision {:?}, and doctor exits with 0",
        applied.len(),
        applied.first()
    )
}

/// Nothing in the logs that should not be there: a line for the table.
pub(super) fn logs(world: &World) -> String {
    let secrets = world.secrets.lock();
    let (mut lines, mut warnings) = (0, BTreeMap::<String, u64>::new());
    let mut explained = BTreeMap::<String, u64>::new();
    for (number, replica) in world.site.replicas.iter().enumerate() {
        for line in replica.logged().lines() {
            lines += 1;
            if line.contains("panicked") {
                world.wrong(format!("replica {number} logged a panic: {line}"));
            }
            if line.split(|one: char| !one.is_ascii_alphanumeric()).any(|word| secrets.contains(word)) {
                world.wrong(format!("replica {number} logged a secret"));
            }
            let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let message = entry["fields"]["message"].as_str().unwrap_or_default();
            match entry["level"].as_str() {
                Some("ERROR") => {
                    let at = entry["timestamp"].as_str().and_then(|timestamp| world.time_of(timestamp));
                    let is_told = EXPLAINED.iter().any(|text| message.starts_with(text));
                    let is_felt = at.is_some_and(|at| world.weather.lock().is_felt(number, at));
                    if is_told && (is_felt || message.starts_with(LATE_POLL)) {
                        let text: String = message.chars().take(60).collect();
                        *explained.entry(text).or_default() += 1;
                        continue;
                    }
                    world.wrong(format!("replica {number} logged an error: {line}"));
                }
                Some("WARN") => {
                    let text: String = message.chars().filter(|one| !one.is_ascii_digit()).take(60).collect();
                    *warnings.entry(text).or_default() += 1;
                }
                _ => {}
            }
        }
    }
    let told = |level: &str, counts: &BTreeMap<String, u64>| -> String {
        counts.iter().map(|(text, count)| format!("\n    {count:6} {level}: {text}")).collect()
    };
    let (explained, warnings) = (told("error while something failed", &explained), told("warning", &warnings));
    format!("{lines} lines, no panic, no secret of {}, errors explained{explained}{warnings}", secrets.len())
}
