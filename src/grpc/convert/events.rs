//! Events.

use super::{field, timestamp};
use crate::domain::change::Event;
use crate::domain::filter::{FieldKind, FilterField};
use crate::proto::v1 as proto;

/// An event as others see it.
pub(in crate::grpc) fn event_out(event: Event) -> proto::Event {
    let Event { revision, kind, tenant: _, actor, credential_id, subject, time, request_id, source_ip, detail, chain } =
        event;
    let mut detail = match json_out(detail).kind {
        Some(prost_types::value::Kind::StructValue(detail)) => detail,
        _ => prost_types::Struct::default(),
    };
    if !credential_id.is_empty() {
        detail.fields.insert("credential_id".to_owned(), json_out(serde_json::Value::String(credential_id)));
    }
    proto::Event {
        revision,
        kind,
        actor,
        subject,
        time: Some(timestamp(time)),
        request_id,
        source_ip,
        detail: Some(detail),
        chain: chain.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn json_out(value: serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        serde_json::Value::String(value) => Kind::StringValue(value),
        serde_json::Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.into_iter().map(json_out).collect() })
        }
        serde_json::Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields.into_iter().map(|(name, value)| (name, json_out(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

/// What `ListEvents` can be filtered by.
pub(in crate::grpc) const EVENT_FILTER: &[FilterField] = &[
    field("kind", FieldKind::Text),
    field("actor", FieldKind::Text),
    field("subject", FieldKind::Text),
    field("request_id", FieldKind::Text),
    field("revision", FieldKind::Number),
    field("time", FieldKind::Time),
];
