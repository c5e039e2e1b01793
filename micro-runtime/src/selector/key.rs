//! What a service's nodes are remembered by: [`Key`] and [`AddressKey`], which know their hash.

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::Arc;

use crate::registry::Node;

/// A node is the same as long as its id and its address are.
pub(super) struct Key {
    hash: u64,
    node: Arc<Node>,
}

pub(super) struct AddressKey {
    hash: u64,
    node: Arc<Node>,
}

/// Keys that know their hash: tables of thousands of nodes grow without a look at each of them.
pub(super) type ByHash = BuildHasherDefault<Given>;

#[derive(Default)]
pub(super) struct Given(u64);

// ===== impl Key =====

/// The keys of a node, and of its address.
pub(super) fn keys(node: &Arc<Node>, random: &RandomState) -> (Key, AddressKey) {
    let address = AddressKey {
        hash: random.hash_one(&node.address),
        node: Arc::clone(node),
    };
    let key = Key {
        hash: random.hash_one((address.hash, &node.id)),
        node: Arc::clone(node),
    };
    (key, address)
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        Arc::ptr_eq(&self.node, &other.node)
            || self.node.id == other.node.id && self.node.address == other.node.address
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

// ===== impl AddressKey =====

impl PartialEq for AddressKey {
    fn eq(&self, other: &AddressKey) -> bool {
        self.node.address == other.node.address
    }
}

impl Eq for AddressKey {}

impl Hash for AddressKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

// ===== impl Given =====

impl Hasher for Given {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // No key here has anything else.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}
