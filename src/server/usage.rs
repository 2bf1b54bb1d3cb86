//! Writes down how much keys are used: each minute, and at the end once the last Check was answered. What could not be
//! written is tried again, under its number, before anything else is taken; the rest waits in the index, where hours are
//! kept apart. So a database that is away loses nothing, and whoever dies loses what it had not written: about a minute.

use crate::check::Index;
use crate::clock::Clock;
use crate::domain::usage::Tallies;
use crate::error::{Error, Result};
use crate::store::{Store, UsageLog};
use crate::telemetry::UsageMeter;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How often it is written down; the first time sooner, for those who try it out.
const INTERVAL: Duration = Duration::from_secs(60);
const FIRST: Duration = Duration::from_secs(5);

/// How soon it is tried again if the database has failed.
const RETRY: Duration = Duration::from_secs(5);

/// How long one flush may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(20);

/// How soon the last flush is tried again.
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// What writes down the use of keys. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Usage(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    index: Arc<Index>,
    log: UsageLog,
    clock: Clock,
    meter: UsageMeter,
    flushed: Mutex<Flushed>,
}

#[derive(Debug, Default)]
struct Flushed {
    /// The number of the last flush that was written.
    number: i64,
    /// The next, until it is known to be written.
    next: Option<Tallies>,
    is_failing: bool,
}

impl Usage {
    /// Takes from `index` what is to be written to `store`.
    pub(super) async fn new(store: &Store, index: Arc<Index>, clock: Clock, meter: UsageMeter) -> Result<Self> {
        let log = store.usage_log().await?;
        Ok(Self(Arc::new(Parts { index, log, clock, meter, flushed: Mutex::default() })))
    }

    /// Writes now and then, until it is stopped.
    pub(super) async fn run(self, mut stopped: watch::Receiver<bool>) -> Result<()> {
        let mut pause = FIRST;
        while timeout(pause, stopped.wait_for(|stopped| *stopped)).await.is_err() {
            pause = if self.flush(|| *stopped.borrow()).await { INTERVAL } else { RETRY };
        }
        Ok(())
    }

    /// Deletes what is not kept any more.
    pub(super) async fn prune(&self) -> Result<bool> {
        self.0.log.prune(self.0.clock.now()).await
    }

    /// Writes what is left, when nothing is answered any more, if it can be written within `time`.
    pub(super) async fn finish(self, time: Duration) {
        let end = Instant::now() + time;
        let trying = async {
            while !self.flush(|| false).await {
                sleep(LAST_PAUSE).await;
            }
        };
        if timeout_at(end, trying).await.is_err() {
            tracing::error!("the last counts of keys' use are lost: they could not be written down before the end");
            return;
        }
        if let Some(Parts { log, flushed, .. }) = Arc::into_inner(self.0)
            && flushed.into_inner().number > 0
        {
            // What it may leave behind is deleted with the counts of its time.
            let _left = timeout_at(end, log.close()).await;
        }
    }

    /// Writes what there is; whether all of it is written. What comes meanwhile is for the next time.
    async fn flush(&self, is_over: impl Fn() -> bool) -> bool {
        let mut flushed = self.0.flushed.lock().await;
        match self.write_all(&mut flushed, is_over).await {
            Ok(is_all) => {
                flushed.is_failing = false;
                is_all
            }
            Err(error) => {
                self.0.meter.count_failed();
                if !std::mem::replace(&mut flushed.is_failing, true) {
                    tracing::warn!("what keys were used cannot be written down, and is tried again: {error}");
                }
                false
            }
        }
    }

    async fn write_all(&self, flushed: &mut Flushed, is_over: impl Fn() -> bool) -> Result<bool> {
        // What has failed before.
        self.write(flushed).await?;
        for _ in 0..self.0.index.use_parts() {
            if is_over() {
                return Ok(false);
            }
            flushed.next = Some(self.0.index.take_uses().into_iter().collect());
            self.tell_dropped();
            self.write(flushed).await?;
        }
        Ok(true)
    }

    /// Writes what was taken.
    async fn write(&self, flushed: &mut Flushed) -> Result<()> {
        let Parts { log, clock, meter, .. } = &*self.0;
        let Some(next) = flushed.next.as_ref().filter(|next| !next.is_empty()) else {
            flushed.next = None;
            return Ok(());
        };
        let number = flushed.number.saturating_add(1);
        let written = timeout(FLUSH_TIMEOUT, log.write(number, next, clock.now())).await;
        written.unwrap_or_else(|_| Err(Error::unavailable("the database did not answer in time")))?;
        flushed.number = number;
        flushed.next = None;
        meter.count_written();
        Ok(())
    }

    fn tell_dropped(&self) {
        let dropped = self.0.index.take_dropped_uses();
        if dropped > 0 {
            self.0.meter.count_dropped(dropped);
            tracing::error!(checks = dropped, "too many counts of keys' use waited for the database: some are lost");
        }
    }
}
