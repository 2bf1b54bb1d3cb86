//! What a mail says, whom it can reach, how many there may be, and when it is tried again. Its text may hold a secret and
//! is shown nowhere else.

use super::clock::Time;
use crate::error::Violation;
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
    /// somebody chose freely is in it: whoever can make an application cannot write to strangers in our name. The ids of
    /// the tenant and of the application are chosen, but hold only small letters, digits and hyphens, so that no sentence
    /// and no link can be made of them.
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

/// How far apart two mails about one thing are at least.
pub const MAIL_INTERVAL: Duration = Duration::from_secs(60);

/// How many mails a day go to one address, whoever asks for them.
pub const DAILY_MAILS_TO_ONE: i32 = 20;

/// How many mails a day one tenant causes, to whomever.
pub const DAILY_MAILS_OF_TENANT: i32 = 200;

/// How long to wait until the next mail about a thing may be asked for, when the last was at `last`; `None` if that is
/// over.
pub fn wait_after(last: Time, now: Time) -> Option<Duration> {
    until(last.after(MAIL_INTERVAL), now)
}

/// The day of a point in time, in days since the epoch, and how long that day still lasts: daily limits begin anew with it.
pub fn day_of(now: Time) -> (i64, Duration) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let day = now.seconds().div_euclid(24 * 60 * 60);
    let begin = Time::from_micros(day.saturating_mul(24 * 60 * 60 * 1_000_000));
    (day, until(begin.after(DAY), now).unwrap_or(DAY))
}

fn until(end: Time, now: Time) -> Option<Duration> {
    let left = u64::try_from(end.micros().saturating_sub(now.micros())).unwrap_or_default();
    (left > 0).then(|| Duration::from_micros(left))
}

/// An address that mail can reach, without the space around it. Narrower than the standards: ASCII, for not every server
/// on the way takes more; no quotes, no comments, no numbers in brackets. An international domain is given in its ASCII
/// form (`xn--`).
pub fn parse_address(text: &str, field: &str) -> Result<String, Violation> {
    let text = text.trim();
    let is_address =
        text.split_once('@').is_some_and(|(local, host)| is_local_part(local) && is_host(host) && text.len() <= 254);
    if is_address {
        Ok(text.to_owned())
    } else {
        Err(Violation::new(field, "must be an email address in ASCII of at most 254 bytes, such as ada@example.com"))
    }
}

fn is_local_part(local: &str) -> bool {
    let is_atom = |atom: &str| {
        let is_of_atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        !atom.is_empty() && atom.bytes().all(is_of_atom)
    };
    local.len() <= 64 && local.split('.').all(is_atom)
}

fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(is_label)
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
mod fuzz;
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
    fn an_address_is_what_every_server_takes() {
        let long = format!("{}@{}.example", "l".repeat(64), "h".repeat(63));
        for good in ["ana@acme.example", "a@b", "a.b+c_d@mail.xn--bcher-kva.example", "A!#$%&'*/=?^`{|}~-@1.2", &long] {
            assert_eq!(parse_address(good, "f").as_deref(), Ok(good));
            assert_eq!(parse_address(&format!(" {good}\u{a0}"), "f").as_deref(), Ok(good), "without space around it");
        }
        let longer =
            [format!("{}@b", "l".repeat(65)), format!("a@{}", "h".repeat(64)), format!("a@{}b", "b.".repeat(126))];
        let bad = [
            "",
            "ana",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a,b@c",
            "a;b@c",
            "<a@b>",
            "Ana <a@b>",
            "\"a b\"@c",
            "a(c)@b",
            ".a@b",
            "a.@b",
            "a..b@c",
            "a@.b",
            "a@b.",
            "a@b..c",
            "a@-b",
            "a@b-",
            "a@b_c",
            "a@[127.0.0.1]",
            "a@b:25",
            "a@b\nc",
            "a@b\r\nBcc: c@d",
            "ana\u{ff20}acme.example",
            "än@b",
            "a@bücher.example",
            "a\0@b",
        ];
        for bad in longer.iter().map(String::as_str).chain(bad) {
            assert_eq!(parse_address(bad, "f").map_err(|violation| violation.field), Err("f".to_owned()), "{bad:?}");
        }
    }

    #[test]
    fn mails_about_one_thing_are_a_minute_apart_and_a_day_ends_at_midnight() {
        let at = |seconds: i64| Time::from_micros(seconds * 1_000_000);
        let wait = |now| wait_after(at(100), now).map(|wait| wait.as_secs());
        assert_eq!([100, 130, 159, 160, 1000].map(|now| wait(at(now))), [Some(60), Some(30), Some(1), None, None]);
        for (now, day, left) in [(0, 0, 86_400), (86_399, 0, 1), (86_400, 1, 86_400), (-1, -1, 1)] {
            assert_eq!(day_of(at(now)), (day, Duration::from_secs(left)));
        }
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
