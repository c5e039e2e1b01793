//! Hashes that are the same in every process and every version: clients that agree on a node's id agree on where a
//! key belongs.

/// FNV-1a, 64 bits, whose bits are then mixed well enough to be compared as numbers (the finalizer of MurmurHash3).
pub(super) fn of(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// How much a node (by its hash) wants a key: the one that wants it most gets it (rendezvous hashing, Thaler and
/// Ravishankar 1996). When a node comes or goes, only its own keys move.
pub(super) fn score(key: u64, node: u64) -> u64 {
    mix(key ^ node)
}

fn mix(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ bits >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_what_they_are() {
        // Another value would move every key of a fleet whose clients are of two versions.
        assert_eq!(of(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(of(b"greeter-1"), of(b"greeter-1"));
        assert_ne!(of(b"greeter-1"), of(b"greeter-2"));
    }

    #[test]
    fn every_bit_of_a_hash_is_as_often_set_as_not() {
        let mut set = [0_u32; 64];
        for n in 0..4_096_u32 {
            let hash = of(n.to_string().as_bytes());
            for (bit, set) in set.iter_mut().enumerate() {
                *set += u32::from(hash >> bit & 1 == 1);
            }
        }
        // 2,048 and five standard deviations.
        assert!(set.iter().all(|set| set.abs_diff(2_048) < 160), "{set:?}");
    }
}
