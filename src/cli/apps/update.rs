//! `keyward apps update`.

use clap::Args;

use super::create::ApplicationFields;
use super::show::text;
use super::{One, open};
use crate::cli::failure::Failure;
use crate::cli::{ClientOptions, value};
use crate::proto::v1::UpdateApplicationRequest;

/// Change an application.
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    application: One,

    #[command(flatten)]
    fields: ApplicationFields,

    /// Take all grants away
    #[arg(long, conflicts_with = "GrantOptions")]
    clear_grants: bool,
}

impl Update {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let request = self.request(options)?;
        let (connection, mut service) = open(options).await?;
        let response = service.update_application(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || text(response.application.as_ref(), response.revision))
    }

    /// What was given is in the mask, and nothing else.
    pub(in crate::cli) fn request(&self, options: &ClientOptions) -> Result<UpdateApplicationRequest, Failure> {
        let (mut application, mut paths) = self.fields.application();
        (application.name, application.etag) = self.application.target(options)?;
        if self.clear_grants {
            paths.push("grants");
        }
        let update_mask = value::mask(paths).map_err(Failure::Usage)?;
        Ok(UpdateApplicationRequest { application: Some(application), update_mask: Some(update_mask) })
    }
}
