//! `keyward keys update`.

use clap::Args;

use super::fields::KeyFields;
use super::show::text;
use super::{One, open};
use crate::cli::failure::Failure;
use crate::cli::{ClientOptions, value};
use crate::proto::v1::UpdateKeyRequest;

/// Change a key.
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    key: One,

    #[command(flatten)]
    fields: KeyFields,

    /// Let it live without end
    #[arg(long, conflicts_with = "expire_time")]
    clear_expire_time: bool,

    /// Let it work at once
    #[arg(long, conflicts_with = "not_before")]
    clear_not_before: bool,

    /// Let it be used from anywhere
    #[arg(long, conflicts_with = "allowed_ips")]
    clear_allowed_ips: bool,

    /// Let it be used with any referrer
    #[arg(long, conflicts_with = "allowed_referrers")]
    clear_allowed_referrers: bool,

    /// Take all labels away
    #[arg(long, conflicts_with = "labels")]
    clear_labels: bool,

    /// Take all grants away
    #[arg(long, conflicts_with = "GrantOptions")]
    clear_grants: bool,
}

impl Update {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let request = self.request(options)?;
        let (connection, mut service) = open(options).await?;
        let response = service.update_key(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || text(response.key.as_ref(), response.revision))
    }

    /// What was given is in the mask, and nothing else.
    pub(in crate::cli) fn request(&self, options: &ClientOptions) -> Result<UpdateKeyRequest, Failure> {
        let (mut key, mut paths) = self.fields.key().map_err(Failure::Usage)?;
        (key.name, key.etag) = self.key.target(options)?;
        let cleared = [
            ("expire_time", self.clear_expire_time),
            ("not_before_time", self.clear_not_before),
            ("allowed_ips", self.clear_allowed_ips),
            ("allowed_referrers", self.clear_allowed_referrers),
            ("labels", self.clear_labels),
            ("grants", self.clear_grants),
        ];
        paths.extend(cleared.into_iter().filter(|(_, is_cleared)| *is_cleared).map(|(path, _)| path));
        let update_mask = value::mask(paths).map_err(Failure::Usage)?;
        Ok(UpdateKeyRequest { key: Some(key), update_mask: Some(update_mask) })
    }
}
