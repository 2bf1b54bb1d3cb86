//! What is done by whoever has the database, not by a caller: the root credential is made once by the first start and
//! replaced offline, and a ledger is adopted.

use crate::domain::change::{Change, Root};
use crate::domain::credential::{Credential, CredentialId, Prefix};
use crate::error::Result;
use crate::store::{Committed, Entry, Store};
use serde_json::json;

/// Makes root unless there is one. `keep` is given the credential before the commit, under the head lock, so that what
/// it writes to a file is there before root is; if it fails, there is no root.
pub async fn establish(store: &Store, keep: impl AsyncFnOnce(&Credential) -> Result<()>) -> Result<Option<Credential>> {
    let draft = store.begin().await?;
    if draft.root().await?.is_some() {
        return Ok(None);
    }
    let (credential, secret) = draft.mint(&Prefix::default());
    keep(&credential).await?;
    let root = Root { secrets: vec![secret], revision: 0 };
    draft.commit(vec![Change::Root(root)], entry("root.create"), None).await?;
    Ok(Some(credential))
}

/// Replaces root; the old credential ends at once.
pub async fn rotate(
    store: &Store,
    keep: impl AsyncFnOnce(&Credential) -> Result<()>,
) -> Result<(Credential, Committed)> {
    let draft = store.begin().await?;
    let (credential, secret) = draft.mint(&Prefix::default());
    keep(&credential).await?;
    let detail = json!({ "after": { "credential_id": secret.id.as_ref().map(CredentialId::as_str) } });
    let root = match draft.root().await? {
        Some(root) => root.rotated(secret, draft.now()),
        None => Root { secrets: vec![secret], revision: 0 },
    };
    let committed = draft.commit(vec![Change::Root(root)], Entry { detail, ..entry("root.rotate") }, None).await?;
    Ok((credential, committed))
}

/// Declares this ledger to be the one to follow, whatever replicas have followed before. Answers with the revision and the
/// new name of the ledger.
pub async fn adopt(store: &Store) -> Result<(i64, String)> {
    let draft = store.begin().await?;
    let cluster_id = uuid::Uuid::new_v4().to_string();
    let before = draft.rename_cluster(&cluster_id).await?;
    let detail = json!({ "before": before, "after": cluster_id });
    let entry = Entry { subject: "ledger".to_owned(), detail, ..entry("ledger.adopt") };
    let Committed { revision, .. } = draft.commit(Vec::new(), entry, None).await?;
    Ok((revision, cluster_id))
}

/// Done by whoever has the database, not by a caller.
fn entry(kind: &'static str) -> Entry {
    Entry {
        kind,
        tenant: None,
        actor: "operator".to_owned(),
        credential_id: String::new(),
        subject: "root".to_owned(),
        request_id: String::new(),
        source_ip: String::new(),
        detail: json!({}),
    }
}
