//! How many connections a listener may have: in all, and from one address.

use crate::config::Limits;
use crate::domain::network::neighbourhood;
use crate::telemetry::Refusal;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What is open.
#[derive(Debug)]
pub(super) struct Caps {
    in_all: usize,
    per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_address: HashMap<String, usize>,
}

/// The right to be a connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    caps: Arc<Caps>,
    /// None on a Unix socket, where all come from this machine and the folder's mode says who may.
    address: Option<String>,
}

impl Caps {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let (in_all, per_address) = (limits.max_connections, limits.max_connections_per_address);
        Arc::new(Self { in_all, per_address, open: Mutex::default() })
    }

    /// Lets a connection in, or says which cap is reached.
    pub(super) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Permit, Refusal> {
        let address = address.map(|address| neighbourhood(&address.to_canonical().to_string()));
        let mut open = self.open.lock();
        if open.count >= self.in_all {
            return Err(Refusal::Total);
        }
        if let Some(address) = &address {
            let count = open.by_address.get(address).copied().unwrap_or_default();
            if count >= self.per_address {
                return Err(Refusal::Address);
            }
            open.by_address.insert(address.clone(), count.saturating_add(1));
        }
        open.count = open.count.saturating_add(1);
        Ok(Permit { caps: Arc::clone(self), address })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.caps.open.lock();
        open.count = open.count.saturating_sub(1);
        if let Some(address) = self.address.take()
            && let Some(count) = open.by_address.get_mut(&address)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(in_all: usize, per_address: usize) -> Arc<Caps> {
        let limits = Limits { max_connections: in_all, max_connections_per_address: per_address, ..Limits::default() };
        Caps::new(&limits)
    }

    fn from(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn what_one_address_has_is_not_taken_from_another() {
        let caps = caps(100, 2);
        let held: Vec<_> = (0..2).map(|_| caps.admit(from("192.0.2.1")).unwrap()).collect();
        assert_eq!(caps.admit(from("192.0.2.1")).err(), Some(Refusal::Address));
        // The same address in the form that a socket for both families gives.
        assert_eq!(caps.admit(from("::ffff:192.0.2.1")).err(), Some(Refusal::Address));
        assert!(caps.admit(from("192.0.2.2")).is_ok());
        assert!(caps.admit(None).is_ok());
        drop(held);
        assert!(caps.admit(from("192.0.2.1")).is_ok());
        let open = caps.open.lock();
        assert_eq!((open.count, open.by_address.len()), (0, 0));
    }

    #[test]
    fn a_host_with_many_addresses_of_ipv6_counts_as_one() {
        let caps = caps(100, 1);
        let _held = caps.admit(from("2001:db8::1")).unwrap();
        assert_eq!(caps.admit(from("2001:db8::2")).err(), Some(Refusal::Address));
        assert!(caps.admit(from("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn there_are_so_many_in_all() {
        let caps = caps(2, 2);
        let held = [caps.admit(from("192.0.2.1")).unwrap(), caps.admit(None).unwrap()];
        assert_eq!(caps.admit(from("192.0.2.2")).err(), Some(Refusal::Total));
        assert_eq!(caps.admit(None).err(), Some(Refusal::Total));
        drop(held);
        assert!(caps.admit(None).is_ok());
    }
}
