//! What clients saw, and what is judged of it. The judge knows the guarantee and nothing of how it is kept.

use std::collections::HashMap;
use std::time::Duration;

/// One thing that a client saw. All times are of one clock: that of the tests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact {
    /// What took a credential away was answered with OK, at this time at the latest.
    Ended { credential: u64, at: Duration },
    /// A Check of it that was sent no earlier than `sent` was answered with ALLOWED before `answered`.
    Allowed { credential: u64, replica: usize, sent: Duration, answered: Duration },
    /// A Check that asked for a revision was decided on another.
    Decided { replica: usize, wanted: i64, revision: i64 },
    /// A Check that asked for the revision that made a credential did not find it.
    Unknown { credential: u64, replica: usize },
    /// In this time nobody could reach the database.
    Dark { from: Duration, until: Duration },
}

/// Breaks of G1: a credential was ALLOWED by a Check that was sent after what took it away had been answered with OK.
pub(crate) fn barrier_breaks(facts: &[Fact]) -> Vec<String> {
    let mut ends: HashMap<u64, Duration> = HashMap::new();
    for fact in facts {
        if let Fact::Ended { credential, at } = *fact {
            let end = ends.entry(credential).or_insert(at);
            *end = at.min(*end);
        }
    }
    let mut breaks = Vec::new();
    for fact in facts {
        if let Fact::Allowed { credential, replica, sent, .. } = *fact
            && let Some(end) = ends.get(&credential)
            && sent > *end
        {
            let late = sent - *end;
            breaks.push(format!(
                "G1: replica {replica} allowed credential {credential} {late:?} after its end ({end:?})"
            ));
        }
    }
    breaks
}

/// Breaks of G4: a replica answered ALLOWED although no poll could succeed for longer than a lease.
pub(crate) fn outage_breaks(facts: &[Fact], lease: Duration) -> Vec<String> {
    let dark = |fact: &Fact| if let Fact::Dark { from, until } = *fact { Some((from + lease, until)) } else { None };
    let spans: Vec<(Duration, Duration)> = facts.iter().filter_map(dark).collect();
    let mut breaks = Vec::new();
    for fact in facts {
        if let Fact::Allowed { replica, sent, answered, .. } = *fact
            && let Some((end, _)) = spans.iter().find(|(end, until)| sent > *end && answered < *until)
        {
            breaks.push(format!("G4: replica {replica} allowed at {sent:?}, though its lease was over at {end:?}"));
        }
    }
    breaks
}

/// Breaks of G5: a Check was decided on older state than it asked for.
pub(crate) fn revision_breaks(facts: &[Fact]) -> Vec<String> {
    let judged = facts.iter().filter_map(|fact| match *fact {
        Fact::Decided { replica, wanted, revision } if revision < wanted => {
            Some(format!("G5: replica {replica} was asked for revision {wanted} and decided on {revision}"))
        }
        Fact::Unknown { credential, replica } => {
            Some(format!("G5: replica {replica} did not know credential {credential} at the revision that made it"))
        }
        Fact::Ended { .. } | Fact::Allowed { .. } | Fact::Decided { .. } | Fact::Dark { .. } => None,
    });
    judged.collect()
}

/// All of them.
pub(crate) fn breaks(facts: &[Fact], lease: Duration) -> Vec<String> {
    let mut all = barrier_breaks(facts);
    all.extend(outage_breaks(facts, lease));
    all.extend(revision_breaks(facts));
    all
}

const LEASE: Duration = Duration::from_secs(2);

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn allowed(credential: u64, sent: u64, answered: u64) -> Fact {
    Fact::Allowed { credential, replica: 1, sent: at(sent), answered: at(answered) }
}

#[test]
fn the_judge_passes_what_is_allowed_before_the_end_or_answered_late() {
    let ended = Fact::Ended { credential: 1, at: at(100) };
    let dark = Fact::Dark { from: at(1000), until: at(9000) };
    let kept = [
        ended,
        dark,
        allowed(1, 99, 5000),
        allowed(2, 200, 201),
        allowed(2, 2999, 3000),
        allowed(2, 3500, 9001),
        Fact::Decided { replica: 1, wanted: 7, revision: 7 },
    ];
    assert_eq!(breaks(&kept, LEASE), Vec::<String>::new());
}

#[test]
fn the_judge_finds_every_forged_break() {
    let ended = Fact::Ended { credential: 1, at: at(100) };
    // What is answered again with OK later does not move the end.
    let again = Fact::Ended { credential: 1, at: at(900) };
    let dark = Fact::Dark { from: at(1000), until: at(9000) };
    for forged in [
        vec![ended, allowed(1, 101, 102)],
        vec![allowed(1, 101, 9999), ended],
        vec![ended, again, allowed(1, 500, 501)],
        vec![dark, allowed(2, 3001, 3002)],
        vec![Fact::Decided { replica: 1, wanted: 7, revision: 6 }],
        vec![Fact::Unknown { credential: 1, replica: 1 }],
    ] {
        assert_eq!(breaks(&forged, LEASE).len(), 1, "{forged:?}");
    }
}
