//! `keyward tenants`: each a world of its own.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::connect::{ADMIN_SERVER, Connection, MAX_RESPONSE_BYTES};
use super::failure::Failure;
use super::output::{Fields, Paging, or_dash, with_secret, word};
use super::{ClientOptions, secret, value};
use crate::proto::v1::tenant_service_client::TenantServiceClient;
use crate::proto::v1::{
    ActivateTenantRequest, CreateTenantRequest, CreateTenantResponse, DeleteTenantRequest, GetTenantRequest,
    ListTenantsRequest, SuspendTenantRequest, Tenant, TenantState, UpdateTenantRequest, User,
};

/// Make and manage tenants.
#[derive(Debug, Subcommand)]
pub enum Tenants {
    /// Make a tenant with its owner, the owner's master key and the default public key
    #[command(after_help = "\
For root only. The master credential is shown once.

Example:
  keyward tenants create acme --display-name 'Acme Maps' --owner-email ana@acme.example --key-file root.key")]
    Create(Create),
    /// Show one tenant
    #[command(after_help = "Examples:\n  keyward tenants get\n  keyward tenants get acme -o json")]
    Get(Get),
    /// List the tenants that the caller may see, oldest first
    #[command(after_help = "Example:\n  keyward tenants list --filter 'state = TENANT_STATE_SUSPENDED'")]
    List(List),
    /// Change a tenant; only what is given is changed
    #[command(after_help = "Example:\n  keyward tenants update acme --display-name 'Acme Atlas'")]
    Update(Update),
    /// Refuse everything of a tenant until it is activated again
    #[command(after_help = "Example:\n  keyward tenants suspend acme")]
    Suspend(One),
    /// Let a suspended tenant work again
    #[command(after_help = "Example:\n  keyward tenants activate acme")]
    Activate(One),
    /// Delete a tenant; everything in it is refused, and its id is never reused
    #[command(after_help = "Example:\n  keyward tenants delete acme")]
    Delete(One),
}

/// Make a tenant.
#[derive(Debug, Args)]
pub struct Create {
    /// The last part of its name [default: chosen by the server]
    #[arg(value_name = "TENANT_ID")]
    id: Option<String>,

    /// A name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,

    /// What its credentials begin with, never to be changed [default: kw]
    #[arg(long, value_name = "PREFIX")]
    credential_prefix: Option<String>,

    /// The owner's email [default: none; one is needed to sign in]
    #[arg(long, value_name = "EMAIL")]
    owner_email: Option<String>,

    /// The owner's given name
    #[arg(long, value_name = "NAME")]
    owner_given_name: Option<String>,

    /// The owner's family name
    #[arg(long, value_name = "NAME")]
    owner_family_name: Option<String>,

    /// A file with the owner's password, `-` for standard input [env: KEYWARD_NEW_PASSWORD holds the password itself]
    /// [default: none; `users passwd` sets one]
    #[arg(long, value_name = "PATH")]
    owner_password_file: Option<PathBuf>,

    /// A UUID that makes a repetition within 24 h harmless
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,
}

/// Show a tenant.
#[derive(Debug, Args)]
pub struct Get {
    /// `acme` or `tenants/acme` [default: --tenant, else the caller's own]
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Fail unless it still has this etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

/// One tenant, for what is better not done to one's own by forgetting the name.
#[derive(Debug, Args)]
pub struct One {
    /// `acme` or `tenants/acme`
    #[arg(value_name = "NAME")]
    name: String,

    /// Fail unless it still has this etag
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

/// List tenants.
#[derive(Debug, Args)]
pub struct List {
    /// Which ones: state, display_name and times, in a subset of AIP-160
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,

    /// Deleted ones too
    #[arg(long)]
    show_deleted: bool,

    #[command(flatten)]
    paging: Paging,
}

/// Change a tenant.
#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    tenant: Get,

    /// A name for people; may be empty
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
}

impl Tenants {
    /// Carries out the command.
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(options).await,
            Self::Get(get) => get.run(options).await,
            Self::List(list) => list.run(options).await,
            Self::Update(update) => update.run(options).await,
            Self::Suspend(one) => {
                let (name, etag) = one.target()?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(SuspendTenantRequest { name, etag });
                let response = service.suspend_tenant(request).await?.into_inner();
                options.output.reply(&response, || text(response.tenant.as_ref(), response.revision))
            }
            Self::Activate(one) => {
                let (name, etag) = one.target()?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(ActivateTenantRequest { name, etag });
                let response = service.activate_tenant(request).await?.into_inner();
                options.output.reply(&response, || text(response.tenant.as_ref(), response.revision))
            }
            Self::Delete(one) => {
                let (name, etag) = one.target()?;
                let (connection, mut service) = open(options).await?;
                let request = connection.request(DeleteTenantRequest { name, etag });
                let response = service.delete_tenant(request).await?.into_inner();
                options.output.reply(&response, || text(response.tenant.as_ref(), response.revision))
            }
        }
    }
}

impl Create {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let password = secret::new_password(self.owner_password_file.as_deref())?;
        let (connection, mut service) = open(options).await?;
        let request = CreateTenantRequest {
            tenant_id: self.id.clone().unwrap_or_default(),
            tenant: Some(Tenant {
                display_name: self.display_name.clone().unwrap_or_default(),
                credential_prefix: self.credential_prefix.clone().unwrap_or_default(),
                ..Tenant::default()
            }),
            owner: Some(User {
                email: self.owner_email.clone().unwrap_or_default(),
                given_name: self.owner_given_name.clone().unwrap_or_default(),
                family_name: self.owner_family_name.clone().unwrap_or_default(),
                ..User::default()
            }),
            owner_password: password.unwrap_or_default(),
            request_id: self.request_id.clone().unwrap_or_default(),
        };
        let response = service.create_tenant(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || created_text(&response))
    }
}

impl Get {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let name = self.name(options)?;
        let (connection, mut service) = open(options).await?;
        let request = GetTenantRequest { name, etag: self.etag.clone().unwrap_or_default() };
        let response = service.get_tenant(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || text(response.tenant.as_ref(), 0))
    }

    fn name(&self, options: &ClientOptions) -> Result<String, Failure> {
        match &self.name {
            Some(name) => value::tenant_name(name).map_err(Failure::Usage),
            None => options.tenant(),
        }
    }
}

impl One {
    fn target(&self) -> Result<(String, String), Failure> {
        let name = value::tenant_name(&self.name).map_err(Failure::Usage)?;
        Ok((name, self.etag.clone().unwrap_or_default()))
    }
}

impl List {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let (connection, mut service) = open(options).await?;
        let fetch = async |page_size, page_token| {
            let filter = self.filter.clone().unwrap_or_default();
            let request = ListTenantsRequest { page_size, page_token, filter, show_deleted: self.show_deleted };
            let response = service.list_tenants(connection.request(request)).await?.into_inner();
            Ok((response.tenants, response.next_page_token))
        };
        let tenants = self.paging.collect(fetch).await?;
        options.output.list("tenants", &tenants, ["TENANT", "DISPLAY NAME", "STATE", "CREATED (UTC)"], |tenant| {
            [
                value::id(&tenant.name).to_owned(),
                or_dash(&tenant.display_name),
                state(tenant),
                value::time_column(tenant.create_time.as_ref()),
            ]
        })
    }
}

impl Update {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let paths = self.display_name.iter().map(|_| "display_name").collect();
        let update_mask = value::mask(paths).map_err(Failure::Usage)?;
        let tenant = Tenant {
            name: self.tenant.name(options)?,
            etag: self.tenant.etag.clone().unwrap_or_default(),
            display_name: self.display_name.clone().unwrap_or_default(),
            ..Tenant::default()
        };
        let (connection, mut service) = open(options).await?;
        let request = UpdateTenantRequest { tenant: Some(tenant), update_mask: Some(update_mask) };
        let response = service.update_tenant(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || text(response.tenant.as_ref(), response.revision))
    }
}

type Service = TenantServiceClient<tonic::transport::Channel>;

async fn open(options: &ClientOptions) -> Result<(Connection, Service), Failure> {
    let connection = Connection::open(options, ADMIN_SERVER).await?;
    let service = TenantServiceClient::new(connection.channel()).max_decoding_message_size(MAX_RESPONSE_BYTES);
    Ok((connection, service))
}

fn created_text(response: &CreateTenantResponse) -> String {
    let text = text(response.tenant.as_ref(), response.revision);
    let fields = Fields::new()
        .text("owner", response.owner.as_ref().map_or("", |owner| &owner.name))
        .text("owner's email", response.owner.as_ref().map_or("", |owner| &owner.email))
        .text("master key", response.master_key.as_ref().map_or("", |key| &key.name))
        .text("default public key", response.default_public_key.as_ref().map_or("", |key| &key.name))
        .text("public credential", &response.default_public_credential)
        .render();
    with_secret(format!("{text}\n\n{fields}"), "master credential", &response.master_credential)
}

fn text(tenant: Option<&Tenant>, revision: i64) -> String {
    let Some(tenant) = tenant else { return Fields::new().revision(revision).render() };
    Fields::new()
        .text("name", &tenant.name)
        .text("display name", &tenant.display_name)
        .text("state", &state(tenant))
        .text("credential prefix", &tenant.credential_prefix)
        .time("created", tenant.create_time.as_ref())
        .time("updated", tenant.update_time.as_ref())
        .time("deleted", tenant.delete_time.as_ref())
        .text("uid", &tenant.uid)
        .text("etag", &tenant.etag)
        .revision(revision)
        .render()
}

fn state(tenant: &Tenant) -> String {
    word(tenant.state, TenantState::as_str_name, "TENANT_STATE_")
}
