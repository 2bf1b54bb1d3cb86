//! The rules about several settings, or about what is on this machine.

use super::value::is_issuer;
use super::{Config, LONGEST_DRAIN, SHORTEST_EVENT_RETENTION, SHORTEST_SIGNING_KEY_LIFE, transport};
use crate::domain::lease::Timing;
use crate::error::Violation;
use std::path::Path;

impl Config {
    /// Notes every broken one.
    pub(super) fn judge(&self, broken: &mut Vec<Violation>) {
        transport::judge(self, broken);
        let mut refuse = |flag: &str, rule: String| broken.push(Violation::new(flag, rule));
        if !self.data_addr.is_local() && self.check_auth.is_none() {
            refuse(
                "--data-addr",
                format!(
                    "{} can be reached by others: say who may ask there by --check-auth=bearer, \
                     --check-auth=mtls, or --check-auth=none if everybody may",
                    self.data_addr
                ),
            );
        }
        if !self.admin_addr.is_local() && self.transport.admin_tls.is_none() && !self.admin_plaintext {
            refuse(
                "--admin-addr",
                format!(
                    "{} can be reached by others, and credentials would travel in the clear: give \
                     --admin-tls-cert-file and --admin-tls-key-file, or allow it by --admin-plaintext",
                    self.admin_addr
                ),
            );
        }
        let data = ("--data-addr", &self.data_addr);
        let admin = ("--admin-addr", &self.admin_addr);
        let ops = ("--ops-addr", &self.ops_addr);
        for ((one, first), (other, second)) in [(data, admin), (data, ops), (admin, ops)] {
            if first.is_same(second) {
                refuse(other, format!("must not be the address of {one}, {first}"));
            }
        }
        if self.root_key_file.as_deref().is_some_and(Path::is_dir) {
            refuse("--root-key-file", "must name a file, and is a directory".into());
        }
        if self.master_key_file.as_deref().is_some_and(Path::is_dir) {
            refuse("--master-key-file", "must name a file, and is a directory".into());
        }
        if !self.issuer.as_deref().is_none_or(is_issuer) {
            refuse("--issuer", "must be an http:// or https:// URL of at most 255 characters, without ? and #".into());
        }
        if self.signing_key_life < SHORTEST_SIGNING_KEY_LIFE {
            refuse("--signing-key-life", "must be at least 2d".into());
        }
        if self.event_retention.is_some_and(|retention| retention < SHORTEST_EVENT_RETENTION) {
            refuse("--event-retention", "must be at least 1d, or be left out to keep events for ever".into());
        }
        if self.lease.is_some_and(|lease| lease < Timing::SHORTEST_LEASE || lease > Timing::LONGEST_LEASE) {
            refuse("--lease", "must be from 1s to 5m".into());
        }
        if self.audience.iter().any(String::is_empty) {
            refuse("--audience", "must not be empty".into());
        }
        if self.drain_timeout >= LONGEST_DRAIN {
            refuse("--drain-timeout", "must be less than 10s".into());
        }
        let is_http = |endpoint: &str| endpoint.starts_with("http://") || endpoint.starts_with("https://");
        if !self.otlp_endpoint.as_deref().is_none_or(is_http) {
            refuse("--otlp-endpoint", "must begin with http:// or https://".into());
        }
    }
}
