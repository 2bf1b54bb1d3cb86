//! How many things each tenant may have. Decided under the head lock, where a count cannot change any more, for every
//! mutation that adds to one, whichever command it comes from; what was refused, and how full the fullest tenants are, is
//! kept for whoever watches.

use super::Desk;
use crate::domain::cap::{Cap, Caps, Counted, moves};
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::finding::Finding;
use crate::domain::name::TenantId;
use crate::error::{Error, Result};
use crate::store::{Draft, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many tenants are named that are nearly at a cap.
const MAX_NAMED: u64 = 5;

/// From how many hundredths of a cap on a tenant is nearly at it.
const NEARLY: u64 = 90;

/// The caps, and what has come of them. Clones share it.
#[derive(Clone, Debug)]
pub struct TenantCaps {
    caps: Caps,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    refused: PerKind,
    fullest: PerKind,
}

#[derive(Debug, Default)]
struct PerKind {
    keys: AtomicU64,
    applications: AtomicU64,
    tokens: AtomicU64,
}

impl PerKind {
    fn of(&self, counted: Counted) -> &AtomicU64 {
        match counted {
            Counted::Keys => &self.keys,
            Counted::Applications => &self.applications,
            Counted::Tokens => &self.tokens,
        }
    }
}

/// What has come of one cap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CapState {
    /// Of what.
    pub counted: Counted,
    /// How many mutations it has refused.
    pub refused: u64,
    /// How many the tenant had that had the most, when it was last looked, as a share of the cap; 0 without a cap.
    pub fullest: f64,
}

impl TenantCaps {
    /// These caps.
    pub fn new(caps: Caps) -> Self {
        Self { caps, seen: Arc::default() }
    }

    /// What has come of each.
    pub fn states(&self) -> [CapState; 3] {
        Counted::ALL.map(|counted| {
            let fullest = self.seen.fullest.of(counted).load(Ordering::Relaxed);
            CapState {
                counted,
                refused: self.seen.refused.of(counted).load(Ordering::Relaxed),
                fullest: match self.caps.of(counted) {
                    Cap::Of(most) => fullest as f64 / most as f64,
                    Cap::Unlimited => 0.0,
                },
            }
        })
    }

    /// Looks how many the tenants have that have the most.
    pub async fn look(&self, store: &Store, now: Time) -> Result<()> {
        for counted in Counted::ALL {
            if self.caps.of(counted) != Cap::Unlimited {
                let fullest = store.fullest(counted, 1, 1, now).await?;
                let count = fullest.first().map_or(0, |(_, count)| *count);
                self.seen.fullest.of(counted).store(count, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// How many more the tenant may have.
    pub(super) async fn room(&self, draft: &Draft, tenant: &TenantId, counted: Counted) -> Result<u64> {
        match self.caps.of(counted) {
            Cap::Of(most) => Ok(most.saturating_sub(draft.count(tenant, counted).await?)),
            Cap::Unlimited => Ok(u64::MAX),
        }
    }

    /// Why nothing more can be made, or not so much at once; counts the mutation that is refused for it.
    pub(super) fn refusal(&self, tenant: &TenantId, counted: Counted) -> Error {
        self.seen.refused.of(counted).fetch_add(1, Ordering::Relaxed);
        self.reason(tenant, counted)
    }

    /// The same of what is counted already: another part of that mutation.
    pub(super) fn reason(&self, tenant: &TenantId, counted: Counted) -> Error {
        let (what, cap) = (counted.as_str(), self.caps.of(counted).to_string());
        let remedy = format!("{}, or raise {}", counted.remedy(), counted.flag());
        Error::Capped { tenant: tenant.name(), what, cap, remedy }
    }

    /// Refuses a mutation that would leave a tenant with more than it may have.
    pub(super) async fn judge(&self, draft: &Draft, kind: &str, changes: &[Change]) -> Result<()> {
        let mut added: BTreeMap<(TenantId, Counted), i64> = BTreeMap::new();
        for ((tenant, counted, _), by) in moves(kind, changes) {
            let sum = added.entry((tenant, counted)).or_default();
            *sum = sum.saturating_add(by);
        }
        for ((tenant, counted), sum) in added {
            let more = u64::try_from(sum).unwrap_or_default();
            if more > 0 && self.room(draft, &tenant, counted).await? < more {
                return Err(self.refusal(&tenant, counted));
            }
        }
        Ok(())
    }
}

/// Which tenants are nearly at a cap.
pub(super) async fn diagnose(desk: &Desk) -> Vec<Finding> {
    const CHECK: &str = "caps";
    let mut findings = Vec::new();
    for counted in Counted::ALL {
        let Cap::Of(most) = desk.caps.caps.of(counted) else { continue };
        let nearly = u64::try_from(u128::from(most) * u128::from(NEARLY) / 100).unwrap_or(most).max(1);
        let fullest = desk.store.fullest(counted, nearly, MAX_NAMED, desk.clock.now());
        let fullest = match super::diagnosis::look(fullest).await {
            Ok(fullest) => fullest,
            Err(error) => return vec![super::diagnosis::unreadable(CHECK, &error)],
        };
        findings.extend(fullest.into_iter().map(|(tenant, count)| {
            let seen = format!("{} has {count} of at most {most} {}", tenant.name(), counted.as_str());
            Finding::warning(CHECK, seen, format!("{}, or raise {}", counted.remedy(), counted.flag()))
        }));
    }
    if findings.is_empty() {
        findings.push(Finding::fine(CHECK, "no tenant is near the most it may have"));
    }
    findings
}
