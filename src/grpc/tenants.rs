//! `keyward.v1.TenantService`.

use super::{Api, convert, rpcs};
use crate::desk::page::Binding;
use crate::desk::{detached, tenants};
use crate::domain::filter::Filter;
use crate::domain::name::Collection;
use crate::domain::policy::Demand;
use crate::error::Error;
use crate::proto::v1 as proto;
use crate::proto::v1::tenant_service_server::TenantService;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub struct TenantApi(pub Api);

/// Handlers that do one thing to one tenant and answer with it.
macro_rules! change {
    ($self:ident, $request:ident, $rpc:ident, $command:ident, $response:ident) => {{
        let admitted = $self.0.gate.admit(&$request, rpcs::$rpc)?;
        let message = $request.into_inner();
        let id = $self.0.gate.tenant(&admitted, &message.name, "name")?;
        let desk = $self.0.desk.clone();
        let changed = detached(tenants::$command(desk, admitted.caller, admitted.call, id, message.etag)).await?;
        let tenant = Some(convert::tenant_out(&changed.thing));
        Ok(Response::new(proto::$response { tenant, revision: changed.revision }))
    }};
}

#[tonic::async_trait]
impl TenantService for TenantApi {
    async fn create_tenant(
        &self,
        request: Request<proto::CreateTenantRequest>,
    ) -> Result<Response<proto::CreateTenantResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::CREATE_TENANT)?;
        let new = convert::new_tenant(request.into_inner())?;
        let made = detached(tenants::create(self.0.desk.clone(), admitted.caller, admitted.call, new)).await?;
        let now = self.0.desk.clock.now();
        Ok(Response::new(proto::CreateTenantResponse {
            tenant: Some(convert::tenant_out(&made.tenant)),
            owner: Some(convert::user_out(&made.owner)),
            master_key: Some(convert::key_out(&made.master_key, None, now)),
            master_credential: made.master_credential.map(|text| text.expose().to_owned()).unwrap_or_default(),
            default_public_key: Some(convert::key_out(&made.default_public_key, None, now)),
            default_public_credential: made.default_public_key.public_credential.clone().unwrap_or_default(),
            revision: made.revision,
        }))
    }

    async fn get_tenant(
        &self,
        request: Request<proto::GetTenantRequest>,
    ) -> Result<Response<proto::GetTenantResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::GET_TENANT)?;
        let message = request.into_inner();
        let id = self.0.gate.tenant(&admitted, &message.name, "name")?;
        let tenant = tenants::get(&self.0.desk, &id, &message.etag).await?;
        Ok(Response::new(proto::GetTenantResponse { tenant: Some(convert::tenant_out(&tenant)) }))
    }

    async fn list_tenants(
        &self,
        request: Request<proto::ListTenantsRequest>,
    ) -> Result<Response<proto::ListTenantsResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::LIST_TENANTS)?;
        let demand = Demand { collection: Collection::Tenants, id: "*", action: "list", whose: None };
        if !admitted.caller.actor().power().may(&demand) {
            return Err(Error::Forbidden { missing: demand.describe() }.into());
        }
        let message = request.into_inner();
        let own = admitted.caller.actor().tenant().map(ToString::to_string).unwrap_or_default();
        let bound = ["ListTenants", &own, &message.filter, if message.show_deleted { "deleted" } else { "" }];
        let binding = Binding::new(&self.0.page_token_key, &bound)?;
        let part = binding.part(message.page_size, &message.page_token)?;
        let filter = Filter::parse(&message.filter, convert::TENANT_FILTER).map_err(Error::from)?;
        let found = tenants::list(&self.0.desk, &admitted.caller, &filter, message.show_deleted, &part).await?;
        Ok(Response::new(proto::ListTenantsResponse {
            tenants: found.items.iter().map(convert::tenant_out).collect(),
            next_page_token: found.next.map(|after| binding.token(&after)).unwrap_or_default(),
        }))
    }

    async fn update_tenant(
        &self,
        request: Request<proto::UpdateTenantRequest>,
    ) -> Result<Response<proto::UpdateTenantResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::UPDATE_TENANT)?;
        let proto::UpdateTenantRequest { tenant, update_mask } = request.into_inner();
        let tenant = tenant.unwrap_or_default();
        let id = self.0.gate.tenant(&admitted, &tenant.name, "tenant.name")?;
        let (display_name, etag) = convert::tenant_patch(tenant, update_mask)?;
        let desk = self.0.desk.clone();
        let changed = detached(tenants::update(desk, admitted.caller, admitted.call, id, display_name, etag)).await?;
        let tenant = Some(convert::tenant_out(&changed.thing));
        Ok(Response::new(proto::UpdateTenantResponse { tenant, revision: changed.revision }))
    }

    async fn suspend_tenant(
        &self,
        request: Request<proto::SuspendTenantRequest>,
    ) -> Result<Response<proto::SuspendTenantResponse>, Status> {
        change!(self, request, SUSPEND_TENANT, suspend, SuspendTenantResponse)
    }

    async fn activate_tenant(
        &self,
        request: Request<proto::ActivateTenantRequest>,
    ) -> Result<Response<proto::ActivateTenantResponse>, Status> {
        change!(self, request, ACTIVATE_TENANT, activate, ActivateTenantResponse)
    }

    async fn delete_tenant(
        &self,
        request: Request<proto::DeleteTenantRequest>,
    ) -> Result<Response<proto::DeleteTenantResponse>, Status> {
        change!(self, request, DELETE_TENANT, delete, DeleteTenantResponse)
    }
}
