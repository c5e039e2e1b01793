//! The halves of streams, as a client has them.

mod duplex;
mod replies;
mod upload;

pub(super) use duplex::duplex;
pub(super) use replies::replies;
pub(super) use upload::upload;

use super::plan::Opened;
use crate::status::Status;

/// What `send` says on a call that has ended well: no request can reach anybody any more.
fn answered() -> Status {
    Status::cancelled(
        "the call is over: the server has answered it without waiting for more requests",
    )
}

/// The node was reached, which is all that a stream says of it at its start; how long a stream lives says
/// nothing of how fast a node is.
fn reached(opened: &mut Opened) {
    opened.picked.connected();
}
