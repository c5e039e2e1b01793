//! Names of streams and consumers, made of topics and queues.
//!
//! A topic and a queue have letters, digits, `.`, `-` and `_`. The names of JetStream may have no dot, so `=`
//! stands for it, and `@` parts queue and topic: no two pairs have one name.

use super::config::NAME_MAX;

/// The longest name that is written out.
const PLAIN_MAX: usize = 200;

/// The stream for a topic that no stream has: `micro-orders=placed`.
pub(super) fn stream(topic: &str) -> String {
    fitted(format!("micro-{}", escaped(topic)))
}

/// The consumer of a queue: `billing@orders=placed`.
pub(super) fn durable(queue: &str, topic: &str) -> String {
    fitted(format!("{}@{}", escaped(queue), escaped(topic)))
}

fn escaped(name: &str) -> String {
    name.replace('.', "=")
}

/// A name that is too long for the server ends with a number made of the whole.
fn fitted(name: String) -> String {
    if name.len() <= PLAIN_MAX {
        return name;
    }
    let head: String = name.chars().take(PLAIN_MAX).collect();
    let fitted = format!("{head}#{:032x}", fnv(name.as_bytes()));
    debug_assert!(fitted.len() <= NAME_MAX, "the head and 33 characters fit");
    fitted
}

/// FNV-1a, 128 bits: the same in every build, unlike the standard library's hash.
fn fnv(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, &byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pairs_have_one_name() {
        assert_eq!(stream("orders.placed"), "micro-orders=placed");
        assert_eq!(durable("billing", "orders.placed"), "billing@orders=placed");
        assert_ne!(durable("a", "b.c"), durable("a.b", "c"));
        assert_ne!(durable("a-b", "c"), durable("a", "b-c"));
        assert_ne!(durable("a_b", "c"), durable("a.b", "c"));
        let long = |end: &str| durable(&"q".repeat(249), &format!("{}{end}", "t".repeat(240)));
        assert_ne!(long("a"), long("b"));
        assert!(long("a").len() <= NAME_MAX);
    }

    #[test]
    fn the_number_of_a_long_name_is_the_published_one() {
        // Of the reference's test vectors.
        assert_eq!(fnv(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
