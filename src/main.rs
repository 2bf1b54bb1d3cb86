//! Parses the command line and runs what it asks for.

use clap::{Parser, Subcommand};
use keyward::cli::{self, ClientOptions};
use keyward::config::ServeArgs;
use keyward::server::{self, AdoptArgs, MigrateArgs, RootArgs, SigningKeyArgs};
use std::error::Error as _;
use std::process::ExitCode;

/// Issues, rotates, suspends, revokes and checks API keys; a revoked key is revoked everywhere.
#[derive(Debug, Parser)]
#[command(name = "keyward", version)]
struct Arguments {
    #[command(flatten)]
    client: ClientOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<ServeArgs>),
    /// Bring the schema of a database up to date; serve does so too
    Migrate(MigrateArgs),
    /// Have replicas follow a database that was restored, or lost commits in a fail-over
    Adopt(AdoptArgs),
    /// Manage the root credential, offline
    #[command(subcommand)]
    Root(RootArgs),
    /// Manage the keys that sign JWTs, offline
    #[command(subcommand, name = "signing-key")]
    SigningKey(SigningKeyArgs),
    #[command(flatten)]
    Client(cli::Command),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One provider for all TLS. Fails only where one is installed already, and then this one is.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match arguments.command {
        Command::Serve(args) => server::serve(*args).await,
        Command::Migrate(args) => server::migrate(args).await,
        Command::Adopt(args) => server::adopt(args).await,
        Command::Root(args) => server::root(args).await,
        Command::SigningKey(args) => server::signing_key(args).await,
        Command::Client(command) => return cli::run(command, arguments.client).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.source() {
                Some(cause) => eprintln!("keyward: {error}: {cause}"),
                None => eprintln!("keyward: {error}"),
            }
            ExitCode::FAILURE
        }
    }
}
