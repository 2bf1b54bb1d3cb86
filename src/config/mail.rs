//! How mail leaves: into a folder, or to an SMTP server. The server's URL and password are secrets.

use super::ServeArgs;
use crate::error::Violation;
use lettre::message::Mailbox;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use zeroize::Zeroizing;

/// The folder that is written to if nothing is said: beside the database, else where the server was started.
const DEFAULT_FOLDER: &str = "keyward-mail";
const DEFAULT_FROM: &str = "Keyward <keyward@localhost>";

/// An SMTP server's URL as it was given: a secret, since it may hold a password. Overwritten when dropped.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct SmtpUrl(Zeroizing<String>);

impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmtpUrl(…)")
    }
}

impl From<String> for SmtpUrl {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl FromStr for SmtpUrl {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.to_owned().into())
    }
}

/// How mail leaves, checked.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// Whom it is from, in the form of a mail's header.
    pub from: String,
    /// Where it goes.
    pub route: MailRoute,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self { from: DEFAULT_FROM.to_owned(), route: MailRoute::Folder(PathBuf::from(DEFAULT_FOLDER)) }
    }
}

/// Where mail goes.
#[derive(Clone, Debug)]
pub enum MailRoute {
    /// Into this folder, a file each.
    Folder(PathBuf),
    /// To this server.
    Smtp(Box<SmtpServer>),
}

/// When a connection to an SMTP server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// From its first byte: `smtps:`.
    Always,
    /// By STARTTLS, or nothing is sent.
    Required,
    /// By STARTTLS if the server has it.
    Opportunistic,
    /// Never.
    Never,
}

/// An SMTP server, and what is needed to speak to it.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpServer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// When the connection is encrypted.
    pub tls: SmtpTls,
    /// The only authorities that its certificate may come from, in PEM; the system's if none.
    pub ca_file: Option<PathBuf>,
    /// The account, if it asks for one.
    pub account: Option<SmtpAccount>,
}

/// A user name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpAccount {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for SmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpServer").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl fmt::Debug for SmtpAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmtpAccount(…)")
    }
}

/// What is said about mail by `args` and, where they are silent, by `file`. Where the mail goes is one choice: a
/// flag about it goes before both that the file may make.
pub(super) fn checked(broken: &mut Vec<Violation>, args: &ServeArgs, file: &ServeArgs, beside: &Path) -> MailConfig {
    match chosen(args, file, beside) {
        Ok(mail) => mail,
        Err(violations) => {
            broken.extend(violations);
            MailConfig::default()
        }
    }
}

fn chosen(args: &ServeArgs, file: &ServeArgs, beside: &Path) -> Refusable<MailConfig> {
    let from = args.mail_from.as_deref().or(file.mail_from.as_deref()).unwrap_or(DEFAULT_FROM);
    if from.parse::<Mailbox>().is_err() {
        let rule = "must be an address such as keyward@example.com or Keyward <keyward@example.com>";
        return Err(refused("--mail-from", rule));
    }
    let is_flagged = args.mail_dir.is_some() || args.smtp_url.is_some();
    let chosen = if is_flagged { args } else { file };
    let password_file = args.smtp_password_file.as_deref().or(file.smtp_password_file.as_deref());
    let ca_file = args.smtp_ca_file.as_deref().or(file.smtp_ca_file.as_deref());
    let route = match (&chosen.mail_dir, &chosen.smtp_url) {
        (Some(_), Some(_)) => {
            return Err(vec![
                Violation::new("--mail-dir", "must not be given with --smtp-url: mail goes one way"),
                Violation::new("--smtp-url", "must not be given with --mail-dir: mail goes one way"),
            ]);
        }
        (None, Some(url)) => MailRoute::Smtp(Box::new(server(url, password_file, ca_file)?)),
        (folder, None) => {
            // The file's may be there for its own --smtp-url, which a flag has put aside.
            let password = ("--smtp-password-file", &args.smtp_password_file, &file.smtp_password_file);
            let ca = ("--smtp-ca-file", &args.smtp_ca_file, &file.smtp_ca_file);
            for (flag, in_args, in_file) in [password, ca] {
                if in_args.is_some() || (!is_flagged && in_file.is_some()) {
                    return Err(refused(flag, "must not be given without --smtp-url"));
                }
            }
            MailRoute::Folder(folder.clone().unwrap_or_else(|| beside.join(DEFAULT_FOLDER)))
        }
    };
    Ok(MailConfig { from: from.to_owned(), route })
}

/// A value, or the rules that are broken.
type Refusable<T> = Result<T, Vec<Violation>>;

fn refused(flag: &str, rule: impl Into<String>) -> Vec<Violation> {
    vec![Violation::new(flag, rule)]
}

const FORM: &str = "must be smtp://[USER[:PASSWORD]@]HOST[:PORT][?tls=required|opportunistic|none] or smtps://…";

/// The parts of the URL, with the password from its file. What is refused is not repeated.
fn server(url: &SmtpUrl, password_file: Option<&Path>, ca_file: Option<&Path>) -> Refusable<SmtpServer> {
    let refuse = |rule: &str| refused("--smtp-url", rule);
    let uri: http::Uri = url.0.parse().map_err(|_| refuse(FORM))?;
    let authority = uri.authority().ok_or_else(|| refuse(FORM))?.as_str();
    let (user_info, _) = authority.rsplit_once('@').unwrap_or_default();
    let host = uri.host().ok_or_else(|| refuse(FORM))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
    // The library lets brackets stand anywhere, with nothing in them too.
    if host.is_empty() || host.contains(['[', ']']) {
        return Err(refuse(FORM));
    }
    if !matches!(uri.path(), "" | "/") {
        return Err(refuse(FORM));
    }
    let (tls, usual_port) = match (uri.scheme_str(), uri.query()) {
        (Some("smtps"), None) => (SmtpTls::Always, 465),
        (Some("smtp"), None | Some("tls=required")) => (SmtpTls::Required, 587),
        (Some("smtp"), Some("tls=opportunistic")) => (SmtpTls::Opportunistic, 587),
        (Some("smtp"), Some("tls=none")) => (SmtpTls::Never, 25),
        _ => return Err(refuse(FORM)),
    };
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let has_port = uri.host() != Some(place);
    let port = if has_port { uri.port_u16().ok_or_else(|| refuse(FORM))? } else { usual_port };
    let (user, in_url) = match user_info.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user_info, None),
    };
    let decoded = |text: &str| percent_decoded(text).ok_or_else(|| refuse(FORM));
    let account = match (user, in_url, password_file) {
        ("", None, None) => None,
        ("", _, _) => return Err(refuse("must name the user whose password is given")),
        (_, Some(_), Some(_)) => {
            return Err(refuse("must not hold a password when --smtp-password-file is given"));
        }
        (_, None, None) => return Err(refuse("names a user: give the password by --smtp-password-file")),
        (user, Some(password), None) => Some((decoded(user)?, decoded(password)?)),
        (user, None, Some(path)) => Some((decoded(user)?, read_password(path)?)),
    };
    let account = account.map(|(user, password)| SmtpAccount { user, password: Zeroizing::new(password) });
    let is_clear = matches!(tls, SmtpTls::Opportunistic | SmtpTls::Never);
    if account.is_some() && is_clear && !matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1") {
        return Err(refuse("would send a password in the clear: use smtps: or tls=required"));
    }
    if ca_file.is_some() && tls == SmtpTls::Never {
        return Err(refused("--smtp-ca-file", "must not be given with tls=none"));
    }
    Ok(SmtpServer { host, port, tls, ca_file: ca_file.map(Path::to_owned), account })
}

fn read_password(path: &Path) -> Refusable<String> {
    let refuse = |rule: String| refused("--smtp-password-file", rule);
    let text =
        std::fs::read_to_string(path).map_err(|error| refuse(format!("{} cannot be read: {error}", path.display())))?;
    let text = Zeroizing::new(text);
    let password = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if password.is_empty() {
        return Err(refuse(format!("{} is empty", path.display())));
    }
    Ok(password.to_owned())
}

/// Text with each `%XX` replaced by its byte.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()?.checked_mul(16)?.checked_add(digit()?)?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
