//! `keyward keys list`.

use clap::Args;
use prost_types::Timestamp;

use super::create::Under;
use super::open;
use super::show::{key_type, state};
use crate::cli::ClientOptions;
use crate::cli::failure::Failure;
use crate::cli::output::{Paging, or_dash};
use crate::cli::value::{id, moment, time_column, time_text, within_tenant};
use crate::proto::v1::ListKeysRequest;

/// List keys.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    under: Under,

    /// Which ones, in a subset of AIP-160
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,

    /// Only those made before this time, such as 2030-01-31, and not used since then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    unused_since: Option<Timestamp>,

    /// Deleted ones too
    #[arg(long)]
    show_deleted: bool,

    #[command(flatten)]
    paging: Paging,
}

const HEADER: [&str; 8] =
    ["KEY", "DISPLAY NAME", "TYPE", "STATE", "OWNER", "CREATED (UTC)", "EXPIRES (UTC)", "LAST USED (UTC)"];

impl List {
    fn filter(&self) -> String {
        let unused = self.unused_since.as_ref().map(|time| {
            let time = time_text(time);
            format!("last_auth_time < {time} AND create_time < {time}")
        });
        let asked = self.filter.clone().filter(|filter| !filter.trim().is_empty());
        asked.into_iter().chain(unused).collect::<Vec<_>>().join(" AND ")
    }

    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let parent = self.under.parent(options)?;
        let filter = self.filter();
        let (connection, mut service) = open(options).await?;
        let fetch = async |page_size, page_token| {
            let request = ListKeysRequest {
                parent: parent.clone(),
                page_size,
                page_token,
                filter: filter.clone(),
                show_deleted: self.show_deleted,
            };
            let response = service.list_keys(connection.request(request)).await?.into_inner();
            Ok((response.keys, response.next_page_token))
        };
        let keys = self.paging.collect(fetch).await?;
        options.output.list("keys", &keys, HEADER, |key| {
            [
                id(&key.name).to_owned(),
                or_dash(&key.display_name),
                key_type(key),
                state(key),
                or_dash(within_tenant(&key.owner)),
                time_column(key.create_time.as_ref()),
                time_column(key.expire_time.as_ref()),
                time_column(key.last_auth_time.as_ref()),
            ]
        })
    }
}
