//! The causes of a denial, in the order in which they are told.

/// One cause of a denial, in the order in which they are told. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// No credential was sent.
    Missing = 1,
    /// It claims to be ours, and its checksum says otherwise.
    Malformed = 2,
    /// Nobody has it.
    NotFound = 3,
    /// A token not signed by us.
    TokenSignatureInvalid = 4,
    /// The key, its owner or its tenant is deleted.
    Deleted = 5,
    /// The key is revoked.
    Revoked = 6,
    /// A newer secret has taken its place.
    RotatedOut = 7,
    /// Its time is over.
    Expired = 8,
    /// Its time has not come.
    NotYetValid = 9,
    /// The key is suspended.
    Suspended = 10,
    /// Its tenant is suspended.
    TenantSuspended = 11,
    /// Its owner is suspended.
    OwnerSuspended = 12,
    /// Its application is not verified.
    ApplicationNotVerified = 13,
    /// Its application is revoked.
    ApplicationRevoked = 14,
    /// It has a second secret, and none was sent.
    SecretKeyRequired = 15,
    /// The second secret is another.
    SecretKeyMismatch = 16,
    /// Not from there.
    IpNotAllowed = 17,
    /// Not on that page.
    ReferrerNotAllowed = 18,
    /// A token for somebody else.
    TokenAudienceMismatch = 19,
    /// It does not hold what is asked.
    NotGranted = 20,
}

impl Reason {
    /// All of them, in order.
    pub const ALL: [Self; 20] = [
        Self::Missing,
        Self::Malformed,
        Self::NotFound,
        Self::TokenSignatureInvalid,
        Self::Deleted,
        Self::Revoked,
        Self::RotatedOut,
        Self::Expired,
        Self::NotYetValid,
        Self::Suspended,
        Self::TenantSuspended,
        Self::OwnerSuspended,
        Self::ApplicationNotVerified,
        Self::ApplicationRevoked,
        Self::SecretKeyRequired,
        Self::SecretKeyMismatch,
        Self::IpNotAllowed,
        Self::ReferrerNotAllowed,
        Self::TokenAudienceMismatch,
        Self::NotGranted,
    ];

    /// The contract's name without `REASON_`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "MISSING",
            Self::Malformed => "MALFORMED",
            Self::NotFound => "NOT_FOUND",
            Self::TokenSignatureInvalid => "TOKEN_SIGNATURE_INVALID",
            Self::Deleted => "DELETED",
            Self::Revoked => "REVOKED",
            Self::RotatedOut => "ROTATED_OUT",
            Self::Expired => "EXPIRED",
            Self::NotYetValid => "NOT_YET_VALID",
            Self::Suspended => "SUSPENDED",
            Self::TenantSuspended => "TENANT_SUSPENDED",
            Self::OwnerSuspended => "OWNER_SUSPENDED",
            Self::ApplicationNotVerified => "APPLICATION_NOT_VERIFIED",
            Self::ApplicationRevoked => "APPLICATION_REVOKED",
            Self::SecretKeyRequired => "SECRET_KEY_REQUIRED",
            Self::SecretKeyMismatch => "SECRET_KEY_MISMATCH",
            Self::IpNotAllowed => "IP_NOT_ALLOWED",
            Self::ReferrerNotAllowed => "REFERRER_NOT_ALLOWED",
            Self::TokenAudienceMismatch => "TOKEN_AUDIENCE_MISMATCH",
            Self::NotGranted => "NOT_GRANTED",
        }
    }
}

/// A set of reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons(u32);

impl Reasons {
    /// Just this one.
    pub const fn only(reason: Reason) -> Self {
        Self(1 << reason as u8)
    }

    /// Adds `reason` if it `applies`.
    pub fn add_if(&mut self, applies: bool, reason: Reason) {
        self.0 |= u32::from(applies) << reason as u8;
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `reason` is among them.
    pub const fn contains(self, reason: Reason) -> bool {
        self.0 & (1 << reason as u8) != 0
    }

    /// Those there are, in order.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.contains(*reason))
    }
}
