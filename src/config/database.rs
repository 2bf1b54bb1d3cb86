//! Where the rows are.

use serde::Deserialize;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use zeroize::Zeroizing;

/// A database's URL: a secret, since it may hold a password. Overwritten when dropped; the driver has a copy of its own.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct DatabaseUrl(Zeroizing<String>);

impl DatabaseUrl {
    /// The text, for whoever connects.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first colon.
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// The folder of a SQLite file; for other engines, where the server was started.
    pub fn folder(&self) -> &Path {
        let path = self.0.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
        path.and_then(|path| Path::new(path).parent())
            .filter(|folder| folder != &Path::new(""))
            .unwrap_or(Path::new("."))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Even what stands before the colon is a secret when somebody put the wrong text there.
        let is_known = SCHEMES.contains(&self.scheme());
        write!(f, "DatabaseUrl({}:…)", if is_known { self.scheme() } else { "?" })
    }
}

impl From<String> for DatabaseUrl {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl FromStr for DatabaseUrl {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.to_owned().into())
    }
}

/// What a URL may begin with.
pub(super) const SCHEMES: [&str; 4] = ["sqlite", "postgres", "postgresql", "mysql"];
