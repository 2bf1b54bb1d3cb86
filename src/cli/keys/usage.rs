//! `keyward keys usage`.

use clap::Args;
use prost_types::Timestamp;

use super::{One, open};
use crate::cli::ClientOptions;
use crate::cli::failure::Failure;
use crate::cli::output::{Fields, table};
use crate::cli::value::{moment, time_column};
use crate::proto::v1::{GetKeyUsageRequest, KeyUsage};

/// Count the Checks of a key.
#[derive(Debug, Args)]
pub struct Usage {
    #[command(flatten)]
    key: One,

    /// From when, such as 2030-01-31 or 2030-01-31T12:00:00Z; the whole hour [default: 24 hours before the end]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    start: Option<Timestamp>,

    /// Until when; the whole hour [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    end: Option<Timestamp>,
}

const HEADER: [&str; 3] = ["HOUR (UTC)", "ALLOWED", "DENIED"];

impl Usage {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let (name, etag) = self.key.target(options)?;
        let request = GetKeyUsageRequest { name, start_time: self.start, end_time: self.end, etag };
        let (connection, mut service) = open(options).await?;
        let response = service.get_key_usage(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || text(&response.key_usage.clone().unwrap_or_default()))
    }
}

/// The hours in which it was checked, and all of them together.
fn text(usage: &KeyUsage) -> String {
    let about = Fields::new()
        .text("name", &usage.name)
        .time("from", usage.start_time.as_ref())
        .time("to", usage.end_time.as_ref())
        .time("last used", usage.last_auth_time.as_ref())
        .render();
    let row = |what: String, allowed: i64, denied: i64| [what, allowed.to_string(), denied.to_string()];
    let hours = usage.hours.iter();
    let hours = hours.map(|hour| row(time_column(hour.start_time.as_ref()), hour.allowed_count, hour.denied_count));
    let total = row("total".to_owned(), usage.allowed_count, usage.denied_count);
    format!("{about}\n\n{}", table(HEADER, hours.chain([total])))
}
