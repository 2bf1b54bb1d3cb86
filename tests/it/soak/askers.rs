//! Whoever asks about credentials, by each of the four doors of each replica, and knows what must come of it.

use super::world::{Life, SLACK, Watched, World, bump};
use crate::barrier::history::Fact;
use crate::harness::settings::Dice;
use crate::usage::{question, through_envoy};
use keyward::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// How long a client waits for a Check.
const LIMIT: Duration = Duration::from_secs(10);

/// How many Checks are in a batch, and how many go over one stream.
const BATCH: usize = 4;
const STREAM: usize = 60;

/// One of the ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Unary,
    Batch,
    Stream,
    Envoy,
}

pub(super) const DOORS: [Door; 4] = [Door::Unary, Door::Batch, Door::Stream, Door::Envoy];

impl Door {
    pub(super) fn rpc(self) -> &'static str {
        match self {
            Self::Unary => "Check",
            Self::Batch => "BatchCheck",
            Self::Stream => "StreamCheck",
            Self::Envoy => "ExtAuthz",
        }
    }
}

/// What came of a question.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) is_allowed: bool,
    /// None from Envoy's door.
    revision: Option<i64>,
    reasons: Vec<Reason>,
}

impl From<CheckResponse> for Answer {
    fn from(answer: CheckResponse) -> Self {
        Self {
            is_allowed: answer.decision() == Decision::Allowed,
            revision: Some(answer.revision),
            reasons: answer.reasons().collect(),
        }
    }
}

pub(super) fn timed<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

/// Asks some questions by a door. By Envoy's only the first credential counts, on `path`.
pub(super) async fn ask(
    door: Door,
    channel: &Channel,
    questions: &[CheckRequest],
    path: &str,
) -> Result<Vec<Answer>, Status> {
    let mut client = CheckServiceClient::new(channel.clone());
    match door {
        Door::Unary => {
            let mut answers = Vec::new();
            for question in questions {
                answers.push(client.check(timed(question.clone(), LIMIT)).await?.into_inner().into());
            }
            Ok(answers)
        }
        Door::Batch => {
            let request = BatchCheckRequest { checks: questions.to_vec() };
            let answer = client.batch_check(timed(request, LIMIT)).await?.into_inner();
            Ok(answer.results.into_iter().map(Answer::from).collect())
        }
        Door::Stream => {
            let messages: Vec<_> =
                questions.iter().map(|check| StreamCheckRequest { check: Some(check.clone()) }).collect();
            let request = timed(tokio_stream::iter(messages), LIMIT);
            let mut stream = client.stream_check(request).await?.into_inner();
            let mut answers = Vec::new();
            while let Some(answer) = stream.message().await? {
                answers.push(answer.result.unwrap_or_default().into());
            }
            Ok(answers)
        }
        Door::Envoy => {
            let credential = questions.first().map(|question| question.credential.clone()).unwrap_or_default();
            let request = timed(through_envoy(&credential, path), LIMIT);
            let answer = AuthorizationClient::new(channel.clone()).check(request).await?.into_inner();
            let is_allowed = answer.status.is_some_and(|status| status.code == 0);
            Ok(vec![Answer { is_allowed, revision: None, reasons: Vec::new() }])
        }
    }
}

/// Starts one for each door of these replicas.
pub(super) fn spawn(world: &Arc<World>, replicas: Range<usize>, tasks: &mut JoinSet<()>) {
    for replica in replicas {
        for door in DOORS {
            let world = Arc::clone(world);
            tasks.spawn(async move {
                let mut dice = Dice((replica * 10) as u64 + door as u64);
                while !world.is_over() {
                    if door == Door::Stream {
                        keep_asking(&world, replica, &mut dice).await;
                    } else {
                        ask_once(&world, replica, door, &mut dice).await;
                    }
                    sleep(Duration::from_millis(20 + dice.roll(40))).await;
                }
            });
        }
    }
}

/// Some that are watched, with the revision that is asked for.
fn some(world: &World, count: usize, dice: &mut Dice) -> Vec<(Arc<Watched>, i64)> {
    let board = world.board.lock();
    if board.is_empty() {
        return Vec::new();
    }
    let mut some = Vec::new();
    for _ in 0..count {
        let watched = Arc::clone(&board[dice.roll(board.len() as u64) as usize]);
        let wanted = if watched.is_back || dice.roll(4) == 0 { watched.revision } else { 0 };
        some.push((watched, wanted));
    }
    some
}

fn asked(watched: &Watched, wanted: i64) -> CheckRequest {
    CheckRequest { min_revision: wanted, ..question(&watched.text, "doc/1") }
}

async fn ask_once(world: &World, replica: usize, door: Door, dice: &mut Dice) {
    let some = some(world, if door == Door::Batch { BATCH } else { 1 }, dice);
    let Some(_turn) = world.turn().await else { return };
    if some.is_empty() {
        return;
    }
    let questions: Vec<CheckRequest> = some.iter().map(|(watched, wanted)| asked(watched, *wanted)).collect();
    let channel = world.site.replicas[replica].data(dice.roll(4) as usize);
    bump(&world.counts.calls);
    let sent = world.now();
    match ask(door, &channel, &questions, "/pkg.Service/Method").await {
        Ok(answers) if answers.len() == some.len() => {
            for ((watched, wanted), answer) in some.iter().zip(answers) {
                judge(world, replica, door, watched, (sent, *wanted), &answer);
            }
        }
        Ok(answers) => world.wrong(format!("{door:?}: {} answers to {} questions", answers.len(), some.len())),
        Err(status) => {
            world.failed(door.rpc(), replica, sent, &status);
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Many questions over one stream, one after the other: no view may be kept from one to the next.
async fn keep_asking(world: &World, replica: usize, dice: &mut Dice) {
    let Some(_turn) = world.turn().await else { return };
    let (questions, given) = mpsc::channel(1);
    let mut client = CheckServiceClient::new(world.site.replicas[replica].data(dice.roll(4) as usize));
    bump(&world.counts.calls);
    let mut sent = world.now();
    let failed = async {
        let opened = timeout(LIMIT, client.stream_check(ReceiverStream::new(given))).await;
        let mut answers = opened.map_err(|_| Status::deadline_exceeded("not opened"))??.into_inner();
        for (watched, wanted) in some(world, STREAM, dice) {
            sent = world.now();
            let check = Some(asked(&watched, wanted));
            if questions.send(StreamCheckRequest { check }).await.is_err() {
                // What ended the stream is told below.
            }
            let answer = timeout(LIMIT, answers.message()).await;
            let Some(answer) = answer.map_err(|_| Status::deadline_exceeded("not answered"))?? else {
                return Err(Status::unavailable("the stream has ended"));
            };
            let answer = Answer::from(answer.result.unwrap_or_default());
            judge(world, replica, Door::Stream, &watched, (sent, wanted), &answer);
            sleep(Duration::from_millis(10)).await;
        }
        Ok::<(), Status>(())
    };
    if let Err(status) = failed.await {
        world.failed(Door::Stream.rpc(), replica, sent, &status);
        sleep(Duration::from_millis(50)).await;
    }
}

fn judge(
    world: &World,
    replica: usize,
    door: Door,
    watched: &Watched,
    (sent, wanted): (Duration, i64),
    answer: &Answer,
) {
    let answered = world.now();
    if answer.is_allowed {
        bump(&world.counts.allowed);
        if watched.until.is_some_and(|until| sent > until + SLACK) {
            let Watched { number, until, .. } = watched;
            world.wrong(format!(
                "{door:?} at replica {replica} allowed {number}, which ended at {until:?}, at {sent:?}"
            ));
        }
        if watched.life() != Life::Past {
            world.note(Fact::Allowed { credential: watched.number, replica, sent, answered });
        }
    } else {
        bump(&world.counts.denied);
        let is_known = !watched.is_back || (wanted > 0 && door != Door::Envoy);
        let is_over = watched.until.is_some_and(|until| answered + SLACK > until);
        if is_known && !is_over && watched.life() == Life::Live {
            let Watched { number, revision, is_back, text, .. } = watched;
            // The id of a credential is no secret, and leads to its event; of a JWT this is its head.
            let id = text.rsplit_once('_').map_or("", |(id, _)| id).split('.').next().unwrap_or_default();
            let Answer { is_allowed: _, revision: at, reasons } = &answer;
            world.wrong(format!(
                "{door:?} at replica {replica} denied live credential {number} ({id}, of revision {revision}, back: \
                 {is_back}), asked for {wanted} at {sent:?}: {reasons:?} at {at:?}"
            ));
        }
    }
    if wanted > 0
        && let Some(revision) = answer.revision
    {
        world.note(Fact::Decided { replica, wanted, revision });
    }
}
