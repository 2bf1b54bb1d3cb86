//! `keyward apps verify`.

use std::path::PathBuf;

use clap::Args;

use super::show::text_with_secret;
use super::{One, Service};
use crate::cli::connect::{ADMIN_SERVER, Connection};
use crate::cli::failure::Failure;
use crate::cli::{ClientOptions, secret, value};
use crate::proto::v1::VerifyApplicationRequest;

/// Verify an application.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    application: One,

    /// A file with the mailed token, `-` for standard input; one trailing line end is dropped [env:
    /// KEYWARD_VERIFICATION_TOKEN holds the token itself]
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
}

impl Verify {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let (name, etag) = self.application.target(options)?;
        value::known_tenant(&name).map_err(Failure::Usage)?;
        let token = secret::read_or_environment(self.token_file.as_deref(), "KEYWARD_VERIFICATION_TOKEN")?;
        let verification_token = token.ok_or_else(|| {
            Failure::Usage(
                "no token: give --token-file PATH (`-` is standard input) or KEYWARD_VERIFICATION_TOKEN".to_owned(),
            )
        })?;
        // The token is the proof: a refused key of the caller's must not stand in the way.
        let connection = Connection::open_anonymous(options, ADMIN_SERVER).await?;
        let request = connection.request(VerifyApplicationRequest { name, verification_token, etag });
        let response = Service::new(connection.channel()).verify_application(request).await?.into_inner();
        options
            .output
            .reply(&response, || text_with_secret(response.application.as_ref(), response.revision, &response.secret))
    }
}
