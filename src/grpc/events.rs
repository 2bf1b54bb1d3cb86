//! `keyward.v1.EventService`.

use super::{Api, convert, rpcs};
use crate::desk::events;
use crate::desk::page::Binding;
use crate::domain::filter::Filter;
use crate::domain::name::Collection;
use crate::error::Error;
use crate::proto::v1 as proto;
use crate::proto::v1::event_service_server::EventService;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub struct EventApi(pub Api);

#[tonic::async_trait]
impl EventService for EventApi {
    async fn list_events(
        &self,
        request: Request<proto::ListEventsRequest>,
    ) -> Result<Response<proto::ListEventsResponse>, Status> {
        let admitted = self.0.gate.admit(&request, rpcs::LIST_EVENTS)?;
        let message = request.into_inner();
        // Root alone sees what happened in no tenant, and all tenants at once.
        let tenant = if message.parent.is_empty() && admitted.caller.actor().is_root() {
            None
        } else {
            Some(self.0.gate.parent_tenant(&admitted, &message.parent, Collection::Events)?)
        };
        let bound = ["ListEvents", tenant.as_ref().map_or("", |tenant| tenant.as_str()), &message.filter];
        let binding = Binding::new(&self.0.page_token_key, &bound)?;
        let part = binding.part(message.page_size, &message.page_token)?;
        let filter = Filter::parse(&message.filter, convert::EVENT_FILTER).map_err(Error::from)?;
        let found = events::list(&self.0.desk, tenant.as_ref(), &filter, &part).await?;
        Ok(Response::new(proto::ListEventsResponse {
            events: found.items.into_iter().map(convert::event_out).collect(),
            next_page_token: found.next.map(|after| binding.token(&after)).unwrap_or_default(),
        }))
    }

    type WatchEventsStream = tokio_stream::Empty<Result<proto::WatchEventsResponse, Status>>;

    async fn watch_events(
        &self,
        _: Request<proto::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        Err(Error::Unbuilt { method: rpcs::WATCH_EVENTS.method }.into())
    }
}
