//! Who calls: from metadata to a [`Caller`], by the same check as everyone's; and whether it may touch what it names.
//! What is decided here from memory is decided once more under the head lock: this is for an answer before the request
//! is looked at, that one is for the truth.

use super::load::Load;
use super::observe::grpc_timeout;
use super::peer::Identity;
use super::refusals::Refusals;
use super::rpcs::{Admission, Rpc};
use crate::check::{Caller, Index};
use crate::clock::Clock;
use crate::desk::keys::KeyParent;
use crate::desk::{ApplicationName, Call, Held, KeyName, UserName};
use crate::domain::decision::Query;
use crate::domain::name::{ApplicationId, Collection, KeyId, Owner, Path, TenantId, UserId};
use crate::domain::policy::{Demand, Directory, Whose};
use crate::domain::user::Role;
use crate::error::{Error, Result};
use http::HeaderMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Extensions, Request};

/// What is left of a deadline for the answer to travel.
const ANSWER_MARGIN: Duration = Duration::from_millis(20);

/// Where callers are admitted.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) index: Arc<Index>,
    pub(crate) clock: Clock,
    /// For whom a token must be that is shown here.
    pub(crate) audience: Arc<[String]>,
    /// Where it is told who was not.
    pub(crate) refusals: Refusals,
}

/// An admitted caller of one RPC.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    pub(crate) call: Call,
    rpc: Rpc,
}

/// Where a request came from, and under which id it is traced. It counts as under way until that is dropped; an error if
/// too many are.
pub(crate) fn call_of<T>(request: &Request<T>) -> Result<Call> {
    let held = match request.extensions().get::<Arc<Load>>() {
        Some(load) => Some(Arc::new(load.begin()?) as Arc<dyn Held>),
        None => None,
    };
    Ok(Call {
        held,
        request_id: request_id(request.extensions()),
        source_ip: source_ip(request),
        client: Identity::of(request.extensions()).map(|identity| identity.as_str().to_owned()),
        deadline: deadline_of(request.metadata().as_ref()),
    })
}

/// The moment by which the answer must be on its way: from the call's `grpc-timeout`, if it has one.
pub(crate) fn deadline_of(metadata: &HeaderMap) -> Option<Instant> {
    let timeout = grpc_timeout(metadata).ok()??;
    Instant::now().checked_add(timeout.saturating_sub(ANSWER_MARGIN.max(timeout / 10)))
}

fn request_id(extensions: &Extensions) -> String {
    extensions.get::<super::observe::RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// The address of the peer; none on a Unix socket.
pub(crate) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<TcpConnectInfo>()?.remote_addr().map(|address| address.ip().to_canonical())
}

/// The same as text, empty on a Unix socket.
pub(crate) fn source_ip<T>(request: &Request<T>) -> String {
    address(request.extensions()).map(|address| address.to_string()).unwrap_or_default()
}

/// The credential in the metadata: `authorization: Bearer …` or `x-api-key`; two are refused.
pub(crate) fn credential(metadata: &HeaderMap) -> Result<Option<&str>> {
    let refused = |reason: &str| Error::Unauthenticated { reason: reason.to_owned() };
    let mut values = metadata.get_all("authorization").iter().map(|value| (true, value));
    let mut keys = metadata.get_all("x-api-key").iter().map(|value| (false, value));
    let mut all = values.by_ref().chain(keys.by_ref());
    let Some((is_authorization, value)) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(refused("more than one credential was sent in authorization and x-api-key"));
    }
    let text = value.to_str().map_err(|_| refused("the credential is not visible ASCII"))?;
    if !is_authorization {
        return Ok(Some(text));
    }
    match text.split_once(' ') {
        Some((scheme, credential)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(credential.trim_start())),
        _ => Err(refused("authorization must be of the scheme Bearer")),
    }
}

fn secret_key(metadata: &MetadataMap) -> Result<&str> {
    let mut values = metadata.get_all("x-secret-key").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(""),
        (Some(value), None) => value
            .to_str()
            .map_err(|_| Error::Unauthenticated { reason: "x-secret-key is not visible ASCII".to_owned() }),
        (Some(_), Some(_)) => Err(Error::Unauthenticated { reason: "more than one x-secret-key was sent".to_owned() }),
    }
}

impl Gate {
    /// Admits the caller of a request.
    pub(crate) fn admit<T>(&self, request: &Request<T>, rpc: Rpc) -> Result<Admitted> {
        let call = call_of(request)?;
        let caller = self.admit_metadata(request.metadata(), &call.source_ip);
        let caller = self.refusals.told(caller, || call.source_ip.clone(), rpc.method)?;
        let admitted = Admitted { caller, call, rpc };
        match rpc.admission {
            Admission::Root if !admitted.caller.actor().is_root() => {
                Err(Error::Forbidden { missing: "what only root holds".to_owned() })
            }
            Admission::Root | Admission::Permission(_) | Admission::None | Admission::Door => Ok(admitted),
        }
    }

    /// Admits whoever sent this metadata from that address.
    pub(crate) fn admit_metadata(&self, metadata: &MetadataMap, source_ip: &str) -> Result<Caller> {
        let credential = credential(metadata.as_ref())?.unwrap_or_default();
        let secret_key = secret_key(metadata)?;
        let query = Query { secret_key, source_ip, audience: &self.audience, ..Query::default() };
        self.index.admit(credential, &query, self.clock.now())
    }

    fn whose_user(&self, tenant: &TenantId, user: &UserId) -> Option<Whose> {
        self.index.directory().whose(tenant, Collection::Users, user.as_str())
    }

    /// The key that `name` names, if the caller may touch it.
    pub(crate) fn key(&self, admitted: &Admitted, name: &str, field: &str) -> Result<KeyName> {
        let found = match Path::find(name) {
            Some(Path { tenant, child: Some((Collection::Keys, id)) }) => Some((tenant, id)),
            _ => None,
        };
        let (tenant, id) = admitted.shape(found, Collection::Keys, field, "tenants/{tenant}/keys/{key}")?;
        let tenant = admitted.tenant(tenant, field, name)?;
        let whose = self.index.directory().whose(&tenant, Collection::Keys, id);
        let key = KeyId::find(id);
        let exists = key.as_ref().is_some_and(|key| self.index.has_key(&tenant, key));
        admitted.may(Collection::Keys, id, whose, exists, name)?;
        let id = key.ok_or_else(|| Error::not_found(name))?;
        Ok(KeyName { tenant, id })
    }

    /// The application that `name` names, if the caller may touch it.
    pub(crate) fn application(&self, admitted: &Admitted, name: &str, field: &str) -> Result<ApplicationName> {
        let found = match Path::find(name) {
            Some(Path { tenant, child: Some((Collection::Applications, id)) }) => Some((tenant, id)),
            _ => None,
        };
        let shape = "tenants/{tenant}/applications/{application}";
        let (tenant, id) = admitted.shape(found, Collection::Applications, field, shape)?;
        let tenant = admitted.tenant(tenant, field, name)?;
        let whose = self.index.directory().whose(&tenant, Collection::Applications, id);
        let exists = self.index.has_thing(&tenant, Collection::Applications, id);
        admitted.may(Collection::Applications, id, whose, exists, name)?;
        let id = ApplicationId::find(id).ok_or_else(|| Error::not_found(name))?;
        Ok(ApplicationName { tenant, id })
    }

    /// The tenant or user under which `collection` is listed or added to, if the caller may. A member lists a tenant's
    /// things as its own.
    pub(crate) fn people_parent(
        &self,
        admitted: &Admitted,
        parent: &str,
        collection: Collection,
    ) -> Result<(TenantId, Option<UserId>)> {
        let found = Path::find(parent).filter(|path| matches!(path.child, None | Some((Collection::Users, _))));
        let shape = "tenants/{tenant} or tenants/{tenant}/users/{user}";
        let path = admitted.shape(found, collection, "parent", shape)?;
        let tenant = admitted.tenant(path.tenant, "parent", parent)?;
        let actor = admitted.caller.actor();
        let named = path.child.map(|(_, id)| UserId::find(id));
        let own = actor.user().filter(|_| actor.is_member()).cloned();
        let user = named.clone().unwrap_or_else(|| own.clone());
        let whose = user.as_ref().or_else(|| actor.user()).and_then(|user| self.whose_user(&tenant, user));
        let exists = whose.is_some();
        admitted.may(collection, "*", whose, exists, parent)?;
        match named {
            Some(None) => Err(Error::not_found(parent)),
            Some(named) => Ok((tenant, named)),
            None => Ok((tenant, own)),
        }
    }

    /// The user that `name` names, if the caller may touch it.
    pub(crate) fn user(&self, admitted: &Admitted, name: &str, field: &str) -> Result<UserName> {
        let found = match Path::find(name) {
            Some(Path { tenant, child: Some((Collection::Users, id)) }) => Some((tenant, id)),
            _ => None,
        };
        let (tenant, id) = admitted.shape(found, Collection::Users, field, "tenants/{tenant}/users/{user}")?;
        let tenant = admitted.tenant(tenant, field, name)?;
        let user = UserId::find(id);
        let whose = user.as_ref().and_then(|user| self.whose_user(&tenant, user));
        let exists = whose.is_some();
        admitted.may(Collection::Users, id, whose, exists, name)?;
        let id = user.ok_or_else(|| Error::not_found(name))?;
        Ok(UserName { tenant, id })
    }

    /// The tenant that `name` names, if the caller may touch it.
    pub(crate) fn tenant(&self, admitted: &Admitted, name: &str, field: &str) -> Result<TenantId> {
        let found = match Path::find(name) {
            Some(Path { tenant, child: None }) => Some((tenant, "")),
            _ => None,
        };
        let (tenant, _) = admitted.shape(found, Collection::Tenants, field, "tenants/{tenant}")?;
        let tenant = admitted.tenant(tenant, field, name)?;
        admitted.may(Collection::Tenants, tenant.as_str(), None, true, name)?;
        Ok(tenant)
    }

    /// The tenant under which `collection` is listed or added to, if the caller may.
    pub(crate) fn parent_tenant(&self, admitted: &Admitted, parent: &str, collection: Collection) -> Result<TenantId> {
        let found = match Path::find(parent) {
            Some(Path { tenant, child: None }) => Some((tenant, "")),
            _ => None,
        };
        let (tenant, _) = admitted.shape(found, collection, "parent", "tenants/{tenant}")?;
        let tenant = admitted.tenant(tenant, "parent", parent)?;
        admitted.may(collection, "*", None, true, parent)?;
        Ok(tenant)
    }

    /// The tenant or owner under which keys are listed or made, if the caller may. A member lists a tenant's keys as
    /// its own.
    pub(crate) fn key_parent(&self, admitted: &Admitted, parent: &str) -> Result<KeyParent> {
        let shape = "tenants/{tenant}, tenants/{tenant}/users/{user} or tenants/{tenant}/applications/{application}";
        let found = Path::find(parent)
            .filter(|path| matches!(path.child, None | Some((Collection::Users | Collection::Applications, _))));
        let path = admitted.shape(found, Collection::Keys, "parent", shape)?;
        let tenant = admitted.tenant(path.tenant, "parent", parent)?;
        let actor = admitted.caller.actor();
        let owner = match path.child {
            Some((Collection::Users, id)) => Some(UserId::find(id).map(Owner::User)),
            Some((_, id)) => Some(ApplicationId::find(id).map(Owner::Application)),
            None => actor.user().filter(|_| actor.is_member()).cloned().map(Owner::User).map(Some),
        };
        let own = actor.owner();
        let whose = match owner.as_ref().map_or(own.as_ref(), Option::as_ref) {
            Some(Owner::User(user)) => self.whose_user(&tenant, user),
            Some(Owner::Application(id)) => {
                self.index.directory().whose(&tenant, Collection::Applications, id.as_str())
            }
            None => None,
        };
        let exists = whose.is_some();
        admitted.may(Collection::Keys, "*", whose, exists, parent)?;
        match owner {
            Some(None) => Err(Error::not_found(parent)),
            Some(owner) => Ok(KeyParent { tenant, owner }),
            None => Ok(KeyParent { tenant, owner: None }),
        }
    }
}

impl Admitted {
    /// The parts of a name, or what shape it should have: told only to those who may use the RPC at all.
    fn shape<T>(&self, found: Option<T>, collection: Collection, field: &str, shape: &str) -> Result<T> {
        if let Some(found) = found {
            return Ok(found);
        }
        self.may_at_all(collection)?;
        Err(Error::invalid(field, format!("must be of the form {shape}")))
    }

    /// Refuses a caller that may use this RPC on nothing it could name.
    pub(super) fn may_at_all(&self, collection: Collection) -> Result<()> {
        let actor = self.caller.actor();
        let own = actor.user().filter(|_| actor.is_member());
        let whose = own.map(|user| Whose { user: user.clone(), role: Role::Member });
        let id = own.filter(|_| collection == Collection::Users).map_or("*", |user| user.as_str());
        self.may(collection, id, whose, true, "")
    }

    /// The tenant that stands in a name: `-` is the caller's own, and another's does not exist.
    fn tenant(&self, text: &str, field: &str, name: &str) -> Result<TenantId> {
        let own = self.caller.actor().tenant();
        if text == "-" {
            return own
                .cloned()
                .ok_or_else(|| Error::invalid(field, "must name a tenant, since root has none of its own"));
        }
        TenantId::find(text).filter(|tenant| own.is_none_or(|own| own == tenant)).ok_or_else(|| Error::not_found(name))
    }

    /// Refuses a caller that may not do this RPC's action. A member is told that nothing is there where nothing is.
    pub(super) fn may(
        &self,
        collection: Collection,
        id: &str,
        whose: Option<Whose>,
        exists: bool,
        name: &str,
    ) -> Result<()> {
        let demand = Demand { collection, id, action: self.rpc.action, whose };
        if self.caller.actor().power().may(&demand) {
            Ok(())
        } else if self.caller.actor().is_member() && !exists {
            Err(Error::not_found(name))
        } else {
            Err(Error::Forbidden { missing: demand.describe() })
        }
    }
}

#[cfg(test)]
mod fuzz;
