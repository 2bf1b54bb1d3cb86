//! What a look at a deployment finds: how severe it is, in plain words, and how it is mended.

use super::clock::Time;
use std::time::Duration;

/// How something that was looked at is. What nobody judged counts as a problem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// It works, and somebody should know of it.
    Warning,
    /// Something promised is not kept, or soon will not be.
    #[default]
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, as `keyward.v1.Finding` names it.
    pub check: String,
    /// How it is.
    pub severity: Severity,
    /// What was seen.
    pub description: String,
    /// How to mend it; empty where there is nothing to do.
    pub remedy: String,
}

impl Finding {
    /// As it should be.
    pub fn fine(check: impl Into<String>, description: impl Into<String>) -> Self {
        let (check, description) = (check.into(), description.into());
        Self { check, severity: Severity::Fine, description, remedy: String::new() }
    }

    /// It works, and somebody should know of it.
    pub fn warning(check: impl Into<String>, description: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (check, description, remedy) = (check.into(), description.into(), remedy.into());
        Self { check, severity: Severity::Warning, description, remedy }
    }

    /// Something promised is not kept, or soon will not be.
    pub fn problem(check: impl Into<String>, description: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (check, description, remedy) = (check.into(), description.into(), remedy.into());
        Self { check, severity: Severity::Problem, description, remedy }
    }
}

/// Which listener it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Checks, by whoever reaches it.
    OpenData,
    /// Checks, by callers who show a credential or certificate.
    GuardedData,
    /// Everything, by callers who show a credential.
    Admin,
    /// Metrics and health, by whoever reaches it.
    Ops,
}

impl Door {
    /// The listener's name, as it stands in the flags.
    pub const fn listener(self) -> &'static str {
        match self {
            Self::OpenData | Self::GuardedData => "data",
            Self::Admin => "admin",
            Self::Ops => "ops",
        }
    }
}

/// How a listener can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// Which it is.
    pub door: Door,
    /// Where it listens.
    pub address: String,
    /// Whether only this machine can reach it.
    pub is_local: bool,
    /// Whether it speaks TLS.
    pub has_tls: bool,
}

impl Exposure {
    /// What can be done through it by whom it is not meant for.
    pub fn judge(&self) -> Finding {
        let Self { door, address, is_local, has_tls } = self;
        let listener = door.listener();
        let check = format!("listener.{listener}");
        if *is_local {
            return Finding::fine(check, format!("{address} is reached from this machine only"));
        }
        let certificates = format!("give --{listener}-tls-cert-file and --{listener}-tls-key-file");
        match door {
            Door::OpenData => Finding::problem(
                check,
                format!("whoever reaches {address} may try credentials there and see what they are granted"),
                "start with --check-auth=bearer or --check-auth=mtls, or listen on 127.0.0.1 or a Unix socket",
            ),
            Door::GuardedData | Door::Admin if !has_tls => Finding::warning(
                check,
                format!("credentials travel to {address} in the clear"),
                format!("{certificates}, unless a mesh encrypts what goes there"),
            ),
            Door::Ops if !has_tls => Finding::warning(
                check,
                format!("whoever reaches {address} may read the metrics, in the clear"),
                format!("{certificates} and --ops-tls-client-ca-file, or let only the collector of metrics reach it"),
            ),
            Door::GuardedData | Door::Admin | Door::Ops => {
                Finding::fine(check, format!("{address} can be reached by others, over TLS"))
            }
        }
    }
}

/// A certificate that is shown at a listener until `end`.
pub fn judge_certificate(listener: &str, now: Time, end: Time) -> Finding {
    const SOON: Duration = Duration::from_secs(14 * 86_400);
    let check = format!("certificate.{listener}");
    let remedy = format!("put a new one into the files of --{listener}-tls-cert-file and --{listener}-tls-key-file");
    let days = end.seconds().saturating_sub(now.seconds()) / 86_400;
    if end <= now {
        Finding::problem(check, "has expired: clients refuse it", remedy)
    } else if end <= now.after(SOON) {
        Finding::warning(check, format!("expires in {days} days"), remedy)
    } else {
        Finding::fine(check, format!("is good for {days} days"))
    }
}

/// Files of a listener's TLS that cannot be used, and why.
pub fn refused_files(listener: &str, why: &str) -> Finding {
    let check = format!("certificate.{listener}");
    let seen = format!("changed files are not used, and what there was goes on: {why}");
    Finding::problem(check, seen, "mend that file: it is read again within seconds, or at SIGHUP")
}

/// The difference between the clock of a replica and that of its database, as far as the way to and fro shows it.
pub fn judge_clock(difference: Duration) -> Finding {
    const CHECK: &str = "clock";
    const REMEDY: &str =
        "have both machines keep their clocks by NTP: keys expire by the clock of the replica that is asked";
    let seen = format!("differs from the database's by {:.1} s", difference.as_secs_f64());
    if difference >= Duration::from_secs(5) {
        Finding::problem(CHECK, seen, REMEDY)
    } else if difference >= Duration::from_secs(1) {
        Finding::warning(CHECK, seen, REMEDY)
    } else {
        Finding::fine(CHECK, "agrees with the database's to a second")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_that_others_reach_are_judged_by_who_may_ask_and_how() {
        let [fine, warning, problem] = [Severity::Fine, Severity::Warning, Severity::Problem];
        for (door, on_network, with_tls) in [
            (Door::OpenData, problem, problem),
            (Door::GuardedData, warning, fine),
            (Door::Admin, warning, fine),
            (Door::Ops, warning, fine),
        ] {
            let judged = |is_local, has_tls| {
                let finding = Exposure { door, address: "10.0.0.1:1".into(), is_local, has_tls }.judge();
                assert_eq!(finding.check, format!("listener.{}", door.listener()));
                assert_eq!(finding.severity == fine, finding.remedy.is_empty(), "{finding:?}");
                finding.severity
            };
            assert_eq!([judged(true, false), judged(true, true)], [fine, fine], "{door:?}");
            assert_eq!([judged(false, false), judged(false, true)], [on_network, with_tls], "{door:?}");
        }
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let finding = refused_files("data", "--data-tls-key-file a.key: holds no private key in PEM");
        assert_eq!((finding.check.as_str(), finding.severity), ("certificate.data", Severity::Problem));
        assert!(finding.description.contains("--data-tls-key-file a.key"));
    }

    #[test]
    fn certificates_are_told_of_a_fortnight_before_they_end() {
        let now = Time::from_micros(0);
        let after = |days: u64| judge_certificate("data", now, now.after(Duration::from_secs(days * 86_400)));
        assert_eq!(after(0).severity, Severity::Problem);
        assert_eq!(after(1).severity, Severity::Warning);
        assert_eq!(after(14).severity, Severity::Warning);
        assert_eq!(after(15).severity, Severity::Fine);
        assert!(after(15).description.contains("15 days"));
    }

    #[test]
    fn clocks_may_differ_by_less_than_a_second() {
        let judged = |millis| judge_clock(Duration::from_millis(millis)).severity;
        assert_eq!(judged(999), Severity::Fine);
        assert_eq!([judged(1000), judged(4999)], [Severity::Warning; 2]);
        assert_eq!(judged(5000), Severity::Problem);
    }
}
