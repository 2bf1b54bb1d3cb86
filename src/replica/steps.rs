//! For those who go along with the ledger: how far this replica has applied it, and when that is further.

use super::{Ledger, Progress};
use crate::error::{Error, Result};
use tokio::sync::watch;

/// The steps that this replica takes through one ledger.
#[derive(Clone, Debug)]
pub struct Steps {
    progress: watch::Receiver<Progress>,
    cluster_id: String,
}

impl Ledger {
    /// From here on, for as long as the same ledger is followed.
    pub fn steps(&self) -> Steps {
        let progress = self.progress.clone();
        let cluster_id = progress.borrow().cluster_id.clone();
        Steps { progress, cluster_id }
    }
}

impl Steps {
    /// Which ledger it is.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Waits until more than `revision` is applied; how much is. In vain once another ledger is followed, whose revisions
    /// mean something else.
    pub async fn beyond(&mut self, revision: i64) -> Result<i64> {
        let Self { progress, cluster_id } = self;
        let is_over = |progress: &Progress| progress.cluster_id != *cluster_id || progress.applied > revision;
        match progress.wait_for(is_over).await {
            Ok(progress) if progress.cluster_id == *cluster_id => Ok(progress.applied),
            Ok(_) => Err(Error::unavailable("another ledger was adopted, which is watched anew")),
            Err(_) => Err(Error::unavailable("this replica has left")),
        }
    }
}
