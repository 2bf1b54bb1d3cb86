//! `keyward events export`: the audit log in a form to be kept elsewhere.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Scope, open};
use crate::cli::ClientOptions;
use crate::cli::failure::Failure;
use crate::cli::output::{Lines, remark};
use crate::proto::v1::ListEventsRequest;

/// How many events are asked for at a time.
const PAGE_SIZE: i32 = 1000;

/// Write all events as JSON.
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    scope: Scope,

    /// Only events after this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    after: i64,

    /// Write the revision and the hash chain of the last event to this file, for `events verify`; where there was none, it
    /// stays as it is
    #[arg(long, value_name = "PATH")]
    head_file: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let parent = self.scope.parent(options)?;
        let (connection, mut service) = open(options).await?;
        let lines = Lines::new()?;
        let filter = format!("revision > {}", self.after);
        let (mut page_token, mut count, mut last) = (String::new(), 0_u64, None);
        loop {
            let (parent, filter) = (parent.clone(), filter.clone());
            let request = ListEventsRequest { parent, filter, page_size: PAGE_SIZE, page_token };
            let asked = service.list_events(connection.request(request)).await;
            let page = asked.inspect_err(|_| tell_where_it_ended(last.as_ref()))?.into_inner();
            for event in page.events {
                // Of all tenants there is one of each revision, unless retention has removed it, perhaps meanwhile.
                let first = last.as_ref().map_or(self.after, |(revision, _)| *revision).saturating_add(1);
                if self.scope.all_tenants && event.revision > first {
                    let last = event.revision.saturating_sub(1);
                    remark(&format!("the events of revisions {first} to {last} are not kept any more"));
                }
                lines.print(&event)?;
                count = count.saturating_add(1);
                last = Some((event.revision, event.chain));
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        match &last {
            Some((revision, chain)) => {
                if let Some(path) = &self.head_file {
                    keep(path, &format!("{revision}:{chain}\n"))?;
                }
                remark(&format!("exported {count} events, the last at revision {revision}"));
            }
            None => remark(&format!("there is no event after revision {}", self.after)),
        }
        Ok(())
    }
}

fn tell_where_it_ended(last: Option<&(i64, String)>) {
    if let Some((revision, _)) = last {
        remark(&format!("ended after revision {revision}; go on with --after {revision}"));
    }
}

/// Writes a file anew, whole or not at all.
fn keep(path: &Path, text: &str) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || {
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|error| Failure::Usage(format!("--head-file {}: cannot be written: {error}", path.display())))
}
