//! The log: lines on standard error, and spans to the collector if there is one.

use crate::config::{Config, LogFormat};
use crate::error::{Error, Result};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io::IsTerminal as _;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Filter, Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Libraries that log statements and what is bound to them, which are digests.
const STATEMENTS: [&str; 2] = ["sqlx", "sea_"];

/// Libraries that may log what goes over the wire, which are credentials.
const WIRE: [&str; 5] = ["h2", "hyper", "tonic", "tower", "axum"];

/// Begins to log as `config` says. A process has one log; whoever comes second, such as a second server in a test,
/// writes to the first.
pub(super) fn start(config: &Config, traces: Option<&SdkTracerProvider>) -> Result<()> {
    let subscriber = subscriber(config, std::io::stderr, std::io::stderr().is_terminal(), traces)?;
    // Fails only if there is a log already.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// What writes the lines to `writer`, in colours if `is_terminal`, and hands spans to `traces`.
pub(super) fn subscriber<W>(
    config: &Config,
    writer: W,
    is_terminal: bool,
    traces: Option<&SdkTracerProvider>,
) -> Result<impl Subscriber + Send + Sync + use<W>>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match config.log_format {
        LogFormat::Human => lines.with_ansi(is_terminal).boxed(),
        LogFormat::Json => lines.with_ansi(false).json().boxed(),
    };
    // INVARIANT (what is not asked for costs nothing): each layer has a filter that knows its highest level, and there is no
    // layer that does nothing. Else the libraries of the wire would make a span of every frame, in vain.
    let mut layers = vec![lines.with_filter(filter(&config.log_level)?).boxed()];
    // Our own spans only: the exporter's would be exported in turn, and a statement is an event of one of ours.
    if let Some(traces) = traces {
        let own = Targets::new().with_target("keyward", Level::INFO);
        // Where in the source, on which thread and how busily: nobody who reads a trace asks, and each span would pay for it.
        let spans = tracing_opentelemetry::layer()
            .with_tracer(traces.tracer("keyward"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false);
        layers.push(spans.with_filter(own).boxed());
    }
    Ok(Registry::default().with(layers))
}

/// The directives of `--log`, and a cap that they cannot lift.
fn filter<S: Subscriber + for<'s> LookupSpan<'s>>(directives: &str) -> Result<impl Filter<S> + use<S>> {
    let asked = EnvFilter::try_new(directives).map_err(|error| Error::invalid("--log", error.to_string()))?;
    Ok(asked.and(filter_fn(holds_no_secret).with_max_level_hint(Level::TRACE)))
}

/// INVARIANT (no secret is logged): whatever the operator asks for, statements and wire dumps are not written.
fn holds_no_secret(metadata: &Metadata<'_>) -> bool {
    let is_from = |prefixes: &[&str]| prefixes.iter().any(|prefix| metadata.target().starts_with(prefix));
    let most = if is_from(&STATEMENTS) {
        Level::WARN
    } else if is_from(&WIRE) {
        Level::DEBUG
    } else {
        Level::TRACE
    };
    *metadata.level() <= most
}
