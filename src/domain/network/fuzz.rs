//! Blocks and addresses as anyone may send them.

use super::*;
use crate::fuzz::fuzz;

/// An address as 128 bits, those of IPv4 as IPv6 maps them.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Whether the block that `shown` says has the address, bit by bit; the whole of IPv6 has none of IPv4.
fn contains(shown: &str, address: IpAddr) -> bool {
    let (first, length) = shown.split_once('/').unwrap();
    let (first, length): (IpAddr, u32) = (first.parse().unwrap(), length.parse().unwrap());
    let address = address.to_canonical();
    let length = if first.is_ipv4() { length + 96 } else { length };
    let is_same = |place: u32| (bits(first) ^ bits(address)) >> (127 - place) & 1 == 0;
    first.is_ipv4() == address.is_ipv4() && (0..length).all(is_same)
}

#[test]
fn a_block_is_shown_in_one_form_and_has_what_its_bits_say() {
    fuzz!("network", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (blocks, address) = text.split_once(' ').unwrap_or((&text, ""));
        let blocks: Vec<&str> = blocks.split(',').collect();
        assert!(neighbourhood(address).len() <= address.len().max(39));
        let ranges = match IpRanges::parse(&blocks, "key.allowed_ips") {
            Ok(ranges) => ranges,
            Err(violations) => {
                assert!(violations.iter().all(|violation| violation.field.starts_with("key.allowed_ips")));
                assert!(!violations.is_empty() && violations.len() <= MAX_RANGES);
                return;
            }
        };
        assert!(blocks.len() <= MAX_RANGES);
        let shown = ranges.to_strings();
        assert_eq!(IpRanges::parse(&shown, "f"), Ok(ranges.clone()));
        assert!(ranges.covers(&ranges) && IpRanges::ANYWHERE.covers(&ranges) && !ranges.covers(&IpRanges::ANYWHERE));
        let expected =
            address.parse::<IpAddr>().is_ok_and(|address| shown.iter().any(|shown| contains(shown, address)));
        assert_eq!(ranges.allows(address), expected, "{shown:?} {address}");
    });
}
