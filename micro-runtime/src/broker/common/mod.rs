//! What several brokers need, each in one place.
//!
//! | file | holds |
//! |---|---|
//! | `delays` | what is to be done not before its time |
//! | `malformed` | an event that is none of ours, for who wants to see its bytes |
//! | `outage` | log lines about a server that is away: now and then, and once when it is back |
//! | `turn` | no more publishes at a time than there is room for |

#[cfg(any(feature = "kafka", feature = "redis"))]
pub(super) mod delays;
#[cfg(any(feature = "kafka", feature = "redis"))]
pub(super) mod malformed;
#[cfg(any(feature = "kafka", feature = "redis"))]
pub(super) mod outage;
#[cfg(any(feature = "kafka", feature = "redis"))]
pub(super) mod turn;
