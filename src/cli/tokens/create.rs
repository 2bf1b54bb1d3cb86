//! `keyward tokens create`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Service;
use crate::cli::check::pairs;
use crate::cli::connect::{ADMIN_SERVER, Connection};
use crate::cli::failure::Failure;
use crate::cli::output::{Fields, plain, with_secret, word};
use crate::cli::secret::{self, CredentialSource};
use crate::cli::{ClientOptions, value};
use crate::proto::v1::{AccessToken, CreateTokenRequest, CreateTokenResponse, TokenFormat};

/// Make an access token.
#[derive(Debug, Args)]
pub struct Create {
    /// The application, `tenants/acme/applications/atlas`, or `atlas` with --tenant
    #[arg(long, value_name = "NAME", conflicts_with_all = ["credential_file", "credential_secret_key_file"])]
    application: Option<String>,

    /// A file with the application's secret, `-` for standard input [env: KEYWARD_APPLICATION_SECRET holds the secret
    /// itself]
    #[arg(long, value_name = "PATH", requires = "application")]
    secret_file: Option<PathBuf>,

    #[command(flatten)]
    credential: CredentialSource,

    /// A file with the second secret of that key, `-` for standard input [env: KEYWARD_CREDENTIAL_SECRET_KEY holds the
    /// secret itself]
    #[arg(long, value_name = "PATH")]
    credential_secret_key_file: Option<PathBuf>,

    /// What the token is to be good for; repeats together with --action, the first with the first and so on
    #[arg(long = "resource", value_name = "RESOURCE")]
    resources: Vec<String>,

    /// What is to be done with it
    #[arg(long = "action", value_name = "ACTION")]
    actions: Vec<String>,

    /// A service that the token is for; may repeat [default: any]
    #[arg(long = "audience", value_name = "AUDIENCE")]
    audience: Vec<String>,

    /// How long it lives, at most 24h [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = value::wire_duration)]
    ttl: Option<prost_types::Duration>,

    /// The shape of its text
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    format: Shape,
}

/// The shape of a token's text.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Shape {
    /// Like a key, known only to Keyward
    #[default]
    Opaque,
    /// A JWT that others can verify
    Jwt,
}

impl Create {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let request = self.request(options)?;
        // The secret is the proof: a refused key of the caller's must not stand in the way.
        let connection = Connection::open_anonymous(options, ADMIN_SERVER).await?;
        let mut service = Service::new(connection.channel());
        let response = service.create_token(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || text(&response))
    }

    fn request(&self, options: &ClientOptions) -> Result<CreateTokenRequest, Failure> {
        let mut request = CreateTokenRequest {
            permissions: pairs(&self.resources, &self.actions).map_err(Failure::Usage)?,
            audience: self.audience.clone(),
            ttl: self.ttl,
            format: TokenFormat::from(self.format).into(),
            ..CreateTokenRequest::default()
        };
        match &self.application {
            Some(name) => {
                request.application =
                    value::resource_name(&options.tenant()?, "applications", name).map_err(Failure::Usage)?;
                value::known_tenant(&request.application).map_err(Failure::Usage)?;
                let secret = secret::read_or_environment(self.secret_file.as_deref(), "KEYWARD_APPLICATION_SECRET")?;
                request.secret = secret.ok_or_else(|| {
                    Failure::Usage("no secret: give --secret-file PATH or KEYWARD_APPLICATION_SECRET".to_owned())
                })?;
            }
            None => (request.key, request.secret_key) = self.key(options)?,
        }
        Ok(request)
    }

    /// The key that the token is made of, and its second secret.
    fn key(&self, options: &ClientOptions) -> Result<(String, String), Failure> {
        if let Some(key) = self.credential.find()? {
            let path = self.credential_secret_key_file.as_deref();
            let secret_key = secret::read_or_environment(path, "KEYWARD_CREDENTIAL_SECRET_KEY")?;
            return Ok((key, secret_key.unwrap_or_default()));
        }
        let key = options.key()?.ok_or_else(|| {
            Failure::Usage(
                "nothing to make it of: give --application NAME, --credential-file PATH or a key of your own"
                    .to_owned(),
            )
        })?;
        Ok((key, options.secret_key()?.unwrap_or_default()))
    }
}

impl From<Shape> for TokenFormat {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Opaque => Self::Opaque,
            Shape::Jwt => Self::Jwt,
        }
    }
}

fn text(response: &CreateTokenResponse) -> String {
    let absent = AccessToken::default();
    let token = response.access_token.as_ref().unwrap_or(&absent);
    let permissions = token.permissions.iter().map(|held| plain(&format!("{} on {}", held.action, held.resource)));
    let fields = Fields::new()
        .text("name", &token.name)
        .text("application", &token.application)
        .text("key", &token.key)
        .text("format", &word(token.format, TokenFormat::as_str_name, "TOKEN_FORMAT_"))
        .lines("permissions", permissions.collect::<Vec<_>>().join("\n"))
        .each("audience", &token.audience)
        .time("created", token.create_time.as_ref())
        .time("expires", response.expire_time.as_ref())
        .text("uid", &token.uid)
        .revision(response.revision);
    with_secret(fields.render(), "token", &response.token)
}
