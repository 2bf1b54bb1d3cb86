//! From a line's fields to an entry: the contract's JSON names, and the credential or its digest.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::cli::failure::Failure;
use crate::cli::output::descriptors;
use crate::proto::v1::import_keys_entry::Material;
use crate::proto::v1::{ImportKeysEntry, Key};

/// What a key may say, by the contract.
pub(super) struct Entries {
    key: MessageDescriptor,
}

/// A column of CSV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// Text, whatever is in it.
    Text(String),
    /// A list: JSON, or separated by `;`.
    List(String),
    /// JSON and nothing else.
    Json(String),
    /// A label of that name.
    Label(String),
}

/// Beside the fields of the key.
const OWN_FIELDS: [&str; 4] = ["key_id", "keyId", "credential", "sha256"];

const LABEL: &str = "labels.";

impl Entries {
    pub(super) fn new() -> Result<Self, Failure> {
        let key = descriptors()?.get_message_by_name("keyward.v1.Key");
        let key = key.ok_or_else(|| Failure::Broken("the embedded contract has no Key".to_owned()))?;
        Ok(Self { key })
    }

    /// The entry that an object of JSON describes.
    pub(super) fn of_json(&self, line: i64, text: &str) -> Result<ImportKeysEntry, String> {
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => self.entry(line, fields),
            Ok(_) => Err("is no object of JSON".to_owned()),
            // Without the text around the mistake, which may be the credential.
            Err(error) => Err(format!("is not JSON: it ends or goes wrong at column {}", error.column())),
        }
    }

    /// The columns that a header names; a mistake is told by its place, for there may be no header but keys.
    pub(super) fn columns<'a>(&self, header: impl Iterator<Item = &'a str>) -> Result<Vec<Column>, String> {
        let mut known: HashMap<String, Option<FieldDescriptor>> =
            OWN_FIELDS.iter().map(|name| ((*name).to_owned(), None)).collect();
        for field in self.key.fields() {
            known.insert(field.name().to_owned(), Some(field.clone()));
            known.insert(field.json_name().to_owned(), Some(field));
        }
        let mut columns = Vec::new();
        for (place, name) in header.map(str::trim).enumerate() {
            let column = match (name.strip_prefix(LABEL), known.get(name)) {
                (Some(label), _) if !label.is_empty() => Column::Label(label.to_owned()),
                (_, Some(Some(field))) if field.is_map() || is_of_messages(field) => Column::Json(name.to_owned()),
                (_, Some(Some(field))) if field.is_list() => Column::List(name.to_owned()),
                (_, Some(_)) => Column::Text(name.to_owned()),
                (_, None) => {
                    let place = place.saturating_add(1);
                    return Err(format!(
                        "its first line must name the columns, and the {place}. is none: the fields of a key, key_id, credential, sha256 and labels.NAME are"
                    ));
                }
            };
            if columns.contains(&column) {
                return Err(format!("its first line names {name} twice"));
            }
            columns.push(column);
        }
        Ok(columns)
    }

    /// The entry that a row of CSV describes.
    pub(super) fn of_row(&self, line: i64, columns: &[Column], cells: &[&str]) -> Result<ImportKeysEntry, String> {
        if cells.len() != columns.len() {
            return Err(format!("has {} fields, and the first line names {}", cells.len(), columns.len()));
        }
        let mut fields = Map::new();
        let mut labels = Map::new();
        for (column, cell) in columns.iter().zip(cells.iter().copied()).filter(|(_, cell)| !cell.is_empty()) {
            let json = |name: &str| serde_json::from_str(cell).map_err(|_| format!("{name} must be JSON"));
            match column {
                Column::Text(name) => fields.insert(name.clone(), cell.into()),
                Column::Json(name) => fields.insert(name.clone(), json(name)?),
                Column::List(name) if cell.starts_with('[') => fields.insert(name.clone(), json(name)?),
                Column::List(name) => fields.insert(name.clone(), cell.split(';').map(str::trim).collect()),
                Column::Label(name) => labels.insert(name.clone(), cell.into()),
            };
        }
        if !labels.is_empty() {
            match fields.entry("labels").or_insert_with(|| Map::new().into()) {
                Value::Object(all) => all.extend(labels),
                _ => return Err("labels must be an object of JSON".to_owned()),
            }
        }
        self.entry(line, fields)
    }

    fn entry(&self, line: i64, mut fields: Map<String, Value>) -> Result<ImportKeysEntry, String> {
        let credential = take(&mut fields, "credential")?;
        let sha256 = take(&mut fields, "sha256")?;
        let key_id = match (take(&mut fields, "key_id")?, take(&mut fields, "keyId")?) {
            (Some(_), Some(_)) => return Err("key_id is given twice".to_owned()),
            (one, other) => one.or(other).unwrap_or_default(),
        };
        let material = match (&credential, sha256) {
            (Some(_), Some(_)) => return Err("credential and sha256 must not both be given".to_owned()),
            (None, None) => return Err("credential or sha256 must be given".to_owned()),
            (Some(credential), None) => Material::Credential(credential.clone()),
            (None, Some(sha256)) => {
                Material::Sha256(digest(&sha256).ok_or("sha256 must be 32 bytes in hex or base64")?)
            }
        };
        let key = self.key(fields).map_err(|reason| match credential {
            Some(credential) if !credential.is_empty() => reason.replace(&credential, "********"),
            _ => reason,
        })?;
        Ok(ImportKeysEntry { line, key: Some(key), key_id, material: Some(material) })
    }

    fn key(&self, fields: Map<String, Value>) -> Result<Key, String> {
        let dynamic = DynamicMessage::deserialize(self.key.clone(), Value::Object(fields));
        dynamic.and_then(|dynamic| dynamic.transcode_to().map_err(serde::de::Error::custom)).map_err(told)
    }
}

fn told(error: serde_json::Error) -> String {
    format!("is no key: {error}")
}

fn is_of_messages(field: &FieldDescriptor) -> bool {
    field.is_list() && matches!(field.kind(), Kind::Message(_))
}

/// Takes a field of text out; null is as good as none.
fn take(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

/// 32 bytes in hex, or in either base64 with or without padding.
fn digest(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let bytes = if text.len() == 64 {
        let digits: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        digits?.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
    } else {
        [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|engine| engine.decode(text).ok())?
    };
    (bytes.len() == 32).then_some(bytes)
}

#[cfg(test)]
mod tests;
