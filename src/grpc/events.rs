//! `keyward.v1.EventService`.

use super::caller::Admitted;
use super::rpcs::Rpc;
use super::stream::{Seats, seated};
use super::{Api, convert, rpcs};
use crate::desk::events::{self, Watch, Watches};
use crate::desk::page::Binding;
use crate::domain::filter::Filter;
use crate::domain::name::{Collection, TenantId};
use crate::error::{Error, Result};
use crate::proto::v1 as proto;
use crate::proto::v1::event_service_server::EventService;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

/// How often the caller of a watch is admitted anew where nothing happens: a credential ends by time without an event.
const READMIT_EVERY: Duration = Duration::from_secs(15);

/// The service.
#[derive(Debug)]
pub struct EventApi {
    api: Api,
    watches: Watches,
    stopped: watch::Receiver<bool>,
}

impl EventApi {
    /// The service, whose watches end once the server has `stopped` taking calls.
    pub fn new(api: Api, stopped: watch::Receiver<bool>) -> Self {
        Self { api, watches: Watches::default(), stopped }
    }
}

impl Api {
    /// Admits a caller to the events of a tenant, or of all. Root alone sees what happened in no tenant, and all at once.
    fn events_of<T>(&self, request: &Request<T>, rpc: Rpc, parent: &str) -> Result<(Admitted, Option<TenantId>)> {
        let admitted = self.gate.admit(request, rpc)?;
        let tenant = if parent.is_empty() && admitted.caller.actor().is_root() {
            None
        } else {
            Some(self.gate.parent_tenant(&admitted, parent, Collection::Events)?)
        };
        Ok((admitted, tenant))
    }
}

/// One call of `WatchEvents`.
struct Call {
    api: Api,
    asker: Request<()>,
    parent: String,
    watch: Watch,
    stopped: watch::Receiver<bool>,
}

impl Call {
    /// The next message; none once the server drains.
    async fn message(&mut self) -> Option<Result<proto::WatchEventsResponse, Status>> {
        let Self { api, asker, parent, watch, stopped } = self;
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => None,
            told = next(api, asker, parent, watch) => Some(told.map_err(Status::from)),
        }
    }
}

/// The next event. The caller is admitted anew before each: one who was revoked is told no more.
async fn next(api: &Api, asker: &Request<()>, parent: &str, watch: &mut Watch) -> Result<proto::WatchEventsResponse> {
    loop {
        if let Ok(woken) = timeout(READMIT_EVERY, watch.woken()).await {
            woken?;
        }
        let event = watch.next().await?;
        api.events_of(asker, rpcs::WATCH_EVENTS, parent)?;
        if let Some(event) = event {
            return Ok(proto::WatchEventsResponse { event: Some(convert::event_out((*event).clone())) });
        }
    }
}

#[tonic::async_trait]
impl EventService for EventApi {
    async fn list_events(
        &self,
        request: Request<proto::ListEventsRequest>,
    ) -> Result<Response<proto::ListEventsResponse>, Status> {
        let (_, tenant) = self.api.events_of(&request, rpcs::LIST_EVENTS, &request.get_ref().parent)?;
        let message = request.into_inner();
        let bound = ["ListEvents", tenant.as_ref().map_or("", |tenant| tenant.as_str()), &message.filter];
        let binding = Binding::new(&self.api.page_token_key, &bound)?;
        let part = binding.part(message.page_size, &message.page_token)?;
        let filter = Filter::parse(&message.filter, convert::EVENT_FILTER).map_err(Error::from)?;
        let found = events::list(&self.api.desk, tenant.as_ref(), &filter, &part).await?;
        Ok(Response::new(proto::ListEventsResponse {
            events: found.items.into_iter().map(convert::event_out).collect(),
            next_page_token: found.next.map(|after| binding.token(&after)).unwrap_or_default(),
        }))
    }

    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<proto::WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<proto::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let (admitted, tenant) = self.api.events_of(&request, rpcs::WATCH_EVENTS, &request.get_ref().parent)?;
        let seat = Seats::of(request.extensions()).take()?;
        let (metadata, extensions, message) = request.into_parts();
        let proto::WatchEventsRequest { parent, after_revision, after_chain } = message;
        let of = admitted.caller.actor().tenant();
        let watch = Watch::begin(&self.api.desk, &self.watches, of, tenant, after_revision, &after_chain).await?;
        let asker = Request::from_parts(metadata, extensions, ());
        let call = Call { api: self.api.clone(), asker, parent, watch, stopped: self.stopped.clone() };
        let call = Arc::new(Mutex::new(call));
        // One message is made when the last one is on its way: a slow client has no more of them waiting.
        let messages = tokio_stream::iter(std::iter::repeat(())).then(move |()| {
            let call = Arc::clone(&call);
            async move { call.lock().await.message().await }
        });
        Ok(Response::new(Box::pin(seated(seat, messages.map_while(|message| message)))))
    }
}
