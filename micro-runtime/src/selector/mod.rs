//! Selection: which node of a service a call goes to.
//!
//! A [`Strategy`] picks, synchronously and for each attempt, from an immutable snapshot of the service's nodes:
//! those that the [`Filter`]s keep, without those put aside. [`P2c`] is the default; [`Random`] and
//! [`RoundRobin`] are go-micro's, [`Weighted`] goes by the nodes' metadata. A [`Picker`] is all of this without a
//! client.
//!
//! Around the strategy stands what every strategy needs:
//!
//! - **Health.** A node is put aside as soon as a connection to it is refused or fails, after five failures in a
//!   row, or when it answers nothing although others do, and comes back by exactly one probe call, after 1 s at
//!   first and up to 60 s later on: a circuit breaker per node with the usual states closed, open and half-open.
//!   Failures are lost connections, time-outs and UNAVAILABLE; an application's own errors are none.
//! - **Panic threshold.** Never more than half of the nodes are put aside (as in Envoy), and never the only
//!   one: when so many fail, what fails is more likely to lie on this side.
//! - **Memory.** Calls under way, latency and health belong to a node's id and address and outlive what the
//!   registry says meanwhile.
//! - **No second visit.** An attempt does not go where the call has been.

mod balancer;
mod choice;
mod core;
mod filter;
mod hash;
mod health;
mod key;
mod load;
mod node;
mod nodes;
mod pick;
mod picker;
mod snapshot;
mod split;
mod strategy;
mod table;
mod weight;

pub use filter::Filter;
pub use nodes::{CallInfo, Candidate, Nodes};
pub use picker::{Pick, Picker};
pub use strategy::{ByKey, P2c, Random, RoundRobin, Strategy, Weighted};

pub(crate) use balancer::{Balancer, News};
pub(crate) use choice::Choice;
pub(crate) use node::Slot;
pub(crate) use nodes::Tried;
pub(crate) use pick::{Failure, NoNode, Picked};
pub(crate) use table::{Connections, Selector};

#[cfg(test)]
mod tests;
