//! How one application looks to people.

use crate::cli::grants;
use crate::cli::output::{Fields, with_secret};
use crate::proto::v1::Application;

/// An application, and the revision of what was done to it; zero is none.
pub(super) fn text(application: Option<&Application>, revision: i64) -> String {
    let Some(application) = application else { return Fields::new().revision(revision).render() };
    Fields::new()
        .text("name", &application.name)
        .text("display name", &application.display_name)
        .text("description", &application.description)
        .text("owner", &application.owner)
        .text("contact", &application.contact_email)
        .lines("grants", grants::lines(&application.grants))
        .text("verified", yes_or_no(application.is_verified))
        .text("revoked", yes_or_no(application.is_revoked))
        .time("created", application.create_time.as_ref())
        .time("updated", application.update_time.as_ref())
        .time("deleted", application.delete_time.as_ref())
        .text("uid", &application.uid)
        .text("etag", &application.etag)
        .revision(revision)
        .render()
}

/// An application with its secret, which is shown only now.
pub(super) fn text_with_secret(application: Option<&Application>, revision: i64, secret: &str) -> String {
    with_secret(text(application, revision), "secret", secret)
}

/// A word for a table.
pub(super) fn yes_or_no(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}
