//! [`RoundRobin`].

use super::{CallInfo, Nodes, Strategy};

/// One node after the other. Each service of each client counts by itself, over all of its calls (go-micro's
/// begins anew with every call, which makes it random).
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin;

impl Strategy for RoundRobin {
    fn pick(&self, nodes: &Nodes<'_>, _call: &CallInfo<'_>) -> Option<usize> {
        nodes.turn().checked_rem(nodes.len())
    }
}
