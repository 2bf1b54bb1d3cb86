//! Streams of answers: each has a seat of its listener from when its caller is admitted, and ends with its first error.

use super::load::{Load, Seat};
use crate::error::Result;
use std::sync::Arc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Extensions, Status};

/// Where a stream finds its seat: in the extensions of its request, unless nobody counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Option<Arc<Load>>);

impl Seats {
    /// Those of a listener.
    pub(super) fn at(load: &Arc<Load>) -> Self {
        Self(Some(Arc::clone(load)))
    }

    /// Those for the stream that was asked for by a request with these extensions.
    pub(super) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// A seat for a caller who was admitted, to be held until the stream ends.
    pub(super) fn take(&self) -> Result<Option<Seat>> {
        self.0.as_ref().map(Load::open).transpose()
    }
}

/// A stream that holds its seat, and ends with its first error.
pub(super) fn seated<T>(
    seat: Option<Seat>,
    stream: impl Stream<Item = Result<T, Status>>,
) -> impl Stream<Item = Result<T, Status>> {
    let (seat, mut has_failed) = (seat, false);
    stream.map_while(move |item| {
        let _held = &seat;
        if has_failed {
            return None;
        }
        has_failed = item.is_err();
        Some(item)
    })
}
