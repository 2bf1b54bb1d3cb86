//! THE COMMAND LINE: the client in the same binary as the server, a file per noun.
//!
//! Knows the contract (`proto`) and little else of Keyward: the form of credentials (`domain::credential`), the clock, and
//! `events verify`, which is the server's (`server/verify.rs`). It is a client like any other. What people read is a table,
//! what programs read is the proto3 JSON mapping of the responses (`-o json`). Answers and secrets go to standard output,
//! remarks, questions and errors to standard error or the terminal. Called by `main` only.

mod apps;
mod check;
mod connect;
mod descriptors;
mod doctor;
mod events;
mod failure;
mod grants;
mod health;
mod keys;
mod output;
mod replicas;
mod secret;
mod sessions;
mod sign_in;
mod tenants;
mod tokens;
mod users;
mod value;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::sync::OnceCell;

use self::output::Format;
use self::sign_in::SignedIn;

/// The client's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask whether a credential is good for what its bearer wants to do
    Check(check::Check),
    /// Make and manage tenants
    #[command(subcommand)]
    Tenants(tenants::Tenants),
    /// Manage the people of a tenant
    #[command(subcommand)]
    Users(users::Users),
    /// Issue, rotate, suspend, revoke and list API keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Register applications, which exchange an id and a secret for access tokens
    #[command(subcommand)]
    Apps(apps::Apps),
    /// Exchange secrets for access tokens, ask what tokens are worth, and end them
    #[command(subcommand)]
    Tokens(tokens::Tokens),
    /// Sign in by email and password, and out
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    /// Read the audit log
    #[command(subcommand)]
    Events(events::Events),
    /// See which servers share the database, and how they are
    #[command(subcommand)]
    Replicas(replicas::Replicas),
    /// Ask whether a server answers Checks
    Health(health::Health),
    /// Look for what is wrong with a deployment, and say how to mend it
    Doctor(doctor::Doctor),
    /// Write the contract as an encoded google.protobuf.FileDescriptorSet
    Descriptors(descriptors::Descriptors),
}

/// How the client finds the server, who it is, and how it prints.
#[derive(Args)]
pub struct ClientOptions {
    /// Where the server listens: HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:PATH [default: 127.0.0.1:50051
    /// for check, 127.0.0.1:50052 for the rest]
    #[arg(long, global = true, env = "KEYWARD_SERVER", value_name = "ADDRESS", help_heading = HEADING)]
    server: Option<String>,

    #[command(flatten)]
    tls: connect::TlsOptions,

    /// The caller's credential; others on this machine can read arguments, so prefer --key-file or the environment
    #[arg(long, global = true, env = "KEYWARD_KEY", hide_env_values = true, value_name = "CREDENTIAL", help_heading = HEADING)]
    key: Option<String>,

    /// A file with the caller's credential, `-` for standard input; goes before --key
    #[arg(long, global = true, value_name = "PATH", help_heading = HEADING)]
    key_file: Option<PathBuf>,

    /// A file with the second secret of the caller's key, `-` for standard input [env: KEYWARD_SECRET_KEY holds the
    /// secret itself]
    #[arg(long, global = true, value_name = "PATH", help_heading = HEADING)]
    secret_key_file: Option<PathBuf>,

    /// Who signs in where no key is given, by email: asks for the password, uses a session for this one command, and
    /// signs out
    #[arg(long, global = true, value_name = "EMAIL", help_heading = HEADING)]
    user: Option<String>,

    /// A file with the password of --user, `-` for standard input [env: KEYWARD_PASSWORD holds the password itself]
    #[arg(long, global = true, value_name = "PATH", help_heading = HEADING)]
    user_password_file: Option<PathBuf>,

    /// The session of --user, once a request needed one.
    #[arg(skip)]
    session: OnceCell<SignedIn>,

    /// The tenant, `acme` or `tenants/acme` [default: the caller's own; for check, any]
    #[arg(long, global = true, env = "KEYWARD_TENANT", value_name = "TENANT", help_heading = HEADING)]
    tenant: Option<String>,

    /// What to print: a table for people or JSON for programs
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = HEADING)]
    output: Format,

    /// How long to wait for the connection, and then for each answer, such as 5s or 2m
    #[arg(long, global = true, default_value = "30s", value_parser = value::duration, value_name = "DURATION", help_heading = HEADING)]
    timeout: Duration,
}

/// Carries out one command and prints what came of it.
///
/// `check` exits with 0 when allowed, 1 when denied and 2 when nothing could be decided. Every other command exits with
/// 0 when done, 1 when the server refused, 2 when the command line or a file cannot be used, and 3 when the server could
/// not be reached or did not answer in time.
pub async fn run(command: Command, options: ClientOptions) -> ExitCode {
    let code = carry_out(&command, &options).await;
    sign_in::sign_out(&options).await;
    code
}

async fn carry_out(command: &Command, options: &ClientOptions) -> ExitCode {
    let done = match command {
        Command::Check(check) => return check.run(options).await,
        Command::Tenants(tenants) => tenants.run(options).await,
        Command::Users(users) => users.run(options).await,
        Command::Keys(keys) => keys.run(options).await,
        Command::Apps(apps) => apps.run(options).await,
        Command::Tokens(tokens) => tokens.run(options).await,
        Command::Sessions(sessions) => sessions.run(options).await,
        Command::Events(events) => events.run(options).await,
        Command::Replicas(replicas) => replicas.run(options).await,
        Command::Health(health) => health.run(options).await,
        Command::Doctor(doctor) => doctor.run(options).await,
        Command::Descriptors(descriptors) => descriptors.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.exit_code())
        }
    }
}

const HEADING: &str = "Client options";

impl fmt::Debug for ClientOptions {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("server", &self.server)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl ClientOptions {
    /// The key that was given, if one was.
    fn key(&self) -> Result<Option<String>, failure::Failure> {
        match self.key_file.as_deref() {
            Some(path) => secret::read(path).map(Some),
            None => Ok(self.key.clone().filter(|key| !key.is_empty())),
        }
    }

    /// The second secret of that key, if one was given.
    fn secret_key(&self) -> Result<Option<String>, failure::Failure> {
        secret::read_or_environment(self.secret_key_file.as_deref(), "KEYWARD_SECRET_KEY")
    }

    /// The tenant to work in, as a full name.
    fn tenant(&self) -> Result<String, failure::Failure> {
        Ok(self.chosen_tenant()?.unwrap_or_else(|| "tenants/-".to_owned()))
    }

    /// The tenant that was asked for, as a full name. An empty one is refused, not taken for none: it would widen.
    fn chosen_tenant(&self) -> Result<Option<String>, failure::Failure> {
        self.tenant.as_deref().map(value::tenant_name).transpose().map_err(failure::Failure::Usage)
    }
}

#[cfg(test)]
mod tests;
