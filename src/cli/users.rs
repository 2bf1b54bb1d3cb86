//! `keyward users`: the people of a tenant.

mod passwd;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::connect::{ADMIN_SERVER, Connection, MAX_RESPONSE_BYTES};
use super::failure::Failure;
use super::output::{Fields, Paging, or_dash, with_secret, word};
use super::{ClientOptions, secret, value};
use crate::proto::v1::user_service_client::UserServiceClient;
use crate::proto::v1::{
    ActivateUserRequest, CreateUserRequest, DeleteUserRequest, GetUserRequest, ListUsersRequest,
    RotateMasterKeyRequest, SuspendUserRequest, UpdateUserRequest, User, UserRole, UserState,
};

/// Manage the people of a tenant.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// Make a user with a master key
    #[command(after_help = "\
The master credential is shown once.

Example:
  keyward users create ben --email ben@acme.example --role admin --tenant acme --password-file password.txt")]
    Create(Create),
    /// Show one user
    #[command(after_help = "Example:\n  keyward users get ben")]
    Get(One),
    /// List the users that the caller may see, oldest first
    #[command(after_help = "Example:\n  keyward users list --filter 'role = USER_ROLE_OWNER'")]
    List(List),
    /// Change a user; only what is given is changed
    #[command(after_help = "Example:\n  keyward users update ben --role member --family-name ''")]
    Update(Update),
    /// Refuse a user, with all keys, applications and sessions, until activated again
    #[command(after_help = "Example:\n  keyward users suspend ben")]
    Suspend(One),
    /// Let a suspended user work again
    #[command(after_help = "Example:\n  keyward users activate ben")]
    Activate(One),
    /// Delete a user; what the user owns is refused, and the id is never reused
    #[command(after_help = "Example:\n  keyward users delete ben")]
    Delete(One),
    /// Give a user's master key a new secret, shown once; the old one stops working at once
    #[command(after_help = "Example:\n  keyward users rotate-master-key ben")]
    RotateMasterKey(RotateMasterKey),
    /// Set a user's password, asking for it twice; it ends that user's sessions
    #[command(after_help = "\
Examples:
  keyward users passwd ben
  keyward users passwd ben --user ben@acme.example --tenant acme
  keyward users passwd ben --password-file - < password.txt")]
    Passwd(passwd::Passwd),
}

/// Make a user.
#[derive(Debug, Args)]
pub struct Create {
    /// The last part of its name [default: chosen by the server]
    #[arg(value_name = "USER_ID")]
    id: Option<String>,

    /// The email, unique in the tenant [default: none; one is needed to sign in]
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,

    /// The given name
    #[arg(long, value_name = "NAME")]
    given_name: Option<String>,

    /// The family name
    #[arg(long, value_name = "NAME")]
    family_name: Option<String>,

    /// What the user may manage [default: member]
    #[arg(long, value_enum, value_name = "ROLE")]
    role: Option<Role>,

    /// A file with the password to sign in with, `-` for standard input [env: KEYWARD_NEW_PASSWORD holds the password
    /// itself] [default: none; `users passwd` sets one]
    #[arg(long, value_name = "PATH")]
    password_file: Option<PathBuf>,

    /// A UUID that makes a repetition within 24 h harmless
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

/// One user.
#[derive(Debug, Args)]
pub struct One {
    /// `ben`, or `tenants/acme/users/ben`
    #[arg(value_name = "NAME")]
    name: String,

    /// Fail unless the user still has this etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

/// List users.
#[derive(Debug, Args)]
pub struct List {
    /// Which ones: email, role, state and times, in a subset of AIP-160
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,

    /// Deleted ones too
    #[arg(long)]
    show_deleted: bool,

    #[command(flatten)]
    paging: Paging,
}

/// Change a user.
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    user: One,

    /// The email, unique in the tenant
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,

    /// The given name; may be empty
    #[arg(long, value_name = "NAME")]
    given_name: Option<String>,

    /// The family name; may be empty
    #[arg(long, value_name = "NAME")]
    family_name: Option<String>,

    /// What the user may manage
    #[arg(long, value_enum, value_name = "ROLE")]
    role: Option<Role>,
}

/// Give a master key a new secret.
#[derive(Debug, Args)]
pub struct RotateMasterKey {
    #[command(flatten)]
    user: One,

    /// A UUID that makes a repetition within 24 h harmless
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

/// What a user may manage.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Role {
    /// The whole tenant, other owners included
    Owner,
    /// The whole tenant but its owners
    Admin,
    /// Itself and what it owns
    Member,
}

impl Users {
    /// Carries out the command.
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(options).await,
            Self::Get(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let response = service.get_user(connection.request(GetUserRequest { name, etag })).await?.into_inner();
                options.output.reply(&response, || text(response.user.as_ref(), 0))
            }
            Self::List(list) => list.run(options).await,
            Self::Update(update) => update.run(options).await,
            Self::Suspend(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(SuspendUserRequest { name, etag });
                let response = service.suspend_user(request).await?.into_inner();
                options.output.reply(&response, || text(response.user.as_ref(), response.revision))
            }
            Self::Activate(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(ActivateUserRequest { name, etag });
                let response = service.activate_user(request).await?.into_inner();
                options.output.reply(&response, || text(response.user.as_ref(), response.revision))
            }
            Self::Delete(one) => {
                let (name, etag) = one.target(options)?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(DeleteUserRequest { name, etag });
                let response = service.delete_user(request).await?.into_inner();
                options.output.reply(&response, || text(response.user.as_ref(), response.revision))
            }
            Self::RotateMasterKey(rotate) => rotate.run(options).await,
            Self::Passwd(passwd) => passwd.run(options).await,
        }
    }
}

impl Create {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let request = CreateUserRequest {
            parent: options.tenant()?,
            user_id: self.id.clone().unwrap_or_default(),
            user: Some(User {
                email: self.email.clone().unwrap_or_default(),
                given_name: self.given_name.clone().unwrap_or_default(),
                family_name: self.family_name.clone().unwrap_or_default(),
                role: self.role.map_or(UserRole::Unspecified, UserRole::from).into(),
                ..User::default()
            }),
            password: secret::new_password(self.password_file.as_deref())?.unwrap_or_default(),
            request_id: self.request_id.clone().unwrap_or_default(),
        };
        let (connection, mut service) = open(options).await?;
        let response = service.create_user(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || {
            let key = response.master_key.as_ref().map_or("", |key| &key.name);
            let key = Fields::new().text("master key", key).render();
            let text = format!("{}\n\n{key}", text(response.user.as_ref(), response.revision));
            with_secret(text, "master credential", &response.master_credential)
        })
    }
}

impl One {
    fn target(&self, options: &ClientOptions) -> Result<(String, String), Failure> {
        let name = value::resource_name(&options.tenant()?, "users", &self.name).map_err(Failure::Usage)?;
        Ok((name, self.etag.clone().unwrap_or_default()))
    }
}

impl List {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let parent = options.tenant()?;
        let (connection, mut service) = open(options).await?;
        let fetch = async |page_size, page_token| {
            let request = ListUsersRequest {
                parent: parent.clone(),
                page_size,
                page_token,
                filter: self.filter.clone().unwrap_or_default(),
                show_deleted: self.show_deleted,
            };
            let response = service.list_users(connection.request(request)).await?.into_inner();
            Ok((response.users, response.next_page_token))
        };
        let users = self.paging.collect(fetch).await?;
        options.output.list("users", &users, ["USER", "EMAIL", "NAME", "ROLE", "STATE", "CREATED (UTC)"], |user| {
            [
                value::id(&user.name).to_owned(),
                or_dash(&user.email),
                or_dash(format!("{} {}", user.given_name, user.family_name).trim()),
                role(user),
                state(user),
                value::time_column(user.create_time.as_ref()),
            ]
        })
    }
}

impl Update {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let (name, etag) = self.user.target(options)?;
        let mut user = User { name, etag, ..User::default() };
        let mut paths = Vec::new();
        if let Some(email) = &self.email {
            user.email.clone_from(email);
            paths.push("email");
        }
        if let Some(given_name) = &self.given_name {
            user.given_name.clone_from(given_name);
            paths.push("given_name");
        }
        if let Some(family_name) = &self.family_name {
            user.family_name.clone_from(family_name);
            paths.push("family_name");
        }
        if let Some(role) = self.role {
            user.role = UserRole::from(role).into();
            paths.push("role");
        }
        let update_mask = value::mask(paths).map_err(Failure::Usage)?;
        let (connection, mut service) = open(options).await?;
        let request = UpdateUserRequest { user: Some(user), update_mask: Some(update_mask) };
        let response = service.update_user(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || text(response.user.as_ref(), response.revision))
    }
}

impl RotateMasterKey {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let (name, etag) = self.user.target(options)?;
        let request_id = self.request_id.clone().unwrap_or_default();
        let (connection, mut service) = open(options).await?;
        let request = connection.request(RotateMasterKeyRequest { name, request_id, etag });
        let response = service.rotate_master_key(request).await?.into_inner();
        options.output.reply(&response, || {
            let key = response.master_key.as_ref().map_or("", |key| &key.name);
            let text = Fields::new().text("master key", key).revision(response.revision).render();
            with_secret(text, "master credential", &response.master_credential)
        })
    }
}

impl From<Role> for UserRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Member => Self::Member,
        }
    }
}

type Service = UserServiceClient<tonic::transport::Channel>;

async fn open(options: &ClientOptions) -> Result<(Connection, Service), Failure> {
    let connection = Connection::open(options, ADMIN_SERVER).await?;
    let service = UserServiceClient::new(connection.channel()).max_decoding_message_size(MAX_RESPONSE_BYTES);
    Ok((connection, service))
}

fn text(user: Option<&User>, revision: i64) -> String {
    let Some(user) = user else { return Fields::new().revision(revision).render() };
    Fields::new()
        .text("name", &user.name)
        .text("email", &user.email)
        .text("given name", &user.given_name)
        .text("family name", &user.family_name)
        .text("role", &role(user))
        .text("state", &state(user))
        .time("created", user.create_time.as_ref())
        .time("updated", user.update_time.as_ref())
        .time("deleted", user.delete_time.as_ref())
        .text("uid", &user.uid)
        .text("etag", &user.etag)
        .revision(revision)
        .render()
}

fn role(user: &User) -> String {
    word(user.role, UserRole::as_str_name, "USER_ROLE_")
}

fn state(user: &User) -> String {
    word(user.state, UserState::as_str_name, "USER_STATE_")
}
