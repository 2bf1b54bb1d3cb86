//! `keyward tokens`: access tokens, and what tokens and sessions are worth.

mod create;
mod introspect;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ClientOptions;
use super::connect::{ADMIN_SERVER, Connection, MAX_RESPONSE_BYTES};
use super::failure::Failure;
use super::output::{Fields, Format, or_dash};
use super::secret;
use crate::proto::v1::token_service_client::TokenServiceClient;
use crate::proto::v1::{GetJwksRequest, RevokeTokenRequest};

/// Access tokens.
#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// Make an access token of an application's secret or of a key; its text is shown once
    #[command(after_help = "\
Without --application it is made of a key: the one of --credential-file or KEYWARD_CREDENTIAL, else the caller's own. The
secret is the proof and no other key is sent. Without --resource and --action it holds all that its subject holds.

Examples:
  keyward tokens create --application atlas --tenant acme --secret-file atlas.secret --ttl 10m
  keyward tokens create --credential-file ci.key --resource doc/1 --action read --format jwt --audience tiles")]
    Create(Box<create::Create>),
    /// Tell whether a token or session is in force, and what it holds
    #[command(after_help = "Example:\n  keyward tokens introspect --token-file token.txt")]
    Introspect(introspect::Introspect),
    /// End a token or session; an unknown one is no error
    #[command(after_help = "\
Exit code 3 means that it may not yet be in force everywhere: run it again.

Example:
  keyward tokens revoke --token-file token.txt")]
    Revoke(Revoke),
    /// Show the public keys that verify our JWTs (with -o json, a JWK set); needs no key
    #[command(after_help = "Example:\n  keyward tokens jwks -o json")]
    Jwks,
}

/// End a token.
#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    token: TokenSource,
}

/// Where a command finds the token that it is about.
#[derive(Debug, Args)]
pub(super) struct TokenSource {
    /// A file with the token, `-` for standard input; one trailing line end is dropped [env: KEYWARD_TOKEN holds the
    /// token itself]
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
}

impl Tokens {
    /// Carries out the command.
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(options).await,
            Self::Introspect(introspect) => introspect.run(options).await,
            Self::Revoke(Revoke { token }) => revoke(token.token()?, options).await,
            Self::Jwks => jwks(options).await,
        }
    }
}

impl TokenSource {
    /// The token, if one is given.
    pub(super) fn find(&self) -> Result<Option<String>, Failure> {
        secret::read_or_environment(self.token_file.as_deref(), "KEYWARD_TOKEN")
    }

    /// The token, as it was presented.
    pub(super) fn token(&self) -> Result<String, Failure> {
        self.find()?.ok_or_else(|| {
            Failure::Usage("no token: give --token-file PATH (`-` is standard input) or KEYWARD_TOKEN".to_owned())
        })
    }
}

/// Ends the token or session with this text.
pub(super) async fn revoke(token: String, options: &ClientOptions) -> Result<(), Failure> {
    let (connection, mut service) = open(options).await?;
    let response = service.revoke_token(connection.request(RevokeTokenRequest { token })).await?.into_inner();
    options.output.reply(&response, || Fields::new().revision(response.revision).render())
}

async fn jwks(options: &ClientOptions) -> Result<(), Failure> {
    let connection = Connection::open_anonymous(options, ADMIN_SERVER).await?;
    let mut service = Service::new(connection.channel()).max_decoding_message_size(MAX_RESPONSE_BYTES);
    let response = service.get_jwks(connection.request(GetJwksRequest {})).await?.into_inner();
    match options.output {
        Format::Json => options.output.reply(&response, String::new),
        Format::Table => {
            options.output.list("keys", &response.keys, ["KEY ID", "TYPE", "CURVE", "ALG", "USE", "X"], |key| {
                [&key.kid, &key.kty, &key.crv, &key.alg, &key.r#use, &key.x].map(|text| or_dash(text))
            })
        }
    }
}

pub(super) type Service = TokenServiceClient<tonic::transport::Channel>;

pub(super) async fn open(options: &ClientOptions) -> Result<(Connection, Service), Failure> {
    let connection = Connection::open(options, ADMIN_SERVER).await?;
    let service = Service::new(connection.channel()).max_decoding_message_size(MAX_RESPONSE_BYTES);
    Ok((connection, service))
}
