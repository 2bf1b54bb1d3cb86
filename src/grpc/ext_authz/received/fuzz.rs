//! What a proxy, or whoever is let in as one, may send, and what it brings from strangers.

use super::super::presented::{Presented, is_grpc, line, said, source_ip, strip};
use super::super::verdict::{Fault, Outcome, Verdict};
use super::*;
use crate::config::ExtAuthzConfig;
use crate::domain::decision::{Decision, Reason};
use crate::domain::route::Mode;
use crate::fuzz::fuzz;
use crate::proto::envoy::config::core::v3 as core;
use envoy::attribute_context::{HttpRequest, Request as Proxied};
use envoy::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3 as theirs;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const MAX_BYTES: usize = 1024 * 1024;

fn config() -> ExtAuthzConfig {
    ExtAuthzConfig {
        header: Some("x-token".to_owned()),
        query_parameter: Some("api_key".to_owned()),
        cookie: Some("kw".to_owned()),
        trusted_hops: 1,
        ..ExtAuthzConfig::default()
    }
}

/// As it comes in a body of gRPC.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [[0].as_slice(), &length, message].concat()
}

fn arrived(bytes: &[u8]) -> Option<envoy::CheckRequest> {
    let mut reading = pin!(received(axum::body::Body::from(bytes.to_vec()), MAX_BYTES));
    match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(arrived) => arrived,
        Poll::Pending => panic!("it waits for nothing"),
    }
}

/// A request of a client: its headers, raw or joined by the proxy.
fn request(path: &str, headers: &[(&str, &str)], is_raw: bool, mode: &str) -> Vec<u8> {
    let mut http = HttpRequest {
        method: "GET".to_owned(),
        host: "api.example".to_owned(),
        path: path.to_owned(),
        ..HttpRequest::default()
    };
    if is_raw {
        let header = |(key, value): &(&str, &str)| core::HeaderValue {
            key: (*key).to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..core::HeaderValue::default()
        };
        http.header_map = Some(core::HeaderMap { headers: headers.iter().map(header).collect() });
    } else {
        http.headers = headers.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    }
    let extensions = [("mode".to_owned(), mode.to_owned())].into_iter().filter(|(_, mode)| !mode.is_empty());
    let attributes = envoy::AttributeContext {
        request: Some(Proxied { http: Some(http), ..Proxied::default() }),
        context_extensions: extensions.collect(),
        ..envoy::AttributeContext::default()
    };
    envoy::CheckRequest { attributes: Some(attributes) }.encode_to_vec()
}

fn made() -> Vec<Vec<u8>> {
    let mut all = vec![framed(b"")];
    for headers in [
        [("authorization", "Bearer A"), ("x-forwarded-for", "10.0.0.1, 10.0.0.2")],
        [("x-api-key", "A"), ("x-api-key", "B")],
        [("X-Api-Key", "A"), ("x-secret-key", "S")],
        [("cookie", "a=b; kw=A; c=\"d\""), ("content-type", "application/grpc+proto")],
        [("authorization", "Basic A, Bearer B"), ("x-token", "T")],
        [("cookie", "a=b"), ("cookie", "kw=A")],
        [("x_keyward_tenant", "acme"), ("x-envoy-auth-failure-mode-allowed", "true")],
    ] {
        for (path, mode) in [("/v1/things?api_key=C&a=%41", ""), ("/", "observe")] {
            all.extend([true, false].map(|is_raw| framed(&request(path, &headers, is_raw, mode))));
        }
    }
    // Cut short, and said to be another size than it is.
    let whole = all[1].clone();
    all.extend((0..whole.len()).step_by(7).map(|end| whole[..end].to_vec()));
    all
}

/// The values of a header, as often as they were sent.
fn sent<'a>(http: &'a HttpRequest, name: &str) -> Vec<&'a [u8]> {
    let raw = http.header_map.as_ref().map_or(&[][..], |map| &map.headers);
    if raw.is_empty() {
        let own = http.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        return own.map(|(_, value)| value.as_bytes()).collect();
    }
    let own = raw.iter().filter(|header| header.key.eq_ignore_ascii_case(name));
    own.map(|header| if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value }).collect()
}

fn is_denied(reply: &envoy::CheckResponse) -> bool {
    let is_refusal = match &reply.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => {
            matches!(denied.status.as_ref().map(|status| status.code), Some(401 | 403))
        }
        Some(HttpResponse::OkResponse(_) | HttpResponse::ErrorResponse(_)) | None => false,
    };
    is_refusal && reply.status.as_ref().is_some_and(|status| status.code != 0)
}

#[test]
fn no_message_passes_that_is_broken_and_none_as_what_it_is_not() {
    let config = config();
    fuzz!("ext-authz", made(), |bytes| {
        let message = match bytes {
            [0, a, b, c, d, message @ ..] => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]);
                Some(message).filter(|message| length as usize == message.len())
            }
            _ => None,
        };
        let theirs = message.and_then(|message| theirs::CheckRequest::decode(message).ok());
        let ours = arrived(bytes);
        // Of what others declare and we do not, nothing can be broken to us; that is all that we may take beside them.
        assert!(theirs.is_none() || ours.is_some());
        assert!(message.is_some() || ours.is_none());
        let Some(attributes) = ours.and_then(|message| message.attributes) else {
            let outcome = Outcome::refused(Decision::denied(Reason::NotGranted), Fault::Unreadable);
            assert!(is_denied(
                &Verdict::of(outcome, Mode::Enforce).encode(false, strip(&HttpRequest::default(), &config))
            ));
            return;
        };
        let nothing = HttpRequest::default();
        let http = attributes.request.as_ref().and_then(|request| request.http.as_ref()).unwrap_or(&nothing);
        let needed = config.routes.needed(&line(http), &said(&attributes));
        let is_observed = attributes.context_extensions.get("mode").is_some_and(|mode| mode == "observe");
        assert_eq!(needed.mode == Mode::Observe, is_observed);

        let address = source_ip(&attributes, http, config.trusted_hops);
        let forwarded = sent(http, "x-forwarded-for").join(&b',');
        let last = forwarded.rsplit(|byte| *byte == b',').next().and_then(|last| str::from_utf8(last).ok());
        let expected = last.and_then(|last| last.trim().parse::<std::net::IpAddr>().ok());
        assert_eq!(address, expected.map(|address| address.to_canonical().to_string()).unwrap_or_default());

        let presented = Presented::find(http, &config);
        let keys = [sent(http, "x-api-key"), sent(http, "x-token")].concat();
        let keys: Vec<&[u8]> = keys.into_iter().filter(|key| !key.is_empty()).collect();
        if let Some(presented) = &presented {
            assert!(keys.len() <= 1 && sent(http, "authorization").len() <= 1);
            assert!(keys.iter().all(|key| *key == presented.credential.as_bytes()));
            assert!(!presented.credential.contains(',') && !presented.secret_key.contains(','));
        }
        let stripped = strip(http, &config);
        for name in ["x-api-key", "x-secret-key", "x-token"] {
            assert!(stripped.headers.iter().any(|own| own == name));
        }
        let cookies = stripped.cookie.iter().flat_map(|cookie| cookie.split(';'));
        assert!(cookies.map(|pair| pair.split('=').next().unwrap().trim()).all(|name| name != "kw"));

        for decision in [Decision::default(), Decision::denied(Reason::Malformed), Decision::denied(Reason::NotGranted)]
        {
            let verdict = Verdict::of(Outcome::refused(decision, Fault::Credential), needed.mode);
            let reply = verdict.encode(is_grpc(http), stripped.clone());
            assert_eq!(is_denied(&reply), !is_observed);
            let secret = presented.as_ref().map_or("", |presented| &presented.credential);
            if !is_observed && secret.len() > 40 {
                let reply = reply.encode_to_vec();
                assert!(!reply.windows(secret.len()).any(|part| part == secret.as_bytes()));
            }
        }
    });
}
