//! [`P2c`].

use super::{CallInfo, Nodes, Strategy};
use crate::selector::Candidate;

/// Power of two choices: of two nodes chosen at random, the one that another call costs less, by its peak-EWMA
/// latency and the calls under way ([`Candidate::cost`]). The default.
///
/// Nearly as good as asking every node, at the price of asking two, and without the herd that forms when all
/// clients run to the best one (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing"); with this
/// cost it is what Finagle and linkerd2-proxy do. A node that is not well counts as worse than any that is.
///
/// One comparison of 128 goes the other way, to the dearer node, if it is well, idle and does not fail. A node that was slow once
/// has a cost that takes most of a minute to come down to its neighbours', and while nobody calls it nobody learns
/// that it hangs, or is fast again. Of two nodes one that is slow has at most 0.8 % of the calls by that, of more
/// nodes less.
#[derive(Clone, Copy, Debug, Default)]
pub struct P2c;

/// One comparison of so many goes the other way; a power of two.
const EXPLORED: u64 = 128;

impl Strategy for P2c {
    fn pick(&self, nodes: &Nodes<'_>, _call: &CallInfo<'_>) -> Option<usize> {
        let len = nodes.len();
        if len <= 1 {
            return (len == 1).then_some(0);
        }
        // One random number serves both.
        let random = fastrand::u64(..);
        let first = below(len, random as u32);
        // Any but the first, each equally likely.
        let mut second = below(len - 1, (random >> 32) as u32);
        if second >= first {
            second += 1;
        }
        let first_cost = cost(&nodes.get(first)?);
        let second_cost = cost(&nodes.get(second)?);
        let (cheap, dear) = if second_cost < first_cost {
            (second, first)
        } else {
            (first, second)
        };
        // The lowest bits hardly have a say in what they are of above.
        if random.is_multiple_of(EXPLORED) {
            return explored(nodes, cheap, dear);
        }
        Some(cheap)
    }
}

/// Apart from the others, which need not know of it.
#[cold]
fn explored(nodes: &Nodes<'_>, cheap: usize, dear: usize) -> Option<usize> {
    let looks = nodes.get(dear)?.is_worth_a_look();
    Some(if looks { dear } else { cheap })
}

/// A number below `len`, from one of 32 bits: each of them equally likely, but for one part in 2³² (Lemire's
/// multiplication, without its correction). More nodes than that are not reached.
fn below(len: usize, random: u32) -> usize {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    ((u64::from(random) * u64::from(len)) >> 32) as usize
}

fn cost(node: &Candidate<'_>) -> (bool, f32) {
    (!node.is_well(), node.cost())
}
