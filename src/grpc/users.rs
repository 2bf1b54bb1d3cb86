//! `keyward.v1.UserService`.

use super::{Api, convert, rpcs};
use crate::desk::page::Binding;
use crate::desk::users::password;
use crate::desk::{detached, users};
use crate::domain::filter::Filter;
use crate::domain::name::Collection;
use crate::error::Error;
use crate::proto::v1 as proto;
use crate::proto::v1::user_service_server::UserService;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub struct UserApi(pub Api);

/// Handlers that do one thing to one user and answer with it.
macro_rules! change {
    ($self:ident, $request:ident, $rpc:ident, $command:ident, $response:ident) => {{
        let admitted = $self.0.gate.admit(&$request, rpcs::$rpc)?;
        let message = $request.into_inner();
        let name = $self.0.gate.user(&admitted, &message.name, "name")?;
        let desk = $self.0.desk.clone();
        let changed = detached(users::$command(desk, admitted.caller, admitted.call, name, message.etag)).await?;
        let user = Some(convert::user_out(&changed.thing));
        Ok(Response::new(proto::$response { user, revision: changed.revision }))
    }};
}

#[tonic::async_trait]
impl UserService for UserApi {
    async fn create_user(
        &self,
        request: Request<proto::CreateUserRequest>,
    ) -> Result<Response<proto::CreateUserResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::CREATE_USER)?;
        let message = request.into_inner();
        let tenant = self.0.gate.parent_tenant(&admitted, &message.parent, Collection::Users)?;
        let new = convert::created_user(message)?;
        let made = detached(users::create(self.0.desk.clone(), admitted.caller, admitted.call, tenant, new)).await?;
        Ok(Response::new(proto::CreateUserResponse {
            user: Some(convert::user_out(&made.user)),
            master_key: Some(convert::key_out(&made.master_key, None, self.0.desk.clock.now())),
            master_credential: made.master_credential.map(|text| text.expose().to_owned()).unwrap_or_default(),
            revision: made.revision,
        }))
    }

    async fn get_user(
        &self,
        request: Request<proto::GetUserRequest>,
    ) -> Result<Response<proto::GetUserResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::GET_USER)?;
        let message = request.into_inner();
        let name = self.0.gate.user(&admitted, &message.name, "name")?;
        let user = users::get(&self.0.desk, &name, &message.etag).await?;
        Ok(Response::new(proto::GetUserResponse { user: Some(convert::user_out(&user)) }))
    }

    async fn list_users(
        &self,
        request: Request<proto::ListUsersRequest>,
    ) -> Result<Response<proto::ListUsersResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::LIST_USERS)?;
        let message = request.into_inner();
        let tenant = self.0.gate.parent_tenant(&admitted, &message.parent, Collection::Users)?;
        let bound = ["ListUsers", tenant.as_str(), &message.filter, if message.show_deleted { "deleted" } else { "" }];
        let binding = Binding::new(&self.0.page_token_key, &bound)?;
        let part = binding.part(message.page_size, &message.page_token)?;
        let filter = Filter::parse(&message.filter, convert::USER_FILTER).map_err(Error::from)?;
        let found = users::list(&self.0.desk, &tenant, &filter, message.show_deleted, &part).await?;
        Ok(Response::new(proto::ListUsersResponse {
            users: found.items.iter().map(convert::user_out).collect(),
            next_page_token: found.next.map(|after| binding.token(&after)).unwrap_or_default(),
        }))
    }

    async fn update_user(
        &self,
        request: Request<proto::UpdateUserRequest>,
    ) -> Result<Response<proto::UpdateUserResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::UPDATE_USER)?;
        let proto::UpdateUserRequest { user, update_mask } = request.into_inner();
        let user = user.unwrap_or_default();
        let name = self.0.gate.user(&admitted, &user.name, "user.name")?;
        let (patch, etag) = convert::user_patch(user, update_mask)?;
        let desk = self.0.desk.clone();
        let changed = detached(users::update(desk, admitted.caller, admitted.call, name, patch, etag)).await?;
        let user = Some(convert::user_out(&changed.thing));
        Ok(Response::new(proto::UpdateUserResponse { user, revision: changed.revision }))
    }

    async fn set_password(
        &self,
        request: Request<proto::SetPasswordRequest>,
    ) -> Result<Response<proto::SetPasswordResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::SET_PASSWORD)?;
        let message = request.into_inner();
        let name = self.0.gate.user(&admitted, &message.name, "name")?;
        let new = convert::new_password(message)?;
        let changed = detached(password::set(self.0.desk.clone(), admitted.caller, admitted.call, name, new)).await?;
        let user = Some(convert::user_out(&changed.thing));
        Ok(Response::new(proto::SetPasswordResponse { user, revision: changed.revision }))
    }

    async fn suspend_user(
        &self,
        request: Request<proto::SuspendUserRequest>,
    ) -> Result<Response<proto::SuspendUserResponse>, Status> {
        change!(self, request, SUSPEND_USER, suspend, SuspendUserResponse)
    }

    async fn activate_user(
        &self,
        request: Request<proto::ActivateUserRequest>,
    ) -> Result<Response<proto::ActivateUserResponse>, Status> {
        change!(self, request, ACTIVATE_USER, activate, ActivateUserResponse)
    }

    async fn delete_user(
        &self,
        request: Request<proto::DeleteUserRequest>,
    ) -> Result<Response<proto::DeleteUserResponse>, Status> {
        change!(self, request, DELETE_USER, delete, DeleteUserResponse)
    }

    async fn rotate_master_key(
        &self,
        request: Request<proto::RotateMasterKeyRequest>,
    ) -> Result<Response<proto::RotateMasterKeyResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::ROTATE_MASTER_KEY)?;
        let message = request.into_inner();
        let name = self.0.gate.user(&admitted, &message.name, "name")?;
        let replay = convert::master_rotation(&message)?;
        let desk = self.0.desk.clone();
        let command = users::rotate_master_key(desk, admitted.caller, admitted.call, name, message.etag, replay);
        let issued = detached(command).await?;
        Ok(Response::new(proto::RotateMasterKeyResponse {
            master_key: Some(convert::key_out(&issued.key, None, self.0.desk.clock.now())),
            master_credential: issued.credential.map(|text| text.expose().to_owned()).unwrap_or_default(),
            revision: issued.revision,
        }))
    }
}
