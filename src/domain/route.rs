//! Which permission a proxied request needs: from its method, host and path to one resource and one action.
//!
//! The first of these that says so: the proxy's own configuration ([`Said`]), the first of [`Routes`] that matches, and
//! else `http/{host}{path}` with the lower-case method. A request that could be read in two ways needs what nobody can
//! hold: `route/path.rs` says which those are.

mod path;
mod template;

use self::path::{clean_host, clean_method, clean_path};
use self::template::{PathTemplate, Template};
use super::name::{Path, TenantId};
use super::permission::{ACTION_RULE, is_action, is_resource};
use crate::error::Violation;
use serde::Deserialize;

/// So many routes there may be.
const MAX_ROUTES: usize = 1000;

/// What stands for the host in the default rule if a caller names none; no name of a host is like that.
const NO_HOST: &str = "-";

/// Whether a denial is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    #[default]
    Enforce,
    /// It is told and counted, and the request passes: a shadow run.
    Observe,
}

impl Mode {
    /// Anything but the one word enforces.
    fn of(word: &str) -> Self {
        if word == "observe" { Self::Observe } else { Self::Enforce }
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// A request's first line, as the proxy tells it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: &'a str,
    /// The host, perhaps with a port; empty if it is not told.
    pub host: &'a str,
    /// The path, perhaps with query and fragment.
    pub path: &'a str,
}

/// What the proxy's configuration says of a request; empty where it says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// The resource.
    pub resource: &'a str,
    /// The action.
    pub action: &'a str,
    /// The tenant's name.
    pub tenant: &'a str,
    /// `enforce` or `observe`; any other word enforces.
    pub mode: &'a str,
}

/// What a request needs.
///
/// INVARIANT (deny is zero): nobody, root included, holds the empty resource of the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// The resource; empty if the request could mean more than one thing.
    pub resource: String,
    /// The action; empty likewise.
    pub action: String,
    /// The only tenant whose credentials count; empty for any.
    pub tenant: String,
    /// Whether a denial is one.
    pub mode: Mode,
}

/// One `[[routes]]` of the configuration's file, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RouteText {
    /// A host, or `*.` and a domain for all below it; any if empty.
    pub host: String,
    /// Such as `/v1/things/{thing}` or `/v1/files/{rest=**}`.
    pub path: String,
    /// Any if there is none.
    pub methods: Vec<String>,
    /// Such as `things/{thing}`.
    pub resource: String,
    /// The lower-case method if empty.
    pub action: String,
    /// Such as `tenants/acme` or `tenants/{tenant}`; any if empty.
    pub tenant: String,
    /// `enforce` or `observe`.
    pub mode: String,
}

/// One route, checked.
#[derive(Clone, Debug)]
struct Route {
    host: HostPattern,
    path: PathTemplate,
    methods: Vec<String>,
    resource: Template,
    action: String,
    tenant: Option<Template>,
    mode: Mode,
}

#[derive(Clone, Debug)]
enum HostPattern {
    Any,
    Exact(String),
    /// With its leading dot.
    Below(String),
}

impl HostPattern {
    fn find(text: &str) -> Option<Self> {
        let is_clean = |host: &str| !host.is_empty() && clean_host(host).as_deref() == Some(host);
        match text.strip_prefix('*') {
            _ if text.is_empty() => Some(Self::Any),
            None => is_clean(text).then(|| Self::Exact(text.to_owned())),
            Some(suffix) => suffix.strip_prefix('.').is_some_and(is_clean).then(|| Self::Below(suffix.to_owned())),
        }
    }

    fn covers(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(own) => own == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

impl Route {
    fn parse(text: &RouteText, field: &str) -> Result<Self, Vec<Violation>> {
        let mut broken = Vec::new();
        let mut refuse = |name: &str, rule: &str| broken.push(Violation::new(format!("{field}.{name}"), rule));
        let host = HostPattern::find(&text.host);
        if host.is_none() {
            refuse("host", "must be a host in lower case without a port, or \"*.\" and a domain");
        }
        let path = PathTemplate::find(&text.path);
        if path.is_none() {
            refuse("path", template::PATH_RULE);
        }
        let methods: Vec<String> = text.methods.iter().filter_map(|method| clean_method(method)).collect();
        if methods.len() != text.methods.len() {
            refuse("methods", "must be methods of HTTP such as GET, other than CONNECT");
        }
        let names = path.as_ref().map(PathTemplate::names).unwrap_or_default();
        let resource = Template::find(&text.resource, &names);
        if resource.is_none() {
            refuse("resource", template::RESOURCE_RULE);
        }
        if !text.action.is_empty() && !is_action(&text.action) {
            refuse("action", ACTION_RULE);
        }
        let tenant = Some(text.tenant.as_str()).filter(|tenant| !tenant.is_empty());
        let found = tenant.map(|tenant| {
            let is_literal_good =
                |path: Path<'_>| path.tenant.starts_with('{') || TenantId::find(path.tenant).is_some();
            let is_tenant = Path::find(tenant).is_some_and(|path| path.child.is_none() && is_literal_good(path));
            Template::find(tenant, &names).filter(|_| is_tenant)
        });
        if matches!(found, Some(None)) {
            refuse("tenant", "must be tenants/{tenant} with a tenant's id, or with a variable of the path");
        }
        if !matches!(text.mode.as_str(), "" | "enforce" | "observe") {
            refuse("mode", "must be enforce or observe");
        }
        match (host, path, resource) {
            (Some(host), Some(path), Some(resource)) if broken.is_empty() => Ok(Self {
                host,
                path,
                methods,
                resource,
                action: text.action.clone(),
                tenant: found.flatten(),
                mode: Mode::of(&text.mode),
            }),
            _ => Err(broken),
        }
    }

    /// What a request needs by this route, if it is one for it.
    fn needed(&self, method: &str, host: &str, path: &[String]) -> Option<Needed> {
        let is_method = self.methods.is_empty() || self.methods.iter().any(|own| own == method);
        if !is_method || !self.host.covers(host) {
            return None;
        }
        let values = self.path.values(path)?;
        let render = |template: &Template| template.render(&values);
        Some(Needed {
            resource: render(&self.resource),
            action: if self.action.is_empty() { method.to_owned() } else { self.action.clone() },
            tenant: self.tenant.as_ref().map(render).unwrap_or_default(),
            mode: self.mode,
        })
    }
}

/// The route table; the first route that matches counts.
#[derive(Clone, Debug, Default)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// The table of these; `field` is where they stand.
    pub fn parse(texts: &[RouteText], field: &str) -> Result<Self, Vec<Violation>> {
        if texts.len() > MAX_ROUTES {
            return Err(vec![Violation::new(field, format!("must be at most {MAX_ROUTES}"))]);
        }
        let mut routes = Vec::with_capacity(texts.len());
        let mut broken = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            match Route::parse(text, &format!("{field}[{place}]")) {
                Ok(route) => routes.push(route),
                Err(violations) => broken.extend(violations),
            }
        }
        if broken.is_empty() { Ok(Self(routes)) } else { Err(broken) }
    }

    /// What a request needs.
    pub fn needed(&self, line: &RequestLine<'_>, said: &Said<'_>) -> Needed {
        let mut needed = self.read(line, said).unwrap_or_default();
        // Before what the proxy says of tenant and mode is added, so that it holds for what is denied here, too.
        if !is_resource(&needed.resource) || !is_action(&needed.action) {
            needed = Needed { tenant: needed.tenant, mode: needed.mode, ..Needed::default() };
        }
        if !said.tenant.is_empty() {
            said.tenant.clone_into(&mut needed.tenant);
        }
        if !said.mode.is_empty() {
            needed.mode = Mode::of(said.mode);
        }
        needed
    }

    /// `None` if the request could mean more than one thing, whoever says what it needs.
    fn read(&self, line: &RequestLine<'_>, said: &Said<'_>) -> Option<Needed> {
        if !said.resource.is_empty() {
            // A tunnel has no path, and its method is no action unless the proxy says so.
            if !line.path.is_empty() {
                clean_path(line.path)?;
            }
            let action = if said.action.is_empty() { clean_method(line.method)? } else { said.action.to_owned() };
            return Some(Needed { resource: said.resource.to_owned(), action, ..Needed::default() });
        }
        let path = clean_path(line.path)?;
        let host = clean_host(line.host)?;
        let method = clean_method(line.method)?;
        let routed = self.0.iter().find_map(|route| route.needed(&method, &host, &path));
        let needed = routed.unwrap_or_else(|| Needed {
            resource: default_resource(&host, &path),
            action: method,
            ..Needed::default()
        });
        if said.action.is_empty() { Some(needed) } else { Some(Needed { action: said.action.to_owned(), ..needed }) }
    }
}

fn default_resource(host: &str, path: &[String]) -> String {
    let host = if host.is_empty() { NO_HOST } else { host };
    let mut resource = format!("http/{host}");
    for segment in path {
        resource.push('/');
        resource.push_str(segment);
    }
    resource
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
