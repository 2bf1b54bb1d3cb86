//! The memory, descriptors and threads of a replica that lives through all of it, each time that everybody rests.

use std::fs;
use std::time::Duration;

/// So much memory may a credential that was ever made cost, in KiB: its row in the index, and its map's room to grow.
const PER_CREDENTIAL: f64 = 3.0;

/// And so much may it grow beside in the second half, in KiB: what an allocator does not give back.
const SLACK: f64 = 6.0 * 1024.0;

/// How many more descriptors there may be: connections to the database come and go.
const DESCRIPTORS: usize = 6;

/// Fewer rests than this are not judged by.
const ENOUGH: usize = 6;

/// One rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) at: Duration,
    /// What it has allocated, and that with what it has mapped of files, in KiB.
    allocated: f64,
    rss: f64,
    descriptors: usize,
    threads: usize,
    /// How many credentials were made so far, and how many calls.
    credentials: u64,
    calls: u64,
}

/// Looks at a process.
pub(super) fn look(id: u32, at: Duration, credentials: u64, calls: u64) -> Rest {
    let read = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
    let number = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let (smaps, status) = (read("smaps_rollup"), read("status"));
    Rest {
        at,
        allocated: number(&smaps, "Pss_Anon:"),
        rss: number(&smaps, "Rss:"),
        descriptors: fs::read_dir(format!("/proc/{id}/fd")).map(Iterator::count).unwrap_or(0),
        threads: number(&status, "Threads:") as usize,
        credentials,
        calls,
    }
}

/// Lines for the table, and what is not flat. The second half is judged, when all that is made once was made: the least of
/// its first three rests against that of its last three. Each hash of a password takes 19 MiB, which the allocator gives back
/// some time after it, at one rest or at the next; what is never given back is in the least of them too.
pub(super) fn judged(rests: &[Rest]) -> (Vec<String>, Vec<String>) {
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for rest in rests {
        lines.push(format!(
            "at {:5} s: allocated {:7.0} KiB, RSS {:7.0} KiB, {:3} descriptors, {:2} threads, {:6} credentials, {:7} calls",
            rest.at.as_secs(),
            rest.allocated,
            rest.rss,
            rest.descriptors,
            rest.threads,
            rest.credentials,
            rest.calls
        ));
    }
    if rests.len() < ENOUGH {
        return (lines, wrong);
    }
    let (first, second) = rests.split_at(rests.len() / 2);
    let (begin, end) = (&second[..3], &second[second.len() - 3..]);
    let least = |rests: &[Rest]| rests.iter().map(|rest| rest.allocated).fold(f64::INFINITY, f64::min);
    let made = end[1].credentials.saturating_sub(begin[1].credentials) as f64;
    let grown = least(end) - least(begin);
    let explained = made * PER_CREDENTIAL + SLACK;
    let last = second[second.len() - 1];
    lines.push(format!(
        "second half: memory grew by {grown:.0} KiB with {made:.0} more credentials, of {explained:.0} KiB that are explained"
    ));
    if grown > explained {
        wrong.push(format!("memory grows by {grown:.0} KiB in the second half, and {explained:.0} KiB are explained"));
    }
    let descriptors = first.iter().map(|rest| rest.descriptors).max().unwrap_or(0);
    if last.descriptors > descriptors + DESCRIPTORS {
        wrong.push(format!("{} descriptors at the end, and {descriptors} at most before", last.descriptors));
    }
    let threads = first.iter().map(|rest| rest.threads).max().unwrap_or(0);
    if last.threads > threads {
        wrong.push(format!("{} threads at the end, and {threads} at most before", last.threads));
    }
    (lines, wrong)
}

#[test]
fn growth_that_nothing_explains_is_found() {
    let rest = |number: u64, allocated: f64, descriptors: usize, threads: usize| Rest {
        at: Duration::from_secs(number * 60),
        allocated,
        rss: allocated,
        descriptors,
        threads,
        credentials: number * 100,
        calls: number,
    };
    let flat: Vec<Rest> = (0..20).map(|number| rest(number, 50_000.0 + 100.0 * number as f64, 40, 12)).collect();
    assert_eq!(judged(&flat).1, Vec::<String>::new());
    let leaks: Vec<Rest> = (0..20).map(|number| rest(number, 50_000.0 + 3000.0 * number as f64, 40, 12)).collect();
    assert_eq!(judged(&leaks).1.len(), 1);
    let more: Vec<Rest> =
        (0..20).map(|number| rest(number, 50_000.0, 40 + number as usize, 12 + number as usize)).collect();
    assert_eq!(judged(&more).1.len(), 2);
}
