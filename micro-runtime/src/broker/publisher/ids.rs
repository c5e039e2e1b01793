//! [`Ids`]: the ids of events.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Ids in the form of random UUIDs: the first of a publisher is random, those that follow count on from it in
/// its lower half. Random numbers of the system for each would cost more than all the rest of a publish.
#[derive(Debug)]
pub(super) struct Ids {
    first: u128,
    count: AtomicU64,
}

/// The bits of a UUID's lower half that are free: the two upper ones say which kind of UUID it is.
const FREE: u128 = (1 << 62) - 1;

// ===== impl Ids =====

impl Ids {
    pub(super) fn new() -> Ids {
        Ids {
            first: Uuid::new_v4().as_u128(),
            count: AtomicU64::new(0),
        }
    }

    pub(super) fn next(&self) -> String {
        let count = u128::from(self.count.fetch_add(1, Ordering::Relaxed));
        let counted = self.first.wrapping_add(count) & FREE;
        Uuid::from_u128(self.first & !FREE | counted).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_id_is_another_random_uuid() {
        let ids = Ids {
            // The count runs over the end of what is free.
            first: 0x1234_5678_9abc_4def_bfff_ffff_ffff_fffe,
            count: AtomicU64::new(0),
        };
        let more = Ids::new();
        let mut seen = HashSet::new();
        for id in (0..100).flat_map(|_| [ids.next(), more.next()]) {
            assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 4, "{id}");
            assert!(seen.insert(id));
        }
    }
}
