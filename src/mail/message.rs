//! A queued mail in the form in which mail travels.

use crate::store::QueuedMail;
use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use std::time::{Duration, UNIX_EPOCH};

/// The mail as plain text from `from`; or why there can be none. It is the same, byte for byte, in each attempt.
pub(super) fn build(from: &Mailbox, queued: &QueuedMail) -> Result<Message, String> {
    let QueuedMail { id, mail, create_time, attempt_count: _ } = queued;
    let recipient: Address = mail.recipient.trim().parse().map_err(|_| "its recipient is no address".to_owned())?;
    let created = UNIX_EPOCH + Duration::from_micros(u64::try_from(create_time.micros()).unwrap_or_default());
    let by_machine = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, recipient))
        .subject(mail.subject.clone())
        .date(created)
        // Who gets it twice can tell by this.
        .message_id(Some(format!("<{id}@{}>", from.email.domain())))
        .raw_header(by_machine)
        .header(ContentType::TEXT_PLAIN)
        .body(mail.text.clone())
        .map_err(|error| format!("it cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Time;
    use crate::domain::mail::{Mail, parse_address};
    use proptest::prelude::*;

    fn queued(recipient: &str) -> QueuedMail {
        let mail = Mail::verification("tenants/acme/applications/billing", recipient, &"k".repeat(43), Time::MAX);
        QueuedMail { id: "7".to_owned(), mail, create_time: Time::from_micros(1_000_000), attempt_count: 3 }
    }

    #[test]
    fn a_mail_is_plain_and_the_same_in_each_attempt() {
        let from: Mailbox = "Keyward <keyward@mail.example>".parse().unwrap();
        let message = build(&from, &queued(" Ana@acme.example")).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        for line in [
            "From: Keyward <keyward@mail.example>",
            "To: Ana@acme.example",
            "Message-ID: <7@mail.example>",
            "Date: Thu, 01 Jan 1970 00:00:01 +0000",
            "Auto-Submitted: auto-generated",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: 7bit",
            &"k".repeat(43),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let again = QueuedMail { attempt_count: 4, ..queued("Ana@acme.example") };
        assert_eq!(build(&from, &again).unwrap().formatted(), message.formatted());
    }

    #[test]
    fn what_is_no_address_gets_no_mail() {
        let from: Mailbox = "k@localhost".parse().unwrap();
        for recipient in ["", "ana", "a@b\r\nBcc: c@d", "a@b, c@d"] {
            assert!(build(&from, &queued(recipient)).unwrap_err().contains("no address"), "{recipient:?}");
        }
        assert!(build(&from, &queued("ana@localhost")).is_ok());
    }

    proptest! {
        /// The rule by which an address is accepted is no wider than the one by which it is mailed to.
        #[test]
        fn what_was_accepted_as_an_address_can_be_mailed_to(
            text in prop_oneof![
                "[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{0,66}@[a-z0-9.-]{0,70}",
                "[a-z.]{1,4}@([a-z0-9-]{1,64}[.]){0,4}[a-z0-9-]{1,64}",
                "[a-z]@xn--[a-z0-9-]{1,10}",
                "[ -~]{0,5}@[ -~]{0,5}",
                "\\PC{0,12}@\\PC{0,12}",
                any::<String>(),
            ]
        ) {
            if let Ok(address) = parse_address(&text, "f") {
                let parsed: Address = address.parse().unwrap();
                prop_assert_eq!(parsed.to_string(), address.clone());
                let from: Mailbox = "k@localhost".parse().unwrap();
                let message = build(&from, &queued(&address)).unwrap();
                prop_assert_eq!(message.envelope().to(), [parsed]);
            }
        }
    }
}
