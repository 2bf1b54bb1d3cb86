//! `keyward.v1.TokenService`.

use super::caller::Admitted;
use super::{Api, caller, convert, rpcs};
use crate::desk::page::Binding;
use crate::desk::{detached, sessions, tokens};
use crate::domain::filter::Filter;
use crate::domain::name::{Collection, UserId};
use crate::error::{Error, Result};
use crate::proto::v1 as proto;
use crate::proto::v1::token_service_server::TokenService;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

/// The service.
#[derive(Clone, Debug)]
pub struct TokenApi(pub Api);

/// Refuses a text that is not looked at; what it must be is told only to those who may use the RPC at all.
fn is_text(admitted: &Admitted, token: &str) -> Result<()> {
    convert::token_text(token).or_else(|violation| {
        admitted.may_at_all(Collection::Tokens).or_else(|_| admitted.may_at_all(Collection::Sessions))?;
        Err(violation)
    })
}

#[tonic::async_trait]
impl TokenService for TokenApi {
    async fn create_token(
        &self,
        request: Request<proto::CreateTokenRequest>,
    ) -> Result<Response<proto::CreateTokenResponse>, Status> {
        let call = caller::call_of(&request)?;
        let from = call.source_ip.clone();
        let new = convert::new_token(request.into_inner())?;
        let minted = tokens::create(self.0.desk.clone(), call, new).await;
        let minted = self.0.gate.refusals.told(minted, || from, rpcs::CREATE_TOKEN.method)?;
        Ok(Response::new(convert::minted_out(minted)))
    }

    async fn create_session(
        &self,
        request: Request<proto::CreateSessionRequest>,
    ) -> Result<Response<proto::CreateSessionResponse>, Status> {
        let call = caller::call_of(&request)?;
        let from = call.source_ip.clone();
        let sign_in = convert::sign_in(request.into_inner())?;
        let signed_in = sessions::create(self.0.desk.clone(), call, sign_in).await;
        let signed_in = self.0.gate.refusals.told(signed_in, || from, rpcs::CREATE_SESSION.method)?;
        Ok(Response::new(convert::signed_in_out(signed_in)))
    }

    async fn list_sessions(
        &self,
        request: Request<proto::ListSessionsRequest>,
    ) -> Result<Response<proto::ListSessionsResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::LIST_SESSIONS)?;
        let message = request.into_inner();
        let (tenant, user) = self.0.gate.people_parent(&admitted, &message.parent, Collection::Sessions)?;
        let of_user = user.as_ref().map(UserId::as_str).unwrap_or_default();
        let bound = ["ListSessions", tenant.as_str(), of_user, &message.filter];
        let binding = Binding::new(&self.0.page_token_key, &bound)?;
        let part = binding.part(message.page_size, &message.page_token)?;
        let filter = Filter::parse(&message.filter, convert::SESSION_FILTER).map_err(Error::from)?;
        let found = sessions::list(&self.0.desk, &tenant, user.as_ref(), &filter, &part).await?;
        Ok(Response::new(proto::ListSessionsResponse {
            sessions: found.items.iter().map(convert::session_out).collect(),
            next_page_token: found.next.map(|after| binding.token(&after)).unwrap_or_default(),
        }))
    }

    async fn introspect_token(
        &self,
        request: Request<proto::IntrospectTokenRequest>,
    ) -> Result<Response<proto::IntrospectTokenResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::INTROSPECT_TOKEN)?;
        let proto::IntrospectTokenRequest { token } = request.into_inner();
        is_text(&admitted, &token)?;
        let found = tokens::introspect(&self.0.desk, &admitted.caller, &admitted.call, &token).await?;
        Ok(Response::new(convert::inspection_out(found)))
    }

    async fn revoke_token(
        &self,
        request: Request<proto::RevokeTokenRequest>,
    ) -> Result<Response<proto::RevokeTokenResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::REVOKE_TOKEN)?;
        let proto::RevokeTokenRequest { token } = request.into_inner();
        is_text(&admitted, &token)?;
        let desk = self.0.desk.clone();
        let revision = detached(tokens::revoke(desk, admitted.caller, admitted.call, Zeroizing::new(token))).await?;
        Ok(Response::new(proto::RevokeTokenResponse { revision }))
    }

    async fn get_jwks(&self, _: Request<proto::GetJwksRequest>) -> Result<Response<proto::GetJwksResponse>, Status> {
        let jwks = self.0.desk.index.jwks(self.0.desk.clock.now()).map_err(Error::from)?;
        Ok(Response::new(proto::GetJwksResponse { keys: jwks.keys.into_iter().map(convert::jwk_out).collect() }))
    }
}
