//! What the filters and logs behind are told, as dynamic metadata.

use super::Outcome;
use crate::domain::route::Mode;
use crate::proto::v1 as proto;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

fn text(text: impl Into<String>) -> Value {
    Value { kind: Some(Kind::StringValue(text.into())) }
}

/// Whom it was about and what was decided; of a principal that is not known nothing.
pub(super) fn metadata(outcome: &Outcome, mode: Mode) -> Struct {
    let is_allowed = outcome.decision.is_allowed() && outcome.fault.is_none();
    let reasons = outcome.reasons().into_iter().map(text).collect();
    let mut fields = Struct::default().fields;
    fields.insert("decision".to_owned(), text(if is_allowed { "ALLOWED" } else { "DENIED" }));
    fields.insert("mode".to_owned(), text(mode.as_str()));
    fields.insert("reasons".to_owned(), Value { kind: Some(Kind::ListValue(ListValue { values: reasons })) });
    if let Some(principal) = &outcome.principal {
        // As text: a number would be a double.
        fields.insert("revision".to_owned(), text(outcome.revision.to_string()));
        let key_type = match principal.key_type() {
            proto::KeyType::Unspecified => "",
            proto::KeyType::Master => "MASTER",
            proto::KeyType::Regular => "REGULAR",
            proto::KeyType::DefaultPublic => "DEFAULT_PUBLIC",
        };
        let names = [
            ("tenant", principal.tenant.as_str()),
            ("user", &principal.user),
            ("application", &principal.application),
            ("key", &principal.key),
            ("key_type", key_type),
            ("token", &principal.token),
        ];
        fields.extend(
            names.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, v)| (name.to_owned(), text(v))),
        );
        let labels = principal.labels.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        fields.insert("labels".to_owned(), Value { kind: Some(Kind::StructValue(Struct { fields: labels })) });
    }
    Struct { fields }
}
