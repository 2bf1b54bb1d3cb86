//! `keyward users passwd`.

use std::path::PathBuf;

use clap::Args;

use super::{One, open, text};
use crate::cli::failure::Failure;
use crate::cli::{ClientOptions, secret, sign_in, value};
use crate::proto::v1::SetPasswordRequest;

/// Set a user's password.
#[derive(Debug, Args)]
pub struct Passwd {
    #[command(flatten)]
    user: One,

    /// A file with the new password, `-` for standard input; one trailing line end is dropped [env: KEYWARD_NEW_PASSWORD
    /// holds the password itself] [default: asks twice]
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,

    /// A file with the password so far, `-` for standard input; needed only by a session of the user's own [env:
    /// KEYWARD_CURRENT_PASSWORD holds the password itself] [default: the one that --user signed in with]
    #[arg(long, value_name = "PATH")]
    current_password_file: Option<PathBuf>,
}

impl Passwd {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let (name, etag) = self.user.target(options)?;
        let current = self.current_password_file.as_deref();
        let current = secret::read_or_environment(current, "KEYWARD_CURRENT_PASSWORD")?;
        // Whoever is to sign in first is asked for the old password before the new one.
        let (connection, mut service) = open(options).await?;
        let signed_in = options.session.get().and_then(|session| session.password_of(&name)).map(str::to_owned);
        let password = match secret::new_password(self.password_file.as_deref())? {
            Some(password) => password,
            None => sign_in::ask_twice(value::within_tenant(&name), "--password-file PATH or KEYWARD_NEW_PASSWORD")?
                .to_string(),
        };
        let current_password = current.or(signed_in).unwrap_or_default();
        let request = connection.request(SetPasswordRequest { name, password, current_password, etag });
        let response = service.set_password(request).await?.into_inner();
        options.output.reply(&response, || text(response.user.as_ref(), response.revision))
    }
}
