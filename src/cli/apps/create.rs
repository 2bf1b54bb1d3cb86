//! `keyward apps create`.

use clap::Args;

use super::open;
use super::show::text;
use crate::cli::failure::Failure;
use crate::cli::grants::GrantOptions;
use crate::cli::{ClientOptions, value};
use crate::proto::v1::{Application, CreateApplicationRequest};

/// Register an application.
#[derive(Debug, Args)]
pub struct Create {
    /// The last part of its name [default: chosen by the server]
    #[arg(value_name = "APPLICATION_ID")]
    id: Option<String>,

    /// The user that will own it, `ben` or `tenants/acme/users/ben` [default: the caller's; for root, the tenant's owner]
    #[arg(long, value_name = "USER")]
    owner: Option<String>,

    #[command(flatten)]
    fields: ApplicationFields,

    /// A UUID that makes a repetition within 24 h harmless
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

/// What is said of an application, when it is made and when it is changed.
#[derive(Debug, Args)]
pub(super) struct ApplicationFields {
    /// A name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,

    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Where the verification token is mailed [default: the owner's email]
    #[arg(long, value_name = "EMAIL")]
    contact_email: Option<String>,

    #[command(flatten)]
    grants: GrantOptions,
}

impl Create {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let tenant = options.tenant()?;
        let parent = match &self.owner {
            Some(owner) => value::resource_name(&tenant, "users", owner).map_err(Failure::Usage)?,
            None => tenant,
        };
        let (application, _) = self.fields.application();
        let request = CreateApplicationRequest {
            parent,
            application: Some(application),
            request_id: self.request_id.clone().unwrap_or_default(),
            application_id: self.id.clone().unwrap_or_default(),
        };
        let (connection, mut service) = open(options).await?;
        let response = service.create_application(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || text(response.application.as_ref(), response.revision))
    }
}

impl ApplicationFields {
    /// An application with what was said, and the paths of what was said.
    pub(super) fn application(&self) -> (Application, Vec<&'static str>) {
        let application = Application {
            display_name: self.display_name.clone().unwrap_or_default(),
            description: self.description.clone().unwrap_or_default(),
            contact_email: self.contact_email.clone().unwrap_or_default(),
            grants: self.grants.grants(),
            ..Application::default()
        };
        let said = [
            ("display_name", self.display_name.is_some()),
            ("description", self.description.is_some()),
            ("contact_email", self.contact_email.is_some()),
            ("grants", !application.grants.is_empty()),
        ];
        let paths = said.into_iter().filter(|(_, is_said)| *is_said).map(|(path, _)| path).collect();
        (application, paths)
    }
}
