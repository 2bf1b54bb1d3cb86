use super::*;
use proptest::prelude::*;

fn ranges(texts: &[&str]) -> IpRanges {
    IpRanges::parse(texts, "key.allowed_ips").unwrap()
}

#[test]
fn a_block_is_written_without_host_bits() {
    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(find_range(text).map(|range| range.to_string()).as_deref(), expected, "{text:?}");
    }
    check("10.0.0.0/8", Some("10.0.0.0/8"));
    check("0.0.0.0/0", Some("0.0.0.0/0"));
    check("10.0.0.1", Some("10.0.0.1/32"));
    check("2001:DB8::/32", Some("2001:db8::/32"));
    check("::1", Some("::1/128"));
    check("::/0", Some("::/0"));
    check("::ffff:10.0.0.0/104", Some("10.0.0.0/8"));
    check("::ffff:10.0.0.1", Some("10.0.0.1/32"));
    check("::ffff:0:0/96", Some("0.0.0.0/0"));
    for bad in [
        "",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "10.0.0.0/-1",
        "10.0.0.0/8 ",
        "10/8",
        "010.0.0.1",
        "2001:db8::1/32",
        "::ffff:10.0.0.1/104",
        "::ffff:0:0/95",
        "fe80::1%eth0",
        "localhost",
        "*",
    ] {
        check(bad, None);
    }
}

#[test]
fn only_addresses_in_a_block_are_allowed() {
    #[track_caller]
    fn check(texts: &[&str], source_ip: &str, expected: bool) {
        assert_eq!(ranges(texts).allows(source_ip), expected, "{texts:?} {source_ip:?}");
    }
    check(&[], "", true);
    check(&[], "anything", true);
    check(&["10.0.0.0/8", "::1"], "10.2.3.4", true);
    check(&["10.0.0.0/8", "::1"], "::1", true);
    check(&["10.0.0.0/8"], "::ffff:10.2.3.4", true);
    check(&["10.0.0.0/8"], "::ffff:a02:304", true);
    check(&["::ffff:10.0.0.0/104"], "10.2.3.4", true);
    check(&["10.0.0.0/8"], "11.0.0.0", false);
    check(&["10.0.0.0/8"], "::10.2.3.4", false);
    check(&["::/0"], "10.2.3.4", false);
    check(&["::/0"], "::ffff:10.2.3.4", false);
    check(&["0.0.0.0/0"], "2001:db8::1", false);
    for unparsable in ["", " ", "10.2.3", "10.2.3.4:80", "[::1]", "10.2.3.4 ", "010.2.3.4", "0xa.2.3.4", "fe80::1%1"] {
        check(&["0.0.0.0/0", "::/0"], unparsable, false);
    }
}

#[test]
fn looser_limits_are_told_from_tighter_ones() {
    #[track_caller]
    fn check(ours: &[&str], theirs: &[&str], expected: bool) {
        assert_eq!(ranges(ours).covers(&ranges(theirs)), expected, "{ours:?} {theirs:?}");
    }
    check(&[], &[], true);
    check(&[], &["10.0.0.0/8"], true);
    check(&["10.0.0.0/8"], &[], false);
    check(&["0.0.0.0/0", "::/0"], &[], false);
    check(&["10.0.0.0/8"], &["10.1.0.0/16", "10.2.3.4"], true);
    check(&["10.0.0.0/8"], &["10.1.0.0/16", "11.0.0.0/8"], false);
    check(&["10.0.0.0/9", "10.128.0.0/9"], &["10.0.0.0/8"], true);
    check(&["10.0.0.0/9", "10.128.0.0/10"], &["10.0.0.0/8"], false);
    check(&["::/0"], &["10.0.0.0/8"], false);
    check(&["10.0.0.0/8"], &["::ffff:10.1.0.0/112"], true);
}

#[test]
fn every_bad_block_is_named_and_there_is_a_limit() {
    let fields: Vec<_> = IpRanges::parse(&["10.0.0.0/8", "x", "::1", "10.0.0.1/8"], "key.allowed_ips").unwrap_err();
    let fields: Vec<&str> = fields.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["key.allowed_ips[1]", "key.allowed_ips[3]"]);
    assert!(IpRanges::parse(&["::1"; MAX_RANGES], "key.allowed_ips").is_ok());
    assert_eq!(
        IpRanges::parse(&["::1"; MAX_RANGES + 1], "ips").unwrap_err(),
        [Violation::new("ips", "must be at most 100")]
    );
}

#[test]
fn they_are_stored_as_texts() {
    let stored = r#"["10.0.0.0/8","::1/128"]"#;
    assert_eq!(serde_json::to_string(&ranges(&["10.0.0.0/8", "::1"])).unwrap(), stored);
    assert_eq!(serde_json::from_str::<IpRanges>(stored).unwrap(), ranges(&["10.0.0.0/8", "::1"]));
    assert!(serde_json::from_str::<IpRanges>(r#"["10.0.0.1/8"]"#).is_err());
}

proptest! {
    #[test]
    fn what_the_tighter_allows_the_looser_allows(
        ours in prop::collection::vec((0_u8..8, 29_u8..=32), 0..5),
        theirs in prop::collection::vec((0_u8..8, 29_u8..=32), 0..5),
    ) {
        let blocks = |pairs: &[(u8, u8)]| -> Vec<String> {
            let networks = pairs.iter().map(|(last, bits)| Ipv4Net::new([10, 0, 0, *last].into(), *bits).unwrap());
            networks.map(|network| network.trunc().to_string()).collect()
        };
        let ours = IpRanges::parse(&blocks(&ours), "a").unwrap();
        let theirs = IpRanges::parse(&blocks(&theirs), "b").unwrap();
        let sources = (0..=8).map(|last| format!("10.0.0.{last}"));
        let expected = sources.into_iter().all(|source| ours.allows(&source) || !theirs.allows(&source));
        prop_assert_eq!(ours.covers(&theirs), expected);
    }

    #[test]
    fn any_text_is_an_address_or_not(text in "\\PC*|[0-9a-f:./]{0,24}") {
        let _ = find_range(&text);
        let _ = ranges(&["::/0"]).allows(&text);
    }
}
