//! What people may say about a key, when it is made and when it is changed.

use clap::Args;
use prost_types::Timestamp;

use crate::cli::grants::GrantOptions;
use crate::cli::value;
use crate::proto::v1::Key;

/// What is said of a key.
#[derive(Debug, Args)]
pub(super) struct KeyFields {
    /// A name for people, unique per owner
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,

    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// From when on it is refused [default: never]
    #[arg(long, value_name = "RFC3339", value_parser = value::timestamp)]
    expire_time: Option<Timestamp>,

    /// Until when it is refused [default: not at all]
    #[arg(long, value_name = "RFC3339", value_parser = value::timestamp)]
    not_before: Option<Timestamp>,

    /// A network or address that it may be used from; may repeat [default: any]
    #[arg(long = "allow-ip", value_name = "CIDR")]
    allowed_ips: Vec<String>,

    /// A referrer pattern that it may be used with, such as `*.example.com/*`; may repeat [default: any]
    #[arg(long = "allow-referrer", value_name = "PATTERN")]
    allowed_referrers: Vec<String>,

    /// A label, returned in each Check's principal; may repeat
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = value::pair)]
    labels: Vec<(String, String)>,

    #[command(flatten)]
    grants: GrantOptions,
}

impl KeyFields {
    /// A key with what was said, and the paths of what was said.
    pub(super) fn key(&self) -> Result<(Key, Vec<&'static str>), String> {
        let key = Key {
            display_name: self.display_name.clone().unwrap_or_default(),
            description: self.description.clone().unwrap_or_default(),
            grants: self.grants.grants(),
            expire_time: self.expire_time,
            not_before_time: self.not_before,
            allowed_ips: self.allowed_ips.clone(),
            allowed_referrers: self.allowed_referrers.clone(),
            labels: value::map(&self.labels).map_err(|error| format!("--label: {error}"))?,
            ..Key::default()
        };
        let said = [
            ("display_name", self.display_name.is_some()),
            ("description", self.description.is_some()),
            ("expire_time", key.expire_time.is_some()),
            ("not_before_time", key.not_before_time.is_some()),
            ("allowed_ips", !key.allowed_ips.is_empty()),
            ("allowed_referrers", !key.allowed_referrers.is_empty()),
            ("labels", !key.labels.is_empty()),
            ("grants", !key.grants.is_empty()),
        ];
        let paths = said.into_iter().filter(|(_, is_said)| *is_said).map(|(path, _)| path).collect();
        Ok((key, paths))
    }
}
