//! [`Tags`]: which deliveries of a channel the server was told of.

use std::collections::BTreeMap;

/// The deliveries of one channel, which the server numbers from 1 on, that it was told of.
///
/// One acknowledgement can stand for all before it, for the server and for us far cheaper than one for each: as far
/// as there is no gap. What was never seen here counts as a gap, too.
#[derive(Debug, Default)]
pub(super) struct Tags {
    /// All up to this one.
    all_to: u64,
    /// The others, as first and last of each row; no two rows touch. There are no more of them than deliveries that
    /// the server still waits for.
    rows: BTreeMap<u64, u64>,
}

/// An acknowledgement to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) tag: u64,
    /// It stands for all before it.
    pub(super) multiple: bool,
}

// ===== impl Tags =====

impl Tags {
    /// The server is told of this one.
    pub(super) fn insert(&mut self, tag: u64) {
        if tag <= self.all_to {
            return;
        }
        let (mut first, mut last) = (tag, tag);
        if let Some((&start, &end)) = self.rows.range(..=tag).next_back()
            && end.saturating_add(1) >= tag
        {
            (first, last) = (start, end.max(tag));
        }
        if let Some(end) = self.rows.remove(&last.saturating_add(1)) {
            last = end;
        }
        if first == self.all_to + 1 {
            self.rows.remove(&first);
            self.all_to = last;
        } else {
            self.rows.insert(first, last);
        }
    }

    /// Whether the server was told of this one.
    pub(super) fn contains(&self, tag: u64) -> bool {
        let before = self.rows.range(..=tag).next_back();
        tag <= self.all_to || before.is_some_and(|(_, last)| tag <= *last)
    }

    /// What to send for these, which the server was not told of yet and now is.
    pub(super) fn acknowledge(&mut self, tags: &[u64]) -> impl Iterator<Item = Ack> {
        for tag in tags {
            self.insert(*tag);
        }
        let all_to = self.all_to;
        let covered = tags.iter().filter(move |tag| **tag <= all_to);
        let multiple = covered.clone().count() > 1;
        let last = covered.max().map(|tag| Ack {
            tag: *tag,
            multiple,
        });
        let others = tags.iter().filter(move |tag| **tag > all_to);
        let others = others.map(|tag| Ack {
            tag: *tag,
            multiple: false,
        });
        last.into_iter().chain(others)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sent(tags: &mut Tags, acks: &[u64]) -> Vec<(u64, bool)> {
        let acks = tags.acknowledge(acks);
        acks.map(|ack| (ack.tag, ack.multiple)).collect()
    }

    #[test]
    fn one_stands_for_all_up_to_the_first_gap() {
        let mut tags = Tags::default();
        assert_eq!(sent(&mut tags, &[1]), [(1, false)]);
        assert_eq!(sent(&mut tags, &[3, 2, 4]), [(4, true)]);
        // 5 is worked on.
        assert_eq!(sent(&mut tags, &[7, 6]), [(7, false), (6, false)]);
        assert_eq!(sent(&mut tags, &[5]), [(5, false)]);
        assert_eq!(tags.all_to, 7);
        tags.insert(9);
        assert_eq!(sent(&mut tags, &[8, 10, 12]), [(10, true), (12, false)]);
        assert_eq!(tags.rows.len(), 1);
    }

    proptest! {
        /// Whatever was not settled is never acknowledged along with others, and all that was is.
        #[test]
        fn nothing_else_is_acknowledged(
            order in Just((1..=60_u64).collect::<Vec<_>>()).prop_shuffle(),
            never in proptest::collection::btree_set(1..=60_u64, 0..4),
            rejected in proptest::collection::btree_set(1..=60_u64, 0..6),
            sizes in proptest::collection::vec(1..9_usize, 60),
        ) {
            let (mut tags, mut unacked) = (Tags::default(), (1..=60).collect::<BTreeSet<_>>());
            let mut rest = order.into_iter().filter(|tag| !never.contains(tag)).collect::<Vec<_>>();
            let mut settled = BTreeSet::new();
            for size in sizes {
                let piece: Vec<_> = rest.drain(..size.min(rest.len())).collect();
                let (gone, acks): (Vec<_>, Vec<_>) =
                    piece.into_iter().partition(|tag| rejected.contains(tag));
                for tag in gone {
                    prop_assert!(unacked.remove(&tag));
                    prop_assert!(!tags.contains(tag));
                    tags.insert(tag);
                    settled.insert(tag);
                }
                settled.extend(&acks);
                for ack in tags.acknowledge(&acks).collect::<Vec<_>>() {
                    prop_assert!(unacked.contains(&ack.tag), "{ack:?} is unknown to the server");
                    let covered: Vec<_> = match ack.multiple {
                        true => unacked.range(..=ack.tag).copied().collect(),
                        false => vec![ack.tag],
                    };
                    for tag in covered {
                        prop_assert!(settled.contains(&tag), "{tag} was not settled");
                        unacked.remove(&tag);
                    }
                }
                prop_assert!(unacked.is_disjoint(&settled));
                for tag in 1..=60 {
                    prop_assert_eq!(tags.contains(tag), settled.contains(&tag));
                }
                prop_assert!(tags.rows.len() <= unacked.len());
            }
        }
    }
}
