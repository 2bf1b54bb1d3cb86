//! How many things a tenant may have.

use super::ServeArgs;
use super::file::parse_if;
use crate::domain::cap::{Cap, Caps};
use crate::error::Violation;
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;

/// A cap as it is written: in the file as text or as a number.
#[derive(Clone, Debug)]
pub struct CapText(String);

impl From<String> for CapText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for CapText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for CapText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = CapText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or \"unlimited\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CapText, E> {
                Ok(text.into())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<CapText, E> {
                Ok(number.to_string().into())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<CapText, E> {
                Ok(number.to_string().into())
            }
        }
        from.deserialize_any(Either)
    }
}

pub(super) fn checked(broken: &mut Vec<Violation>, args: &ServeArgs, file: &ServeArgs) -> Caps {
    let default = Caps::default();
    let mut cap = |flag: &str, given: &Option<CapText>, in_file: &Option<CapText>, default: Cap| {
        let text = given.as_ref().or(in_file.as_ref()).map(|CapText(text)| text.clone());
        parse_if(broken, flag, text).unwrap_or(default)
    };
    Caps {
        keys: cap("--max-keys-per-tenant", &args.max_keys_per_tenant, &file.max_keys_per_tenant, default.keys),
        applications: cap(
            "--max-applications-per-tenant",
            &args.max_applications_per_tenant,
            &file.max_applications_per_tenant,
            default.applications,
        ),
        tokens: cap(
            "--max-tokens-per-tenant",
            &args.max_tokens_per_tenant,
            &file.max_tokens_per_tenant,
            default.tokens,
        ),
    }
}
