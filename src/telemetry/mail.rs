//! What became of mail, counted.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Meter};

/// What became of one attempt to send a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailOutcome {
    /// It was accepted.
    Sent,
    /// It was not, and is tried again.
    Failed,
    /// It was given up.
    Dropped,
}

impl MailOutcome {
    const ALL: [Self; 3] = [Self::Sent, Self::Failed, Self::Dropped];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// What became of mail, and how much is waiting.
#[derive(Clone, Debug)]
pub struct MailMeter {
    attempts: Counter<u64>,
    queued: Gauge<u64>,
}

impl MailMeter {
    /// New ones, all zero and all shown by `meter`.
    pub(super) fn exported_by(meter: &Meter) -> Self {
        let attempts = meter
            .u64_counter("keyward.mail.attempts")
            .with_description("Attempts to send a mail, by what became of it: sent, failed or dropped.")
            .build();
        let queued =
            meter.u64_gauge("keyward.mail.queued").with_description("Mails that are waiting to be sent.").build();
        let made = Self { attempts, queued };
        MailOutcome::ALL.into_iter().for_each(|outcome| made.add(outcome, 0));
        made.queued.record(0, &[]);
        made
    }

    /// Counts one attempt.
    pub fn count(&self, outcome: MailOutcome) {
        self.add(outcome, 1);
    }

    fn add(&self, outcome: MailOutcome, number: u64) {
        self.attempts.add(number, &[KeyValue::new("outcome", outcome.as_str())]);
    }

    /// Shows how many are waiting.
    pub fn show_queued(&self, count: u64) {
        self.queued.record(count, &[]);
    }
}
