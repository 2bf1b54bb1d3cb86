//! `keyward apps list`.

use clap::Args;

use super::open;
use super::show::yes_or_no;
use crate::cli::ClientOptions;
use crate::cli::failure::Failure;
use crate::cli::output::{Paging, or_dash};
use crate::cli::value::{id, resource_name, time_column, within_tenant};
use crate::proto::v1::ListApplicationsRequest;

/// List applications.
#[derive(Debug, Args)]
pub struct List {
    /// The user that owns them, `ben` or `tenants/acme/users/ben` [default: anyone]
    #[arg(long, value_name = "USER")]
    owner: Option<String>,

    /// Which ones, in a subset of AIP-160
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,

    /// Deleted ones too
    #[arg(long)]
    show_deleted: bool,

    #[command(flatten)]
    paging: Paging,
}

const HEADER: [&str; 7] =
    ["APPLICATION", "DISPLAY NAME", "DESCRIPTION", "OWNER", "CREATED (UTC)", "VERIFIED", "REVOKED"];

impl List {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let tenant = options.tenant()?;
        let parent = match &self.owner {
            Some(owner) => resource_name(&tenant, "users", owner).map_err(Failure::Usage)?,
            None => tenant,
        };
        let (connection, mut service) = open(options).await?;
        let fetch = async |page_size, page_token| {
            let request = ListApplicationsRequest {
                parent: parent.clone(),
                page_size,
                page_token,
                filter: self.filter.clone().unwrap_or_default(),
                show_deleted: self.show_deleted,
            };
            let response = service.list_applications(connection.request(request)).await?.into_inner();
            Ok((response.applications, response.next_page_token))
        };
        let applications = self.paging.collect(fetch).await?;
        options.output.list("applications", &applications, HEADER, |application| {
            [
                id(&application.name).to_owned(),
                or_dash(&application.display_name),
                or_dash(&application.description),
                or_dash(within_tenant(&application.owner)),
                time_column(application.create_time.as_ref()),
                yes_or_no(application.is_verified).to_owned(),
                yes_or_no(application.is_revoked).to_owned(),
            ]
        })
    }
}
