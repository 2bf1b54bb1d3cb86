//! Envoy's ext_authz: where a proxied request may have its credential, how far `x-forwarded-for` is trusted, and the
//! route table.

use super::ServeArgs;
use crate::domain::route::Routes;
use crate::error::Violation;

/// Headers that have a meaning of their own.
const TAKEN: [&str; 9] = [
    "authorization",
    "x-api-key",
    "x-secret-key",
    "cookie",
    "host",
    "referer",
    "content-type",
    "x-forwarded-for",
    "x-envoy-auth-failure-mode-allowed",
];

/// How proxied requests are read, checked. `authorization: Bearer` and `x-api-key` are always looked at.
#[derive(Clone, Debug, Default)]
pub struct ExtAuthzConfig {
    /// One more header that is a credential.
    pub header: Option<String>,
    /// A query parameter that is a credential.
    pub query_parameter: Option<String>,
    /// A cookie that is a credential.
    pub cookie: Option<String>,
    /// The client's address is so many places from the right of `x-forwarded-for`; with 0 it is the connection's.
    pub trusted_hops: usize,
    /// The permissions of requests.
    pub routes: Routes,
}

fn is_token(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=128).contains(&text.len()) && text.bytes().all(is_plain)
}

fn is_header(name: &str) -> bool {
    let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    is_token(name) && is_lower && !TAKEN.contains(&name) && !name.starts_with("x-keyward-")
}

/// What is said about ext_authz by `args` and, where they are silent, by `file`. No flag makes a route.
pub(super) fn checked(broken: &mut Vec<Violation>, args: &ServeArgs, file: &ServeArgs) -> ExtAuthzConfig {
    let given = |args: &Option<String>, file: &Option<String>| args.as_ref().or(file.as_ref()).cloned();
    let header = given(&args.ext_authz_header, &file.ext_authz_header);
    if header.as_deref().is_some_and(|name| !is_header(name)) {
        let rule = "must be the name of a header in lower case that has no other meaning here";
        broken.push(Violation::new("--ext-authz-header", rule));
    }
    let query_parameter = given(&args.ext_authz_query_parameter, &file.ext_authz_query_parameter);
    let cookie = given(&args.ext_authz_cookie, &file.ext_authz_cookie);
    for (flag, name) in [("--ext-authz-query-parameter", &query_parameter), ("--ext-authz-cookie", &cookie)] {
        if name.as_deref().is_some_and(|name| !is_token(name)) {
            broken.push(Violation::new(flag, "must be 1 to 128 letters, digits, hyphens, underscores and dots"));
        }
    }
    let texts = if args.routes.is_empty() { &file.routes } else { &args.routes };
    let routes = Routes::parse(texts, "routes").unwrap_or_else(|violations| {
        broken.extend(violations);
        Routes::default()
    });
    let trusted_hops = args.trusted_hops.or(file.trusted_hops).unwrap_or_default().into();
    ExtAuthzConfig { header, query_parameter, cookie, trusted_hops, routes }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, file, load};

    #[test]
    fn a_header_that_means_something_else_is_no_credential() {
        for name in ["x-token", "apikey", "x_y.z"] {
            check(&["--ext-authz-header", name], None);
        }
        for name in ["", "X-Token", "authorization", "x-api-key", "x-keyward-tenant", "host", ":path", "a b", "é"] {
            check(&["--ext-authz-header", name], Some(("--ext-authz-header", "lower case")));
        }
        for flag in ["--ext-authz-query-parameter", "--ext-authz-cookie"] {
            check(&[flag, "api_Key.1"], None);
            for name in ["", "a b", "a=b", "a%41", "é", "a;b"] {
                check(&[flag, name], Some((flag, "letters")));
            }
        }
    }

    #[test]
    fn the_file_has_routes_and_each_broken_one_is_named() {
        let (_directory, path) = file(
            "ext-authz-header = 'x-token'\next-authz-query-parameter = 'key'\ntrusted-hops = 2\n\
             [[routes]]\nhost = 'api.example'\npath = '/v1/things/{thing}'\nmethods = ['GET']\n\
             resource = 'things/{thing}'\naction = 'read'\ntenant = 'tenants/acme'\nmode = 'observe'",
        );
        let config = load(&["--config", &path, "--ext-authz-header=x-other"]).unwrap().ext_authz;
        assert_eq!(config.header.as_deref(), Some("x-other"));
        assert_eq!((config.query_parameter.as_deref(), config.trusted_hops), (Some("key"), 2));
        assert_eq!(config.cookie, None);

        let good = "[[routes]]\npath = '/a'\nresource = 'a'\n";
        let (_directory, path) = file(&format!("{good}[[routes]]\npath = 'a'\nresource = 'a'"));
        check(&["--config", &path], Some(("routes[1].path", "must begin with")));
        let (_directory, path) = file(&format!("{good}paths = 'a'"));
        check(&["--config", &path], Some(("--config", "unknown field")));
    }
}
