use super::presented::{Presented, Strip, is_grpc, line, referrer, source_ip, strip};
use super::verdict::{Fault, Outcome, Verdict};
use crate::config::ExtAuthzConfig;
use crate::domain::decision::{Decision, Reason};
use crate::domain::route::Mode;
use crate::proto::envoy::config::core::v3 as core;
use crate::proto::envoy::service::auth::v3 as envoy;
use envoy::attribute_context::HttpRequest;
use envoy::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3 as theirs;
use proptest::prelude::*;
use prost::Message as _;

fn config() -> ExtAuthzConfig {
    ExtAuthzConfig {
        header: Some("x-token".to_owned()),
        query_parameter: Some("api_key".to_owned()),
        cookie: Some("kw".to_owned()),
        ..ExtAuthzConfig::default()
    }
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A request with raw headers.
fn raw(path: &str, headers: Pairs<'_>) -> HttpRequest {
    let headers = headers.iter().map(|(name, value)| core::HeaderValue {
        key: (*name).to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..core::HeaderValue::default()
    });
    HttpRequest {
        path: path.to_owned(),
        header_map: Some(core::HeaderMap { headers: headers.collect() }),
        ..HttpRequest::default()
    }
}

/// The same with repetitions joined, as Envoy does it unless it is told otherwise.
fn joined(path: &str, headers: Pairs<'_>) -> HttpRequest {
    let mut request = HttpRequest { path: path.to_owned(), ..HttpRequest::default() };
    for (name, value) in headers {
        let entry = request.headers.entry((*name).to_owned());
        entry.and_modify(|own| *own = format!("{own},{value}")).or_insert_with(|| (*value).to_owned());
    }
    request
}

/// What a request presents, the same in both forms: credential and second secret; `None` if that is not clear.
#[track_caller]
fn check(path: &str, headers: Pairs<'_>, expected: Option<(&str, &str)>) {
    for request in [raw(path, headers), joined(path, headers)] {
        let found = Presented::find(&request, &config());
        let found = found.as_ref().map(|found| (found.credential.as_ref(), found.secret_key.as_ref()));
        assert_eq!(found, expected, "{path} {headers:?} {}", request.header_map.is_some());
    }
}

#[test]
fn one_credential_is_found_wherever_it_is() {
    check("/", &[], Some(("", "")));
    for value in ["Bearer A", "bearer A", "BEARER   A", "Bearer\tA", " Bearer A "] {
        check("/", &[("authorization", value)], Some(("A", "")));
    }
    for value in ["Basic A", "Bearer", "Bearer ", "", "BearerA", "Digest a=\"b\", c=\"d\"", "A"] {
        check("/", &[("authorization", value)], Some(("", "")));
        check("/", &[("authorization", value), ("x-api-key", "A")], Some(("A", "")));
    }
    check("/", &[("x-api-key", "A"), ("x-secret-key", "S")], Some(("A", "S")));
    check("/", &[("x-token", "A")], Some(("A", "")));
    check("/", &[("X-Api-Key", "A")], Some(("A", "")));
    check("/?api_key=A", &[], Some(("A", "")));
    check("/?a=b&api_key=%41+%2b&c", &[], Some(("A++", "")));
    check("/?a=b#api_key=A", &[], Some(("", "")));
    check("/?API_KEY=A&xapi_key=B&api_keyx=C", &[], Some(("", "")));
    for value in ["kw=A", "a=b; kw=A", "kw=A;c=d", "a=b;  kw = A ; c", "kw=\"A\"", "akw=B; kw=A; kwx=C"] {
        check("/", &[("cookie", value)], Some(("A", "")));
    }
}

#[test]
fn two_credentials_are_refused_wherever_they_are() {
    let places: [(&str, (&str, &str)); 5] = [
        ("/", ("authorization", "Bearer A")),
        ("/", ("x-api-key", "A")),
        ("/", ("x-token", "A")),
        ("/", ("cookie", "kw=A")),
        ("/?api_key=A", ("x-other", "A")),
    ];
    for (place, (one, first)) in places.iter().enumerate() {
        for (two, second) in &places[place + 1..] {
            let path = if *one == "/" { two } else { one };
            // The same one twice is two.
            check(path, &[*first, *second], None);
        }
    }
    for headers in [
        [("authorization", "Bearer A"), ("authorization", "Bearer A")],
        [("authorization", "Basic A"), ("authorization", "Bearer A")],
        [("authorization", "Bearer A"), ("authorization", "Basic A")],
        [("x-api-key", "A"), ("x-api-key", "B")],
        [("x-token", "A"), ("x-token", "B")],
        [("x-secret-key", "A"), ("x-secret-key", "B")],
        [("cookie", "kw=A"), ("cookie", "kw=B")],
    ] {
        check("/", &headers, None);
    }
    check("/", &[("cookie", "kw=A; kw=B")], None);
    for path in
        ["/?api_key=A&api_key=B", "/?api_key=A,B", "/?api_key=A%2CB", "/?api%5Fkey=A", "/?api_key=%zz", "/?api_key=%ff"]
    {
        check(path, &[], None);
    }
    // In a second header of the same name: told apart only in the raw form.
    let headers = [("cookie", "a=b"), ("cookie", "kw=A")];
    assert!(Presented::find(&joined("/", &headers), &config()).is_none());
    assert_eq!(Presented::find(&raw("/", &headers), &config()).unwrap().credential, "A");
    let mut bytes = raw("/", &[("x-api-key", "A")]);
    bytes.header_map.as_mut().unwrap().headers[0].raw_value = vec![b'A', 0xff];
    assert!(Presented::find(&bytes, &config()).is_none());
}

#[test]
fn a_credential_goes_no_further() {
    #[track_caller]
    fn check(path: &str, headers: Pairs<'_>, removed: &[&str], cookie: Option<&str>, parameters: &[&str]) {
        for request in [raw(path, headers), joined(path, headers)] {
            let Strip { forged, headers, cookie: rest, query_parameters } = strip(&request, &config());
            let always = ["x-api-key", "x-secret-key", "x-token"];
            let more: Vec<&str> = headers.iter().map(String::as_str).filter(|name| !always.contains(name)).collect();
            assert!(always.iter().all(|name| headers.iter().any(|own| own == name)));
            assert_eq!((more.as_slice(), rest.as_deref()), (removed, cookie), "{path} {headers:?}");
            assert_eq!(query_parameters, parameters);
            assert!(forged.is_empty());
        }
    }
    check("/", &[], &[], None, &[]);
    check("/", &[("authorization", "Bearer A")], &["authorization"], None, &[]);
    check("/", &[("authorization", "Basic A"), ("authorization", "bearer A")], &["authorization"], None, &[]);
    check("/", &[("authorization", "Basic A")], &[], None, &[]);
    check("/?a=b&api_key=A", &[], &[], None, &["api_key"]);
    check("/?a=b", &[("cookie", "a=b")], &[], None, &[]);
    check("/", &[("cookie", "kw=A")], &["cookie"], None, &[]);
    check("/", &[("cookie", "a=b; kw=A;kw=B; c=\"d\"; é=é")], &[], Some("a=b; c=\"d\""), &[]);
}

#[test]
fn a_header_that_looks_like_one_of_ours_goes_no_further() {
    let headers = [("x_keyward_tenant", "a"), ("X-Keyward_Key", "b"), ("x_other", "c"), ("x-keyward-user", "d")];
    for request in [raw("/", &headers), joined("/", &headers)] {
        let mut forged = strip(&request, &config()).forged;
        forged.sort();
        assert_eq!(forged, ["X-Keyward_Key", "x_keyward_tenant"]);
    }
}

#[test]
fn the_first_line_may_be_in_pseudo_headers_only() {
    let request = raw("", &[(":path", "/a?b"), (":method", "POST"), (":authority", "h:1"), ("host", "other")]);
    let line = line(&request);
    assert_eq!((line.method, line.host, line.path), ("POST", "h:1", "/a?b"));
    for (value, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;x", true),
        ("application/grpc-web", false),
        ("application/json", false),
        ("", false),
    ] {
        assert_eq!(is_grpc(&joined("/", &[("content-type", value)])), expected, "{value}");
    }
    assert_eq!(referrer(&raw("/", &[("referer", "https://a/")])), "https://a/");
    assert_eq!(referrer(&raw("/", &[("referer", "https://a/"), ("referer", "https://b/")])), "");
}

#[test]
fn the_client_is_who_is_connected_or_so_many_trusted_hops_away() {
    let attributes = |address: &str| {
        let socket = core::SocketAddress { address: address.to_owned(), ..core::SocketAddress::default() };
        let address = core::Address { address: Some(core::address::Address::SocketAddress(socket)) };
        envoy::AttributeContext {
            source: Some(envoy::attribute_context::Peer { address: Some(address), ..Default::default() }),
            ..envoy::AttributeContext::default()
        }
    };
    let none = raw("/", &[]);
    assert_eq!(source_ip(&attributes("10.0.0.1"), &none, 0), "10.0.0.1");
    assert_eq!(source_ip(&attributes("::ffff:10.0.0.1"), &none, 0), "10.0.0.1");
    assert_eq!(source_ip(&attributes("nowhere"), &none, 0), "");
    assert_eq!(source_ip(&envoy::AttributeContext::default(), &none, 0), "");
    for request in [
        raw("/", &[("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "x,::3")]),
        joined("/", &[("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "x,::3")]),
    ] {
        let found: Vec<String> = (0..=5).map(|hops| source_ip(&attributes("10.0.0.1"), &request, hops)).collect();
        assert_eq!(found, ["10.0.0.1", "::3", "", "2.2.2.2", "1.1.1.1", ""]);
    }
    assert_eq!(source_ip(&attributes("10.0.0.1"), &none, 1), "", "nobody stands in for a client that is not told");
}

fn is_permit(response: &envoy::CheckResponse) -> bool {
    response.status.as_ref().is_none_or(|status| status.code == 0)
}

/// One header of a denial.
fn told<'a>(denied: &'a envoy::DeniedHttpResponse, name: &str) -> Option<&'a str> {
    let headers = denied.headers.iter().filter_map(|option| option.header.as_ref());
    headers.into_iter().find(|header| header.key == name).map(|header| header.value.as_str())
}

#[test]
fn each_reason_has_its_status() {
    for reason in Reason::ALL {
        let (http, grpc, error) = match reason {
            Reason::Missing => (401, 16, ""),
            Reason::NotGranted => (403, 7, ", error=\"insufficient_scope\""),
            Reason::IpNotAllowed | Reason::ReferrerNotAllowed => (403, 7, ""),
            _ => (401, 16, ", error=\"invalid_token\""),
        };
        let verdict = || {
            let outcome = Outcome { decision: Decision::denied(reason), ..Outcome::default() };
            Verdict::of(outcome, Mode::Enforce)
        };
        let response = verdict().encode(false, Strip::default());
        assert_eq!(response.status.as_ref().unwrap().code, grpc, "{reason:?}");
        let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else { panic!("{reason:?}") };
        assert_eq!(denied.status.as_ref().unwrap().code, http, "{reason:?}");
        assert_eq!(told(&denied, "www-authenticate").unwrap(), format!("Bearer realm=\"keyward\"{error}"));
        assert_eq!(told(&denied, "x-ext-auth-reason"), Some(reason.as_str()));
        assert_eq!(told(&denied, "content-type"), Some("application/json"));
        let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
        assert_eq!((body["code"].as_i64(), &body["reasons"][0]), (Some(grpc.into()), &reason.as_str().into()));

        let response = verdict().encode(true, Strip::default());
        let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else { panic!("{reason:?}") };
        assert_eq!(told(&denied, "grpc-status"), Some(grpc.to_string().as_str()));
        assert!(denied.body.ends_with(reason.as_str()) && denied.body.is_ascii() && !denied.body.contains('\n'));
    }
}

fn faults() -> impl Strategy<Value = Option<Fault>> {
    let all = [
        Fault::Missing,
        Fault::Credential,
        Fault::Ambiguous,
        Fault::NotGranted,
        Fault::Circumstances,
        Fault::Unreadable,
    ];
    proptest::option::of(proptest::sample::select(all.to_vec()))
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let reasons = proptest::option::of(proptest::sample::select(Reason::ALL.to_vec()));
    let names = (".{0,20}", ".{0,20}", ".{0,20}", ".{0,20}");
    (reasons, faults(), proptest::option::of(names), any::<i64>()).prop_map(|(reason, fault, names, revision)| {
        let principal = names.map(|(tenant, user, application, key)| crate::proto::v1::Principal {
            tenant,
            user,
            application,
            key,
            ..Default::default()
        });
        // Without a reason: what nobody evaluated.
        Outcome { decision: reason.map(Decision::denied).unwrap_or_default(), fault, principal, revision }
    })
}

proptest! {
    #[test]
    fn no_denial_encodes_as_allow(outcome in outcomes(), is_grpc in any::<bool>(), header in ".{0,9}") {
        let strip = Strip { headers: vec![header.clone()], cookie: Some(header), ..Strip::default() };
        let response = Verdict::of(outcome, Mode::Enforce).encode(is_grpc, strip);
        prop_assert!(!is_permit(&response));
        let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else { panic!("{response:?}") };
        let status = denied.status.as_ref().unwrap().code;
        prop_assert!(status == 401 || status == 403);
        for header in denied.headers.iter().filter_map(|option| option.header.as_ref()) {
            prop_assert!(header.value.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{:?}", header.value);
        }
        // As another implementation reads it.
        let read = theirs::CheckResponse::decode(response.encode_to_vec().as_slice()).unwrap();
        prop_assert_ne!(read.status.as_ref().unwrap().code, 0);
        let is_denied = matches!(read.http_response, Some(theirs::check_response::HttpResponse::DeniedResponse(_)));
        prop_assert!(is_denied);
        prop_assert_eq!(read.encode_to_vec().len(), response.encode_to_vec().len());
    }

    #[test]
    fn an_observed_denial_tells_nobody_who_it_was(outcome in outcomes()) {
        let is_known = outcome.principal.is_some();
        let strip = Strip { headers: vec!["authorization".to_owned()], ..Strip::default() };
        let response = Verdict::of(outcome, Mode::Observe).encode(false, strip);
        prop_assert!(is_permit(&response));
        let read = theirs::CheckResponse::decode(response.encode_to_vec().as_slice()).unwrap();
        let Some(HttpResponse::OkResponse(ok)) = response.http_response else { panic!() };
        let Some(theirs::check_response::HttpResponse::OkResponse(read)) = read.http_response else { panic!() };
        prop_assert_eq!(&read.headers_to_remove, &ok.headers_to_remove);
        prop_assert!(ok.headers.is_empty());
        for name in ["x-keyward-tenant", "x-keyward-user", "x-keyward-application", "x-keyward-key"] {
            prop_assert!(ok.headers_to_remove.iter().any(|own| own == name));
        }
        prop_assert!(ok.headers_to_remove.iter().any(|own| own == "x-envoy-auth-failure-mode-allowed"));
        prop_assert_eq!(ok.headers_to_remove.iter().any(|own| own == "authorization"), is_known);
    }

    #[test]
    fn a_request_that_others_encode_decodes_to_the_same(
        headers in proptest::collection::hash_map("[a-z-]{1,9}", ".{0,9}", 0..5),
        raw in proptest::collection::vec(("[a-z:-]{1,9}", proptest::collection::vec(any::<u8>(), 0..9)), 0..5),
        extensions in proptest::collection::hash_map("[a-z]{1,9}", ".{0,9}", 0..3),
        (method, host, path, protocol) in (".{0,5}", ".{0,9}", ".{0,9}", ".{0,9}"),
        (address, port, sni, size) in (".{0,9}", any::<u32>(), ".{0,9}", any::<i64>()),
    ) {
        use envoy_types::pb::envoy::config::core::v3 as their_core;
        use theirs::attribute_context as of;
        let socket = their_core::SocketAddress {
            address: address.clone(),
            port_specifier: Some(their_core::socket_address::PortSpecifier::PortValue(port)),
            ..Default::default()
        };
        let header = |(key, raw_value): &(String, Vec<u8>)| their_core::HeaderValue {
            key: key.clone(),
            raw_value: raw_value.clone(),
            ..Default::default()
        };
        let message = theirs::CheckRequest { attributes: Some(theirs::AttributeContext {
            source: Some(of::Peer {
                address: Some(their_core::Address {
                    address: Some(their_core::address::Address::SocketAddress(socket)),
                }),
                ..Default::default()
            }),
            request: Some(of::Request {
                http: Some(of::HttpRequest {
                    method: method.clone(), host: host.clone(), path: path.clone(), protocol: protocol.clone(), size,
                    headers: headers.clone(),
                    header_map: Some(their_core::HeaderMap { headers: raw.iter().map(header).collect() }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            context_extensions: extensions.clone(),
            tls_session: Some(of::TlsSession { sni: sni.clone() }),
            ..Default::default()
        }) };
        let bytes = message.encode_to_vec();
        let ours = envoy::CheckRequest::decode(bytes.as_slice()).unwrap();
        let attributes = ours.attributes.as_ref().unwrap();
        let http = attributes.request.as_ref().unwrap().http.as_ref().unwrap();
        prop_assert_eq!((&http.method, &http.host, &http.path), (&method, &host, &path));
        prop_assert_eq!((&http.protocol, http.size, &http.headers), (&protocol, size, &headers));
        let found: Vec<(String, Vec<u8>)> = http.header_map.as_ref().unwrap().headers.iter()
            .map(|header| (header.key.clone(), header.raw_value.clone())).collect();
        prop_assert_eq!(&found, &raw);
        prop_assert_eq!(&attributes.context_extensions, &extensions);
        prop_assert_eq!(&attributes.tls_session.as_ref().unwrap().sni, &sni);
        let found = attributes.source.as_ref().unwrap().address.as_ref().unwrap().address.clone();
        let Some(core::address::Address::SocketAddress(socket)) = found else { panic!() };
        prop_assert_eq!(socket.address, address);
        prop_assert_eq!(socket.port_specifier, Some(core::socket_address::PortSpecifier::PortValue(port)));
        // And back: nothing is lost.
        prop_assert_eq!(theirs::CheckRequest::decode(ours.encode_to_vec().as_slice()).unwrap(), message);
    }
}
