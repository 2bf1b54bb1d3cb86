//! One question about a credential, and its answer.

use super::{Principal, Wire};
use crate::proto::v1::check_service_client::CheckServiceClient;
use crate::proto::v1::{CheckContext, CheckRequest, CheckResponse, Decision, Permission, Reason};
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// `ErrorInfo.domain` of what a denial becomes.
const DOMAIN: &str = "keyward.v1";

/// A question in the making; begun by [`Client::check`](super::Client::check).
#[must_use = "a question is not asked until it is sent"]
#[derive(Clone, Debug)]
pub struct Question {
    checks: CheckServiceClient<Wire>,
    // Its `Debug` keeps the credential to itself.
    request: CheckRequest,
    timeout: Option<Duration>,
}

impl Question {
    pub(super) fn new(checks: CheckServiceClient<Wire>, credential: String) -> Self {
        Self { checks, request: CheckRequest { credential, ..CheckRequest::default() }, timeout: None }
    }

    /// May it do this? Whatever is added must all be granted; with nothing added the question is whether the credential
    /// is good at all.
    pub fn may(mut self, resource: impl Into<String>, action: impl Into<String>) -> Self {
        self.request.permissions.push(Permission { resource: resource.into(), action: action.into() });
        self
    }

    /// Accepts credentials of this tenant (`tenants/{tenant}`) only. Without it, one who asks for several tenants must
    /// compare [`Principal::tenant`] itself.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.request.tenant = tenant.into();
        self
    }

    /// The second secret that came with the credential.
    pub fn secret_key(mut self, secret_key: impl Into<String>) -> Self {
        self.request.secret_key = secret_key.into();
        self
    }

    /// Where the credential was presented from.
    pub fn source_ip(mut self, address: IpAddr) -> Self {
        self.context().source_ip = address.to_canonical().to_string();
        self
    }

    /// The `Referer` that came with the credential.
    pub fn referrer(mut self, referrer: impl Into<String>) -> Self {
        self.context().referrer = referrer.into();
        self
    }

    /// For whom a token must be made that is presented here.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.request.audience = audience.into();
        self
    }

    /// The answer must take into account what was done at this revision.
    pub fn min_revision(mut self, revision: i64) -> Self {
        self.request.min_revision = revision;
        self
    }

    /// Waits so long for the answer, rather than the client's time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn context(&mut self) -> &mut CheckContext {
        self.request.context.get_or_insert_default()
    }

    /// Sends the question. An error means that nothing could be decided, which is no permission.
    pub async fn ask(mut self) -> Result<Answer, Status> {
        let mut request = Request::new(self.request);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        Ok(Answer { response: self.checks.check(request).await?.into_inner() })
    }

    /// Sends the question, and goes on only with a permission.
    pub async fn require(self) -> Result<Allowed, Refused> {
        match self.ask().await {
            Ok(answer) => answer.allowed().map_err(Refused::Denied),
            Err(status) => Err(Refused::Undecided(status)),
        }
    }
}

/// What Keyward answered. INVARIANT (deny is zero): only an explicit `DECISION_ALLOWED` of somebody, with nothing said
/// against it, allows.
#[must_use = "an answer may be a denial"]
#[derive(Clone, Debug)]
pub struct Answer {
    response: CheckResponse,
}

impl Answer {
    /// Whether the credential is good and everything asked for is granted.
    pub fn is_allowed(&self) -> bool {
        let CheckResponse { decision, reasons, principal, missing, .. } = &self.response;
        *decision == i32::from(Decision::Allowed) && principal.is_some() && reasons.is_empty() && missing.is_empty()
    }

    /// The permission, or what stands against it.
    pub fn allowed(self) -> Result<Allowed, Denied> {
        let is_allowed = self.is_allowed();
        let reasons = self.response.reasons().collect();
        let CheckResponse { principal, missing, expire_time, cache_ttl, revision, .. } = self.response;
        match principal {
            Some(principal) if is_allowed => Ok(Allowed { principal, expire_time, cache_ttl, revision }),
            principal => Err(Denied { reasons, missing, principal: principal.map(Box::new), revision }),
        }
    }

    /// The answer as it came. It allows nothing by itself: ask [`Answer::is_allowed`].
    pub fn response(&self) -> &CheckResponse {
        &self.response
    }
}

/// A permission.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Allowed {
    /// Whose credential it is.
    pub principal: Principal,
    /// When the credential expires, if it does.
    pub expire_time: Option<prost_types::Timestamp>,
    /// How long this answer may be reused; not at all unless the operator allows it.
    pub cache_ttl: Option<prost_types::Duration>,
    /// The revision that the answer rests on.
    pub revision: i64,
}

/// A denial.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Denied {
    /// Every reason that is known here, in order. There may be none: newer servers know more.
    pub reasons: Vec<Reason>,
    /// What was asked for and is not granted.
    pub missing: Vec<Permission>,
    /// Whose credential it is, if it is anyone's.
    pub principal: Option<Box<Principal>>,
    /// The revision that the answer rests on; zero where Keyward was not asked.
    pub revision: i64,
}

impl Denied {
    /// A denial for which Keyward need not be asked.
    pub(super) fn unasked(reason: Reason) -> Self {
        Self { reasons: vec![reason], missing: Vec::new(), principal: None, revision: 0 }
    }

    /// Whether another credential is needed (HTTP 401, `UNAUTHENTICATED`), rather than more rights or another place for
    /// this one (403, `PERMISSION_DENIED`).
    pub fn is_of_credential(&self) -> bool {
        self.reasons.iter().any(|reason| match reason {
            Reason::Missing
            | Reason::Malformed
            | Reason::NotFound
            | Reason::TokenSignatureInvalid
            | Reason::Deleted
            | Reason::Revoked
            | Reason::RotatedOut
            | Reason::Expired
            | Reason::NotYetValid
            | Reason::Suspended
            | Reason::TenantSuspended
            | Reason::OwnerSuspended
            | Reason::ApplicationNotVerified
            | Reason::ApplicationRevoked
            | Reason::SecretKeyRequired
            | Reason::SecretKeyMismatch
            | Reason::TokenAudienceMismatch => true,
            Reason::Unspecified | Reason::IpNotAllowed | Reason::ReferrerNotAllowed | Reason::NotGranted => false,
        })
    }

    /// The reasons' names in the contract, without `REASON_`.
    pub fn reason_names(&self) -> impl Iterator<Item = &'static str> {
        let names = self.reasons.iter().map(|reason| reason.as_str_name());
        names.map(|name| name.strip_prefix("REASON_").unwrap_or(name))
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_of_credential() { "the credential is refused" } else { "permission denied" })?;
        for (place, name) in self.reason_names().enumerate() {
            write!(f, "{} {name}", if place == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

impl Error for Denied {}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        let (code, reason) = match denied.is_of_credential() {
            true => (Code::Unauthenticated, "CREDENTIAL_REFUSED"),
            false => (Code::PermissionDenied, "NOT_GRANTED"),
        };
        let reasons = denied.reason_names().collect::<Vec<_>>().join(",");
        let details = ErrorDetails::with_error_info(reason, DOMAIN, [("reasons".to_owned(), reasons)]);
        Status::with_error_details(code, denied.to_string(), details)
    }
}

/// No permission.
#[derive(Clone, Debug)]
pub enum Refused {
    /// Keyward says no.
    Denied(Denied),
    /// Keyward could not be asked, or could not decide, for this reason.
    Undecided(Status),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => write!(f, "{denied}"),
            Self::Undecided(status) => write!(f, "nothing could be decided: {}", status.message()),
        }
    }
}

impl Error for Refused {}

impl From<Refused> for Status {
    /// What the caller of a service is told that asked: of an outage no more than that there is one.
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Denied(denied) => denied.into(),
            Refused::Undecided(_) => Status::unavailable("cannot decide now whether this is permitted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(change: impl FnOnce(&mut CheckResponse)) -> Answer {
        let principal = Some(Principal { tenant: "tenants/acme".to_owned(), ..Principal::default() });
        let mut response = CheckResponse { decision: Decision::Allowed.into(), principal, ..CheckResponse::default() };
        change(&mut response);
        Answer { response }
    }

    #[test]
    fn only_an_explicit_permission_of_somebody_allows() {
        assert!(answer(|_| ()).is_allowed());
        assert_eq!(answer(|_| ()).allowed().unwrap().principal.tenant, "tenants/acme");
        let denials: [fn(&mut CheckResponse); 7] = [
            |response| *response = CheckResponse::default(),
            |response| response.decision = Decision::Unspecified.into(),
            |response| response.decision = Decision::Denied.into(),
            |response| response.decision = 3,
            |response| response.principal = None,
            |response| response.reasons = vec![77],
            |response| response.missing = vec![Permission::default()],
        ];
        for denial in denials {
            assert!(!answer(denial).is_allowed());
            let status = Status::from(answer(denial).allowed().unwrap_err());
            assert_eq!(status.code(), Code::PermissionDenied);
        }
    }

    #[test]
    fn a_denial_says_whether_another_credential_would_help() {
        let denied = |reasons: &[Reason]| {
            let reasons = reasons.iter().map(|reason| i32::from(*reason)).collect();
            answer(|response| (response.decision, response.reasons) = (2, reasons)).allowed().unwrap_err()
        };
        let both = denied(&[Reason::Revoked, Reason::NotGranted]);
        assert_eq!(both.to_string(), "the credential is refused: REVOKED, NOT_GRANTED");
        assert_eq!(Status::from(both).code(), Code::Unauthenticated);
        assert_eq!(denied(&[Reason::IpNotAllowed]).to_string(), "permission denied: IP_NOT_ALLOWED");
        let outage = Refused::Undecided(Status::unauthenticated("the asker is refused"));
        assert_eq!(Status::from(outage).code(), Code::Unavailable);
    }
}
