//! What may be changed of a key.

use crate::domain::clock::Time;
use crate::domain::grant::Grant;
use crate::domain::network::IpRanges;
use crate::domain::referrer::Referrers;
use std::collections::BTreeMap;

/// What `UpdateKey` asks for: `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyPatch {
    /// For people.
    pub display_name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// What it may do.
    pub grants: Option<Vec<Grant>>,
    /// Where from.
    pub allowed_ips: Option<IpRanges>,
    /// On which pages.
    pub allowed_referrers: Option<Referrers>,
    /// Free.
    pub labels: Option<BTreeMap<String, String>>,
    /// From when on; `Some(None)` takes it away.
    pub not_before_time: Option<Option<Time>>,
    /// Until when; `Some(None)` takes it away.
    pub expire_time: Option<Option<Time>>,
}

impl KeyPatch {
    /// Whether it says what the key is good for, and not only what it is called.
    pub(super) fn says_what_it_may(&self) -> bool {
        let Self {
            display_name: _,
            description: _,
            grants,
            allowed_ips,
            allowed_referrers,
            labels: _,
            not_before_time,
            expire_time,
        } = self;
        let is_of_its_life = not_before_time.is_some() || expire_time.is_some();
        grants.is_some() || allowed_ips.is_some() || allowed_referrers.is_some() || is_of_its_life
    }
}
