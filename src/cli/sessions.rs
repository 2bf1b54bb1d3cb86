//! `keyward sessions`: signing in and out.

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output::{Fields, Paging, or_dash, with_secret};
use super::tokens::{self, TokenSource};
use super::{ClientOptions, sign_in, value};
use crate::proto::v1::{CreateSessionResponse, ListSessionsRequest};

/// Sign in and out.
#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// Sign --user in; the session token is shown once and serves as a key for 24 h
    #[command(after_help = "\
Asks for the password; scripts give --user-password-file or KEYWARD_PASSWORD. Where the email is known in several tenants,
--tenant says which.

Examples:
  keyward sessions create --user ana@acme.example
  keyward sessions create --user ana@acme.example --tenant acme --user-password-file - < password.txt")]
    Create,
    /// List the sessions in force, oldest first
    #[command(after_help = "\
Fields of a filter: user, create_time and expire_time; with =, <, >, AND and quoted strings.

Example:
  keyward sessions list --owner ben")]
    List(List),
    /// Sign a session out, by default the caller's own
    #[command(after_help = "\
Examples:
  keyward sessions revoke
  keyward sessions revoke --token-file session.txt")]
    Revoke(Revoke),
}

/// List sessions.
#[derive(Debug, Args)]
pub struct List {
    /// The user who signed in, `ben` or `tenants/acme/users/ben` [default: anyone]
    #[arg(long, value_name = "USER")]
    owner: Option<String>,

    /// Which ones, in a subset of AIP-160
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,

    #[command(flatten)]
    paging: Paging,
}

/// Sign a session out.
#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    token: TokenSource,
}

impl Sessions {
    /// Carries out the command.
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        match self {
            Self::Create => create(options).await,
            Self::List(list) => list.run(options).await,
            Self::Revoke(Revoke { token }) => {
                let own = || options.key()?.ok_or_else(nothing_to_end);
                let token = token.find()?.map_or_else(own, Ok)?;
                tokens::revoke(token, options).await
            }
        }
    }
}

fn nothing_to_end() -> Failure {
    Failure::Usage("which session? give --token-file PATH, KEYWARD_TOKEN, or the session as your key".to_owned())
}

async fn create(options: &ClientOptions) -> Result<(), Failure> {
    let (response, _) = sign_in::sign_in(options).await?;
    options.output.reply(&response, || text(&response))
}

fn text(response: &CreateSessionResponse) -> String {
    let session = response.session.as_ref();
    let fields = Fields::new()
        .text("name", session.map_or("", |session| &session.name))
        .text("user", session.map_or("", |session| &session.user))
        .time("created", session.and_then(|session| session.create_time.as_ref()))
        .time("expires", response.expire_time.as_ref())
        .text("uid", session.map_or("", |session| &session.uid))
        .revision(response.revision);
    with_secret(fields.render(), "session token", &response.session_token)
}

impl List {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let tenant = options.tenant()?;
        let parent = match &self.owner {
            Some(owner) => value::resource_name(&tenant, "users", owner).map_err(Failure::Usage)?,
            None => tenant,
        };
        let (connection, mut service) = tokens::open(options).await?;
        let fetch = async |page_size, page_token| {
            let filter = self.filter.clone().unwrap_or_default();
            let request = ListSessionsRequest { parent: parent.clone(), page_size, page_token, filter };
            let response = service.list_sessions(connection.request(request)).await?.into_inner();
            Ok((response.sessions, response.next_page_token))
        };
        let sessions = self.paging.collect(fetch).await?;
        options.output.list("sessions", &sessions, ["SESSION", "USER", "CREATED (UTC)", "EXPIRES (UTC)"], |session| {
            [
                value::id(&session.name).to_owned(),
                or_dash(value::within_tenant(&session.user)),
                value::time_column(session.create_time.as_ref()),
                value::time_column(session.expire_time.as_ref()),
            ]
        })
    }
}
