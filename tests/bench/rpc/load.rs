//! Load on a server: as much as it takes, by so many calls in flight; or by the clock, whatever it takes.

use crate::wire::{Answered, Script, Wire};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How one method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Each request by a call of its own.
    Calls,
    /// All requests of a connection by one call, as a stream.
    Stream,
}

/// What came of a block of load.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) answered: usize,
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Vec<Duration>,
}

/// Keeps `in_flight` requests under way on each connection for so long, and waits for the last answers.
pub(crate) async fn closed(
    wires: &mut Vec<Wire>,
    script: &'static Script,
    in_flight: usize,
    way: Way,
    length: Duration,
) -> Block {
    let begin = Instant::now();
    let count = wires.len();
    let mut connections = JoinSet::new();
    for (place, wire) in wires.drain(..).enumerate() {
        // Each begins elsewhere in the script.
        let first = place * (script.requests.len() / count);
        connections.spawn(keep_asking(wire, script, first, in_flight, way, begin + length));
    }
    let mut block = Block::default();
    for (wire, latencies) in connections.join_all().await {
        wires.push(wire);
        block.answered += latencies.len();
        block.latencies.extend(latencies);
    }
    block.elapsed = begin.elapsed();
    block
}

async fn keep_asking(
    mut wire: Wire,
    script: &'static Script,
    first: usize,
    in_flight: usize,
    way: Way,
    end: Instant,
) -> (Wire, Vec<Duration>) {
    let mut numbers = first..;
    let mut ask = |wire: &mut Wire, stream: Option<u32>| {
        let number = numbers.next().unwrap_or_default();
        match stream {
            None => wire.call(script, number, Instant::now()),
            Some(stream) => wire.say(script, stream, number, Instant::now(), false),
        }
    };
    let stream = (way == Way::Stream).then(|| wire.begin(script.path));
    for _ in 0..in_flight {
        ask(&mut wire, stream);
    }
    let (mut asked, mut over, mut latencies, mut answers) = (in_flight, 0, Vec::new(), Vec::new());
    let mut is_ending = false;
    loop {
        wire.flush().await;
        wire.answers(script, &mut answers).await;
        for Answered { latency, is_over } in answers.drain(..) {
            if is_over {
                over += 1;
            } else {
                latencies.push(latency);
            }
            let is_next = match way {
                Way::Calls => is_over,
                Way::Stream => !is_over,
            };
            if is_next && Instant::now() < end {
                ask(&mut wire, stream);
                asked += 1;
            }
        }
        match stream {
            // Not before the last call is over: it would be one too many of the next block.
            None if over == asked => return (wire, latencies),
            Some(_) if over == 1 => return (wire, latencies),
            Some(stream) if !is_ending && latencies.len() == asked => {
                wire.end(stream);
                is_ending = true;
            }
            None | Some(_) => {}
        }
    }
}

/// Asks so often a second, in turn on each connection, and counts the latency from when each was to be asked: what stands
/// in the way of one delays those after it.
pub(crate) async fn open(wires: &mut [Wire], script: &'static Script, rate: f64, length: Duration) -> Block {
    let begin = Instant::now();
    let due = |number: usize| begin + Duration::from_secs_f64(number as f64 / rate);
    let all = (rate * length.as_secs_f64()) as usize;
    let (mut asked, mut over, mut answers) = (0, 0, Vec::new());
    let mut block = Block::default();
    while over < all {
        let now = Instant::now();
        while asked < all && due(asked) <= now {
            let place = asked % wires.len();
            wires[place].call(script, asked * 7919, due(asked));
            wires[place].flush().await;
            asked += 1;
        }
        for wire in wires.iter_mut() {
            wire.answers_there(script, &mut answers);
        }
        for Answered { latency, is_over } in answers.drain(..) {
            if is_over {
                over += 1;
            } else {
                block.latencies.push(latency);
            }
        }
        // Polls the sockets.
        tokio::task::yield_now().await;
    }
    block.answered = over;
    block.elapsed = begin.elapsed();
    block
}
