//! What the number of keys costs: the time of one in-process Check at 1,000 to 10,000,000 keys, and the memory of each
//! key, which has a UUID for an id and one grant. Run by `cargo bench --bench scale`; a size for which there is not
//! enough memory is left out, and said to be. Ratios are what counts: a block of Checks at each size, a block at the
//! smallest and a block of the floor (SHA-256 and one lookup in a plain hash map of that size) take turns. `-- FILE.svg`
//! has it drawn there, and a number leaves out what is larger.

#![expect(clippy::expect_used, reason = "a bench may panic")]

#[path = "keys.rs"]
mod keys;
#[path = "plot.rs"]
mod plot;

use keys::{NOW, credential, index_of, plain_of};
use keyward::check::Index;
use keyward::domain::decision::{Permission, Query};
use keyward::domain::grant::Grant;
use plot::{Line, svg};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use std::hint::black_box;
use std::time::{Duration, Instant};

const SMALLEST: u64 = 1_000;
const SIZES: [u64; 9] = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];
/// What a key takes here at the most, with that of the plain map, in bytes.
const ROOM: u64 = 500;
const BLOCK: usize = 2_000;
const ROUNDS: usize = 100;
const PAGE: u64 = 4096;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let largest = arguments.iter().find_map(|word| word.parse().ok()).unwrap_or(u64::MAX);
    let drawing = arguments.iter().find(|word| word.ends_with(".svg"));
    let one = [Grant::Apis(vec!["maps".to_owned()])];
    let smallest = index_of(SMALLEST, &one);
    use_each(&smallest, SMALLEST);
    println!("| keys | Check, ns | Check / Check at {SMALLEST} | floor, ns | Check / floor | bytes a key |");
    println!("|---:|---:|---:|---:|---:|---:|");
    let (mut checks, mut floors) = (Vec::new(), Vec::new());
    for size in SIZES.into_iter().filter(|size| *size <= largest) {
        let (needed, available) = (size * ROOM, available());
        if needed > available {
            println!("| {size} | left out: needs {needed} bytes of memory, {available} are available | | | | |");
            continue;
        }
        let before = resident();
        let index = index_of(size, &one);
        let bytes = (resident().saturating_sub(before)) as f64 / size as f64;
        use_each(&index, size);
        let [check, small, floor] = measure(&smallest, &index, size).map(|time| time.as_nanos());
        let (to_small, to_floor) = (check as f64 / small as f64, check as f64 / floor as f64);
        println!("| {size} | {check} | {to_small:.2} | {floor} | {to_floor:.2} | {bytes:.0} |");
        checks.push((size as f64, check as f64));
        floors.push((size as f64, floor as f64));
    }
    if let Some(path) = drawing {
        let lines =
            [Line { name: "SHA-256 and a plain hash map", points: floors }, Line { name: "Check", points: checks }];
        std::fs::write(path, svg("One Check in process", "keys", "nanoseconds", &lines)).expect("a place to draw");
    }
}

/// The median times of one Check here, of one Check of the smallest, and of the floor.
fn measure(smallest: &Index, index: &Index, size: u64) -> [Duration; 3] {
    let plain = plain_of(size);
    let mut rng = StdRng::seed_from_u64(7);
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let texts = block(&mut rng, size);
        times[0].push(timed(|| check(index, &texts)));
        let texts = block(&mut rng, SMALLEST);
        times[1].push(timed(|| check(smallest, &texts)));
        let texts = block(&mut rng, size);
        times[2].push(timed(|| {
            for text in &texts {
                let digest: [u8; 32] = Sha256::digest(black_box(text).as_bytes()).into();
                assert!(black_box(plain.get(&digest)).is_some());
            }
        }));
    }
    times.map(median)
}

fn block(rng: &mut StdRng, size: u64) -> Vec<String> {
    (0..BLOCK).map(|_| text(rng.random_range(0..size))).collect()
}

fn text(number: u64) -> String {
    credential(number).0.expose().to_owned()
}

fn check(index: &Index, texts: &[String]) {
    let permissions = [Permission { resource: "apis/maps", action: "use" }];
    let query = Query { permissions: &permissions, ..Query::default() };
    for text in texts {
        let answer = index.check(black_box(text), &query, NOW).expect("it serves");
        assert!(answer.decision.is_allowed());
    }
}

/// Uses each key once: the first use since the counts were taken is noted, and costs more.
fn use_each(index: &Index, size: u64) {
    for number in 0..size {
        check(index, &[text(number)]);
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

fn median(mut blocks: Vec<Duration>) -> Duration {
    blocks.sort();
    blocks.get(blocks.len() / 2).copied().unwrap_or_default() / u32::try_from(BLOCK).unwrap_or(1)
}

/// The bytes of this process that are in memory.
fn resident() -> u64 {
    let said = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    said.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * PAGE
}

/// The bytes of memory that nobody needs.
fn available() -> u64 {
    let said = std::fs::read_to_string("/proc/meminfo").expect("Linux");
    let line = said.lines().find_map(|line| line.strip_prefix("MemAvailable:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
