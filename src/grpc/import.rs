//! `KeyService.ImportKeys`: a stream of batches, each answered after its commit and before the next one is read, so that
//! memory does not grow with the stream.

use super::load::Seat;
use super::status::clip;
use super::stream::seated;
use super::{Api, convert, rpcs};
use crate::desk::detached;
use crate::desk::import::{Batch, Imported, import};
use crate::error::{Error, Result};
use crate::proto::v1 as proto;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Status, Streaming};

/// The answers to the batches of one stream.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<proto::ImportKeysResponse, Status>> + Send>>;

/// What earlier messages of a stream said.
#[derive(Debug, Default)]
struct Progress {
    parent: String,
    sequence: i64,
}

/// Answers each batch of a stream that has this seat; the first that ends the stream is the last.
pub(super) fn answers(api: Api, request: Request<Streaming<proto::ImportKeysRequest>>, seat: Option<Seat>) -> Answers {
    let (metadata, extensions, batches) = request.into_parts();
    let asker = Arc::new(Request::from_parts(metadata, extensions, ()));
    let progress: Arc<Mutex<Progress>> = Arc::default();
    let answers = batches.then(move |message| {
        let (api, asker, progress) = (api.clone(), Arc::clone(&asker), Arc::clone(&progress));
        async move { Ok(answer(&api, &asker, &progress, message?).await?) }
    });
    Box::pin(seated(seat, answers))
}

/// Takes over one batch. The caller is admitted anew: one who was revoked in between imports no more.
async fn answer(
    api: &Api,
    asker: &Request<()>,
    progress: &Mutex<Progress>,
    message: proto::ImportKeysRequest,
) -> Result<proto::ImportKeysResponse> {
    let admitted = api.gate.admit(asker, rpcs::IMPORT_KEYS)?;
    let proto::ImportKeysRequest { parent, sequence, entries } = message;
    let parent = progress.lock().parent(parent)?;
    let parent = api.gate.key_parent(&admitted, &parent)?;
    progress.lock().advance(sequence)?;
    let max = api.limits.max_batch;
    if entries.len() > max {
        return Err(Error::invalid("entries", format!("must hold at most {max} entries")));
    }
    let now = api.desk.clock.now();
    let (mut wanted, mut refused) = (Vec::with_capacity(entries.len()), Vec::new());
    for entry in entries {
        match convert::import_entry(&parent, entry, now) {
            Ok(entry) => wanted.push(entry),
            Err(refusal) => refused.push(refusal),
        }
    }
    let batch = Batch { parent, entries: wanted, refused };
    let command = import(api.desk.clone(), admitted.caller, admitted.call, batch);
    let Imported { count, mut refused, revision } = detached(command).await?;
    refused.sort_by_key(|refusal| refusal.line);
    Ok(proto::ImportKeysResponse {
        sequence,
        imported_count: i64::try_from(count).map_err(Error::internal)?,
        errors: refused
            .into_iter()
            .map(|refusal| proto::ImportKeysError { line: refusal.line, reason: clip(&refusal.reason) })
            .collect(),
        revision,
    })
}

impl Progress {
    /// The parent of a message: the stream's own where it names none.
    fn parent(&mut self, parent: String) -> Result<String> {
        if self.parent.is_empty() {
            self.parent.clone_from(&parent);
        }
        if parent.is_empty() || parent == self.parent {
            Ok(self.parent.clone())
        } else {
            Err(Error::invalid("parent", "must be the same in all messages of a stream, or empty after the first"))
        }
    }

    /// Takes note of a message's number.
    fn advance(&mut self, sequence: i64) -> Result<()> {
        if sequence <= 0 || sequence < self.sequence {
            return Err(Error::invalid("sequence", "must be above zero and not below that of the message before"));
        }
        self.sequence = sequence;
        Ok(())
    }
}
