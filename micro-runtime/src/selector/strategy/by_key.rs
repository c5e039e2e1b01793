//! [`ByKey`].

use super::{CallInfo, Nodes, P2c, Strategy};
use crate::selector::hash;

/// How much more than its share a node may have under way: the 1.25 of "Consistent Hashing with Bounded Loads"
/// (Mirrokni, Thorup, Zadimoghaddam 2016), in quarters.
const BOUND_QUARTERS: u64 = 5;

/// So many calls under way are no burden, whatever the others have. Without it a key would move whenever two calls
/// of a client that makes few overlap.
const FREE: u64 = 8;

/// Calls with the same key go to the same node: for nodes that keep something per user or document in memory.
///
/// The key is what a call sends under a name of its metadata. Every client that knows the same nodes chooses the
/// same one, with nothing to agree upon (rendezvous hashing over the nodes' ids): when a node comes or goes, only
/// the keys move that it gets or had. A node that has 1.25 times its share of the calls under way, and more than
/// eight, passes further ones on to the next that the key prefers, as does one that is put aside or that the call
/// has been to; so a key is no promise. A call without one goes where [`P2c`] says.
///
/// It looks at every node for every call: for services of up to a few hundred.
///
/// ```
/// use micro_runtime::selector::{ByKey, Picker};
///
/// let picker = Picker::new(ByKey::of_metadata("user-id"));
/// # let _ = picker;
/// ```
#[derive(Clone, Debug)]
pub struct ByKey {
    name: String,
}

// ===== impl ByKey =====

impl ByKey {
    /// The key is the first value under this name of the call's metadata.
    #[must_use]
    pub fn of_metadata(name: impl Into<String>) -> ByKey {
        ByKey { name: name.into() }
    }
}

impl Strategy for ByKey {
    fn pick(&self, nodes: &Nodes<'_>, call: &CallInfo<'_>) -> Option<usize> {
        let key = call.metadata().and_then(|all| all.get_bin(&self.name));
        let Some(key) = key else {
            return P2c.pick(nodes, call);
        };
        let key = hash::of(key);
        let in_flight: u64 = nodes.iter().map(|node| u64::from(node.in_flight())).sum();
        // With this call, and rounded up: there is always a node that has less.
        let share = ((in_flight + 1) * BOUND_QUARTERS).div_ceil(4 * nodes.len() as u64);
        let bound = share.max(FREE);
        let best = nodes.iter().enumerate().max_by_key(|(_, node)| {
            let free = u64::from(node.in_flight()) < bound;
            (node.is_well(), free, hash::score(key, node.hash()))
        });
        best.map(|(index, _)| index)
    }
}
