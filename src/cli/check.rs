//! `keyward check`: one question, one answer, told by the exit code too.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::connect::{Connection, DATA_SERVER};
use super::failure::Failure;
use super::output::{Fields, plain, word};
use super::secret::{self, CredentialSource};
use super::{ClientOptions, value};
use crate::proto::v1::check_service_client::CheckServiceClient;
use crate::proto::v1::{CheckContext, CheckRequest, CheckResponse, Decision, KeyType, Permission, Principal, Reason};

/// Ask whether a credential is good for what its bearer wants to do.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 allowed, 1 denied, 2 could not decide (whatever went wrong).

Without --resource and --action it asks only whether the credential is good. Without --tenant a credential of any tenant
will do, and the one who asks must look at the principal.

Examples:
  printf %s \"$PRESENTED\" | keyward check --credential-file - --tenant acme --resource tables/public/roads --action select
  KEYWARD_CREDENTIAL=kw_… keyward check --resource apis/maps --action use --source-ip 192.0.2.7 -o json")]
pub struct Check {
    #[command(flatten)]
    credential: CredentialSource,

    /// A file with the second secret presented with the credential, `-` for standard input [env:
    /// KEYWARD_CREDENTIAL_SECRET_KEY holds the secret itself]
    #[arg(long, value_name = "PATH")]
    credential_secret_key_file: Option<PathBuf>,

    /// What is to be used; repeats together with --action, the first with the first and so on
    #[arg(long = "resource", value_name = "RESOURCE")]
    resources: Vec<String>,

    /// What is to be done with it
    #[arg(long = "action", value_name = "ACTION")]
    actions: Vec<String>,

    /// Where the credential was presented from
    #[arg(long, value_name = "IP")]
    source_ip: Option<String>,

    /// The Referer presented with it
    #[arg(long, value_name = "URL")]
    referrer: Option<String>,

    /// The audience that the checking service answers to [default: the server's]
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<String>,

    /// A revision that the answer must have taken into account
    #[arg(long, value_name = "REVISION", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    min_revision: i64,

    /// A further fact about the request; may repeat
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = value::pair)]
    attributes: Vec<(String, String)>,
}

impl Check {
    /// Asks, prints, and tells by the exit code.
    pub(super) async fn run(&self, options: &ClientOptions) -> ExitCode {
        match self.ask(options).await {
            Ok(Decision::Allowed) => ExitCode::SUCCESS,
            // INVARIANT (deny is zero): no decision is a denial.
            Ok(Decision::Denied | Decision::Unspecified) => ExitCode::from(1),
            Err(failure) => {
                failure.report();
                ExitCode::from(2)
            }
        }
    }

    async fn ask(&self, options: &ClientOptions) -> Result<Decision, Failure> {
        let request = self.request(options)?;
        let connection = Connection::open(options, DATA_SERVER).await?;
        let response =
            CheckServiceClient::new(connection.channel()).check(connection.request(request)).await?.into_inner();
        options.output.reply(&response, || text(&response))?;
        Ok(response.decision())
    }

    fn request(&self, options: &ClientOptions) -> Result<CheckRequest, Failure> {
        let permissions = pairs(&self.resources, &self.actions).map_err(Failure::Usage)?;
        let tenant = options.chosen_tenant()?.unwrap_or_default();
        let attributes = value::map(&self.attributes).map_err(Failure::Usage)?;
        let secret_path = self.credential_secret_key_file.as_deref();
        Ok(CheckRequest {
            credential: self.credential.credential()?,
            secret_key: secret::read_or_environment(secret_path, "KEYWARD_CREDENTIAL_SECRET_KEY")?.unwrap_or_default(),
            tenant,
            permissions,
            audience: self.audience.clone().unwrap_or_default(),
            context: Some(CheckContext {
                source_ip: self.source_ip.clone().unwrap_or_default(),
                referrer: self.referrer.clone().unwrap_or_default(),
                attributes,
            }),
            min_revision: self.min_revision,
            id: String::new(),
        })
    }
}

/// The first resource with the first action, and so on.
pub(super) fn pairs(resources: &[String], actions: &[String]) -> Result<Vec<Permission>, String> {
    if resources.len() != actions.len() {
        let (resources, actions) = (resources.len(), actions.len());
        return Err(format!("--resource and --action come in pairs: {resources} and {actions} were given"));
    }
    let permission =
        |(resource, action): (&String, &String)| Permission { resource: resource.clone(), action: action.clone() };
    Ok(resources.iter().zip(actions).map(permission).collect())
}

fn text(response: &CheckResponse) -> String {
    let reasons: Vec<String> =
        response.reasons.iter().map(|reason| word(*reason, Reason::as_str_name, "REASON_")).collect();
    let missing: Vec<String> = response
        .missing
        .iter()
        .map(|permission| plain(&format!("{} on {}", permission.action, permission.resource)))
        .collect();
    let cache_ttl = response.cache_ttl.as_ref().filter(|ttl| ttl.seconds > 0 || ttl.nanos > 0);
    let fields = Fields::new()
        .text("decision", &word(response.decision, Decision::as_str_name, "DECISION_"))
        .text("reasons", &reasons.join(", "))
        .lines("missing", missing.join("\n"));
    with_principal(fields, response.principal.as_ref())
        .time("expires", response.expire_time.as_ref())
        .text("cache for", &cache_ttl.map(ToString::to_string).unwrap_or_default())
        .lines("revision", response.revision.to_string())
        .render()
}

/// Whom a credential stands for.
pub(super) fn with_principal(fields: Fields, principal: Option<&Principal>) -> Fields {
    let Some(principal) = principal else { return fields };
    let key_type = match principal.key_type() {
        KeyType::Unspecified => String::new(),
        _ => word(principal.key_type, KeyType::as_str_name, "KEY_TYPE_"),
    };
    let tenant = if principal.tenant.is_empty() { "none: this is root" } else { &principal.tenant };
    fields
        .text("tenant", tenant)
        .text("user", &principal.user)
        .text("application", &principal.application)
        .text("key", &principal.key)
        .text("key type", &key_type)
        .text("token", &principal.token)
        .pairs("labels", &principal.labels)
}
