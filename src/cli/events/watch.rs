//! `keyward events watch`: goes along with the audit log, through whatever ends the connection.

use std::time::Duration;

use clap::Args;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use super::{Scope, open, row};
use crate::cli::ClientOptions;
use crate::cli::connect::Connection;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Lines, plain, print, remark};
use crate::proto::v1::event_service_client::EventServiceClient;
use crate::proto::v1::{Event, WatchEventsRequest};

/// How soon it is tried again, twice as long each time, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Show events as they happen.
#[derive(Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    scope: Scope,

    /// Only events after this revision [default: from the first that is kept]
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(0..))]
    after: Option<i64>,
}

/// How far it has come.
struct Progress {
    after: i64,
    /// The chain there, by which the server tells whether it has the same history.
    chain: String,
    /// Whether a watch has begun at all.
    has_begun: bool,
    pause: Duration,
}

impl Watch {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let parent = self.scope.parent(options)?;
        let (connection, service) = open(options).await?;
        let lines = Lines::new()?;
        let show = |event: &Event| match options.output {
            Format::Table => print(&row(event, self.scope.all_tenants).map(|cell| plain(&cell)).join("  ")),
            Format::Json => lines.print(event),
        };
        let mut progress = Progress {
            after: self.after.unwrap_or_default(),
            chain: String::new(),
            has_begun: false,
            pause: FIRST_PAUSE,
        };
        loop {
            let cause = match follow(&connection, service.clone(), &parent, &mut progress, &show).await {
                Ok(()) => "the server has ended it".to_owned(),
                Err(failure) if failure.is_broken_pipe() => return Ok(()),
                Err(failure) if self.after.is_none() && progress.after == 0 && failure.removed_up_to().is_some() => {
                    progress.after = failure.removed_up_to().unwrap_or_default();
                    remark(&format!("the events up to revision {} are not kept any more", progress.after));
                    continue;
                }
                Err(failure) if !progress.has_begun || !failure.may_pass() => return Err(failure),
                Err(failure) => failure.to_string(),
            };
            let Progress { after, pause, .. } = progress;
            remark(&format!("the watch has ended, and goes on after revision {after}: {cause}"));
            sleep(pause).await;
            progress.pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// One watch, to its end.
async fn follow(
    connection: &Connection,
    mut service: EventServiceClient<Channel>,
    parent: &str,
    progress: &mut Progress,
    show: impl Fn(&Event) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (after_revision, after_chain) = (progress.after, progress.chain.clone());
    let request = WatchEventsRequest { parent: parent.to_owned(), after_revision, after_chain };
    let begun = timeout(connection.patience(), service.watch_events(connection.stream(request))).await;
    let begun = begun.map_err(|_| Failure::Unreachable("no answer within --timeout".to_owned()))?;
    let mut messages = begun?.into_inner();
    if progress.has_begun {
        remark(&"watching again");
    }
    progress.has_begun = true;
    while let Some(message) = messages.message().await? {
        let Some(event) = message.event else { continue };
        show(&event)?;
        (progress.after, progress.chain) = (event.revision, event.chain);
        progress.pause = FIRST_PAUSE;
    }
    Ok(())
}
