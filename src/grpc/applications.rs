//! `keyward.v1.ApplicationService`.

use super::throttle::Throttle;
use super::{Api, caller, convert, rpcs};
use crate::desk::page::Binding;
use crate::desk::{ApplicationName, applications, detached};
use crate::domain::application::Application;
use crate::domain::credential::{Credential, Digest};
use crate::domain::filter::Filter;
use crate::domain::name::{ApplicationId, Collection, Path, TenantId, UserId};
use crate::error::Error;
use crate::proto::v1 as proto;
use crate::proto::v1::application_service_server::ApplicationService;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub struct ApplicationApi {
    api: Api,
    throttle: Throttle,
}

impl ApplicationApi {
    /// The service over `api`.
    pub fn new(api: Api) -> Self {
        Self { api, throttle: Throttle::default() }
    }
}

fn out(application: &Application) -> Option<proto::Application> {
    Some(convert::application_out(application))
}

fn shown(secret: Option<Credential>) -> String {
    secret.map(|secret| secret.expose().to_owned()).unwrap_or_default()
}

/// The application that a name names; whoever has no proof yet is not told whether the name could be one.
fn named(name: &str) -> Option<ApplicationName> {
    match Path::find(name)? {
        Path { tenant, child: Some((Collection::Applications, id)) } => {
            Some(ApplicationName { tenant: TenantId::find(tenant)?, id: ApplicationId::find(id)? })
        }
        Path { .. } => None,
    }
}

/// Handlers that do one thing to one application and answer with it.
macro_rules! change {
    ($self:ident, $request:ident, $rpc:ident, $command:ident, $response:ident) => {{
        let admitted = $self.api.gate.admit(&$request, rpcs::$rpc)?;
        let message = $request.into_inner();
        let name = $self.api.gate.application(&admitted, &message.name, "name")?;
        let desk = $self.api.desk.clone();
        let changed =
            detached(applications::$command(desk, admitted.caller, admitted.call, name, message.etag)).await?;
        Ok(Response::new(proto::$response { application: out(&changed.thing), revision: changed.revision }))
    }};
}

#[tonic::async_trait]
impl ApplicationService for ApplicationApi {
    async fn create_application(
        &self,
        request: Request<proto::CreateApplicationRequest>,
    ) -> Result<Response<proto::CreateApplicationResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::CREATE_APPLICATION)?;
        let message = request.into_inner();
        let parent = self.api.gate.people_parent(&admitted, &message.parent, Collection::Applications)?;
        let new = convert::new_application(parent, message)?;
        let desk = self.api.desk.clone();
        let made = detached(applications::create(desk, admitted.caller, admitted.call, new)).await?;
        Ok(Response::new(proto::CreateApplicationResponse { application: out(&made.thing), revision: made.revision }))
    }

    async fn verify_application(
        &self,
        request: Request<proto::VerifyApplicationRequest>,
    ) -> Result<Response<proto::VerifyApplicationResponse>, Status> {
        self.throttle.pass(&caller::source_ip(&request))?;
        let call = caller::call_of(&request)?;
        let from = call.source_ip.clone();
        let proto::VerifyApplicationRequest { name, verification_token, etag } = request.into_inner();
        let token = Digest::of(verification_token.as_bytes());
        let verified = match named(&name) {
            Some(name) => detached(applications::verify(self.api.desk.clone(), call, name, token, etag)).await,
            None => Err(applications::refused_token()),
        };
        let verified = self.api.gate.refusals.told(verified, || from, rpcs::VERIFY_APPLICATION.method)?;
        Ok(Response::new(proto::VerifyApplicationResponse {
            application: out(&verified.application),
            secret: shown(verified.secret),
            revision: verified.revision,
        }))
    }

    async fn resend_verification(
        &self,
        request: Request<proto::ResendVerificationRequest>,
    ) -> Result<Response<proto::ResendVerificationResponse>, Status> {
        change!(self, request, RESEND_VERIFICATION, resend, ResendVerificationResponse)
    }

    async fn get_application(
        &self,
        request: Request<proto::GetApplicationRequest>,
    ) -> Result<Response<proto::GetApplicationResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::GET_APPLICATION)?;
        let message = request.into_inner();
        let name = self.api.gate.application(&admitted, &message.name, "name")?;
        let application = applications::get(&self.api.desk, &name, &message.etag).await?;
        Ok(Response::new(proto::GetApplicationResponse { application: out(&application) }))
    }

    async fn list_applications(
        &self,
        request: Request<proto::ListApplicationsRequest>,
    ) -> Result<Response<proto::ListApplicationsResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::LIST_APPLICATIONS)?;
        let message = request.into_inner();
        let (tenant, owner) = self.api.gate.people_parent(&admitted, &message.parent, Collection::Applications)?;
        let owner_id = owner.as_ref().map(UserId::as_str).unwrap_or_default();
        let show_deleted = message.show_deleted;
        let deleted = if show_deleted { "deleted" } else { "" };
        let bound = ["ListApplications", tenant.as_str(), owner_id, &message.filter, deleted];
        let binding = Binding::new(&self.api.page_token_key, &bound)?;
        let part = binding.part(message.page_size, &message.page_token)?;
        let filter = Filter::parse(&message.filter, convert::APPLICATION_FILTER).map_err(Error::from)?;
        let desk = &self.api.desk;
        let found = applications::list(desk, &tenant, owner.as_ref(), &filter, show_deleted, &part).await?;
        Ok(Response::new(proto::ListApplicationsResponse {
            applications: found.items.iter().map(convert::application_out).collect(),
            next_page_token: found.next.map(|after| binding.token(&after)).unwrap_or_default(),
        }))
    }

    async fn update_application(
        &self,
        request: Request<proto::UpdateApplicationRequest>,
    ) -> Result<Response<proto::UpdateApplicationResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::UPDATE_APPLICATION)?;
        let proto::UpdateApplicationRequest { application, update_mask } = request.into_inner();
        let application = application.unwrap_or_default();
        let name = self.api.gate.application(&admitted, &application.name, "application.name")?;
        let (patch, etag) = convert::application_patch(application, update_mask)?;
        let desk = self.api.desk.clone();
        let changed = detached(applications::update(desk, admitted.caller, admitted.call, name, patch, etag)).await?;
        Ok(Response::new(proto::UpdateApplicationResponse {
            application: out(&changed.thing),
            revision: changed.revision,
        }))
    }

    async fn rotate_application_secret(
        &self,
        request: Request<proto::RotateApplicationSecretRequest>,
    ) -> Result<Response<proto::RotateApplicationSecretResponse>, Status> {
        let admitted = self.api.gate.admit(&request, rpcs::ROTATE_APPLICATION_SECRET)?;
        let message = request.into_inner();
        let name = self.api.gate.application(&admitted, &message.name, "name")?;
        let (overlap, replay) = convert::secret_rotation(&message)?;
        let desk = self.api.desk.clone();
        let command = applications::rotate(desk, admitted.caller, admitted.call, name, overlap, message.etag, replay);
        let rotated = detached(command).await?;
        Ok(Response::new(proto::RotateApplicationSecretResponse {
            application: out(&rotated.application),
            secret: shown(rotated.secret),
            revision: rotated.revision,
        }))
    }

    async fn revoke_application(
        &self,
        request: Request<proto::RevokeApplicationRequest>,
    ) -> Result<Response<proto::RevokeApplicationResponse>, Status> {
        change!(self, request, REVOKE_APPLICATION, revoke, RevokeApplicationResponse)
    }

    async fn activate_application(
        &self,
        request: Request<proto::ActivateApplicationRequest>,
    ) -> Result<Response<proto::ActivateApplicationResponse>, Status> {
        change!(self, request, ACTIVATE_APPLICATION, activate, ActivateApplicationResponse)
    }

    async fn delete_application(
        &self,
        request: Request<proto::DeleteApplicationRequest>,
    ) -> Result<Response<proto::DeleteApplicationResponse>, Status> {
        change!(self, request, DELETE_APPLICATION, delete, DeleteApplicationResponse)
    }
}
