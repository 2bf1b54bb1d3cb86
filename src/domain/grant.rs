//! What a key or an application was given, in the words of the contract, and how it is compiled to permissions.
//!
//! Grants come from a request and are validated there once; what is compiled is denied again wherever it is ill-formed.

use super::permission::{ACTION_RULE, Actions, Grants, PATTERN_RULE, Pattern, SEGMENT_RULE, is_action, is_segment};
use crate::error::Violation;
use serde::{Deserialize, Serialize};

/// So many grants one key or application has at most.
pub const MAX_GRANTS: usize = 1000;

/// A request may hold a million broken names; these many are told, and the rest after they are mended.
const MAX_VIOLATIONS: usize = 100;

const TABLE_PERMISSIONS: [&str; 4] = ["select", "insert", "update", "delete"];
const SCHEMA_PERMISSIONS: [&str; 1] = ["create"];
const EMPTY_RULE: &str = "must not be empty";

/// One grant, as it was given and as it is stored.
///
/// The JSON form is in the rows: add to it, NEVER CHANGE what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// APIs by name: `use` on `apis/{api}`.
    Apis(Vec<String>),
    /// Tables and schemas of a database.
    Database {
        /// Some of `select`, `insert`, `update` and `delete` on `tables/{schema}/{name}`.
        #[serde(default)]
        tables: Vec<TableGrant>,
        /// `create` on `schemas/{name}`.
        #[serde(default)]
        schemas: Vec<SchemaGrant>,
    },
    /// Data services by name: `use` on `dataservices/{service}`.
    Dataservices(Vec<String>),
    /// Any actions on any resources.
    Resources {
        /// A [`Pattern`].
        resource: String,
        /// Literal actions, or `*` for all.
        actions: Vec<String>,
    },
}

/// What may be done to one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableGrant {
    /// The schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Some of `select`, `insert`, `update` and `delete`.
    pub permissions: Vec<String>,
}

/// What may be done in one schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaGrant {
    /// Its name.
    pub name: String,
    /// `create`.
    pub permissions: Vec<String>,
}

/// The rules these grants break, none if they are good; `field` is where they stand, such as `key.grants`.
pub fn validate(grants: &[Grant], field: &str) -> Vec<Violation> {
    let mut rules = Rules(Vec::new());
    if grants.len() > MAX_GRANTS {
        rules.break_rule(field, format!("must be at most {MAX_GRANTS}"));
        return rules.0;
    }
    for (place, grant) in grants.iter().enumerate() {
        match grant {
            Grant::Apis(names) => rules.names(names, &format!("{field}[{place}].apis.names")),
            Grant::Dataservices(names) => rules.names(names, &format!("{field}[{place}].dataservices.names")),
            Grant::Database { tables, schemas } => {
                rules.database(tables, schemas, &format!("{field}[{place}].database"));
            }
            Grant::Resources { resource, actions } => {
                let field = format!("{field}[{place}].resources");
                if Pattern::parse(resource).is_none() {
                    rules.break_rule(format!("{field}.resource"), PATTERN_RULE);
                }
                rules.each(actions, &format!("{field}.actions"), ACTION_RULE, |action| {
                    action == "*" || is_action(action)
                });
            }
        }
    }
    rules.0
}

/// What validated grants permit; a part of one that is ill-formed all the same permits nothing.
pub fn compile(grants: &[Grant]) -> Grants {
    grants.iter().flat_map(permissions).collect()
}

fn permissions(grant: &Grant) -> Vec<(Pattern, Actions)> {
    match grant {
        Grant::Apis(names) => names.iter().filter_map(|name| use_of("apis", name)).collect(),
        Grant::Dataservices(names) => names.iter().filter_map(|name| use_of("dataservices", name)).collect(),
        Grant::Database { tables, schemas } => {
            let tables = tables.iter().filter_map(|table| {
                let pattern = literal(&["tables", &table.schema, &table.name])?;
                Some((pattern, words(&table.permissions, &TABLE_PERMISSIONS)))
            });
            let schemas = schemas.iter().filter_map(|schema| {
                let pattern = literal(&["schemas", &schema.name])?;
                Some((pattern, words(&schema.permissions, &SCHEMA_PERMISSIONS)))
            });
            tables.chain(schemas).collect()
        }
        Grant::Resources { resource, actions } => {
            let pattern = Pattern::parse(resource);
            pattern.map(|pattern| (pattern, Actions::of(actions.iter().map(String::as_str)))).into_iter().collect()
        }
    }
}

fn use_of(kind: &str, name: &str) -> Option<(Pattern, Actions)> {
    Some((literal(&[kind, name])?, Actions::of(["use"])))
}

/// The pattern of exactly these segments: a name never brings a wildcard or a segment more.
fn literal(segments: &[&str]) -> Option<Pattern> {
    segments.iter().all(|segment| is_segment(segment)).then(|| Pattern::parse(&segments.join("/")))?
}

fn words(permissions: &[String], legal: &[&str]) -> Actions {
    Actions::of(permissions.iter().map(String::as_str).filter(|permission| legal.contains(permission)))
}

/// What has been found so far.
struct Rules(Vec<Violation>);

impl Rules {
    fn break_rule(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        if self.0.len() < MAX_VIOLATIONS {
            self.0.push(Violation::new(field, rule));
        }
    }

    fn names(&mut self, names: &[String], field: &str) {
        self.each(names, field, SEGMENT_RULE, is_segment);
    }

    fn name(&mut self, name: &str, field: String) {
        if !is_segment(name) {
            self.break_rule(field, SEGMENT_RULE);
        }
    }

    fn words(&mut self, words: &[String], field: &str, legal: &[&str]) {
        let rule = match legal {
            [one] => format!("must be {one}"),
            several => format!("must be one of {}", several.join(", ")),
        };
        self.each(words, field, &rule, |word| legal.contains(&word));
    }

    fn each(&mut self, values: &[String], field: &str, rule: &str, is_good: impl Fn(&str) -> bool) {
        if values.is_empty() {
            self.break_rule(field, EMPTY_RULE);
        }
        for (place, _) in values.iter().enumerate().filter(|(_, value)| !is_good(value)) {
            self.break_rule(format!("{field}[{place}]"), rule);
        }
    }

    fn database(&mut self, tables: &[TableGrant], schemas: &[SchemaGrant], field: &str) {
        if tables.is_empty() && schemas.is_empty() {
            self.break_rule(field, "must name a table or a schema");
        }
        for (place, table) in tables.iter().enumerate() {
            let field = format!("{field}.tables[{place}]");
            self.name(&table.schema, format!("{field}.schema"));
            self.name(&table.name, format!("{field}.name"));
            self.words(&table.permissions, &format!("{field}.permissions"), &TABLE_PERMISSIONS);
        }
        for (place, schema) in schemas.iter().enumerate() {
            let field = format!("{field}.schemas[{place}]");
            self.name(&schema.name, format!("{field}.name"));
            self.words(&schema.permissions, &format!("{field}.permissions"), &SCHEMA_PERMISSIONS);
        }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
