//! Sets of grants, each kept once however many keys hold it.

use crate::domain::permission::Grants;
use hashbrown::HashSet;
use std::sync::Arc;

/// Below this many nothing is thrown away.
const FEW: usize = 1024;

/// The sets that somebody holds, and some that nobody holds any more.
#[derive(Debug, Default)]
pub(super) struct SharedGrants {
    sets: HashSet<Arc<Grants>>,
    /// When there are so many, those that nobody holds are thrown away.
    limit: usize,
}

impl SharedGrants {
    /// The one set that equals `grants`.
    pub(super) fn share(&mut self, grants: Grants) -> Arc<Grants> {
        if let Some(known) = self.sets.get(&grants) {
            return Arc::clone(known);
        }
        if self.sets.len() >= self.limit.max(FEW) {
            self.sets.retain(|set| Arc::strong_count(set) > 1);
            self.limit = self.sets.len().saturating_mul(2);
        }
        let set = Arc::new(grants);
        self.sets.insert(Arc::clone(&set));
        set
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::permission::{Actions, Pattern};

    fn grants(number: usize) -> Grants {
        let pattern = Pattern::parse(&format!("doc/{number}")).unwrap();
        [(pattern, Actions::Any)].into_iter().collect()
    }

    #[test]
    fn equal_sets_are_one_and_those_that_nobody_holds_do_not_add_up() {
        let mut shared = SharedGrants::default();
        let held = shared.share(grants(0));
        assert!(Arc::ptr_eq(&held, &shared.share(grants(0))));
        for number in 1..10 * FEW {
            shared.share(grants(number));
        }
        assert!(shared.sets.len() <= 2 * FEW, "{} are kept", shared.sets.len());
        assert!(Arc::ptr_eq(&held, &shared.share(grants(0))));
    }
}
