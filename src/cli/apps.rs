//! `keyward apps`: applications, which act in their own name. The verbs on one application are here, the rest in a file
//! each.

mod create;
mod list;
mod show;
mod update;
mod verify;

use clap::{Args, Subcommand};

use self::show::{text, text_with_secret};
use super::connect::{ADMIN_SERVER, Connection, MAX_RESPONSE_BYTES};
use super::failure::Failure;
use super::{ClientOptions, value};
use crate::proto::v1::application_service_client::ApplicationServiceClient;
use crate::proto::v1::{
    ActivateApplicationRequest, DeleteApplicationRequest, GetApplicationRequest, ResendVerificationRequest,
    RevokeApplicationRequest, RotateApplicationSecretRequest,
};

/// Register applications and keep them.
#[derive(Debug, Subcommand)]
pub enum Apps {
    /// Register an application, unverified; a verification token is mailed to its contact
    #[command(after_help = "\
Examples:
  keyward apps create atlas --display-name Atlas --description 'Maps of roads' --grant-api maps
  keyward apps create --owner ben --contact-email dev@acme.example --grant 'doc/*=read'")]
    Create(Box<create::Create>),
    /// Verify an application by the mailed token; its secret is shown once; needs no key
    #[command(after_help = "\
The caller's key is not sent, so the tenant must be said, by the name or by --tenant.

Examples:
  keyward apps verify tenants/acme/applications/atlas --token-file token.txt
  pbpaste | keyward apps verify atlas --tenant acme --token-file -")]
    Verify(verify::Verify),
    /// Mail a new verification token; the one before is void
    #[command(after_help = "Example:\n  keyward apps resend atlas")]
    Resend(One),
    /// List the applications of a tenant or a user
    #[command(after_help = "\
Fields of a filter: display_name, owner, is_verified, is_revoked and times; with =, <, >, AND and quoted strings.

Examples:
  keyward apps list
  keyward apps list --owner ben --filter 'is_verified = false'")]
    List(list::List),
    /// Show one application, without its secret
    #[command(after_help = "Examples:\n  keyward apps get atlas\n  keyward apps get tenants/acme/applications/atlas")]
    Get(One),
    /// Change an application; only what is given is changed
    #[command(after_help = "\
Grants replace what was there. A changed --contact-email must be verified again.

Examples:
  keyward apps update atlas --description 'Maps of roads and rails' --grant-api maps --grant-api tiles
  keyward apps update atlas --clear-grants")]
    Update(Box<update::Update>),
    /// Give an application a new secret, shown once
    #[command(after_help = "Examples:\n  keyward apps rotate atlas\n  keyward apps rotate atlas --overlap 1h")]
    Rotate(Rotate),
    /// Refuse an application with its keys until it is activated; its tokens die for good
    #[command(after_help = "Example:\n  keyward apps revoke atlas")]
    Revoke(One),
    /// Let a revoked application work again
    #[command(after_help = "Example:\n  keyward apps activate atlas")]
    Activate(One),
    /// Delete an application; what is under it is refused, and its id is never reused
    #[command(after_help = "Example:\n  keyward apps delete atlas")]
    Delete(One),
}

/// One application.
#[derive(Debug, Args)]
pub struct One {
    /// `atlas`, or `tenants/acme/applications/atlas`
    #[arg(value_name = "NAME")]
    name: String,

    /// Fail unless the application still has this etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

/// Give an application a new secret.
#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    application: One,

    /// How long the old secret keeps working, such as 1h [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = value::wire_duration)]
    overlap: Option<prost_types::Duration>,

    /// A UUID that makes a repetition within 24 h harmless
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

impl Apps {
    /// Carries out the command.
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(options).await,
            Self::Verify(verify) => verify.run(options).await,
            Self::List(list) => list.run(options).await,
            Self::Update(update) => update.run(options).await,
            Self::Rotate(rotate) => rotate.run(options).await,
            Self::Get(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(GetApplicationRequest { name, etag });
                let response = service.get_application(request).await?.into_inner();
                options.output.reply(&response, || text(response.application.as_ref(), 0))
            }
            Self::Resend(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(ResendVerificationRequest { name, etag });
                let response = service.resend_verification(request).await?.into_inner();
                options.output.reply(&response, || text(response.application.as_ref(), response.revision))
            }
            Self::Revoke(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(RevokeApplicationRequest { name, etag });
                let response = service.revoke_application(request).await?.into_inner();
                options.output.reply(&response, || text(response.application.as_ref(), response.revision))
            }
            Self::Activate(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(ActivateApplicationRequest { name, etag });
                let response = service.activate_application(request).await?.into_inner();
                options.output.reply(&response, || text(response.application.as_ref(), response.revision))
            }
            Self::Delete(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(DeleteApplicationRequest { name, etag });
                let response = service.delete_application(request).await?.into_inner();
                options.output.reply(&response, || text(response.application.as_ref(), response.revision))
            }
        }
    }
}

impl One {
    fn target(&self, options: &ClientOptions) -> Result<(String, String), Failure> {
        let name = value::resource_name(&options.tenant()?, "applications", &self.name).map_err(Failure::Usage)?;
        Ok((name, self.etag.clone().unwrap_or_default()))
    }
}

impl Rotate {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let (name, etag) = self.application.target(options)?;
        let request_id = self.request_id.clone().unwrap_or_default();
        let (connection, mut service) = open(options).await?;
        let request = RotateApplicationSecretRequest { name, overlap: self.overlap, request_id, etag };
        let response = service.rotate_application_secret(connection.request(request)).await?.into_inner();
        options
            .output
            .reply(&response, || text_with_secret(response.application.as_ref(), response.revision, &response.secret))
    }
}

type Service = ApplicationServiceClient<tonic::transport::Channel>;

async fn open(options: &ClientOptions) -> Result<(Connection, Service), Failure> {
    let connection = Connection::open(options, ADMIN_SERVER).await?;
    let service = ApplicationServiceClient::new(connection.channel()).max_decoding_message_size(MAX_RESPONSE_BYTES);
    Ok((connection, service))
}
