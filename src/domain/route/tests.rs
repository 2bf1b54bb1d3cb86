use super::*;
use proptest::prelude::*;

fn line<'a>(method: &'a str, host: &'a str, path: &'a str) -> RequestLine<'a> {
    RequestLine { method, host, path }
}

/// What a GET of `path` needs without a route: the resource, or none that anybody could hold.
#[track_caller]
fn check(path: &str, expected: Option<&str>) {
    let needed = Routes::default().needed(&line("GET", "api.example", path), &Said::default());
    let resource = expected.map(|rest| format!("http/api.example{rest}")).unwrap_or_default();
    assert_eq!(needed.resource, resource, "{path:?}");
    assert_eq!(needed.action, if expected.is_some() { "get" } else { "" }, "{path:?}");
    assert_eq!(is_resource(&needed.resource), expected.is_some(), "{path:?}");
}

#[test]
fn a_path_has_one_reading_or_none() {
    let good = [
        ("/", ""),
        ("/?", ""),
        ("/a", "/a"),
        ("/a/", "/a"),
        ("/a/b/c", "/a/b/c"),
        ("/a?b=c/../d", "/a"),
        ("/a#b", "/a"),
        ("/a#b?c", "/a"),
        ("/a/?b", "/a"),
        ("/%61%2D%7e%5F", "/a-~_"),
        ("/a%2eb", "/a.b"),
        ("/...", "/..."),
        ("/.a", "/.a"),
        ("/a%20b", "/a%20b"),
        ("/a%3ab", "/a%3Ab"),
        ("/a:b@c;d=e,f", "/a:b@c;d=e,f"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a{b|c^d\"e<f>g`", "/a%7Bb%7Cc%5Ed%22e%3Cf%3Eg%60"),
        ("/100%2541", "/100%2541"),
        ("/keyward.v1.CheckService/Check", "/keyward.v1.CheckService/Check"),
    ];
    for (path, resource) in good {
        check(path, Some(resource));
    }
    let bad = [
        "",
        "?a",
        "#",
        "*",
        "a",
        "admin/x",
        "http://api.example/a",
        "//",
        "//admin",
        "/a//",
        "/a//b",
        "///",
        "/.",
        "/..",
        "/./",
        "/../",
        "/a/./b",
        "/a/../b",
        "/a/..",
        "/%2e",
        "/%2E%2e",
        "/a/%2e./b",
        "/.%2e",
        "/a/..;/b",
        "/a/.;x=y",
        "/..%3b/a",
        "/;a/b",
        "/a\\b",
        "/\\",
        "/a%5cb",
        "/a%5C",
        "/a%2fb",
        "/a%2F",
        "/%2f",
        "/%00",
        "/a%00b",
        "/a%0ab",
        "/a%0d",
        "/a%7f",
        "/%1f",
        "/a\0",
        "/a\nb",
        "/a b",
        "/a\tb",
        "/\x7f",
        "/é",
        "/%",
        "/%4",
        "/%zz",
        "/a%",
        "/%u0041",
        "/%252e%252e",
        "/%252f",
        "/%25252e",
        "/a%255cb",
        "/%25%32%65",
        "/..%253b",
        "/%2500",
        "/a*b",
        "/*",
        "/**",
    ];
    for path in bad {
        check(path, None);
    }
    check(&format!("/{}", "a/".repeat(14)), Some(&"/a".repeat(14)));
    check(&format!("/{}", "a/".repeat(15)), None);
    check(&format!("/{}", "a".repeat(256)), Some(&format!("/{}", "a".repeat(256))));
    check(&format!("/{}", "a".repeat(257)), None);
    check(&"/a".repeat(100_000), None);
}

#[test]
fn a_host_has_one_reading_or_none() {
    #[track_caller]
    fn check(host: &str, expected: Option<&str>) {
        let needed = Routes::default().needed(&line("GET", host, "/a"), &Said::default());
        assert_eq!(needed.resource, expected.map(|host| format!("http/{host}/a")).unwrap_or_default(), "{host:?}");
    }
    for (host, expected) in [
        ("api.example", "api.example"),
        ("API.Example:8443", "api.example"),
        ("api.example.:80", "api.example"),
        ("api.example:", "api.example"),
        ("my_service-1", "my_service-1"),
        ("10.0.0.1:1", "10.0.0.1"),
        ("[::1]", "[::1]"),
        ("[0:0::1]:80", "[::1]"),
        ("", "-"),
    ] {
        check(host, Some(expected));
    }
    let long = "a".repeat(254);
    for host in [
        "-", ".", "..", "a..b", ".a", "a.b..", "a b", "a/b", "a\\b", "a@b", "a:b", "a:80:80", "a:+80", "a:99999",
        "[::1", "::1", "[::1]x", "[::1]:x", "[a]", "é", "a%2eb", "a*", "*", "a\0", "a,b", ":80", &long,
    ] {
        check(host, None);
    }
}

#[test]
fn a_method_is_a_word_and_no_tunnel() {
    for (method, expected) in [("GET", "get"), ("get", "get"), ("M-SEARCH", "m-search"), ("PROPFIND", "propfind")] {
        let needed = Routes::default().needed(&line(method, "h", "/a"), &Said::default());
        assert_eq!((needed.resource.as_str(), needed.action.as_str()), ("http/h/a", expected));
    }
    for method in ["", "CONNECT", "connect", "GE T", "GET/", "*", "GÉT", &"A".repeat(33)] {
        let needed = Routes::default().needed(&line(method, "h", "/a"), &Said::default());
        assert_eq!(needed, Needed::default(), "{method:?}");
    }
}

fn route(path: &str, resource: &str) -> RouteText {
    RouteText { path: path.to_owned(), resource: resource.to_owned(), ..RouteText::default() }
}

#[test]
fn the_first_route_that_matches_counts() {
    let routes = Routes::parse(
        &[
            RouteText {
                host: "*.example".to_owned(),
                methods: vec!["GET".to_owned(), "HEAD".to_owned()],
                action: "read".to_owned(),
                tenant: "tenants/{tenant}".to_owned(),
                ..route("/v1/tenants/{tenant}/things/{thing}", "things/{thing}")
            },
            RouteText { host: "one.example".to_owned(), mode: "observe".to_owned(), ..route("/v1/**", "v1") },
            route("/v1/a:b", "special"),
            route("/files/{rest=**}", "files/{rest}"),
            route("/any/*/end", "any"),
            route("/", "front"),
        ],
        "routes",
    )
    .unwrap();
    #[track_caller]
    fn check(routes: &Routes, (method, host, path): (&str, &str, &str), expected: (&str, &str, &str, Mode)) {
        let needed = routes.needed(&line(method, host, path), &Said::default());
        let found = (needed.resource.as_str(), needed.action.as_str(), needed.tenant.as_str(), needed.mode);
        assert_eq!(found, expected, "{method} {host} {path}");
    }
    let (enforce, observe) = (Mode::Enforce, Mode::Observe);
    let thing = "/v1/tenants/acme/things/5";
    check(&routes, ("GET", "one.example", thing), ("things/5", "read", "tenants/acme", enforce));
    check(&routes, ("head", "A.B.Example:80", thing), ("things/5", "read", "tenants/acme", enforce));
    check(&routes, ("POST", "one.example", thing), ("v1", "post", "", observe));
    check(&routes, ("GET", "example", "/v1"), ("http/example/v1", "get", "", enforce));
    check(&routes, ("GET", "badexample", "/v1/x"), ("http/badexample/v1/x", "get", "", enforce));
    check(&routes, ("GET", "one.example", "/v1"), ("http/one.example/v1", "get", "", enforce));
    check(&routes, ("GET", "", "/v1/a:b"), ("special", "get", "", enforce));
    check(&routes, ("GET", "", "/v1/a%3ab/"), ("special", "get", "", enforce));
    check(&routes, ("GET", "", "/v1/%61:b"), ("special", "get", "", enforce));
    check(&routes, ("GET", "h", "/files/a/b%20c"), ("files/a/b%20c", "get", "", enforce));
    check(&routes, ("GET", "h", "/files"), ("http/h/files", "get", "", enforce));
    check(&routes, ("GET", "h", "/any/thing/end"), ("any", "get", "", enforce));
    check(&routes, ("GET", "h", "/any/thing"), ("http/h/any/thing", "get", "", enforce));
    check(&routes, ("GET", "h", "/"), ("front", "get", "", enforce));
    // Nobody can hold these, and no route makes something else of them.
    for path in ["/files/../any", "/files//a", "/files/%2e%2e/a", "/files/a*", "/files/a%2fb", "//files/a", "files/a"] {
        check(&routes, ("GET", "h", path), ("", "", "", enforce));
    }
    // Not even where denials are told only.
    check(&routes, ("GET", "one.example", "/v1/../x"), ("", "", "", enforce));
    check(&routes, ("GET", "h", &format!("/files{}", "/a".repeat(16))), ("", "", "", enforce));
}

#[test]
fn what_the_proxy_says_goes_before_the_table() {
    let routes = Routes::parse(&[RouteText { mode: "observe".to_owned(), ..route("/a", "things") }], "routes").unwrap();
    let said = |resource, action, tenant, mode| Said { resource, action, tenant, mode };
    #[track_caller]
    fn check(routes: &Routes, request: RequestLine<'_>, said: Said<'_>, expected: (&str, &str, &str, Mode)) {
        let needed = routes.needed(&request, &said);
        let found = (needed.resource.as_str(), needed.action.as_str(), needed.tenant.as_str(), needed.mode);
        assert_eq!(found, expected, "{request:?} {said:?}");
    }
    let (enforce, observe) = (Mode::Enforce, Mode::Observe);
    let get = line("GET", "h", "/a");
    check(&routes, get, said("", "", "", ""), ("things", "get", "", observe));
    check(&routes, get, said("", "", "", "enforce"), ("things", "get", "", enforce));
    check(&routes, get, said("", "read", "tenants/a", ""), ("things", "read", "tenants/a", observe));
    check(&routes, get, said("docs/1", "", "", ""), ("docs/1", "get", "", enforce));
    check(&routes, get, said("docs/1", "read", "tenants/a", "observe"), ("docs/1", "read", "tenants/a", observe));
    for mode in ["Observe", "observe ", "on", "OBSERVE"] {
        check(&routes, get, said("docs/1", "read", "", mode), ("docs/1", "read", "", enforce));
    }
    // A tunnel, of which the proxy has said what it needs.
    check(&routes, line("CONNECT", "h:443", ""), said("tunnel", "use", "", ""), ("tunnel", "use", "", enforce));
    check(&routes, line("CONNECT", "h:443", ""), said("tunnel", "", "", ""), ("", "", "", enforce));
    // No fixed permission makes a path good that another reader could take for another one.
    check(&routes, line("GET", "h", "/x/../a"), said("docs/1", "read", "t", "observe"), ("", "", "t", observe));
    for resource in ["a//b", "/a", "a/", "..", "a/*", "**"] {
        check(&routes, get, said(resource, "read", "", ""), ("", "", "", enforce));
    }
    check(&routes, get, said("docs/1", "*", "", ""), ("", "", "", enforce));
}

#[test]
fn a_route_that_cannot_be_meant_is_refused() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut RouteText), field: Option<&str>) {
        let mut text = route("/things/{thing}", "things/{thing}");
        change(&mut text);
        let broken = Routes::parse(&[text.clone()], "routes")
            .map(|_| ())
            .map_err(|violations| violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>());
        let expected = field.map_or(Ok(()), |field| Err(vec![format!("routes[0].{field}")]));
        assert_eq!(broken, expected, "{text:?}");
    }
    check(|_| (), None);
    for host in ["api.example", "*.example", "[::1]", "10.0.0.1"] {
        check(|text| text.host = host.to_owned(), None);
    }
    for host in ["API", "a:80", "*", "*.", "*a", "a.*", "a/b", "a."] {
        check(|text| text.host = host.to_owned(), Some("host"));
    }
    for path in ["/a/{thing}/**", "/{thing}/*", "/{thing}/{rest=**}", "/a.b/c:d/{thing}", "/caf%C3%A9/{thing}"] {
        check(|text| text.path = path.to_owned(), None);
    }
    for path in [
        "",
        "a/{thing}",
        "/{thing}/",
        "//{thing}",
        "/**/{thing}",
        "/{thing}/a*",
        "/{thing}/{thing}",
        "/{thing}/{X}",
        "/{thing}/{}",
        "/{thing}/..",
        "/{thing}/%2e",
        "/{thing}/caf%c3%a9",
        "/{thing}?x",
        "/{thing}/{a=*}",
        "/{rest=**}/{thing}",
        "/{thing}/a b",
    ] {
        // Without the path its variables are not known either.
        check(|text| (text.path, text.resource) = (path.to_owned(), "things".to_owned()), Some("path"));
    }
    for resource in ["", "a/", "/a", "{other}", "a/{thing}x", "a/*", "a/**", ".."] {
        check(|text| text.resource = resource.to_owned(), Some("resource"));
    }
    check(|text| text.action = "*".to_owned(), Some("action"));
    check(|text| text.methods = vec!["GET".to_owned(), "CONNECT".to_owned()], Some("methods"));
    for tenant in ["tenants/acme", "tenants/{thing}", ""] {
        check(|text| text.tenant = tenant.to_owned(), None);
    }
    for tenant in
        ["acme", "tenants/", "tenants/-", "tenants/{other}", "tenants/A", "tenants/a/users/b", "users/{thing}"]
    {
        check(|text| text.tenant = tenant.to_owned(), Some("tenant"));
    }
    check(|text| text.mode = "observed".to_owned(), Some("mode"));
    assert!(Routes::parse(&vec![route("/a", "a"); MAX_ROUTES + 1], "routes").is_err());
}

/// A parser of paths as a careless server has it: decodes everything, again and again, and then walks.
fn walked(path: &str) -> Vec<String> {
    let path = path.split(['?', '#']).next().unwrap().to_owned();
    let mut bytes = path.into_bytes();
    loop {
        let again = path::meaning(&String::from_utf8_lossy(&bytes));
        if again == bytes {
            break;
        }
        bytes = again;
    }
    let mut walked = Vec::new();
    for segment in String::from_utf8_lossy(&bytes).split(['/', '\\']) {
        match segment.split(';').next().unwrap() {
            "" | "." => {}
            ".." => drop(walked.pop()),
            _ => walked.push(segment.to_owned()),
        }
    }
    walked
}

proptest! {
    #[test]
    fn nothing_below_a_folder_leads_out_of_it(rest in "([a-z.;:%/\\\\?#]|%2[eEfF5]|%5[cC]|%25|2e|2f|%3[bB25]|%6[56]|%0[0a]){0,12}") {
        let path = format!("/open/{rest}");
        let needed = Routes::default().needed(&line("GET", "h", &path), &Said::default());
        if needed.resource.starts_with("http/h/open/") {
            let walked = walked(&path);
            prop_assert_eq!(walked.first().map(String::as_str), Some("open"), "{}", path);
        }
    }

    #[test]
    fn whatever_is_sent_needs_one_permission_or_one_that_nobody_holds(
        method in ".{0,6}", host in ".{0,12}", path in "/?.{0,30}", resource in "|.{0,10}", action in "|.{0,10}",
    ) {
        let said = Said { resource: &resource, action: &action, ..Said::default() };
        let needed = Routes::default().needed(&line(&method, &host, &path), &said);
        let is_well_formed = is_resource(&needed.resource) && is_action(&needed.action);
        prop_assert!(is_well_formed || needed == Needed::default());
        prop_assert_eq!(needed.mode, Mode::Enforce);
    }

    #[test]
    fn what_was_read_once_is_read_the_same_again(path in "/[a-zA-Z0-9%.:@!/é-]{0,20}") {
        if let Some(segments) = clean_path(&path) {
            prop_assert_eq!(clean_path(&format!("/{}", segments.join("/"))), Some(segments));
        }
    }
}
