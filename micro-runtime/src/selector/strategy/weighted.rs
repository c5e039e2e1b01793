//! [`Weighted`].

use super::{CallInfo, Nodes, Strategy};

/// Each node as often as its weight says, at random: one of weight 2 gets twice as much as one of weight 1.
///
/// The weight is what a node's metadata has under `weight`, a number from 0 to 1,000,000 such as `1`, `100` or
/// `0.5`; 1 if it has none. A node of weight 0 gets no calls, unless no node that could be picked has more. Another
/// text counts as 1, and a warning names the node. A server sets it with `--server_metadata weight=2`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighted;

impl Strategy for Weighted {
    fn pick(&self, nodes: &Nodes<'_>, _call: &CallInfo<'_>) -> Option<usize> {
        match (nodes.total_weight(), nodes.len()) {
            (_, 0) => None,
            (0, len) => Some(fastrand::usize(..len)),
            (total, _) => nodes.at_weight(fastrand::u64(..total)),
        }
    }
}
