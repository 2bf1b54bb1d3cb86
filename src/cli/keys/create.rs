//! `keyward keys create`.

use clap::Args;

use super::fields::KeyFields;
use super::open;
use super::show::text_with_secret;
use crate::cli::failure::Failure;
use crate::cli::{ClientOptions, value};
use crate::proto::v1::CreateKeyRequest;

/// Make a regular key.
#[derive(Debug, Args)]
pub struct Create {
    /// The last part of its name [default: chosen by the server]
    #[arg(value_name = "KEY_ID")]
    id: Option<String>,

    #[command(flatten)]
    under: Under,

    /// How long it lives, such as 30d, 12h or 15m, instead of --expire-time
    #[arg(long, value_name = "DURATION", value_parser = value::wire_duration, conflicts_with = "expire_time")]
    ttl: Option<prost_types::Duration>,

    #[command(flatten)]
    fields: KeyFields,

    /// A UUID that makes a repetition within 24 h harmless
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

/// Whose keys.
#[derive(Debug, Args)]
pub(super) struct Under {
    /// The user that owns them, `ben` or `tenants/acme/users/ben`
    #[arg(long, value_name = "USER", conflicts_with = "parent")]
    owner: Option<String>,

    /// The tenant, user or application, by name: `tenants/acme`, `users/ben`, `applications/atlas` [default: the tenant]
    #[arg(long, value_name = "NAME")]
    parent: Option<String>,
}

impl Create {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let (key, _) = self.fields.key().map_err(Failure::Usage)?;
        let request = CreateKeyRequest {
            parent: self.under.parent(options)?,
            key: Some(key),
            key_id: self.id.clone().unwrap_or_default(),
            ttl: self.ttl,
            request_id: self.request_id.clone().unwrap_or_default(),
        };
        let (connection, mut service) = open(options).await?;
        let response = service.create_key(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || {
            text_with_secret(response.key.as_ref(), response.revision, "credential", &response.credential)
        })
    }
}

impl Under {
    /// The full name.
    pub(super) fn parent(&self, options: &ClientOptions) -> Result<String, Failure> {
        let tenant = options.tenant()?;
        match (&self.owner, &self.parent) {
            (Some(owner), _) => value::resource_name(&tenant, "users", owner).map_err(Failure::Usage),
            (None, Some(parent)) => value::parent_name(&tenant, parent).map_err(Failure::Usage),
            (None, None) => Ok(tenant),
        }
    }
}
