//! Check over the wire beside a bare tonic echo of the same messages, in one run, blocks taking turns; the ratios are what
//! counts. Every server is a process of its own on the first core, the load comes from the second, every reply is looked
//! at. Run by `cargo bench --bench rpc`; `-- 10000` says how many keys there are (a million if nothing is said; their
//! database is kept below `target/` for the next time), and words after it which of the tables are made: `calls`,
//! `latency` (`latency FILE.svg` has it drawn there), `batches`, `proxies`, `writes`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable,
    clippy::disallowed_types,
    reason = "a bench may panic, and speaks gRPC"
)]

mod echo;
#[path = "../fill.rs"]
mod fill;
mod load;
mod peers;
#[path = "../plot.rs"]
mod plot;
mod servers;
mod wire;
mod world;
mod writer;

use load::{Block, Way};
use plot::{Line, svg};
use servers::{Other, used};
use std::path::Path;
use std::time::Duration;
use wire::{Script, Wire};
use world::World;

/// Connections, and calls in flight on each.
const SHAPES: [(usize, usize); 6] = [(1, 1), (1, 64), (8, 1), (8, 16), (64, 1), (64, 4)];
const BLOCK: Duration = Duration::from_millis(400);
const ROUNDS: usize = 9;

/// A server, and what is asked of it.
pub(crate) struct Subject {
    pub(crate) address: String,
    /// Whose processor time counts.
    pub(crate) process: u32,
    pub(crate) script: &'static Script,
}

impl Subject {
    fn new(address: &str, other: &Other, script: &'static Script) -> Self {
        Self { address: address.to_owned(), process: other.id(), script }
    }
}

/// What some blocks came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    answered: usize,
    elapsed: Duration,
    used: Duration,
    latencies: Vec<Duration>,
}

impl Sum {
    fn add(&mut self, block: Block, used: Duration) {
        self.answered += block.answered;
        self.elapsed += block.elapsed;
        self.used += used;
        self.latencies.extend(block.latencies);
    }

    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }

    /// Answers for each second of processor time.
    pub(crate) fn per_core(&self) -> f64 {
        self.answered as f64 / self.used.as_secs_f64()
    }

    /// The latency that so many in a thousand do not exceed, in microseconds.
    pub(crate) fn latency(&mut self, thousandth: usize) -> f64 {
        self.latencies.sort_unstable();
        let place = self.latencies.len() * thousandth / 1000;
        self.latencies.get(place).copied().unwrap_or_default().as_secs_f64() * 1e6
    }
}

async fn connect(subject: &Subject, connections: usize) -> Vec<Wire> {
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push(Wire::connect(&subject.address).await);
    }
    wires
}

/// As much as each of them takes, in turn.
pub(crate) async fn closed(subjects: &[Subject], shape: (usize, usize), way: Way) -> Vec<Sum> {
    let (connections, in_flight) = shape;
    let mut sums = vec![Sum::default(); subjects.len()];
    let mut all = Vec::new();
    for subject in subjects {
        all.push(connect(subject, connections).await);
    }
    for round in 0..=ROUNDS {
        for ((subject, wires), sum) in subjects.iter().zip(&mut all).zip(&mut sums) {
            let before = used(subject.process);
            let block = load::closed(wires, subject.script, in_flight, way, BLOCK).await;
            // The first warms up.
            if round > 0 {
                sum.add(block, used(subject.process).saturating_sub(before));
            }
        }
    }
    sums
}

/// So many calls a second of each of them, in turn.
async fn open(subjects: &[Subject], connections: usize, rate: f64, mut before: impl AsyncFnMut(usize)) -> Vec<Sum> {
    let mut sums = vec![Sum::default(); subjects.len()];
    let mut all = Vec::new();
    for subject in subjects {
        all.push(connect(subject, connections).await);
    }
    for round in 0..=ROUNDS {
        for (place, ((subject, wires), sum)) in subjects.iter().zip(&mut all).zip(&mut sums).enumerate() {
            before(place).await;
            let started = used(subject.process);
            let block = load::open(wires, subject.script, rate, BLOCK * 2).await;
            if round > 0 {
                sum.add(block, used(subject.process).saturating_sub(started));
            }
        }
    }
    sums
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if servers::play(&words) {
        return;
    }
    let core = servers::take_second_core();
    if core.is_none() {
        println!("Servers and load share their cores: there is one only, or no taskset.");
    }
    // Looks at its sockets often: the load keeps to the clock.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().event_interval(7).build().expect("a runtime");
    runtime.block_on(run(core, &words));
}

async fn run(core: Option<usize>, words: &[String]) {
    let count = words.first().map_or(1_000_000, |word| word.parse().expect("how many keys"));
    let tables = words.get(1..).unwrap_or_default();
    let is_wanted = |table: &str| tables.is_empty() || tables.iter().any(|word| word == table);
    let folder = world::folder(count).await;
    let (keyward, data, admin) = servers::keyward(core, &folder);
    world::settle().await;
    let world = World::learn(&data, count).await;
    let (same, same_address) = servers::bare(core, "one thread", &world.reply, &world.authorized);
    let (default, default_address) = servers::bare(core, "default", &world.reply, &world.authorized);
    let check = Subject::new(&data, &keyward, world.check);
    let bares = [
        Subject::new(&same_address, &same, world.check_echo),
        Subject::new(&default_address, &default, world.check_echo),
    ];
    println!(
        "Check, {count} keys, beside a bare tonic echo on a runtime of one thread (echo 1) and on tokio's default\n"
    );
    let [echo, echo_default] = bares;
    let mut trio = [check, echo, echo_default];
    if is_wanted("calls") {
        calls(&trio).await;
    }
    if is_wanted("latency") {
        let drawing = tables.iter().find(|word| word.ends_with(".svg"));
        latency(&trio, drawing.map(Path::new)).await;
    }
    if is_wanted("batches") {
        batches(&data, &keyward, &world).await;
    }
    if is_wanted("proxies") {
        let authorize = Subject::new(&data, &keyward, world.authorize);
        let same = Subject::new(&same_address, &same, world.authorize_echo);
        let default = Subject::new(&default_address, &default, world.authorize_echo);
        println!("\next_authz Check beside a bare tonic ext_authz that always allows\n");
        calls(&[authorize, same, default]).await;
    }
    if let Some(place) = tables.iter().position(|word| word == "peers") {
        peers::compare(&trio, &tables[place + 1..]).await;
    }
    if is_wanted("writes") {
        trio[0].script = world.check_amid;
        writes(core, &trio[0], &admin, &folder).await;
    }
    for other in [keyward, same, default] {
        // Clients that are still here must be able to hear that it ends.
        tokio::task::spawn_blocking(|| other.end()).await.expect("an end");
    }
}

async fn calls(trio: &[Subject; 3]) {
    println!(
        "| connections | in flight on each | calls/s | echo 1 | default | calls/s per core | echo 1 | default | throughput / echo 1 | per core / echo 1 | per core / default | median µs | echo 1 | default | latency / echo 1 |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for shape in SHAPES {
        let mut sums = closed(trio, shape, Way::Calls).await;
        let [check, echo, default] = &mut sums[..] else { unreachable!("three") };
        let medians = [check.latency(500), echo.latency(500), default.latency(500)];
        println!(
            "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} | {:.0} | {:.2} |",
            shape.0,
            shape.1,
            check.rate(),
            echo.rate(),
            default.rate(),
            check.per_core(),
            echo.per_core(),
            default.per_core(),
            check.rate() / echo.rate(),
            check.per_core() / echo.per_core(),
            check.per_core() / default.per_core(),
            medians[0],
            medians[1],
            medians[2],
            medians[0] / medians[1],
        );
    }
}

/// At a tenth and more of what the slowest takes.
async fn latency(trio: &[Subject; 3], drawing: Option<&Path>) {
    let most = closed(trio, (8, 1), Way::Calls).await.iter().map(Sum::rate).fold(f64::MAX, f64::min);
    println!("\nBy the clock, 8 connections; the latency counts from when a call was to be made\n");
    println!(
        "| calls/s | median µs | echo 1 | default | 99th µs | echo 1 | default | median / echo 1 | 99th / echo 1 |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut lines =
        ["Check", "bare echo, one thread", "bare echo, default runtime"].map(|name| Line { name, points: Vec::new() });
    for share in [0.1, 0.2, 0.35, 0.5, 0.65, 0.8] {
        let mut sums = open(trio, 8, most * share, async |_| ()).await;
        let [check, echo, default] = &mut sums[..] else { unreachable!("three") };
        let medians = [check.latency(500), echo.latency(500), default.latency(500)];
        let late = [check.latency(990), echo.latency(990), default.latency(990)];
        println!(
            "| {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} |",
            most * share,
            medians[0],
            medians[1],
            medians[2],
            late[0],
            late[1],
            late[2],
            medians[0] / medians[1],
            late[0] / late[1]
        );
        for (line, median) in lines.iter_mut().zip(medians) {
            line.points.push((most * share, median));
        }
    }
    if let Some(path) = drawing {
        std::fs::write(path, svg("One unary Check", "calls a second", "median, µs", &lines)).expect("a place to draw");
    }
}

/// Checks a second of a core, by each way to ask many.
async fn batches(data: &str, keyward: &Other, world: &World) {
    println!("\n| way | connections | in flight on each | checks/s per core | beside Check |");
    println!("|---|---:|---:|---:|---:|");
    let of = |script| [Subject::new(data, keyward, script)];
    for (connections, in_flight) in [(8, 1), (8, 16)] {
        let unary = closed(&of(world.check), (connections, in_flight), Way::Calls).await[0].per_core();
        let batch = closed(&of(world.batch), (connections, 1), Way::Calls).await[0].per_core();
        let stream = closed(&of(world.stream), (connections, in_flight), Way::Stream).await[0].per_core();
        let rows =
            [("Check", unary, in_flight), ("BatchCheck of 100", batch * 100.0, 1), ("StreamCheck", stream, in_flight)];
        for (way, rate, in_flight) in rows {
            println!("| {way} | {connections} | {in_flight} | {rate:.0} | {:.2} |", rate / unary);
        }
    }
}

/// Check at half load, with and without somebody who writes.
async fn writes(core: Option<usize>, check: &Subject, admin: &str, folder: &Path) {
    let subjects = || {
        let subject = |_| Subject { address: check.address.clone(), ..*check };
        [0, 1].map(subject)
    };
    let half = closed(&subjects()[..1], (8, 1), Way::Calls).await[0].rate() / 2.0;
    let mut writer = Other::start(core, &["as-writer", admin, &folder.display().to_string()]);
    let mut written = Vec::new();
    let mut is_writing = false;
    let mut sums = open(&subjects(), 8, half, async |place| {
        if is_writing {
            writer.say("stop");
            written.push(writer.hear());
        }
        is_writing = place == 1;
        if is_writing {
            writer.say("go");
        }
    })
    .await;
    writer.say("stop");
    written.push(writer.hear());
    writer.end();
    let [quiet, busy] = &mut sums[..] else { unreachable!("two") };
    let (without, with) = (quiet.latency(990), busy.latency(990));
    println!("\nCheck at {half:.0} calls/s, half of what it takes, while keys are created and revoked\n");
    println!("| 99th µs without | with | with / without | mutations/s in each block |\n|---:|---:|---:|---|");
    println!("| {without:.0} | {with:.0} | {:.2} | {} |", with / without, written.join(" "));
}
