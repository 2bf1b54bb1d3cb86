//! A session for one command: signs `--user` in when a request needs a caller and no key is given, and out at the end.

use std::fmt;
use std::io::{self, IsTerminal as _};

use prost_types::Timestamp;
use zeroize::Zeroizing;

use super::connect::{ADMIN_SERVER, Connection};
use super::failure::Failure;
use super::output::remark;
use super::value::time_text;
use super::{ClientOptions, secret};
use crate::proto::v1::token_service_client::TokenServiceClient;
use crate::proto::v1::{CreateSessionRequest, CreateSessionResponse, RevokeTokenRequest};

/// Who signed in, and the secrets that it took and gave.
pub(super) struct SignedIn {
    token: Zeroizing<String>,
    password: Zeroizing<String>,
    /// The user's full name.
    user: String,
    expire_time: Option<Timestamp>,
}

impl fmt::Debug for SignedIn {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedIn").field("user", &self.user).finish_non_exhaustive()
    }
}

impl SignedIn {
    /// The session's credential.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The password, if `name` is who signed in with it; `tenants/-` is that user's own tenant.
    pub(super) fn password_of(&self, name: &str) -> Option<&str> {
        let is_own = match name.strip_prefix("tenants/-/") {
            Some(inner) => super::value::within_tenant(&self.user) == inner,
            None => self.user == name,
        };
        is_own.then_some(self.password.as_str())
    }
}

/// The session of `--user`, made when it is first asked for; none without that option.
pub(super) async fn session(options: &ClientOptions) -> Result<Option<&SignedIn>, Failure> {
    if options.user.is_none() {
        return Ok(None);
    }
    options
        .session
        .get_or_try_init(async || {
            let (response, password) = sign_in(options).await?;
            let user = response.session.map(|session| session.user).unwrap_or_default();
            let token = Zeroizing::new(response.session_token);
            Ok(SignedIn { token, password, user, expire_time: response.expire_time })
        })
        .await
        .map(Some)
}

/// Signs `--user` in: what the server answered, and the password.
pub(super) async fn sign_in(options: &ClientOptions) -> Result<(CreateSessionResponse, Zeroizing<String>), Failure> {
    let email = options.user.clone().ok_or_else(|| Failure::Usage("who signs in? give --user EMAIL".to_owned()))?;
    let tenant = options.chosen_tenant()?.unwrap_or_default();
    let password = match secret::read_or_environment(options.user_password_file.as_deref(), "KEYWARD_PASSWORD")? {
        Some(password) => Zeroizing::new(password),
        None => ask(&format!("Password of {email}: "), "--user-password-file PATH or KEYWARD_PASSWORD")?,
    };
    let connection = Connection::open_anonymous(options, ADMIN_SERVER).await?;
    let request = CreateSessionRequest { email, password: password.to_string(), tenant };
    let response = TokenServiceClient::new(connection.channel()).create_session(connection.request(request)).await?;
    Ok((response.into_inner(), password))
}

/// Ends the session that a command made for itself, if it did. That this fails is no failure of the command.
pub(super) async fn sign_out(options: &ClientOptions) {
    let Some(session) = options.session.get() else { return };
    match end(options, session).await {
        Ok(()) => {}
        // It has been ended by what was done, such as a change of the password.
        Err(failure) if failure.is_unauthenticated() => {}
        Err(failure) => {
            let until = session.expire_time.as_ref().map(time_text).unwrap_or_else(|| "its end".to_owned());
            remark(&format!("warning: not signed out, so that the session lives until {until}: {failure}"));
        }
    }
}

async fn end(options: &ClientOptions, session: &SignedIn) -> Result<(), Failure> {
    let connection = Connection::open_anonymous(options, ADMIN_SERVER).await?.bearing(session.token())?;
    let request = connection.request(RevokeTokenRequest { token: session.token().to_owned() });
    TokenServiceClient::new(connection.channel()).revoke_token(request).await?;
    Ok(())
}

/// Asks at the terminal, without echo. Who has none is told what to give `instead`.
pub(super) fn ask(question: &str, instead: &str) -> Result<Zeroizing<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("no terminal to ask for the password: give {instead}")));
    }
    let question = super::output::plain(question);
    let answer = rpassword::prompt_password(question)
        .map_err(|error| Failure::Usage(format!("cannot ask for the password: {error}; give {instead}")))?;
    Ok(Zeroizing::new(answer))
}

/// Asks for a new password twice.
pub(super) fn ask_twice(whose: &str, instead: &str) -> Result<Zeroizing<String>, Failure> {
    let first = ask(&format!("New password of {whose}: "), instead)?;
    let second = ask("The same again: ", instead)?;
    if *first != *second {
        return Err(Failure::Usage("the two passwords differ; nothing was changed".to_owned()));
    }
    Ok(first)
}
