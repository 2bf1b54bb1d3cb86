//! THE POST: sends what mutations have queued, one mail after the other, at least once each. A mail leaves the queue only
//! when it was accepted or is of no use any more; in between it is tried again, ever less often. Who died between the
//! acceptance and the end of the row sends it again, under the same `Message-ID`. Absent: what mails say, and when one is
//! queued; that is decided where the mutation is.

mod folder;
mod message;
mod smtp;

use crate::clock::Clock;
use crate::config::{MailConfig, MailRoute};
use crate::domain::mail::pause_after;
use crate::error::{Error, Result};
use crate::store::{QueuedMail, Store};
use crate::telemetry::{MailMeter, MailOutcome};
use folder::Folder;
use lettre::message::Mailbox;
use smtp::Smtp;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long one attempt may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the queue is looked at while something is in it, and while nothing is known to be.
const BUSY_INTERVAL: Duration = Duration::from_secs(1);
const IDLE_INTERVAL: Duration = Duration::from_secs(60);

/// How much of what a server says is logged.
const MAX_REASON_CHARS: usize = 300;

#[derive(Debug)]
enum Route {
    Folder(Folder),
    Smtp(Box<Smtp>),
}

/// Why an attempt came to nothing.
#[derive(Debug)]
enum Failure {
    /// It may go better another time.
    Passing(String),
    /// It never will: the mail cannot be written.
    Lasting(String),
}

/// Whoever sends the queued mail; one in a process.
#[derive(Debug)]
pub struct Post {
    store: Store,
    clock: Clock,
    meter: MailMeter,
    from: Mailbox,
    route: Route,
    /// The mail that was accepted, and whose row could not be removed yet.
    accepted: Option<String>,
}

impl Post {
    /// Makes ready to send as `config` says.
    pub fn new(store: Store, clock: Clock, config: &MailConfig, meter: MailMeter) -> Result<Self> {
        let from = config.from.parse().map_err(|_| Error::invalid("--mail-from", "must be an address"))?;
        let route = match &config.route {
            MailRoute::Folder(path) => Route::Folder(Folder::new(path.clone())),
            MailRoute::Smtp(server) => Route::Smtp(Box::new(Smtp::new(server)?)),
        };
        Ok(Self { store, clock, meter, from, route, accepted: None })
    }

    /// Sends until `stopped`; the mail in hand then is still sent, the others stay in the queue.
    pub async fn run(mut self, mut stopped: watch::Receiver<bool>) -> Result<()> {
        loop {
            let interval = match self.send_due(&stopped).await {
                Ok(0) => IDLE_INTERVAL,
                Ok(_) => BUSY_INTERVAL,
                Err(error) => {
                    tracing::warn!("the queue of mail cannot be read or written: {error}");
                    BUSY_INTERVAL
                }
            };
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
                () = self.store.mail_queued() => {}
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    /// Sends what is due; how many are left that are not.
    async fn send_due(&mut self, stopped: &watch::Receiver<bool>) -> Result<u64> {
        loop {
            let left = self.store.mail_count().await?;
            self.meter.show_queued(left);
            if left == 0 || *stopped.borrow() {
                return Ok(left);
            }
            match self.store.due_mail().await? {
                Some(queued) => self.deliver(queued).await?,
                None => return Ok(left),
            }
        }
    }

    async fn deliver(&mut self, queued: QueuedMail) -> Result<()> {
        let QueuedMail { id, mail, create_time: _, attempt_count } = &queued;
        let (to, about) = (&mail.recipient, &mail.about);
        if self.accepted.as_ref() == Some(id) {
            return self.remove(id).await;
        }
        if mail.give_up_time <= self.clock.now() {
            self.meter.count(MailOutcome::Dropped);
            tracing::warn!(to, about, attempts = attempt_count, "a mail was given up: it is of no use any more");
            return self.remove(id).await;
        }
        match self.attempt(&queued).await {
            Ok(()) => {
                self.accepted = Some(id.clone());
                self.meter.count(MailOutcome::Sent);
                tracing::info!(to, about, id, attempts = attempt_count.saturating_add(1), "a mail was sent");
                self.remove(id).await
            }
            Err(Failure::Passing(reason)) => {
                let failures = attempt_count.saturating_add(1);
                let pause = pause_after(failures, rand::random());
                self.meter.count(MailOutcome::Failed);
                let reason = without_contents(&reason, &mail.text);
                tracing::warn!(to, about, failures, pause_s = pause.as_secs(), "a mail could not be sent: {reason}");
                self.store.postpone_mail(id, failures, pause).await
            }
            Err(Failure::Lasting(reason)) => {
                self.meter.count(MailOutcome::Dropped);
                tracing::warn!(to, about, "a mail was given up: {reason}");
                self.remove(id).await
            }
        }
    }

    async fn attempt(&self, queued: &QueuedMail) -> std::result::Result<(), Failure> {
        let message = message::build(&self.from, queued).map_err(Failure::Lasting)?;
        let sent = async {
            match &self.route {
                Route::Folder(folder) => folder.write(&queued.id, message.formatted()).await,
                Route::Smtp(smtp) => smtp.send(message.envelope(), &message.formatted()).await,
            }
        };
        match timeout(SEND_TIMEOUT, sent).await {
            Ok(sent) => sent.map_err(Failure::Passing),
            Err(_) => Err(Failure::Passing(format!("no answer within {} s", SEND_TIMEOUT.as_secs()))),
        }
    }

    async fn remove(&mut self, id: &str) -> Result<()> {
        self.store.remove_mail(id).await?;
        self.accepted = None;
        Ok(())
    }
}

/// What a server said, on one line of bounded length, unless it repeats a line of the mail.
fn without_contents(reason: &str, text: &str) -> String {
    let is_told = |line: &str| line.len() > 16 && reason.contains(line);
    if text.lines().map(str::trim).any(is_told) {
        return "the server repeated what is in the mail, which is not logged".to_owned();
    }
    reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_logged_unless_it_is_the_mail() {
        let text = "Hello there\nabcdefghijklmnopqrstuvwxyz\n";
        assert_eq!(without_contents("550 no\r\nsuch user", text), "550 no  such user");
        assert!(!without_contents("554 spam: 'abcdefghijklmnopqrstuvwxyz'", text).contains("abcdef"));
        assert_eq!(without_contents(&"x".repeat(1000), text).len(), MAX_REASON_CHARS);
    }
}
