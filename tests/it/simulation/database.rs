//! The database as replicas see it: every statement is one step, in the order in which they arrive.

use keyward::replica::protocol::{Head, Peer, Polled, Seen};
use std::collections::BTreeMap;
use std::time::Duration;

/// A credential, by number; each is revoked at most once.
pub type Credential = usize;

/// A statement or a transaction.
#[derive(Clone, Debug)]
pub enum Query {
    Poll { id: String, applied: i64 },
    Changes { after: i64, until: i64 },
    Snapshot,
    Join { id: String, lease: Duration },
    Leave { id: String },
    Confirm { id: String, revision: i64 },
    Roll { revisions: Vec<i64> },
    Fence { ids: Vec<String>, below: i64 },
    Remove { ids: Vec<String> },
    Revoke { credential: Credential },
    Prune,
}

/// What it answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// And whether any replica is being shut out.
    Polled(Polled, bool),
    /// The head after each change; none if the log was pruned there.
    Changes(Option<Vec<Head>>),
    Snapshot(Head),
    Seen(Seen),
    /// What was committed, or the head if nothing was left to do (V5).
    Revoked {
        head: Head,
        is_new: bool,
    },
    Done,
}

/// The rows.
#[derive(Clone, Debug)]
pub struct Database {
    /// Of each revision, what it revoked, the chain after it, and when it was committed in true time.
    pub ledger: Vec<(Credential, Vec<u8>, u64)>,
    floor: i64,
    lease: Duration,
    replicas: BTreeMap<String, Peer>,
}

impl Database {
    pub fn new(lease: Duration) -> Self {
        Self { ledger: Vec::new(), floor: 0, lease, replicas: BTreeMap::new() }
    }

    /// The head after `revision`.
    pub fn head_at(&self, revision: i64) -> Head {
        let chain = self.index(revision).map_or_else(Vec::new, |index| self.ledger[index].1.clone());
        Head { revision, chain }
    }

    fn index(&self, revision: i64) -> Option<usize> {
        usize::try_from(revision).ok()?.checked_sub(1).filter(|index| *index < self.ledger.len())
    }

    pub fn head(&self) -> Head {
        self.head_at(i64::try_from(self.ledger.len()).unwrap())
    }

    /// The revision that revoked it.
    pub fn revision_of(&self, credential: Credential) -> Option<i64> {
        let index = self.ledger.iter().position(|(revoked, ..)| *revoked == credential)?;
        Some(i64::try_from(index).unwrap() + 1)
    }

    pub fn run(&mut self, query: &Query, now: u64) -> Answer {
        match query {
            Query::Poll { id, applied } => {
                Answer::Polled(self.poll(id, *applied), self.replicas.values().any(|peer| peer.is_fencing))
            }
            Query::Changes { after, until } => Answer::Changes(
                (*after >= self.floor).then(|| (after + 1..=*until).map(|revision| self.head_at(revision)).collect()),
            ),
            Query::Snapshot => Answer::Snapshot(self.head()),
            Query::Join { id, lease } => {
                let peer = Peer { id: id.clone(), is_fencing: false, applied: -1, lease: *lease };
                self.replicas.insert(id.clone(), peer);
                Answer::Done
            }
            Query::Leave { id } => {
                self.replicas.remove(id);
                Answer::Done
            }
            Query::Confirm { id, revision } => {
                if let Some(peer) = self.replicas.get_mut(id).filter(|peer| !peer.is_fencing) {
                    peer.applied = *revision;
                }
                Answer::Done
            }
            Query::Roll { revisions } => Answer::Seen(Seen {
                lease: self.lease,
                peers: self.replicas.values().cloned().collect(),
                chains: revisions
                    .iter()
                    .filter_map(|revision| Some((*revision, self.ledger[self.index(*revision)?].1.clone())))
                    .collect(),
            }),
            Query::Fence { ids, below } => {
                let named = ids.iter().filter_map(|id| self.replicas.get(id).map(|peer| (id, peer.applied < *below)));
                let late: Vec<String> = named.filter(|(_, is_late)| *is_late).map(|(id, _)| id.clone()).collect();
                for id in late {
                    self.replicas.entry(id).and_modify(|peer| peer.is_fencing = true);
                }
                Answer::Done
            }
            Query::Remove { ids } => {
                self.replicas.retain(|id, peer| !peer.is_fencing || !ids.contains(id));
                Answer::Done
            }
            Query::Revoke { credential } => {
                let is_new = self.revision_of(*credential).is_none();
                if is_new {
                    let chain = chained(&self.head().chain, *credential);
                    self.ledger.push((*credential, chain, now));
                }
                Answer::Revoked { head: self.head(), is_new }
            }
            Query::Prune => {
                self.floor = self.head().revision;
                Answer::Done
            }
        }
    }

    fn poll(&self, id: &str, applied: i64) -> Polled {
        let own = self.replicas.get(id);
        Polled {
            head: self.head(),
            floor: self.floor,
            cluster_id: "one".to_owned(),
            is_member: own.is_some_and(|peer| !peer.is_fencing),
            confirmed: own.map_or(-1, |peer| peer.applied),
            chain_at_applied: self.index(applied).map(|index| self.ledger[index].1.clone()),
        }
    }

    /// As a replica of the database knows it that has not got the last changes.
    pub fn lagging(&self, by: usize) -> Self {
        let mut lagging = self.clone();
        lagging.ledger.truncate(self.ledger.len().saturating_sub(by));
        lagging
    }
}

fn chained(last: &[u8], credential: Credential) -> Vec<u8> {
    let mut mixed = 0xcbf2_9ce4_8422_2325_u64;
    for byte in last.iter().chain(&credential.to_be_bytes()) {
        mixed = (mixed ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mixed.to_be_bytes().to_vec()
}
