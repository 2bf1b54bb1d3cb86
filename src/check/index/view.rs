//! One view at a time, as long as the lease lasts.
//!
//! Readers and the one writer agree by a sequence number: the writer makes it odd while it overwrites entries and moves
//! `applied`, and a reader that met an odd number, or finds it changed when it has finished, starts again.

use super::{CannotDecide, Index};
use crate::clock::boot_time;
use crate::domain::clock::Moment;
use std::sync::atomic::{Ordering, fence};

/// After how many tries in vain a reader lets others run.
const TRIES_BEFORE_YIELD: u32 = 16;

/// After how many views that a change cut short a reader gives up: a question so large that it never fits between two
/// changes must not hold its thread for ever.
const MAX_LOOKS: u32 = 1000;

impl Index {
    /// Until when it may answer, unless that is moved; [`Moment::NEVER`] if it may not.
    pub fn valid_until(&self) -> Moment {
        Moment::from_nanos(self.valid_until.load(Ordering::Acquire))
    }

    /// Whether it may answer now.
    pub fn is_serving(&self) -> bool {
        boot_time() < self.valid_until()
    }

    /// Lets it answer until then. Only the follower calls it, once everything up to the head that it has polled is in.
    pub fn renew(&self, valid_until: Moment) {
        self.overwrite(|| self.valid_until.store(valid_until.nanos(), Ordering::Relaxed));
    }

    /// Stops it: nothing is answered any more that is not decided yet.
    pub fn stop(&self) {
        self.renew(Moment::NEVER);
    }

    /// Does something to what readers see while the sequence number is odd: a view that meets it starts again.
    ///
    /// INVARIANT (one view): in `write` nothing allocates and nothing waits but for a reader to leave a shard.
    pub(super) fn overwrite(&self, write: impl FnOnce()) {
        let _one_at_a_time = self.writing.lock();
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        write();
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// Looks into the index in one consistent view. `look` is given the revision; it may run several times and must be
    /// pure.
    pub(in crate::check) fn view<T>(&self, look: impl Fn(i64) -> T) -> Result<T, CannotDecide> {
        let (mut tries, mut looks) = (0_u32, 0_u32);
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let valid_until = Moment::from_nanos(self.valid_until.load(Ordering::Relaxed));
                let answer = look(self.applied.load(Ordering::Relaxed));
                // The clock is read after the view was taken, each time: a thread may have been stopped anywhere before.
                let is_serving = boot_time() < valid_until;
                fence(Ordering::Acquire);
                if self.sequence.load(Ordering::Relaxed) == before {
                    return if is_serving { Ok(answer) } else { Err(CannotDecide) };
                }
                looks = looks.saturating_add(1);
                if looks == MAX_LOOKS {
                    return Err(CannotDecide);
                }
            }
            tries = tries.saturating_add(1);
            if tries.is_multiple_of(TRIES_BEFORE_YIELD) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}
