//! [`Random`].

use super::{CallInfo, Nodes, Strategy};

/// Each node equally likely, whatever was picked before: go-micro's default (client/selector/strategy.go).
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Strategy for Random {
    fn pick(&self, nodes: &Nodes<'_>, _call: &CallInfo<'_>) -> Option<usize> {
        match nodes.len() {
            0 => None,
            len => Some(fastrand::usize(..len)),
        }
    }
}
