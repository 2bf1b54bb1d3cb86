//! The reply to the proxy. DANGER: to Envoy an empty reply, or one with a denial in it and status 0, allows.
//!
//! INVARIANT (deny is zero): status 0 is written in one place, for a [`Permit`], which only [`Verdict::of`] makes, of a
//! decision that allows or where the operator's configuration says that denials are only told.

mod metadata;

use super::presented::Strip;
use crate::check::Answer;
use crate::domain::decision::{Decision, Reason};
use crate::domain::route::Mode;
use crate::grpc::check::principal_out;
use crate::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use crate::proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use crate::proto::envoy::service::auth::v3::check_response::HttpResponse;
use crate::proto::envoy::service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use crate::proto::envoy::r#type::v3::{HttpStatus, StatusCode};
use crate::proto::google::rpc;
use crate::proto::v1 as proto;
use metadata::metadata;
use std::fmt::Write as _;
use tonic::Code;

/// What tells an upstream who calls; never what a client sent under these names.
const TENANT: &str = "x-keyward-tenant";
const USER: &str = "x-keyward-user";
const APPLICATION: &str = "x-keyward-application";
const KEY: &str = "x-keyward-key";
pub(super) const IDENTITY: [&str; 4] = [TENANT, USER, APPLICATION, KEY];

/// What Envoy adds where it fails open, and a client could add to look as if it had.
const FAILED_OPEN: &str = "x-envoy-auth-failure-mode-allowed";

const REASON: &str = "x-ext-auth-reason";
const REALM: &str = "Bearer realm=\"keyward\"";

/// What a denial is put down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no credential.
    Missing,
    /// It, or what stands behind it, is not good.
    Credential,
    /// More than one was sent, or one that is no text.
    Ambiguous,
    /// It is good, and does not hold what is needed.
    NotGranted,
    /// It is good, and not for use from there.
    Circumstances,
    /// The proxy's message is too large or cannot be read.
    Unreadable,
}

impl Fault {
    /// What a decision that does not allow is put down to: first to the credential, for whoever has a bad one is told
    /// nothing of what a good one would hold.
    fn of(decision: &Decision) -> Self {
        let reasons = decision.reasons();
        if reasons.contains(Reason::Missing) {
            return Self::Missing;
        }
        // Without a reason nobody evaluated it.
        if reasons.is_empty() || reasons.iter().any(is_of_the_credential) {
            return Self::Credential;
        }
        if reasons.contains(Reason::NotGranted) { Self::NotGranted } else { Self::Circumstances }
    }

    /// Never OK: these are all the statuses that a denial has.
    const fn status(self) -> (StatusCode, Code) {
        match self {
            Self::Missing | Self::Credential | Self::Ambiguous => (StatusCode::Unauthorized, Code::Unauthenticated),
            Self::NotGranted | Self::Circumstances | Self::Unreadable => {
                (StatusCode::Forbidden, Code::PermissionDenied)
            }
        }
    }

    /// The `error` of RFC 6750. None where no other credential would help, nor where none was sent.
    const fn error(self) -> Option<&'static str> {
        match self {
            Self::Credential => Some("invalid_token"),
            Self::Ambiguous => Some("invalid_request"),
            Self::NotGranted => Some("insufficient_scope"),
            Self::Missing | Self::Circumstances | Self::Unreadable => None,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Missing => "a credential is needed",
            Self::Credential => "the credential is refused",
            Self::Ambiguous => "more than one credential was sent, or one that cannot be read",
            Self::NotGranted => "the credential does not hold what this needs",
            Self::Circumstances => "the credential may not be used from here",
            Self::Unreadable => "the request is too large or cannot be read",
        }
    }
}

/// Whether another credential would help, or the same one at another time; else it is good and used wrongly.
const fn is_of_the_credential(reason: Reason) -> bool {
    match reason {
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
        Reason::IpNotAllowed | Reason::ReferrerNotAllowed | Reason::NotGranted => false,
    }
}

/// What was decided, and about whom.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) decision: Decision,
    pub(super) fault: Option<Fault>,
    pub(super) principal: Option<proto::Principal>,
    pub(super) revision: i64,
}

impl Outcome {
    /// What the index answered.
    pub(super) fn of(answer: Answer) -> Self {
        let Answer { decision, principal, revision } = answer;
        Self { decision, fault: None, principal: principal.as_ref().map(principal_out), revision }
    }

    /// A denial for which the index was not asked.
    pub(super) fn refused(decision: Decision, fault: Fault) -> Self {
        Self { decision, fault: Some(fault), ..Self::default() }
    }

    /// The names of the reasons against it, as in the contract but without their prefix.
    fn reasons(&self) -> Vec<&'static str> {
        self.decision.reasons().iter().map(Reason::as_str).collect()
    }
}

/// What the proxy is told.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The request passes.
    Allow(Permit),
    /// It does not.
    Deny(Denial),
}

/// Lets a request pass.
#[derive(Debug)]
pub(super) struct Permit {
    outcome: Outcome,
    mode: Mode,
}

/// Turns a request away.
#[derive(Debug)]
pub(super) struct Denial {
    outcome: Outcome,
    fault: Fault,
}

impl Verdict {
    /// The one way to a verdict.
    pub(super) fn of(outcome: Outcome, mode: Mode) -> Self {
        let fault = outcome.fault.unwrap_or_else(|| Fault::of(&outcome.decision));
        match mode {
            Mode::Observe => Self::Allow(Permit { outcome, mode }),
            Mode::Enforce if outcome.decision.is_allowed() && outcome.fault.is_none() => {
                Self::Allow(Permit { outcome, mode })
            }
            Mode::Enforce => Self::Deny(Denial { outcome, fault }),
        }
    }

    /// The reply; `strip` is what a request that passes loses.
    pub(super) fn encode(self, is_grpc: bool, strip: Strip) -> CheckResponse {
        match self {
            Self::Allow(permit) => permit.encode(strip),
            Self::Deny(denial) => denial.encode(is_grpc),
        }
    }
}

impl Permit {
    fn encode(self, strip: Strip) -> CheckResponse {
        let Self { outcome, mode } = self;
        let dynamic_metadata = Some(metadata(&outcome, mode));
        let is_allowed = outcome.decision.is_allowed() && outcome.fault.is_none();
        // Where a denial is only told, a credential that is not known to be ours may be what the upstream asks for.
        let is_known = is_allowed || outcome.principal.is_some();
        let strip = if is_known { strip } else { Strip { forged: strip.forged, ..Strip::default() } };
        let principal = outcome.principal.filter(|_| is_allowed).unwrap_or_default();
        let identity = [principal.tenant, principal.user, principal.application, principal.key];
        let (mut headers, mut headers_to_remove) = (Vec::new(), strip.headers);
        for (name, value) in IDENTITY.into_iter().zip(identity) {
            // What is removed is not set: Envoy removes last.
            if value.is_empty() {
                headers_to_remove.push(name.to_owned());
            } else {
                headers.push(header(name, &plain(&value)));
            }
        }
        headers.extend(strip.cookie.map(|rest| header("cookie", &rest)));
        headers_to_remove.push(FAILED_OPEN.to_owned());
        headers_to_remove.extend(strip.forged);
        let ok = OkHttpResponse {
            headers,
            headers_to_remove,
            query_parameters_to_remove: strip.query_parameters,
            ..OkHttpResponse::default()
        };
        CheckResponse {
            status: Some(rpc::Status { code: Code::Ok.into(), ..rpc::Status::default() }),
            http_response: Some(HttpResponse::OkResponse(ok)),
            dynamic_metadata,
        }
    }
}

impl Denial {
    fn encode(self, is_grpc: bool) -> CheckResponse {
        let Self { outcome, fault } = self;
        let (status, code) = fault.status();
        let (reasons, message) = (outcome.reasons(), fault.message());
        let challenge = match fault.error() {
            Some(error) => format!("{REALM}, error=\"{error}\""),
            None => REALM.to_owned(),
        };
        let mut headers = vec![header(REASON, &reasons.join(","))];
        // Nothing that a client sent is repeated in either.
        let body = if is_grpc {
            headers.push(header("grpc-status", &i32::from(code).to_string()));
            format!("{message}: {}", reasons.join(", "))
        } else {
            headers.push(header("www-authenticate", &challenge));
            headers.push(header("content-type", "application/json"));
            serde_json::json!({ "code": i32::from(code), "message": message, "reasons": reasons }).to_string()
        };
        let denied = DeniedHttpResponse { status: Some(HttpStatus { code: status.into() }), headers, body };
        CheckResponse {
            status: Some(rpc::Status { code: code.into(), message: message.to_owned(), ..rpc::Status::default() }),
            http_response: Some(HttpResponse::DeniedResponse(denied)),
            dynamic_metadata: Some(metadata(&outcome, Mode::Enforce)),
        }
    }
}

fn header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned(), raw_value: Vec::new() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

/// A name as it may stand in a header: what is not visible ASCII is percent-encoded.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            plain.push(byte.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(plain, "%{byte:02X}");
        }
    }
    plain
}
