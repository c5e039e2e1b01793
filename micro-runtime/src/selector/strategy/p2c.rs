//! [`P2c`].

use super::{CallInfo, Nodes, Strategy};
use crate::selector::Candidate;

/// Power of two choices: of two nodes chosen at random, the one that another call costs less, by its peak-EWMA
/// latency and the calls under way ([`Candidate::cost`]). The default.
///
/// Nearly as good as asking every node, at the price of asking two, and without the herd that forms when all
/// clients run to the best one (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing"); with this
/// cost it is what Finagle and linkerd2-proxy do. A node that is not well counts as worse than any that is.
#[derive(Clone, Copy, Debug, Default)]
pub struct P2c;

impl Strategy for P2c {
    fn pick(&self, nodes: &Nodes<'_>, _call: &CallInfo<'_>) -> Option<usize> {
        let len = nodes.len();
        if len <= 1 {
            return (len == 1).then_some(0);
        }
        let first = fastrand::usize(..len);
        // Any but the first, each equally likely.
        let mut second = fastrand::usize(..len - 1);
        if second >= first {
            second += 1;
        }
        let first_cost = cost(&nodes.get(first)?);
        let second_cost = cost(&nodes.get(second)?);
        Some(if second_cost < first_cost {
            second
        } else {
            first
        })
    }
}

fn cost(node: &Candidate<'_>) -> (bool, f32) {
    (!node.is_well(), node.cost())
}
