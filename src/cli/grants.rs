//! Grants on the command line: options to messages, and messages to text.

use clap::Args;

use super::output::plain;
use crate::proto::v1::grant::Kind;
use crate::proto::v1::{ApisGrant, DatabaseGrant, DataservicesGrant, Grant, ResourcesGrant, SchemaGrant, TableGrant};

/// What a key may do.
#[derive(Debug, Args)]
pub(super) struct GrantOptions {
    /// Actions on a resource path, whose last segment may be `*` or `**`; may repeat
    #[arg(long = "grant", value_name = "RESOURCE=ACTION[,ACTION]", value_parser = resources)]
    resources: Vec<ResourcesGrant>,

    /// Use of an API; may repeat
    #[arg(long = "grant-api", value_name = "NAME")]
    apis: Vec<String>,

    /// Rights on a table, any of select, insert, update, delete; may repeat
    #[arg(long = "grant-table", value_name = "SCHEMA.TABLE=RIGHT[,RIGHT]", value_parser = table)]
    tables: Vec<TableGrant>,

    /// The right to create in a schema; may repeat
    #[arg(long = "grant-schema", value_name = "SCHEMA[=create]", value_parser = schema)]
    schemas: Vec<SchemaGrant>,

    /// Use of a data service; may repeat
    #[arg(long = "grant-dataservice", value_name = "NAME")]
    dataservices: Vec<String>,
}

impl GrantOptions {
    /// One grant of each form that was given, and one per resource path.
    pub(super) fn grants(&self) -> Vec<Grant> {
        let mut kinds = Vec::new();
        if !self.apis.is_empty() {
            kinds.push(Kind::Apis(ApisGrant { names: self.apis.clone() }));
        }
        if !self.tables.is_empty() || !self.schemas.is_empty() {
            kinds.push(Kind::Database(DatabaseGrant { tables: self.tables.clone(), schemas: self.schemas.clone() }));
        }
        if !self.dataservices.is_empty() {
            kinds.push(Kind::Dataservices(DataservicesGrant { names: self.dataservices.clone() }));
        }
        kinds.extend(self.resources.iter().cloned().map(Kind::Resources));
        kinds.into_iter().map(|kind| Grant { kind: Some(kind) }).collect()
    }
}

/// One line for each thing that is granted.
pub(super) fn lines(grants: &[Grant]) -> String {
    let mut lines = Vec::new();
    for grant in grants {
        match &grant.kind {
            Some(Kind::Apis(apis)) => lines.extend(apis.names.iter().map(|name| format!("api {name}: use"))),
            Some(Kind::Database(database)) => {
                for table in &database.tables {
                    lines.push(format!("table {}.{}: {}", table.schema, table.name, table.permissions.join(", ")));
                }
                for schema in &database.schemas {
                    lines.push(format!("schema {}: {}", schema.name, schema.permissions.join(", ")));
                }
            }
            Some(Kind::Dataservices(services)) => {
                lines.extend(services.names.iter().map(|name| format!("dataservice {name}: use")));
            }
            Some(Kind::Resources(resources)) => {
                lines.push(format!("{}: {}", resources.resource, resources.actions.join(", ")));
            }
            None => lines.push("a form that this client does not know".to_owned()),
        }
    }
    lines.iter().map(|line| plain(line)).collect::<Vec<_>>().join("\n")
}

/// Parses `RESOURCE=ACTION[,ACTION]`. The last `=` counts, since a path may hold one and an action may not.
fn resources(text: &str) -> Result<ResourcesGrant, String> {
    let (resource, actions) = text.rsplit_once('=').ok_or("must be RESOURCE=ACTION[,ACTION]")?;
    if resource.is_empty() {
        return Err("the resource is missing before `=`".to_owned());
    }
    Ok(ResourcesGrant { resource: resource.to_owned(), actions: words(actions)? })
}

/// Parses `SCHEMA.TABLE=RIGHT[,RIGHT]`. The first dot counts.
fn table(text: &str) -> Result<TableGrant, String> {
    let rule = "must be SCHEMA.TABLE=RIGHT[,RIGHT], such as public.roads=select,insert";
    let (path, rights) = text.rsplit_once('=').ok_or(rule)?;
    let (schema, name) = path.split_once('.').ok_or(rule)?;
    if schema.is_empty() || name.is_empty() {
        return Err(rule.to_owned());
    }
    Ok(TableGrant { schema: schema.to_owned(), name: name.to_owned(), permissions: words(rights)? })
}

/// Parses `SCHEMA` or `SCHEMA=create`.
fn schema(text: &str) -> Result<SchemaGrant, String> {
    let (name, rights) = text.rsplit_once('=').unwrap_or((text, "create"));
    if name.is_empty() {
        return Err("must be SCHEMA or SCHEMA=create".to_owned());
    }
    Ok(SchemaGrant { name: name.to_owned(), permissions: words(rights)? })
}

/// Words between commas, none of them empty.
fn words(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = text.split(',').map(str::to_owned).collect();
    if words.iter().any(String::is_empty) {
        return Err("an action is missing".to_owned());
    }
    Ok(words)
}
