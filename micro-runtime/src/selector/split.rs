//! [`Split`]: calls shared out among versions of a service by weight, as for a canary.

use std::sync::Arc;

use super::balancer::Balancer;
use super::nodes::CallInfo;
use super::pick::Picked;
use super::table::Connections;

/// A balancer for each of the versions, and which part of the calls it gets.
pub(super) struct Split<C> {
    /// Each with the sum of the weights up to its own.
    shares: Box<[(u64, Arc<Balancer<C>>)]>,
}

// ===== impl Split =====

impl<C: Connections> Split<C> {
    /// `None` if nothing is to be split.
    pub(super) fn new(
        shares: impl IntoIterator<Item = (u32, Arc<Balancer<C>>)>,
    ) -> Option<Split<C>> {
        let mut end = 0;
        let shares: Box<_> = shares
            .into_iter()
            .filter(|(weight, _)| *weight > 0)
            .map(|(weight, balancer)| {
                end += u64::from(weight);
                (end, balancer)
            })
            .collect();
        (!shares.is_empty()).then_some(Split { shares })
    }

    /// A node of the version whose turn it is, or of the next one that can take the call; `None` if none can.
    pub(super) fn pick(&self, call: &CallInfo<'_>) -> Option<Picked<C>> {
        let (end, _) = self.shares.last()?;
        let point = fastrand::u64(..*end);
        let first = self.shares.partition_point(|(end, _)| *end <= point);
        let (before, from) = self.shares.split_at_checked(first)?;
        let mut turn = from.iter().chain(before).map(|(_, balancer)| balancer);
        turn.find_map(|balancer| balancer.pick_if_well(call))
    }
}
