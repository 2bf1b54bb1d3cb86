//! One in-process Check at growing numbers of keys, beside its floor in the same run: SHA-256 of the credential and one
//! lookup in a plain hash map of the same size. One permission is asked of three that are granted, the keys come in
//! random order, and each was used since its counts were last taken. Run by `cargo bench --bench check`; the ratio is what
//! counts.
//!
//! `target/release/deps/check-… --bench check 1000` (or `floor 1000`) only does that, a hundred thousand times, for
//! callgrind.

#![expect(clippy::expect_used, reason = "a bench may panic")]

#[path = "keys.rs"]
mod keys;

use keys::{NOW, credential, index_of, plain_of};
use keyward::check::Index;
use keyward::domain::decision::{Permission, Query};
use keyward::domain::grant::Grant;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

const SIZES: [u64; 3] = [1_000, 100_000, 1_000_000];
/// Checks in a block; a block of Checks and a block of floors take turns.
const BLOCK: usize = 2_000;
const ROUNDS: usize = 150;
/// How often it is done for callgrind.
const COUNTED: usize = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|argument| argument != "--bench").skip(1).collect();
    if let [what, size] = arguments.as_slice() {
        return count(what, size.parse().expect("a number of keys"));
    }
    println!("| keys | Check, ns | floor, ns | Check / floor | allocations: allowed | denied | unknown | malformed |");
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    for size in SIZES {
        let (index, plain) = (index_of(size, &three()), plain_of(size));
        let (check, floor) = measure(&index, &plain, size);
        let ratio = check.as_secs_f64() / floor.as_secs_f64();
        let [allowed, denied, unknown, malformed] = allocations(&index);
        let (check, floor) = (check.as_nanos(), floor.as_nanos());
        println!("| {size} | {check} | {floor} | {ratio:.2} | {allowed} | {denied} | {unknown} | {malformed} |");
    }
}

/// Grants with three permissions.
fn three() -> [Grant; 2] {
    [
        Grant::Apis(vec!["maps".to_owned(), "sql".to_owned()]),
        Grant::Resources { resource: "doc/*".to_owned(), actions: vec!["read".to_owned()] },
    ]
}

const PERMISSIONS: [Permission<'static>; 1] = [Permission { resource: "apis/maps", action: "use" }];

fn query() -> Query<'static> {
    Query { permissions: &PERMISSIONS, ..Query::default() }
}

fn block(rng: &mut StdRng, size: u64) -> Vec<String> {
    (0..BLOCK).map(|_| credential(rng.random_range(0..size)).0.expose().to_owned()).collect()
}

fn check(index: &Index, credentials: &[String]) {
    let query = query();
    for credential in credentials {
        let answer = index.check(black_box(credential), &query, NOW).expect("it serves");
        assert!(answer.decision.is_allowed());
    }
}

fn floor(plain: &HashMap<[u8; 32], u64>, credentials: &[String]) {
    for credential in credentials {
        let digest: [u8; 32] = Sha256::digest(black_box(credential).as_bytes()).into();
        assert!(black_box(plain.get(&digest)).is_some());
    }
}

/// The median times of one Check and of its floor.
fn measure(index: &Index, plain: &HashMap<[u8; 32], u64>, size: u64) -> (Duration, Duration) {
    for number in 0..size {
        // The first use since the counts were taken is noted.
        check(index, &[credential(number).0.expose().to_owned()]);
    }
    let mut rng = StdRng::seed_from_u64(7);
    let (mut checks, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let credentials = block(&mut rng, size);
        checks.push(timed(|| check(index, &credentials)));
        let credentials = block(&mut rng, size);
        floors.push(timed(|| floor(plain, &credentials)));
    }
    (median(checks), median(floors))
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

/// How often a Check allocates: one that is allowed, one that is denied, of an unknown key, and of a broken text.
fn allocations(index: &Index) -> [u64; 4] {
    let text = credential(0).0.expose().to_owned();
    let unknown = credential(u64::MAX).0.expose().to_owned();
    let other = [Permission { resource: "apis/other", action: "use" }];
    let refused = Query { permissions: &other, ..Query::default() };
    let asked = [(&*text, query()), (&*text, refused), (&*unknown, query()), ("kw_broken", query())];
    asked.map(|(text, query)| {
        let counted = allocation_counter::measure(|| {
            black_box(index.check(black_box(text), &query, NOW).expect("it serves"));
        });
        counted.count_total
    })
}

/// Does one of the two and nothing else beside what it needs.
fn count(what: &str, size: u64) {
    let mut rng = StdRng::seed_from_u64(7);
    let credentials: Vec<String> = (0..COUNTED / BLOCK).flat_map(|_| block(&mut rng, size)).collect();
    match what {
        "floor" => floor(&plain_of(size), &credentials),
        _ => check(&index_of(size, &three()), &credentials),
    }
}
