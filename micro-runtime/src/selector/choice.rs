//! [`Choice`]: which nodes of a service a balancer picks from.

use super::filter::Filter;
use super::hash;
use super::nodes::Member;

/// The key of a node's metadata that a zone is written under.
const ZONE: &str = "zone";

/// What narrows the nodes of a service. The same choice leads to the same balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Sorted, each once.
    filters: Vec<Filter>,
    /// Versions that share the calls by weight; if there are none, versions are nothing.
    split: Vec<(Box<str>, u32)>,
    zone: Option<Box<str>>,
    subset: Option<usize>,
}

// ===== impl Choice =====

impl Choice {
    /// Nodes that all of these filters keep.
    pub(crate) fn of(filters: &[Filter]) -> Choice {
        let mut filters = filters.to_vec();
        filters.sort();
        filters.dedup();
        Choice {
            filters,
            ..Choice::default()
        }
    }

    /// Nodes of these versions alone, which share the calls by weight; of all versions if none is named.
    pub(crate) fn split(mut self, versions: &[(Box<str>, u32)]) -> Choice {
        self.split = versions.to_vec();
        self
    }

    /// Nodes of this zone first, if there is one.
    pub(crate) fn zone(mut self, zone: Option<&str>) -> Choice {
        self.zone = zone.map(Box::from);
        self
    }

    /// At most so many of them.
    pub(crate) fn subset(mut self, subset: Option<usize>) -> Choice {
        self.subset = subset;
        self
    }

    pub(super) fn is_all(&self) -> bool {
        *self == Choice::default()
    }

    /// The same among the nodes of each of the versions that share the calls, with its weight.
    pub(super) fn shares(&self) -> impl Iterator<Item = (u32, Choice)> {
        self.split.iter().map(|(version, weight)| {
            let filters = [&*self.filters, &[Filter::version(&**version)]].concat();
            let choice = Choice::of(&filters).zone(self.zone.as_deref());
            (*weight, choice.subset(self.subset))
        })
    }

    /// The same among the nodes of the zone, if there is one. Where versions share the calls, each of them goes by
    /// zones itself.
    pub(super) fn within_zone(&self) -> Option<Choice> {
        if self.is_split() {
            return None;
        }
        let zone = Filter::label(ZONE, self.zone.as_deref()?);
        let filters = [&*self.filters, &[zone]].concat();
        Some(Choice::of(&filters).subset(self.subset))
    }

    /// Whether a node comes into question at all.
    pub(super) fn keeps(&self, member: &Member) -> bool {
        let mut filters = self.filters.iter();
        let mut split = self.split.iter().filter(|(_, weight)| *weight > 0);
        filters.all(|filter| filter.keeps(&member.service, &member.node))
            && (!self.is_split() || split.any(|(version, _)| **version == *member.service.version))
    }

    /// Whether versions share the calls, each of which picks among its own nodes.
    pub(super) fn is_split(&self) -> bool {
        !self.split.is_empty()
    }

    /// The places of the nodes of the subset, ascending; `None` if that is all of them. Where versions share the
    /// calls each of them has a subset, and all nodes are probed and stand in, whichever of those they are in.
    ///
    /// Each client wants the nodes in an order of its own, by its seed, and takes the first (rendezvous hashing, as
    /// gRPC's A68): one node that comes or goes changes one place at most, and over many clients each node is in as
    /// many subsets as any other.
    pub(super) fn subset_of(
        &self,
        hashes: impl ExactSizeIterator<Item = u64>,
        seed: u64,
    ) -> Option<Vec<u32>> {
        let subset = self.subset.filter(|_| !self.is_split());
        let size = subset.filter(|size| *size < hashes.len())?;
        let mut wanted: Vec<(u64, u32)> = hashes
            .zip(0..)
            .map(|(node, place)| (hash::score(seed, node), place))
            .collect();
        if let Some(last) = size.checked_sub(1) {
            wanted.select_nth_unstable_by(last, |a, b| b.cmp(a));
        }
        wanted.truncate(size);
        let mut places: Vec<u32> = wanted.into_iter().map(|(_, place)| place).collect();
        places.sort_unstable();
        Some(places)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn subset(nodes: &[u32], seed: u64) -> BTreeSet<u32> {
        let hashes: Vec<u64> = nodes
            .iter()
            .map(|n| hash::of(n.to_string().as_bytes()))
            .collect();
        let choice = Choice::default().subset(Some(20));
        match choice.subset_of(hashes.into_iter(), seed) {
            Some(places) => places.iter().map(|place| nodes[*place as usize]).collect(),
            None => nodes.iter().copied().collect(),
        }
    }

    #[test]
    fn a_subset_is_spread_over_clients_and_changes_by_one() {
        let nodes: Vec<u32> = (0..200).collect();
        let mut members = [0_u32; 200];
        for seed in 0..1_000 {
            let before = subset(&nodes, hash::score(seed, 0));
            assert_eq!(before.len(), 20);
            before.iter().for_each(|n| members[*n as usize] += 1);
            // One node goes, and another one comes.
            let gone = (seed % 200) as u32;
            let fewer: Vec<u32> = nodes.iter().copied().filter(|n| *n != gone).collect();
            let after = subset(&fewer, hash::score(seed, 0));
            assert_eq!(after.len(), 20);
            assert_eq!(
                before.difference(&after).count(),
                usize::from(before.contains(&gone))
            );
            let more: Vec<u32> = nodes.iter().copied().chain([200]).collect();
            let after = subset(&more, hash::score(seed, 0));
            assert_eq!(
                before.difference(&after).count(),
                usize::from(after.contains(&200))
            );
        }
        // 100 each, and five standard deviations of about 9.5.
        assert!(
            members.iter().all(|n| (52..=148).contains(n)),
            "{members:?}"
        );
        assert_eq!(subset(&nodes[..20], 7).len(), 20);
        assert_eq!(subset(&nodes[..3], 7).len(), 3);
    }

    #[test]
    fn the_order_of_filters_is_nothing() {
        let (a, b) = (Filter::version("2"), Filter::label("rack", "7"));
        assert_eq!(
            Choice::of(&[a.clone(), b.clone()]),
            Choice::of(&[b, a.clone(), a])
        );
        assert!(Choice::of(&[]).is_all() && !Choice::of(&[]).subset(Some(3)).is_all());
    }
}
