//! `keyward tokens introspect`.

use clap::Args;

use super::{TokenSource, open};
use crate::cli::ClientOptions;
use crate::cli::check::with_principal;
use crate::cli::failure::Failure;
use crate::cli::output::{Fields, plain};
use crate::proto::v1::{IntrospectTokenRequest, IntrospectTokenResponse};

/// Tell what a token is worth.
#[derive(Debug, Args)]
pub struct Introspect {
    #[command(flatten)]
    token: TokenSource,
}

impl Introspect {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let token = self.token.token()?;
        let (connection, mut service) = open(options).await?;
        let request = connection.request(IntrospectTokenRequest { token });
        let response = service.introspect_token(request).await?.into_inner();
        options.output.reply(&response, || text(&response))
    }
}

fn text(response: &IntrospectTokenResponse) -> String {
    let permissions = response.permissions.iter().map(|held| plain(&format!("{} on {}", held.action, held.resource)));
    let fields = Fields::new()
        .text("active", if response.active() { "yes" } else { "no" })
        .lines("permissions", permissions.collect::<Vec<_>>().join("\n"));
    with_principal(fields, response.principal.as_ref()).time("expires", response.expire_time.as_ref()).render()
}
