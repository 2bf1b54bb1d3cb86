//! Where a key may be used from, by address.
//!
//! IPv4-mapped IPv6 is IPv4 throughout: in a block, in an address asked about, and hence never within `::/0`.

use crate::error::Violation;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};

/// So many blocks a key has at most.
pub const MAX_RANGES: usize = 100;

/// The rule of one block.
pub const RANGE_RULE: &str = "must be a CIDR block with no host bits set, such as 10.0.0.0/8, or a single address";

/// What is counted as one address where calls are limited: of IPv6 the first 64 bits, since one host has all that follow.
pub fn neighbourhood(address: &str) -> String {
    match address.parse::<Ipv6Addr>() {
        Ok(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).to_string(),
        Err(_) => address.to_owned(),
    }
}

/// The only blocks a key may be used from; if there are none, it may be used from anywhere.
///
/// They are kept and shown as blocks, in the order given: `10.0.0.1` as `10.0.0.1/32`, `::ffff:10.0.0.0/104` as `10.0.0.0/8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct IpRanges(Vec<IpNet>);

impl IpRanges {
    /// None: anywhere.
    pub const ANYWHERE: Self = Self(Vec::new());

    /// The blocks of these texts; `field` is where they stand, such as `key.allowed_ips`.
    pub fn parse(texts: &[impl AsRef<str>], field: &str) -> Result<Self, Vec<Violation>> {
        if texts.len() > MAX_RANGES {
            return Err(vec![Violation::new(field, format!("must be at most {MAX_RANGES}"))]);
        }
        let mut ranges = Vec::with_capacity(texts.len());
        let mut violations = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            match find_range(text.as_ref()) {
                Some(range) => ranges.push(range),
                None => violations.push(Violation::new(format!("{field}[{place}]"), RANGE_RULE)),
            }
        }
        if violations.is_empty() { Ok(Self(ranges)) } else { Err(violations) }
    }

    /// Whether the key may be used from `source_ip`; a text that is no address is nowhere.
    pub fn allows(&self, source_ip: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let Ok(address) = source_ip.parse::<IpAddr>() else {
            return false;
        };
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(&address))
    }

    /// Whether `other` is no looser: every address that it allows is allowed here.
    pub fn covers(&self, other: &Self) -> bool {
        if self.0.is_empty() {
            return true;
        }
        // Joined, so that two halves cover their whole.
        let joined = IpNet::aggregate(&self.0);
        let is_covered = |range: &IpNet| joined.iter().any(|wider| wider.contains(range));
        !other.0.is_empty() && other.0.iter().all(is_covered)
    }

    /// Whether it may be used from anywhere.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The blocks, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }

    /// The blocks as texts, in the order given.
    pub fn to_strings(&self) -> Vec<String> {
        self.0.iter().map(IpNet::to_string).collect()
    }
}

fn find_range(text: &str) -> Option<IpNet> {
    let range = match text.parse::<IpNet>() {
        Ok(range) => range,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    if range.trunc() != range {
        return None;
    }
    if let IpNet::V6(wide) = range
        && let (Some(bits), Some(address)) = (wide.prefix_len().checked_sub(96), wide.addr().to_ipv4_mapped())
    {
        return Some(IpNet::V4(Ipv4Net::new(address, bits).ok()?));
    }
    Some(range)
}

impl TryFrom<Vec<String>> for IpRanges {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
        Self::parse(&texts, "allowed_ips").map_err(|violations| match violations.first() {
            Some(violation) => format!("{} {}", violation.field, violation.rule),
            None => RANGE_RULE.to_owned(),
        })
    }
}

impl From<IpRanges> for Vec<String> {
    fn from(ranges: IpRanges) -> Self {
        ranges.to_strings()
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
