//! The database as an auditor sees it: by SQL, on a connection of its own.

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, ConnectOptions as _, Row as _};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub async fn connect(database: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(database).busy_timeout(Duration::from_secs(10));
    options.connect().await.unwrap()
}

/// Carries a statement out; how many rows it changed.
pub async fn execute(database: &Path, sql: &'static str) -> u64 {
    sqlx::query(sql).execute(&mut connect(database).await).await.unwrap().rows_affected()
}

/// What the ledger and the rows say, once they have been found to agree.
#[derive(Debug)]
pub struct Audited {
    /// Kind and subject of the event of each revision.
    pub events: BTreeMap<i64, (String, String)>,
    pub keys: usize,
    pub checks: u64,
}

/// Checks that nothing is half there: revisions run from 1 to the head without a gap, each with its event and its
/// changes, and every row is what the last change of its thing made it, with no row besides.
pub async fn audit(database: &Path) -> Audited {
    let mut db = connect(database).await;
    let mut checks = 0;
    let mut events = BTreeMap::new();
    let mut last_chain = vec![0_u8; 32];
    let rows = sqlx::query("SELECT revision, kind, subject, chain FROM audit_event ORDER BY revision");
    for (expected, row) in (1..).zip(rows.fetch_all(&mut db).await.unwrap()) {
        assert_eq!(row.get::<i64, _>("revision"), expected, "a gap in the events");
        events.insert(expected, (row.get("kind"), row.get("subject")));
        last_chain = row.get("chain");
        checks += 1;
    }
    let head = sqlx::query("SELECT rev, chain FROM ledger_head").fetch_all(&mut db).await.unwrap();
    assert_eq!(head.len(), 1);
    assert_eq!(head[0].get::<i64, _>("rev"), events.len() as i64, "head and events disagree");
    assert_eq!(head[0].get::<Vec<u8>, _>("chain"), last_chain, "head and last event disagree");

    // The fold of the log: the last form of each thing, and the revision that gave it.
    let mut things: BTreeMap<String, (i64, serde_json::Value)> = BTreeMap::new();
    let mut changed = std::collections::BTreeSet::new();
    let rows = sqlx::query("SELECT rev, entity, payload FROM ledger_change ORDER BY rev, seq");
    for row in rows.fetch_all(&mut db).await.unwrap() {
        let change: serde_json::Value = serde_json::from_str(row.get("payload")).unwrap();
        changed.insert(row.get::<i64, _>("rev"));
        things.insert(row.get("entity"), (row.get("rev"), change["after"].clone()));
    }
    assert!(changed.iter().eq(events.keys()), "events and changes are of different revisions");
    drop(db);
    for (table, name) in [("tenant", "'tenants/' || id"), ("tenant_user", "'tenants/' || tenant_id || '/users/' || id")]
    {
        checks += compare_standing(database, table, name, &things).await;
    }
    checks += compare_people(database, &things).await;
    checks += compare_signing_keys(database, &things).await;
    let (keys, compared) = compare_keys(database, &things).await;
    Audited { events, keys, checks: checks + compared }
}

async fn compare_standing(
    database: &Path,
    table: &str,
    name: &str,
    things: &BTreeMap<String, (i64, serde_json::Value)>,
) -> u64 {
    let mut db = connect(database).await;
    let sql = format!("SELECT {name} AS name, revision, is_suspended, delete_time FROM {table}");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
    for row in &rows {
        let name: String = row.get("name");
        let (revision, thing) = things.get(&name).unwrap_or_else(|| panic!("the log knows nothing of {name}"));
        assert_eq!(row.get::<i64, _>("revision"), *revision, "{name}");
        assert_eq!(serde_json::json!(row.get::<bool, _>("is_suspended")), thing["is_suspended"], "{name}");
        assert_eq!(serde_json::json!(row.get::<Option<i64>, _>("delete_time")), thing["delete_time"], "{name}");
    }
    let logged = things.keys().filter(|entity| match table {
        "tenant" => entity.starts_with("tenants/") && entity.split('/').count() == 2,
        _ => entity.contains("/users/"),
    });
    assert_eq!(logged.count(), rows.len(), "rows of {table} are missing");
    rows.len() as u64
}

/// Applications, access tokens and sessions: every column that the log tells of, too. Whatever is not swept away is there.
async fn compare_people(database: &Path, things: &BTreeMap<String, (i64, serde_json::Value)>) -> u64 {
    let mut checks = 0;
    let mut db = connect(database).await;
    let tables = [
        ("application", "applications", &["owner_id owner", "revoke_time", "delete_time", "tokens_end_revision"][..]),
        ("access_token", "tokens", &["expire_time", "revoke_time", "secret_version", "based_revision"]),
        ("user_session", "sessions", &["user_id user", "expire_time", "revoke_time", "based_revision"]),
    ];
    for (table, collection, columns) in tables {
        let names = columns.iter().map(|column| column.split_once(' ').unwrap_or((column, column)));
        let pairs: Vec<String> = names.map(|(column, field)| format!("'{field}', {column}")).collect();
        let sql = format!("SELECT tenant_id, id, revision, json_object({}) AS row FROM {table}", pairs.join(", "));
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
        for row in &rows {
            let id: String = row.get("id");
            let name = format!("tenants/{}/{collection}/{id}", row.get::<String, _>("tenant_id"));
            let (revision, thing) = things.get(&name).unwrap_or_else(|| panic!("the log knows nothing of {name}"));
            assert_eq!(row.get::<i64, _>("revision"), *revision, "{name}");
            let fields: serde_json::Value = serde_json::from_str(row.get("row")).unwrap();
            for (field, value) in fields.as_object().unwrap() {
                assert_eq!(value, &thing[field], "{field} of {name}");
                checks += 1;
            }
        }
        let logged = things.keys().filter(|entity| entity.contains(&format!("/{collection}/"))).count();
        assert_eq!(logged, rows.len(), "rows of {table} are missing");
    }
    checks
}

async fn compare_signing_keys(database: &Path, things: &BTreeMap<String, (i64, serde_json::Value)>) -> u64 {
    let mut db = connect(database).await;
    let sql = "SELECT kid, revision, sign_time, retire_time, is_compromised, nonce, ciphertext FROM signing_key";
    let rows = sqlx::query(sql).fetch_all(&mut db).await.unwrap();
    for row in &rows {
        let name = format!("signing-keys/{}", row.get::<String, _>("kid"));
        let (revision, key) = things.get(&name).unwrap_or_else(|| panic!("the log knows nothing of {name}"));
        assert_eq!(row.get::<i64, _>("revision"), *revision, "{name}");
        assert_eq!(serde_json::json!(row.get::<i64, _>("sign_time")), key["sign_time"], "{name}");
        assert_eq!(serde_json::json!(row.get::<Option<i64>, _>("retire_time")), key["retire_time"], "{name}");
        assert_eq!(serde_json::json!(row.get::<bool, _>("is_compromised")), key["is_compromised"], "{name}");
        let (nonce, ciphertext): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get("nonce"), row.get("ciphertext"));
        assert_eq!(nonce.is_some(), ciphertext.is_some(), "{name} is half there");
        assert!(nonce.is_some() || key["retire_time"].is_number(), "{name} can sign no more");
    }
    let logged = things.keys().filter(|entity| entity.starts_with("signing-keys/"));
    assert_eq!(logged.count(), rows.len(), "rows of signing keys are missing");
    rows.len() as u64
}

/// When a secret retires, and whether it has; nothing and `false` are the same.
fn retirement(time: &serde_json::Value, is_over: &serde_json::Value) -> serde_json::Value {
    serde_json::json!([time, is_over.as_bool().unwrap_or_default()])
}

async fn compare_keys(database: &Path, things: &BTreeMap<String, (i64, serde_json::Value)>) -> (usize, u64) {
    let mut db = connect(database).await;
    let sql = "SELECT tenant_id, key_id, lower(hex(digest)) AS digest, retire_time, is_retired FROM api_key_secret ORDER BY digest";
    let mut secrets: BTreeMap<String, BTreeMap<String, serde_json::Value>> = BTreeMap::new();
    for row in sqlx::query(sql).fetch_all(&mut db).await.unwrap() {
        let name = format!("tenants/{}/keys/{}", row.get::<String, _>("tenant_id"), row.get::<String, _>("key_id"));
        let (time, is_over) = (row.get::<Option<i64>, _>("retire_time"), row.get::<bool, _>("is_retired"));
        let retirement = retirement(&serde_json::json!(time), &serde_json::json!(is_over));
        secrets.entry(name).or_default().insert(row.get("digest"), retirement);
    }
    let sql =
        "SELECT tenant_id, id, revision, is_suspended, revoke_time, delete_time, description, grants FROM api_key";
    let rows = sqlx::query(sql).fetch_all(&mut db).await.unwrap();
    let mut checks = 0;
    for row in &rows {
        let name = format!("tenants/{}/keys/{}", row.get::<String, _>("tenant_id"), row.get::<String, _>("id"));
        let (revision, key) = things.get(&name).unwrap_or_else(|| panic!("the log knows nothing of {name}"));
        let grants: serde_json::Value = serde_json::from_str(row.get("grants")).unwrap();
        assert_eq!(row.get::<i64, _>("revision"), *revision, "{name}");
        assert_eq!(serde_json::json!(row.get::<bool, _>("is_suspended")), key["is_suspended"], "{name}");
        assert_eq!(serde_json::json!(row.get::<Option<i64>, _>("revoke_time")), key["revocation"]["time"], "{name}");
        assert_eq!(serde_json::json!(row.get::<Option<i64>, _>("delete_time")), key["delete_time"], "{name}");
        assert_eq!(serde_json::json!(row.get::<String, _>("description")), key["description"], "{name}");
        assert_eq!(grants, key["grants"], "{name}");
        let logged: BTreeMap<String, serde_json::Value> = key["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|secret| {
                (
                    secret["digest"].as_str().unwrap().to_owned(),
                    retirement(&secret["retirement"]["time"], &secret["retirement"]["is_over"]),
                )
            })
            .collect();
        assert_eq!(secrets.remove(&name).unwrap_or_default(), logged, "{name}");
        checks += 7;
    }
    assert!(secrets.is_empty(), "secrets of no key: {:?}", secrets.keys());
    let logged = things.keys().filter(|entity| entity.contains("/keys/")).count();
    assert_eq!(logged, rows.len(), "rows of keys are missing");
    (rows.len(), checks)
}
