//! `keyward keys`: API keys from issue to revocation. The verbs on one key are here, the rest in a file each.

mod create;
mod fields;
mod import;
mod leaked;
mod list;
mod pattern;
mod show;
mod update;
mod usage;

use clap::{Args, Subcommand, ValueEnum};

#[cfg(test)]
pub(super) use self::leaked::Lines;
use self::show::{text, text_with_secret};
use super::connect::{ADMIN_SERVER, Connection, MAX_RESPONSE_BYTES};
use super::failure::Failure;
use super::{ClientOptions, value};
use crate::proto::v1::key_service_client::KeyServiceClient;
use crate::proto::v1::{
    ActivateKeyRequest, DeleteKeyRequest, FinishKeyRotationRequest, GenerateSecretKeyRequest, GetKeyRequest,
    RevocationReason, RevokeKeyRequest, RotateKeyRequest, SuspendKeyRequest, UndeleteKeyRequest,
};

/// Issue, rotate, suspend, revoke and list API keys.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a regular key; its credential is shown once
    #[command(after_help = "\
Examples:
  keyward keys create ci --display-name CI --ttl 30d --grant 'doc/*=read,write' --label team=maps
  keyward keys create --owner ben --grant-table public.roads=select,insert --grant-api maps --allow-ip 192.0.2.0/24")]
    Create(Box<create::Create>),
    /// Show one key, without its secrets
    #[command(after_help = "Examples:\n  keyward keys get ci\n  keyward keys get tenants/acme/keys/ci -o json")]
    Get(One),
    /// List the keys of a tenant, a user or an application, oldest first
    #[command(after_help = "\
Fields of a filter: type, state, display_name, owner, labels.x and times; with =, <, >, AND and quoted strings. In
last_auth_time, a key that was never used is before every time. --unused-since is the filter
'last_auth_time < TIME AND create_time < TIME': keys that were there, and were not used since.

Examples:
  keyward keys list --owner ben
  keyward keys list --unused-since 2030-01-01
  keyward keys list --filter 'type = KEY_TYPE_REGULAR AND labels.team = \"maps\"' --limit 20")]
    List(list::List),
    /// Change a key; only what is given is changed
    #[command(after_help = "\
Lists (--allow-ip, --allow-referrer, --label, grants) replace what was there. The default public key's grants are set
here: that is how data is made public. To find it: keyward keys list --filter 'type = KEY_TYPE_DEFAULT_PUBLIC'

Examples:
  keyward keys update ci --grant 'doc/*=read' --clear-expire-time
  keyward keys update 0198c0de-… --grant-table public.roads=select")]
    Update(Box<update::Update>),
    /// Give a key a new secret, shown once; it keeps its name, grants, second secret and history
    #[command(after_help = "Examples:\n  keyward keys rotate ci\n  keyward keys rotate ci --overlap 1h")]
    Rotate(Rotate),
    /// End the overlap of a rotation now: only the newest secret goes on working
    #[command(after_help = "Example:\n  keyward keys finish-rotation ci")]
    FinishRotation(One),
    /// Give a key a second secret, shown once; Check requires it from then on
    #[command(after_help = "Example:\n  keyward keys generate-secret-key ci")]
    GenerateSecretKey(One),
    /// Refuse a key until it is activated again
    #[command(after_help = "Example:\n  keyward keys suspend ci")]
    Suspend(One),
    /// Let a suspended key work again
    #[command(after_help = "Example:\n  keyward keys activate ci")]
    Activate(One),
    /// End a key for good, with its tokens; when this succeeds, no replica allows it any more
    #[command(after_help = "\
Exit code 3 means that it may not yet be in force everywhere: run it again.

Example:
  keyward keys revoke ci --reason key-compromise")]
    Revoke(Revoke),
    /// Delete a key; it can be undeleted for 30 days
    #[command(after_help = "Example:\n  keyward keys delete ci")]
    Delete(One),
    /// Bring a deleted key back in the state that it had
    #[command(after_help = "Example:\n  keyward keys undelete ci")]
    Undelete(One),
    /// Count the Checks of a key, allowed and denied, hour by hour
    #[command(after_help = "\
Counts are written down about once a minute, and kept for 90 days. Denied is every Check that showed the key itself and
was refused, for whatever reason; Checks of tokens made from the key are not its own.

Examples:
  keyward keys usage ci
  keyward keys usage ci --start 2030-01-01 --end 2030-02-01 -o json")]
    Usage(usage::Usage),
    /// Find the key that a credential belongs to
    #[command(after_help = "Example:\n  keyward keys lookup --credential-file found.txt")]
    Lookup(leaked::Lookup),
    /// Take over keys from elsewhere, from a file of JSON lines or CSV
    #[command(after_help = import::HELP)]
    Import(import::Import),
    /// End leaked keys, tokens and sessions by their own text, one a line; needs no key
    #[command(after_help = "\
Unknown credentials are no error and are not told apart. The caller's key is not sent.

Examples:
  keyward keys revoke-credentials --file leaked.txt --reason key-compromise
  grep -oh 'kw_[0-9A-Za-z_]*' *.log | sort -u | keyward keys revoke-credentials --file -")]
    RevokeCredentials(leaked::RevokeCredentials),
    /// Print the regular expression and the checksum rule that secret scanners find our credentials by
    #[command(after_help = "\
Needs neither server nor key. Second secrets have no form of their own and are not found.

Examples:
  keyward keys pattern
  keyward keys pattern --prefix kw --prefix bolt -o json")]
    Pattern(pattern::Pattern),
}

/// One key.
#[derive(Debug, Args)]
pub struct One {
    /// `ci`, or `tenants/acme/keys/ci`
    #[arg(value_name = "NAME")]
    name: String,

    /// Fail unless the key still has this etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

/// Give a key a new secret.
#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    key: One,

    /// How long the old secret keeps working, such as 1h; never past the key's expiry [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = value::wire_duration)]
    overlap: Option<prost_types::Duration>,

    /// A UUID that makes a repetition within 24 h harmless
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

/// End a key for good.
#[derive(Debug, Args)]
pub struct Revoke {
    #[command(flatten)]
    key: One,

    /// Why; kept with the key and in the audit log
    #[arg(long, value_enum, value_name = "REASON", default_value_t)]
    reason: Why,
}

/// Why something is revoked, in the words of RFC 5280.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Why {
    /// The secret may be known to others
    KeyCompromise,
    /// Another key has taken its place
    Superseded,
    /// Its bearer may no longer do what it is for
    PrivilegeWithdrawn,
    /// What it was for has ended
    Cessation,
    /// Not told
    #[default]
    Unspecified,
}

impl Keys {
    /// Carries out the command.
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(options).await,
            Self::List(list) => list.run(options).await,
            Self::Update(update) => update.run(options).await,
            Self::Rotate(rotate) => rotate.run(options).await,
            Self::Usage(usage) => usage.run(options).await,
            Self::Lookup(lookup) => lookup.run(options).await,
            Self::RevokeCredentials(revoke) => revoke.run(options).await,
            Self::Pattern(pattern) => pattern.run(options),
            Self::Import(import) => import.run(options).await,
            Self::Get(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let response = service.get_key(connection.request(GetKeyRequest { name, etag })).await?.into_inner();
                options.output.reply(&response, || text(response.key.as_ref(), 0))
            }
            Self::FinishRotation(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(FinishKeyRotationRequest { name, etag });
                let response = service.finish_key_rotation(request).await?.into_inner();
                options.output.reply(&response, || text(response.key.as_ref(), response.revision))
            }
            Self::GenerateSecretKey(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(GenerateSecretKeyRequest { name, etag });
                let response = service.generate_secret_key(request).await?.into_inner();
                options.output.reply(&response, || {
                    text_with_secret(response.key.as_ref(), response.revision, "secret key", &response.secret_key)
                })
            }
            Self::Suspend(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(SuspendKeyRequest { name, etag });
                let response = service.suspend_key(request).await?.into_inner();
                options.output.reply(&response, || text(response.key.as_ref(), response.revision))
            }
            Self::Activate(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(ActivateKeyRequest { name, etag });
                let response = service.activate_key(request).await?.into_inner();
                options.output.reply(&response, || text(response.key.as_ref(), response.revision))
            }
            Self::Revoke(Revoke { key, reason }) => {
                let (name, etag) = key.target(options)?;
                let reason = RevocationReason::from(*reason).into();
                let (connection, mut service) = open(options).await?;
                let request = connection.request(RevokeKeyRequest { name, reason, etag });
                let response = service.revoke_key(request).await?.into_inner();
                options.output.reply(&response, || text(response.key.as_ref(), response.revision))
            }
            Self::Delete(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(DeleteKeyRequest { name, etag });
                let response = service.delete_key(request).await?.into_inner();
                options.output.reply(&response, || text(response.key.as_ref(), response.revision))
            }
            Self::Undelete(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(UndeleteKeyRequest { name, etag });
                let response = service.undelete_key(request).await?.into_inner();
                options.output.reply(&response, || text(response.key.as_ref(), response.revision))
            }
        }
    }
}

impl One {
    fn target(&self, options: &ClientOptions) -> Result<(String, String), Failure> {
        let name = value::resource_name(&options.tenant()?, "keys", &self.name).map_err(Failure::Usage)?;
        Ok((name, self.etag.clone().unwrap_or_default()))
    }
}

impl Rotate {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let (name, etag) = self.key.target(options)?;
        let request_id = self.request_id.clone().unwrap_or_default();
        let (connection, mut service) = open(options).await?;
        let request = RotateKeyRequest { name, overlap: self.overlap, request_id, etag };
        let response = service.rotate_key(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || {
            text_with_secret(response.key.as_ref(), response.revision, "credential", &response.credential)
        })
    }
}

impl From<Why> for RevocationReason {
    fn from(why: Why) -> Self {
        match why {
            Why::KeyCompromise => Self::KeyCompromise,
            Why::Superseded => Self::Superseded,
            Why::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
            Why::Cessation => Self::Cessation,
            Why::Unspecified => Self::Unspecified,
        }
    }
}

type Service = KeyServiceClient<tonic::transport::Channel>;

async fn open(options: &ClientOptions) -> Result<(Connection, Service), Failure> {
    let connection = Connection::open(options, ADMIN_SERVER).await?;
    let service = KeyServiceClient::new(connection.channel()).max_decoding_message_size(MAX_RESPONSE_BYTES);
    Ok((connection, service))
}
