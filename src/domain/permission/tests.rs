use super::*;
use proptest::prelude::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

fn grants(permissions: &[(&str, &[&str])]) -> Grants {
    permissions.iter().map(|(text, actions)| (pattern(text), Actions::of(actions.iter().copied()))).collect()
}

#[test]
fn a_resource_is_well_formed_or_not_asked_about() {
    let longest = vec!["a".repeat(256); 16].join("/");
    for good in ["a", "a/b", "...", "a b", "é", "-", "a/.b", "%2F", "\u{a0}", "\u{e2}", &longest] {
        assert!(is_resource(good), "{good:?}");
    }
    let too_deep = vec!["a"; 17].join("/");
    let too_long = "a".repeat(257);
    for bad in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a/.",
        "*",
        "a/*",
        "a*",
        "a\n",
        "\u{7f}",
        "\u{85}",
        "a/\u{9f}/b",
        "\0",
        &too_deep,
        &too_long,
    ] {
        assert!(!is_resource(bad), "{bad:?}");
    }
    assert!(is_action("read") && !is_action("read/write") && !is_action("*") && !is_action(""));
}

#[test]
fn wildcards_stand_only_as_a_whole_last_segment() {
    let deepest = format!("{}**", "a/".repeat(15));
    for good in ["*", "**", "a", "a/*", "a/**", "a/b/*", &deepest] {
        assert_eq!(pattern(good).to_string(), good);
        assert_eq!(pattern(good).as_str(), good);
    }
    let too_deep = format!("{}*", "a/".repeat(16));
    for bad in
        ["", "/", "/*", "//**", "***", "a*", "a/b*", "*/a", "**/a", "a/*/b", "a/**/*", "a/./*", "..", "a/", &too_deep]
    {
        assert_eq!(Pattern::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn a_pattern_covers_what_the_rule_says() {
    #[track_caller]
    fn check(text: &str, covered: &[&str], not_covered: &[&str]) {
        for resource in covered {
            assert!(pattern(text).covers(resource), "{text} {resource}");
        }
        for resource in not_covered {
            assert!(!pattern(text).covers(resource), "{text} {resource}");
        }
    }
    check("a", &["a"], &["b", "a/b", "A", "aa"]);
    check("a/*", &["a/b", "a/..."], &["a", "a/b/c", "ab", "ab/c", "b/a/b"]);
    check("a/**", &["a/b", "a/b/c"], &["a", "ab", "ab/c", "b/a/b"]);
    check("*", &["a", "keyward"], &["a/b"]);
    check("**", &["a", "a/b", "keyward/keys/k"], &[]);
}

#[test]
fn what_lies_below_a_root_is_reached_or_not() {
    #[track_caller]
    fn check(text: &str, root: &str, expected: bool) {
        assert_eq!(pattern(text).may_reach(root), expected, "{text} {root}");
    }
    for text in ["**", "keyward/**", "keyward/*", "keyward/keys", "keyward/keys/*"] {
        check(text, "keyward", true);
    }
    for text in ["*", "keyward", "keywards/x", "keywards/**", "key/**", "a/keyward/**"] {
        check(text, "keyward", false);
    }
    check("keyward/**", "keyward/keys", true);
    check("keyward/*", "keyward/keys", false);
    check("keyward/keys/k", "keyward/keys", true);
    assert!(Grants::everything().may_reach("keyward") && !Grants::default().may_reach("keyward"));
}

#[test]
fn the_sixteenth_segment_leaves_no_room_below_it() {
    let stem = "a/".repeat(15);
    let (child, below) = (pattern(&format!("{stem}*")), pattern(&format!("{stem}**")));
    assert!(child.covers_pattern(&below) && below.covers_pattern(&child));
    assert!(!pattern("a/*").covers_pattern(&pattern("a/**")));
    let held: Grants = [(child, Actions::Any)].into_iter().collect();
    assert!(held.covers(&[(below, Actions::Any)].into_iter().collect()));
}

#[test]
fn nothing_ill_formed_is_allowed_even_to_who_holds_everything() {
    let everything = Grants::everything();
    assert!(everything.allows("a/b", "read"));
    for (resource, action) in [("", "read"), ("a/*", "read"), ("a/../b", "read"), ("a", "*"), ("a", ""), ("a", "b/c")] {
        assert!(!everything.allows(resource, action), "{resource} {action}");
    }
    assert!(!Grants::default().allows("a", "read"));
    assert!(Grants::default().is_empty() && !everything.is_empty());
}

#[test]
fn grants_are_the_same_however_they_were_written() {
    let one = grants(&[("b", &["read"]), ("a/*", &["write", "read"]), ("b", &["*"]), ("c", &[])]);
    let another = grants(&[("a/*", &["read"]), ("a/*", &["write", "write"]), ("b", &["x", "*", "y"])]);
    assert_eq!(one, another);
    assert_eq!(one.iter().map(|(_, actions)| actions.to_string()).collect::<Vec<_>>(), ["read, write", "*"]);
}

#[test]
fn what_is_not_held_is_named() {
    let held = grants(&[("a/**", &["read"]), ("a/b", &["write"])]);
    assert!(held.covers(&grants(&[("a/b", &["read", "write"]), ("a/*", &["read"])])));
    assert_eq!(held.uncovered(&grants(&[("a/*", &["read", "write"])])), Some(("a/*".into(), "write".into())));
    assert_eq!(held.uncovered(&grants(&[("a/b", &["*"])])), Some(("a/b".into(), "*".into())));
    assert_eq!(held.uncovered(&Grants::default()), None);
    assert!(held.covers_pattern("a/*", "read") && !held.covers_pattern("a/*", "write"));
    assert!(!Grants::everything().covers_pattern("a//b", "read") && !Grants::everything().covers_pattern("a", "b*"));
    assert!(Grants::everything().covers(&Grants::everything()) && !held.covers(&Grants::everything()));
}

/// Obviously right, and slow.
fn naive_covers(pattern: &[&str], resource: &[&str]) -> bool {
    match (pattern, resource) {
        (["**"], [_, ..]) | (["*"], [_]) => true,
        ([first, pattern @ ..], [other, resource @ ..]) if first == other => {
            (pattern.is_empty() && resource.is_empty()) || naive_covers(pattern, resource)
        }
        _ => false,
    }
}

fn naive_pattern_covers(pattern: &str, resource: &str) -> bool {
    naive_covers(&pattern.split('/').collect::<Vec<_>>(), &resource.split('/').collect::<Vec<_>>())
}

const RESOURCE: &str = "(a|b|ab)(/(a|b|ab)){0,3}";
const PATTERN: &str = "((a|b|ab)/){0,3}(a|b|ab|\\*|\\*\\*)";

fn some_grants() -> impl Strategy<Value = Vec<(String, Vec<String>)>> {
    prop::collection::vec((PATTERN, prop::collection::vec("[rw*]", 0..3)), 0..30)
}

fn compiled(permissions: &[(String, Vec<String>)]) -> Grants {
    let pairs = permissions.iter();
    pairs.map(|(text, actions)| (pattern(text), Actions::of(actions.iter().map(String::as_str)))).collect()
}

proptest! {
    #[test]
    fn a_pattern_agrees_with_the_oracle(text in PATTERN, resource in RESOURCE) {
        prop_assert_eq!(pattern(&text).covers(&resource), naive_pattern_covers(&text, &resource));
    }

    #[test]
    fn inclusion_is_that_of_the_sets(wide in PATTERN, narrow in PATTERN, resource in RESOURCE, deeper in RESOURCE) {
        let (wide, narrow) = (pattern(&wide), pattern(&narrow));
        for asked in [resource.clone(), format!("{}{resource}", narrow.stem()), format!("{resource}/{deeper}")] {
            if wide.covers_pattern(&narrow) && narrow.covers(&asked) {
                prop_assert!(wide.covers(&asked), "{} {} {}", wide, narrow, asked);
            }
        }
        // The witnesses that separate any two patterns: the narrow one's own, with a segment that no pattern names.
        let witnesses = match narrow.reach {
            Reach::Exact => vec![narrow.to_string()],
            Reach::Child => vec![format!("{}new", narrow.stem())],
            Reach::Below => vec![format!("{}new", narrow.stem()), format!("{}new/new", narrow.stem())],
        };
        prop_assert_eq!(wide.covers_pattern(&narrow), witnesses.iter().all(|witness| wide.covers(witness)));
    }

    #[test]
    fn reach_below_a_root_agrees_with_inclusion(text in PATTERN, root in RESOURCE, below in RESOURCE) {
        let resource = format!("{root}/{below}");
        let pattern = pattern(&text);
        if pattern.covers(&resource) {
            prop_assert!(pattern.may_reach(&root));
        }
        let witnesses = [format!("{root}/new"), format!("{root}/new/new"), format!("{}new", pattern.stem()), text];
        let is_below = |witness: &&String| witness.starts_with(&format!("{root}/")) && pattern.covers(witness);
        prop_assert_eq!(pattern.may_reach(&root), witnesses.iter().any(|witness| is_below(&witness)));
    }

    #[test]
    fn grants_allow_what_one_of_them_allows(held in some_grants(), resource in RESOURCE, action in "[rwx]") {
        let expected = held.iter().any(|(text, actions)| {
            naive_pattern_covers(text, &resource) && actions.iter().any(|one| one == "*" || *one == action)
        });
        prop_assert_eq!(compiled(&held).allows(&resource, &action), expected);
    }

    #[test]
    fn grants_cover_what_they_hold_pair_by_pair(held in some_grants(), wanted in some_grants()) {
        let expected = wanted.iter().all(|(text, actions)| actions.iter().all(|action| {
            held.iter().any(|(other, others)| {
                pattern(other).covers_pattern(&pattern(text)) && others.iter().any(|one| one == "*" || one == action)
            })
        }));
        // A list with `*` in it is `*`, so the naive reading of its other actions is at most as strict.
        let (held, wanted) = (compiled(&held), compiled(&wanted));
        prop_assert_eq!(held.covers(&wanted), expected);
        prop_assert_eq!(held.uncovered(&wanted).is_none(), expected);
        prop_assert!(held.covers(&held) && Grants::everything().covers(&held) && held.covers(&Grants::default()));
    }

    #[test]
    fn any_text_is_a_pattern_or_not(text in "\\PC*|[a*./\u{85}é]{0,40}") {
        prop_assert_eq!(Pattern::parse(&text).is_some_and(|pattern| pattern.reach == Reach::Exact), is_resource(&text));
        let naive = text.split('/').count() <= 16 && text.split('/').all(|segment| {
            let fits = !segment.is_empty() && segment.len() <= 256 && segment != "." && segment != "..";
            fits && !segment.contains(|c: char| c == '*' || c.is_control())
        });
        prop_assert_eq!(is_resource(&text), naive);
    }
}
