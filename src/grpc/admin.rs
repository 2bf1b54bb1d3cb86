//! `keyward.v1.AdminService`.

use super::{Api, convert, rpcs};
use crate::desk::diagnosis::{Deployment, diagnose};
use crate::desk::page::Binding;
use crate::desk::replicas;
use crate::proto::v1 as proto;
use crate::proto::v1::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub struct AdminApi {
    api: Api,
    deployment: Deployment,
}

impl AdminApi {
    /// The service of a deployment.
    pub fn new(api: Api, deployment: Deployment) -> Self {
        Self { api, deployment }
    }
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn list_replicas(
        &self,
        request: Request<proto::ListReplicasRequest>,
    ) -> Result<Response<proto::ListReplicasResponse>, Status> {
        self.api.gate.admit(&request, rpcs::LIST_REPLICAS)?;
        let message = request.into_inner();
        let binding = Binding::new(&self.api.page_token_key, &["ListReplicas"])?;
        let part = binding.part(message.page_size, &message.page_token)?;
        let found = replicas::list(&self.api.desk, &part).await?;
        Ok(Response::new(proto::ListReplicasResponse {
            replicas: found.items.into_iter().map(convert::replica_out).collect(),
            next_page_token: found.next.map(|after| binding.token(&after)).unwrap_or_default(),
        }))
    }

    async fn get_status(
        &self,
        request: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::GetStatusResponse>, Status> {
        self.api.gate.admit(&request, rpcs::GET_STATUS)?;
        Ok(Response::new(convert::status_out(replicas::status(&self.api.desk))))
    }

    async fn diagnose(
        &self,
        request: Request<proto::DiagnoseRequest>,
    ) -> Result<Response<proto::DiagnoseResponse>, Status> {
        self.api.gate.admit(&request, rpcs::DIAGNOSE)?;
        Ok(Response::new(convert::diagnosis_out(diagnose(&self.api.desk, &self.deployment).await)))
    }
}
