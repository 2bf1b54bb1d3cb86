//! A hash table of entries that are elsewhere in memory, laid out so that a look-up waits for one line of the cache and
//! then for the entry: a line holds up to seven entries and a byte of the hash of each. A table of control bytes apart
//! from its entries, as `hashbrown` has it, waits for two.

use std::sync::Arc;

/// How many entries a line of 64 bytes has room for, beside their tags.
const WIDTH: usize = 7;

/// With how many entries a line, on average, the table is full. If it was filled at once, seven in a hundred are then not
/// in the line where they are looked for first.
const FULL: usize = 5;

/// With how many it begins anew.
const ROOMY: usize = 4;

/// Of so many entries one may have strayed, as comes of entries that go and others that come, before it begins anew.
const STRAYED: usize = 8;

/// Entries by a hash that spreads them evenly, whatever they are.
#[derive(Debug)]
pub(super) struct Lines<T> {
    lines: Box<[Line<T>]>,
    len: usize,
    /// How many are not in the line where they are looked for first.
    strayed: usize,
}

/// INVARIANT (found): an entry is in the line at which its hash begins, or further on, and every line in between has
/// counted it.
#[derive(Debug)]
#[repr(align(64))]
struct Line<T> {
    entries: [Option<Arc<T>>; WIDTH],
    tags: [u8; WIDTH],
    /// How many entries found no room here and are further on. What is too many to be counted is never less again.
    passed: u8,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { lines: Box::default(), len: 0, strayed: 0 }
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { entries: [const { None }; WIDTH], tags: [0; WIDTH], passed: 0 }
    }
}

/// Which of the entries of a line are worth being compared.
fn tag_of(hash: u64) -> u8 {
    let [.., tag] = hash.to_le_bytes();
    tag
}

impl<T> Line<T> {
    fn find(&self, tag: u8, is_it: impl Fn(&T) -> bool) -> Option<usize> {
        let mut tagged = self.tags.iter().zip(&self.entries);
        tagged.position(|(other, entry)| *other == tag && entry.as_ref().is_some_and(|entry| is_it(entry)))
    }
}

impl<T> Lines<T> {
    /// The entry with this hash that `is_it`.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&Arc<T>> {
        let (line, slot) = self.place(hash, is_it)?;
        self.lines.get(line)?.entries.get(slot)?.as_ref()
    }

    /// Makes room for so many more, and order among what there is; `hash` tells that of an entry.
    pub(super) fn reserve(&mut self, more: usize, hash: impl Fn(&T) -> u64) {
        let wanted = self.len.saturating_add(more);
        if wanted > self.lines.len().saturating_mul(FULL) || self.strayed > self.len / STRAYED {
            self.renew(wanted, hash);
        }
    }

    /// Begins anew, with room for so many.
    fn renew(&mut self, wanted: usize, hash: impl Fn(&T) -> u64) {
        let lines = std::iter::repeat_with(Line::default).take(wanted.div_ceil(ROOMY)).collect();
        let old = std::mem::replace(self, Self { lines, len: 0, strayed: 0 });
        for entry in old.lines.into_iter().flat_map(|line| line.entries).flatten() {
            self.add(hash(&entry), entry);
        }
    }

    /// Puts `new` where what `is_it` is, and gives that back. It allocates nothing if there is room.
    pub(super) fn put(
        &mut self,
        new_hash: u64,
        new: &Arc<T>,
        is_it: impl Fn(&T) -> bool,
        hash: impl Fn(&T) -> u64,
    ) -> Option<Arc<T>> {
        if let Some((line, slot)) = self.place(new_hash, is_it) {
            return self.lines.get_mut(line)?.entries.get_mut(slot)?.replace(Arc::clone(new));
        }
        let wanted = self.len.saturating_add(1);
        if wanted > self.lines.len().saturating_mul(FULL) {
            self.renew(wanted, hash);
        }
        self.add(new_hash, Arc::clone(new));
        None
    }

    /// Takes out the entry with this hash that `is_it`.
    pub(super) fn remove(&mut self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let (line, slot) = self.place(hash, is_it)?;
        let mut at = self.home(hash);
        self.strayed = self.strayed.saturating_sub((at != line).into());
        while at != line {
            let passed = &mut self.lines.get_mut(at)?.passed;
            if *passed < u8::MAX {
                *passed = passed.saturating_sub(1);
            }
            at = self.after(at);
        }
        let gone = self.lines.get_mut(line)?.entries.get_mut(slot)?.take()?;
        self.len = self.len.saturating_sub(1);
        Some(gone)
    }

    /// The line and the place in it of the entry with this hash that `is_it`.
    fn place(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<(usize, usize)> {
        let (tag, mut at) = (tag_of(hash), self.home(hash));
        for _ in 0..self.lines.len() {
            let line = self.lines.get(at)?;
            if let Some(slot) = line.find(tag, &is_it) {
                return Some((at, slot));
            }
            if line.passed == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Puts in an entry that is not there, where there is room.
    fn add(&mut self, hash: u64, entry: Arc<T>) {
        let home = self.home(hash);
        let mut at = home;
        // Fewer than the lines are full of: one of them has room.
        while let Some(line) = self.lines.get_mut(at) {
            let free = line.entries.iter_mut().zip(&mut line.tags).find(|(entry, _)| entry.is_none());
            if let Some((slot, tag)) = free {
                (*slot, *tag) = (Some(entry), tag_of(hash));
                self.len = self.len.saturating_add(1);
                self.strayed = self.strayed.saturating_add((at != home).into());
                return;
            }
            line.passed = line.passed.saturating_add(1);
            at = self.after(at);
        }
    }

    /// The line at which this hash begins, told by its lower half.
    fn home(&self, hash: u64) -> usize {
        let lines = u64::try_from(self.lines.len()).unwrap_or(u64::MAX);
        usize::try_from((hash & u64::from(u32::MAX)).wrapping_mul(lines) >> 32).unwrap_or_default()
    }

    fn after(&self, line: usize) -> usize {
        let next = line.saturating_add(1);
        if next < self.lines.len() { next } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::hash::{BuildHasher as _, RandomState};

    #[derive(Debug, PartialEq)]
    struct Thing {
        name: u16,
        state: u32,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u16),
        Remove(u16),
        Reserve(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u16..300).prop_map(Step::Put),
            4 => (0_u16..300).prop_map(Step::Remove),
            1 => (0_usize..100).prop_map(Step::Reserve),
        ]
    }

    #[test]
    fn a_line_is_a_line() {
        assert_eq!((size_of::<Line<Thing>>(), align_of::<Line<Thing>>()), (64, 64));
    }

    #[test]
    fn most_are_where_they_are_looked_for_first_when_it_is_full() {
        let hasher = RandomState::new();
        let hash = |thing: &Thing| hasher.hash_one(thing.name);
        let mut lines = Lines::default();
        lines.reserve(40_000, hash);
        let count = u16::try_from(lines.lines.len() * FULL).unwrap();
        for name in 0..count {
            lines.put(hasher.hash_one(name), &Arc::new(Thing { name, state: 0 }), |thing| thing.name == name, hash);
        }
        assert_eq!((lines.len, lines.lines.len()), (usize::from(count), 10_000));
        let first = |name: &u16| {
            let hash = hasher.hash_one(name);
            lines.place(hash, |thing| thing.name == *name).unwrap().0 == lines.home(hash)
        };
        let share = (0..count).filter(first).count() * 100 / usize::from(count);
        assert!((88..=96).contains(&share), "{share} of a hundred");
        check(&lines, hash);
    }

    #[test]
    fn few_have_strayed_however_many_came_and_went() {
        let hasher = RandomState::new();
        let hash = |thing: &Thing| hasher.hash_one(thing.name);
        let mut lines = Lines::default();
        for name in 0..60_000_u16 {
            lines.reserve(1, hash);
            // Of few entries many may stray by chance.
            let is_fine = lines.len < 1000 || lines.strayed <= lines.len / STRAYED;
            assert!(is_fine, "{} of {}", lines.strayed, lines.len);
            lines.put(hasher.hash_one(name), &Arc::new(Thing { name, state: 0 }), |thing| thing.name == name, hash);
            if let Some(old) = name.checked_sub(4000) {
                assert!(lines.remove(hasher.hash_one(old), |thing| thing.name == old).is_some());
            }
        }
        assert_eq!(lines.len, 4000);
        check(&lines, hash);
    }

    /// Counts all anew.
    fn check(lines: &Lines<Thing>, hash: impl Fn(&Thing) -> u64) {
        let (mut passed, mut strayed) = (vec![0_usize; lines.lines.len()], 0);
        for (place, line) in lines.lines.iter().enumerate() {
            for (entry, tag) in line.entries.iter().zip(line.tags) {
                let Some(entry) = entry else { continue };
                let hash = hash(entry);
                assert_eq!(tag, tag_of(hash));
                let mut at = lines.home(hash);
                strayed += usize::from(at != place);
                while at != place {
                    passed[at] += 1;
                    at = lines.after(at);
                }
            }
        }
        let told = lines.lines.iter().map(|line| usize::from(line.passed));
        for (told, passed) in told.zip(passed) {
            assert!(told == passed || told == usize::from(u8::MAX), "{told} is told of {passed}");
        }
        assert_eq!(lines.strayed, strayed);
    }

    #[test]
    fn what_is_passed_too_often_to_be_counted_is_found() {
        // All begin at the last line: they go round.
        let hash = |_: &Thing| u64::MAX;
        let mut lines = Lines::default();
        let find = |lines: &Lines<Thing>, name: u16| lines.find(u64::MAX, |thing| thing.name == name).is_some();
        for name in 0..1000 {
            assert!(
                lines.put(u64::MAX, &Arc::new(Thing { name, state: 0 }), |thing| thing.name == name, hash).is_none()
            );
        }
        for gone in 0..999 {
            assert!(lines.remove(u64::MAX, |thing| thing.name == gone).is_some());
            assert!(!find(&lines, gone) && find(&lines, 999), "{gone}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Hashes of few values, so that lines overflow, in their lower half and in the tag.
        #[test]
        fn it_holds_what_a_map_holds(steps in prop::collection::vec(step(), 0..600), spread in 1_u64..400) {
            let hash_of = |name: u16| {
                let mixed = u64::from(name).wrapping_mul(0x9E37_79B9_7F4A_7C15) % spread;
                mixed.wrapping_mul(u64::MAX / spread)
            };
            let hash = |thing: &Thing| hash_of(thing.name);
            let (mut lines, mut model) = (Lines::default(), BTreeMap::new());
            for (state, step) in (0..).zip(steps) {
                match step {
                    Step::Put(name) => {
                        let new = Arc::new(Thing { name, state });
                        let old = lines.put(hash_of(name), &new, |thing| thing.name == name, hash);
                        prop_assert_eq!(old.map(|old| old.state), model.insert(name, state));
                    }
                    Step::Remove(name) => {
                        let old = lines.remove(hash_of(name), |thing| thing.name == name);
                        prop_assert_eq!(old.map(|old| old.state), model.remove(&name));
                    }
                    Step::Reserve(more) => {
                        lines.reserve(more, hash);
                        let room = lines.lines.len();
                        for name in 1000..1000 + u16::try_from(more).unwrap() {
                            let new = Arc::new(Thing { name, state });
                            lines.put(hash_of(name), &new, |thing| thing.name == name, hash);
                        }
                        prop_assert_eq!(lines.lines.len(), room, "there was room");
                        for name in 1000..1000 + u16::try_from(more).unwrap() {
                            prop_assert!(lines.remove(hash_of(name), |thing| thing.name == name).is_some());
                        }
                    }
                }
                prop_assert_eq!(lines.len, model.len());
                check(&lines, hash);
            }
            for name in 0..300 {
                let found = lines.find(hash_of(name), |thing| thing.name == name);
                prop_assert_eq!(found.map(|thing| thing.state), model.get(&name).copied());
            }
        }
    }
}
