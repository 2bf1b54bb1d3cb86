use super::*;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn table(schema: &str, name: &str, permissions: &[&str]) -> TableGrant {
    TableGrant { schema: schema.into(), name: name.into(), permissions: texts(permissions) }
}

fn schema(name: &str, permissions: &[&str]) -> SchemaGrant {
    SchemaGrant { name: name.into(), permissions: texts(permissions) }
}

fn resources(resource: &str, actions: &[&str]) -> Grant {
    Grant::Resources { resource: resource.into(), actions: texts(actions) }
}

fn one_of_each() -> Vec<Grant> {
    vec![
        Grant::Apis(texts(&["maps", "sql"])),
        Grant::Database {
            tables: vec![table("public", "roads", &["select", "insert"])],
            schemas: vec![schema("public", &["create"])],
        },
        Grant::Dataservices(texts(&["geocoding"])),
        resources("doc/**", &["*"]),
    ]
}

#[test]
fn each_grant_permits_what_the_contract_says() {
    assert_eq!(validate(&one_of_each(), "key.grants"), []);
    let grants = compile(&one_of_each());
    for (resource, action) in [
        ("apis/maps", "use"),
        ("apis/sql", "use"),
        ("tables/public/roads", "select"),
        ("tables/public/roads", "insert"),
        ("schemas/public", "create"),
        ("dataservices/geocoding", "use"),
        ("doc/a/b", "anything"),
    ] {
        assert!(grants.allows(resource, action), "{resource} {action}");
    }
    for (resource, action) in [
        ("apis/maps", "read"),
        ("apis/other", "use"),
        ("tables/public/roads", "delete"),
        ("tables/public/roads", "create"),
        ("tables/other/roads", "select"),
        ("schemas/public", "select"),
        ("doc", "read"),
    ] {
        assert!(!grants.allows(resource, action), "{resource} {action}");
    }
}

#[test]
fn the_stored_form_never_changes() {
    // NEVER CHANGE: rows of this form are in the field.
    let json = concat!(
        r#"[{"apis":["maps","sql"]},"#,
        r#"{"database":{"tables":[{"schema":"public","name":"roads","permissions":["select","insert"]}],"#,
        r#""schemas":[{"name":"public","permissions":["create"]}]}},"#,
        r#"{"dataservices":["geocoding"]},{"resources":{"resource":"doc/**","actions":["*"]}}]"#,
    );
    assert_eq!(serde_json::to_string(&one_of_each()).unwrap(), json);
    assert_eq!(serde_json::from_str::<Vec<Grant>>(json).unwrap(), one_of_each());
}

#[test]
fn what_breaks_a_rule_is_named_and_permits_nothing() {
    #[track_caller]
    fn check(grant: Grant, expected: &[&str]) {
        let violations = validate(&[resources("a", &["b"]), grant.clone()], "key.grants");
        let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        let expected: Vec<String> = expected.iter().map(|field| format!("key.grants[1].{field}")).collect();
        assert_eq!(fields, expected);
        assert!(compile(&[grant]).is_empty());
    }
    check(Grant::Apis(vec![]), &["apis.names"]);
    check(Grant::Apis(texts(&["*", "a/b", ".."])), &["apis.names[0]", "apis.names[1]", "apis.names[2]"]);
    check(Grant::Dataservices(texts(&[""])), &["dataservices.names[0]"]);
    check(resources("*/a", &["read"]), &["resources.resource"]);
    check(resources("a", &[]), &["resources.actions"]);
    check(resources("a", &["re*"]), &["resources.actions[0]"]);
    check(Grant::Database { tables: vec![], schemas: vec![] }, &["database"]);
    check(
        Grant::Database {
            tables: vec![table("*", "a", &["select"]), table("a", "**", &["select"]), table("a", "b", &["create"])],
            schemas: vec![schema("a", &[]), schema("a/b", &["create"]), schema("a", &["*"])],
        },
        &[
            "database.tables[0].schema",
            "database.tables[1].name",
            "database.tables[2].permissions[0]",
            "database.schemas[0].permissions",
            "database.schemas[1].name",
            "database.schemas[2].permissions[0]",
        ],
    );
}

#[test]
fn there_is_a_limit_to_grants_and_to_what_is_said_of_them() {
    let many = vec![resources("a", &["b"]); MAX_GRANTS];
    assert_eq!(validate(&many, "key.grants"), []);
    let one_more = [many, vec![resources("a", &["b"])]].concat();
    assert_eq!(validate(&one_more, "key.grants"), [Violation::new("key.grants", "must be at most 1000")]);
    assert_eq!(validate(&[Grant::Apis(vec![String::new(); 5000])], "key.grants").len(), MAX_VIOLATIONS);
}
