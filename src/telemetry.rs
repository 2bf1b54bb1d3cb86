//! What Keyward tells about itself: the log on standard error, metrics for Prometheus, and both traces and metrics by
//! OTLP if an endpoint is set. Absent: who is asked and what is answered; only counts leave, never a credential, a
//! digest or a statement. Instruments are made once, here, and handed out.

mod caps;
mod connections;
mod decisions;
mod log;
mod mail;
mod propagation;
mod replica;
mod resources;
mod shed;
mod usage;

use crate::config::Config;
use crate::domain::clock::Time;
use crate::error::{Error, Result};
pub use caps::{CapGauge, CapGauges};
pub use connections::{ConnectionMeter, Listener, Refusal};
pub use decisions::{Decisions, Surface};
pub use mail::{MailMeter, MailOutcome};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus::TextEncoder;
pub use propagation::{is_sampled, remote_context};
pub use replica::{BarrierMeter, ReplicaState};
pub use resources::{PasswordState, PoolState, ResourceGauges, Resources};
pub use shed::{Shed, ShedMeter};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::transport::ClientTlsConfig;
pub use usage::UsageMeter;

/// The name of the program in everything that is exported, and of the scope of its instruments.
const SERVICE: &str = "keyward";

/// Bounds in seconds: Check takes microseconds, so the default of 5 ms would be one bucket for everything.
const CALL_DURATION_BOUNDS: [f64; 18] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0,
];

/// How long one export may take, and so how long the end may wait for the last.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The log, the metrics and the traces. Flushes when shut down, or at the latest when dropped.
#[derive(Debug)]
pub struct Telemetry {
    instruments: Instruments,
    metrics: Metrics,
    meter: Meter,
    // INVARIANT (order of the end): the providers flush over the runtime, which therefore goes last.
    meter_provider: SdkMeterProvider,
    tracer_provider: Option<SdkTracerProvider>,
    exporting: Option<Runtime>,
}

/// What is counted and timed, made once; every part is cheap to clone.
#[derive(Clone, Debug)]
pub struct Instruments {
    /// `rpc.server.call.duration`; `grpc::observe` binds its labels.
    pub call_duration: Histogram<f64>,
    /// `keyward.check.decisions` and `keyward.check.denials`.
    pub decisions: Arc<Decisions>,
    /// `keyward.mail.attempts` and `keyward.mail.queued`.
    pub mail: MailMeter,
    /// `keyward.barrier.wait`.
    pub barrier: BarrierMeter,
    /// `keyward.usage.*`.
    pub usage: UsageMeter,
    /// `keyward.calls.shed`.
    pub shed: ShedMeter,
    /// `keyward.connections.*` and `keyward.tls.reloads`.
    pub connections: ConnectionMeter,
    /// Whether spans go anywhere, so that none is made in vain.
    pub is_tracing: bool,
}

/// The metrics as Prometheus reads them.
#[derive(Clone, Debug)]
pub struct Metrics(prometheus::Registry);

impl Metrics {
    /// The media type of [`Self::text`].
    pub const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;

    /// All of them, as of now. Takes about a millisecond: not for a thread that answers Check.
    pub fn text(&self) -> Result<String> {
        TextEncoder::new().encode_to_string(&self.0.gather()).map_err(Error::internal)
    }
}

/// The state that gauges read when they are asked for.
pub struct Gauges {
    /// `keyward.index.credentials`: how many credentials the index knows.
    pub credentials: Box<dyn Fn() -> i64 + Send + Sync>,
    /// `keyward.ledger.revision`: the revision applied.
    pub revision: Box<dyn Fn() -> i64 + Send + Sync>,
    /// `keyward.serving`: whether Check answers.
    pub is_serving: Box<dyn Fn() -> bool + Send + Sync>,
    /// `keyward.lease.*`, `keyward.replica.*`, and who waits at the barrier.
    pub replica: Box<dyn Fn() -> ReplicaState + Send + Sync>,
    /// `keyward.tls.certificate.expiry`: which listeners show a certificate, and until when it is good.
    pub certificates: Box<dyn Fn() -> Vec<(&'static str, Time)> + Send + Sync>,
    /// `keyward.caps.*`.
    pub caps: CapGauges,
    /// `keyward.passwords.*`, `keyward.database.*` and `keyward.ledger.log.age`.
    pub resources: ResourceGauges,
}

impl std::fmt::Debug for Gauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Starts the log, unless this process has one already, and everything else.
    pub fn start(config: &Config) -> Result<Self> {
        // What comes last counts: OTEL_RESOURCE_ATTRIBUTES, and before its service.name what OTEL_SERVICE_NAME says.
        let resource = Resource::builder_empty()
            .with_service_name(SERVICE)
            .with_attributes([
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string()),
            ])
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_detector(Box::new(EnvResourceDetector::new()))
            .with_attributes(config.service_name.iter().map(|name| KeyValue::new("service.name", name.clone())))
            .build();
        let registry = prometheus::Registry::new();
        let prometheus = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(Error::internal)?;
        let mut meter_provider = SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(prometheus);
        let mut tracer_provider = None;
        let mut exporting = None;
        if let Some(endpoint) = &config.otlp_endpoint {
            // A runtime of its own, so that a collector that hangs takes nothing from those who are asked.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("keyward-otlp")
                .enable_all()
                .build()
                .map_err(Error::internal)?;
            let entered = runtime.enter();
            let mut spans = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint);
            let mut metrics = opentelemetry_otlp::MetricExporter::builder().with_tonic().with_endpoint(endpoint);
            if endpoint.starts_with("https:") {
                // Read now, and so not where it is not needed: not every machine has authorities.
                let tls = ClientTlsConfig::new().with_native_roots();
                spans = spans.with_tls_config(tls.clone());
                metrics = metrics.with_tls_config(tls);
            }
            let unusable = |error: ExporterBuildError| Error::invalid("--otlp-endpoint", error.to_string());
            let spans = spans.with_timeout(EXPORT_TIMEOUT).build().map_err(unusable)?;
            let metrics = metrics.with_timeout(EXPORT_TIMEOUT).build().map_err(unusable)?;
            drop(entered);
            meter_provider = meter_provider.with_reader(PeriodicReader::builder(metrics).build());
            let traces = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(spans).build();
            tracer_provider = Some(traces);
            exporting = Some(runtime);
        }
        log::start(config, tracer_provider.as_ref())?;
        let meter_provider = meter_provider.build();
        let meter = meter_provider.meter(SERVICE);
        let instruments = Instruments {
            call_duration: meter
                .f64_histogram("rpc.server.call.duration")
                .with_unit("s")
                .with_description("How long a call took, by method and status code.")
                .with_boundaries(CALL_DURATION_BOUNDS.to_vec())
                .build(),
            decisions: Decisions::exported_by(&meter),
            mail: MailMeter::exported_by(&meter),
            barrier: BarrierMeter::exported_by(&meter),
            usage: UsageMeter::exported_by(&meter),
            shed: ShedMeter::exported_by(&meter),
            connections: ConnectionMeter::exported_by(&meter),
            is_tracing: tracer_provider.is_some(),
        };
        Ok(Self { instruments, metrics: Metrics(registry), meter, meter_provider, tracer_provider, exporting })
    }

    /// What the wire counts and times with.
    pub fn instruments(&self) -> &Instruments {
        &self.instruments
    }

    /// What `/metrics` shows.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Shows the state of the index and of the replica. Once: a second call would show each gauge twice.
    pub fn show(&self, gauges: Gauges) {
        let Gauges { credentials, revision, is_serving, replica, certificates, caps, resources } = gauges;
        let gauge = |name, description| self.meter.i64_observable_gauge(name).with_description(description);
        gauge("keyward.index.credentials", "Credentials in memory, current and retired.")
            .with_callback(move |observer| observer.observe(credentials(), &[]))
            .build();
        gauge("keyward.ledger.revision", "The revision up to which everything is applied.")
            .with_callback(move |observer| observer.observe(revision(), &[]))
            .build();
        gauge("keyward.serving", "1 if this replica answers Check, 0 if it does not.")
            .with_callback(move |observer| observer.observe(is_serving().into(), &[]))
            .build();
        gauge("keyward.tls.certificate.expiry", "When a listener's certificate expires, in seconds since 1970.")
            .with_unit("s")
            .with_callback(move |observer| {
                for (listener, end) in certificates() {
                    observer.observe(end.seconds(), &[KeyValue::new("listener", listener)]);
                }
            })
            .build();
        replica::show(&self.meter, replica);
        caps::show(&self.meter, &caps);
        resources::show(&self.meter, &resources);
    }

    /// Exports what is left, without holding up the thread that asks.
    pub async fn shutdown(self) {
        // Dropping is what flushes; that it may fail is logged by the exporters.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = &self.tracer_provider {
            // The exporter has logged why, if this fails; nobody is left to be told.
            let _ = traces.shutdown_with_timeout(EXPORT_TIMEOUT);
        }
        let _ = self.meter_provider.shutdown_with_timeout(EXPORT_TIMEOUT);
        if let Some(runtime) = self.exporting.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
