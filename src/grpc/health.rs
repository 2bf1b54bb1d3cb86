//! `grpc.health.v1.Health`: tonic-health's messages and server, with what the protocol asks for besides: it starts
//! NOT_SERVING, a Watch of an unknown service stays open, and every Watch ends when the server drains, which would
//! otherwise wait for it. All services are well or unwell together, since one index answers for all.

use crate::proto;
use parking_lot::Mutex;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthRpcs, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Whether the server, and so every service of it, may be asked. Clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    services: Arc<BTreeSet<String>>,
    is_serving: watch::Receiver<bool>,
    /// Gone once the server drains; that ends the watches.
    teller: Arc<Mutex<Option<watch::Sender<bool>>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Not serving yet: every service of `keyward.v1`, Envoy's, and the server itself.
    pub fn new() -> Self {
        let set = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap_or_default();
        let declared = set
            .file
            .iter()
            .flat_map(|file| file.service.iter().map(|service| format!("{}.{}", file.package(), service.name())));
        let (teller, is_serving) = watch::channel(false);
        Self {
            services: Arc::new(declared.chain([String::new()]).collect()),
            is_serving,
            teller: Arc::new(Mutex::new(Some(teller))),
        }
    }

    /// Tells everyone who watches whether the server may be asked.
    pub fn set_serving(&self, is_serving: bool) {
        if let Some(teller) = &*self.teller.lock() {
            teller.send_if_modified(|told| std::mem::replace(told, is_serving) != is_serving);
        }
    }

    /// Whether the server may be asked.
    pub fn is_serving(&self) -> bool {
        *self.is_serving.borrow()
    }

    /// Whether it is for good not serving.
    pub fn is_draining(&self) -> bool {
        self.teller.lock().is_none()
    }

    /// For good not serving: every Watch says so and ends.
    pub fn drain(&self) {
        self.set_serving(false);
        drop(self.teller.lock().take());
    }

    /// The service, for a listener.
    pub fn server(&self) -> HealthServer<Self> {
        HealthServer::new(self.clone())
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn answer_if(is_serving: bool) -> HealthCheckResponse {
    answer(if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing })
}

#[tonic::async_trait]
impl HealthRpcs for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        if !self.services.contains(service) {
            return Err(Status::not_found("no service of that name"));
        }
        Ok(Response::new(answer_if(Health::is_serving(self))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let changes = self.is_serving.clone();
        let stream: Self::WatchStream = if self.services.contains(&request.get_ref().service) {
            Box::pin(WatchStream::new(changes).map(|is_serving| Ok(answer_if(is_serving))))
        } else {
            // Open until the server drains, since the service may come with another version of it.
            let silence = WatchStream::from_changes(changes).filter_map(|_| None);
            Box::pin(tokio_stream::once(Ok(answer(ServingStatus::ServiceUnknown))).chain(silence))
        };
        Ok(Response::new(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServingStatus::{NotServing, ServiceUnknown, Serving};

    fn ask(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.to_owned() })
    }

    async fn status(health: &Health, service: &str) -> ServingStatus {
        health.check(ask(service)).await.unwrap().into_inner().status()
    }

    async fn watch(health: &Health, service: &str) -> impl Stream<Item = ServingStatus> + Unpin {
        health.watch(ask(service)).await.unwrap().into_inner().map(|answer| answer.unwrap().status())
    }

    #[tokio::test]
    async fn every_service_starts_unwell_and_gets_well_with_the_server() {
        let health = Health::new();
        let services =
            ["", "keyward.v1.CheckService", "keyward.v1.AdminService", "envoy.service.auth.v3.Authorization"];
        for (is_serving, expected) in [(None, NotServing), (Some(true), Serving), (Some(false), NotServing)] {
            is_serving.into_iter().for_each(|is_serving| health.set_serving(is_serving));
            for service in services {
                assert_eq!(status(&health, service).await, expected, "{service}");
            }
        }
        for unknown in ["keyward.v1.Check", "grpc.health.v1.Health", "keyward.v1.CheckService/Check"] {
            assert_eq!(health.check(ask(unknown)).await.unwrap_err().code(), tonic::Code::NotFound, "{unknown}");
        }
    }

    #[tokio::test]
    async fn a_watch_tells_each_change_once_and_ends_when_the_server_drains() {
        let health = Health::new();
        let mut watched = watch(&health, "").await;
        assert_eq!(watched.next().await, Some(NotServing));
        health.set_serving(true);
        health.set_serving(true);
        assert_eq!(watched.next().await, Some(Serving));
        health.drain();
        assert_eq!(watched.next().await, Some(NotServing));
        assert_eq!(watched.next().await, None);
    }

    #[tokio::test]
    async fn a_watch_of_an_unknown_service_stays_open_until_the_server_drains() {
        let health = Health::new();
        let mut watched = watch(&health, "keyward.v2.CheckService").await;
        assert_eq!(watched.next().await, Some(ServiceUnknown));
        health.set_serving(true);
        let brief = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(brief, watched.next()).await.is_err(), "it ended or spoke");
        health.drain();
        assert_eq!(watched.next().await, None);
    }

    #[tokio::test]
    async fn a_drained_server_does_not_get_well() {
        let health = Health::new();
        health.set_serving(true);
        health.drain();
        health.set_serving(true);
        assert_eq!(status(&health, "").await, NotServing);
        let mut late = watch(&health, "").await;
        assert_eq!((late.next().await, late.next().await), (Some(NotServing), None));
    }
}
