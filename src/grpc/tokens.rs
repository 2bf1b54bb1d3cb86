//! `keyward.v1.TokenService`.

use super::{Api, rpcs};
use crate::domain::signing::Jwk;
use crate::error::Error;
use crate::proto::v1 as proto;
use crate::proto::v1::token_service_server::TokenService;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub struct TokenApi(pub Api);

#[tonic::async_trait]
impl TokenService for TokenApi {
    async fn create_token(
        &self,
        _: Request<proto::CreateTokenRequest>,
    ) -> Result<Response<proto::CreateTokenResponse>, Status> {
        Err(Error::Unbuilt { method: rpcs::CREATE_TOKEN.method }.into())
    }

    async fn create_session(
        &self,
        _: Request<proto::CreateSessionRequest>,
    ) -> Result<Response<proto::CreateSessionResponse>, Status> {
        Err(Error::Unbuilt { method: rpcs::CREATE_SESSION.method }.into())
    }

    async fn list_sessions(
        &self,
        _: Request<proto::ListSessionsRequest>,
    ) -> Result<Response<proto::ListSessionsResponse>, Status> {
        Err(Error::Unbuilt { method: rpcs::LIST_SESSIONS.method }.into())
    }

    async fn introspect_token(
        &self,
        _: Request<proto::IntrospectTokenRequest>,
    ) -> Result<Response<proto::IntrospectTokenResponse>, Status> {
        Err(Error::Unbuilt { method: rpcs::INTROSPECT_TOKEN.method }.into())
    }

    async fn revoke_token(
        &self,
        _: Request<proto::RevokeTokenRequest>,
    ) -> Result<Response<proto::RevokeTokenResponse>, Status> {
        Err(Error::Unbuilt { method: rpcs::REVOKE_TOKEN.method }.into())
    }

    async fn get_jwks(&self, _: Request<proto::GetJwksRequest>) -> Result<Response<proto::GetJwksResponse>, Status> {
        let jwks = self.0.desk.index.jwks(self.0.desk.clock.now()).map_err(Error::from)?;
        Ok(Response::new(proto::GetJwksResponse { keys: jwks.keys.into_iter().map(jwk_out).collect() }))
    }
}

fn jwk_out(jwk: Jwk) -> proto::Jwk {
    let Jwk { kty, crv, x, kid, alg, usage } = jwk;
    proto::Jwk { kty: kty.to_owned(), crv: crv.to_owned(), x, kid, alg: alg.to_owned(), r#use: usage.to_owned() }
}
