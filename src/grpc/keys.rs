//! `keyward.v1.KeyService`.

use super::stream::Seats;
use super::throttle::Throttle;
use super::{Api, caller, convert, import, rpcs};
use crate::desk::page::Binding;
use crate::desk::{detached, keys, possession};
use crate::domain::credential::Credential;
use crate::domain::filter::Filter;
use crate::domain::key::Key;
use crate::domain::name::{Collection, key_name};
use crate::domain::policy::Directory;
use crate::error::Error;
use crate::proto::v1 as proto;
use crate::proto::v1::key_service_server::KeyService;
use tonic::{Request, Response, Status, Streaming};
use zeroize::Zeroizing;

/// The service.
#[derive(Debug)]
pub struct KeyApi {
    api: Api,
    throttle: Throttle,
}

impl KeyApi {
    /// The service over `api`.
    pub fn new(api: Api) -> Self {
        Self { api, throttle: Throttle::default() }
    }

    fn out(&self, changed: &Key) -> Option<proto::Key> {
        Some(convert::key_out(changed, None, self.api.desk.clock.now()))
    }
}

fn shown(credential: Option<Credential>) -> String {
    credential.map(|credential| credential.expose().to_owned()).unwrap_or_default()
}

/// Handlers that do one thing to one key and answer with it.
macro_rules! change {
    ($self:ident, $request:ident, $rpc:ident, $command:ident, $response:ident) => {{
        let admitted = $self.api.gate.admit(&$request, rpcs::$rpc)?;
        let message = $request.into_inner();
        let name = $self.api.gate.key(&admitted, &message.name, "name")?;
        let desk = $self.api.desk.clone();
        let changed = detached(keys::$command(desk, admitted.caller, admitted.call, name, message.etag)).await?;
        Ok(Response::new(proto::$response { key: $self.out(&changed.thing), revision: changed.revision }))
    }};
}

#[tonic::async_trait]
impl KeyService for KeyApi {
    async fn create_key(
        &self,
        request: Request<proto::CreateKeyRequest>,
    ) -> Result<Response<proto::CreateKeyResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::CREATE_KEY)?;
        let message = request.into_inner();
        let parent = self.api.gate.key_parent(&admitted, &message.parent)?;
        let new = convert::new_key(parent, message, self.api.desk.clock.now())?;
        let desk = self.api.desk.clone();
        let issued = detached(keys::create(desk, admitted.caller, admitted.call, new)).await?;
        Ok(Response::new(proto::CreateKeyResponse {
            key: self.out(&issued.key),
            credential: shown(issued.credential),
            revision: issued.revision,
        }))
    }

    async fn get_key(&self, request: Request<proto::GetKeyRequest>) -> Result<Response<proto::GetKeyResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::GET_KEY)?;
        let message = request.into_inner();
        let name = self.api.gate.key(&admitted, &message.name, "name")?;
        let (key, last_auth_time) = keys::get(&self.api.desk, &name, &message.etag).await?;
        let key = convert::key_out(&key, last_auth_time, self.api.desk.clock.now());
        Ok(Response::new(proto::GetKeyResponse { key: Some(key) }))
    }

    async fn list_keys(
        &self,
        request: Request<proto::ListKeysRequest>,
    ) -> Result<Response<proto::ListKeysResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::LIST_KEYS)?;
        let message = request.into_inner();
        let parent = self.api.gate.key_parent(&admitted, &message.parent)?;
        let owner = parent.owner.as_ref().map(|owner| owner.name(&parent.tenant)).unwrap_or_default();
        let show_deleted = message.show_deleted;
        let bound =
            ["ListKeys", parent.tenant.as_str(), &owner, &message.filter, if show_deleted { "deleted" } else { "" }];
        let binding = Binding::new(&self.api.page_token_key, &bound)?;
        let part = binding.part(message.page_size, &message.page_token)?;
        let filter = Filter::parse(&message.filter, convert::KEY_FILTER).map_err(Error::from)?;
        let found = keys::list(&self.api.desk, &parent, &filter, show_deleted, &part).await?;
        let now = self.api.desk.clock.now();
        Ok(Response::new(proto::ListKeysResponse {
            keys: found.items.iter().map(|(key, last)| convert::key_out(key, *last, now)).collect(),
            next_page_token: found.next.map(|after| binding.token(&after)).unwrap_or_default(),
        }))
    }

    async fn update_key(
        &self,
        request: Request<proto::UpdateKeyRequest>,
    ) -> Result<Response<proto::UpdateKeyResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::UPDATE_KEY)?;
        let proto::UpdateKeyRequest { key, update_mask } = request.into_inner();
        let key = key.unwrap_or_default();
        let name = self.api.gate.key(&admitted, &key.name, "key.name")?;
        let (patch, etag) = convert::key_patch(key, update_mask, self.api.desk.clock.now())?;
        let desk = self.api.desk.clone();
        let changed = detached(keys::update(desk, admitted.caller, admitted.call, name, patch, etag)).await?;
        Ok(Response::new(proto::UpdateKeyResponse { key: self.out(&changed.thing), revision: changed.revision }))
    }

    async fn rotate_key(
        &self,
        request: Request<proto::RotateKeyRequest>,
    ) -> Result<Response<proto::RotateKeyResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::ROTATE_KEY)?;
        let message = request.into_inner();
        let name = self.api.gate.key(&admitted, &message.name, "name")?;
        let (overlap, replay) = convert::rotation(&message)?;
        let desk = self.api.desk.clone();
        let command = keys::rotate(desk, admitted.caller, admitted.call, name, overlap, message.etag, replay);
        let issued = detached(command).await?;
        Ok(Response::new(proto::RotateKeyResponse {
            key: self.out(&issued.key),
            credential: shown(issued.credential),
            revision: issued.revision,
        }))
    }

    async fn finish_key_rotation(
        &self,
        request: Request<proto::FinishKeyRotationRequest>,
    ) -> Result<Response<proto::FinishKeyRotationResponse>, Status> {
        change!(self, request, FINISH_KEY_ROTATION, finish_rotation, FinishKeyRotationResponse)
    }

    async fn generate_secret_key(
        &self,
        request: Request<proto::GenerateSecretKeyRequest>,
    ) -> Result<Response<proto::GenerateSecretKeyResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::GENERATE_SECRET_KEY)?;
        let message = request.into_inner();
        let name = self.api.gate.key(&admitted, &message.name, "name")?;
        let desk = self.api.desk.clone();
        let command = keys::generate_secret_key(desk, admitted.caller, admitted.call, name, message.etag);
        let (changed, secret_key) = detached(command).await?;
        Ok(Response::new(proto::GenerateSecretKeyResponse {
            key: self.out(&changed.thing),
            secret_key: secret_key.expose().to_owned(),
            revision: changed.revision,
        }))
    }

    async fn suspend_key(
        &self,
        request: Request<proto::SuspendKeyRequest>,
    ) -> Result<Response<proto::SuspendKeyResponse>, Status> {
        change!(self, request, SUSPEND_KEY, suspend, SuspendKeyResponse)
    }

    async fn activate_key(
        &self,
        request: Request<proto::ActivateKeyRequest>,
    ) -> Result<Response<proto::ActivateKeyResponse>, Status> {
        change!(self, request, ACTIVATE_KEY, activate, ActivateKeyResponse)
    }

    async fn revoke_key(
        &self,
        request: Request<proto::RevokeKeyRequest>,
    ) -> Result<Response<proto::RevokeKeyResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::REVOKE_KEY)?;
        let message = request.into_inner();
        let name = self.api.gate.key(&admitted, &message.name, "name")?;
        let reason = convert::revocation_reason(message.reason)?;
        let desk = self.api.desk.clone();
        let changed = detached(keys::revoke(desk, admitted.caller, admitted.call, name, reason, message.etag)).await?;
        Ok(Response::new(proto::RevokeKeyResponse { key: self.out(&changed.thing), revision: changed.revision }))
    }

    async fn delete_key(
        &self,
        request: Request<proto::DeleteKeyRequest>,
    ) -> Result<Response<proto::DeleteKeyResponse>, Status> {
        change!(self, request, DELETE_KEY, delete, DeleteKeyResponse)
    }

    async fn undelete_key(
        &self,
        request: Request<proto::UndeleteKeyRequest>,
    ) -> Result<Response<proto::UndeleteKeyResponse>, Status> {
        change!(self, request, UNDELETE_KEY, undelete, UndeleteKeyResponse)
    }

    async fn lookup_key(
        &self,
        request: Request<proto::LookupKeyRequest>,
    ) -> Result<Response<proto::LookupKeyResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::LOOKUP_KEY)?;
        let proto::LookupKeyRequest { credential } = request.into_inner();
        let actor = admitted.caller.actor();
        if credential.is_empty() {
            admitted.may_at_all(Collection::Keys)?;
            return Err(Error::invalid("credential", "must not be empty").into());
        }
        // Another tenant's key is told from an unknown one by nothing.
        let found = keys::lookup(&self.api.desk, &credential).await?;
        let is_own = |key: &Key| actor.tenant().is_none_or(|own| *own == key.tenant);
        let Some((key, last_auth_time)) = found.filter(|(key, _)| is_own(key)) else {
            admitted.may_at_all(Collection::Keys)?;
            return Err(Error::not_found("the key of this credential").into());
        };
        let whose = self.api.gate.index.directory().whose(&key.tenant, Collection::Keys, key.id.as_str());
        admitted.may(Collection::Keys, key.id.as_str(), whose, true, "")?;
        tracing::debug!(key = key_name(&key.tenant, &key.id), "looked up by credential");
        let key = convert::key_out(&key, last_auth_time, self.api.desk.clock.now());
        Ok(Response::new(proto::LookupKeyResponse { key: Some(key) }))
    }

    async fn get_key_usage(
        &self,
        request: Request<proto::GetKeyUsageRequest>,
    ) -> Result<Response<proto::GetKeyUsageResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::GET_KEY_USAGE)?;
        let message = request.into_inner();
        let name = self.api.gate.key(&admitted, &message.name, "name")?;
        let (span, etag) = convert::usage_span(message, self.api.desk.clock.now())?;
        let usage = keys::usage(&self.api.desk, &name, &etag, span).await?;
        Ok(Response::new(proto::GetKeyUsageResponse { key_usage: Some(convert::usage_out(&name, &usage)) }))
    }

    async fn revoke_credentials(
        &self,
        request: Request<proto::RevokeCredentialsRequest>,
    ) -> Result<Response<proto::RevokeCredentialsResponse>, Status> {
        self.throttle.pass(&caller::source_ip(&request))?;
        let call = caller::call_of(&request)?;
        let proto::RevokeCredentialsRequest { credentials, reason } = request.into_inner();
        let reason = convert::revocation_reason(reason)?;
        let max = self.api.limits.max_batch;
        if credentials.is_empty() || credentials.len() > max {
            return Err(Error::invalid("credentials", format!("must hold 1 to {max} credentials")).into());
        }
        let credentials: Vec<_> = credentials.into_iter().map(Zeroizing::new).collect();
        // While its sender is still there: anybody may send us texts that are never going to come.
        self.api.desk.arrived(credentials.iter().map(|text| text.as_str()), call.deadline).await?;
        let revision =
            detached(possession::revoke_credentials(self.api.desk.clone(), call, credentials, reason)).await?;
        Ok(Response::new(proto::RevokeCredentialsResponse { revision }))
    }

    type ImportKeysStream = import::Answers;

    async fn import_keys(
        &self,
        request: Request<Streaming<proto::ImportKeysRequest>>,
    ) -> Result<Response<Self::ImportKeysStream>, Status> {
        self.api.gate.admit(&request, rpcs::IMPORT_KEYS)?.may_at_all(Collection::Keys)?;
        let seat = Seats::of(request.extensions()).take()?;
        Ok(Response::new(import::answers(self.api.clone(), request, seat)))
    }
}
