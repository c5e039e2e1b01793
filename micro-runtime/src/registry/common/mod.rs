//! What several registries need, each in one place.
//!
//! | file | holds |
//! |---|---|
//! | `address` | a server's address as users write it: scheme, user, host, port, path, parameters |
//! | `diff` | two answers, as the events that lead from one to the other |
//! | `fit` | endpoints where there is little room for them |
//! | `group` | changes of single nodes, as few events; services of one node, as versions |
//! | `hex` | bytes as hex digits |
//! | `join` | several requests at once |
//! | `task` | the task behind a registry, which the first call starts and the last clone ends |

#[cfg(any(
    feature = "consul",
    feature = "dns",
    feature = "etcd",
    feature = "kafka",
    feature = "kubernetes",
    feature = "nats",
    feature = "rabbitmq",
    feature = "redis",
    feature = "zookeeper"
))]
#[cfg_attr(
    not(all(
        feature = "consul",
        feature = "dns",
        feature = "etcd",
        feature = "kafka",
        feature = "kubernetes",
        feature = "nats",
        feature = "rabbitmq",
        feature = "redis",
        feature = "zookeeper"
    )),
    allow(dead_code, reason = "each back-end needs another part of it")
)]
pub(crate) mod address;
pub(super) mod diff;
#[cfg(any(feature = "consul", feature = "kubernetes", feature = "mdns"))]
pub(super) mod fit;
#[cfg(any(
    feature = "etcd",
    feature = "mdns",
    feature = "nats",
    feature = "zookeeper"
))]
pub(super) mod group;
#[cfg(any(feature = "consul", feature = "mdns"))]
pub(super) mod hex;
pub(super) mod join;
#[cfg(any(feature = "nats", feature = "zookeeper"))]
pub(crate) mod task;

/// How long a call of a registry may take, by default: less than the 5 s that a look-up and a registration wait, so
/// that an error still says why.
#[cfg(any(
    feature = "consul",
    feature = "etcd",
    feature = "kubernetes",
    feature = "nats",
    feature = "zookeeper"
))]
pub(super) const CALL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(4);
