//! [`P2c`].

use super::{CallInfo, Nodes, Strategy};
use crate::selector::Candidate;

/// Power of two choices: of two nodes chosen at random, the one with fewer calls under way. The default.
///
/// Nearly as even as asking every node, at the price of asking two, and without the herd that forms when all
/// clients run to the least busy one (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing";
/// the default of Finagle, linkerd2-proxy and of Envoy's least-request). A node that is not well counts as
/// busier than any that is: it would otherwise attract calls by failing them quickly.
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
        let first_load = load(&nodes.get(first)?);
        let second_load = load(&nodes.get(second)?);
        Some(if second_load < first_load {
            second
        } else {
            first
        })
    }
}

fn load(node: &Candidate<'_>) -> (bool, u32) {
    (!node.is_well(), node.in_flight())
}
