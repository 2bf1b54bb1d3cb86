//! What is printed: tables for people, the proto3 JSON mapping for programs, remarks on standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::LazyLock;

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use prost_reflect::{DescriptorPool, DynamicMessage};
use prost_types::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::failure::Failure;
use super::value::time_text;
use crate::proto::{FILE_DESCRIPTOR_SET, v1};

/// What to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs: the proto3 JSON mapping of the responses
    Json,
}

/// Which pages of a list, and how many.
#[derive(Debug, Args)]
pub(super) struct Paging {
    /// At most so many in all [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// How many to ask the server for at a time
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(i32).range(1..=1000))]
    page_size: i32,
}

/// A message that JSON can be made of, by its name in the contract.
pub(super) trait Named: prost::Message {
    /// The full name.
    const NAME: &'static str;
}

macro_rules! named {
    ($($message:ident)*) => {
        $(impl Named for v1::$message {
            const NAME: &'static str = concat!("keyward.v1.", stringify!($message));
        })*
    };
}

named! {
    CheckResponse
    Tenant CreateTenantResponse GetTenantResponse UpdateTenantResponse
    SuspendTenantResponse ActivateTenantResponse DeleteTenantResponse
    User CreateUserResponse GetUserResponse UpdateUserResponse
    SuspendUserResponse ActivateUserResponse DeleteUserResponse RotateMasterKeyResponse SetPasswordResponse
    Key CreateKeyResponse GetKeyResponse UpdateKeyResponse RotateKeyResponse FinishKeyRotationResponse
    GenerateSecretKeyResponse SuspendKeyResponse ActivateKeyResponse RevokeKeyResponse DeleteKeyResponse
    UndeleteKeyResponse LookupKeyResponse RevokeCredentialsResponse GetKeyUsageResponse
    Application CreateApplicationResponse VerifyApplicationResponse ResendVerificationResponse GetApplicationResponse
    UpdateApplicationResponse RotateApplicationSecretResponse RevokeApplicationResponse ActivateApplicationResponse
    DeleteApplicationResponse
    CreateTokenResponse IntrospectTokenResponse RevokeTokenResponse GetJwksResponse Jwk
    Session CreateSessionResponse
    Event
    Replica GetStatusResponse DiagnoseResponse Finding
}

impl Format {
    /// Prints one response.
    pub(super) fn reply<M: Named>(self, message: &M, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = match self {
            Self::Table => text(),
            Self::Json => json(&dynamic(&descriptors()?, message)?)?,
        };
        print(&text)
    }

    /// Prints what is no response of the server.
    pub(super) fn value(self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = match self {
            Self::Table => text(),
            Self::Json => json(value)?,
        };
        print(&text)
    }

    /// Prints counts: `imported 3, refused 1`, or an object.
    pub(super) fn counts(self, counts: &[(&'static str, u64)]) -> Result<(), Failure> {
        let text = match self {
            Self::Table => counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", "),
            Self::Json => json(&counts.iter().copied().collect::<std::collections::BTreeMap<_, _>>())?,
        };
        print(&text)
    }

    /// Prints a list: a row each, or one object with all of them under `field`.
    pub(super) fn list<M: Named, const N: usize>(
        self,
        field: &'static str,
        items: &[M],
        header: [&str; N],
        row: impl Fn(&M) -> [String; N],
    ) -> Result<(), Failure> {
        let text = match self {
            Self::Table if items.is_empty() => {
                remark(&format!("no {field}"));
                return Ok(());
            }
            Self::Table => table(header, items.iter().map(row)),
            Self::Json => {
                let pool = descriptors()?;
                let items = items.iter().map(|item| dynamic(&pool, item)).collect::<Result<_, _>>()?;
                json(&List { field, items })?
            }
        };
        match print(&text) {
            // `| head` has seen enough.
            Err(failure) if failure.is_broken_pipe() => Ok(()),
            printed => printed,
        }
    }
}

/// Messages as JSON, a line each.
pub(super) struct Lines(DescriptorPool);

impl Lines {
    pub(super) fn new() -> Result<Self, Failure> {
        descriptors().map(Self)
    }

    /// Prints one message; whoever reads has it at once.
    pub(super) fn print<M: Named>(&self, message: &M) -> Result<(), Failure> {
        let text = serde_json::to_string(&dynamic(&self.0, message)?);
        print(&text.map_err(|error| Failure::Broken(format!("cannot print as JSON: {error}")))?)
    }
}

impl Paging {
    /// Fetches pages by size and token until there are no more, or the limit is reached.
    pub(super) async fn collect<T>(
        &self,
        mut fetch: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Failure>,
    ) -> Result<Vec<T>, Failure> {
        let limit = self.limit.unwrap_or(usize::MAX);
        let mut items = Vec::new();
        let mut token = String::new();
        while items.len() < limit {
            let missing = i32::try_from(limit - items.len()).unwrap_or(i32::MAX);
            let (page, next_token) = fetch(self.page_size.min(missing), token.clone()).await?;
            items.extend(page);
            if next_token.is_empty() {
                return Ok(items);
            }
            if next_token == token {
                return Err(Failure::Broken("the server gives the same page again".to_owned()));
            }
            token = next_token;
        }
        items.truncate(limit);
        remark(&format!("there are more than --limit {limit}"));
        Ok(items)
    }
}

/// Two columns about one thing; what is empty is left out.
pub(super) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Something in a line of text.
    pub(super) fn text(self, label: &'static str, value: &str) -> Self {
        self.lines(label, plain(value))
    }

    /// Something that may have several lines, each of them plain.
    pub(super) fn lines(mut self, label: &'static str, value: String) -> Self {
        if !value.is_empty() {
            self.0.push((label, value));
        }
        self
    }

    /// Several things, a line each.
    pub(super) fn each<'a>(self, label: &'static str, values: impl IntoIterator<Item = &'a String>) -> Self {
        let values: Vec<String> = values.into_iter().map(|value| plain(value)).collect();
        self.lines(label, values.join("\n"))
    }

    /// Names and values, a line each.
    pub(super) fn pairs<'a>(
        self,
        label: &'static str,
        pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| plain(&format!("{name}={value}"))).collect();
        self.lines(label, pairs.join("\n"))
    }

    /// A point in time.
    pub(super) fn time(self, label: &'static str, value: Option<&Timestamp>) -> Self {
        self.lines(label, value.map(time_text).unwrap_or_default())
    }

    /// A revision; zero is none.
    pub(super) fn revision(self, revision: i64) -> Self {
        if revision == 0 { self } else { self.lines("revision", revision.to_string()) }
    }

    /// The table.
    pub(super) fn render(self) -> String {
        let mut table = new_table();
        for (label, value) in self.0 {
            table.add_row([label.to_owned(), value]);
        }
        render(table)
    }
}

/// A secret's line after what else is shown; its absence is remarked upon.
pub(super) fn with_secret(text: String, what: &str, secret: &str) -> String {
    if secret.is_empty() {
        remark(&format!("the {what} was shown the first time this request id was used; rotate for a new one"));
        return text;
    }
    format!("{text}\n\n{what} (shown once): {secret}")
}

/// The name of an enum's value without what all its values begin with; a number for one that this client does not know.
pub(super) fn word<E: TryFrom<i32>>(value: i32, name: impl Fn(&E) -> &'static str, prefix: &str) -> String {
    match E::try_from(value) {
        Ok(known) => name(&known).strip_prefix(prefix).unwrap_or_else(|| name(&known)).to_owned(),
        Err(_) => value.to_string(),
    }
}

/// A dash for what is empty, so that columns can be told apart.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// One line that cannot steer a terminal, whoever wrote it.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_bidi(c) { '\u{fffd}' } else { c }).collect()
}

/// Tells standard error; that it may be closed is no reason to fail.
pub(super) fn remark(text: &impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn is_bidi(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Prints a line to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()?;
    Ok(())
}

/// No colours and no lines, so that other tools can read it.
fn new_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

/// Rows below a header.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = new_table();
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    render(table)
}

/// Columns that begin at the line's start.
fn render(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

struct List {
    field: &'static str,
    items: Vec<DynamicMessage>,
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.field, &self.items)?;
        map.end()
    }
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::Broken(format!("cannot print as JSON: {error}")))
}

fn dynamic<M: Named>(pool: &DescriptorPool, message: &M) -> Result<DynamicMessage, Failure> {
    let broken = |cause: String| Failure::Broken(format!("cannot print {} as JSON: {cause}", M::NAME));
    let descriptor = pool.get_message_by_name(M::NAME).ok_or_else(|| broken("it is not in the contract".to_owned()))?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).map_err(|error| broken(error.to_string()))?;
    Ok(dynamic)
}

/// The contract, decoded once: it takes far longer than what it is asked for.
pub(super) fn descriptors() -> Result<DescriptorPool, Failure> {
    static POOL: LazyLock<Result<DescriptorPool, String>> =
        LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(|error| error.to_string()));
    POOL.clone().map_err(|error| Failure::Broken(format!("the embedded contract cannot be read: {error}")))
}
