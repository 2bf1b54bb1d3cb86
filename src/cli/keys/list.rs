//! `keyward keys list`.

use clap::Args;

use super::create::Under;
use super::open;
use super::show::{key_type, state};
use crate::cli::ClientOptions;
use crate::cli::failure::Failure;
use crate::cli::output::{Paging, or_dash};
use crate::cli::value::{id, time_column, within_tenant};
use crate::proto::v1::ListKeysRequest;

/// List keys.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    under: Under,

    /// Which ones, in a subset of AIP-160
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,

    /// Deleted ones too
    #[arg(long)]
    show_deleted: bool,

    #[command(flatten)]
    paging: Paging,
}

const HEADER: [&str; 8] =
    ["KEY", "DISPLAY NAME", "TYPE", "STATE", "OWNER", "CREATED (UTC)", "EXPIRES (UTC)", "LAST USED (UTC)"];

impl List {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let parent = self.under.parent(options)?;
        let (connection, mut service) = open(options).await?;
        let fetch = async |page_size, page_token| {
            let request = ListKeysRequest {
                parent: parent.clone(),
                page_size,
                page_token,
                filter: self.filter.clone().unwrap_or_default(),
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
