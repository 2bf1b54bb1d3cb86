//! What a mail says, and when it is tried again. Its text may hold a secret and is shown nowhere else.

use super::clock::Time;
use std::fmt;
use std::time::Duration;

/// A mail to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// The full name of the resource that it is about; a newer mail about it takes the place of one not sent yet.
    pub about: String,
    /// The address it goes to.
    pub recipient: String,
    /// Its subject.
    pub subject: String,
    /// Its plain text.
    pub text: String,
    /// When it is of no use any more.
    pub give_up_time: Time,
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("about", &self.about).field("recipient", &self.recipient).finish_non_exhaustive()
    }
}

impl Mail {
    /// The mail that brings the token by which the application of that name is verified.
    ///
    /// The token's line is the only one without a space or `/`; for that there are no empty lines. No text that
    /// somebody chose freely is in it: whoever can make an application cannot write to strangers in our name.
    pub fn verification(application: &str, recipient: &str, token: &str, expire_time: Time) -> Self {
        let text = format!(
            "Somebody, probably you, has registered an application with Keyward:\n  {application}\n\
             To verify it, pass this token to VerifyApplication, with the name above:\n{token}\n\
             The token works once, within 24 hours. A newer mail makes it void.\n\
             If this was not you, ignore this mail: without the token nothing happens.\n"
        );
        Self {
            about: application.to_owned(),
            recipient: recipient.to_owned(),
            subject: "Verify your application".to_owned(),
            text,
            give_up_time: expire_time,
        }
    }
}

/// The first pause after a failure, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

/// How long to wait after so many failures: twice as long each time, less up to a third by `chance` (0 to 1), so that
/// what failed together does not come again together.
pub fn pause_after(failures: u32, chance: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = FIRST_PAUSE.saturating_mul(1_u32 << doublings).min(LONGEST_PAUSE);
    pause.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 3.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_the_token_has_neither_a_space_nor_a_slash() {
        let mail = Mail::verification("tenants/acme/applications/billing", "ana@acme.example", "T0ken", Time::MAX);
        let alone: Vec<&str> = mail.text.lines().filter(|line| !line.contains([' ', '/'])).collect();
        assert_eq!(alone, ["T0ken"]);
        assert!(mail.text.is_ascii() && mail.text.lines().all(|line| line.len() <= 76), "{}", mail.text);
        assert!(!format!("{mail:?}").contains("T0ken"));
    }

    #[test]
    fn pauses_double_from_five_seconds_to_half_an_hour() {
        let seconds = |failures| pause_after(failures, 0.0).as_secs();
        assert_eq!([1, 2, 3, 9, 10, 11, u32::MAX].map(seconds), [5, 10, 20, 1280, 1800, 1800, 1800]);
        assert_eq!(seconds(0), 5);
        for (chance, millis) in [(0.5, 8333), (1.0, 6666), (7.0, 6666), (-1.0, 10_000)] {
            assert_eq!(pause_after(2, chance).as_millis(), millis);
        }
    }
}
