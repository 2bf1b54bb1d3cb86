use super::*;
use proptest::prelude::*;

fn referrers(texts: &[&str]) -> Referrers {
    Referrers::parse(texts, "key.allowed_referrers").unwrap()
}

#[track_caller]
fn check(pattern: &str, allowed: &[&str], refused: &[&str]) {
    let referrers = referrers(&[pattern]);
    for referrer in allowed {
        assert!(referrers.allows(referrer), "{pattern} {referrer:?}");
    }
    for referrer in refused {
        assert!(!referrers.allows(referrer), "{pattern} {referrer:?}");
    }
}

#[test]
fn a_pattern_means_what_google_says() {
    check(
        "example.com/*",
        &[
            "https://example.com",
            "https://example.com/",
            "http://example.com/a/b",
            "HTTPS://EXAMPLE.com/a",
            "https://example.com:443/",
            "http://example.com:80/",
            "https://example.com?a",
            "https://example.com/a?b#c",
        ],
        &[
            "https://www.example.com/",
            "https://example.com:8000/",
            "https://example.com:80/",
            "http://example.com:443/",
        ],
    );
    check("example.com", &["https://example.com/", "https://example.com/a/b"], &["https://www.example.com/"]);
    check(
        "*.example.com/*",
        &["https://www.example.com/", "http://a.b.example.com/c", "https://WWW.Example.COM"],
        &["https://example.com/", "https://evilexample.com/", "https://example.com.evil.com/", "https://.example.com/"],
    );
    check(
        "example.com/a",
        &["https://example.com/a", "https://example.com/a?b"],
        &["https://example.com/a/", "https://example.com/A", "https://example.com/a/b"],
    );
    check("example.com/", &["https://example.com/", "https://example.com"], &["https://example.com/a"]);
    check(
        "example.com/a/*",
        &["https://example.com/a/", "https://example.com/a/b/c"],
        &["https://example.com/a", "https://example.com/ab"],
    );
    check("example.com/a*", &["https://example.com/a", "https://example.com/ab"], &["https://example.com/"]);
    check("https://example.com/*", &["https://example.com/a"], &["http://example.com/a", "http://example.com:443/a"]);
    check("https://example.com:443", &["https://example.com/a"], &["https://example.com:8000/a"]);
    check("Example.com:8000/*", &["https://example.com:8000/", "http://example.com:8000/a"], &["https://example.com/"]);
    check("localhost:3000", &["http://localhost:3000/a"], &["http://localhost/a", "http://127.0.0.1:3000/"]);
    check("[::1]:3000/*", &["http://[::1]:3000/a"], &["http://[::1]/", "http://[::2]:3000/a"]);
}

#[test]
fn a_disguised_referrer_is_refused() {
    for pattern in ["example.com/*", "*.example.com/*", "*.example.com", "example.com"] {
        check(
            pattern,
            &[],
            &[
                "",
                "null",
                "example.com",
                "www.example.com/",
                "//www.example.com/",
                "ftp://www.example.com/",
                "javascript://www.example.com/",
                "https:/www.example.com/",
                "https:www.example.com/",
                "https://evil.com/?www.example.com/",
                "https://evil.com/#www.example.com/",
                "https://evil.com/www.example.com/",
                "https://evil.com?.example.com/",
                "https://evil.com#.example.com/",
                "https://evil.com#@www.example.com/",
                "https://www.example.com.evil.com/",
                "https://www.example.com@evil.com/",
                "https://evil.com@www.example.com/",
                "https://evil.com:80@www.example.com/",
                "https://www.example.com:443@evil.com/",
                "https://www.example.com:@evil.com/",
                "https://evil.com\\.example.com/",
                "https://evil.com\\@www.example.com/",
                "https://evil.com%2f.example.com/",
                "https://evil.com%00.example.com/",
                "https://www.example%2ecom/",
                "https://www.example.com./",
                "https://www..example.com/",
                "https://www.example.com:/",
                "https://www.example.com:0443/",
                "https://www.example.com:+443/",
                "https://www.example.com:99999/",
                " https://www.example.com/",
                "https://www.example.com/ ",
                "https://www.example.com/\n",
                "https://evil.com\t.example.com/",
                "https://www.ex\u{430}mple.com/",
                "https://evil.com\u{ff0f}.example.com/",
                "https://[www.example.com]/",
                "https://[::1].example.com/",
                "https:///www.example.com/",
            ],
        );
    }
}

#[test]
fn a_path_is_not_left_by_dots() {
    check(
        "example.com/a/*",
        &["https://example.com/a/...", "https://example.com/a/.b", "https://example.com/a/x?/../y"],
        &[
            "https://example.com/a/../b",
            "https://example.com/a/./b",
            "https://example.com/a/..",
            "https://example.com/a/%2e%2E/b",
            "https://example.com/a/.%2e/b",
            "https://example.com/a/%2e",
            "https://example.com/a\\..\\b",
            "https://example.com/%61/b",
        ],
    );
}

#[test]
fn without_patterns_everything_is_allowed_and_with_them_nothing_else() {
    assert!(Referrers::default().allows("") && Referrers::default().allows("x"));
    let two = referrers(&["example.com", "*.example.com"]);
    assert!(two.allows("https://example.com/") && two.allows("https://a.example.com/") && !two.allows(""));
}

#[test]
fn a_pattern_that_could_mean_more_than_it_says_is_named() {
    for bad in [
        "",
        "*",
        "*/*",
        "*.",
        "**.example.com",
        "*example.com",
        "www.*.com",
        "*.*.com",
        "example.*",
        "*:80",
        "https://",
        "ftp://example.com",
        "chrome://x",
        "https://*",
        "example.com:",
        "example.com:*",
        "example.com:0",
        "example.com:65536",
        "example.com/a/*/b",
        "example.com/**",
        "example.com/../a",
        "example.com/%2e./*",
        "example.com/?a",
        "example.com#a",
        "user@example.com",
        "exa mple.com",
        "éxample.com",
        "example..com",
        ".example.com",
        "example.com.",
        "\\example.com",
        "*.0.0.1",
        "*.1",
        "*.0x1",
        "*.[::1]",
        "[::1",
        "[::1]a",
        "[v1.a]",
        "%65xample.com",
        "example.com/é",
    ] {
        let violations = Referrers::parse(&["example.com", bad], "key.allowed_referrers").unwrap_err();
        assert_eq!(violations, [Violation::new("key.allowed_referrers[1]", REFERRER_RULE)], "{bad:?}");
    }
    assert!(Referrers::parse(&["a.com"; MAX_REFERRERS], "r").is_ok());
    assert_eq!(
        Referrers::parse(&["a.com"; MAX_REFERRERS + 1], "r").unwrap_err(),
        [Violation::new("r", "must be at most 100")]
    );
}

#[test]
fn looser_limits_are_told_from_tighter_ones() {
    #[track_caller]
    fn check(wide: &[&str], narrow: &[&str], expected: bool) {
        assert_eq!(referrers(wide).covers(&referrers(narrow)), expected, "{wide:?} {narrow:?}");
    }
    check(&[], &[], true);
    check(&[], &["a.com"], true);
    check(&["a.com"], &[], false);
    check(&["a.com", "*.a.com"], &["A.com/*", "b.a.com/c", "*.b.a.com"], true);
    check(&["*.a.com"], &["a.com"], false);
    check(&["a.com"], &["*.a.com"], false);
    check(&["b.a.com"], &["*.a.com"], false);
    check(&["*.b.a.com"], &["*.a.com"], false);
    check(&["a.com/b/*"], &["a.com/b/c", "a.com/b/c/*"], true);
    check(&["a.com/b/*"], &["a.com/b"], false);
    check(&["a.com/b/*"], &["a.com"], false);
    check(&["a.com/b"], &["a.com/b*"], false);
    check(&["a.com"], &["https://a.com"], true);
    check(&["https://a.com"], &["a.com"], false);
    check(&["a.com:443"], &["https://a.com"], true);
    check(&["a.com"], &["https://a.com:443", "http://a.com:80"], true);
    check(&["a.com"], &["a.com:443"], false);
    check(&["a.com:443"], &["a.com"], false);
    check(&["a.com:8000"], &["https://a.com:8000/b"], true);
}

#[test]
fn they_are_stored_as_given() {
    let stored = r#"["*.Example.com/*","https://a.com:443"]"#;
    let parsed = serde_json::from_str::<Referrers>(stored).unwrap();
    assert_eq!(parsed, referrers(&["*.Example.com/*", "https://a.com:443"]));
    assert_eq!(serde_json::to_string(&parsed).unwrap(), stored);
    assert!(serde_json::from_str::<Referrers>(r#"["*"]"#).is_err());
}

const PATTERN: &str = "(https?://)?(\\*\\.)?(b\\.)?a\\.com(:(80|443|8000))?(|/|/b|/b/|/\\*|/b/\\*|/b\\*)";
const PAGE: &str = "https?://(c\\.)?(b\\.)?a\\.com(:(80|443|8000))?(|/|/b|/b/|/b/c|/bc)";

proptest! {
    #[test]
    fn what_the_tighter_allows_the_looser_allows(wide in PATTERN, narrow in PATTERN, page in PAGE) {
        let (wide, narrow) = (referrers(&[&wide]), referrers(&[&narrow]));
        if wide.covers(&narrow) && narrow.allows(&page) {
            prop_assert!(wide.allows(&page));
        }
        prop_assert!(wide.covers(&wide));
    }

    #[test]
    fn any_text_is_a_referrer_or_not(text in "\\PC*|(https?://)?[a.\\[\\]:/\\\\@?#%*é0-9]{0,24}") {
        let _ = Pattern::find(&text);
        if let Some(page) = Page::find(&text) {
            prop_assert!(page.path.starts_with('/') && is_host(page.host));
        }
    }
}
