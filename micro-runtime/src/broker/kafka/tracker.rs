//! [`Tracker`]: how far a partition is done with.

use std::collections::BTreeMap;

/// The events of one partition that were handed out, from the first that is not done with.
///
/// Kafka remembers for a group one number per partition, behind which everything counts as unseen. With several
/// events worked on at once, that may be only the first that is not done with.
#[derive(Debug)]
pub(super) struct Tracker {
    /// Which assignment of the partition this is: what was handed out in an earlier one is another member's.
    pub(super) epoch: u64,
    /// Whether each is done with. The first is not.
    open: BTreeMap<i64, bool>,
}

// ===== impl Tracker =====

impl Tracker {
    pub(super) fn new(epoch: u64) -> Tracker {
        Tracker {
            epoch,
            open: BTreeMap::new(),
        }
    }

    /// This event is handed out. Whether it is not known already: after a new connection some come twice.
    pub(super) fn begin(&mut self, offset: i64) -> bool {
        let is_new = !self.open.contains_key(&offset);
        if is_new {
            self.open.insert(offset, false);
        }
        is_new
    }

    /// This event is done with; if all before it are, the last event of those that are done with in a row.
    pub(super) fn done(&mut self, offset: i64) -> Option<i64> {
        *self.open.get_mut(&offset)? = true;
        let mut last = None;
        while let Some(first) = self.open.first_entry()
            && *first.get()
        {
            last = Some(*first.key());
            first.remove();
        }
        last
    }

    /// How many there are from the first that is not done with.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_is_done_in_a_row_counts() {
        let mut tracker = Tracker::new(1);
        for offset in [10, 11, 13, 14] {
            assert!(tracker.begin(offset));
        }
        assert!(!tracker.begin(13));
        assert_eq!(tracker.done(11), None);
        assert_eq!(tracker.done(14), None);
        assert_eq!(tracker.done(10), Some(11));
        assert_eq!(tracker.done(99), None, "it was not handed out");
        assert_eq!(tracker.len(), 2);
        assert_eq!(tracker.done(13), Some(14));
        assert_eq!(tracker.len(), 0);
    }

    proptest! {
        #[test]
        fn never_passes_what_is_open(order in Just((0..40i64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut tracker = Tracker::new(0);
            for offset in 0..40 {
                tracker.begin(offset);
            }
            let mut done = std::collections::BTreeSet::new();
            for offset in order {
                done.insert(offset);
                if let Some(last) = tracker.done(offset) {
                    prop_assert!((0..=last).all(|offset| done.contains(&offset)));
                    prop_assert!(!done.contains(&(last + 1)));
                }
            }
            prop_assert_eq!(tracker.len(), 0);
        }
    }
}
