//! Connections: how many are open, which were turned away, and what became of new certificates.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter, UpDownCounter};

/// A listener of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Check, ext_authz and health.
    Data,
    /// Everything.
    Admin,
    /// Metrics and health over HTTP.
    Ops,
}

impl Listener {
    const ALL: [Self; 3] = [Self::Data, Self::Admin, Self::Ops];

    /// Its name, as it stands in flags, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Admin => "admin",
            Self::Ops => "ops",
        }
    }
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The listener had as many as it may have.
    Total,
    /// Its address had as many as it may have.
    Address,
    /// It did not say in time which protocol it speaks.
    Silent,
    /// TLS failed, or it speaks another protocol.
    Handshake,
}

impl Refusal {
    const ALL: [Self; 4] = [Self::Total, Self::Address, Self::Silent, Self::Handshake];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Address => "address",
            Self::Silent => "silent",
            Self::Handshake => "handshake",
        }
    }
}

/// Counts connections, and new certificates.
#[derive(Clone, Debug)]
pub struct ConnectionMeter {
    open: UpDownCounter<i64>,
    refused: Counter<u64>,
    reloads: Counter<u64>,
}

impl ConnectionMeter {
    /// New ones, all zero and all shown by `meter`.
    pub(super) fn exported_by(meter: &Meter) -> Self {
        let open = meter
            .i64_up_down_counter("keyward.connections.open")
            .with_description("Connections that are open, by listener.")
            .build();
        let refused = meter
            .u64_counter("keyward.connections.refused")
            .with_description("Connections that were turned away, by listener and reason.")
            .build();
        let reloads = meter
            .u64_counter("keyward.tls.reloads")
            .with_description("Changed files of TLS, by listener and by whether they could be used: loaded or refused.")
            .build();
        let made = Self { open, refused, reloads };
        for listener in Listener::ALL {
            made.add_open(listener, 0);
            Refusal::ALL.into_iter().for_each(|reason| made.add_refused(listener, reason, 0));
            [true, false].into_iter().for_each(|is_loaded| made.add_reload(listener, is_loaded, 0));
        }
        made
    }

    /// A connection was opened.
    pub fn opened(&self, listener: Listener) {
        self.add_open(listener, 1);
    }

    /// A connection that was open is no more.
    pub fn closed(&self, listener: Listener) {
        self.add_open(listener, -1);
    }

    /// A connection was turned away.
    pub fn refused(&self, listener: Listener, reason: Refusal) {
        self.add_refused(listener, reason, 1);
    }

    /// Files of TLS have changed, and could be used or not.
    pub fn reloaded(&self, listener: Listener, is_loaded: bool) {
        self.add_reload(listener, is_loaded, 1);
    }

    fn add_open(&self, listener: Listener, number: i64) {
        self.open.add(number, &[KeyValue::new("listener", listener.as_str())]);
    }

    fn add_refused(&self, listener: Listener, reason: Refusal, number: u64) {
        let labels = [KeyValue::new("listener", listener.as_str()), KeyValue::new("reason", reason.as_str())];
        self.refused.add(number, &labels);
    }

    fn add_reload(&self, listener: Listener, is_loaded: bool, number: u64) {
        let outcome = if is_loaded { "loaded" } else { "refused" };
        let labels = [KeyValue::new("listener", listener.as_str()), KeyValue::new("outcome", outcome)];
        self.reloads.add(number, &labels);
    }
}
