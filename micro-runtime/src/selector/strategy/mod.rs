//! [`Strategy`]: which of the nodes a call goes to.

mod by_key;
mod p2c;
mod random;
mod round_robin;
mod weighted;

use std::sync::Arc;

use super::{CallInfo, Nodes};

pub use by_key::ByKey;
pub use p2c::P2c;
pub use random::Random;
pub use round_robin::RoundRobin;
pub use weighted::Weighted;

/// Chooses a node for each call, at once: it is asked on every attempt, in the caller's task, so it must not
/// wait, lock or allocate.
///
/// It sees only nodes that may be chosen, at least one. An answer that is no number of theirs, or `None`, fails
/// the attempt with UNAVAILABLE.
///
/// ```
/// use micro_runtime::selector::{CallInfo, Nodes, Strategy};
///
/// /// The node with the fewest calls under way.
/// struct LeastBusy;
///
/// impl Strategy for LeastBusy {
///     fn pick(&self, nodes: &Nodes<'_>, _call: &CallInfo<'_>) -> Option<usize> {
///         (0..nodes.len()).min_by_key(|index| nodes.get(*index).map(|node| node.in_flight()))
///     }
/// }
/// ```
pub trait Strategy: Send + Sync + 'static {
    /// The number of the node in `nodes`.
    fn pick(&self, nodes: &Nodes<'_>, call: &CallInfo<'_>) -> Option<usize>;
}

impl<S: Strategy + ?Sized> Strategy for Arc<S> {
    fn pick(&self, nodes: &Nodes<'_>, call: &CallInfo<'_>) -> Option<usize> {
        (**self).pick(nodes, call)
    }
}
